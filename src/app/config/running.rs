//! What the process itself is told: Kafka's properties, limits, patience, where to listen, where to keep state.
//!
//! Must not know: sources' tables, rules.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use url::Url;

use super::node::{Name, Node};
use super::reader::{Context, Section};
use super::sources::Partly;
use super::units::{Problem, nearest};
use super::{Named, reference};
use crate::adapters::checkpoints::refused_store;
use crate::adapters::connect::ConnectSettings;
use crate::adapters::debezium::shape::Mask;
use crate::adapters::http::Credentials;
use crate::adapters::kafka::refused_property;
use crate::adapters::records::avro::Naming;
use crate::adapters::registry::{RegistrySettings, UseId};
use crate::app::diagnostic::Kind;
use crate::app::settings::{AvroSettings, CheckpointSettings, Limits};
use crate::task::ingest::Patience;

/// What correctness rests on is set by Evenkeel alone.
const OWN: [(&str, &str); 25] = [
    ("group.id", "Groups are named after topics: {prefix: …}."),
    ("transactional.id", "Transactional ids are named after topics: {prefix: …}."),
    ("enable.auto.commit", "Evenkeel commits offsets itself, after what was read is safely written."),
    ("enable.auto.offset.store", "Evenkeel commits offsets itself, after what was read is safely written."),
    ("auto.offset.reset", "A lost offset must be an error: reading on elsewhere would skip changes in silence."),
    ("isolation.level", "Evenkeel reads committed records only."),
    ("partition.assignment.strategy", "Partitions move one by one; mixed strategies could not work together."),
    ("enable.idempotence", "Writing without it could repeat or reorder changes."),
    ("enable.gapless.guarantee", "Writing without it could lose changes in silence."),
    ("acks", "Evenkeel waits for all in-sync replicas."),
    ("request.required.acks", "Evenkeel waits for all in-sync replicas."),
    ("message.timeout.ms", "Changes are sent until they are written."),
    ("transaction.timeout.ms", "Transactions are short; a longer timeout would only delay a take-over."),
    ("partitioner", "Keys go to the partition of Kafka's own default partitioner."),
    ("allow.auto.create.topics", "Topics are made with the settings that they need."),
    ("compression.type", "Blocks of the changes log compress best with the codec that Evenkeel sets."),
    ("linger.ms", "Set limits: {linger: 100ms} instead."),
    ("message.max.bytes", "Set limits: {block: 256KiB} instead."),
    ("enable.partition.eof", "Evenkeel needs to know where a partition ends."),
    ("queued.max.messages.kbytes", "Set limits: {fetch: 32MiB} instead."),
    ("fetch.max.bytes", "Set limits: {fetch: 32MiB} instead."),
    ("fetch.message.max.bytes", "Set limits: {fetch: 32MiB} instead."),
    ("fetch.queue.backoff.ms", "Fetch queues are small, so a full one is looked at again soon."),
    (
        "queue.buffering.max.kbytes",
        "Evenkeel waits where a producer's buffer is full; a larger one would gain nothing.",
    ),
    (
        "queue.buffering.max.messages",
        "Evenkeel waits where a producer's buffer is full; a larger one would gain nothing.",
    ),
];

/// The librdkafka properties, each checked by librdkafka itself.
pub fn kafka<'n>(context: &'n Context<'n>, node: &'n Node) -> Option<BTreeMap<String, String>> {
    let entries = context.map(node, "kafka")?;
    let mut properties = BTreeMap::new();
    for (name, node) in &entries {
        if let Some((_, reason)) = OWN.iter().find(|(own, _)| *own == name.text) {
            let message = format!("kafka: \"{}\" cannot be set", name.text);
            context.report(name.fault(Kind::Conflict, message).hint(*reason));
            continue;
        }
        let Some(value) = context.text(node, &format!("kafka: {}", name.text)) else { continue };
        if let Some(reason) = refused_property(&name.text, &value) {
            let reason =
                if value.is_empty() { reason } else { reason.replace(&value, node.scalar().unwrap_or("***")) };
            let fault =
                name.fault(Kind::BadValue, format!("kafka: \"{}\" is refused by librdkafka: {reason}", name.text));
            context.report(match nearest(&name.text, KNOWN).filter(|near| *near != name.text) {
                Some(near) => fault.hint(format!("Did you mean \"{near}\"?")),
                None => fault
                    .hint("The properties are those of librdkafka's CONFIGURATION.md, not those of Java clients."),
            });
        }
        properties.insert(name.text.clone(), value);
    }
    if !entries.iter().any(|(name, _)| name.text == "bootstrap.servers" || name.text == "metadata.broker.list") {
        let fault = node.fault(Kind::MissingField, "kafka: \"bootstrap.servers\" is missing");
        context.report(fault.hint("Name at least one broker, as in bootstrap.servers: localhost:9092."));
    }
    Some(properties)
}

