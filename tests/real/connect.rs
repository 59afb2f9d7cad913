//! Kafka Connect and its REST interface: the worker as a process, connectors as JSON. Knows no particular
//! connector.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::error::{Error, Result, wait_until};
use super::jvm::Jars;
use super::process::{Service, free_ports};

/// Short sessions and no rebalance delay: after kill -9 a new worker takes its connectors back within seconds,
/// not minutes. The debezium plugins declare their services, so nothing needs scanning.
const SETTINGS: &str = "\
group.id=evenkeel-connect
session.timeout.ms=3000
heartbeat.interval.ms=500
scheduled.rebalance.max.delay.ms=0
offset.flush.interval.ms=1000
config.storage.topic=connect-configs
config.storage.replication.factor=1
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
status.storage.topic=connect-status
status.storage.replication.factor=1
status.storage.partitions=1
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
plugin.discovery=service_load
reconnect.backoff.max.ms=200
rest.advertised.host.name=127.0.0.1
";

pub type Config = BTreeMap<String, String>;

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Connect {
    service: Service,
    settings: PathBuf,
    log_settings: PathBuf,
    heap: String,
    port: u16,
    http: ureq::Agent,
}

impl Connect {
    /// Writes the settings and starts the process; `wait_ready` waits for it. The broker may come up later.
    pub fn launch(jars: &Jars, folder: &Path, log_settings: &Path, heap: &str, bootstrap: &str) -> Result<Connect> {
        let [port] = free_ports()?;
        let settings = folder.join("connect.properties");
        let own = format!(
            "bootstrap.servers={bootstrap}\nlisteners=http://127.0.0.1:{port}\nrest.advertised.port={port}\n\
             plugin.path={},{}\n",
            jars.plugins.display(),
            jars.registry.join("plugins").display()
        );
        fs::write(&settings, format!("{SETTINGS}{own}"))?;
        let http = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .proxy(None)
            .build()
            .into();
        let service = Service::new("connect", folder.join("connect.log"));
        let connect = Connect { service, settings, log_settings: log_settings.into(), heap: heap.into(), port, http };
        connect.start(jars)?;
        Ok(connect)
    }

    pub fn start(&self, jars: &Jars) -> Result {
        let mut command =
            jars.java(&self.heap, &self.log_settings, "org.apache.kafka.connect.cli.ConnectDistributed");
        command.arg(&self.settings);
        self.service.start(command)
    }

