//! Apicurio's schema registry as a process, which keeps what it knows in memory. Knows no schema.

use std::path::Path;
use std::time::Duration;

use super::error::Result;
use super::jvm::Jars;
use super::process::{Service, free_ports};

pub struct Registry {
    _service: Service,
    port: u16,
}

impl Registry {
    /// Starts it and waits until it answers.
    pub fn start(jars: &Jars, folder: &Path) -> Result<Registry> {
        let [port] = free_ports()?;
        let service = Service::new("registry", folder.join("registry.log"));
        let mut command = jars.java_alone("256m");
        command.arg("-Dquarkus.http.host=127.0.0.1").arg(format!("-Dquarkus.http.port={port}"));
        command.arg("-jar").arg(jars.registry.join("app/apicurio-registry-app-3.0.9-runner.jar"));
        service.start(command)?;
        let http: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let subjects = format!("http://127.0.0.1:{port}/apis/ccompat/v7/subjects");
        service.wait_ready(Duration::from_secs(120), || {
            Ok(http.get(&subjects).call().is_ok_and(|response| response.status() == 200))
        })?;
        Ok(Registry { _service: service, port })
    }

    /// The subjects that it has.
    pub fn subjects(&self) -> Result<Vec<String>> {
        let http: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let text = http.get(&format!("{}/subjects", self.confluent())).call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Its own interface, which Apicurio's converter needs; the version is 2 or 3.
    pub fn native(&self, version: u8) -> String {
        format!("http://127.0.0.1:{}/apis/registry/v{version}", self.port)
    }

    /// Confluent's interface.
    pub fn confluent(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }
}