/// What people set, for suggestions.
const KNOWN: [&str; 14] = [
    "bootstrap.servers",
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "client.id",
    "client.rack",
    "group.instance.id",
    "session.timeout.ms",
    "socket.keepalive.enable",
];

pub fn patience(root: &Section<'_>) -> Option<Patience> {
    let stall_after_us = root.duration("stall_after");
    let slack_us = root.duration("slack");
    if let (Some(0), Some(node)) = (stall_after_us, root.get("stall_after")) {
        root.context.report(node.fault(Kind::BadValue, "stall_after must be more than 0"));
    }
    Some(Patience { slack_us: slack_us?, stall_after_us: stall_after_us? })
}

const DEFAULT_LIMITS: Limits = Limits {
    cache_bytes: 128 << 20,
    rocksdb_bytes: 128 << 20,
    fetch_bytes: 32 << 20,
    block_bytes: 512 << 10,
    linger_ms: 100,
    flush_ms: 1000,
    quarantine_bytes: 64 << 10,
};

pub fn limits(root: &Section<'_>) -> Option<Limits> {
    let Some(node) = root.get("limits") else { return Some(DEFAULT_LIMITS) };
    let section = root.context.section(node, &reference::LIMITS, "limits")?;
    let within = |name: &str, least: usize, most: usize| {
        let bytes = section.size(name);
        if let (Some(bytes), Some(node)) = (bytes, section.get(name))
            && !(least..=most).contains(&bytes)
        {
            let fault = node.fault(Kind::BadValue, format!("{}: out of its range", section.path(name)));
            let most = if most == usize::MAX { "".to_owned() } else { format!(" and at most {}KiB", most >> 10) };
            section.context.report(fault.hint(format!("It is at least {}KiB{most}.", least >> 10)));
        }
        bytes
    };
    let millis = |name: &str| {
        let micros = section.duration(name);
        if let (Some(0..1000), Some(node)) = (micros, section.get(name)) {
            section.context.report(
                node.fault(Kind::BadValue, format!("{}: less than 1ms", section.path(name)))
                    .hint("Write a duration from 1ms, as in 100ms."),
            );
        }
        micros.map(|micros| (micros / 1000).unsigned_abs())
    };
    let cache_bytes = within("cache", 1 << 20, usize::MAX);
    let rocksdb_bytes = within("rocksdb", 16 << 20, usize::MAX);
    let fetch_bytes = within("fetch", 1 << 20, usize::MAX);
    let block_bytes = within("block", 1 << 10, 900 << 10);
    let quarantine_bytes = within("quarantine", 1 << 10, usize::MAX);
    let (linger_ms, flush_ms) = (millis("linger"), millis("flush"));
    Some(Limits {
        cache_bytes: cache_bytes?,
        rocksdb_bytes: rocksdb_bytes?,
        fetch_bytes: fetch_bytes?,
        block_bytes: block_bytes?,
        linger_ms: linger_ms?,
        flush_ms: flush_ms?,
        quarantine_bytes: quarantine_bytes?,
    })
}

/// `Some(None)` serves nothing.
pub fn http(root: &Section<'_>) -> Option<Option<SocketAddr>> {
    let parse = |text: &str| match text {
        "off" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Problem::new(format!("\"{text}\" is not an address and a port")).hint(
                "As in 0.0.0.0:9464 for all interfaces, 127.0.0.1:9464 for this machine only; off serves nothing.",
            )
        }),
    };
    match root.get("http") {
        None => reference::HTTP.fields[0].default.and_then(|text| parse(text).ok()),
        Some(node) => root.context.section(node, &reference::HTTP, "http")?.read("listen", parse),
    }
}

