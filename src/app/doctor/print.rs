//! Findings for people and for programs, and the commands that mend what failed.
//!
//! Must not know: how anything was found out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::finding::{Chapter, Finding, Level, Mend, Subject};

/// Columns of a terminal that is as wide as most.
const WIDTH: usize = 100;

/// Columns that a level takes.
const LEVEL: usize = 8;

/// Columns that a check's name takes, where it is not longer.
const CHECK: usize = 36;

/// What is needed to write commands.
pub struct Means<'a> {
    /// Kafka Connect's URL.
    pub connect: Option<&'a str>,
    pub has_login: bool,
    /// By connector: what Kafka Connect calls it.
    pub names: BTreeMap<&'a str, &'a str>,
    pub bootstrap: &'a str,
}

pub fn title(subject: &Subject) -> String {
    match subject {
        Subject::Access => "access".to_owned(),
        Subject::Connector(name) => format!("connector {name}"),
        Subject::Database(name) => format!("database of connector {name}"),
        Subject::Topic(name) => format!("topic {name}"),
    }
}

/// A table of everything, the worst first in each chapter.
pub fn table(chapters: &[Chapter]) -> String {
    let mut text = String::new();
    for chapter in chapters {
        text.push_str(&format!("{}\n", title(&chapter.subject)));
        let mut findings: Vec<&Finding> = chapter.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        for finding in findings {
            row(&mut text, finding);
        }
        text.push('\n');
    }
    text.push_str(&summary(chapters));
    text
}

fn row(text: &mut String, finding: &Finding) {
    let level = finding.level.name();
    let check = &finding.check;
    let indent = LEVEL + 2;
    let head = format!("  {level:<LEVEL$}{check:<CHECK$}  ");
    // A name that takes more than its columns leaves the rest of the line to what was seen, or the next line.
    let fits = check.chars().count() <= CHECK;
    if fits || head.trim_end().chars().count() + 2 + finding.saw.chars().count() <= WIDTH {
        let head = if fits { head } else { format!("{}  ", head.trim_end()) };
        let room = WIDTH - head.chars().count().min(WIDTH - 20);
        let lines = wrapped(&finding.saw, room);
        text.push_str(&format!("{}\n", format!("{head}{}", lines[0]).trim_end()));
        for line in &lines[1..] {
            text.push_str(&format!("{:indent$}{:CHECK$}  {line}\n", "", ""));
        }
    } else {
        text.push_str(&format!("{}\n", head.trim_end()));
        said(text, "", &finding.saw);
    }
    if finding.level == Level::Pass {
        return;
    }
    said(text, "why: ", &finding.why);
    for mend in &finding.mends {
        said(text, "mend: ", &short(mend));
    }
}

/// A paragraph below a row.
fn said(text: &mut String, label: &str, words: &str) {
    if words.is_empty() {
        return;
    }
    let indent = LEVEL + 4;
    let lines = wrapped(words, WIDTH - indent - label.len());
    for (number, line) in lines.iter().enumerate() {
        let label = if number == 0 { label.to_owned() } else { " ".repeat(label.len()) };
        text.push_str(&format!("{:indent$}{label}{line}\n", ""));
    }
}

/// Lines of so many columns, broken between words; a longer word has a line of its own.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= room {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A mend in a line.
fn short(mend: &Mend) -> String {
    match mend {
        Mend::Setting { name, value: Some(value) } => format!("set {name}={value}"),
        Mend::Setting { name, value: None } => format!("remove {name}"),
        Mend::Rest { method, path } => format!("{method} /{path}"),
        Mend::Sql(sql) => sql.clone(),
        Mend::Topic { name, value } => format!("set the topic's {name}={value}"),
        Mend::Ours(line) => format!("in Evenkeel's configuration: {line}"),
        Mend::Advice(advice) => advice.clone(),
    }
}

fn count(chapters: &[Chapter], level: Level) -> usize {
    chapters.iter().flat_map(|chapter| &chapter.findings).filter(|finding| finding.level == level).count()
}

fn summary(chapters: &[Chapter]) -> String {
    let levels = [Level::Fail, Level::Warn, Level::Unknown, Level::Note, Level::Pass];
    let counts = levels.map(|level| format!("{} {}", count(chapters, level), level.name()));
    format!("{}\n", counts.join(", "))
}

/// True where nothing failed.
pub fn is_sound(chapters: &[Chapter]) -> bool {
    count(chapters, Level::Fail) == 0
}

