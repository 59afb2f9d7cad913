//! Kafka Connect's REST interface, as far as it only tells: which connectors run, how they are set, which plugins there are.
//!
//! Must not know: what a setting means. Nothing is ever written. Answers may hold secrets: they are never quoted in errors.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::http::{Answer, Credentials, HttpError, Server};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectSettings {
    pub url: Url,
    pub credentials: Option<Credentials>,
}

/// Why a worker gave no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url}: the answer is not JSON")]
    Strange { url: String },
}

/// A worker that rebalances, because a connector came or was altered, answers 409, now and then 500; a proxy before it 502
/// to 504. Each lasts for seconds: such a question is put again after each of these pauses.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// A worker; any of a cluster answers for all.
pub struct Connect {
    server: Server,
    pauses: [Duration; 4],
}

impl Connect {
    pub fn new(settings: &ConnectSettings) -> Result<Connect, ConnectError> {
        Ok(Connect { server: Server::new(&settings.url, settings.credentials.as_ref(), None)?, pauses: PAUSES })
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
        let Some(answer) = self.answer(path)? else { return Ok(None) };
        serde_json::from_str(&answer.text).map(Some).map_err(|_| ConnectError::Strange { url: answer.url })
    }

    fn answer(&self, path: &[&str]) -> Result<Option<Answer>, HttpError> {
        for pause in self.pauses {
            match self.server.get(path) {
                Err(HttpError::Status { status: 409 | 500 | 502..=504, .. }) => thread::sleep(pause),
                answered => return answered,
            }
        }
        self.server.get(path)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::super::http::served::serve;
    use super::*;

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

    fn at_once(settings: &ConnectSettings) -> Connect {
        Connect { pauses: [Duration::ZERO; 4], ..Connect::new(settings).expect("a client can be made") }
    }

    #[test]
    fn a_worker_that_rebalances_is_asked_until_it_answers() {
        let answers = Mutex::new(vec![200, 500, 409]);
        let served = serve("/", move |_, _| {
            (answers.lock().expect("no panic").pop().unwrap_or(401), r#"["shop"]"#.to_owned())
        });
        let connect = at_once(&ConnectSettings { url: served.url.clone(), credentials: None });
        assert_eq!(connect.connectors().expect("it answers at last"), ["shop"]);
        connect.connectors().expect_err("no pause helps against this");
        assert_eq!(served.asked().len(), 4);
    }

    #[test]
    fn a_worker_is_only_read_and_its_answers_are_not_quoted() {
        let served = serve("/connect/", |path, _| {
            let (status, body) = answer(path);
            (status, body.to_owned())
        });
        let credentials = Some(Credentials::Basic { username: "u".to_owned(), password: "secret".to_owned() });
        let settings = ConnectSettings { url: served.url.clone(), credentials };
        assert!(!format!("{settings:?}").contains("secret"));
        let connect = at_once(&settings);
        assert_eq!(connect.worker().expect("it answers")["version"], "4.1.0");
        assert_eq!(connect.connectors().expect("it answers"), ["shop", "pay"]);
        let config = connect.config("shop/1").expect("it answers").expect("it is there");
        assert_eq!(config["tasks.max"], "1", "a name is one segment of the path, whatever it holds");
        assert!(connect.config("gone").expect("it answers").is_none());
        let refused = connect.status("shop").expect_err("it is refused").to_string();
        assert!(refused.contains("500") && !refused.contains("hush"), "{refused}");
        let strange = connect.plugins().expect_err("it is no JSON").to_string();
        assert!(strange.contains("not JSON") && !strange.contains("hush"), "{strange}");
        let asked = served.asked();
        assert_eq!(asked.len(), 5 + 5, "what it may only be unable to tell now is asked for again");
        for request in &asked {
            assert!(request.starts_with("GET ") && request.ends_with("Basic dTpzZWNyZXQ="), "{request}");
        }
    }

    #[test]
    fn a_worker_that_is_away_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        let url = Url::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
        let connect = Connect::new(&ConnectSettings { url, credentials: None }).expect("a client can be made");
        let error = connect.worker().expect_err("nobody listens");
        assert!(matches!(error, ConnectError::Http(HttpError::Away { .. })), "{error}");
    }
}