pub fn state_dir(root: &Section<'_>) -> Option<PathBuf> {
    match root.get("state") {
        None => reference::STATE.fields[0].default.map(PathBuf::from),
        Some(node) => {
            let section = root.context.section(node, &reference::STATE, "state")?;
            section.read("dir", |text| Ok(PathBuf::from(text)))
        }
    }
}

/// `Some(None)` where there is none.
pub fn registry(root: &Section<'_>) -> Option<Option<RegistrySettings>> {
    let Some(node) = root.get("registry") else { return Some(None) };
    let section = root.context.section(node, &reference::REGISTRY, "registry")?;
    section.require("url");
    let url = section.read("url", |text| web_url(text, "a registry", "As in http://registry:8081."));
    let [username, password, token] = ["username", "password", "token"].map(|name| section.text(name));
    let credentials = match (username, password, token) {
        (None, None, None) => None,
        (Some(username), Some(password), None) => Some(Credentials::Basic { username, password }),
        (None, None, Some(token)) => Some(Credentials::Bearer(token)),
        _ => {
            let fault = section.start_fault(Kind::Conflict, "registry: this is half a login, or two of them");
            root.context.report(fault.hint("Set username and password, or token alone."));
            None
        }
    };
    let ca_file = section.text("ca_file").map(PathBuf::from);
    let use_id = section.choice("use_id", &[("contentId", UseId::ContentId), ("globalId", UseId::GlobalId)]);
    Some(Some(RegistrySettings { url: url?, credentials, ca_file, use_id: use_id? }))
}

/// `Some(None)` is JSON.
pub fn output(root: &Section<'_>) -> Option<Option<AvroSettings>> {
    let Some(node) = root.get("output") else { return Some(None) };
    let section = root.context.section(node, &reference::OUTPUT, "output")?;
    let is_avro = section.choice("format", &[("json", false), ("avro", true)]);
    let naming = section.choice(
        "subject_name_strategy",
        &[
            ("topic_name", Naming::TopicName),
            ("record_name", Naming::RecordName),
            ("topic_record_name", Naming::TopicRecordName),
        ],
    );
    let registers = section.boolean("auto_register");
    if !is_avro? {
        for field in ["subject_name_strategy", "auto_register"] {
            if let Some(node) = section.get(field) {
                let fault = node.fault(Kind::Conflict, format!("{} is only for format: avro", section.path(field)));
                root.context.report(fault.hint("Add format: avro, or remove it."));
            }
        }
        return Some(None);
    }
    if root.get("registry").is_none() {
        let fault = section.start_fault(Kind::MissingField, "output: format: avro needs a registry");
        let hint = "Avro records carry the id that a schema registry gives: say where it is, as in registry: {url: http://registry:8081}.";
        root.context.report(fault.hint(hint));
    }
    Some(Some(AvroSettings { naming: naming?, registers: registers? }))
}

/// A URL without a login.
fn web_url(text: &str, of: &str, hint: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| Problem::new(format!("this is no URL of {of}")).hint(hint))?;
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(url),
        false => Err(Problem::new("a login in a URL is written to logs").hint("Set username and password.")),
    }
}

/// `Some(None)` where there is none.
pub fn connect(root: &Section<'_>) -> Option<Option<ConnectSettings>> {
    let Some(node) = root.get("connect") else { return Some(None) };
    let section = root.context.section(node, &reference::CONNECT, "connect")?;
    section.require("url");
    let url = section.read("url", |text| web_url(text, "Kafka Connect", "As in http://connect:8083."));
    let credentials = match (section.text("username"), section.text("password")) {
        (None, None) => None,
        (Some(username), Some(password)) => Some(Credentials::Basic { username, password }),
        _ => {
            let fault = section.start_fault(Kind::Conflict, "connect: this is half a login");
            root.context.report(fault.hint("Set both username and password, or neither."));
            None
        }
    };
    Some(Some(ConnectSettings { url: url?, credentials }))
}

