//! What must hold of the whole output, whatever the oracle says of orders.

use std::collections::BTreeMap;

use evenkeel::domain::change::TopicPartition;
use evenkeel::domain::instant::Instant;
use evenkeel::domain::record::{Content, SourceNews, SourceNotice};

use super::delivery::{Lane, Record};
use super::outside::Outlet;
use super::product::{Product, STALL_AFTER};
use super::world::{DATABASE, Edit, LINES, Micros, ORDERS, PAYMENTS};

impl Product {
    /// Everything that was not understood is in quarantine, once.
    pub fn check_quarantine(&self) {
        let outside = self.outside();
        let published = outside.outlets.iter().flat_map(|outlet| &outlet.visible);
        let mut quarantined: Vec<(usize, i64)> = published
            .filter_map(|record| match &record.content {
                Content::Quarantine(one) => {
                    let id = TopicPartition { topic: one.topic.clone(), partition: one.partition };
                    Some((outside.group.lane(&id), one.offset))
                }
                _ => None,
            })
            .collect();
        quarantined.sort_unstable();
        let delivery = outside.delivery.borrow();
        let garbage = |(lane, of): (usize, &Lane)| {
            let is_garbage =
                |record: &Record| matches!(record, Record::Garbage) || delivery.is_poisonous(lane, *record);
            let records = of.records.iter().enumerate().filter(|(_, record)| is_garbage(record));
            records.map(move |(offset, _)| (lane, offset as i64)).collect::<Vec<_>>()
        };
        let all: Vec<(usize, i64)> = delivery.lanes.iter().enumerate().flat_map(garbage).collect();
        // What retention deleted may have been read before, or not.
        let must = all.iter().filter(|(lane, offset)| *offset as usize >= delivery.lanes[*lane].start);
        assert!(quarantined.is_sorted_by(|a, b| a < b), "each is in quarantine once: {quarantined:?}");
        assert!(
            must.clone().all(|one| quarantined.contains(one)),
            "not all is in quarantine: {quarantined:?}, {all:?}"
        );
        assert!(quarantined.iter().all(|one| all.contains(one)), "what could be understood is in quarantine");
    }

    /// In the end the rows are those of the databases, whatever was in quarantine meanwhile.
    pub fn check_rows(&self) {
        let outside = self.outside();
        let world = outside.world.borrow();
        let all = world.rows.iter().filter_map(|((table, id), cells)| {
            let key = Edit::key_of(*table, &Some(cells.clone()))?;
            Some(((*table, *id), (key, cells.clone())))
        });
        let (true_rows, known) = (all.collect::<BTreeMap<_, _>>(), self.rows());
        let differing = true_rows.iter().filter(|(id, row)| known.get(id) != Some(row));
        let differing: Vec<_> = differing.map(|(id, row)| (id, Some(row), known.get(id))).collect();
        let phantoms: Vec<_> = known.iter().filter(|(id, _)| !true_rows.contains_key(id)).collect();
        assert!(differing.is_empty() && phantoms.is_empty(), "{differing:?} differ, {phantoms:?} are no more");
    }

    fn notices(&self) -> Vec<(usize, bool)> {
        let outside = self.outside();
        let records = outside.outlets.iter().flat_map(|outlet| &outlet.visible);
        let notices = records.filter_map(|record| match &record.content {
            Content::Source(notice) => match notice.news {
                SourceNews::Stalled => Some((notice.source, true)),
                SourceNews::Recovered => Some((notice.source, false)),
                _ => None,
            },
            _ => None,
        });
        notices.collect()
    }

    pub fn stalls(&self) -> u64 {
        self.notices().iter().filter(|(_, stalled)| *stalled).count() as u64
    }

    /// How many rows were said to be unconfirmed, and how many to be confirmed.
    pub fn unconfirmed(&self) -> (u64, u64) {
        let outside = self.outside();
        let contents = outside.outlets.iter().flat_map(|outlet| &outlet.visible).map(|record| &record.content);
        contents.fold((0, 0), |(unconfirmed, confirmed), content| match content {
            Content::Source(SourceNotice { news: SourceNews::Unconfirmed { rows }, .. }) => {
                (unconfirmed + rows, confirmed)
            }
            Content::Source(SourceNotice { news: SourceNews::Confirmed { rows, .. }, .. }) => {
                (unconfirmed, confirmed + rows)
            }
            _ => (unconfirmed, confirmed),
        })
    }

    /// Each source that stood still for longer than the limit is said to have stalled once and to have recovered
    /// once; no other source is. Where members are killed or held up, or topic-partitions moved, their time begins anew: nobody may
    /// notice, or one topic-partition may be said to have stalled when the others have recovered.
    pub fn check_notices(&self, stall: Option<(usize, Micros, Micros)>) {
        let notices = self.notices();
        for source in [LINES, ORDERS, PAYMENTS] {
            let said: Vec<bool> =
                notices.iter().filter(|(of, _)| *of == source).map(|(_, stalled)| *stalled).collect();
            let long = |(database, from, until)| database == DATABASE[source] && until - from > STALL_AFTER;
            let expected: &[bool] = if stall.is_some_and(long) { &[true, false] } else { &[] };
            let outside = self.outside();
            let speaks = |outlet: &&Outlet| {
                let mut contents = outlet.visible.iter().map(|record| &record.content);
                contents.any(|content| {
                    matches!(content, Content::Source(SourceNotice { source: of, news, .. })
                        if *of == source && !is_of_each(news))
                })
            };
            assert!(outside.outlets.iter().filter(speaks).count() <= 1, "one partition speaks for source {source}");
            let is_disturbed = self.disturbances + outside.happened.stuck > 0;
            let disturbed = is_disturbed && !expected.is_empty();
            let in_pairs = said.chunks(2).all(|pair| pair == expected);
            assert!(
                said == expected || disturbed && in_pairs,
                "{said:?} was said of source {source}, not {expected:?}"
            );
        }
        for outlet in &self.outside().outlets {
            let settled = outlet.visible.iter().filter_map(|record| match record.content {
                Content::Heartbeat { settled } => Some(settled),
                _ => None,
            });
            let heartbeats: Vec<Instant> = settled.collect();
            assert!(heartbeats.is_sorted_by(|a, b| a < b), "heartbeats rise");
            assert!(!heartbeats.is_empty(), "an idle partition still says how far it has looked");
        }
    }
}

/// True for what each partition says of its own keys and transactions.
fn is_of_each(news: &SourceNews) -> bool {
    matches!(news, SourceNews::Incomplete { .. } | SourceNews::Unconfirmed { .. } | SourceNews::Confirmed { .. })
}
