//! A schema registry of the test's process, with Confluent's interface.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::StatusCode;

/// Answers while it lives.
pub struct Registry {
    pub url: String,
    asked: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Registry {
    /// Serves `/schemas/ids/{id}`: `answer` makes a status and a body of an id and the request's number, from 0.
    pub fn start(answer: impl Fn(&str, usize) -> (u16, String) + Clone + Send + Sync + 'static) -> Registry {
        Registry::serve(move |path, _, number| match path.strip_prefix("/schemas/ids/") {
            Some(id) => answer(id, number),
            None => (404, String::new()),
        })
    }

    /// `answer` makes a status and a body of a path, what was posted to it, and the request's number, from 0.
    pub fn serve(answer: impl Fn(&str, &str, usize) -> (u16, String) + Clone + Send + Sync + 'static) -> Registry {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let answer = move |request: Request| {
            let (answer, number) = (answer.clone(), counted.fetch_add(1, Ordering::SeqCst));
            async move {
                let path = request.uri().path().to_owned();
                let posted = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
                let (status, body) = answer(&path, &String::from_utf8_lossy(&posted), number);
                (StatusCode::from_u16(status).expect("a status"), body)
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        listener.set_nonblocking(true).expect("a listener can be");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let router = axum::Router::new().fallback(answer);
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

/// The subjects of a registry, each with the ids of its schemas.
#[derive(Default)]
pub struct Subjects {
    schemas: Vec<String>,
    pub ids: BTreeMap<String, Vec<usize>>,
}

/// [`Subjects`] that a registry's thread and a test share.
pub type Shared = Arc<Mutex<Subjects>>;

impl Subjects {
    /// What a registry answers that takes every schema.
    pub fn answer(&mut self, path: &str, posted: &str) -> (u16, String) {
        let schema = serde_json::from_str::<serde_json::Value>(posted).unwrap_or_default()["schema"].to_string();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let known = self.schemas.iter().position(|known| *known == schema);
        match parts[..] {
            ["subjects", subject, "versions"] => {
                let id = known.unwrap_or_else(|| {
                    self.schemas.push(schema);
                    self.schemas.len() - 1
                });
                let ids = self.ids.entry(subject.to_owned()).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
                (200, format!("{{\"id\":{id}}}"))
            }
            ["subjects", subject] => {
                let ids = self.ids.get(subject).into_iter().flatten();
                match ids.copied().find(|id| Some(*id) == known) {
                    Some(id) => (200, format!("{{\"id\":{id}}}")),
                    None => (404, "{\"error_code\":40403,\"message\":\"Schema not found\"}".to_owned()),
                }
            }
            _ => (404, String::new()),
        }
    }
}
