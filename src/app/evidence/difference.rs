//! What a replay says of one partition beside what was published of it.
//!
//! Must not know: how it is replayed. By the same rules each record must be the same, byte for byte, with the same cause: the
//! product is a function of the changes log. By other rules a record is the same where the same thing happened to the same
//! episode; causes, and a rule's version, then say nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::adapters::copy::Stored;
use crate::adapters::records::avro::in_json;
use crate::adapters::records::chain::PREVIOUS_HEADER;
use crate::adapters::records::{CAUSE_HEADER, Message, read_cause};
use crate::domain::record::Cause;

/// A record as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub id: String,
    pub cause: Cause,
    kind: String,
    /// Every header but the chain's, key and body: what must be the same.
    whole: (Vec<(String, String)>, Option<String>, Vec<u8>),
}

impl Said {
    /// `None` where the record is not Evenkeel's. In whichever form it was published, it is compared as JSON.
    pub fn published(record: Stored) -> Option<Said> {
        let record = in_json(record);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let all = record.headers.iter().filter(|(name, _)| name != PREVIOUS_HEADER);
        let headers = all.map(|(name, value)| (name.clone(), text(value.as_deref().unwrap_or_default())));
        Said::new(headers.collect(), record.key.as_deref().map(text), record.value.clone())
    }

    pub fn replayed(message: &Message) -> Option<Said> {
        let headers = message.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Said::new(headers.collect(), message.key.clone(), message.body.clone())
    }

    fn new(headers: Vec<(String, String)>, key: Option<String>, body: Option<Vec<u8>>) -> Option<Said> {
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let (id, kind, cause) = (header("ce_id")?, header("ce_type")?, read_cause(&header(CAUSE_HEADER)?)?);
        Some(Said { id, cause, kind, whole: (headers, key, body.unwrap_or_default()) })
    }

    /// True where it tells of a discrepancy, not of a source or of the time.
    fn is_of_rules(&self) -> bool {
        self.kind.starts_with("evenkeel.discrepancy.")
    }

    fn body(&self) -> Json {
        serde_json::from_slice(&self.whole.2).unwrap_or(Json::Null)
    }

    /// The body without what other rules change by themselves.
    fn meaning(&self) -> Json {
        let mut body = self.body();
        if let Some(rule) = body.get_mut("rule").and_then(Json::as_object_mut) {
            rule.remove("version");
        }
        body
    }
}

/// How two records differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    pub published: Option<Said>,
    pub replayed: Option<Said>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was published; the replay does not say it.
    Missing,
    /// The replay says it; it was not published.
    Additional,
    Different,
}

impl Difference {
    pub fn to_json(&self, partition: i32) -> Json {
        let kind = match self.kind {
            Kind::Missing => "missing",
            Kind::Additional => "additional",
            Kind::Different => "different",
        };
        let cause = |said: &Said| format!("{}:{}", said.cause.offset, said.cause.number);
        let one = |said: &Option<Said>| said.as_ref().map(|said| json!({"cause": cause(said), "body": said.body()}));
        let id = self.published.as_ref().or(self.replayed.as_ref()).map(|said| &said.id);
        json!({"difference": kind, "partition": partition, "id": id, "published": one(&self.published),
            "replayed": one(&self.replayed)})
    }
}

/// What is told apart: the id, and by the same rules the cause.
type Name = (String, Option<Cause>);

/// What was published of one partition and was not replayed yet. It takes memory for all of it that lies in the time that is
/// compared: discrepancies are few by nature.
pub struct Comparison {
    has_other_rules: bool,
    published: BTreeMap<Name, Said>,
    /// The cause of the first record that is there, where retention removed what was before.
    first: Option<Cause>,
    /// The cause of the last.
    last: Option<Cause>,
    /// The changes-log offset that the replay begins at.
    began: i64,
    pub same: u64,
    /// Records of the replay that come after everything that was published: they are still to be published.
    pub unpublished: u64,
}

impl Comparison {
    /// `is_cut` where retention removed the beginning of what was published.
    pub fn new(has_other_rules: bool, is_cut: bool, began: i64) -> Comparison {
        let first = is_cut.then_some(Cause { offset: i64::MAX, number: 0 });
        let (published, last) = (BTreeMap::new(), None);
        Comparison { has_other_rules, published, first, last, began, same: 0, unpublished: 0 }
    }

    /// A published record; `is_asked_for` where it lies in the time that is compared.
    pub fn publish(&mut self, said: Said, is_asked_for: bool) {
        self.first = self.first.map(|first| first.min(said.cause));
        self.last = self.last.max(Some(said.cause));
        if is_asked_for && said.cause.offset >= self.began && self.compares(&said) {
            self.published.insert(self.name(&said), said);
        }
    }

    /// A record of the replay, in the time that is compared.
    pub fn replay(&mut self, said: Said) -> Option<Difference> {
        if !self.compares(&said) || self.first.is_some_and(|first| said.cause < first) {
            return None;
        }
        let Some(published) = self.published.remove(&self.name(&said)) else {
            if self.last.is_none_or(|last| self.lies_behind(said.cause, last)) {
                self.unpublished += 1;
                return None;
            }
            return Some(Difference { kind: Kind::Additional, published: None, replayed: Some(said) });
        };
        let is_same = match self.has_other_rules {
            true => published.meaning() == said.meaning(),
            false => published.whole == said.whole,
        };
        self.same += u64::from(is_same);
        (!is_same).then_some(Difference { kind: Kind::Different, published: Some(published), replayed: Some(said) })
    }

    /// What was published and not replayed, in the order in which it was published.
    pub fn end(&mut self) -> Vec<Difference> {
        let mut missing: Vec<Said> = std::mem::take(&mut self.published).into_values().collect();
        missing.sort_by_key(|said| said.cause);
        let missing = missing.into_iter();
        missing.map(|said| Difference { kind: Kind::Missing, published: Some(said), replayed: None }).collect()
    }

    fn compares(&self, said: &Said) -> bool {
        !self.has_other_rules || said.is_of_rules()
    }

    fn name(&self, said: &Said) -> Name {
        (said.id.clone(), (!self.has_other_rules).then_some(said.cause))
    }

    /// By other rules a block causes other records, so that only blocks compare.
    fn lies_behind(&self, cause: Cause, last: Cause) -> bool {
        if self.has_other_rules { cause.offset > last.offset } else { cause > last }
    }
}
