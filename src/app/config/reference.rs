//! Every field of the configuration: its type, its default and what it is for. The reader takes names and defaults
//! from here, and docs/configuration.md is written from here, so that neither can say something else.
//!
//! Must not know: how a field is read.

mod stories;

pub use self::stories::{EXPECTED, STEP, STORY, TEST_FILE, TEST_SECTIONS};

/// A map with known fields.
pub struct SectionDoc {
    /// How the documentation calls it.
    pub title: &'static str,
    pub about: &'static str,
    pub fields: &'static [FieldDoc],
}

/// A field of a section.
pub struct FieldDoc {
    pub name: &'static str,
    /// What its value looks like.
    pub form: &'static str,
    /// As it would be written; `None` where there is none.
    pub default: Option<&'static str>,
    /// A sentence. It is also the hint where a required field is missing.
    pub about: &'static str,
    pub required: bool,
}

const fn required(name: &'static str, form: &'static str, about: &'static str) -> FieldDoc {
    FieldDoc { name, form, default: None, about, required: true }
}

const fn optional(name: &'static str, form: &'static str, about: &'static str) -> FieldDoc {
    FieldDoc { name, form, default: None, about, required: false }
}

const fn with_default(
    name: &'static str,
    form: &'static str,
    default: &'static str,
    about: &'static str,
) -> FieldDoc {
    FieldDoc { name, form, default: Some(default), about, required: false }
}

pub static ROOT: SectionDoc = SectionDoc {
    title: "The file",
    about: "One file is one reconciliation: a set of sources, one key, and the rules over them.",
    fields: &[
        required("reconciliation", "name", "The reconciliation's name, of a-z, 0-9 and -, such as orders-payments."),
        required(
            "kafka",
            "map of librdkafka properties",
            "At least bootstrap.servers; any librdkafka property may stand here.",
        ),
        required("connectors", "map: name → connector", "The Debezium connectors that the sources come from."),
        optional(
            "registry",
            "registry",
            "The schema registry, where a connector's converters or the output use one.",
        ),
        optional("connect", "connect", "Kafka Connect's REST interface, which only `evenkeel doctor` asks."),
        required("sources", "map: name → source", "The tables to compare; rules call them by these names."),
        optional("lookups", "map: name → lookup table", "Small constant tables that rules may join."),
        optional("rules", "list of rules", "Rules written in this file."),
        optional(
            "rule_files",
            "file name or list; * in the last part",
            "Files with further rules, relative to this file.",
        ),
        with_default(
            "stall_after",
            "duration",
            "2m",
            "How long a source's progress may stand still before it is said, once, to be stalled.",
        ),
        with_default(
            "slack",
            "duration",
            "2s",
            "How long after a heartbeat a topic-partition's end is taken, and for how long nothing that was sent before it must have come by then. More than a connector's producer pauses between two batches of one topic-partition.",
        ),
        with_default(
            "heartbeat_interval",
            "duration",
            "10s",
            "How often, in source time, a heartbeat record proves on the output that Evenkeel looked.",
        ),
        optional("topics", "topics", "The topics that Evenkeel writes."),
        optional("output", "output", "In which form discrepancies leave; JSON unless told otherwise."),
        optional("state", "state", "Where the state is kept."),
        optional("checkpoints", "checkpoints", "Where copies of the state go; without it none are made."),
        optional("limits", "limits", "Bounds on memory and on how long work is gathered."),
        optional("http", "http", "Metrics and health checks."),
        optional(
            "mask_key",
            "text",
            "The secret that keys the hashes of columns with mask: hash, best given as ${EVENKEEL_MASK_KEY}.",
        ),
    ],
};

