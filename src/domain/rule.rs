//! A rule: a query over one key's rows, and how patient to be with what it returns.
//!
//! Must not know: YAML, where rules come from, who hears of them.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::catalog::{Catalog, LookupTable};
use super::hash::{continue_fnv1a, fnv1a};
use super::sql::Query;

/// Index of a connector in the reconciliation's declaration.
pub type ConnectorIndex = usize;

/// A further age at which an open discrepancy is said again, more loudly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Age of the episode in microseconds, counted from `since`; greater than the grace.
    pub after_us: i64,
    pub severity: Box<str>,
}

/// One rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub id: Box<str>,
    /// Changes whenever the rule's meaning does: a hash of its text and settings.
    pub version: Box<str>,
    pub sql: Box<str>,
    /// How long a disagreement must last before it is a discrepancy, microseconds.
    pub grace_us: i64,
    /// By rising age.
    pub escalations: Vec<Escalation>,
    /// How long an open discrepancy stays open after the disagreement ended, microseconds.
    pub keep_open_for_us: i64,
    /// How long after its resolution a returning disagreement continues the same lineage, microseconds.
    pub flap_window_us: i64,
    /// Output columns by whose values a key's disagreements are told apart. Empty: one episode a key.
    pub identity: Vec<usize>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// One rule, compiled.
#[derive(Clone, Debug)]
pub struct Rule {
    pub definition: Definition,
    pub query: Query,
}

/// What a rule says of itself reads as its own.
impl Deref for Rule {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

/// All rules of a reconciliation and the lookup tables that they name, as the changes log carries them: so that its
/// verdicts are a function of the log alone, whatever a member's configuration says by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub lookups: Vec<LookupTable>,
    pub rules: Vec<Definition>,
}

/// Everything that the pure function needs to know of a reconciliation besides the log.
#[derive(Clone, Debug)]
pub struct Plan {
    pub reconciliation: Box<str>,
    pub catalog: Catalog,
    /// For each source of the catalog.
    pub sources: Vec<SourcePlan>,
    pub rules: Vec<Rule>,
    /// Settled time between two heartbeat records, microseconds.
    pub heartbeat_us: i64,
}

/// What the pure function needs to know of one source besides its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    pub connector: ConnectorIndex,
    /// True where source times are the moment of the commit.
    pub commit_time: bool,
    /// True where some of its changes cannot say which key their row belonged to, so that rows must be found by
    /// their primary key.
    pub find_rows: bool,
    /// True where the topic begins in the middle of history by choice: a row that is absent then proves nothing
    /// about keys that were seen before the baseline.
    pub partial_history: bool,
}

impl Plan {
    /// How many connectors its sources have.
    pub fn connectors(&self) -> usize {
        self.sources.iter().map(|source| source.connector + 1).max().unwrap_or(0)
    }

    pub fn rule_set(&self) -> RuleSet {
        let rules = self.rules.iter().map(|rule| rule.definition.clone()).collect();
        RuleSet { lookups: self.catalog.lookups.clone(), rules }
    }

    /// The plan with other rules; and the ids of those that cannot be asked, because they name what the sources of this
    /// plan do not have.
    pub fn with_rules(&self, set: &RuleSet) -> (Plan, Vec<Box<str>>) {
        let catalog = Catalog { sources: self.catalog.sources.clone(), lookups: set.lookups.clone() };
        let (mut rules, mut left_out) = (Vec::new(), Vec::new());
        for definition in &set.rules {
            match Query::compile(&definition.sql, &catalog) {
                Ok(query) => rules.push(Rule { definition: definition.clone(), query }),
                Err(_) => left_out.push(definition.id.clone()),
            }
        }
        (Plan { catalog, rules, ..self.clone() }, left_out)
    }

    /// Changes whenever the meaning of any rule does.
    pub fn fingerprint(&self) -> u64 {
        let parts = self.rules.iter().flat_map(|rule| [rule.id.as_bytes(), &[0], rule.version.as_bytes(), &[0]]);
        parts.fold(fnv1a(&[]), continue_fnv1a)
    }
}
