//! The ids of schemas that are written with: asked for by subject, and registered where that is allowed.
//!
//! Must not know: what is written. A registry that has given an id is not asked again; what it refuses stays refused until
//! the next start.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Ask, Asker, ClientError, DENIALS, PAUSE, RemoteRegistry};

/// A schema that is to be written with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub subject: String,
    pub schema: &'static str,
    /// True where it may be registered, false where it must have been.
    pub registers: bool,
}

/// How far a [`Wanted`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The registry is asked; later there is another answer.
    Asked,
    Id(u32),
    /// Why it may not be written with.
    Refused(String),
}

/// What is known of a subject.
pub enum Standing {
    Wanted { denials: u32 },
    Id(u32),
    Refused(String),
}

/// What a registry said to one request.
pub enum Said {
    Id(u32),
    Refused(String),
    /// It does not have it.
    Unknown,
}

impl RemoteRegistry {
    /// The id of a schema in its subject.
    pub fn id_of(&self, wanted: &Wanted) -> Answered {
        let mut state = self.shared.state();
        match state.subjects.get(wanted) {
            Some(Standing::Id(id)) => Answered::Id(*id),
            Some(Standing::Refused(why)) => Answered::Refused(why.clone()),
            Some(Standing::Wanted { .. }) => Answered::Asked,
            None => {
                state.subjects.insert(wanted.clone(), Standing::Wanted { denials: 0 });
                state.queue.push_back(Ask::Subject(wanted.clone()));
                self.shared.news.notify_all();
                Answered::Asked
            }
        }
    }

    /// Waits until there is another answer than that it is asked, as long as told. Gives what the registry said last where
    /// it does not answer.
    pub fn wait_for(&self, wanted: &Wanted, patience: Duration) -> Option<String> {
        let state = self.shared.state();
        let waited = self.shared.news.wait_timeout_while(state, patience, |state| {
            matches!(state.subjects.get(wanted), Some(Standing::Wanted { .. })) && !state.is_closed
        });
        waited.unwrap_or_else(PoisonError::into_inner).0.away.clone()
    }
}

impl Asker {
    /// Asks for a subject once.
    pub fn ask_for_subject(&self, wanted: Wanted) -> Result<(), ClientError> {
        let said = match self.cache.id_of(&wanted) {
            Some(id) => Said::Id(id),
            None => self.client.id_of(&wanted)?,
        };
        self.back();
        let standing = match said {
            Said::Id(id) => {
                if let Err(error) = self.cache.put_id(&wanted, id) {
                    tracing::warn!(%error, "a schema's id cannot be kept on disk; a restart will ask for it again");
                }
                Standing::Id(id)
            }
            Said::Refused(why) => Standing::Refused(why),
            // It may only be behind its leader.
            Said::Unknown => match self.shared.state().subjects.get(&wanted) {
                Some(Standing::Wanted { denials }) if denials + 1 < DENIALS => {
                    Standing::Wanted { denials: denials + 1 }
                }
                _ => Standing::Refused("the answer is 404".to_owned()),
            },
        };
        let is_asked_again = matches!(standing, Standing::Wanted { .. });
        let mut state = self.shared.state();
        state.subjects.insert(wanted.clone(), standing);
        if is_asked_again {
            state.queue.push_back(Ask::Subject(wanted));
            drop(state);
            self.wait(PAUSE);
            return Ok(());
        }
        self.shared.news.notify_all();
        Ok(())
    }
}
