//! One Evenkeel process' worth of work, on threads of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use evenkeel::app::StageError;
use evenkeel::app::reconcile_stage::ReconcileStatus;
use evenkeel::app::run::{Runtime, Stages, run};
use evenkeel::app::settings::Settings;

/// A running product; stops when dropped.
pub struct Product {
    stop: Arc<AtomicBool>,
    pub status: Arc<ReconcileStatus>,
    thread: Option<JoinHandle<Result<(), StageError>>>,
}

impl Product {
    pub fn start(settings: Settings) -> Product {
        let stop = Arc::new(AtomicBool::new(false));
        let status = Arc::new(ReconcileStatus::default());
        let given = (Arc::new(settings), Arc::clone(&stop), Arc::clone(&status));
        let thread = std::thread::spawn(move || {
            let (settings, stop, status) = given;
            let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
            let runtime = Runtime::start().expect("a runtime");
            runtime.block_on(run(settings, Stages::Both, stop, status, metrics))
        });
        Product { stop, status, thread: Some(thread) }
    }

    /// Stops cleanly and gives the outcome.
    pub fn stop(mut self) -> Result<(), StageError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().expect("the product does not panic"))
    }

    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