pub fn json(chapters: &[Chapter]) -> Value {
    let finding = |subject: &Subject, finding: &Finding| {
        let (of, name) = match subject {
            Subject::Access => ("access", ""),
            Subject::Connector(name) => ("connector", name.as_str()),
            Subject::Database(name) => ("database", name.as_str()),
            Subject::Topic(name) => ("topic", name.as_str()),
        };
        let mends: Vec<Value> =
            finding.mends.iter().map(|mend| json!({"kind": kind(mend), "text": short(mend)})).collect();
        json!({
            "of": of,
            "name": name,
            "check": finding.check,
            "level": finding.level.name().to_lowercase(),
            "saw": finding.saw,
            "why": finding.why,
            "mend": mends,
        })
    };
    let all =
        chapters.iter().flat_map(|chapter| chapter.findings.iter().map(move |one| finding(&chapter.subject, one)));
    json!({
        "ok": is_sound(chapters),
        "fail": count(chapters, Level::Fail),
        "warn": count(chapters, Level::Warn),
        "findings": all.collect::<Vec<_>>(),
    })
}

fn kind(mend: &Mend) -> &'static str {
    match mend {
        Mend::Setting { .. } => "setting",
        Mend::Rest { .. } => "rest",
        Mend::Sql(_) => "sql",
        Mend::Topic { .. } => "topic",
        Mend::Ours(_) => "evenkeel",
        Mend::Advice(_) => "advice",
    }
}

/// The commands that mend what failed or is doubtful, to be read before they are run: a shell script, with SQL as comments.
pub fn hints(chapters: &[Chapter], means: &Means<'_>) -> String {
    let mut text = String::new();
    for chapter in chapters {
        let bad = chapter.findings.iter().filter(|finding| finding.level >= Level::Warn);
        let mends: Vec<(&Finding, &Mend)> =
            bad.flat_map(|one| one.mends.iter().map(move |mend| (one, mend))).collect();
        if mends.is_empty() {
            continue;
        }
        text.push_str(&format!("# {}\n", title(&chapter.subject)));
        let mut settings: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for (finding, mend) in &mends {
            match mend {
                Mend::Setting { name, value } => {
                    settings.insert(name, value.as_deref());
                }
                Mend::Rest { method, path } => text.push_str(&rest(means, method, path)),
                Mend::Sql(sql) => text.push_str(&format!("# {} (SQL)\n#   {sql}\n", finding.check)),
                Mend::Topic { name, value } => text.push_str(&topic(means, &chapter.subject, name, value)),
                Mend::Ours(_) | Mend::Advice(_) => text.push_str(&format!("# {}: {}\n", finding.check, short(mend))),
            }
        }
        if let (false, Subject::Connector(name) | Subject::Database(name)) = (settings.is_empty(), &chapter.subject) {
            text.push_str(&patch(means, name, &settings));
        }
        text.push('\n');
    }
    if text.is_empty() { "# nothing to mend\n".to_owned() } else { text }
}

/// In single quotes, as a shell takes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Kafka Connect answers 409, now and then 500, while a connector that was altered just before makes it rebalance.
fn curl(means: &Means<'_>) -> String {
    let login = if means.has_login { r#" -u "$CONNECT_USERNAME:$CONNECT_PASSWORD""# } else { "" };
    format!("curl -sS --retry 4 --retry-all-errors{login}")
}

fn url(means: &Means<'_>, path: &str) -> String {
    quoted(&format!("{}/{path}", means.connect.unwrap_or("http://connect:8083").trim_end_matches('/')))
}

fn rest(means: &Means<'_>, method: &str, path: &str) -> String {
    format!("{} --fail-with-body -X {method} {}\n", curl(means), url(means, path))
}

/// Alters settings and leaves all others as they are, on any version of Kafka Connect: secrets travel through the pipe only.
fn patch(means: &Means<'_>, connector: &str, settings: &BTreeMap<&str, Option<&str>>) -> String {
    let name = means.names.get(connector).copied().unwrap_or(connector);
    let set: BTreeMap<&str, &str> = settings.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    let removed: Vec<Value> =
        settings.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| json!([name])).collect();
    let mut filter = format!(". + {}", json!(set));
    if !removed.is_empty() {
        filter += &format!(" | delpaths({})", json!(removed));
    }
    let url = url(means, &format!("connectors/{name}/config"));
    let curl = curl(means);
    format!(
        "{curl} --fail {url} \\\n  | jq {} \\\n  \
         | {curl} --fail-with-body -X PUT -H 'content-type: application/json' -d @- {url} \\\n  \
         | jq -ers 'last | if .message then error(.message) else .name end'\n",
        quoted(&filter)
    )
}

