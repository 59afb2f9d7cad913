//! A schema registry: Confluent's REST interface, which Karapace and Apicurio serve too, or Apicurio's own.
//!
//! Must not know: what schemas mean, records. It is asked on a thread of its own, so that a registry that is slow or away
//! holds back those records only that need it. What is written with schemas of ours begins with their ids (`subjects`). What a registry said once stays true (ids are never given again), so it is
//! kept on disk, and a restart needs no registry. Sources: Confluent's Schema Registry API; Apicurio Registry's core API,
//! versions 2 and 3.
//!
//! A registry that does not answer, or refuses whoever asks, is asked again, for ever. One that answers that it does not
//! have an id may only be behind its leader: it is believed once it has said so several times, and asked again now and then.

mod cache;
mod client;
mod subjects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Moment};

use metrics::counter;
use url::Url;

use self::cache::Cache;
pub use self::client::{Client, ClientError, read_answer};
use self::subjects::Standing;
pub use self::subjects::{Answered, Wanted};
use super::debezium::frame::SchemaId;
use super::debezium::{Found, Refusal, Registry};
use super::http::Credentials;
use super::telemetry;

/// How to reach a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// As `…/apis/registry/v3` it is Apicurio's own interface, else Confluent's.
    pub url: Url,
    pub credentials: Option<Credentials>,
    /// Certificates in PEM that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What the numbers in front of Apicurio's records are.
    pub use_id: UseId,
}

/// Apicurio's `apicurio.registry.use-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseId {
    ContentId,
    GlobalId,
}

/// How long is waited before a registry that did not answer is asked again: doubled each time, up to the latter.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a registry must say that it does not have an id before it is believed.
const DENIALS: u32 = 4;

/// How long an id that the registry does not have is not asked for again: doubled each time, up to the latter.
const DENIED: Duration = Duration::from_secs(30);
const LONGEST_DENIED: Duration = Duration::from_secs(600);

/// Schemas kept in memory; each source keeps the ones that it needs ready, so forgetting them costs little.
const KEPT: usize = 1024;

/// What is known of an id.
enum Entry {
    /// It is being asked for.
    Wanted {
        denials: u32,
    },
    Known(Found),
    /// Not to be asked for again before `until`.
    Denied {
        refusal: Refusal,
        pause: Duration,
        until: Moment,
    },
}

/// What the registry is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Schema(SchemaId),
    Subject(Wanted),
}

#[derive(Default)]
struct State {
    entries: BTreeMap<SchemaId, Entry>,
    subjects: BTreeMap<Wanted, Standing>,
    queue: VecDeque<Ask>,
    is_closed: bool,
    /// What a registry that does not answer said last.
    away: Option<String>,
}

struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registry and what it has said.
pub struct RemoteRegistry {
    shared: Arc<Shared>,
}

impl RemoteRegistry {
    /// `folder` is where schemas are kept.
    pub fn open(settings: &RegistrySettings, folder: PathBuf) -> Result<RemoteRegistry, ClientError> {
        let client = Client::new(settings)?;
        let cache = Cache::new(folder, settings);
        let shared = Arc::new(Shared { state: Mutex::default(), news: Condvar::new() });
        let asker = Asker { shared: Arc::clone(&shared), client, cache };
        let thread = std::thread::Builder::new().name("registry".to_owned());
        thread.spawn(move || asker.run()).map_err(ClientError::Thread)?;
        Ok(RemoteRegistry { shared })
    }
}

impl Drop for RemoteRegistry {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.news.notify_all();
    }
}

impl Registry for RemoteRegistry {
    fn find(&self, id: &SchemaId) -> Found {
        let mut state = self.shared.state();
        match state.entries.get(id) {
            Some(Entry::Known(found)) => return found.clone(),
            Some(Entry::Wanted { .. }) => return Found::Asked,
            Some(Entry::Denied { refusal, until, .. }) if Moment::now() < *until => {
                return Found::Useless(refusal.clone());
            }
            Some(Entry::Denied { refusal, .. }) => {
                // Asked again, beside the answer that was given before.
                let found = Found::Useless(refusal.clone());
                let ask = Ask::Schema(id.clone());
                if !state.queue.contains(&ask) {
                    state.queue.push_back(ask);
                    self.shared.news.notify_all();
                }
                return found;
            }
            None => {}
        }
        if state.entries.len() >= KEPT {
            state.entries.retain(|_, entry| matches!(entry, Entry::Wanted { .. }));
        }
        state.entries.insert(id.clone(), Entry::Wanted { denials: 0 });
        state.queue.push_back(Ask::Schema(id.clone()));
        self.shared.news.notify_all();
        Found::Asked
    }

