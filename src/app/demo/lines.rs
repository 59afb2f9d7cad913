//! What the demo tells without a terminal: a line for whatever is new.
//!
//! Must not know: Kafka. Says what the judge has heard.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::judge::{Judge, Seen};
use super::screen::clock;
use super::world::Micros;

/// How much has been told.
pub struct Lines {
    opened: usize,
    /// Indexes of what is over.
    resolved: BTreeSet<usize>,
    stalls: u32,
    recoveries: u32,
}

impl Lines {
    pub fn begin(bootstrap: &str) -> io::Result<Lines> {
        print(format_args!("two databases take orders and payments, on an embedded Kafka at {bootstrap}"))?;
        Ok(Lines { opened: 0, resolved: BTreeSet::new(), stalls: 0, recoveries: 0 })
    }

    /// Tells what the judge has heard since.
    pub fn tell(&mut self, judge: &Judge, now: Micros) -> io::Result<()> {
        for seen in &judge.seen[self.opened..] {
            let Seen { order, rule, amount, evidence, .. } = seen;
            print(format_args!(
                "{} opened    order {order:<6} {rule:<22} {amount:>8}  {evidence}",
                clock(seen.since)
            ))?;
        }
        self.opened = judge.seen.len();
        for (index, Seen { order, rule, since, resolved, .. }) in judge.seen.iter().enumerate() {
            let Some(resolved) = resolved else { continue };
            if self.resolved.insert(index) {
                let age = (resolved - since) as f64 / 1e6;
                print(format_args!("{} resolved  order {order:<6} {rule:<22} after {age:.1} s", clock(*resolved)))?;
            }
        }
        if judge.stalls_reported > self.stalls {
            print(format_args!("{} source stalled: payments", clock(now)))?;
            self.stalls = judge.stalls_reported;
        }
        if judge.recoveries_reported > self.recoveries {
            print(format_args!("{} source recovered: payments", clock(now)))?;
            self.recoveries = judge.recoveries_reported;
        }
        Ok(())
    }
}

/// Prints a line. A reader that has gone away is an error like any other, so that the demo still cleans up.
pub fn print(line: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Says something that is no result. Where nobody hears it, nothing is lost.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
