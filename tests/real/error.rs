//! One error for the harness: a sentence. Any other error turns into it, with its sources, so `?` works
//! everywhere and a test that returns it fails with a readable message.

use std::fmt;
use std::time::{Duration, Instant};

pub struct Error(String);

pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Error(message.into())
    }

    /// The same error, said to have happened while doing `what`.
    pub fn during(self, what: &str) -> Self {
        Error(format!("{what}: {}", self.0))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Error(message)
    }
}

const POLL: Duration = Duration::from_millis(25);

/// Asks `check` until it gives a value. An error of `check` is not the end: the last one is told when time is up.
pub fn wait_until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let last = match check() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!("; last answer: {error}"),
        };
        if Instant::now() >= end {
            return Err(Error(format!("waited {:.0} s in vain for {what}{last}", limit.as_secs_f64())));
        }
        std::thread::sleep(POLL);
    }
}