    /// Ready means that the worker has joined its group and lists connectors.
    pub fn wait_ready(&self) -> Result {
        self.service.wait_ready(Duration::from_secs(120), || Ok(self.get("connectors")?.is_some()))
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn kill(&self) -> Result {
        self.service.kill()
    }

    pub fn stop(&self) -> Result {
        self.service.stop("TERM", Duration::from_secs(30))
    }

    /// Creates the connector or gives it a new configuration, and waits until its task says RUNNING.
    /// After a change of configuration the old task says so for a while: wait for an effect, too.
    pub fn put_config(&self, name: &str, config: &Config) -> Result {
        let path = format!("connectors/{name}/config");
        self.settled(&format!("connector {name:?} to be accepted"), || {
            let response = self.http.put(self.url(&path)).send_json(config)?;
            accepted(&path, response)
        })?;
        self.wait_state(name, "RUNNING")
    }

    /// Creates a connector that does not run (KIP-980).
    pub fn create_stopped(&self, name: &str, config: &Config) -> Result {
        let body = serde_json::json!({"name": name, "config": config, "initial_state": "STOPPED"});
        self.settled(&format!("connector {name:?} to be accepted"), || {
            accepted("connectors", self.http.post(self.url("connectors")).send_json(&body)?)
        })?;
        wait_until("the connector to be there", PATIENCE, || Ok(self.status(name)?.map(drop)))
    }

    pub fn config(&self, name: &str) -> Result<Option<Config>> {
        // The worker has no answer while others' connectors come.
        let config = wait_until("a connector's configuration", PATIENCE, || {
            self.get(&format!("connectors/{name}/config")).map(Some)
        })?;
        Ok(config.map(serde_json::from_value).transpose()?)
    }

    /// Waits until the connector and each of its tasks are in this state. STOPPED means: it has no task left.
    pub fn wait_state(&self, name: &str, state: &str) -> Result {
        let what = format!("connector {name:?} to be {state}");
        let waited = wait_until(&what, PATIENCE, || {
            let Some(status) = self.status(name)? else { return Err(Error::new("unknown connector")) };
            let tasks = status["tasks"].as_array().map_or(&[][..], Vec::as_slice);
            if let Some(failed) = tasks.iter().find(|task| task["state"] == "FAILED" && state != "FAILED") {
                return Err(Error::new(format!("task failed: {}", failed["trace"].as_str().unwrap_or("no trace"))));
            }
            let tasks_fit = match state {
                "STOPPED" => tasks.is_empty(),
                _ => !tasks.is_empty() && tasks.iter().all(|task| task["state"] == state),
            };
            Ok((status["connector"]["state"] == state && tasks_fit).then_some(()))
        });
        waited.map_err(|error| self.service.failure(&error.to_string()))
    }

    pub fn status(&self, name: &str) -> Result<Option<Value>> {
        self.get(&format!("connectors/{name}/status"))
    }

    /// True where the connector or a task of it has given up: Connect does not start it again.
    pub fn has_failed(&self, name: &str) -> Result<bool> {
        let status = self.status(name)?.unwrap_or_default();
        let tasks = status["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(status["connector"]["state"] == "FAILED" || tasks.iter().any(|task| task["state"] == "FAILED"))
    }

    /// The source's own position as Connect has stored it.
    pub fn offsets(&self, name: &str) -> Result<Value> {
        self.get(&format!("connectors/{name}/offsets"))?
            .ok_or_else(|| Error::new(format!("connector {name:?} is unknown")))
    }

    /// Ends the task. (`pause` is not offered: it leaves the heartbeat statement running.)
    pub fn stop_connector(&self, name: &str) -> Result {
        self.put(&format!("connectors/{name}/stop"))?;
        self.wait_state(name, "STOPPED")
    }

    pub fn resume_connector(&self, name: &str) -> Result {
        self.put(&format!("connectors/{name}/resume"))?;
        self.wait_state(name, "RUNNING")
    }

    /// The status does not show when the new task has taken over: wait for an effect.
    pub fn restart_connector(&self, name: &str) -> Result {
        let path = format!("connectors/{name}/restart?includeTasks=true");
        self.settled(&path, || accepted(&path, self.http.post(self.url(&path)).send_empty()?))?;
        self.wait_state(name, "RUNNING")
    }

    /// Stops and deletes the connector and forgets its position, so that its name can begin anew.
    pub fn delete_connector(&self, name: &str) -> Result {
        self.forget_offsets(name)?;
        self.delete(&format!("connectors/{name}"))?;
        wait_until("the connector to be gone", PATIENCE, || Ok(self.status(name)?.is_none().then_some(())))
    }

    /// Stops the connector and forgets its position.
    pub fn forget_offsets(&self, name: &str) -> Result {
        self.stop_connector(name)?;
        self.delete(&format!("connectors/{name}/offsets"))
    }

    fn delete(&self, path: &str) -> Result {
        self.settled(path, || accepted(path, self.http.delete(self.url(path)).call()?))
    }

    fn put(&self, path: &str) -> Result {
        self.settled(path, || accepted(path, self.http.put(self.url(path)).send_empty()?))
    }

    /// None when there is no such thing.
    fn get(&self, path: &str) -> Result<Option<Value>> {
        let mut response = self.http.get(self.url(path)).call()?;
        let text = response.body_mut().read_to_string()?;
        match response.status().as_u16() {
            200 => Ok(Some(serde_json::from_str(&text)?)),
            404 => Ok(None),
            status => Err(Error::new(format!("GET /{path}: {status} {text}"))),
        }
    }

    /// Repeats a request while the worker answers that a rebalance is going on (409).
    fn settled(&self, what: &str, request: impl FnMut() -> Result<Option<()>>) -> Result {
        wait_until(what, PATIENCE, request).map_err(|error| self.service.failure(&error.to_string()))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

fn accepted(path: &str, mut response: ureq::http::Response<ureq::Body>) -> Result<Option<()>> {
    if response.status().is_success() {
        return Ok(Some(()));
    }
    let text = response.body_mut().read_to_string()?;
    Err(Error::new(format!("{path}: {} {text}", response.status())))
}
