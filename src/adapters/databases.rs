//! The databases themselves, asked in sessions that may only read.
//!
//! Must not know: what is asked, what an answer means. A URL holds a password: no error and no `Debug` shows one.

use std::path::PathBuf;
use std::time::Duration;

use mysql::prelude::Queryable;
use native_tls::TlsConnector;
use postgres::SimpleQueryMessage;
use postgres_native_tls::MakeTlsConnector;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(10);

pub const NO_URL: &str = "this is no URL of its database";

/// How much a session is protected on its way, in libpq's words and in those of MySQL's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tls {
    Disable,
    /// Where the server offers it.
    Prefer,
    Require,
    /// And the certificate is one of an authority that is trusted.
    VerifyCa,
    /// And it is the host's.
    VerifyFull,
}

const TLS: [(Tls, &str, &str); 5] = [
    (Tls::Disable, "disable", "DISABLED"),
    (Tls::Prefer, "prefer", "PREFERRED"),
    (Tls::Require, "require", "REQUIRED"),
    (Tls::VerifyCa, "verify-ca", "VERIFY_CA"),
    (Tls::VerifyFull, "verify-full", "VERIFY_IDENTITY"),
];

/// Where a database is, and the login; with `sslmode` and `sslrootcert`, as libpq has them, or `ssl-mode` and `ssl-ca`, as
/// MySQL's clients do.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    url: Url,
    tls: Tls,
    /// Certificates in PEM to trust: in place of the system's; by MySQL's driver, besides them.
    authorities: Option<PathBuf>,
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Host, port and database alone.
impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "{}://{host}:{}{}", self.url.scheme(), self.port(), self.url.path())
    }
}

impl DatabaseUrl {
    /// An error says what is wrong with the text, without quoting it.
    pub fn parse(text: &str) -> Result<DatabaseUrl, String> {
        let url = Url::parse(text).map_err(|_| NO_URL)?;
        let is_known = matches!(url.scheme(), "postgres" | "postgresql" | "mysql" | "mariadb");
        if !is_known || url.host_str().is_none_or(str::is_empty) {
            return Err(NO_URL.to_owned());
        }
        let mut read = DatabaseUrl { url, tls: Tls::Prefer, authorities: None };
        let [mode, file] = if read.is_postgres() { ["sslmode", "sslrootcert"] } else { ["ssl-mode", "ssl-ca"] };
        for (name, value) in read.url.query_pairs() {
            if name == file {
                read.authorities = Some(PathBuf::from(&*value));
            } else if name == mode {
                let words =
                    TLS.map(|(_, of_postgres, of_mysql)| if mode == "sslmode" { of_postgres } else { of_mysql });
                let place = words.iter().position(|word| word.eq_ignore_ascii_case(&value));
                read.tls = place.map(|place| TLS[place].0).ok_or(format!("{mode} is one of {}", words.join(", ")))?;
            } else {
                return Err(format!("{mode} and {file} are all that may stand behind its ?"));
            }
        }
        Ok(read)
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.url.scheme(), "postgres" | "postgresql")
    }

    fn port(&self) -> u16 {
        self.url.port().unwrap_or(if self.is_postgres() { 5432 } else { 3306 })
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    fn user(&self) -> String {
        decoded(self.url.username())
    }

    fn password(&self) -> Option<String> {
        self.url.password().map(decoded)
    }

    fn database(&self) -> Option<String> {
        Some(decoded(self.url.path().trim_matches('/'))).filter(|name| !name.is_empty())
    }
}

/// Undoes a URL's `%xx`.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Why a database gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {detail}")]
pub struct DatabaseError {
    place: String,
    detail: String,
}

/// Rows of columns, as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

enum Client {
    Postgres(Box<postgres::Client>),
    Mysql(Box<mysql::Conn>),
}

/// A session that may only read.
pub struct Database {
    url: DatabaseUrl,
    client: Client,
}

