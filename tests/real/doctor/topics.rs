//! Topics that lose something, what stands in them, and parts that do not answer.

use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use super::super::anew::admin;
use super::super::binary::Shipped;
use super::super::{Result, Stack};
use super::{Found, Ledger};

/// Makes a topic with settings of its own.
pub fn create(stack: &Stack, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let made =
        tokio::runtime::Runtime::new()?.block_on(admin(stack)?.create_topics([&topic], &AdminOptions::new()))?;
    assert!(made.iter().all(std::result::Result::is_ok), "{made:?}");
    Ok(())
}

/// A topic, its settings, what is found.
type Set = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// What the topics of the suite are set to, and what is found of it beside that one broker alone has it.
const SET: [Set; 3] = [
    (
        "ill_short",
        &[("retention.ms", "800"), ("retention.bytes", "1000000"), ("unclean.leader.election.enable", "true")],
        "FAIL retention.ms
         WARN retention.bytes
         WARN unclean.leader.election.enable",
    ),
    ("ill_brief", &[("retention.ms", "86400000")], "WARN retention.ms"),
    ("ill_compact", &[("cleanup.policy", "compact,delete")], "WARN cleanup.policy"),
];

const MIXED: &str = "ill_mixed";

/// May be looked at, and not read.
const FORBIDDEN: &str = "ill_forbidden";

/// Of one broker, whatever else is found.
const ALONE: &str = "WARN replicas, min.insync.replicas";

pub fn all(stack: &Stack, ledger: &mut Ledger) -> Result {
    SET.iter().try_for_each(|(name, settings, _)| create(stack, name, 1, settings))?;
    create(stack, MIXED, 1, &[])?;
    create(stack, FORBIDDEN, 1, &[])?;
    mix(stack)?;
    forbid(stack)?;
    let names = SET.iter().map(|(name, ..)| *name).chain([MIXED, FORBIDDEN, "ill_absent"]);
    let tables: String = names
        .map(|name| format!("  {name}: {{connector: shop, topic: {name}, primary_key: order_id, key: order_id, replica_identity: full, columns: {{order_id: bigint, total: \"numeric(12,2)\", never: text}}}}\n"))
        .collect();
    let text = |bootstrap: &str, more: &str, database: &str| {
        Shipped::of(format!(
            "reconciliation: ill
kafka: {{bootstrap.servers: \"{bootstrap}\"}}
{more}
connectors:
  shop: {{kind: postgresql, decimal_handling_mode: string, {database}}}
sources:
{tables}rules:
  - {{id: some, sql: SELECT order_id FROM ill_mixed WHERE total > 0, grace: 1s}}
"
        ))
    };
    let folder = tempfile::tempdir()?;
    let connect = format!("connect: {{url: \"{}\"}}", stack.connect_url());
    let found = Found::by(&text(&stack.bootstrap(), &connect, "").binary(stack, folder.path())?, ledger)?;
    for (name, _, expected) in SET {
        found.is_wrong(name, &format!("{expected}\n{ALONE}"));
    }
    found.is_wrong("ill_absent", "FAIL exists");
    found.is_wrong("access", &format!("FAIL connector shop\nFAIL reading {FORBIDDEN}"));
    found.is_wrong(
        MIXED,
        &format!(
            "FAIL before image
             FAIL columns
             FAIL one connector
             FAIL understood
             WARN decimals
             WARN key
             WARN run header
             WARN shape
             {ALONE}"
        ),
    );

    // Nobody listens there.
    let nobody = "http://127.0.0.1:1";
    let more = format!("connect: {{url: \"{nobody}\"}}\nregistry: {{url: \"{nobody}\"}}");
    let dead = text("127.0.0.1:1", &more, "database: \"postgres://reader@127.0.0.1:1/shop\"");
    let found = Found::by(&dead.binary(stack, folder.path())?, ledger)?;
    found.is_wrong("access", "FAIL Kafka\nFAIL Kafka Connect\nFAIL database of shop\nFAIL schema registry");
    Ok(())
}

/// Events as two connectors wrote them, of which the converters and the decimals were changed; and what is none.
fn mix(stack: &Stack) -> Result {
    let event = |name: &str, op: &str, total: Value| {
        let source = json!({"version": "3.6.3.Final", "connector": "postgresql", "name": name, "db": "postgres", "schema": "shop",
            "table": "orders", "ts_ms": 1_700_000_000_000_i64, "ts_us": 1_700_000_000_000_000_i64, "snapshot": "false",
            "sequence": "[null,\"100\"]", "lsn": 100, "txId": 1});
        json!({"op": op, "source": source, "before": null, "after": {"order_id": 1, "total": total}, "ts_ms": 1_700_000_000_000_i64})
    };
    let with_schema = json!({"schema": {"type": "struct", "fields": []}, "payload": event("one", "c", json!(2.5))});
    let values = [
        event("one", "c", json!("1.00")).to_string(),
        with_schema.to_string(),
        event("two", "u", json!("3.00")).to_string(),
        "{".to_owned(),
    ];
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", stack.bootstrap()).create()?;
    for value in &values {
        producer.send(BaseRecord::<[u8], _>::to(MIXED).payload(value)).map_err(|(error, _)| error)?;
    }
    producer.send(BaseRecord::<[u8], _>::to(FORBIDDEN).payload(&values[0])).map_err(|(error, _)| error)?;
    Ok(producer.flush(Duration::from_secs(20))?)
}

/// Sets access control lists, which rdkafka has no function for.
fn forbid(stack: &Stack) -> Result {
    let script = "
import sys
from confluent_kafka.admin import *
topic, bootstrap = sys.argv[1:]
def rule(operation, permission):
    return AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, 'User:ANONYMOUS', '*', operation, permission)
rules = [rule(AclOperation.DESCRIBE, AclPermissionType.ALLOW), rule(AclOperation.READ, AclPermissionType.DENY)]
admin = AdminClient({'bootstrap.servers': bootstrap})
for made in admin.create_acls(rules).values():
    made.result(20)
";
    let python = &stack.parts().python;
    let status = Command::new(python).args(["-c", script, FORBIDDEN, &stack.bootstrap()]).status()?;
    assert!(status.success(), "the broker takes access control lists");
    Ok(())
}
