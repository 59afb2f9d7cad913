//! Speaks over HTTP with servers beside Kafka: a schema registry, Kafka Connect.
//!
//! Must not know: what is said. Answers may hold secrets: they are never quoted in errors.

#[cfg(test)]
pub mod served;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, RequestBuilder};
use url::Url;

const PATIENCE: Duration = Duration::from_secs(10);

/// Schemas of very wide tables have some hundred kilobytes; a worker with a thousand connectors tells less than this, too.
const LARGEST: u64 = 16 << 20;

#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic { username: String, password: String },
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Why a server gave no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{url}: {source}")]
    Away { url: String, source: ureq::Error },
    #[error("{url}: the answer is {status}")]
    Status { url: String, status: u16 },
    #[error("{}: {source}", path.display())]
    Certificates { path: PathBuf, source: io::Error },
}

/// A server, and how to reach it.
pub struct Server {
    agent: Agent,
    url: Url,
    authorization: Option<String>,
}

pub struct Answer {
    pub url: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Server {
    /// `ca_file` holds certificates in PEM that are trusted in place of the system's.
    pub fn new(url: &Url, credentials: Option<&Credentials>, ca_file: Option<&Path>) -> Result<Server, HttpError> {
        let roots = match ca_file {
            None => RootCerts::PlatformVerifier,
            Some(path) => {
                certificates(path).map_err(|source| HttpError::Certificates { path: path.to_owned(), source })?
            }
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let authorization = credentials.map(|credentials| match credentials {
            Credentials::Basic { username, password } => {
                format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
            }
            Credentials::Bearer(token) => format!("Bearer {token}"),
        });
        Ok(Server { agent, url: url.clone(), authorization })
    }

    /// The same server by another URL.
    pub fn at(&self, url: Url) -> Server {
        Server { agent: self.agent.clone(), url, authorization: self.authorization.clone() }
    }

    /// What is at a path below the server's URL, each segment by itself; `None` where there is no such thing.
    pub fn get(&self, path: &[&str]) -> Result<Option<Answer>, HttpError> {
        self.ask(path).map(|answer| (answer.status == 200).then_some(answer))
    }

    /// The same, with what is said where there is no such thing: the status is 200 or 404.
    pub fn ask(&self, path: &[&str]) -> Result<Answer, HttpError> {
        let url = self.below(path);
        let asked = self.signed(self.agent.get(&url)).call();
        let answer = answer(url, asked)?;
        match answer.status {
            200 | 404 => Ok(answer),
            status => Err(HttpError::Status { url: answer.url, status }),
        }
    }

    /// Hands JSON to what is at a path, which answers with any status.
    pub fn post(&self, path: &[&str], json: &serde_json::Value) -> Result<Answer, HttpError> {
        let url = self.below(path);
        let request = self.signed(self.agent.post(&url)).header("content-type", "application/json");
        let asked = request.send(json.to_string());
        answer(url, asked)
    }

    fn below(&self, path: &[&str]) -> String {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.to_string()
    }

    fn signed<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }
}

fn answer(url: String, asked: Result<Response<Body>, ureq::Error>) -> Result<Answer, HttpError> {
    let read = asked.and_then(|mut response| {
        let text = response.body_mut().with_config().limit(LARGEST).read_to_string()?;
        Ok((response.status().as_u16(), response.headers().clone(), text))
    });
    match read {
        Ok((status, headers, text)) => Ok(Answer { url, status, headers, text }),
        Err(source) => Err(HttpError::Away { url, source }),
    }
}

fn certificates(path: &Path) -> Result<RootCerts, io::Error> {
    let pem = std::fs::read(path)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(io::Error::other)? {
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err(io::Error::other("it holds no certificate in PEM")),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
}
