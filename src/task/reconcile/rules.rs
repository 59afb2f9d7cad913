//! A change of the rules: from the block that says so on, every key is judged by the new ones.
//!
//! Must not know: what a rule means. What it judges anew it judges as of the settled time, a step at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Task;
use crate::domain::key_state::Window;
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

    /// True where the rules have changed since every key was judged.
    pub(super) fn sweeps(&mut self) -> bool {
        let now = self.plan.fingerprint();
        if self.rules == now || self.lived != self.timeline.settled() {
            return false;
        }
        let nothing_was_judged = self.lived.is_none_or(|lived| self.timeline.baseline().is_none_or(|b| lived < b));
        if nothing_was_judged {
            self.rules = now;
        }
        !nothing_was_judged
    }

    /// After a change of the rules, judges more of the keys anew, as of the settled time. False: the block itself is
    /// still to be settled.
    pub(super) fn sweep(&mut self, out: &mut Outbox) -> Result<bool, StateError<S::Error>> {
        let (Some(lived), Some(baseline)) = (self.lived, self.timeline.baseline()) else { return Ok(false) };
        let now = self.plan.fingerprint();
        let after = self.sweep.as_ref().filter(|(rules, _)| *rules == now).map(|(_, key)| key);
        let page = self.cache.keys_after(after, self.limits.step, &self.store)?;
        let are_all = page.len() < self.limits.step;
        let mut touched = BTreeMap::new();
        self.sweep = page.last().map(|last| (now, last.clone()));
        for key in page {
            if let Some(mut state) = self.cache.take(&key, &self.store, &self.layouts, &self.plan)? {
                state.judged = false;
                self.cache.put(&key, state, &self.plan);
            }
            touched.insert(key, Vec::new());
        }
        self.advance_keys(touched, Window { baseline, from: lived, until: lived }, out)?;
        if are_all {
            self.rules = now;
            self.sweep = None;
        }
        Ok(false)
    }
}
