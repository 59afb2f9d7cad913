//! Known defects of Debezium, and which of them a connector has. They stand in defects.json.
//!
//! Must not know: where the version was seen.

use serde::Deserialize;

use super::finding::{Finding, Level};
use super::seen::{Config, Said};
use super::version::Version;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defect {
    tracker: String,
    /// Kinds, as the configuration and `source.connector` name them.
    connectors: Vec<String>,
    /// The first version that has it; none where all before `fixed` do.
    since: Option<String>,
    /// The first version without it.
    fixed: Option<String>,
    when: Option<When>,
    symptom: String,
    remedy: String,
}

/// Only where a setting says so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    setting: String,
    above: Option<u64>,
    is: Option<String>,
}

impl When {
    fn holds(&self, config: &Config) -> bool {
        let Said::Is(value) = config.said(&self.setting) else { return false };
        let is_above = self.above.is_some_and(|least| value.parse::<u64>().is_ok_and(|value| value > least));
        is_above || self.is.as_deref().is_some_and(|is| is.eq_ignore_ascii_case(value))
    }
}

impl Defect {
    fn is_in(&self, kind: &str, version: Version) -> bool {
        let bound = |text: &Option<String>| text.as_deref().and_then(Version::parse);
        let has_begun = bound(&self.since).is_none_or(|since| since <= version);
        let is_there_still = bound(&self.fixed).is_none_or(|fixed| version < fixed);
        self.connectors.iter().any(|known| known == kind) && has_begun && is_there_still
    }
}

fn all() -> Vec<Defect> {
    serde_json::from_str(include_str!("defects.json")).expect("the list of defects is sound: a test reads it")
}

/// The defects of a connector's version, whether they can be met or not by its settings.
pub fn judge(kind: &str, version: Option<&str>, config: Option<&Config>) -> Vec<Finding> {
    const CHECK: &str = "known defects";
    let Some(text) = version else {
        return vec![Finding::unknown(CHECK, "the version is not known: no plugin and no record says it")];
    };
    let Some(version) = Version::parse(text) else {
        return vec![Finding::unknown(CHECK, format!("{text} is no release of Debezium that can be compared"))];
    };
    let absent = Config::default();
    let config = config.unwrap_or(&absent);
    let met = all().into_iter().filter(|defect| defect.is_in(kind, version));
    let met = met.filter(|defect| defect.when.as_ref().is_none_or(|when| when.holds(config)));
    let findings: Vec<Finding> = met.map(|defect| finding(&defect, version)).collect();
    if findings.is_empty() {
        return vec![Finding::pass(CHECK, format!("{version}: none of the list"))];
    }
    findings
}

/// What nobody has mended yet is no reason to alarm whoever runs the newest version.
fn finding(defect: &Defect, version: Version) -> Finding {
    let level = if defect.fixed.is_some() { Level::Warn } else { Level::Note };
    let fixed = defect.fixed.as_deref().map_or("not fixed yet".to_owned(), |fixed| format!("fixed in {fixed}"));
    Finding::new(defect.tracker.clone(), level, format!("{version} has it, {fixed}"))
        .why(defect.symptom.clone())
        .advice(defect.remedy.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trackers(kind: &str, version: &str, settings: &[(&str, &str)]) -> String {
        let config = Config::of(settings);
        let found = judge(kind, Some(version), Some(&config));
        let mut names: Vec<String> =
            found.iter().filter(|one| one.level == Level::Warn).map(|one| one.check.clone()).collect();
        names.sort();
        names.join("; ")
    }

    #[test]
    fn the_list_is_sound() {
        let kinds = ["postgresql", "mysql", "mariadb", "sqlserver", "oracle", "mongodb"];
        for defect in all() {
            for bound in defect.since.iter().chain(&defect.fixed) {
                assert!(Version::parse(bound).is_some(), "{}: {bound}", defect.tracker);
            }
            assert!(defect.connectors.iter().all(|kind| kinds.contains(&&**kind)), "{}", defect.tracker);
            assert!(!defect.symptom.is_empty() && !defect.remedy.is_empty() && !defect.connectors.is_empty());
            assert!(defect.when.is_none_or(|when| when.above.is_some() != when.is.is_some()), "{}", defect.tracker);
        }
    }

    #[test]
    fn a_version_has_the_defects_that_were_there_and_not_yet_mended() {
        assert_eq!(
            trackers("postgresql", "3.6.3.Final", &[]),
            "debezium/dbz#1554; debezium/dbz#2105; debezium/dbz#76, dbz#51"
        );
        assert_eq!(trackers("postgresql", "3.7.0.Final", &[]), "debezium/dbz#1554");
        assert_eq!(trackers("postgresql", "3.7.1.Final", &[]), "");
        let before = trackers("postgresql", "3.5.0.Alpha1", &[]);
        assert!(before.contains("1610") && before.contains("1682") && before.contains("dbz#76"), "{before}");
        assert!(!trackers("postgresql", "3.5.0.Beta1", &[]).contains("1610"));
        assert_eq!(trackers("mariadb", "3.6.3.Final", &[]), "debezium/dbz#2105; debezium/dbz#2275");
        let of_snapshots = ["DBZ-7359", "DBZ-7585", "DBZ-8113", "DBZ-9209", "DBZ-9337"];
        let count = |version| {
            let found = trackers("sqlserver", version, &[]);
            of_snapshots.iter().filter(|tracker| found.contains(*tracker)).count()
        };
        let versions = ["2.5.4.Final", "2.6.0.Final", "3.0.0.Beta1", "3.3.0.Alpha2", "3.3.0.Beta1"];
        assert_eq!(versions.map(count), [5, 3, 2, 1, 0]);
    }

    #[test]
    fn a_defect_may_have_begun_with_a_version() {
        let text = r#"{"tracker": "t", "connectors": ["mysql"], "since": "3.6.0.Alpha1", "fixed": "3.6.2.Final",
            "symptom": "s", "remedy": "r"}"#;
        let defect: Defect = serde_json::from_str(text).expect("a defect");
        let is_in = |version| defect.is_in("mysql", Version::parse(version).expect("a version"));
        let versions = ["3.5.0.Final", "3.6.0.Alpha1", "3.6.1.Final", "3.6.2.Final"];
        assert_eq!(versions.map(is_in), [false, true, true, false]);
    }

    #[test]
    fn some_defects_need_a_setting() {
        let threads = |count| trackers("postgresql", "3.6.3.Final", &[("snapshot.max.threads", count)]);
        assert!(threads("2").contains("2330"));
        assert!(!threads("1").contains("2330") && !threads("${env:N}").contains("2330"));
        let metadata = |is| trackers("mariadb", "3.6.0.Final", &[("provide.transaction.metadata", is)]);
        assert!(metadata("TRUE").contains("633") && !metadata("false").contains("633"));
    }

    #[test]
    fn what_cannot_be_compared_is_unknown() {
        for version in [None, Some("3.7.0-SNAPSHOT")] {
            let found = judge("postgresql", version, None);
            assert_eq!(found.iter().map(|one| one.level).collect::<Vec<_>>(), [Level::Unknown], "{version:?}");
        }
        let newest = judge("postgresql", Some("3.7.1.Final"), None);
        assert_eq!(newest.iter().map(|one| one.level).collect::<Vec<_>>(), [Level::Note], "dbz#2549 is open");
        let [sound] = &judge("mongodb", Some("3.7.1.Final"), None)[..] else { panic!("nothing is known of it") };
        assert_eq!(sound.level, Level::Pass);
    }
}
