//! Each thing that can be wrong with a connector, once: a sound one, one setting altered, and what is said then.

mod given;

use std::collections::BTreeMap;

use self::given::{Given, line, running};
use super::*;
use crate::adapters::debezium::envelope::Field;
use crate::adapters::debezium::shape::{DecimalMode, Flattened, Format};
use crate::app::doctor::finding::{Level, Mend};
use crate::app::doctor::seen::{Status, Topic};

#[test]
fn sound_connectors_pass() {
    assert_eq!(Given::postgres().told(), "");
    assert_eq!(Given::mariadb().told(), "");
    let passes = judge(&Given::postgres().case()).iter().filter(|one| one.level == Level::Pass).count();
    assert!(passes > 30, "{passes}");
}

#[test]
fn each_setting_of_any_connector_is_judged() {
    let given = Given::postgres;
    let cases = [
        ("errors.tolerance", "all", "FAIL errors.tolerance"),
        ("errors.tolerance", "${env:T}", "UNKNOWN errors.tolerance"),
        ("event.processing.failure.handling.mode", "warn", "FAIL event.processing.failure.handling.mode"),
        ("event.converting.failure.handling.mode", "", "WARN event.converting.failure.handling.mode"),
        ("event.converting.failure.handling.mode", "skip", "WARN event.converting.failure.handling.mode"),
        ("connector.class", "io.debezium.connector.mysql.MySqlConnector", "FAIL connector.class"),
        ("connector.class", "PostgresConnector", ""),
        ("topic.prefix", "other", "FAIL topic.prefix"),
        ("topic.prefix", "sho", "FAIL topic.prefix"),
        ("tasks.max", "4", ""),
        ("exactly.once.support", "required", ""),
        ("producer.override.acks", "1", "FAIL producer.override.acks"),
        ("producer.override.acks", "all", ""),
        (
            "producer.override.max.in.flight.requests.per.connection",
            "5",
            "FAIL producer.override.max.in.flight.requests.per.connection",
        ),
        ("producer.override.delivery.timeout.ms", "120000", "FAIL producer.override.delivery.timeout.ms"),
        ("producer.override.delivery.timeout.ms", "2147483647", ""),
        ("producer.override.linger.ms", "50", ""),
        ("producer.override.acks", "${file:a:b}", "UNKNOWN producer.override.acks"),
        ("key.converter", "", "UNKNOWN key.converter"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter", "WARN key.converter"),
        ("value.converter", "", "UNKNOWN value.converter"),
        ("value.converter", "${env:C}", "UNKNOWN value.converter"),
        ("value.converter", "org.apache.kafka.connect.storage.StringConverter", "FAIL value.converter"),
        ("value.converter", "io.confluent.connect.protobuf.ProtobufConverter", "FAIL value.converter"),
        ("value.converter", "com.example.Own", "WARN value.converter"),
        ("value.converter.replace.null.with.default", "", "WARN value.converter.replace.null.with.default"),
        ("value.converter.replace.null.with.default", "true", "WARN value.converter.replace.null.with.default"),
        ("decimal.handling.mode", "", "FAIL value.converter.schemas.enable; FAIL decimal.handling.mode"),
        ("decimal.handling.mode", "double", "FAIL decimal.handling.mode"),
        ("decimal.handling.mode", "odd", "UNKNOWN decimal.handling.mode"),
        ("time.precision.mode", "connect", "FAIL time.precision.mode"),
        ("time.precision.mode", "nanoseconds", "WARN time.precision.mode"),
        ("binary.handling.mode", "hex", "FAIL binary.handling.mode"),
        ("unavailable.value.placeholder", "gone", "FAIL unavailable.value.placeholder"),
        ("skipped.operations", "", "WARN skipped.operations"),
        ("skipped.operations", "d,t", "FAIL skipped.operations"),
        ("skip.messages.without.change", "true", "WARN skip.messages.without.change"),
        ("tombstones.on.delete", "false", ""),
        ("table.include.list", "shop.orders", "FAIL heartbeat table is captured"),
        ("table.include.list", "shop.heartbeat", "FAIL table is captured"),
        ("table.include.list", "(?!x)shop.*", "UNKNOWN table is captured; UNKNOWN heartbeat table is captured"),
        ("schema.include.list", "other", "FAIL table is captured; FAIL heartbeat table is captured"),
        ("schema.exclude.list", "shop", "FAIL table is captured; FAIL heartbeat table is captured"),
        (
            "column.include.list",
            "shop.orders.(order_id|placed|blob),.*heartbeat.*",
            "FAIL column.include.list, exclude.list",
        ),
        ("column.exclude.list", "shop.orders.total", "FAIL column.include.list, exclude.list"),
        ("column.exclude.list", "shop.orders.secret", ""),
        ("column.mask.with.8.chars", "shop.orders.total", "FAIL column.mask.with.8.chars"),
        ("column.truncate.to.3.chars", "shop.orders.note", ""),
        ("message.key.columns", "shop.orders:order_id", ""),
        ("message.key.columns", "shop.orders:total", "FAIL message.key.columns"),
        ("message.key.columns", "shop.lines:order_id", ""),
        ("snapshot.mode", "when_needed", ""),
        ("snapshot.mode", "initial_only", "FAIL snapshot.mode"),
        ("snapshot.mode", "no_data", "WARN snapshot.mode"),
        ("snapshot.mode", "never", "WARN snapshot.mode"),
        ("snapshot.mode", "always", "WARN snapshot.mode"),
        ("snapshot.mode", "custom", "WARN snapshot.mode"),
        ("heartbeat.interval.ms", "", "WARN heartbeat.interval.ms"),
        ("heartbeat.interval.ms", "600000", "WARN heartbeat.interval.ms"),
        ("heartbeat.action.query", "", "WARN heartbeat.action.query"),
        ("provide.transaction.metadata", "", ""),
        ("extended.headers.enabled", "false", "WARN extended.headers.enabled"),
        ("signal.data.collection", "", "WARN signals"),
        ("notification.enabled.channels", "", ""),
    ];
    for (name, value, expected) in cases {
        assert_eq!(given().set(name, value).told(), expected, "{name}={value}");
    }
}

#[test]
fn settings_of_postgresql_are_judged() {
    let cases = [
        ("plugin.name", "", "WARN plugin.name"),
        ("plugin.name", "wal2json", "WARN plugin.name"),
        ("slot.drop.on.stop", "true", "FAIL slot.drop.on.stop"),
        ("publication.autocreate.mode", "all_tables", ""),
        ("publication.autocreate.mode", "disabled", ""),
        ("offset.mismatch.strategy", "", "WARN offset.mismatch.strategy"),
        ("offset.mismatch.strategy", "no_validation", "WARN offset.mismatch.strategy"),
        ("lsn.flush.mode", "manual", "WARN lsn.flush.mode"),
        ("flush.lsn.source", "false", "WARN flush.lsn.source"),
        ("slot.failover", "false", ""),
        ("snapshot.max.threads", "4", ""),
    ];
    for (name, value, expected) in cases {
        assert_eq!(Given::postgres().set(name, value).told(), expected, "{name}={value}");
    }
    let of = |version: &str, name: &str, value: &str| {
        let given = Given::postgres().set(name, value).with(|given| given.version = Some(version.to_owned()));
        given.told()
    };
    let threads = of("3.7.0.Alpha1", "snapshot.max.threads", "4");
    assert!(threads.contains("WARN snapshot.max.threads") && threads.contains("dbz#2330"), "{threads}");
    assert!(!of("3.3.0.Final", "offset.mismatch.strategy", "").contains("offset.mismatch"), "it is not there yet");
}

#[test]
fn settings_of_mysql_and_mariadb_are_judged() {
    let cases = [
        ("gtid.source.includes", "a.*", "WARN gtid.source.includes"),
        ("gtid.source.excludes", "a.*", "WARN gtid.source.excludes"),
        ("gtid.ignore", "true", "WARN gtid.ignore"),
        ("database.server.id", "", "UNKNOWN database.server.id"),
        ("inconsistent.schema.handling.mode", "skip", "FAIL inconsistent.schema.handling.mode"),
        ("schema.history.internal.skip.unparseable.ddl", "true", "WARN schema.history.internal.skip.unparseable.ddl"),
        ("schema.history.internal.store.only.captured.tables.ddl", "true", ""),
        ("snapshot.locking.mode", "none", "WARN snapshot.locking.mode"),
        ("schema.history.internal.kafka.topic", "gone", "WARN schema.history.internal.kafka.topic"),
        ("connector.class", "io.debezium.connector.mysql.MySqlConnector", "FAIL connector.class"),
        ("database.include.list", "other", "FAIL table is captured; FAIL heartbeat table is captured"),
        ("heartbeat.action.query", "", ""),
        ("heartbeat.interval.ms", "0", "WARN heartbeat.interval.ms"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(Given::mariadb().set(name, value).told(), expected, "{name}={value}");
    }
    let history = |name: &str, value: &str| {
        let given = Given::mariadb().with(|given| {
            let topic = given.topics.get_mut("history").expect("it is there");
            topic.settings.insert(name.to_owned(), value.to_owned());
        });
        given.told()
    };
    let failed = "FAIL schema.history.internal.kafka.topic";
    assert_eq!(history("cleanup.policy", "compact"), failed);
    assert_eq!(history("retention.ms", "604800000"), failed);
    assert_eq!(history("retention.bytes", "1000"), failed);
    assert_eq!(history("retention.ms", "9223372036854775807"), "");
    let away = Given::mariadb().with(|given| given.topics.clear());
    assert_eq!(away.told(), "UNKNOWN schema.history.internal.kafka.topic");
    let several = Given::mariadb().with(|given| given.topics.get_mut("history").expect("there").partitions = 3);
    assert_eq!(several.told(), failed);
    let mut mysql = Given::mariadb().set("connector.class", "io.debezium.connector.mysql.MySqlConnector");
    mysql.shape.kind = ConnectorKind::Mysql;
    assert_eq!(mysql.set("provide.transaction.metadata", "false").told(), "WARN provide.transaction.metadata");
}

#[test]
fn the_topic_of_transactions_is_judged() {
    let told = |topic, settings: &[(&str, &str)]| {
        let given = Given::postgres().with(|given| given.transactions = Some(topic));
        settings.iter().fold(given, |given, (name, value)| given.set(name, value)).told()
    };
    assert_eq!(told("shop.transaction", &[]), "");
    assert_eq!(told("shop.tx", &[("topic.transaction", "tx")]), "");
    assert_eq!(told("shop.transaction", &[("topic.transaction", "tx")]), "FAIL topic.transaction");
    assert_eq!(told("pay.transaction", &[]), "FAIL topic.transaction");
    let off = ("provide.transaction.metadata", "false");
    assert_eq!(told("shop.transaction", &[off]), "FAIL provide.transaction.metadata");
}

#[test]
fn states_are_judged() {
    let told = |status: Option<Status>| Given::postgres().with(|given| given.status = status).told();
    assert_eq!(told(Some(running(&["RUNNING", "FAILED"]))), "FAIL task 1 state");
    assert_eq!(told(Some(running(&["UNASSIGNED"]))), "FAIL task 0 state");
    assert_eq!(told(Some(running(&[]))), "FAIL task state");
    let paused = Status { connector: "PAUSED".to_owned(), ..running(&["PAUSED"]) };
    assert_eq!(told(Some(paused.clone())), "FAIL connector state; FAIL task 0 state");
    assert_eq!(told(None), "UNKNOWN state");
    let given = Given::postgres().with(|given| given.status = Some(paused));
    let found = judge(&given.case());
    let resume = Mend::Rest { method: "PUT", path: "connectors/Shop/resume".to_owned() };
    assert!(found.iter().any(|one| one.mends == [resume.clone()]), "{found:?}");
}

#[test]
fn versions_with_defects_are_said() {
    let given = Given::postgres().with(|given| given.version = Some("3.6.3.Final".to_owned()));
    let told = given.told();
    assert!(told.contains("WARN debezium/dbz#1554") && told.contains("dbz#76"), "{told}");
    let given = Given::postgres().with(|given| given.version = None);
    assert!(given.told().contains("UNKNOWN known defects"), "{}", given.told());
}

#[test]
fn converters_are_held_against_the_configuration() {
    let avro = |class: &str| Given::postgres().set("value.converter", class);
    let confluent = "io.confluent.connect.avro.AvroConverter";
    assert_eq!(avro(confluent).told(), "FAIL value.converter; WARN value.converter.ignore.default.for.nullables");
    let with = |class: &str| avro(class).with(|given| given.has_registry = true);
    let nulls = ("value.converter.ignore.default.for.nullables", "true");
    assert_eq!(with(confluent).set(nulls.0, nulls.1).told(), "");
    let apicurio = |columns: Option<&[&str]>| {
        let columns = columns.map(|columns| columns.iter().map(|name| (*name).to_owned()).collect());
        let given = with("io.apicurio.registry.utils.converter.AvroConverter");
        given.with(|given| given.nullable_defaults = columns).told()
    };
    assert_eq!(apicurio(None), "WARN NULLs with a default");
    assert_eq!(apicurio(Some(&["orders.total"])), "FAIL NULLs with a default");
    assert_eq!(apicurio(Some(&[])), "");
    let json = with(confluent).set(nulls.0, nulls.1).with(|given| given.shape.format = Format::Json);
    assert_eq!(json.told(), "FAIL value.converter");
    let avro = Given::postgres().with(|given| given.shape.format = Format::Avro { id_bytes: None });
    assert_eq!(avro.told(), "FAIL value.converter");
    let cloud = |enable: &str| {
        let cloud = Given::postgres().set("value.converter", "io.debezium.converters.CloudEventsConverter");
        cloud.set("value.converter.extension.attributes.enable", enable).told()
    };
    assert_eq!(cloud("true"), "");
    assert_eq!(cloud("false"), "FAIL value.converter.extension.attributes.enable");
}

#[test]
fn what_the_schema_or_the_declared_types_tell_needs_no_setting() {
    let with_schema = || Given::postgres().set("value.converter.schemas.enable", "true");
    assert_eq!(with_schema().set("decimal.handling.mode", "").told(), "", "the schema tells");
    assert_eq!(with_schema().set("time.precision.mode", "connect").told(), "");
    assert_eq!(
        with_schema().set("decimal.handling.mode", "double").told(),
        "WARN decimal.handling.mode",
        "12 digits"
    );
    let long = with_schema().set("decimal.handling.mode", "double");
    let long = long.with(|given| given.tables[0].columns[1].detail.digits = Some(18));
    assert_eq!(long.told(), "FAIL decimal.handling.mode");
    let precise = Given::postgres().set("decimal.handling.mode", "precise");
    let precise = precise.with(|given| given.shape.decimal_mode = Some(DecimalMode::Precise));
    assert_eq!(
        precise.told(),
        "WARN value.converter.schemas.enable",
        "the declared scale tells, until it is altered"
    );
    let numbers =
        Given::postgres().set("decimal.handling.mode", "precise").set("value.converter.decimal.format", "NUMERIC");
    let numbers = numbers.with(|given| given.shape.decimal_mode = Some(DecimalMode::Precise));
    assert_eq!(numbers.told(), "", "the numbers' own scale tells");
    let none = Given::postgres().set("decimal.handling.mode", "").with(|given| given.tables[0].columns.truncate(1));
    assert_eq!(none.told(), "", "no decimal is kept");
    let unknown = Given::postgres().set("value.converter", "").set("decimal.handling.mode", "precise");
    assert_eq!(unknown.told(), "UNKNOWN value.converter; WARN decimal.handling.mode", "the worker may write schemas");
}

#[test]
fn a_null_that_a_default_replaces_is_as_bad_as_the_columns_make_it() {
    let name = "value.converter.replace.null.with.default";
    let told = |columns: &[&str]| {
        let given = Given::postgres().set(name, "");
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        given.with(|given| given.nullable_defaults = Some(columns)).told()
    };
    assert_eq!(told(&[]), "");
    assert_eq!(told(&["shop.orders.total"]), format!("FAIL {name}"));
    let elsewhere = |converter: &str, columns: &[&str]| {
        let given = Given::postgres().set("value.converter", converter);
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        given.with(|given| given.nullable_defaults = Some(columns)).told()
    };
    for converter in ["", "${env:C}", "io.debezium.converters.CloudEventsConverter", "com.example.Own"] {
        let (with, without) = (elsewhere(converter, &["shop.orders.total"]), elsewhere(converter, &[]));
        assert!(with.contains("WARN NULLs with a default"), "{converter}: {with}");
        assert!(!without.contains("NULLs"), "{converter}: {without}");
    }
}

/// Whatever the unit, it was not tried.
#[test]
fn moments_without_a_schema_are_of_tried_connectors_only() {
    let told = |kind: ConnectorKind, mode: &str| {
        let given = Given::postgres().set("time.precision.mode", mode).with(|given| given.shape.kind = kind);
        given.told().contains("FAIL time.precision.mode")
    };
    for kind in [ConnectorKind::Sqlserver, ConnectorKind::Oracle] {
        assert_eq!(["", "adaptive", "isostring"].map(|mode| told(kind, mode)), [true, true, false], "{kind:?}");
    }
    assert_eq!(["", "isostring"].map(|mode| told(ConnectorKind::Postgresql, mode)), [false, false]);
}

#[test]
fn keys_that_are_not_unique_lose_more_the_more_rests_on_them() {
    let name = "message.key.columns";
    let given = || {
        let given = Given::mariadb().set(name, "shop.orders:total");
        given.with(|given| given.tables[0].full_before = true)
    };
    assert_eq!(given().told(), format!("FAIL {name}"), "signals make incremental snapshots");
    assert_eq!(given().set("signal.data.collection", "").told(), format!("WARN {name}; WARN signals"));
    let compacted = given().set("signal.data.collection", "").with(|given| {
        let topic = given.topics.get_mut("shop.shop.orders").expect("it is there");
        topic.settings.insert("cleanup.policy".to_owned(), "compact".to_owned());
    });
    assert_eq!(compacted.told(), format!("FAIL {name}; WARN signals"));
    assert_eq!(given().set(name, "shop.orders:total,order_id").told(), "", "unique");
}

#[test]
fn signals_of_kafka_need_one_partition_and_a_read_only_connector() {
    let kafka = |given: Given| {
        let given = given.set("signal.data.collection", "").set("signal.enabled.channels", "kafka");
        given.set("signal.kafka.topic", "signals")
    };
    assert_eq!(kafka(Given::postgres()).told(), "WARN signals", "no watermarks");
    assert_eq!(kafka(Given::postgres()).set("read.only", "true").told(), "");
    let several = kafka(Given::postgres()).set("read.only", "true").with(|given| {
        given.topics.insert("signals".to_owned(), Topic { partitions: 2, ..Topic::default() });
    });
    assert_eq!(several.told(), "WARN signals");
}

#[test]
fn requests_that_a_topic_refuses_are_said() {
    let given = |size: &str| {
        Given::postgres().set("producer.override.max.request.size", size).with(|given| {
            let topic = given.topics.get_mut("shop.shop.orders").expect("it is there");
            topic.settings.insert("max.message.bytes".to_owned(), "1048588".to_owned());
        })
    };
    assert_eq!(given("1048576").told(), "");
    assert_eq!(given("8000000").told(), "WARN producer.override.max.request.size");
}

#[test]
fn a_history_that_is_known_to_be_partial_needs_no_snapshot() {
    let given = Given::postgres().set("snapshot.mode", "no_data");
    assert_eq!(given.with(|given| given.tables[0].partial_history = true).told(), "");
}

#[test]
fn a_connector_without_a_heartbeat_table_is_doubtful() {
    let given = || {
        Given::postgres().with(|given| {
            given.has_heartbeat = false;
            given.tables.truncate(1);
        })
    };
    assert_eq!(given().told(), "", "it writes one, which is not named");
    assert_eq!(given().set("heartbeat.action.query", "").told(), "WARN heartbeat.action.query");
}

fn transformed(class: &str, settings: &[(&str, &str)]) -> Given {
    let given = Given::postgres().set("transforms", "t").set("transforms.t.type", class);
    settings.iter().fold(given, |given, (name, value)| given.set(&format!("transforms.t.{name}"), value))
}

#[test]
fn transforms_are_judged() {
    let told = |class: &str, settings: &[(&str, &str)]| transformed(class, settings).told();
    assert_eq!(told("io.debezium.transforms.Filter", &[]), "WARN transforms.t");
    for class in [
        "io.debezium.transforms.ContentBasedRouter",
        "io.debezium.transforms.ByLogicalTableRouter",
        "io.debezium.transforms.partitions.PartitionRouting",
        "org.apache.kafka.connect.transforms.RegexRouter",
        "io.debezium.transforms.HeaderToValue",
    ] {
        assert_eq!(told(class, &[]), "WARN transforms.t", "{class}");
    }
    let counted = |class| transformed(class, &[]).with(|given| given.transactions = Some("shop.transaction"));
    assert_eq!(counted("io.debezium.transforms.Filter").told(), "FAIL transforms.t");
    let replace = "org.apache.kafka.connect.transforms.ReplaceField$Value";
    assert_eq!(told(replace, &[("exclude", "ts_ms")]), "");
    assert_eq!(told(replace, &[("exclude", "source")]), "FAIL transforms.t");
    assert_eq!(told(replace, &[("include", "after,op")]), "FAIL transforms.t");
    assert_eq!(told(replace, &[("renames", "op:operation")]), "FAIL transforms.t");
    assert_eq!(
        told("org.apache.kafka.connect.transforms.MaskField$Value", &[("fields", "before")]),
        "FAIL transforms.t"
    );
    assert_eq!(told("org.apache.kafka.connect.transforms.MaskField$Value", &[("fields", "ts_ms")]), "");
    assert_eq!(told("com.example.Own", &[]), "", "it is noted");
    assert_eq!(told("${env:X}", &[]), "UNKNOWN transforms.t.type");
    assert_eq!(Given::postgres().set("transforms", "t").told(), "UNKNOWN transforms.t.type");
    assert_eq!(Given::postgres().set("transforms", "${env:T}").told(), "UNKNOWN transforms");
}

#[test]
fn renamed_topics_are_noted_and_not_failed() {
    let given = transformed("org.apache.kafka.connect.transforms.RegexRouter", &[]);
    let given = given.with(|given| given.tables[0].topics = vec!["renamed".to_owned()]);
    assert_eq!(given.told(), "WARN transforms.t");
}

const FLATTENING: &str = "io.debezium.transforms.ExtractNewRecordState";

fn flattened(settings: &[(&str, &str)]) -> Given {
    let fields = [
        ("__op", Field::Op),
        ("__source_ts_ms", Field::TsMs),
        ("__source_lsn", Field::Lsn),
        ("__source_sequence", Field::Sequence),
        ("__source_snapshot", Field::Snapshot),
        ("__deleted", Field::Deleted),
    ];
    let fields = fields.map(|(name, field)| (name.to_owned(), field)).into();
    let ours = Flattened { fields, headers: BTreeMap::new(), tombstones_delete: true };
    let settings = [&[("replace.null.with.default", "false")], settings].concat();
    transformed(FLATTENING, &settings).with(|given| given.shape.flattened = Some(ours))
}

#[test]
fn flattened_events_are_held_against_the_configuration() {
    const ADDED: (&str, &str) = ("add.fields", "op,source.ts_ms,source.lsn,source.sequence,source.snapshot");
    assert_eq!(flattened(&[ADDED]).told(), "");
    assert_eq!(
        transformed(FLATTENING, &[ADDED]).told(),
        "FAIL transforms.t.type",
        "the configuration does not say so"
    );
    let not = flattened(&[ADDED]).set("transforms", "");
    assert_eq!(not.told(), "FAIL transforms");
    for part in ["op,source.ts_ms", "op,source.ts_ms,source.lsn", "op,source.lsn,source.sequence,source.snapshot"] {
        let told = flattened(&[("add.fields", part)]).told();
        assert_eq!(told, "FAIL transforms.t.add.fields; WARN transforms.t.add.fields positions", "{part}");
    }
    let more = format!("{},source.txId", ADDED.1);
    let told = flattened(&[("add.fields", &more)]).told();
    assert_eq!(told, "WARN transforms.t.add.fields", "there is more than we say");
    let told = flattened(&[ADDED, ("add.fields.prefix", "_")]).told();
    assert_eq!(told, "FAIL transforms.t.add.fields");
    let mode = "delete.tombstone.handling.mode";
    let failed = format!("FAIL transforms.t.{mode}");
    assert_eq!(flattened(&[ADDED, (mode, "drop")]).told(), failed);
    assert_eq!(flattened(&[ADDED, (mode, "rewrite")]).told(), failed);
    let told = flattened(&[ADDED]).set("tombstones.on.delete", "false").told();
    assert_eq!(told, "FAIL tombstones.on.delete");
    let nulls = "transforms.t.replace.null.with.default";
    assert_eq!(flattened(&[ADDED]).set(nulls, "").told(), format!("WARN {nulls}"), "before the converter");
    let known = flattened(&[ADDED]).set(nulls, "");
    let known = known.with(|given| given.nullable_defaults = Some(vec!["shop.orders.total".to_owned()]));
    assert_eq!(known.told(), format!("FAIL {nulls}"));
    let replace = flattened(&[ADDED]).set("transforms", "t,r").set("transforms.r.type", "x.ReplaceField$Value");
    assert_eq!(replace.set("transforms.r.exclude", "total").told(), "FAIL transforms.r", "a kept column");
}

#[test]
fn connectors_get_in_each_others_way() {
    let told = |one: Given, two: Given| {
        let two = two.with(|given| given.name = "pay");
        let found: Vec<Finding> =
            compare(&[one.case(), two.case()]).into_iter().map(|(_, finding)| finding).collect();
        line(&found)
    };
    let apart = |given: Given| {
        let given = given.set("topic.prefix", "two").set("slot.name", "two");
        given.set("publication.name", "two").set("database.server.id", "2")
    };
    assert_eq!(told(Given::postgres(), apart(Given::postgres())), "");
    assert_eq!(told(Given::postgres(), apart(Given::postgres()).set("topic.prefix", "shop")), "FAIL topic.prefix");
    assert_eq!(told(Given::postgres(), apart(Given::postgres()).set("slot.name", "shop")), "FAIL slot.name");
    let same = apart(Given::postgres()).set("publication.name", "shop");
    assert_eq!(told(Given::postgres(), same), "WARN publication.name");
    let elsewhere = apart(Given::postgres()).set("slot.name", "shop").set("database.hostname", "other");
    assert_eq!(told(Given::postgres(), elsewhere), "", "another server has its own slots");
    assert_eq!(
        told(Given::mariadb(), apart(Given::mariadb()).set("database.server.id", "5400")),
        "FAIL database.server.id"
    );
    assert_eq!(told(Given::mariadb(), apart(Given::mariadb())), "");
}
