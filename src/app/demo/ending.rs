//! How a person or a script ends the demo early: q or Ctrl-C on its screen, SIGTERM or SIGINT anywhere.
//!
//! Must not know: what is then still to be done. Asked once, the demo finishes what it began; asked again, it leaves.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Counts how often the demo was asked to end.
pub struct Ending {
    signals: Arc<AtomicUsize>,
    keys: usize,
}

impl Ending {
    /// Takes SIGTERM and SIGINT over from now on. Not SIGHUP: keys must not be read from a terminal that is gone.
    pub fn listen(runtime: &Runtime) -> io::Result<Ending> {
        let _inside = runtime.enter();
        let signals = Arc::new(AtomicUsize::new(0));
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut received = signal(kind)?;
            let signals = Arc::clone(&signals);
            runtime.spawn(async move {
                while received.recv().await.is_some() {
                    signals.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Ending { signals, keys: 0 })
    }

    /// Reads the keys that were pressed since, where the screen has them.
    pub fn read_keys(&mut self) -> io::Result<()> {
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                self.keys += usize::from(key.code == KeyCode::Char('q') || control_c);
            }
        }
        Ok(())
    }

    /// How often it was asked to end.
    pub fn asked(&self) -> usize {
        self.signals.load(Ordering::Relaxed) + self.keys
    }
}