impl Database {
    pub fn open(url: &DatabaseUrl) -> Result<Database, DatabaseError> {
        let client = if url.is_postgres() { open_postgres(url) } else { open_mysql(url) };
        match client {
            Ok(client) => Ok(Database { url: url.clone(), client }),
            Err(detail) => Err(failure(url, &detail)),
        }
    }

    /// Runs one statement.
    pub fn rows(&mut self, sql: &str) -> Result<Rows, DatabaseError> {
        let answer = match &mut self.client {
            Client::Postgres(client) => postgres_rows(client, sql),
            Client::Mysql(client) => mysql_rows(client, sql).map_err(|error| error.to_string()),
        };
        answer.map_err(|detail| failure(&self.url, &detail))
    }
}

fn failure(url: &DatabaseUrl, detail: &str) -> DatabaseError {
    let mut detail = detail.to_owned();
    for secret in [url.password(), url.url.password().map(str::to_owned)].into_iter().flatten() {
        if !secret.is_empty() {
            detail = detail.replace(&secret, "***");
        }
    }
    DatabaseError { place: url.to_string(), detail }
}

fn open_postgres(url: &DatabaseUrl) -> Result<Client, String> {
    let mut config = postgres::Config::new();
    config.host(url.host()).port(url.port()).user(&url.user()).connect_timeout(PATIENCE);
    config.application_name("evenkeel doctor");
    config.options("-c default_transaction_read_only=on -c statement_timeout=10s");
    config.ssl_mode(match url.tls {
        Tls::Disable => postgres::config::SslMode::Disable,
        Tls::Prefer => postgres::config::SslMode::Prefer,
        Tls::Require | Tls::VerifyCa | Tls::VerifyFull => postgres::config::SslMode::Require,
    });
    if let Some(password) = url.password() {
        config.password(password);
    }
    config.dbname(&url.database().unwrap_or_else(|| "postgres".to_owned()));
    let client = config.connect(MakeTlsConnector::new(connector(url)?)).map_err(|error| told(&error))?;
    Ok(Client::Postgres(Box::new(client)))
}

fn connector(url: &DatabaseUrl) -> Result<TlsConnector, String> {
    let mut builder = TlsConnector::builder();
    builder.danger_accept_invalid_certs(url.tls < Tls::VerifyCa);
    builder.danger_accept_invalid_hostnames(url.tls < Tls::VerifyFull);
    if let Some(file) = &url.authorities {
        let told = |error: &dyn std::error::Error| format!("{}: {error}", file.display());
        let text = std::fs::read(file).map_err(|error| told(&error))?;
        for certificate in native_tls::Certificate::stack_from_pem(&text).map_err(|error| told(&error))? {
            builder.add_root_certificate(certificate);
        }
        builder.disable_built_in_roots(true);
    }
    builder.build().map_err(|error| error.to_string())
}

/// The driver's own words leave out what the server said.
fn told(error: &postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn postgres_rows(client: &mut postgres::Client, sql: &str) -> Result<Rows, String> {
    let answer = client.simple_query(sql).map_err(|error| told(&error))?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    };
    Ok(answer.into_iter().filter_map(row).collect())
}

fn open_mysql(url: &DatabaseUrl) -> Result<Client, String> {
    let mut options = mysql::OptsBuilder::new()
        .ip_or_hostname(Some(url.host()))
        .tcp_port(url.port())
        .prefer_socket(false)
        .user(Some(url.user()))
        .pass(url.password())
        .db_name(url.database())
        .tcp_connect_timeout(Some(PATIENCE))
        .read_timeout(Some(PATIENCE))
        .write_timeout(Some(PATIENCE));
    if url.tls > Tls::Disable {
        let tls = mysql::SslOpts::default().with_root_cert_path(url.authorities.clone());
        let tls = tls.with_danger_accept_invalid_certs(url.tls < Tls::VerifyCa);
        options = options.ssl_opts(tls.with_danger_skip_domain_validation(url.tls < Tls::VerifyFull));
    }
    let client = match mysql::Conn::new(options.clone()) {
        Err(mysql::Error::DriverError(mysql::DriverError::TlsNotSupported)) if url.tls == Tls::Prefer => {
            mysql::Conn::new(options.ssl_opts(None::<mysql::SslOpts>))
        }
        client => client,
    };
    let mut client = client.map_err(|error| error.to_string())?;
    client.query_drop("SET SESSION TRANSACTION READ ONLY").map_err(|error| error.to_string())?;
    Ok(Client::Mysql(Box::new(client)))
}

