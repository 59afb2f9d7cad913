//! A change of the rules: from the block that says so on, every key is judged by the new ones. And how every key is judged anew,
//! for that and after a new snapshot.
//!
//! Must not know: what a rule means. What it judges anew it judges as of the settled time, a step at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Task;
use crate::domain::rule::RuleSet;
use crate::task::cache::StateError;
use crate::task::store::Store;
use crate::task::telling::Outbox;

impl<S: Store> Task<S> {
    /// From here on these are the rules. Every ingest member says so when it starts; mostly it is no news.
    pub(super) fn take_rules(&mut self, set: RuleSet) {
        if set == self.rule_set {
            return;
        }
        let (plan, left_out) = self.plan.with_rules(&set);
        self.plan = Arc::new(plan);
        self.left_out = left_out;
        self.rule_set = set;
        self.rules_are_news = true;
        self.cache.replan(&self.plan);
    }

    /// True where the rules have changed, or a snapshot was taken anew, since every key was judged.
    pub(super) fn sweeps(&mut self) -> bool {
        let now = self.judged_by();
        if self.rules == now || self.lived != self.timeline.settled() {
            return false;
        }
        let nothing_was_judged = self.lived.is_none_or(|lived| self.timeline.baseline().is_none_or(|b| lived < b));
        if nothing_was_judged {
            self.rules = now;
        }
        !nothing_was_judged
    }

    /// Judges more of the keys anew, as of the settled time. False: the block itself is still to be settled.
    pub(super) fn sweep(&mut self, out: &mut Outbox) -> Result<bool, StateError<S::Error>> {
        let (Some(lived), Some(baseline)) = (self.lived, self.timeline.baseline()) else { return Ok(false) };
        let now = self.judged_by();
        let after = self.sweep.take().filter(|(rules, _)| *rules == now).map(|(_, key)| key);
        if after.is_none() {
            self.begin_look();
        }
        let page = self.cache.keys_after(after.as_ref(), self.limits.step, &self.store)?;
        let are_all = page.len() < self.limits.step;
        let mut touched = BTreeMap::new();
        self.sweep = page.last().map(|last| (now, last.clone()));
        for key in page {
            let mut effects = Vec::new();
            if let Some(mut state) = self.cache.take(&key, &self.store, &self.layouts, &self.plan)? {
                effects = self.look_at(&key, &state, lived).map_err(StateError::Store)?;
                state.judged = false;
                self.cache.put(&key, state, &self.plan);
            }
            touched.insert(key, effects);
        }
        self.advance_keys(touched, (baseline, lived, lived), out)?;
        if are_all {
            self.rules = now;
            self.sweep = None;
            self.end_look(out);
        }
        Ok(false)
    }
}
