//! The `evenkeel` binary on the real stack: a folder with its configuration, started and killed like anybody's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evenkeel::app::config;
use evenkeel::app::diagnostic::render_all;
use evenkeel::domain::catalog::LookupTable;

use super::process::{Service, User, free_ports};
use super::{Result, Source, Stack};

/// One configuration and the process that runs it.
pub struct Binary {
    service: Service,
    config: PathBuf,
    state: PathBuf,
    bootstrap: String,
    http: u16,
}

/// A shipped configuration, made fit for a test: its topics, small counts, graces of seconds.
pub struct Shipped {
    text: String,
    rules: Vec<(String, String)>,
}

/// Longer than any grace of a shipped configuration made fit, in seconds.
pub const BEYOND_GRACES: u32 = 9;

impl Shipped {
    /// `file` is one of deploy/; it reads the topics of both sources.
    pub fn read(file: &str, name: &str, shop: &Source, pay: &Source) -> Result<Shipped> {
        let deploy = Path::new("deploy");
        let mut text = std::fs::read_to_string(deploy.join(file))?;
        let old = text.lines().find(|line| line.starts_with("reconciliation: ")).expect("it has a name").to_owned();
        text = text.replace(&old, &format!("reconciliation: {name}"));
        for (from, to) in [
            ("shop.shop.heartbeat", shop.heartbeat_topic()),
            ("shop.shop.orders", shop.topic("orders")),
            ("pay.pay.heartbeat", pay.heartbeat_topic()),
            ("pay.pay.payments", pay.topic("payments")),
        ] {
            text = text.replace(from, &to);
        }
        // A member that was killed is not waited for so long.
        text = text
            .replace("\nkafka:\n", "\nkafka:\n  session.timeout.ms: \"3000\"\n  heartbeat.interval.ms: \"500\"\n");
        // What the file says of these is for production.
        let own = ["topics:", "state:", "http:", "stall_after:", "heartbeat_interval:", "slack:"];
        let mut kept = Vec::new();
        let mut skipping = false;
        for line in text.lines() {
            if !line.starts_with(' ') && !line.is_empty() {
                skipping = own.iter().any(|section| line.starts_with(section));
            }
            if !skipping {
                kept.push(line);
            }
        }
        text = kept.join("\n");
        text.push_str("\nslack: 1s\nstall_after: 10s\nheartbeat_interval: 1s\n");
        text.push_str(
            "topics: {partitions: 2, replication_factor: 1}\nstate: {dir: \"${EVENKEEL_STATE:-/nowhere}\"}\n",
        );
        let mut rules = Vec::new();
        for entry in std::fs::read_dir(deploy.join("rules"))? {
            let path = entry?.path();
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            rules.push((name, std::fs::read_to_string(path)?));
        }
        for (_, rule) in &mut rules {
            let lines: Vec<String> = rule
                .lines()
                .map(|line| match line.trim_start().starts_with("grace:") {
                    true => "    grace: 4s".to_owned(),
                    false => line.to_owned(),
                })
                .collect();
            *rule = lines.join("\n");
        }
        rules.sort();
        Ok(Shipped { text, rules })
    }

    pub fn replace(mut self, from: &str, to: &str) -> Shipped {
        assert!(self.text.contains(from), "{from} stands in the configuration");
        self.text = self.text.replace(from, to);
        self
    }

    /// The rule files that the configuration names, as YAML.
    pub fn rule_files(&self) -> Vec<serde_json::Value> {
        let named = self.rules.iter().filter(|(name, _)| self.text.contains(&format!("rules/{name}")));
        let parsed = named.map(|(_, text)| serde_saphyr::from_str(text).expect("a rule file is YAML"));
        let own: serde_json::Value = serde_saphyr::from_str(&self.text).expect("a configuration is YAML");
        parsed.chain([own]).collect()
    }

    /// The ids of all its rules.
    pub fn rules(&self) -> BTreeSet<String> {
        let files = self.rule_files();
        let rules = files.iter().flat_map(|file| file["rules"].as_array().into_iter().flatten());
        rules.map(|rule| rule["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Writes it to a folder and makes a process of it.
    pub fn binary(&self, stack: &Stack, folder: &Path) -> Result<Binary> {
        let [http] = free_ports()?;
        std::fs::create_dir_all(folder.join("rules"))?;
        for (name, text) in &self.rules {
            std::fs::write(folder.join("rules").join(name), text)?;
        }
        let config = folder.join("evenkeel.yaml");
        std::fs::write(&config, format!("{}http: {{listen: \"127.0.0.1:{http}\"}}\n", self.text))?;
        Ok(Binary {
            service: Service::new("evenkeel", folder.join("evenkeel.log")),
            config,
            state: folder.join("state"),
            bootstrap: stack.bootstrap(),
            http,
        })
    }
}

impl Binary {
    /// Its lookup tables.
    pub fn lookups(&self) -> Vec<LookupTable> {
        let loaded = config::load(&self.config).unwrap_or_else(|faults| panic!("{}", render_all(&faults, false)));
        loaded.plan.catalog.lookups.clone()
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = User::OURS.command(Path::new(env!("CARGO_BIN_EXE_evenkeel")), "KILL");
        command.arg(verb).arg("-c").arg(&self.config);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap).env("EVENKEEL_STATE", &self.state);
        command
    }

    /// Starts `evenkeel run` and waits until it is ready.
    pub fn start(&self) -> Result {
        self.service.start(self.command("run"))?;
        self.service.wait_ready(Duration::from_secs(60), || {
            Ok(ureq::get(&self.url("readyz")).call().is_ok_and(|answer| answer.status() == 200))
        })
    }

    /// Runs it until it ends, which must be with an error; gives the end of its log.
    pub fn run_until_it_fails(&self) -> Result<String> {
        self.service.start(self.command("run"))?;
        Ok(self.failure())
    }

    /// Waits until it ends by itself, which must be with an error; gives the end of its log.
    pub fn failure(&self) -> String {
        let ended = self.service.wait_ready(Duration::from_secs(60), || Ok(false));
        // It has ended, or should have: it can be started again.
        let _ = self.service.kill();
        ended.expect_err("it fails").to_string()
    }

    pub fn kill(&self) -> Result {
        self.service.kill()
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&self) -> Result {
        self.service.stop("TERM", Duration::from_secs(20))
    }

    /// What `/metrics` says.
    pub fn metrics(&self) -> Result<String> {
        Ok(ureq::get(&self.url("metrics")).call()?.body_mut().read_to_string()?)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.http)
    }

    /// `evenkeel acknowledge`: what it prints.
    pub fn acknowledge(&self, source: &str) -> Result<String> {
        let output = self.command("acknowledge").arg(source).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `evenkeel check --live`: what it prints to stderr, and whether it found nothing.
    pub fn check_live(&self) -> Result<(bool, String)> {
        let output = self.command("check").arg("--live").output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
