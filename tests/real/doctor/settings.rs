//! Connectors that are set to lose something, as Kafka Connect itself has them. They are stopped: nothing here is about what
//! they would send.

use super::super::binary::Shipped;
use super::super::{Result, Source, Stack};
use super::topics::create;
use super::{Found, Ledger, careful};

/// A connector with something wrong.
struct Ill {
    /// In the configuration; in Kafka Connect, and as its prefix, with `ill_` before it.
    name: &'static str,
    kind: &'static str,
    /// Fields of its section in Evenkeel's configuration.
    connector: &'static str,
    heartbeat: &'static str,
    /// Fields of its source's section.
    source: &'static str,
    columns: &'static str,
    /// In place of those of a sound one; none where the value is empty.
    settings: &'static [(&'static str, &'static str)],
    /// What is found, a line each.
    found: &'static str,
}

impl Ill {
    const POSTGRES: Ill = Ill {
        name: "",
        kind: "postgresql",
        connector: "decimal_handling_mode: string,",
        heartbeat: "shop.heartbeat",
        source: "",
        columns: "order_id: bigint, total: \"numeric(12,2)\", note: text, placed: timestamp, blob: bytea",
        settings: &[],
        found: "",
    };

    const MARIADB: Ill = Ill {
        kind: "mariadb",
        heartbeat: "pay.heartbeat",
        columns: "order_id: bigint, total: \"decimal(12,2)\", note: text, placed: datetime, blob: blob",
        ..Ill::POSTGRES
    };

    /// The connector in Kafka Connect.
    fn connector(&self, stack: &Stack) -> Source {
        let prefix = format!("ill_{}", self.name);
        let sound = match self.kind {
            "postgresql" => Source::shop(stack, &prefix).set("offset.mismatch.strategy", "trust_offset"),
            _ => Source::pay(stack, &prefix)
                .with_connector_tick()
                .set("schema.history.internal.kafka.topic", "ill_kept"),
        };
        let mut source = careful(sound);
        for (name, value) in self.settings {
            match *value {
                "" => drop(source.config.remove(*name)),
                value => drop(source.config.insert((*name).to_owned(), value.to_owned())),
            }
        }
        source
    }

    /// Its sections of the configuration.
    fn sections(&self) -> [String; 2] {
        let Ill { name, kind, connector, source, columns, .. } = self;
        let table = if *kind == "postgresql" { "shop.orders" } else { "pay.payments" };
        let heartbeat = match self.heartbeat {
            "" => String::new(),
            table => format!(
                "heartbeat: {{topic: ill_{name}.{table}, type: \"{}\"}},",
                if table == "shop.heartbeat" { "timestamptz" } else { "timestamp(6)" }
            ),
        };
        [
            format!("  {name}: {{kind: {kind}, name_in_connect: ill_{name}, {connector} {heartbeat}}}\n"),
            format!(
                "  of_{name}: {{connector: {name}, topic: ill_{name}.{table}, primary_key: order_id, key: order_id, {source} columns: {{{columns}}}}}\n"
            ),
        ]
    }
}