pub static CONNECTOR: SectionDoc = SectionDoc {
    title: "connectors.<name>",
    about: "What a group of sources shares its progress with: one Debezium connector.",
    fields: &[
        required(
            "kind",
            "`postgresql`, `mysql`, `mariadb`, `sqlserver`, `oracle`, `mongodb`",
            "The connector's kind: postgresql, mysql, mariadb, sqlserver, oracle or mongodb.",
        ),
        with_default(
            "format",
            "`auto`, `json`, `avro`",
            "auto",
            "What the connector's converters write. auto tells by each record's first bytes and headers; with json or avro, records of another format go to quarantine.",
        ),
        with_default(
            "schema_id_bytes",
            "`auto`, `4`, `8`",
            "auto",
            "format: avro only: how long the schema's id in front of a record is. auto takes an id that begins with four zero bytes for one of eight, as Apicurio does.",
        ),
        optional(
            "flattened",
            "flattened",
            "How Debezium's ExtractNewRecordState is set, where the connector uses it.",
        ),
        optional(
            "heartbeat",
            "heartbeat",
            "The captured heartbeat table, which proves how far the connector has read. Required for all but postgresql and mysql with gtids: other change events do not carry the moment of the commit, and prove nothing.",
        ),
        optional(
            "transactions",
            "topic",
            "Where the connector tells of its transactions (`provide.transaction.metadata=true`), `<topic.prefix>.transaction` by its default. With it each transaction's events are counted and compared with what the connector says to have sent. Not for a connector with a Filter transform, which drops what was counted; not for oracle and mongodb.",
        ),
        optional(
            "decimal_handling_mode",
            "`precise`, `string`, `double`",
            "The connector's decimal.handling.mode. Needed where numeric columns are kept and events carry no schema.",
        ),
        with_default(
            "binary_handling_mode",
            "`bytes`, `base64`, `base64-url-safe`, `hex`",
            "bytes",
            "The connector's binary.handling.mode.",
        ),
        with_default(
            "gtids",
            "boolean",
            "false",
            "mysql only: true where events carry GTIDs with commit timestamps, so that source times are commit times.",
        ),
        with_default(
            "unavailable_value_placeholder",
            "text",
            "__debezium_unavailable_value",
            "The connector's unavailable.value.placeholder, which stands for large values that an update did not touch.",
        ),
        optional(
            "name_in_connect",
            "text",
            "What Kafka Connect calls the connector, where that is not its name here. For `evenkeel doctor`.",
        ),
        optional(
            "database",
            "URL",
            "postgresql, mysql and mariadb: the database, as in postgres://reader:${PASSWORD}@db:5432/shop?sslmode=verify-full or mysql://reader:${PASSWORD}@db:3306?ssl-mode=VERIFY_IDENTITY. Only `evenkeel doctor` asks it, in sessions that may only read. TLS is told as to the databases' own clients: sslmode and sslrootcert, or ssl-mode and ssl-ca; without, it is used where the server offers it, and certificates are not looked at.",
        ),
    ],
};

pub static FLATTENED: SectionDoc = SectionDoc {
    title: "connectors.<name>.flattened",
    about: "What the connector's configuration says of io.debezium.transforms.ExtractNewRecordState, each field by the name that it has there. \
            Positions and times must be among what is added: see formats.md.",
    fields: &[
        with_default(
            "add_fields",
            "list, as in Debezium",
            "",
            "add.fields, as in op,source.ts_ms,source.lsn,source.sequence,source.snapshot.",
        ),
        with_default("add_fields_prefix", "text", "__", "add.fields.prefix."),
        with_default("add_headers", "list, as in Debezium", "", "add.headers: what is added there is found as well."),
        with_default("add_headers_prefix", "text", "__", "add.headers.prefix."),
        with_default(
            "delete_tombstone_handling_mode",
            "`tombstone`, `drop`, `rewrite`, `rewrite-with-tombstone`, `delete-to-tombstone`",
            "tombstone",
            "delete.tombstone.handling.mode. With tombstone and delete-to-tombstone a delete has neither a time nor a position: Kafka's time stands in. With drop, deletes are never heard of.",
        ),
    ],
};

