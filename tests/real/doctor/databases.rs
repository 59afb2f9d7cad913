//! Databases that are set, or laid out, to lose something. Servers of their own where a setting is the whole server's.

use super::super::binary::Shipped;
use super::super::mariadb::Mariadb;
use super::super::postgres::Postgres;
use super::super::process::Folder;
use super::super::{Result, Source, Stack};
use super::{Found, Ledger, careful};

/// Tables of PostgreSQL, each wrong in its way.
const TABLES: &str = "
create schema ills;
create table ills.bare (id bigint, note text);
create table ills.indexed (id bigint primary key, note text not null unique);
alter table ills.indexed replica identity using index indexed_note_key;
create table ills.nothing (id bigint primary key, note text);
alter table ills.nothing replica identity nothing;
create unlogged table ills.unlogged (id bigint primary key, note text);
create table ills.generated (id bigint primary key, note text generated always as ('n' || id::text) stored);
create table ills.filtered (id bigint primary key, note text);
create table ills.listed (id bigint primary key, note text default 'n');
create publication ills for table ills.bare, ills.indexed, ills.generated, ills.filtered where (id > 1), ills.listed (id)
    with (publish = 'insert, truncate');
";

/// The tables' names, fields of their sources, and what is found of each.
const OF_POSTGRES: [(&str, &str, &str); 8] = [
    ("bare", "replica_identity: full,", "FAIL ills.bare identity\nFAIL ills.bare primary key"),
    ("indexed", "", "FAIL ills.indexed identity"),
    ("nothing", "", "FAIL ills.nothing identity\nFAIL ills.nothing is published"),
    ("unlogged", "", "FAIL ills.unlogged is published\nFAIL ills.unlogged persistence"),
    ("generated", "", "FAIL ills.generated columns"),
    ("filtered", "", "FAIL ills.filtered is published"),
    ("listed", "", "FAIL ills.listed is published"),
    ("gone", "", "FAIL ills.gone is published\nFAIL table ills.gone"),
];

const OF_MARIADB: [(&str, &str); 3] = [
    ("bare", "FAIL ills.bare primary key"),
    ("counted", "FAIL ills.counted columns\nWARN ills.counted unsigned"),
    ("gone", "FAIL table ills.gone"),
];

pub fn all(stack: &Stack, ledger: &mut Ledger) -> Result {
    postgres(stack, ledger)?;
    limits(stack, ledger)?;
    mariadb(stack, ledger)?;
    mysql(stack, ledger)
}

/// A certificate of localhost that only who is told of it trusts: the file, its text and its key.
fn certificate(folder: &Folder) -> Result<(String, String, String)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, made.cert.pem())?;
    Ok((file.display().to_string(), made.cert.pem(), made.signing_key.serialize_pem()))
}

/// Whether a server that speaks TLS alone is asked as its URL says, on its port.
fn encrypted(stack: &Stack, ledger: &mut Ledger, server: &str, words: [&str; 5], table: &str) -> Result {
    let [kind, mode, disable, verify, authority] = words;
    let mut asked = |query: &str| -> Result<bool> {
        let connector =
            format!("kind: {kind}, database: \"{server}{query}\", heartbeat: {{topic: none.ills.heartbeat}}");
        let found = look(stack, ledger, &connector, table)?;
        Ok(found.0.contains_key("PASS access: database of ill"))
    };
    assert!(asked("")?, "it is encrypted where the server can");
    assert!(!asked(&format!("?{mode}={disable}"))?, "the server refuses it");
    assert!(!asked(&format!("?{mode}={verify}"))?, "nobody trusts it");
    assert!(asked(&format!("?{mode}={verify}&{authority}"))?, "it is trusted");
    Ok(())
}

