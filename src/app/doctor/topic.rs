//! Judges a topic that Evenkeel reads, as the brokers have it.
//!
//! Must not know: who was asked; what stands in the topic (`bytes`).

use super::finding::Finding;
use super::seen::{Known, Topic};

const DAY_MS: i64 = 86_400_000;

/// `grace_ms` is the longest of the rules.
pub fn judge(topic: Option<&Topic>, grace_ms: i64) -> Vec<Finding> {
    let Some(topic) = topic else {
        return vec![Finding::fail("exists", "no").why("Nothing can be read; verdicts wait for it.").advice(
            "Debezium creates it with the table's first event, where the broker lets it; or correct its name.",
        )];
    };
    let mut found = vec![Finding::pass("exists", format!("{} partitions", topic.partitions)), kept(topic)];
    found.extend(is_the_same(topic));
    if topic.settings.is_empty() {
        let why = "The brokers do not let this user ask (DescribeConfigs on the topic).";
        found.push(Finding::unknown("settings", "not told").why(why));
        return found;
    }
    found.extend([cleanup(topic), retention(topic, grace_ms), bytes(topic), replicas(topic), unclean(topic)]);
    if topic.settings.get("message.timestamp.type").is_some_and(|is| is == "LogAppendTime") {
        found.push(
            Finding::note("message.timestamp.type", "LogAppendTime")
                .why("Kafka's times are the broker's, not Debezium's."),
        );
    }
    found
}

/// Nothing that Evenkeel has not read yet is gone.
fn kept(topic: &Topic) -> Finding {
    const CHECK: &str = "log start";
    match topic.known.lost.is_empty() {
        true => Finding::pass(CHECK, "not beyond what was read"),
        false => Finding::fail(CHECK, format!("beyond what was read of partitions {:?}", topic.known.lost))
            .why("Retention deleted records before they were read: a source_gap is said, and verdicts are held.")
            .advice("Re-snapshot the table, then: evenkeel acknowledge -c FILE SOURCE"),
    }
}

/// Since Evenkeel last read it; nothing where it never did.
fn is_the_same(topic: &Topic) -> Option<Finding> {
    let Known { partitions, is_another, .. } = topic.known;
    match (is_another, partitions) {
        (true, _) => Some(
            Finding::fail("since it was read", "created anew")
                .why("What it had before is lost, read or not: a source_gap is said, and verdicts are held.")
                .advice("Re-snapshot the table, then: evenkeel acknowledge -c FILE SOURCE"),
        ),
        (false, 0) => None,
        (false, before) if before < topic.partitions => Some(
            Finding::warn("since it was read", format!("{} partitions, {before} of them read", topic.partitions))
                .why("Rows may go to another partition than before; Evenkeel orders them by their positions, other readers do not.")
                .advice("Nothing, while it runs: a source_widened is said."),
        ),
        (false, _) => Some(Finding::pass("since it was read", "the same topic and partitions")),
    }
}

fn cleanup(topic: &Topic) -> Finding {
    const NAME: &str = "cleanup.policy";
    let policy = topic.settings.get(NAME).map_or("delete", String::as_str);
    match topic.is_compacted() {
        false => Finding::pass(NAME, policy),
        true => Finding::warn(NAME, policy)
            .why("States in between vanish, and after delete.retention.ms so do deletes: who comes late never learns of them.")
            .topic(NAME, "delete"),
    }
}

fn retention(topic: &Topic, grace_ms: i64) -> Finding {
    const NAME: &str = "retention.ms";
    let Some(kept_ms) = topic.settings.get(NAME).and_then(|value| value.parse::<i64>().ok()) else {
        return Finding::unknown(NAME, "not told");
    };
    if topic.settings.get("cleanup.policy").is_some_and(|policy| policy == "compact") {
        return Finding::pass(NAME, "does not hold: the topic is only compacted");
    }
    let least_ms = (3 * DAY_MS).max(2 * grace_ms);
    let saw = match kept_ms {
        -1 => "for ever".to_owned(),
        kept_ms => format!("{kept_ms} ({:.1} h)", kept_ms as f64 / 3_600_000.0),
    };
    const WHY: &str = "An outage that lasts longer than records are kept is a gap: the tables must be read anew.";
    match kept_ms {
        -1 => Finding::pass(NAME, saw),
        kept_ms if kept_ms <= grace_ms => Finding::fail(NAME, saw).why(WHY).topic(NAME, least_ms.to_string()),
        kept_ms if kept_ms < least_ms => Finding::warn(NAME, saw).why(WHY).topic(NAME, least_ms.to_string()),
        _ => Finding::pass(NAME, saw),
    }
}

