//! Reads over HTTP what servers beside Kafka tell: a schema registry, Kafka Connect.
//!
//! Must not know: what is read. Nothing is ever written. Answers may hold secrets: they are never quoted in errors.

#[cfg(test)]
pub mod served;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::Agent;
use ureq::http::HeaderMap;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
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

    /// What is at a path below the server's URL, each segment by itself; `None` where there is no such thing.
    pub fn get(&self, path: &[&str]) -> Result<Option<Answer>, HttpError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let url = url.to_string();
        let away = |source| HttpError::Away { url: url.clone(), source };
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(away)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(HttpError::Status { url, status }),
        }
        let text = response.body_mut().with_config().limit(LARGEST).read_to_string().map_err(away)?;
        Ok(Some(Answer { headers: response.headers().clone(), url, text }))
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
