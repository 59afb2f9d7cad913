//! The databases themselves, asked in sessions that may only read.
//!
//! Must not know: what is asked, what an answer means. A URL holds a password: no error and no `Debug` shows one.

use std::time::Duration;

use mysql::prelude::Queryable;
use postgres::SimpleQueryMessage;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(10);

/// Where a database is, and the login.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Url);

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Host, port and database alone.
impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}:{}{}", self.0.scheme(), self.port(), self.0.path())
    }
}

impl DatabaseUrl {
    /// `None` where the text is no URL of a database that can be asked.
    pub fn parse(text: &str) -> Option<DatabaseUrl> {
        let url = Url::parse(text).ok()?;
        let is_known = matches!(url.scheme(), "postgres" | "postgresql" | "mysql" | "mariadb");
        (is_known && url.host_str().is_some_and(|host| !host.is_empty())).then_some(DatabaseUrl(url))
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.0.scheme(), "postgres" | "postgresql")
    }

    fn port(&self) -> u16 {
        self.0.port().unwrap_or(if self.is_postgres() { 5432 } else { 3306 })
    }

    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    fn user(&self) -> String {
        decoded(self.0.username())
    }

    fn password(&self) -> Option<String> {
        self.0.password().map(decoded)
    }

    fn database(&self) -> Option<String> {
        Some(decoded(self.0.path().trim_matches('/'))).filter(|name| !name.is_empty())
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
    for secret in [url.password(), url.0.password().map(str::to_owned)].into_iter().flatten() {
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
    config.ssl_mode(postgres::config::SslMode::Disable);
    if let Some(password) = url.password() {
        config.password(password);
    }
    config.dbname(&url.database().unwrap_or_else(|| "postgres".to_owned()));
    let client = config.connect(postgres::NoTls).map_err(|error| told(&error))?;
    Ok(Client::Postgres(Box::new(client)))
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
    let options = mysql::OptsBuilder::new()
        .ip_or_hostname(Some(url.host()))
        .tcp_port(url.port())
        .prefer_socket(false)
        .user(Some(url.user()))
        .pass(url.password())
        .db_name(url.database())
        .tcp_connect_timeout(Some(PATIENCE))
        .read_timeout(Some(PATIENCE))
        .write_timeout(Some(PATIENCE));
    let mut client = mysql::Conn::new(options).map_err(|error| error.to_string())?;
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
            assert_eq!(DatabaseUrl::parse(wrong), None, "{wrong}");
        }
        let half = DatabaseUrl::parse("mysql://u:100%@h/p").expect("a URL");
        assert_eq!(half.password(), Some("100%".to_owned()));
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