const ILLS: &[Ill] = &[
    Ill {
        name: "losing",
        settings: &[
            ("errors.tolerance", "all"),
            ("event.processing.failure.handling.mode", "warn"),
            ("event.converting.failure.handling.mode", ""),
            ("producer.override.acks", "1"),
            ("producer.override.max.in.flight.requests.per.connection", "5"),
            ("producer.override.delivery.timeout.ms", "120000"),
            ("skipped.operations", "d,t"),
            ("snapshot.mode", "initial_only"),
            ("slot.drop.on.stop", "true"),
            ("plugin.name", "decoderbufs"),
            ("lsn.flush.mode", "manual"),
            ("snapshot.max.threads", "2"),
        ],
        found: "
            FAIL errors.tolerance
            FAIL event.processing.failure.handling.mode
            FAIL producer.override.acks
            FAIL producer.override.delivery.timeout.ms
            FAIL producer.override.max.in.flight.requests.per.connection
            FAIL skipped.operations
            FAIL slot.drop.on.stop
            FAIL snapshot.mode
            WARN event.converting.failure.handling.mode
            WARN lsn.flush.mode
            WARN plugin.name
            WARN snapshot.max.threads",
        ..Ill::POSTGRES
    },
    Ill {
        name: "careless",
        settings: &[
            ("skipped.operations", ""),
            ("skip.messages.without.change", "true"),
            ("snapshot.mode", "no_data"),
            ("heartbeat.interval.ms", "0"),
            ("heartbeat.action.query", ""),
            ("offset.mismatch.strategy", ""),
            ("flush.lsn.source", "false"),
            ("extended.headers.enabled", "false"),
            ("signal.data.collection", ""),
            ("value.converter.replace.null.with.default", ""),
        ],
        found: "
            WARN extended.headers.enabled
            WARN flush.lsn.source
            WARN heartbeat.action.query
            WARN heartbeat.interval.ms
            WARN offset.mismatch.strategy
            WARN signals
            WARN skip.messages.without.change
            WARN skipped.operations
            WARN snapshot.mode
            WARN value.converter.replace.null.with.default",
        ..Ill::POSTGRES
    },
    Ill {
        name: "odd",
        heartbeat: "",
        settings: &[
            ("snapshot.mode", "always"),
            ("heartbeat.interval.ms", "600000"),
            ("heartbeat.action.query", ""),
            ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
            ("value.converter", "org.apache.kafka.connect.converters.DoubleConverter"),
            ("decimal.handling.mode", "precise"),
            ("time.precision.mode", "nanoseconds"),
        ],
        found: "
            WARN decimal.handling.mode
            WARN heartbeat.action.query
            WARN heartbeat.interval.ms
            WARN key.converter
            WARN snapshot.mode
            WARN time.precision.mode
            WARN value.converter",
        ..Ill::POSTGRES
    },
    Ill {
        name: "textual",
        settings: &[
            ("snapshot.mode", "configuration_based"),
            ("value.converter", "org.apache.kafka.connect.storage.StringConverter"),
            ("table.include.list", "shop.others"),
            ("column.exclude.list", "shop.orders.note"),
            ("column.mask.with.8.chars", "shop.orders.total"),
            ("message.key.columns", "shop.orders:total"),
        ],
        found: "
            FAIL column.include.list, exclude.list
            FAIL column.mask.with.8.chars
            FAIL heartbeat table is captured
            FAIL message.key.columns
            FAIL table is captured
            FAIL value.converter
            WARN snapshot.mode",
        ..Ill::POSTGRES
    },
    Ill {
        name: "signalled",
        source: "replica_identity: full,",
        settings: &[("message.key.columns", "shop.orders:total")],
        found: "FAIL message.key.columns",
        ..Ill::POSTGRES
    },
    Ill {
        name: "unsignalled",
        source: "replica_identity: full,",
        settings: &[("message.key.columns", "shop.orders:total"), ("signal.data.collection", "")],
        found: "WARN message.key.columns
            WARN signals",
        ..Ill::POSTGRES
    },
    Ill {
        name: "compacted",
        source: "replica_identity: full,",
        settings: &[
            ("message.key.columns", "shop.orders:total"),
            ("signal.data.collection", ""),
            ("read.only", "true"),
            ("signal.enabled.channels", "kafka"),
            ("signal.kafka.topic", "ill_signals"),
            ("signal.kafka.bootstrap.servers", "127.0.0.1:1"),
            ("producer.override.max.request.size", "8000000"),
        ],
        found: "FAIL message.key.columns
            WARN producer.override.max.request.size
            WARN signals",
        ..Ill::POSTGRES
    },
    Ill { name: "elsewhere", settings: &[("topic.prefix", "another")], found: "FAIL topic.prefix", ..Ill::POSTGRES },
    Ill {
        name: "unscaled",
        connector: "decimal_handling_mode: precise,",
        settings: &[
            ("decimal.handling.mode", "precise"),
            ("time.precision.mode", "connect"),
            ("binary.handling.mode", "hex"),
        ],
        found: "
            FAIL binary.handling.mode
            FAIL time.precision.mode
            WARN value.converter.schemas.enable",
        ..Ill::POSTGRES
    },
    Ill {
        name: "misread",
        settings: &[("decimal.handling.mode", "precise"), ("unavailable.value.placeholder", "gone")],
        found: "
            FAIL decimal.handling.mode
            FAIL unavailable.value.placeholder
            FAIL value.converter.schemas.enable",
        ..Ill::POSTGRES
    },
    Ill {
        name: "floating",
        connector: "decimal_handling_mode: double,",
        settings: &[("decimal.handling.mode", "double"), ("time.precision.mode", "connect"), ("value.converter", "")],
        found: "
            WARN decimal.handling.mode
            WARN time.precision.mode",
        ..Ill::POSTGRES
    },
    Ill {
        name: "inexact",
        columns: "order_id: bigint, total: \"numeric(20,2)\"",
        settings: &[("decimal.handling.mode", "double"), ("value.converter.schemas.enable", "true")],
        found: "FAIL decimal.handling.mode",
        ..Ill::POSTGRES
    },
    Ill {
        name: "clouded",
        settings: &[
            ("value.converter", "io.debezium.converters.CloudEventsConverter"),
            ("value.converter.extension.attributes.enable", "false"),
        ],
        found: "FAIL value.converter.extension.attributes.enable",
        ..Ill::POSTGRES
    },
    Ill {
        name: "unregistered",
        settings: &[("value.converter", "io.apicurio.registry.utils.converter.AvroConverter")],
        found: "FAIL value.converter
            WARN NULLs with a default",
        ..Ill::POSTGRES
    },
    Ill {
        name: "formatted",
        connector: "decimal_handling_mode: string, format: json,",
        settings: &[("value.converter", "io.apicurio.registry.utils.converter.AvroConverter")],
        found: "FAIL value.converter
            WARN NULLs with a default",
        ..Ill::POSTGRES
    },
    Ill {
        name: "transformed",
        settings: &[
            ("transforms", "filter,route,place,value,replace,mask"),
            ("transforms.filter.type", "org.apache.kafka.connect.transforms.Filter"),
            ("transforms.filter.predicate", "tombstone"),
            ("predicates", "tombstone"),
            ("predicates.tombstone.type", "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone"),
            ("transforms.route.type", "org.apache.kafka.connect.transforms.RegexRouter"),
            ("transforms.route.regex", "a"),
            ("transforms.route.replacement", "b"),
            ("transforms.place.type", "io.debezium.transforms.partitions.PartitionRouting"),
            ("transforms.place.partition.payload.fields", "change.order_id"),
            ("transforms.place.partition.topic.num", "2"),
            ("transforms.value.type", "io.debezium.transforms.HeaderToValue"),
            ("transforms.value.headers", "h"),
            ("transforms.value.fields", "f"),
            ("transforms.value.operation", "copy"),
            ("transforms.replace.type", "org.apache.kafka.connect.transforms.ReplaceField$Value"),
            ("transforms.replace.exclude", "op"),
            ("transforms.mask.type", "org.apache.kafka.connect.transforms.MaskField$Value"),
            ("transforms.mask.fields", "before"),
        ],
        found: "
            FAIL transforms.mask
            FAIL transforms.replace
            WARN transforms.filter
            WARN transforms.place
            WARN transforms.route
            WARN transforms.value",
        ..Ill::POSTGRES
    },
    Ill {
        name: "counted",
        connector: "decimal_handling_mode: string, transactions: ill_counted.transaction,",
        settings: &[
            ("transforms", "filter"),
            ("transforms.filter.type", "org.apache.kafka.connect.transforms.Filter"),
            ("transforms.filter.predicate", "tombstone"),
            ("predicates", "tombstone"),
            ("predicates.tombstone.type", "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone"),
            ("topic.transaction", "other"),
        ],
        found: "FAIL topic.transaction
            FAIL transforms.filter",
        ..Ill::POSTGRES
    },
    Ill {
        name: "uncounted",
        connector: "decimal_handling_mode: string, transactions: ill_uncounted.transaction,",
        settings: &[("provide.transaction.metadata", "false")],
        found: "FAIL provide.transaction.metadata",
        ..Ill::POSTGRES
    },
    Ill {
        name: "flat",
        settings: &[("transforms", "flat"), ("transforms.flat.type", FLATTENING)],
        found: "FAIL transforms.flat.type",
        ..Ill::POSTGRES
    },
    Ill { name: "unflattened", connector: FLATTENED, found: "FAIL transforms", ..Ill::POSTGRES },
    Ill {
        name: "misplaced",
        connector: FLATTENED,
        settings: &[
            ("transforms", "flat"),
            ("transforms.flat.type", FLATTENING),
            ("transforms.flat.add.fields", "op,source.ts_ms"),
            ("transforms.flat.delete.tombstone.handling.mode", "drop"),
            ("tombstones.on.delete", "false"),
        ],
        found: "
            FAIL tombstones.on.delete
            FAIL transforms.flat.add.fields
            FAIL transforms.flat.delete.tombstone.handling.mode
            WARN transforms.flat.add.fields positions
            WARN transforms.flat.replace.null.with.default",
        ..Ill::POSTGRES
    },
    Ill {
        name: "generous",
        connector: FLATTENED,
        settings: &[
            ("transforms", "flat"),
            ("transforms.flat.type", FLATTENING),
            ("transforms.flat.add.fields", "op,source.ts_ms,source.lsn,source.sequence,source.snapshot,source.txId"),
            ("transforms.flat.delete.tombstone.handling.mode", "rewrite"),
            ("transforms.flat.replace.null.with.default", "false"),
        ],
        found: "FAIL transforms.flat.delete.tombstone.handling.mode
            WARN transforms.flat.add.fields",
        ..Ill::POSTGRES
    },
    Ill {
        name: "blind",
        settings: &[
            ("inconsistent.schema.handling.mode", "skip"),
            ("gtid.source.includes", "a.*"),
            ("gtid.ignore", "true"),
            ("schema.history.internal.skip.unparseable.ddl", "true"),
            ("snapshot.locking.mode", "none"),
            ("schema.history.internal.kafka.topic", "ill_gone"),
            ("heartbeat.interval.ms", "0"),
        ],
        found: "
            FAIL inconsistent.schema.handling.mode
            WARN gtid.ignore
            WARN gtid.source.includes
            WARN heartbeat.interval.ms
            WARN schema.history.internal.kafka.topic
            WARN schema.history.internal.skip.unparseable.ddl
            WARN snapshot.locking.mode",
        ..Ill::MARIADB
    },
    Ill {
        name: "forgetful",
        settings: &[("schema.history.internal.kafka.topic", "ill_history")],
        found: "FAIL schema.history.internal.kafka.topic",
        ..Ill::MARIADB
    },
    Ill {
        name: "mistaken",
        kind: "mysql",
        settings: &[("provide.transaction.metadata", "false")],
        found: "FAIL connector.class
            WARN provide.transaction.metadata",
        ..Ill::MARIADB
    },
    // What can only be seen by comparing them.
    Ill { name: "first", settings: &[("slot.name", "same"), ("publication.name", "same")], ..Ill::POSTGRES },
    Ill {
        name: "second",
        settings: &[("slot.name", "same"), ("publication.name", "same")],
        found: "FAIL slot.name
            WARN publication.name",
        ..Ill::POSTGRES
    },
    Ill { name: "third", settings: &[("database.server.id", "5399")], ..Ill::MARIADB },
    Ill {
        name: "troubling",
        settings: &[("database.server.id", "5399"), ("topic.prefix", "ill_third")],
        found: "FAIL database.server.id
            FAIL topic.prefix",
        ..Ill::MARIADB
    },
];