pub static REGISTRY: SectionDoc = SectionDoc {
    title: "registry",
    about: "The schema registry of the connectors' converters, and of the output where that is Avro: Confluent's, Karapace, Apicurio. \
            Schemas and ids are kept beside the state, so a restart needs no registry.",
    fields: &[
        required(
            "url",
            "URL",
            "Where it is, as in http://registry:8081. A URL that ends with /apis/registry/v2 or /v3 is Apicurio's own interface, which ids in Apicurio's headers need; any other one is Confluent's, Apicurio's /apis/ccompat/v7 among them. The output always uses Confluent's, which Apicurio serves beside its own.",
        ),
        optional("username", "text", "For basic authentication, with password."),
        optional("password", "text", "Best given as ${NAME}."),
        optional("token", "text", "A bearer token, best given as ${NAME}."),
        optional("ca_file", "file", "Certificates in PEM to trust in place of the system's."),
        with_default(
            "use_id",
            "`contentId`, `globalId`",
            "contentId",
            "Apicurio's own interface only: apicurio.registry.use-id, which ids in front of records are. Apicurio 2 defaults to globalId, 3 to contentId.",
        ),
    ],
};

pub static CONNECT: SectionDoc = SectionDoc {
    title: "connect",
    about: "Kafka Connect's REST interface. `evenkeel doctor` reads there how connectors are set; nothing else asks it, and nothing is changed.",
    fields: &[
        required("url", "URL", "Any worker of the cluster, as in http://connect:8083."),
        optional("username", "text", "For basic authentication, with password."),
        optional("password", "text", "Best given as ${NAME}."),
    ],
};

pub static HEARTBEAT: SectionDoc = SectionDoc {
    title: "connectors.<name>.heartbeat",
    about: "A small table that is captured like any other and whose one row is set to the database's clock every few seconds.",
    fields: &[
        required("topic", "topic", "The topic of the heartbeat table."),
        with_default("column", "column", "at", "Its column with the database's clock, in microseconds."),
        with_default("type", "column type", "timestamptz", "That column's type."),
    ],
};

pub static SOURCE: SectionDoc = SectionDoc {
    title: "sources.<name>",
    about: "A table, seen through its change topics. Exactly one of topic, topics and topic_pattern says which.",
    fields: &[
        required("connector", "name", "The connector that writes the table's topics."),
        optional("topic", "topic", "The topic of the table's changes, as in shop.shop.orders."),
        optional("topics", "list of topics", "The topics of a table that is spread over several."),
        optional(
            "topic_pattern",
            "regular expression",
            "Matches the whole name of each of the table's topics, as in 'shop\\.shop\\.orders_\\d+'.",
        ),
        required("primary_key", "column or list", "The table's primary key: a column, or a list of columns."),
        required("key", "column", "The column with the reconciliation key, which all sources share."),
        required(
            "columns",
            "map: name → column type, or {type, mask}",
            "The columns that rules need, with their types; all others are left where they are.",
        ),
        with_default(
            "replica_identity",
            "`default`, `full`",
            "default",
            "postgresql only: the table's REPLICA IDENTITY. With default, a delete does not say which key its row had, so rows are also found by their primary key.",
        ),
        with_default(
            "key_may_change",
            "boolean",
            "false",
            "postgresql with replica_identity: default only: true where an update may move a row to another key.",
        ),
        with_default(
            "history",
            "`complete`, `partial`",
            "complete",
            "partial where the topic begins in the middle of the table's history: a missing row then proves nothing about older keys.",
        ),
    ],
};

pub static COLUMN: SectionDoc = SectionDoc {
    title: "sources.<name>.columns.<name>",
    about: "A kept column. Its type alone will do: total: numeric(12,2).",
    fields: &[
        required("type", "column type", "The column's type as the database's DDL writes it, as in numeric(12,2)."),
        with_default(
            "mask",
            "`show`, `hide`, `hash`, `drop`",
            "show",
            "What becomes of its values on the way out: shown, replaced by ***, replaced by a keyed hash, or left out. Rules see them in any case.",
        ),
    ],
};

pub static LOOKUP: SectionDoc = SectionDoc {
    title: "lookups.<name>",
    about: "A small constant table that rules may join on any of its columns.",
    fields: &[
        required("columns", "map: name → column type", "The table's columns with their types."),
        required("rows", "list of lists of values", "The table's rows, each with a value for every column."),
    ],
};

