//! The two Debezium connectors a test usually wants, ready to register: `shop` reads PostgreSQL, `pay` MariaDB.

use std::sync::atomic::{AtomicU32, Ordering};

use super::connect::Config;
use super::registry::Registry;
use super::stack::Stack;

/// The two versions of the PostgreSQL connector that install.sh fetches. All tests use the first unless they say otherwise.
pub const POSTGRES_CONNECTOR: &str = "3.6.3.Final";
pub const POSTGRES_CONNECTOR_NEXT: &str = "3.7.0.Final";

/// Where a record has its schema's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvroIds {
    Confluent,
    EightBytes,
    Headers,
}

/// A connector's configuration with the topics it writes.
#[derive(Clone)]
pub struct Source {
    /// The connector's name and Debezium's topic prefix. No hyphen: it becomes an Avro namespace.
    pub prefix: String,
    pub config: Config,
    schema: &'static str,
    topics: Vec<(String, i32)>,
}

impl Source {
    /// PostgreSQL: shop.orders and a heartbeat row that the connector updates each second.
    pub fn shop(stack: &Stack, prefix: &str) -> Source {
        let mut source = Source::new(prefix, "shop", "orders", 4);
        source.set_all(&[
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
            ("connector.plugin.version", POSTGRES_CONNECTOR),
            ("database.port", &stack.pg_port().to_string()),
            ("database.user", "postgres"),
            ("database.password", "unused"),
            ("database.dbname", "postgres"),
            ("plugin.name", "pgoutput"),
            ("slot.name", &source.slot()),
            ("publication.name", &source.publication()),
            ("publication.autocreate.mode", "filtered"),
            ("table.include.list", "shop.orders,shop.heartbeat"),
            ("heartbeat.action.query", "update shop.heartbeat set n = n + 1, at = clock_timestamp() where id = 1"),
        ]);
        source
    }

    /// MariaDB, or MySQL while it is that: pay.payments and a heartbeat row that the database's own scheduler updates each second.
    pub fn pay(stack: &Stack, prefix: &str) -> Source {
        // Each connector is a replica of its own to the server.
        static REPLICAS: AtomicU32 = AtomicU32::new(5400);
        let replica = REPLICAS.fetch_add(1, Ordering::Relaxed);
        let mut source = Source::new(prefix, "pay", "payments", 3);
        source.set_all(&[
            ("connector.class", "io.debezium.connector.mariadb.MariaDbConnector"),
            ("database.port", &stack.maria_port().to_string()),
            ("database.user", "evenkeel"),
            ("database.password", "evenkeel"),
            ("database.protocol", "jdbc:mariadb"),
            ("database.include.list", "pay"),
            ("database.server.id", &replica.to_string()),
            ("table.include.list", "pay.payments,pay.heartbeat"),
            ("schema.history.internal.kafka.bootstrap.servers", &stack.bootstrap()),
            ("schema.history.internal.kafka.topic", &format!("{prefix}.history")),
            // A silent server reports back each 0.8 times this; the default is a minute.
            ("connect.keep.alive.interval.ms", "2500"),
        ]);
        if stack.is_paid_by_mysql() {
            source.config.remove("database.protocol");
            source.set_all(&[("connector.class", "io.debezium.connector.mysql.MySqlConnector")]);
        }
        source
    }

    /// Makes the connector of a MariaDB source tick, too: each two seconds when nothing else happens there.
    pub fn with_connector_tick(self) -> Source {
        self.set(
            "heartbeat.action.query",
            "update pay.heartbeat set n = n + 1, at = current_timestamp(6) where id = 1",
        )
    }

    /// Keys and values each inside `{"schema":…,"payload":…}`, as Connect does unless told otherwise.
    pub fn with_schemas(self) -> Source {
        self.set("key.converter.schemas.enable", "true").set("value.converter.schemas.enable", "true")
    }

