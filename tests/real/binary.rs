//! The `evenkeel` binary on the real stack: a folder with its configuration, started and killed like anybody's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
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
    log: PathBuf,
    state: PathBuf,
    bootstrap: String,
    http: u16,
}

/// How long a member may take to answer a request: one that is stopped never does.
const ANSWER: Duration = Duration::from_secs(2);

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
        let mut shipped = Shipped::with_own_topics(file, name)?;
        for (from, to) in [
            ("shop.shop.heartbeat", shop.heartbeat_topic()),
            ("shop.shop.orders", shop.topic("orders")),
            ("pay.pay.heartbeat", pay.heartbeat_topic()),
            ("pay.pay.payments", pay.topic("payments")),
        ] {
            shipped.text = shipped.text.replace(from, &to);
        }
        Ok(shipped)
    }

    /// The same with the topics that the file itself names.
    pub fn with_own_topics(file: &str, name: &str) -> Result<Shipped> {
        let deploy = Path::new("deploy");
        let mut text = std::fs::read_to_string(deploy.join(file))?;
        let old = text.lines().find(|line| line.starts_with("reconciliation: ")).expect("it has a name").to_owned();
        text = text.replace(&old, &format!("reconciliation: {name}"));
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

    /// One that a test writes itself, with no rules but its own.
    pub fn of(text: String) -> Shipped {
        Shipped { text, rules: Vec::new() }
    }

    pub fn replace(mut self, from: &str, to: &str) -> Shipped {
        assert!(self.text.contains(from), "{from} stands in the configuration");
        self.text = self.text.replace(from, to);
        self
    }

    /// Further properties for every Kafka client of it.
    pub fn with_kafka(self, properties: &[(String, String)]) -> Shipped {
        let lines: String = properties.iter().map(|(name, value)| format!("\n  {name}: \"{value}\"")).collect();
        self.replace("\nkafka:\n", &format!("\nkafka:{lines}\n"))
    }

    /// Another grace for one of its rules, which has the four seconds of all.
    pub fn with_grace(mut self, rule: &str, grace: &str) -> Shipped {
        let file = self.rules.iter_mut().find(|(name, _)| *name == format!("{rule}.yaml")).expect("it has the rule");
        file.1 = file.1.replace("    grace: 4s", &format!("    grace: {grace}"));
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
        self.binary_at(&stack.bootstrap(), folder)
    }

    /// The same at a broker that is no part of a stack.
    pub fn binary_at(&self, bootstrap: &str, folder: &Path) -> Result<Binary> {
        let [http] = free_ports()?;
        std::fs::create_dir_all(folder.join("rules"))?;
        for (name, text) in &self.rules {
            std::fs::write(folder.join("rules").join(name), text)?;
        }
        let config = folder.join("evenkeel.yaml");
        std::fs::write(&config, format!("{}http: {{listen: \"127.0.0.1:{http}\"}}\n", self.text))?;
        Ok(Binary {
            service: Service::new("evenkeel", folder.join("evenkeel.log")),
            log: folder.join("evenkeel.log"),
            config,
            state: folder.join("state"),
            bootstrap: bootstrap.to_owned(),
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
        self.command_of(&[verb])
    }

    /// Of a verb that has verbs of its own.
    fn command_of(&self, verbs: &[&str]) -> Command {
        let mut command = User::OURS.command(Path::new(env!("CARGO_BIN_EXE_evenkeel")), "KILL");
        command.args(verbs).arg("-c").arg(&self.config);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap).env("EVENKEEL_STATE", &self.state);
        command
    }

    /// The same with its state in another folder, which may be a disk of its own.
    pub fn with_state(mut self, state: PathBuf) -> Binary {
        self.state = state;
        self
    }

    /// Starts `evenkeel run` and waits until it is ready.
    pub fn start(&self) -> Result {
        self.launch()?;
        self.service.wait_ready(Duration::from_secs(60), || Ok(self.is_ready()))
    }

    /// Starts `evenkeel run` and waits for nothing.
    pub fn launch(&self) -> Result {
        self.service.start(self.command("run"))
    }

    /// True once every partition assigned to it has caught up.
    pub fn is_ready(&self) -> bool {
        self.ask("readyz").is_ok()
    }

    /// True while it answers at all.
    pub fn is_alive(&self) -> bool {
        self.ask("livez").is_ok()
    }

    pub fn signal(&self, signal: &str) -> Result {
        self.service.signal(signal)
    }

    /// True where it does not run, and was not found to have ended by itself.
    pub fn is_idle(&self) -> bool {
        self.service.is_idle()
    }

    /// How it ended, where it has by itself; told once.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.service.ended()
    }

    /// The error that it said last, if any.
    pub fn last_error(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        log.lines().rfind(|line| line.starts_with("error: ")).map(str::to_owned)
    }

    /// Waits until it has logged something.
    pub fn wait_logged(&self, text: &str) -> Result {
        let limit = Duration::from_secs(60);
        self.service.wait_ready(limit, || Ok(std::fs::read_to_string(&self.log)?.contains(text)))
    }

    /// Loses its disk. It must not run.
    pub fn erase(&self) -> Result {
        assert!(self.is_idle(), "a disk is erased while nobody writes to it");
        // The folder itself may be a mount.
        for entry in std::fs::read_dir(&self.state).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        Ok(())
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

    /// Waits for the clean end of one that was sent SIGTERM.
    pub fn end(&self) -> Result {
        let ended = self.service.wait_end(Duration::from_secs(20))?;
        if ended.success() { Ok(()) } else { Err(self.service.failure(&format!("ended in disorder ({ended})"))) }
    }

    /// What `/metrics` says.
    pub fn metrics(&self) -> Result<String> {
        self.ask("metrics")
    }

    fn ask(&self, path: &str) -> Result<String> {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(ANSWER)).proxy(None).build().into();
        Ok(agent.get(&format!("http://127.0.0.1:{}/{path}", self.http)).call()?.body_mut().read_to_string()?)
    }

    /// The sum of a metric over the series that have these labels; as text, `name="value"`.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> Result<f64> {
        let metrics = self.metrics()?;
        let is_summed = |line: &&str| {
            let series = line.strip_prefix(metric).filter(|series| series.starts_with(['{', ' ']));
            series.is_some_and(|series| labels.iter().all(|label| series.contains(label)))
        };
        let values = metrics.lines().filter(is_summed);
        Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// `evenkeel acknowledge`: what it prints.
    pub fn acknowledge(&self, source: &str) -> Result<String> {
        let output = self.command("acknowledge").arg(source).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `evenkeel confirm`: what it prints.
    pub fn confirm(&self, source: &str, unseen: &str) -> Result<String> {
        let output = self.command("confirm").args([source, unseen]).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `evenkeel quarantine requeue` with further flags: what it prints, and whether all of it could be requeued.
    pub fn requeue(&self, flags: &[&str]) -> Result<(bool, String)> {
        let output = self.command_of(&["quarantine", "requeue"]).args(flags).output()?;
        let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
        Ok((output.status.success(), said))
    }

    /// `evenkeel state --json`.
    pub fn state(&self) -> Result<serde_json::Value> {
        let output = self.command("state").arg("--json").output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// `evenkeel doctor` with further flags: what it prints, and whether nothing failed.
    pub fn doctor(&self, flags: &[&str]) -> Result<(bool, String)> {
        let output = self.command("doctor").args(flags).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {said}", output.status);
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// `evenkeel check --live`: what it prints to stderr, and whether it found nothing.
    pub fn check_live(&self) -> Result<(bool, String)> {
        let output = self.command("check").arg("--live").output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
