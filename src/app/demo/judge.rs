//! Holds what Evenkeel said against what was injected.
//!
//! Must not know: Kafka, the screen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::world::{Fault, Injected, Micros};

/// Which rules find a fault. A fault counts as found when every one of them has.
pub fn rules_of(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::LostPayment => &["paid-without-payment"],
        Fault::ShortCapture => &["captured-amount"],
        Fault::DoubleCapture => &["captured-amount", "duplicate-capture"],
        Fault::OrphanPayment => &["payment-without-order"],
        Fault::LostRefund => &["status-matrix"],
        Fault::Stuck => &["stuck-pending"],
    }
}

/// A discrepancy as the topic tells it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub order: String,
    pub rule: String,
    pub since: Micros,
    pub at: Micros,
    pub severity: String,
    pub amount: String,
    pub evidence: String,
    pub resolved: Option<Micros>,
}

/// Everything that was heard, and what it is worth.
#[derive(Default)]
pub struct Judge {
    injected: BTreeMap<i64, Fault>,
    opened: BTreeSet<(String, String)>,
    /// In order of opening.
    pub seen: Vec<Seen>,
    latencies: Vec<Micros>,
    /// Faults that were mended again.
    pub mended: BTreeSet<i64>,
    /// From when to when the stall held verdicts back: what fell due then is late by design.
    pub held: Option<(Micros, Micros)>,
    pub stalls_injected: u32,
    pub stalls_reported: u32,
    pub recoveries_reported: u32,
    pub repeated: u32,
    ids: BTreeSet<String>,
}

/// The demo's outcome.
#[derive(Clone, Debug)]
pub struct Summary {
    pub by_fault: Vec<(Fault, usize, usize)>,
    pub false_alarms: Vec<(String, String)>,
    /// How long after the end of the grace half of the discrepancies were said, and 99 of 100; `None` where the stall held
    /// all of them back.
    pub latency_ms: Option<(f64, f64)>,
    pub stalls_injected: u32,
    pub stalls_reported: u32,
    pub repeated: u32,
}

impl Judge {
    pub fn inject(&mut self, injected: &Injected) {
        self.injected.insert(injected.order_id, injected.fault);
    }

    /// Hears a record of the discrepancy topic at a time of the machine's clock.
    pub fn hear(&mut self, id: &str, record: &Json, now: Micros) {
        if !self.ids.insert(id.to_owned()) {
            self.repeated += 1;
        }
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let rule = record["rule"]["id"].as_str().unwrap_or_default().to_owned();
        match record["type"].as_str().unwrap_or_default() {
            "source_stalled" => self.stalls_reported += 1,
            "source_recovered" => self.recoveries_reported += 1,
            "opened" => {
                let at = micros(&record["at"]);
                self.opened.insert((text("key"), rule.clone()));
                if self.held.is_none_or(|(from, until)| at < from || at > until) {
                    self.latencies.push(now - at);
                }
                self.seen.push(Seen {
                    order: text("key"),
                    rule,
                    since: micros(&record["since"]),
                    at,
                    severity: text("severity"),
                    amount: text("amount_at_risk"),
                    evidence: evidence(&record["evidence"]),
                    resolved: None,
                });
            }
            "resolved" => {
                let key = text("key");
                let open = self.seen.iter_mut().rev().find(|seen| seen.order == key && seen.rule == rule);
                if let Some(seen) = open {
                    seen.resolved = Some(micros(&record["at"]));
                }
            }
            _ => {}
        }
    }

    fn found(&self, order: i64, fault: Fault) -> bool {
        rules_of(fault).iter().all(|rule| self.opened.contains(&(order.to_string(), (*rule).to_owned())))
    }

    /// True when everything that was injected has been found.
    pub fn is_complete(&self) -> bool {
        self.injected.iter().all(|(order, fault)| self.found(*order, *fault))
            && self.stalls_reported >= self.stalls_injected
    }

