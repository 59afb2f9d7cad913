//! Kafka Connect's REST interface, as far as it only tells: which connectors run, how they are set, which plugins there are.
//!
//! Must not know: what a setting means. Nothing is ever written. Answers may hold secrets: they are never quoted in errors.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

const PATIENCE: Duration = Duration::from_secs(10);

/// A worker with a thousand connectors answers with less.
const LARGEST: u64 = 16 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectSettings {
    pub url: Url,
    pub login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(***)")
    }
}

/// Why a worker gave no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{url}: {source}")]
    Away { url: String, source: ureq::Error },
    #[error("{url}: Kafka Connect answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: the answer is not JSON")]
    Strange { url: String },
}

/// A worker; any of a cluster answers for all.
pub struct Connect {
    agent: Agent,
    url: Url,
    authorization: Option<String>,
}

impl Connect {
    pub fn new(settings: &ConnectSettings) -> Connect {
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let authorization = settings
            .login
            .as_ref()
            .map(|Login { username, password }| format!("Basic {}", BASE64.encode(format!("{username}:{password}"))));
        Connect { agent, url: settings.url.clone(), authorization }
    }

    /// The worker's own version and its Kafka cluster.
    pub fn worker(&self) -> Result<Value, ConnectError> {
        Ok(self.get(&[])?.unwrap_or_default())
    }

    /// The names of all connectors.
    pub fn connectors(&self) -> Result<Vec<String>, ConnectError> {
        let names = self.get(&["connectors"])?.unwrap_or_default();
        let names = names.as_array().into_iter().flatten();
        Ok(names.filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }

    /// A connector's settings; `None` where there is no such connector.
    pub fn config(&self, name: &str) -> Result<Option<Value>, ConnectError> {
        self.get(&["connectors", name, "config"])
    }

    /// The state of a connector and its tasks.
    pub fn status(&self, name: &str) -> Result<Option<Value>, ConnectError> {
        self.get(&["connectors", name, "status"])
    }

    /// Every plugin with its class and version.
    pub fn plugins(&self) -> Result<Vec<Value>, ConnectError> {
        let plugins = self.get(&["connector-plugins"])?.unwrap_or_default();
        Ok(plugins.as_array().cloned().unwrap_or_default())
    }

    fn get(&self, path: &[&str]) -> Result<Option<Value>, ConnectError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let url = url.to_string();
        let away = |source| ConnectError::Away { url: url.clone(), source };
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(away)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(ConnectError::Status { url, status }),
        }
        let text = response.body_mut().with_config().limit(LARGEST).read_to_string().map_err(away)?;
        serde_json::from_str(&text).map(Some).map_err(|_| ConnectError::Strange { url })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A worker of this process, with what it was asked.
    fn serve(answer: fn(&str) -> (u16, &'static str)) -> (Url, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let login = head.iter().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
                let (method, path) = first.split_once(' ').unwrap_or_default();
                let path = path.split(' ').next().unwrap_or_default();
                noted.lock().expect("nobody panics").push(format!("{method} {path} {login}").trim_end().to_owned());
                let (status, body) = answer(path);
                let length = body.len();
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        (Url::parse(&format!("http://127.0.0.1:{port}/connect/")).expect("a URL"), asked)
    }

    fn answer(path: &str) -> (u16, &'static str) {
        match path {
            "/connect/" | "/connect" => (200, r#"{"version":"4.1.0"}"#),
            "/connect/connectors" => (200, r#"["shop","pay"]"#),
            "/connect/connectors/shop%2F1/config" => (200, r#"{"tasks.max":"1"}"#),
            "/connect/connectors/shop/status" => (500, r#"{"message":"password=hush"}"#),
            "/connect/connector-plugins" => (200, "<html>hush</html>"),
            _ => (404, "{}"),
        }
    }

    #[test]
    fn a_worker_is_only_read_and_its_answers_are_not_quoted() {
        let (url, asked) = serve(answer);
        let login = Some(Login { username: "u".to_owned(), password: "secret".to_owned() });
        let settings = ConnectSettings { url, login };
        assert!(!format!("{settings:?}").contains("secret"));
        let connect = Connect::new(&settings);
        assert_eq!(connect.worker().expect("it answers")["version"], "4.1.0");
        assert_eq!(connect.connectors().expect("it answers"), ["shop", "pay"]);
        let config = connect.config("shop/1").expect("it answers").expect("it is there");
        assert_eq!(config["tasks.max"], "1", "a name is one segment of the path, whatever it holds");
        assert!(connect.config("gone").expect("it answers").is_none());
        let refused = connect.status("shop").expect_err("it is refused").to_string();
        assert!(refused.contains("500") && !refused.contains("hush"), "{refused}");
        let strange = connect.plugins().expect_err("it is no JSON").to_string();
        assert!(strange.contains("not JSON") && !strange.contains("hush"), "{strange}");
        let asked = asked.lock().expect("nobody panics");
        assert_eq!(asked.len(), 6);
        for request in asked.iter() {
            assert!(request.starts_with("GET ") && request.ends_with("Basic dTpzZWNyZXQ="), "{request}");
        }
    }

    #[test]
    fn a_worker_that_is_away_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        let url = Url::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
        let error = Connect::new(&ConnectSettings { url, login: None }).worker().expect_err("nobody listens");
        assert!(matches!(error, ConnectError::Away { .. }), "{error}");
    }
}
