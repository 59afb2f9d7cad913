//! What a key's life looks like from inside, for whoever asks why it went as it did. Nobody pays for it who does not ask.
//!
//! Must not know: who asks.

use super::instant::Instant;
use super::key_state::Episode;
use super::sql::Answer;

/// An instant at which a key was judged, or a deadline of its passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: Instant,
    /// The rules that were asked, each by its id, with what they answered.
    pub answers: Vec<(Box<str>, Answer)>,
    /// The key's episodes after it.
    pub episodes: Vec<Episode>,
}

/// Watches a key live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// In timeline order.
    pub moments: Vec<Moment>,
}

impl Witness {
    /// A rule was asked.
    pub fn hear(&mut self, at: Instant, rule: &str, answer: &Answer) {
        self.moment(at).answers.push((rule.into(), answer.clone()));
    }

    /// An instant is over.
    pub fn see(&mut self, at: Instant, episodes: &[Episode]) {
        self.moment(at).episodes = episodes.to_vec();
    }

    fn moment(&mut self, at: Instant) -> &mut Moment {
        if self.moments.last().is_none_or(|last| last.at != at) {
            self.moments.push(Moment { at, answers: Vec::new(), episodes: Vec::new() });
        }
        self.moments.last_mut().expect("there is one of this instant")
    }
}
