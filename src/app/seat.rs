//! The real world of a worker: RocksDB, the checkpoint store, Kafka, the clock.
//!
//! Must not know: in what order they are used (`task::worker`), the group.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant as Moment};

use rdkafka::message::Message as _;

use super::StageError;
use super::checkpointer::Checkpointer;
use super::forms::Forms;
use super::pen::Pen;
use super::settings::Settings;
use crate::adapters::checkpoints::{About, Checkpoints, Fetched, Home, Manifest, Refused};
use crate::adapters::clock::now;
use crate::adapters::kafka::changes::{self, TopicReader};
use crate::adapters::kafka::publisher::{OutputPartition, OutputTopics};
use crate::adapters::kafka::{Properties, insist};
use crate::adapters::records::Message;
use crate::adapters::rocksdb::{RocksStore, SharedMemory};
use crate::domain::record::{Cause, Record};
use crate::domain::rule::Plan;
use crate::task::wire::block;
use crate::task::worker::{Misfit, Reading, Severity, Standing, Tenure, World};

/// How long is waited for a block where there is none.
const WAIT: Duration = Duration::from_millis(100);

/// How long is waited before an output that failed is taken over, again; and for a registry at a time.
const PAUSE: Duration = Duration::from_millis(500);

/// One partition's progress.
pub struct PartitionStatus {
    /// 0 restoring, 1 caught up once.
    pub phase: AtomicU8,
    pub settled: AtomicI64,
    pub frontiers: Vec<AtomicI64>,
    pub changes: AtomicI64,
    /// The changes-log offset at which it began, by its own disk's state or a checkpoint's.
    pub began: AtomicI64,
    /// The next changes-log offset to apply.
    pub next: AtomicI64,
}

/// Tells a worker to give its partition up.
#[derive(Default)]
pub struct Leave {
    stop: AtomicBool,
    is_lost: AtomicBool,
}

