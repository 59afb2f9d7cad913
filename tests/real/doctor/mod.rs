//! `evenkeel doctor` on the real stack: sound connectors, everything that it can find wrong with others, and the mending.

mod databases;
mod ledger;
mod settings;
mod topics;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use self::ledger::Ledger;
use super::binary::Binary;
use super::{Result, Source, Stack};

/// Stands in a connector's configuration and in a URL; nothing may show it.
const SECRET: &str = "hush-hush";

/// What was found, each as `LEVEL name: check`, and what was seen.
struct Found(BTreeMap<String, String>);

impl Found {
    /// Looks once, and puts down in the ledger what is not as it should be.
    fn by(binary: &Binary, ledger: &mut Ledger) -> Result<Found> {
        let (is_sound, text) = binary.doctor(&["--json"])?;
        assert!(!text.contains(SECRET), "a secret is shown: {text}");
        let told: serde_json::Value = serde_json::from_str(&text)?;
        assert_eq!(told["ok"], is_sound, "the exit code says the same");
        let mut found = BTreeMap::new();
        for one in told["findings"].as_array().expect("a list") {
            let [level, name, check, why, saw] =
                ["level", "name", "check", "why", "saw"].map(|field| one[field].as_str().unwrap_or_default());
            if ["fail", "warn"].contains(&level) {
                ledger.take(why);
            }
            let name = if name.is_empty() { "access" } else { name };
            found.insert(format!("{} {name}: {check}", level.to_uppercase()), saw.to_owned());
        }
        Ok(Found(found))
    }

    fn has(&self, expected: &[&str]) {
        for one in expected {
            assert!(self.0.contains_key(*one), "{one} is not among {:#?}", self.0);
        }
    }

    fn of_level(&self, level: &str) -> Vec<&str> {
        self.0.keys().filter(|one| one.starts_with(level)).map(String::as_str).collect()
    }

    /// Exactly this is wrong with a name, as lines of `LEVEL check`; but for the defects of its version, and that it is stopped.
    fn is_wrong(&self, name: &str, expected: &str) {
        let differs = self.differs(name, expected);
        assert!(differs.is_none(), "{}", differs.unwrap_or_default());
    }

    fn differs(&self, name: &str, expected: &str) -> Option<String> {
        let lines = expected.lines().map(str::trim).filter(|line| !line.is_empty());
        let expected: BTreeSet<String> = lines.map(str::to_owned).collect();
        let is_of_all =
            |line: &str| line.ends_with(" connector state") || line.ends_with(" task state") || line.contains("dbz#");
        let wrong = self.0.keys().filter(|one| one.starts_with("FAIL") || one.starts_with("WARN"));
        let of_it = wrong.filter_map(|one| {
            let (level, rest) = one.split_once(' ')?;
            Some(format!("{level} {}", rest.strip_prefix(name)?.strip_prefix(": ")?))
        });
        let wrong: BTreeSet<String> = of_it.filter(|line| !is_of_all(line)).collect();
        let [more, less] = [&wrong - &expected, &expected - &wrong];
        (!more.is_empty() || !less.is_empty()).then(|| format!("{name}: found {more:?}, and not {less:?}"))
    }
}

/// A connector with what the doctor wants of any.
fn careful(source: Source) -> Source {
    source
        .set("skipped.operations", "none")
        .set("event.converting.failure.handling.mode", "fail")
        .set("signal.data.collection", "shop.signals")
        .set("notification.enabled.channels", "sink")
        .set("notification.sink.topic.name", "ill_notifications")
}

#[test]
#[ignore = "real stack"]
fn real_doctor_finds_everything_that_it_looks_for() {
    let stack = super::stack();
    let mut ledger = Ledger::default();
    let suites = [whole::sound, whole::avro, whole::ill, settings::all, topics::all, databases::all];
    suites.iter().try_for_each(|suite| suite(&stack, &mut ledger)).expect("the stack works");
    assert_eq!(ledger.missing(), Vec::<String>::new(), "these were not produced");
}
