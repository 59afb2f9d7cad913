//! Which key a row belongs to, for sources whose events don't always say: a write-back index over the store.
//!
//! Must not know: when a row changes.

use std::collections::BTreeMap;

use super::store::{Batch, Space, Store};
use super::wire::Writer;
use crate::domain::change::{Key, SourceIndex};
use crate::domain::value::Value;

/// Row → key.
#[derive(Clone, Debug, Default)]
pub struct RowIndex {
    /// What the store does not know yet: encoded row → key, `None` where the row is gone.
    news: BTreeMap<Vec<u8>, Option<Key>>,
}

impl RowIndex {
    /// The key of a row, by its primary key's values.
    pub fn find<S: Store>(&self, source: SourceIndex, row: &[Value], store: &S) -> Result<Option<Key>, S::Error> {
        let id = row_id(source, row);
        if let Some(known) = self.news.get(&id) {
            return Ok(known.clone());
        }
        let stored = store.get(Space::Rows, &id)?;
        Ok(stored.map(|key| Key(String::from_utf8_lossy(&key).into())))
    }

    /// Learns a row's key; `None` where the row is gone.
    pub fn learn(&mut self, source: SourceIndex, row: &[Value], key: Option<Key>) {
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