/// `Some(None)` makes none.
pub fn checkpoints(root: &Section<'_>) -> Option<Option<CheckpointSettings>> {
    let Some(node) = root.get("checkpoints") else { return Some(None) };
    let context = root.context;
    let section = context.section(node, &reference::CHECKPOINTS, "checkpoints")?;
    section.require("url");
    let url = section.read("url", |text| {
        let url = if text.starts_with('/') { Url::from_directory_path(text).ok() } else { Url::parse(text).ok() };
        url.ok_or_else(|| {
            Problem::new(format!("\"{text}\" is neither a URL nor a folder"))
                .hint("As in s3://bucket/prefix, or /mnt/evenkeel, a folder that every member sees.")
        })
    });
    let entries =
        section.get("options").and_then(|node| context.map(node, "checkpoints: options")).unwrap_or_default();
    let option = |(name, node): &(&Name, &Node)| {
        Some((name.text.clone(), context.text(node, &format!("checkpoints: options: {}", name.text))?))
    };
    let options: BTreeMap<String, String> = entries.iter().filter_map(option).collect();
    if let (Some(url), Some(node)) = (&url, section.get("url"))
        && let Some(mut message) = refused_store(url, &options)
    {
        // It may quote an option's value, or a login in the URL.
        let secrets = [url.as_str()].into_iter().chain(options.values().map(String::as_str));
        for secret in secrets.filter(|secret| !secret.is_empty()) {
            message = message.replace(secret, "***");
        }
        let fault = node.fault(Kind::BadValue, format!("checkpoints: this cannot be a store: {message}"));
        context.report(fault.hint("Look at the scheme of the URL, and at the options that it needs."));
    }
    let every_ms = section.duration("every").map(|micros| micros.unsigned_abs() / 1000);
    if let (Some(0), Some(node)) = (every_ms, section.get("every")) {
        context.report(
            node.fault(Kind::BadValue, "checkpoints: every: less than 1ms").hint("Write a duration, as in 1m."),
        );
    }
    let keep = section.read("keep", |text| match text.parse() {
        Ok(keep @ 1..=1000) => Ok(keep),
        _ => Err(Problem::new(format!("\"{text}\" is not a number from 1 to 1000")).hint("Write a number, as in 3.")),
    });
    Some(Some(CheckpointSettings { url: url?, options, every_ms: every_ms?, keep: keep? }))
}

/// Shorter secrets can be guessed by trying them all.
const SECRET: usize = 16;

/// The key of hashed columns; empty where there are none.
pub fn mask_key(root: &Section<'_>, sources: &[Named<'_, Partly>]) -> Option<Box<[u8]>> {
    let Some(node) = root.get("mask_key") else {
        return match sources.iter().find(|source| source.value.masks.contains(&Mask::Hash)) {
            None => Some(Box::default()),
            Some(source) => {
                let message = format!("source \"{}\" has a hashed column, but there is no mask_key", source.name);
                root.context.report(source.at.fault(Kind::MissingField, message).hint(
                    "Set mask_key: ${EVENKEEL_MASK_KEY}. Without a secret key, hashes could be undone by trying values.",
                ));
                None
            }
        };
    };
    let text = root.context.text(node, "mask_key")?;
    if text.len() < SECRET {
        let fault = node.fault(Kind::BadValue, format!("mask_key is shorter than {SECRET} bytes"));
        root.context.report(fault.hint("Make one with: openssl rand -hex 32"));
    }
    Some(text.into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::config::units;

    #[test]
    fn the_default_limits_are_those_of_the_reference() {
        let text = |name: &str| {
            let field = reference::LIMITS.fields.iter().find(|field| field.name == name);
            field.and_then(|field| field.default).unwrap_or_default()
        };
        let size = |name: &str| units::size(text(name)).expect("a size");
        let millis = |name: &str| (units::duration(text(name)).expect("a duration") / 1000).unsigned_abs();
        let reference = Limits {
            cache_bytes: size("cache"),
            rocksdb_bytes: size("rocksdb"),
            fetch_bytes: size("fetch"),
            block_bytes: size("block"),
            linger_ms: millis("linger"),
            flush_ms: millis("flush"),
            quarantine_bytes: size("quarantine"),
        };
        assert_eq!(reference, DEFAULT_LIMITS);
    }
}