fn mysql_rows(client: &mut mysql::Conn, sql: &str) -> Result<Rows, mysql::Error> {
    let mut rows = Rows::new();
    for row in client.query_iter(sql)? {
        rows.push(row?.unwrap_raw().into_iter().map(|value| value.and_then(text)).collect());
    }
    Ok(rows)
}

fn text(value: mysql::Value) -> Option<String> {
    match value {
        mysql::Value::NULL => None,
        mysql::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

/// A text as a literal of SQL. A backslash is a sign like any other to PostgreSQL alone.
pub fn literal(is_postgres: bool, text: &str) -> String {
    let text = text.replace('\'', "''");
    format!("'{}'", if is_postgres { text } else { text.replace('\\', "\\\\") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_its_password_is_not_shown() {
        let url = DatabaseUrl::parse("postgres://us%40er:pa%2Fss@db.shop:5433/sh%20op").expect("a URL");
        assert_eq!((url.user(), url.password()), ("us@er".to_owned(), Some("pa/ss".to_owned())));
        assert_eq!((url.host(), url.port(), url.database()), ("db.shop", 5433, Some("sh op".to_owned())));
        for shown in [format!("{url}"), format!("{url:?}"), failure(&url, "no pa/ss, no pa%2Fss").to_string()] {
            assert!(!shown.contains("pa/ss") && !shown.contains("pa%2F"), "{shown}");
        }
        let url = DatabaseUrl::parse("mysql://u@[::1]/pay").expect("a URL");
        assert_eq!((url.host(), url.port(), url.is_postgres()), ("::1", 3306, false));
        for wrong in ["oracle://x/y", "postgres:///x", "host=db user=x"] {
            assert!(DatabaseUrl::parse(wrong).is_err(), "{wrong}");
        }
        let half = DatabaseUrl::parse("mysql://u:100%@h/p").expect("a URL");
        assert_eq!(half.password(), Some("100%".to_owned()));
    }

    #[test]
    fn how_a_session_is_encrypted_is_said_as_the_databases_clients_say_it() {
        let tls = |text: &str| DatabaseUrl::parse(text).map(|url| (url.tls, url.authorities));
        assert_eq!(tls("postgres://db/x"), Ok((Tls::Prefer, None)));
        let full = tls("postgresql://db/x?sslmode=verify-full&sslrootcert=/etc/ssl/own%20ca.pem");
        assert_eq!(full, Ok((Tls::VerifyFull, Some("/etc/ssl/own ca.pem".into()))));
        let full = tls("mysql://db?ssl-mode=verify_identity&ssl-ca=ca.pem");
        assert_eq!(full, Ok((Tls::VerifyFull, Some("ca.pem".into()))));
        assert_eq!(tls("mariadb://db?ssl-mode=DISABLED"), Ok((Tls::Disable, None)));
        let odd = tls("postgres://u:hush@db/x?sslmode=hush").expect_err("no mode");
        assert_eq!(odd, "sslmode is one of disable, prefer, require, verify-ca, verify-full");
        let odd = tls("mysql://u:hush@db/x?sslmode=require").expect_err("PostgreSQL's word");
        assert_eq!(odd, "ssl-mode and ssl-ca are all that may stand behind its ?");
    }

    #[test]
    fn a_database_that_is_away_is_an_error_without_a_password() {
        for scheme in ["postgres", "mysql"] {
            let url = DatabaseUrl::parse(&format!("{scheme}://u:hush@127.0.0.1:1/x")).expect("a URL");
            let error = Database::open(&url).err().expect("nobody listens").to_string();
            assert!(error.contains("127.0.0.1:1") && !error.contains("hush"), "{error}");
        }
    }
}