pub static RULE: SectionDoc = SectionDoc {
    title: "rules[]",
    about: "A query over the rows of one key that returns a row for each disagreement, and how patient to be with it. See rules.md.",
    fields: &[
        required(
            "id",
            "name",
            "The rule's name, of a-z, 0-9 and -. Renaming a rule ends its discrepancies and begins new ones.",
        ),
        required(
            "sql",
            "SQL query",
            "The query. What it selects is the evidence; columns named severity, amount_at_risk and currency carry that meaning.",
        ),
        required(
            "grace",
            "duration",
            "How long a disagreement may last before it is a discrepancy, as in 5m; measured in source time.",
        ),
        optional(
            "escalate",
            "list of {after, severity}",
            "Further ages at which an open discrepancy is said again, with another severity.",
        ),
        with_default(
            "keep_open_for",
            "duration",
            "0s",
            "How long a discrepancy stays open after the disagreement ended.",
        ),
        with_default(
            "flap_window",
            "duration",
            "1h",
            "How long after its end a returning disagreement continues the same lineage with a higher flap_count.",
        ),
        optional(
            "identity",
            "column or list",
            "Selected columns that tell a key's disagreements apart, such as a payment's id. Without them a rule has at most one discrepancy a key.",
        ),
        optional(
            "labels",
            "map: name → text",
            "Words for routing and grouping; severity is the discrepancy's severity.",
        ),
        optional(
            "annotations",
            "map: name → text",
            "Text for people. {{column}} stands for that selected column's value.",
        ),
    ],
};

pub static ESCALATION: SectionDoc = SectionDoc {
    title: "rules[].escalate[]",
    about: "A further age of an open discrepancy.",
    fields: &[
        required(
            "after",
            "duration",
            "The age of the disagreement, counted from its beginning; more than the grace and rising.",
        ),
        required("severity", "text", "The severity from then on."),
    ],
};

pub static RULE_FILE: SectionDoc = SectionDoc {
    title: "Rule files",
    about: "A rule file has rules and the lookup tables that they need.",
    fields: &[
        optional("lookups", "map: name → lookup table", "As in the main file; names must be unique over all files."),
        optional("rules", "list of rules", "As in the main file; ids must be unique over all files."),
    ],
};

pub static TOPICS: SectionDoc = SectionDoc {
    title: "topics",
    about: "The topics that Evenkeel writes. They are made where they don't exist.",
    fields: &[
        optional(
            "prefix",
            "text",
            "Begins the names of the topics, consumer groups and transactional ids. Where it is set, a new reconciliation name alters none of them. Readers name the group evenkeel-reader. Default: evenkeel.<reconciliation>.",
        ),
        optional("changes", "topic", "The internal changes log. Default: <prefix>.changes."),
        optional("discrepancies", "topic", "What was found, as it happens. Default: <prefix>.discrepancies."),
        optional("open", "topic", "What is open now, by key; compacted. Default: <prefix>.open."),
        optional("quarantine", "topic", "Records that could not be understood. Default: <prefix>.quarantine."),
        with_default(
            "partitions",
            "number",
            "8",
            "Partitions of the changes log and of the outputs: the most members that can share the work. It can't be changed later.",
        ),
        with_default("replication_factor", "number", "-1", "Of new topics; -1 is the broker's default."),
    ],
};

pub static OUTPUT: SectionDoc = SectionDoc {
    title: "output",
    about: "The form of the discrepancy and the open topic. Quarantined records are JSON in any case.",
    fields: &[
        with_default(
            "format",
            "`json`, `avro`",
            "json",
            "avro needs the registry, which gives the ids of schemas, and frames records as Confluent's serializers do.",
        ),
        with_default(
            "subject_name_strategy",
            "`topic_name`, `record_name`, `topic_record_name`",
            "topic_name",
            "format: avro only: how the registry's subjects are named, as Confluent's strategies of these names do. With \
             topic_name the discrepancy topic's one schema is a union.",
        ),
        with_default(
            "auto_register",
            "boolean",
            "true",
            "format: avro only: Confluent's auto.register.schemas. false never writes to the registry; somebody has registered \
             the files of schemas/avro before.",
        ),
    ],
};