fn topic(means: &Means<'_>, subject: &Subject, name: &str, value: &str) -> String {
    let Subject::Topic(topic) = subject else { return String::new() };
    format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} --add-config {name}={value}\n",
        means.bootstrap
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapters() -> Vec<Chapter> {
        let findings = vec![
            Finding::pass("tasks.max", "1"),
            Finding::fail("errors.tolerance", "all")
                .why("Records are dropped, and the task goes on.")
                .set("errors.tolerance", "none"),
            Finding::warn("gtid.source.includes", "x").unset("gtid.source.includes"),
            Finding::warn("event.converting.failure.handling.mode", "warn (default)")
                .set("event.converting.failure.handling.mode", "fail"),
            Finding::fail("task 0 state", "FAILED")
                .mend(Mend::Rest { method: "POST", path: "connectors/Shop/restart".to_owned() }),
        ];
        let database = vec![Finding::fail("wal_level", "replica").sql("ALTER SYSTEM SET wal_level = 'logical';")];
        let topic = vec![
            Finding::warn("cleanup.policy", "compact").topic("cleanup.policy", "delete"),
            Finding::note("key", "-"),
        ];
        vec![
            Chapter { subject: Subject::Connector("shop".to_owned()), findings },
            Chapter { subject: Subject::Database("shop".to_owned()), findings: database },
            Chapter { subject: Subject::Topic("shop.orders".to_owned()), findings: topic },
        ]
    }

    #[test]
    fn a_table_shows_the_worst_first_and_fits_a_terminal() {
        let text = table(&chapters());
        let expected = "\
connector shop
  FAIL    errors.tolerance                      all
            why: Records are dropped, and the task goes on.
            mend: set errors.tolerance=none
  FAIL    task 0 state                          FAILED
            mend: POST /connectors/Shop/restart
  WARN    gtid.source.includes                  x
            mend: remove gtid.source.includes
  WARN    event.converting.failure.handling.mode  warn (default)
            mend: set event.converting.failure.handling.mode=fail
  PASS    tasks.max                             1

database of connector shop
  FAIL    wal_level                             replica
            mend: ALTER SYSTEM SET wal_level = 'logical';

topic shop.orders
  WARN    cleanup.policy                        compact
            mend: set the topic's cleanup.policy=delete
  NOTE    key                                   -

3 FAIL, 3 WARN, 0 UNKNOWN, 1 NOTE, 1 PASS
";
        assert_eq!(text, expected, "\n{text}");
        let words = "word ".repeat(60);
        let long =
            Finding::warn("value.converter.replace.null.with.default of all", words.clone()).why(words.clone());
        let text = table(&[Chapter { subject: Subject::Access, findings: vec![long, Finding::note("x", words)] }]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "\n{text}");
        assert_eq!(text.matches("word").count(), 180);
    }

    #[test]
    fn hints_are_commands_and_hold_no_more_than_what_is_altered() {
        let names = BTreeMap::from([("shop", "Shop")]);
        let means = Means { connect: Some("http://c:8083/"), has_login: true, names, bootstrap: "b:9092" };
        let expected = r##"# connector shop
curl -sS --retry 4 --retry-all-errors -u "$CONNECT_USERNAME:$CONNECT_PASSWORD" --fail-with-body -X POST 'http://c:8083/connectors/Shop/restart'
curl -sS --retry 4 --retry-all-errors -u "$CONNECT_USERNAME:$CONNECT_PASSWORD" --fail 'http://c:8083/connectors/Shop/config' \
  | jq '. + {"errors.tolerance":"none","event.converting.failure.handling.mode":"fail"} | delpaths([["gtid.source.includes"]])' \
  | curl -sS --retry 4 --retry-all-errors -u "$CONNECT_USERNAME:$CONNECT_PASSWORD" --fail-with-body -X PUT -H 'content-type: application/json' -d @- 'http://c:8083/connectors/Shop/config' \
  | jq -ers 'last | if .message then error(.message) else .name end'

# database of connector shop
# wal_level (SQL)
#   ALTER SYSTEM SET wal_level = 'logical';

# topic shop.orders
kafka-configs.sh --bootstrap-server b:9092 --alter --entity-type topics --entity-name shop.orders --add-config cleanup.policy=delete

"##;
        let text = hints(&chapters(), &means);
        assert_eq!(text, expected, "\n{text}");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn programs_are_told_the_same() {
        let told = json(&chapters());
        assert_eq!((&told["ok"], &told["fail"], &told["warn"]), (&json!(false), &json!(3), &json!(3)));
        let first = &told["findings"][1];
        assert_eq!((first["level"].as_str(), first["name"].as_str()), (Some("fail"), Some("shop")));
        assert_eq!(first["mend"][0], json!({"kind": "setting", "text": "set errors.tolerance=none"}));
        assert!(is_sound(&chapters()[2..]) && !is_sound(&chapters()));
    }
}
