//! Each thing that can be wrong with a MySQL or MariaDB server, once.

use super::*;
use crate::app::doctor::finding::Level;
use crate::app::doctor::given::{case, column, line, shape, table};
use crate::app::doctor::seen::Config;
use crate::domain::value::Type;

const SOUND: [(&str, &str); 9] = [
    ("version", "10.11.19-MariaDB-log"),
    ("log_bin", "ON"),
    ("binlog_format", "ROW"),
    ("binlog_row_image", "FULL"),
    ("binlog_expire_logs_seconds", "864000"),
    ("gtid_strict_mode", "ON"),
    ("log_slave_updates", "ON"),
    ("sql_mode", "STRICT_TRANS_TABLES,NO_ZERO_DATE"),
    ("time_zone", "+00:00"),
];

fn tables() -> Vec<Table> {
    let columns = ["id", "order_id"].map(|name| column(name, Type::Int, None)).to_vec();
    vec![Table { full_before: true, ..table("payments", "pay.payments", columns) }]
}

fn answers() -> Answers {
    let column =
        |ty: &str, is_key: bool| Column { ty: ty.to_owned(), is_nullable: !is_key, has_default: false, is_key };
    let columns = [("id", column("bigint(20)", true)), ("order_id", column("bigint(20)", false))];
    let columns = columns.map(|(name, column)| (name.to_owned(), column)).into();
    Answers {
        variables: SOUND.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        tables: [("pay.payments".to_owned(), columns)].into(),
    }
}

fn told_of(kind: ConnectorKind, commit_time: bool, settings: &[(&str, &str)], answers: &Answers) -> String {
    let shape = shape(kind);
    let config = Some(Config::of(settings));
    let case = Case { commit_time, config, ..case("pay", &shape, tables()) };
    let found = judge(&case, answers);
    let bad = found.iter().filter(|one| one.level > Level::Note);
    for one in bad {
        assert!(!one.why.is_empty() && !one.mends.is_empty() || one.level == Level::Unknown, "{one:?}");
    }
    line(&found)
}

fn told(alter: impl FnOnce(&mut Answers)) -> String {
    let mut answers = answers();
    alter(&mut answers);
    told_of(ConnectorKind::Mariadb, false, &[], &answers)
}

#[test]
fn a_sound_server_passes() {
    assert_eq!(told(|_| {}), "");
}

#[test]
fn variables_are_judged() {
    let cases = [
        ("log_bin", "OFF", "FAIL log_bin"),
        ("binlog_format", "MIXED", "FAIL binlog_format"),
        ("binlog_row_image", "MINIMAL", "FAIL binlog_row_image"),
        ("binlog_row_value_options", "PARTIAL_JSON", "FAIL binlog_row_value_options"),
        ("binlog_row_value_options", "", ""),
        ("binlog_expire_logs_seconds", "3600", "WARN binlog expiry"),
        ("binlog_expire_logs_seconds", "0", ""),
        ("version", "8.4.0", "FAIL version"),
        ("gtid_strict_mode", "OFF", "WARN gtid_strict_mode"),
        ("log_slave_updates", "OFF", ""),
        ("sql_mode", "", ""),
        ("time_zone", "Europe/Berlin", ""),
    ];
    for (name, value, expected) in cases {
        let said = told(|answers| drop(answers.variables.insert(name.to_owned(), value.to_owned())));
        assert_eq!(said, expected, "{name}={value}");
    }
    let nothing = told(|answers| answers.variables.retain(|name, _| name == "version"));
    let expected = "UNKNOWN log_bin; UNKNOWN binlog_format; UNKNOWN binlog_row_image; UNKNOWN gtid_strict_mode";
    assert_eq!(nothing, expected);
    let days = |days: &str| {
        told(|answers| {
            answers.variables.remove("binlog_expire_logs_seconds");
            answers.variables.insert("expire_logs_days".to_owned(), days.to_owned());
        })
    };
    assert_eq!((days("1"), days("10"), days("0")), ("WARN binlog expiry".to_owned(), String::new(), String::new()));
}

#[test]
fn gtids_of_mysql_are_held_against_the_configuration() {
    let mysql = |mode: &str, commit_time| {
        let mut answers = answers();
        answers.variables.insert("version".to_owned(), "8.4.0".to_owned());
        answers.variables.insert("gtid_mode".to_owned(), mode.to_owned());
        told_of(ConnectorKind::Mysql, commit_time, &[], &answers)
    };
    assert_eq!(mysql("ON", true), "");
    assert_eq!(mysql("ON", false), "", "it is noted");
    assert_eq!(mysql("OFF", true), "FAIL gtid_mode");
    assert_eq!(mysql("OFF_PERMISSIVE", false), "WARN gtid_mode");
}

#[test]
fn tables_are_judged() {
    let table = |alter: fn(&mut BTreeMap<String, Column>)| {
        told(|answers| alter(answers.tables.get_mut("pay.payments").expect("it is there")))
    };
    assert_eq!(table(BTreeMap::clear), "FAIL table pay.payments");
    assert_eq!(table(|columns| drop(columns.remove("order_id"))), "FAIL pay.payments columns");
    assert_eq!(
        table(|columns| columns.values_mut().for_each(|column| column.is_key = false)),
        "FAIL pay.payments primary key"
    );
    let unsigned = |settings: &[(&str, &str)]| {
        let mut answers = answers();
        let columns = answers.tables.get_mut("pay.payments").expect("it is there");
        columns.get_mut("order_id").expect("it is there").ty = "bigint(20) unsigned".to_owned();
        told_of(ConnectorKind::Mariadb, false, settings, &answers)
    };
    assert_eq!(unsigned(&[]), "WARN pay.payments unsigned");
    assert_eq!(unsigned(&[("bigint.unsigned.handling.mode", "precise")]), "");
    // Declared as what it is, it is read as what it is.
    let mut answers = answers();
    let columns = answers.tables.get_mut("pay.payments").expect("it is there");
    columns.get_mut("order_id").expect("it is there").ty = "bigint(20) unsigned".to_owned();
    let (shape, mut tables) = (shape(ConnectorKind::Mariadb), tables());
    let payments = tables.iter_mut().flat_map(|table| &mut table.columns);
    payments.filter(|column| column.name == "order_id").for_each(|column| column.detail.is_unsigned = true);
    let case = Case { config: Some(Config::of(&[])), ..case("pay", &shape, tables) };
    assert_eq!(line(&judge(&case, &answers)), "");
}

#[test]
fn columns_are_read_as_both_servers_write_them() {
    let row = |nullable: &str, default: Option<&str>| {
        let row = [Some("note"), Some("VARCHAR(8)"), Some(nullable), default, Some("")];
        Answers::column(&row.map(|column| column.map(str::to_owned))).expect("a column").1
    };
    assert!(row("YES", Some("'x'")).has_default);
    assert!(!row("YES", Some("NULL")).has_default, "MariaDB's word for none");
    assert!(!row("YES", None).has_default && row("YES", None).is_nullable && !row("NO", None).is_nullable);
    assert_eq!(row("YES", None).ty, "varchar(8)");
    let mut answers = answers();
    let columns = answers.tables.get_mut("pay.payments").expect("it is there");
    columns.get_mut("order_id").expect("it is there").has_default = true;
    assert_eq!(answers.nullable_defaults(&tables()), ["pay.payments.order_id"]);
}
