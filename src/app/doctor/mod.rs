//! `evenkeel doctor`: what is there between the databases and Evenkeel that may lose, repeat or change something.
//!
//! Must not know: the command line. `ask` only reads, and puts down what it saw (`seen`); the other files judge that, each a
//! function from values to findings. Sources of what is judged: Debezium's documentation and tracker, KIP-779, KIP-618.

mod ask;
mod bytes;
mod connector;
mod defects;
mod finding;
#[cfg(test)]
mod given;
mod mysql;
mod postgres;
pub mod print;
mod seen;
mod topic;
mod version;

use std::collections::BTreeMap;

use self::ask::{Answers, Asked};
use self::finding::{Chapter, Finding, Subject};
use self::print::Means;
use super::settings::Settings;

/// Asks everybody whom the configuration names, and judges what they say.
pub fn examine(settings: &Settings) -> Vec<Chapter> {
    let Asked { access, cases, databases } = ask::ask(settings);
    let mut chapters = vec![Chapter { subject: Subject::Access, findings: access }];
    let compared = connector::compare(&cases);
    let grace_ms = settings.plan.rules.iter().map(|rule| rule.grace_us / 1000).max().unwrap_or(0);
    for case in &cases {
        let mut findings = connector::judge(case);
        findings.extend(compared.iter().filter(|(name, _)| name == case.name).map(|(_, finding)| finding.clone()));
        chapters.push(Chapter { subject: Subject::Connector(case.name.to_owned()), findings });
        if let Some(answers) = databases.get(case.name) {
            let findings = match answers {
                Answers::Postgres(answers) => postgres::judge(case, answers),
                Answers::Mysql(answers) => mysql::judge(case, answers),
            };
            chapters.push(Chapter { subject: Subject::Database(case.name.to_owned()), findings });
        }
        // Where no broker answers, nothing is known of topics.
        if case.topics.is_empty()
            && chapters[0].findings.iter().any(|one| one.check == "Kafka" && one.level != finding::Level::Pass)
        {
            continue;
        }
        for (table, name) in case.tables.iter().flat_map(|table| table.topics.iter().map(move |name| (table, name))) {
            let mut findings: Vec<Finding> = topic::judge(case.topics.get(name), grace_ms);
            if let Some(bytes) = case.bytes.get(name) {
                findings.extend(bytes::judge(table, case.shape, case.has_schemas(), bytes));
            }
            chapters.push(Chapter { subject: Subject::Topic(name.clone()), findings });
        }
    }
    chapters
}

/// The commands that mend what was found.
pub fn hints(settings: &Settings, chapters: &[Chapter]) -> String {
    let names: BTreeMap<&str, &str> =
        settings.connectors.iter().map(|one| (one.name.as_str(), one.name_in_connect.as_str())).collect();
    let means = Means {
        connect: settings.connect.as_ref().map(|connect| connect.url.as_str()),
        has_login: settings.connect.as_ref().is_some_and(|connect| connect.credentials.is_some()),
        names,
        bootstrap: settings.kafka.get("bootstrap.servers").map_or("localhost:9092", String::as_str),
    };
    print::hints(chapters, &means)
}