impl Leave {
    /// In order, or at once where the group has most likely given the partition to somebody else already.
    pub fn tell(&self, is_lost: bool) {
        self.is_lost.fetch_or(is_lost, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn tenure(&self) -> Tenure {
        match (self.stop.load(Ordering::Relaxed), self.is_lost.load(Ordering::Relaxed)) {
            (false, _) => Tenure::Held,
            (true, false) => Tenure::Revoked,
            (true, true) => Tenure::Lost,
        }
    }
}

/// What a worker is given.
pub struct Given {
    pub settings: Arc<Settings>,
    pub properties: Properties,
    pub memory: SharedMemory,
    pub checkpoints: Option<Checkpoints>,
    /// `None` where records are JSON.
    pub forms: Option<Arc<Forms>>,
    pub partition: i32,
    pub status: Arc<PartitionStatus>,
    pub leave: Arc<Leave>,
    /// The next changes-log offset, as flushed.
    pub flushed: Arc<AtomicI64>,
}

/// One partition's place in this process.
pub struct Seat {
    pub given: Given,
    home: Arc<Home>,
    /// A checkpoint that lies ready, and those that were not taken.
    fetched: Option<Fetched>,
    refused: Refused,
    began: Moment,
    reader: TopicReader,
    pub output: OutputPartition,
    pen: Pen<Arc<Settings>>,
    pub checkpointer: Option<Checkpointer>,
}

impl Seat {
    /// Locks the state's folder, and brings it in order where a process was killed.
    pub fn take(given: Given) -> Result<Seat, StageError> {
        let Given { settings, properties, partition, .. } = &given;
        let topics = &settings.topics;
        let home = Arc::new(Home::lock(&settings.state_folder(*partition))?);
        let outputs = OutputTopics {
            discrepancies: topics.discrepancies.clone(),
            open: topics.open.clone(),
            quarantine: topics.quarantine.clone(),
        };
        let transactional_id = format!("{}-{partition}", topics.transactional_id);
        let fetch = settings.limits.fetch_bytes / 2 / topics.partitions.max(1) as usize;
        Ok(Seat {
            home,
            fetched: None,
            refused: Refused::default(),
            began: Moment::now(),
            reader: TopicReader::open(properties, &topics.changes, fetch)?,
            output: OutputPartition::new(properties, outputs, *partition, transactional_id),
            pen: Pen::new(Arc::clone(settings)),
            checkpointer: None,
            given,
        })
    }

    /// Checkpoints are made from now on; `next` is where the state goes on.
    pub fn keep_checkpoints(&mut self, next: i64) {
        let Given { settings, checkpoints, partition, .. } = &self.given;
        self.checkpointer = checkpoints.clone().zip(settings.checkpoints.as_ref()).map(|(checkpoints, given)| {
            let every = Duration::from_millis(given.every_ms);
            Checkpointer::begin(checkpoints, *partition, every, (Arc::clone(&self.home), next))
        });
    }
}

impl World for Seat {
    type Store = RocksStore;
    type Message = Message;
    type Error = StageError;

    fn clock_us(&mut self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn tenure(&mut self) -> Tenure {
        self.given.leave.tenure()
    }

    fn open(&mut self) -> Result<RocksStore, StageError> {
        Ok(RocksStore::open(self.home.folder(), &self.given.memory)?)
    }

    fn fetch(
        &mut self,
        beyond: i64,
        mut opens: impl FnMut(RocksStore) -> Result<i64, StageError>,
    ) -> Result<bool, StageError> {
        let Given { checkpoints, partition, leave, memory, .. } = &self.given;
        let Some(checkpoints) = checkpoints else { return Ok(false) };
        let opens = |folder: &Path| opens(RocksStore::open(folder, memory)?);
        let (fetched, refused) = checkpoints.fetch(*partition, beyond, &self.home, &leave.stop, opens);
        (self.fetched, self.refused) = (fetched, refused);
        Ok(self.fetched.is_some())
    }

    fn install(&mut self) -> Result<(), StageError> {
        let fetched = self.fetched.take().expect("it was fetched");
        let Manifest { next_offset, files, .. } = fetched.install()?;
        let (bytes, took) = (files.iter().map(|file| file.bytes).sum::<u64>(), self.began.elapsed());
        tracing::info!(
            partition = self.given.partition,
            next_offset,
            bytes,
            ?took,
            "state restored from a checkpoint"
        );
        Ok(())
    }

    fn flushed(&mut self, store: &RocksStore, standing: Standing) {
        let Standing { next_offset, settled } = standing;
        self.given.flushed.store(next_offset, Ordering::Relaxed);
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.tend(store, About { next_offset, settled, written_at: now() });
        }
    }

    fn bounds(&mut self) -> Result<(i64, i64), StageError> {
        let Given { leave, partition, .. } = &self.given;
        let is_stopped = || leave.tenure() != Tenure::Held;
        Ok(insist(is_stopped, || self.reader.bounds(*partition))?)
    }

    fn seek(&mut self, offset: i64) -> Result<(), StageError> {
        Ok(self.reader.seek(&[(self.given.partition, offset)])?)
    }

    fn read(&mut self, wait: bool) -> Result<Reading, StageError> {
        match self.reader.poll(if wait { WAIT } else { Duration::ZERO })? {
            changes::Reading::Message(message) => {
                let (partition, offset) = (self.given.partition, message.offset());
                let payload = message.payload().unwrap_or_default();
                let block = block::decode(payload, &self.given.settings.plan.catalog);
                let block = block.map_err(|source| StageError::Block { partition, offset, source })?;
                Ok(Reading::Block { offset, block, fingerprint: block::fingerprint(payload) })
            }
            changes::Reading::End | changes::Reading::Nothing => Ok(Reading::Nothing),
        }
    }

    /// Who cannot write yet leaves the output to whoever can.
    fn take_over(&mut self) -> Result<Option<Cause>, StageError> {
        if let Some(forms) = &self.given.forms {
            self.pen.write_in(forms.form(PAUSE)?);
        }
        Ok(self.output.take_over()?)
    }

    fn message(&mut self, plan: &Arc<Plan>, record: &Record) -> Message {
        self.pen.message(plan, self.given.partition, record)
    }

    fn publish(&mut self, messages: &[(Cause, Message)]) -> Result<(), StageError> {
        Ok(self.output.publish(messages)?)
    }

    fn pause(&mut self, failure: &StageError) {
        if matches!(failure, StageError::SchemaAwaited { .. }) {
            // It was waited for, and whoever asks the registry has said so.
            return;
        }
        tracing::warn!(%failure, partition = self.given.partition, "publishing failed; the output is taken over anew");
        std::thread::sleep(PAUSE);
    }

    fn severity(failure: &StageError) -> Severity {
        match failure {
            StageError::Kafka(failure) if failure.is_fenced() || failure.is_refused() => Severity::Final,
            StageError::Kafka(failure) if failure.is_passing() => Severity::Passing,
            StageError::SchemaAwaited { .. } => Severity::Passing,
            StageError::SchemaRefused { .. } | StageError::SchemaUnregistered { .. } => Severity::Final,
            _ => Severity::Unknown,
        }
    }

    fn misfit(&mut self, misfit: Misfit) -> StageError {
        let (topic, partition) = (self.given.settings.topics.changes.clone(), self.given.partition);
        match misfit {
            Misfit::Overtaken { next, start } => match std::mem::take(&mut self.refused).hope(start) {
                Some(why) => StageError::ChangesOvertakenHere { topic, partition, next, start, why },
                None => StageError::ChangesOvertaken { topic, partition, next, start },
            },
            Misfit::Gap { next, start, end } => StageError::ChangesGap { topic, partition, next, start, end },
            Misfit::Another { offset } => StageError::ChangesOfAnother { topic, partition, offset },
            Misfit::OutputAhead { published, end } => StageError::OutputAhead { topic, partition, published, end },
        }
    }
}
