//! A schema registry of the test's process.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Path;
use axum::http::StatusCode;

/// Serves `/schemas/ids/{id}` while it lives.
pub struct Registry {
    pub url: String,
    asked: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Registry {
    /// `answer` makes a status and a body of an id and the request's number, from 0.
    pub fn start(answer: impl Fn(&str, usize) -> (u16, String) + Clone + Send + Sync + 'static) -> Registry {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let answer = move |Path(id): Path<String>| {
            let (status, body) = answer(&id, counted.fetch_add(1, Ordering::SeqCst));
            async move { (StatusCode::from_u16(status).expect("a status"), body) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        listener.set_nonblocking(true).expect("a listener can be");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let router = axum::Router::new().route("/schemas/ids/{id}", axum::routing::get(answer));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await
        });
        Registry { url, asked, _runtime: runtime }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