    fn wait(&self, id: &SchemaId, patience: Duration) -> Option<String> {
        let state = self.shared.state();
        let is_asked = |state: &mut State| matches!(state.entries.get(id), Some(Entry::Wanted { .. }));
        let waited = self.shared.news.wait_timeout_while(state, patience, is_asked);
        waited.unwrap_or_else(PoisonError::into_inner).0.away.clone()
    }
}

/// The thread that asks.
struct Asker {
    shared: Arc<Shared>,
    client: Client,
    cache: Cache,
}

impl Asker {
    fn run(self) {
        let mut pause = PAUSE;
        while let Some(ask) = self.next() {
            let asked = match ask.clone() {
                Ask::Schema(id) => self.ask_for_schema(id),
                Ask::Subject(wanted) => self.ask_for_subject(wanted),
            };
            match asked {
                Ok(()) => pause = PAUSE,
                Err(error) => {
                    counter!(telemetry::REGISTRY_ERRORS, "reason" => error.name()).increment(1);
                    self.gone(&error);
                    self.shared.state().queue.push_back(ask);
                    self.wait(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn ask_for_schema(&self, id: SchemaId) -> Result<(), ClientError> {
        let found = match self.cache.get(&id) {
            Some(found) => Some(found),
            None => self.client.fetch(&id)?,
        };
        self.back();
        self.learn(id, found);
        Ok(())
    }

    /// What to ask for next; `None` when nobody needs any more.
    fn next(&self) -> Option<Ask> {
        let mut state = self.shared.state();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(ask) = state.queue.pop_front() {
                return Some(ask);
            }
            state = self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits, unless nobody needs any more.
    fn wait(&self, pause: Duration) {
        let state = self.shared.state();
        let waited = self.shared.news.wait_timeout_while(state, pause, |state| !state.is_closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn back(&self) {
        if self.shared.state().away.take().is_some() {
            tracing::info!("the schema registry answers again");
        }
    }

    fn gone(&self, error: &ClientError) {
        let said = error.to_string();
        let before = self.shared.state().away.replace(said.clone());
        if before.is_none() {
            tracing::warn!(
                error = said,
                "the schema registry does not answer; records whose schemas are not known wait, and what is to be written with one"
            );
        }
    }

    /// `None` where the registry says that it does not have it.
    fn learn(&self, id: SchemaId, found: Option<Found>) {
        if let Some(found) = found {
            if let Err(error) = self.cache.put(&id, &found) {
                tracing::warn!(%error, "a schema cannot be kept on disk; a restart will ask for it again");
            }
            self.shared.state().entries.insert(id, Entry::Known(found));
            self.shared.news.notify_all();
            return;
        }
        let refusal = || {
            let detail = format!("the schema registry says that it has no schema with {}", name(&id));
            Refusal::new("unknown_schema", detail)
        };
        let denied = |refusal, pause| Entry::Denied { refusal, pause, until: Moment::now() + pause };
        let mut state = self.shared.state();
        let entry = match state.entries.remove(&id) {
            Some(Entry::Denied { refusal, pause, .. }) => denied(refusal, (pause * 2).min(LONGEST_DENIED)),
            Some(Entry::Wanted { denials }) if denials + 1 < DENIALS => {
                state.entries.insert(id.clone(), Entry::Wanted { denials: denials + 1 });
                state.queue.push_back(Ask::Schema(id));
                drop(state);
                self.wait(PAUSE);
                return;
            }
            _ => denied(refusal(), DENIED),
        };
        state.entries.insert(id, entry);
        self.shared.news.notify_all();
    }
}

/// An id as it is told.
pub fn name(id: &SchemaId) -> String {
    match id {
        SchemaId::Number(id) => format!("the id {id}"),
        SchemaId::Guid(guid) => format!("the GUID {}", uuid::Uuid::from_bytes(*guid)),
        SchemaId::Global(id) => format!("the global id {id}"),
        SchemaId::Content(id) => format!("the content id {id}"),
    }
}