/// A configuration with one connector and tables of it, and what is found.
fn look(stack: &Stack, ledger: &mut Ledger, connector: &str, tables: &str) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let shipped = Shipped::of(format!(
        "reconciliation: ill
kafka: {{bootstrap.servers: \"{}\"}}
connect: {{url: \"{}\"}}
connectors:
  ill: {{{connector}}}
sources:
{tables}rules:
  - {{id: some, sql: SELECT id FROM bare WHERE note = 'n', grace: 1s}}
",
        stack.bootstrap(),
        stack.connect_url()
    ));
    Found::by(&shipped.binary(stack, folder.path())?, ledger)
}

/// What is seen of a table whose topic was never written.
fn source(prefix: &str, table: &str, more: &str) -> String {
    format!(
        "  {table}: {{connector: ill, topic: {prefix}.ills.{table}, primary_key: id, key: id, {more} columns: {{id: bigint, note: text}}}}\n"
    )
}

/// A connector that was never started, as Kafka Connect has it, with nothing wrong but its database.
fn stopped(stack: &Stack, source: Source) -> Result<Source> {
    let source = careful(source)
        .set("table.include.list", r"ills\..*")
        .set("value.converter.replace.null.with.default", "true");
    stack.create_stopped(&source.prefix, &source.config)?;
    Ok(source)
}

fn postgres(stack: &Stack, ledger: &mut Ledger) -> Result {
    stack.pg(TABLES)?;
    stack.pg("select pg_create_logical_replication_slot('ills', 'pgoutput')")?;
    let ill = Source::shop(stack, "ills").set("offset.mismatch.strategy", "trust_offset");
    let ill = stopped(stack, ill.set("slot.name", "ills").set("publication.name", "ills"))?;
    let connector = |database: &str| {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", stack.pg_port());
        format!(
            "kind: postgresql, name_in_connect: ills, database: \"{url}\", heartbeat: {{topic: ills.ills.heartbeat}}"
        )
    };
    let tables: String = OF_POSTGRES.iter().map(|(table, more, _)| source("ills", table, more)).collect();
    let found = look(stack, ledger, &connector("postgres"), &tables)?;
    let of_tables: String = OF_POSTGRES.iter().map(|(_, _, expected)| format!("{expected}\n")).collect();
    found.is_wrong(
        "ill",
        &format!(
            "{of_tables}FAIL publication publish
             FAIL slot
             FAIL value.converter.replace.null.with.default
             FAIL ills.heartbeat is published
             FAIL table ills.heartbeat"
        ),
    );
    stack.pg("create database latin encoding 'LATIN1' locale 'C' template template0")?;
    let found = look(stack, ledger, &connector("latin"), &source("ills", "bare", ""))?;
    found.has(&["WARN ill: server_encoding", "FAIL ill: publication"]);
    stack.delete_connector(&ill.prefix)?;
    // The sections of a connector that has no slot.
    let ill = stopped(stack, ill.set("slot.name", "absent"))?;
    let found = look(stack, ledger, &connector("postgres"), &source("ills", "bare", ""))?;
    found.has(&["FAIL ill: slot"]);
    stack.delete_connector(&ill.prefix)?;
    stack.drop_slot("ills", "ills")?;
    stack.pg("drop schema ills cascade")?;
    stack.pg("drop database latin").map(drop)
}

/// Slots whose log is limited, and a server without a log that can be read.
fn limits(stack: &Stack, ledger: &mut Ledger) -> Result {
    let folder = Folder::create()?;
    let server = Postgres::start_with(folder.path(), &["wal_init_zero=off"])?;
    let limit = |size: &str| -> Result {
        server.query(&format!("alter system set max_slot_wal_keep_size = '{size}'"))?;
        server.query("select pg_reload_conf()").map(drop)
    };
    server.query("create schema ills; create table ills.bare (id bigint primary key, note text)")?;
    server.query("select pg_create_logical_replication_slot('limited', 'pgoutput')")?;
    let ill = stopped(stack, Source::shop(stack, "limits").set("slot.name", "limited"))?;
    let connector = |port: u16| {
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        format!(
            "kind: postgresql, name_in_connect: limits, database: \"{url}\", heartbeat: {{topic: limits.ills.heartbeat}}"
        )
    };
    let mut look_at = |port: u16| look(stack, ledger, &connector(port), &source("limits", "bare", ""));
    let switch = |times: u32| -> Result {
        (0..times).try_for_each(|_| {
            server.query("select pg_logical_emit_message(false, 'ill', 'x'), pg_switch_wal()").map(drop)
        })
    };
    // Segments are of 16 MiB.
    limit("2GB")?;
    switch(66)?;
    look_at(server.port())?.has(&["WARN ill: max_slot_wal_keep_size", "WARN ill: slot lag", "FAIL ill: slot"]);
    limit("16MB")?;
    switch(1)?;
    look_at(server.port())?.has(&["WARN ill: slot wal_status"]);
    server.query("checkpoint")?;
    look_at(server.port())?.has(&["FAIL ill: slot wal_status"]);
    let other = Folder::create()?;
    let server = Postgres::start_with(other.path(), &["wal_level=replica"])?;
    look_at(server.port())?.has(&["FAIL ill: wal_level"]);
    stack.delete_connector(&ill.prefix)?;

    let (authority, certificate, key) = certificate(&other)?;
    for (file, text) in
        [("server.crt", &*certificate), ("server.key", &key), ("pg_hba.conf", "hostssl all all all trust")]
    {
        // The server's own file, which nobody else may read.
        server.query(&format!("copy (select '{text}') to program 'umask 077; printf %b \"$(cat)\" > {file}'"))?;
    }
    server.query("alter system set ssl = on")?;
    server.query("select pg_reload_conf()")?;
    let url = format!("postgres://postgres@localhost:{}/postgres", server.port());
    let words = ["postgresql", "sslmode", "disable", "verify-full", &format!("sslrootcert={authority}")];
    encrypted(stack, ledger, &url, words, &source("none", "bare", ""))
}

fn mariadb(stack: &Stack, ledger: &mut Ledger) -> Result {
    let folder = Folder::create()?;
    let (authority, _, key) = certificate(&folder)?;
    std::fs::write(folder.path().join("key.pem"), key)?;
    let server = Mariadb::start_with(
        folder.path(),
        &[
            &format!("--ssl-cert={authority}"),
            &format!("--ssl-key={}", folder.path().join("key.pem").display()),
            "--skip-log-bin",
            "--binlog-format=STATEMENT",
            "--binlog-row-image=MINIMAL",
            "--binlog-expire-logs-seconds=3600",
            "--gtid-strict-mode=0",
        ],
    )?;
    server.query("create database ills")?;
    server.query("create table ills.bare (id bigint, note varchar(9) default 'n')")?;
    server.query("create table ills.counted (id bigint unsigned primary key, other int)")?;
    let ill = stopped(stack, Source::pay(stack, "illpay").set("database.include.list", "ills"))?;
    let tables: String = OF_MARIADB.iter().map(|(table, _)| source("illpay", table, "")).collect();
    let connector = |kind: &str| {
        let url = format!("mysql://evenkeel:evenkeel@127.0.0.1:{}", server.port());
        format!(
            "kind: {kind}, name_in_connect: illpay, database: \"{url}\", heartbeat: {{topic: illpay.ills.heartbeat}}"
        )
    };
    let found = look(stack, ledger, &connector("mariadb"), &tables)?;
    let of_tables: String = OF_MARIADB.iter().map(|(_, expected)| format!("{expected}\n")).collect();
    found.is_wrong(
        "ill",
        &format!(
            "{of_tables}FAIL log_bin
             FAIL binlog_format
             FAIL binlog_row_image
             FAIL table ills.heartbeat
             FAIL value.converter.replace.null.with.default
             WARN binlog expiry
             WARN gtid_strict_mode"
        ),
    );
    look(stack, ledger, &connector("mysql"), &tables)?.has(&["FAIL ill: version", "FAIL ill: connector.class"]);
    stack.delete_connector(&ill.prefix)?;

    server.query("set global require_secure_transport = on")?;
    let url = format!("mysql://evenkeel:evenkeel@localhost:{}", server.port());
    let words = ["mariadb", "ssl-mode", "DISABLED", "VERIFY_IDENTITY", &format!("ssl-ca={authority}")];
    encrypted(stack, ledger, &url, words, &source("none", "bare", ""))
}

fn mysql(stack: &Stack, ledger: &mut Ledger) -> Result {
    let Some(mysql) = stack.paid_by_mysql()? else {
        ledger.without_mysql();
        return Ok(());
    };
    stack.maria("create database ills; create table ills.bare (id bigint primary key, note varchar(9))")?;
    let ill = stopped(stack, Source::pay(stack, "illmysql").set("database.include.list", "ills"))?;
    let url = format!("mysql://evenkeel:evenkeel@127.0.0.1:{}", stack.maria_port());
    let mut found = |gtids: bool| {
        let connector = format!(
            "kind: mysql, gtids: {gtids}, name_in_connect: illmysql, database: \"{url}\", heartbeat: {{topic: none.ills.heartbeat}}"
        );
        look(stack, ledger, &connector, &source("illmysql", "bare", ""))
    };
    let sound = ["PASS ill: gtid_mode", "PASS ill: binlog_row_value_options", "PASS ill: binlog_row_image"];
    found(true)?.has(&sound);
    stack.maria("set global binlog_row_value_options = 'PARTIAL_JSON'")?;
    mysql.use_gtids(false)?;
    found(true)?.has(&["FAIL ill: gtid_mode", "FAIL ill: binlog_row_value_options"]);
    found(false)?.has(&["WARN ill: gtid_mode"]);
    mysql.use_gtids(true)?;
    stack.maria("set global binlog_row_value_options = ''; drop database ills")?;
    stack.delete_connector(&ill.prefix)
}
