//! What a settled change does to keys, and which key a row belongs to where the event does not say: a write-back index
//! over the store.
//!
//! Must not know: when a change settles, what becomes of a key.

use std::collections::BTreeMap;

use super::store::{Batch, Space, Store};
use super::wire::Writer;
use crate::domain::change::{Key, Operation, SourceIndex};
use crate::domain::key_state::{Effect, Provenance};
use crate::domain::routing::Ownership;
use crate::domain::rule::Plan;
use crate::domain::snapshots::Generation;
use crate::domain::timeline::Settled;
use crate::domain::value::Value;

/// Row → key.
#[derive(Clone, Debug, Default)]
pub struct RowIndex {
    /// What the store does not know yet: encoded row → key, `None` where the row is gone.
    news: BTreeMap<Vec<u8>, Option<Key>>,
}

impl RowIndex {
    /// What a settled change of a source does to the keys that `ownership` holds: it leaves one key, it comes to one.
    pub fn spread<S: Store>(
        &mut self,
        (settled, generation): (Settled, Generation),
        source: SourceIndex,
        plan: &Plan,
        ownership: Ownership,
        store: &S,
    ) -> Result<[Option<(Key, Effect)>; 2], S::Error> {
        let Settled { at, late, lane, change } = settled;
        let change = *change;
        let provenance = Provenance {
            source_time: change.source_time,
            position: change.position.unwrap_or_default(),
            origin: change.origin,
            lane,
            offset: change.offset,
            generation,
        };
        let table = &plan.catalog.sources[source];
        let find = plan.sources[source].find_rows;
        let row_before = match &change.operation {
            Operation::Delete { row } | Operation::Upsert { row_before: Some(row), .. } => row.clone(),
            Operation::Upsert { columns, .. } if find || change.key_before.is_some() => table.row_id(columns),
            Operation::Upsert { .. } => Box::default(),
        };
        let is_delete = matches!(change.operation, Operation::Delete { .. });
        let key_before = match (find, is_delete) {
            (true, _) => self.find(source, &row_before, store)?,
            (false, true) => change.key.clone(),
            (false, false) => change.key_before,
        };
        let key_after = if is_delete { None } else { change.key.filter(|key| ownership.owns(key)) };
        if find {
            self.learn(source, &row_before, None);
            if let (Some(key), Operation::Upsert { columns, .. }) = (&key_after, &change.operation) {
                self.learn(source, &table.row_id(columns), Some(key.clone()));
            }
        }
        let requeued = change.requeued;
        let effect = |key: Key, operation| (key, Effect { at, late, source, operation, provenance, requeued });
        let leaves = key_before.filter(|key| ownership.owns(key) && key_after.as_ref() != Some(key));
        let leaves = leaves.map(|key| effect(key, Operation::Delete { row: row_before }));
        let comes = key_after.map(|key| effect(key, change.operation));
        Ok([leaves, comes])
    }

    /// The key of a row, by its primary key's values.
    fn find<S: Store>(&self, source: SourceIndex, row: &[Value], store: &S) -> Result<Option<Key>, S::Error> {
        let id = row_id(source, row);
        if let Some(known) = self.news.get(&id) {
            return Ok(known.clone());
        }
        let stored = store.get(Space::Rows, &id)?;
        Ok(stored.map(|key| Key(String::from_utf8_lossy(&key).into())))
    }

    /// A row of a key is gone. Where it is another key's by now, it stays.
    pub fn forget<S: Store>(
        &mut self,
        source: SourceIndex,
        row: &[Value],
        key: &Key,
        store: &S,
    ) -> Result<(), S::Error> {
        if self.find(source, row, store)?.as_ref() == Some(key) {
            self.learn(source, row, None);
        }
        Ok(())
    }

    /// Learns a row's key; `None` where the row is gone.
    fn learn(&mut self, source: SourceIndex, row: &[Value], key: Option<Key>) {
        self.news.insert(row_id(source, row), key);
    }

    /// Adds the news to the batch.
    pub fn flush(&mut self, batch: &mut Batch) {
        for (row, key) in std::mem::take(&mut self.news) {
            match key {
                Some(key) => batch.put(Space::Rows, row, key.0.as_bytes().to_vec()),
                None => batch.delete(Space::Rows, row),
            }
        }
    }
}

fn row_id(source: SourceIndex, row: &[Value]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes.extend_from_slice(&(source as u16).to_be_bytes());
    writer.values(row);
    writer.bytes
}