fn bytes(topic: &Topic) -> Finding {
    const NAME: &str = "retention.bytes";
    match topic.settings.get(NAME).map(String::as_str) {
        None | Some("-1") => Finding::pass(NAME, "no limit"),
        Some(limit) => Finding::warn(NAME, limit)
            .why("After a burst records are kept for a shorter time than retention.ms says.")
            .topic(NAME, "-1"),
    }
}

fn replicas(topic: &Topic) -> Finding {
    const CHECK: &str = "replicas, min.insync.replicas";
    let in_sync = topic.settings.get("min.insync.replicas").map_or("1", String::as_str);
    let saw = format!("{}, {in_sync}", topic.replicas);
    let is_safe = topic.replicas >= 3 && in_sync.parse::<usize>().is_ok_and(|count| count >= 2);
    match is_safe {
        true => Finding::pass(CHECK, saw),
        false => Finding::warn(CHECK, saw)
            .why("A record that one broker alone has is lost with it, though the connector was told that it is safe.")
            .topic("min.insync.replicas", "2")
            .advice("Three replicas: kafka-reassign-partitions.sh."),
    }
}

fn unclean(topic: &Topic) -> Finding {
    const NAME: &str = "unclean.leader.election.enable";
    match topic.settings.get(NAME).is_some_and(|is| is == "true") {
        false => Finding::pass(NAME, "false"),
        true => Finding::warn(NAME, "true")
            .why("A broker that lags may become leader, and what it lacks is gone.")
            .topic(NAME, "false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::finding::Level;

    const SOUND: [(&str, &str); 6] = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "-1"),
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "false"),
        ("message.timestamp.type", "CreateTime"),
    ];

    fn topic() -> Topic {
        let settings = SOUND.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Topic { partitions: 4, replicas: 3, settings, known: Known::default() }
    }

    fn told(topic: Option<&Topic>) -> String {
        let found = judge(topic, 60_000);
        let bad = found.iter().filter(|one| one.level != Level::Pass);
        bad.map(|one| format!("{} {}", one.level.name(), one.check)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_sound_topic_passes() {
        assert_eq!(told(Some(&topic())), "");
    }

    #[test]
    fn each_thing_that_loses_records_is_said() {
        let with = |name: &str, value: &str| {
            let mut topic = topic();
            topic.settings.insert(name.to_owned(), value.to_owned());
            told(Some(&topic))
        };
        let cases = [
            ("cleanup.policy", "compact", "WARN cleanup.policy"),
            ("cleanup.policy", "compact,delete", "WARN cleanup.policy"),
            ("retention.ms", "-1", ""),
            ("retention.ms", "60000", "FAIL retention.ms"),
            ("retention.ms", "86400000", "WARN retention.ms"),
            ("retention.bytes", "1000000", "WARN retention.bytes"),
            ("min.insync.replicas", "1", "WARN replicas, min.insync.replicas"),
            ("unclean.leader.election.enable", "true", "WARN unclean.leader.election.enable"),
            ("message.timestamp.type", "LogAppendTime", "NOTE message.timestamp.type"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(with(name, value), expected, "{name}={value}");
        }
        assert_eq!(told(None), "FAIL exists");
        assert_eq!(told(Some(&Topic { replicas: 1, ..topic() })), "WARN replicas, min.insync.replicas");
        let known = |known: Known| told(Some(&Topic { known, ..topic() }));
        assert_eq!(known(Known { partitions: 4, lost: vec![2], is_another: false }), "FAIL log start");
        assert_eq!(known(Known { partitions: 4, lost: vec![], is_another: true }), "FAIL since it was read");
        assert_eq!(known(Known { partitions: 3, lost: vec![], is_another: false }), "WARN since it was read");
        assert_eq!(known(Known { partitions: 4, lost: vec![], is_another: false }), "");
        assert_eq!(told(Some(&Topic { settings: Default::default(), ..topic() })), "UNKNOWN settings");
    }
}
