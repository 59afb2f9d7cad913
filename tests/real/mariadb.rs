//! The MariaDB server, or MySQL's: an own data folder with a row binlog, and sessions that answer with text rows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Value};

use super::error::{Error, Result};
use super::postgres::Rows;
use super::process::{Service, User, free_ports, run};

const TABLES: &str = "
create user evenkeel@'%' identified by 'evenkeel';
grant all on *.* to evenkeel@'%';
create database pay;
create table pay.payments (
    id bigint primary key auto_increment,
    order_id bigint null,
    kind varchar(16) not null default 'CAPTURE',
    status varchar(16) not null,
    amount decimal(12,2) not null,
    currency char(3) not null default 'EUR',
    captured_at datetime(6) null,
    updated_at timestamp(6) not null default current_timestamp(6) on update current_timestamp(6)
);
create table pay.heartbeat (id int primary key, at timestamp(6) null, n bigint);
insert into pay.heartbeat values (1, current_timestamp(6), 0);
";

/// The database's own scheduler: it ticks each second, whether a connector runs or not.
/// `set global event_scheduler = off` silences it.
const TICK: &str = "create event pay.tick on schedule every 1 second
    do update pay.heartbeat set n = n + 1, at = current_timestamp(6) where id = 1";

pub struct Mariadb {
    service: Service,
    port: u16,
    shared: Mutex<Option<MariaSession>>,
}

impl Mariadb {
    /// Makes the data folder and starts the server, to its readiness and with the tables.
    pub fn start(folder: &Path) -> Result<Mariadb> {
        Mariadb::start_with(folder, &[])
    }

    /// The same with further settings.
    pub fn start_with(folder: &Path, more: &[&str]) -> Result<Mariadb> {
        let [port] = free_ports()?;
        let user = User::unless_root("mysql")?;
        let home = folder.join("mariadb");
        user.create_dir(&home)?;
        let data = home.join("data");

        let mut install = user.command(&program("mariadb-install-db")?, "KILL");
        install.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"]);
        run("mariadb-install-db", install, &folder.join("mariadb-install.log"))?;

        let mut server = user.command(&program("mariadbd")?, "KILL");
        server.arg("--no-defaults").args(settings(port, &home, &data)).args(MARIADBS).args(more);
        Mariadb::serve("mariadb", server, folder, port)
    }

    /// MySQL's server: a program of another Debian, with all that it needs of that below `root`.
    pub fn start_mysql(folder: &Path, root: &Path) -> Result<Mariadb> {
        let [port] = free_ports()?;
        let home = folder.join("mysql");
        User::OURS.create_dir(&home)?;
        let data = home.join("data");
        let lib = root.join("usr/lib/x86_64-linux-gnu");
        let mysqld = || {
            let mut command = User::OURS.command(&lib.join("ld-linux-x86-64.so.2"), "KILL");
            command.arg("--library-path").arg(&lib).arg(root.join("usr/sbin/mysqld")).arg("--no-defaults");
            // Another could not look into root's folders. Who is not root stays who he is.
            command.arg("--user=root");
            command.arg(format!("--basedir={}", root.join("usr").display()));
            command.arg(format!("--lc-messages-dir={}", root.join("usr/share/mysql").display()));
            command
        };
        let mut install = mysqld();
        install.arg("--initialize-insecure").arg(format!("--datadir={}", data.display()));
        run("mysqld --initialize", install, &folder.join("mysql-install.log"))?;
        let mut server = mysqld();
        server.args(settings(port, &home, &data)).args(MYSQLS);
        Mariadb::serve("mysql", server, folder, port)
    }

    fn serve(name: &'static str, server: Command, folder: &Path, port: u16) -> Result<Mariadb> {
        let service = Service::new(name, folder.join(format!("{name}.log")));
        let mariadb = Mariadb { service, port, shared: Mutex::new(None) };
        mariadb.service.start(server)?;
        mariadb.service.wait_ready(Duration::from_secs(60), || mariadb.connect("root", "").map(|_| true))?;
        let mut root = mariadb.connect("root", "")?;
        root.query(TABLES)?;
        root.query(TICK)?;
        Ok(mariadb)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection of its own, for transactions that stay open.
    pub fn session(&self) -> Result<MariaSession> {
        self.connect("evenkeel", "evenkeel")
    }

    /// Runs statements on the shared connection.
    pub fn query(&self, sql: &str) -> Result<Rows> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.as_mut().is_none_or(|session| session.0.ping().is_err()) {
            *shared = Some(self.session()?);
        }
        match shared.as_mut() {
            Some(session) => session.query(sql),
            None => unreachable!("it was just opened"),
        }
    }

    fn connect(&self, user: &str, password: &str) -> Result<MariaSession> {
        let options = OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some(user))
            .pass(Some(password));
        Ok(MariaSession(Conn::new(options)?))
    }
}

pub struct MariaSession(Conn);

impl MariaSession {
    /// Runs one or more statements; the answer is the rows of all of them.
    pub fn query(&mut self, sql: &str) -> Result<Rows> {
        self.rows(sql).map_err(|error| Error::from(error).during(sql))
    }

    fn rows(&mut self, sql: &str) -> std::result::Result<Rows, mysql::Error> {
        let mut answer = self.0.query_iter(sql)?;
        let mut rows = Rows::new();
        while let Some(set) = answer.iter() {
            for row in set {
                rows.push(row?.unwrap().into_iter().map(text).collect());
            }
        }
        Ok(rows)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

const MARIADBS: [&str; 4] =
    ["--skip-name-resolve", "--binlog-format=ROW", "--gtid-strict-mode=1", "--innodb-log-file-size=8M"];

const MYSQLS: [&str; 4] = ["--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--mysqlx=OFF", "--secure-file-priv="];

fn settings(port: u16, home: &Path, data: &Path) -> Vec<String> {
    let mut settings = vec![
        format!("--datadir={}", data.display()),
        format!("--socket={}", home.join("socket").display()),
        format!("--pid-file={}", home.join("pid").display()),
        format!("--port={port}"),
    ];
    let fixed = [
        "--bind-address=127.0.0.1",
        "--default-time-zone=+00:00",
        "--character-set-server=utf8mb4",
        "--event-scheduler=ON",
        "--server-id=223344",
        "--log-bin=mysql-bin",
        "--binlog-row-image=FULL",
        // Nothing here survives a crash of the machine, nor needs to.
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M",
    ];
    settings.extend(fixed.map(str::to_owned));
    settings
}

fn program(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| Error::new(format!("{name} is not installed: run tests/real/install.sh")))
}