const FLATTENING: &str = "io.debezium.transforms.ExtractNewRecordState";

const FLATTENED: &str = "decimal_handling_mode: string, flattened: {add_fields: \
    \"op,source.ts_ms,source.lsn,source.sequence,source.snapshot\"},";

pub fn all(stack: &Stack, ledger: &mut Ledger) -> Result {
    let folder = tempfile::tempdir()?;
    let sources: Vec<Source> = ILLS.iter().map(|ill| ill.connector(stack)).collect();
    create(
        stack,
        "ill_compacted.shop.orders",
        1,
        &[("cleanup.policy", "compact"), ("max.message.bytes", "1048588")],
    )?;
    create(stack, "ill_signals", 3, &[])?;
    create(stack, "ill_kept", 1, &[("retention.ms", "-1")])?;
    create(stack, "ill_history", 1, &[("retention.ms", "604800000")])?;
    sources.iter().try_for_each(|source| stack.create_stopped(&source.prefix, &source.config))?;
    let [connectors, tables] =
        [0, 1].map(|part| ILLS.iter().map(|ill| ill.sections()[part].clone()).collect::<String>());
    let shipped = Shipped::of(format!(
        "reconciliation: ill
kafka: {{bootstrap.servers: \"{}\"}}
connect: {{url: \"{}\"}}
connectors:
{connectors}sources:
{tables}rules:
  - {{id: some, sql: SELECT order_id FROM of_losing WHERE total > 0, grace: 1s}}
",
        stack.bootstrap(),
        stack.connect_url()
    ));
    let found = Found::by(&shipped.binary(stack, folder.path())?, ledger)?;
    let differ: Vec<String> = ILLS.iter().filter_map(|ill| found.differs(ill.name, ill.found)).collect();
    assert_eq!(differ, [""; 0]);
    sources.iter().try_for_each(|source| stack.delete_connector(&source.prefix))
}