pub static STATE: SectionDoc = SectionDoc {
    title: "state",
    about: "What is remembered of each key.",
    fields: &[with_default(
        "dir",
        "folder",
        "/var/lib/evenkeel",
        "A folder on a local disk. Each reconciliation and partition has its own below it.",
    )],
};

pub static CHECKPOINTS: SectionDoc = SectionDoc {
    title: "checkpoints",
    about: "Copies of each partition's state, from which a member begins that has lost its disk or never had one. Without \
            them it reads the changes log from its beginning.",
    fields: &[
        required(
            "url",
            "URL, or a folder",
            "Where they go: a shared folder, or s3://bucket/prefix, gs://bucket/prefix, az://container/prefix.",
        ),
        with_default("every", "duration", "1m", "How often a partition's state is copied, where it has changed."),
        with_default("keep", "number", "3", "How many checkpoints of a partition are kept."),
        optional(
            "options",
            "map: name → text",
            "What the store needs, by the names of the object_store crate, as in aws_region, aws_endpoint or \
             aws_access_key_id. Secrets are better given as ${NAME}.",
        ),
    ],
};

pub static LIMITS: SectionDoc = SectionDoc {
    title: "limits",
    about: "Bounds on memory, over all partitions of a process, and on how long work is gathered.",
    fields: &[
        with_default(
            "cache",
            "size",
            "128MiB",
            "Memory for key states and waiting changes; more of them are kept in the state store.",
        ),
        with_default("rocksdb", "size", "128MiB", "RocksDB's block cache and write buffers."),
        with_default("fetch", "size", "32MiB", "Records that were fetched from Kafka and not yet worked on."),
        with_default("block", "size", "512KiB", "A block of the changes log is closed at this size, 1KiB to 900KiB."),
        with_default("linger", "duration", "100ms", "A block of the changes log is closed after this time."),
        with_default("flush", "duration", "1s", "How often the state is written to disk."),
        with_default(
            "quarantine",
            "size",
            "64KiB",
            "Refused records that are quarantined a second, and 1024 times as much at once. Beyond that their topic-partitions wait, so that a flood of them slows down and fills no disks.",
        ),
    ],
};

pub static HTTP: SectionDoc = SectionDoc {
    title: "http",
    about: "Serves /metrics, /livez and /readyz.",
    fields: &[with_default(
        "listen",
        "address:port, or `off`",
        "0.0.0.0:9464",
        "Where to listen; off serves nothing.",
    )],
};

/// The sections of a configuration file, in the order of the documentation.
pub static SECTIONS: [&SectionDoc; 18] = [
    &ROOT,
    &CONNECTOR,
    &FLATTENED,
    &HEARTBEAT,
    &REGISTRY,
    &CONNECT,
    &SOURCE,
    &COLUMN,
    &LOOKUP,
    &RULE,
    &ESCALATION,
    &RULE_FILE,
    &TOPICS,
    &OUTPUT,
    &STATE,
    &CHECKPOINTS,
    &LIMITS,
    &HTTP,
];

/// The sections as Markdown tables.
pub fn markdown(sections: &[&SectionDoc]) -> String {
    let mut text = String::new();
    for section in sections {
        text.push_str(&format!("### {}\n\n{}\n\n", section.title, section.about));
        text.push_str("| field | value | default | meaning |\n|---|---|---|---|\n");
        for field in section.fields {
            let default = match (field.required, field.default) {
                (true, _) => "**required**".to_owned(),
                (false, Some(default)) => format!("`{default}`"),
                (false, None) => String::new(),
            };
            let cell = |text: &str| text.replace('|', "\\|");
            text.push_str(&format!(
                "| `{}` | {} | {default} | {} |\n",
                field.name,
                cell(field.form),
                cell(field.about)
            ));
        }
        text.push('\n');
    }
    text
}