    /// Avro by Apicurio's converter: schemas' ids in front of records as Confluent has them, or of eight bytes, or in
    /// headers, as version 2 does unless told otherwise.
    pub fn with_avro(mut self, registry: &Registry, ids: AvroIds) -> Source {
        self.config.retain(|name, _| !name.contains("converter"));
        let (confluent, headers, id) = match ids {
            AvroIds::Confluent => ("true", "false", "contentId"),
            AvroIds::EightBytes => ("false", "false", "globalId"),
            AvroIds::Headers => ("false", "true", "globalId"),
        };
        for half in ["key.converter", "value.converter"] {
            self.config.insert(half.to_owned(), "io.apicurio.registry.utils.converter.AvroConverter".to_owned());
            for (name, value) in [
                ("url", registry.native(2).as_str()),
                ("auto-register", "true"),
                ("find-latest", "true"),
                ("as-confluent", confluent),
                ("headers.enabled", headers),
                ("use-id", id),
            ] {
                self.config.insert(format!("{half}.apicurio.registry.{name}"), value.to_owned());
            }
        }
        self
    }

    /// Values as CloudEvents in JSON, their data with a schema or without.
    pub fn with_cloud_events(self, schemas: bool) -> Source {
        self.set("value.converter", "io.debezium.converters.CloudEventsConverter")
            .set("value.converter.serializer.type", "json")
            .set("value.converter.data.serializer.type", "json")
            .set("value.converter.json.schemas.enable", &schemas.to_string())
    }

    /// Rows instead of envelopes.
    pub fn flattened(mut self, settings: &[(&str, &str)]) -> Source {
        self.set_all(&[
            ("transforms", "unwrap"),
            ("transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState"),
        ]);
        for (name, value) in settings {
            self.config.insert(format!("transforms.unwrap.{name}"), (*value).to_owned());
        }
        self
    }

    pub fn set(mut self, name: &str, value: &str) -> Source {
        self.set_all(&[(name, value)]);
        self
    }

    /// One more table to capture, its topic made with this many partitions.
    pub fn with_table(mut self, table: &str, partitions: i32) -> Source {
        let list = format!("{},{}.{table}", self.config["table.include.list"], self.schema);
        self.topics.push((self.topic(table), partitions));
        self.set("table.include.list", &list)
    }

    /// The topic of one of its tables, such as `shop.shop.orders`.
    pub fn topic(&self, table: &str) -> String {
        format!("{}.{}.{table}", self.prefix, self.schema)
    }

    pub fn heartbeat_topic(&self) -> String {
        self.topic("heartbeat")
    }

    /// The topics to make before the connector starts.
    pub fn topics(&self) -> &[(String, i32)] {
        &self.topics
    }

    pub fn slot(&self) -> String {
        format!("{}_slot", self.prefix)
    }

    pub fn publication(&self) -> String {
        format!("{}_publication", self.prefix)
    }

    pub fn is_postgres(&self) -> bool {
        self.schema == "shop"
    }

    fn new(prefix: &str, schema: &'static str, table: &str, partitions: i32) -> Source {
        let mut source = Source { prefix: prefix.to_owned(), config: Config::new(), schema, topics: Vec::new() };
        source.topics = vec![
            (source.topic(table), partitions),
            // As where Kafka Connect creates topics with the broker's count: the row is in one of them.
            (source.heartbeat_topic(), 3),
            (format!("{prefix}.transaction"), 1),
            (format!("__debezium-heartbeat.{prefix}"), 1),
        ];
        source.set_all(&[
            ("topic.prefix", prefix),
            ("database.hostname", "127.0.0.1"),
            ("tasks.max", "1"),
            ("heartbeat.interval.ms", "1000"),
            ("provide.transaction.metadata", "true"),
            ("decimal.handling.mode", "string"),
            ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("key.converter.schemas.enable", "false"),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("value.converter.schemas.enable", "false"),
            ("value.converter.replace.null.with.default", "false"),
            // Half a second by default: tests wait for events all the time.
            ("poll.interval.ms", "50"),
        ]);
        source
    }

    fn set_all(&mut self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.config.insert((*name).to_owned(), (*value).to_owned());
        }
    }
}