    pub fn summary(&self) -> Summary {
        let by_fault = Fault::ALL.map(|fault| {
            let of: Vec<i64> = self.injected.iter().filter(|(_, f)| **f == fault).map(|(order, _)| *order).collect();
            let found = of.iter().filter(|order| self.found(**order, fault)).count();
            (fault, of.len(), found)
        });
        let honest = |(order, rule): &&(String, String)| {
            let fault = order.parse::<i64>().ok().and_then(|order| self.injected.get(&order));
            fault.is_some_and(|fault| rules_of(*fault).contains(&rule.as_str()))
        };
        let false_alarms = self.opened.iter().filter(|pair| !honest(pair)).cloned().collect();
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1);
        let percentile = |last: usize, share: f64| latencies[(last as f64 * share).round() as usize] as f64 / 1e3;
        Summary {
            by_fault: by_fault.to_vec(),
            false_alarms,
            latency_ms: last.map(|last| (percentile(last, 0.5), percentile(last, 0.99))),
            stalls_injected: self.stalls_injected,
            stalls_reported: self.stalls_reported,
            repeated: self.repeated,
        }
    }
}

impl Summary {
    pub fn injected(&self) -> usize {
        self.by_fault.iter().map(|(_, injected, _)| injected).sum()
    }

    pub fn found(&self) -> usize {
        self.by_fault.iter().map(|(_, _, found)| found).sum()
    }

    /// True when everything injected was found, nothing else was said, and the stall was said once.
    pub fn is_right(&self) -> bool {
        self.found() == self.injected()
            && self.false_alarms.is_empty()
            && self.stalls_reported == self.stalls_injected
            && self.repeated == 0
    }

    pub fn to_json(&self) -> Json {
        let by_fault = self.by_fault.iter().map(|(fault, injected, found)| {
            (fault.name().replace(' ', "_"), json!({"injected": injected, "found": found}))
        });
        json!({
            "injected": self.injected(),
            "found": self.found(),
            "missed": self.injected() - self.found(),
            "false_alarms": self.false_alarms.len(),
            "repeated": self.repeated,
            "stalls_injected": self.stalls_injected,
            "stalls_reported": self.stalls_reported,
            "latency_p50_ms": self.latency_ms.map(|(p50, _)| p50),
            "latency_p99_ms": self.latency_ms.map(|(_, p99)| p99),
            "by_kind": by_fault.collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<18}{:>9}{:>7}{:>8}", "fault", "injected", "found", "missed")?;
        for (fault, injected, found) in &self.by_fault {
            writeln!(f, "{:<18}{injected:>9}{found:>7}{:>8}", fault.name(), injected - found)?;
        }
        let missed = self.injected() - self.found();
        writeln!(f, "{:<18}{:>9}{:>7}{missed:>8}", "all", self.injected(), self.found())?;
        writeln!(f)?;
        writeln!(f, "false alarms       {}", self.false_alarms.len())?;
        for (order, rule) in &self.false_alarms {
            writeln!(f, "                   order {order}: {rule}")?;
        }
        writeln!(f, "records repeated   {}", self.repeated)?;
        writeln!(f, "feed stalls        {} injected, {} reported", self.stalls_injected, self.stalls_reported)?;
        let of = "(what the stall held back is not counted)";
        write!(f, "said after the end of the grace: ")?;
        match self.latency_ms {
            Some((p50, p99)) => write!(f, "p50 {:.1} s, p99 {:.1} s {of}", p50 / 1e3, p99 / 1e3),
            None => write!(f, "nothing to measure {of}"),
        }
    }
}

fn micros(text: &Json) -> Micros {
    let parsed = text.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    parsed.map_or(0, |timestamp| timestamp.as_microsecond())
}

/// The first row of the evidence in one line, without what is told beside it.
fn evidence(rows: &Json) -> String {
    let Some(row) = rows.get(0).and_then(Json::as_object) else { return String::new() };
    let beside = ["order_id", "severity", "amount_at_risk"];
    let shown = row.iter().filter(|(name, _)| !beside.contains(&name.as_str()));
    let shown = shown.map(|(name, value)| match value {
        Json::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}
