//! The PostgreSQL server: an own cluster with logical decoding on, and sessions that answer with text rows.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postgres::{Client, NoTls, SimpleQueryMessage};

use super::error::{Error, Result, wait_until};
use super::process::{Service, User, free_ports, run};

/// What a statement returned: rows of columns, as text; None is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

const TABLES: &str = "
create schema shop;
create table shop.orders (
    order_id bigint primary key,
    customer_id bigint,
    payment_status text not null,
    total numeric(12,2) not null,
    currency text not null default 'EUR',
    note text,
    updated_at timestamptz not null default now()
);
create table shop.heartbeat (id int primary key, at timestamptz(6), n bigint);
insert into shop.heartbeat values (1, clock_timestamp(), 0);
";

pub struct Postgres {
    service: Service,
    port: u16,
    shared: Mutex<Option<PgSession>>,
}

impl Postgres {
    /// Makes the cluster and starts the server, to its readiness and with the tables.
    pub fn start(folder: &Path) -> Result<Postgres> {
        let postgres = Postgres::start_with(folder, &[])?;
        postgres.query(TABLES)?;
        Ok(postgres)
    }

    /// The same with further settings, and without the tables.
    pub fn start_with(folder: &Path, more: &[&str]) -> Result<Postgres> {
        let [port] = free_ports()?;
        let user = User::unless_root("postgres")?;
        let home = folder.join("postgres");
        user.create_dir(&home)?;
        let data = home.join("data");
        let programs = programs()?;

        let mut initdb = user.command(&programs.join("initdb"), "KILL");
        initdb.current_dir(&home).arg("-D").arg(&data);
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        run("initdb", initdb, &folder.join("initdb.log"))?;

        // SIGQUIT is the immediate shutdown: it takes the server's own children along, which kill -9 would not.
        let mut server = user.command(&programs.join("postgres"), "QUIT");
        server.current_dir(&home).arg("-D").arg(&data);
        for setting in settings(port, &home).iter().map(String::as_str).chain(more.iter().copied()) {
            server.arg("-c").arg(setting);
        }
        let postgres = Postgres {
            service: Service::new("postgres", folder.join("postgres.log")),
            port,
            shared: Mutex::new(None),
        };
        postgres.service.start(server)?;
        postgres.service.wait_ready(Duration::from_secs(60), || Ok(postgres.session().is_ok()))?;
        Ok(postgres)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection of its own, for transactions that stay open.
    pub fn session(&self) -> Result<PgSession> {
        let address = format!("host=127.0.0.1 port={} user=postgres dbname=postgres connect_timeout=10", self.port);
        Ok(PgSession(Client::connect(&address, NoTls)?))
    }

    /// Runs statements on the shared connection.
    pub fn query(&self, sql: &str) -> Result<Rows> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.as_ref().is_none_or(|session| session.0.is_closed()) {
            *shared = Some(self.session()?);
        }
        match shared.as_mut() {
            Some(session) => session.query(sql),
            None => unreachable!("it was just opened"),
        }
    }

    /// What a deleted connector leaves behind: its replication slot, which keeps WAL, and its publication.
    pub fn drop_slot(&self, slot: &str, publication: &str) -> Result {
        let name = slot.replace('\'', "''");
        wait_until(&format!("slot {slot:?} to be dropped"), Duration::from_secs(20), || {
            self.query(&format!(
                "select pg_terminate_backend(active_pid) from pg_replication_slots
                  where slot_name = '{name}' and active_pid is not null;
                 select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{name}'"
            ))
            .map(|_| Some(()))
        })?;
        self.query(&format!("drop publication if exists \"{publication}\"")).map(|_| ())
    }
}

pub struct PgSession(Client);

impl PgSession {
    /// Runs one or more statements; the answer is the rows of all of them.
    pub fn query(&mut self, sql: &str) -> Result<Rows> {
        let answer = self.0.simple_query(sql).map_err(|error| Error::from(error).during(sql))?;
        let rows = answer.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Loads lines by one `COPY … FROM STDIN`; gives their count.
    pub fn copy(&mut self, sql: &str, lines: &str) -> Result<u64> {
        let mut copy = self.0.copy_in(sql)?;
        copy.write_all(lines.as_bytes())?;
        Ok(copy.finish()?)
    }
}

fn settings(port: u16, sockets: &Path) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        format!("unix_socket_directories={}", sockets.display()),
        "listen_addresses=127.0.0.1".into(),
        "timezone=UTC".into(),
        "wal_level=logical".into(),
        "max_replication_slots=16".into(),
        "max_wal_senders=16".into(),
    ];
    // Nothing here survives a crash of the machine, nor needs to.
    settings
        .extend(["fsync=off", "full_page_writes=off", "shared_buffers=32MB", "autovacuum=off"].map(str::to_owned));
    settings
}

/// Debian keeps the server programs out of PATH; elsewhere `pg_config` knows.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    found.sort();
    if let Some(newest) = found.pop() {
        return Ok(newest);
    }
    let output = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .map_err(|_| Error::new("PostgreSQL is not installed: run tests/real/install.sh"))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
