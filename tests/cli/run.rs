//! `evenkeel run` as an init system meets it: told to stop, it ends in order and says so with its exit code.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evenkeel::app::demo::settings::FILE;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::command;
use crate::support::theatre::{TOPICS, Theatre, cluster};

/// A process that does not outlive its test, whatever the test finds.
pub struct Process(Child);

impl Process {
    pub fn start(mut command: Command) -> Process {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Process(command.spawn().expect("the binary starts"))
    }

    pub fn signal(&self, signal: &str) {
        let kill =
            Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &self.0.id().to_string()]).status();
        assert!(kill.expect("a shell").success(), "SIG{signal} can be sent");
    }

    /// The lines of its stdout, to its end.
    pub fn stdout(&mut self) -> impl Iterator<Item = String> + use<> {
        let stdout = self.0.stdout.take().expect("it is read once");
        BufReader::new(stdout).lines().map(|line| line.expect("text"))
    }

    /// The lines of its stderr, to its end.
    pub fn stderr(&mut self) -> impl Iterator<Item = String> + use<> {
        let stderr = self.0.stderr.take().expect("it is read once");
        BufReader::new(stderr).lines().map(|line| line.expect("text"))
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        self.0.wait().expect("it can be waited for").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brokers with the demo's topics, and a folder with a configuration.
pub struct Ground {
    pub cluster: MockCluster<'static, DefaultProducerContext>,
    folder: tempfile::TempDir,
}

impl Ground {
    pub fn prepare(config: &str) -> Ground {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("evenkeel.yaml"), config).expect("it can be written");
        Ground { cluster: cluster(&TOPICS), folder }
    }

    /// `evenkeel run` with more arguments.
    pub fn run(&self, more: &[&str]) -> Process {
        self.run_on(&self.cluster.bootstrap_servers(), more)
    }

    /// The same on other brokers.
    pub fn run_on(&self, brokers: &str, more: &[&str]) -> Process {
        let mut run = command(&["run", "-c"]);
        run.arg(self.folder.path().join("evenkeel.yaml")).args(more);
        run.env("DEMO_BOOTSTRAP", brokers);
        run.env("DEMO_STATE", self.folder.path().join("state"));
        Process::start(run)
    }
}

/// The demo's configuration, to be served at an address or `off`.
pub fn served(listen: &str) -> String {
    format!("{FILE}\nhttp: {{listen: \"{listen}\"}}\n")
}

/// Runs it until its workers are at work, with transactions and stores that have to be closed, then signals. Gives its
/// exit code and its log. The brokers go before where `they_go`.
fn ends_on(signal: &str, they_go: bool) -> (Option<i32>, String) {
    let ground = Ground::prepare(&served("off"));
    let mut process = ground.run(&[]);
    let mut told = Vec::new();
    let mut log = process.stderr();
    for line in log.by_ref() {
        let is_open = line.contains("partition opened");
        told.push(line);
        if is_open {
            break;
        }
    }
    let ground = (!they_go).then_some(ground);
    process.signal(signal);
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(log.collect::<Vec<_>>()));
    told.extend(end.recv_timeout(Duration::from_secs(60)).expect("it ends in time"));
    drop(ground);
    assert_eq!(process.stdout().count(), 0, "logs go to stderr");
    (process.exit_code(), told.join("\n"))
}

fn ends_in_order_on(signal: &str) {
    let (code, told) = ends_on(signal, false);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("partition opened") && told.contains("\"stopped\""), "{told}");
    assert!(!told.contains("ERROR"), "{told}");
}

#[test]
fn cli_run_ends_in_time_where_the_brokers_are_gone() {
    let (code, told) = ends_on("TERM", true);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("error: told to stop, and not done after 25 s: the brokers"), "{told}");
}

#[test]
fn cli_run_says_which_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let ground = Ground::prepare(&served(&address));
    let mut process = ground.run(&[]);
    let told: Vec<String> = process.stderr().collect();
    assert_eq!(process.exit_code(), Some(1), "{told:?}");
    let error = told.last().expect("it says why");
    assert!(error.starts_with(&format!("error: {address} cannot be listened on: Address")), "{error}");
}

#[test]
fn cli_run_ends_in_order_on_sigterm() {
    ends_in_order_on("TERM");
}

#[test]
fn cli_run_ends_in_order_on_sigint() {
    ends_in_order_on("INT");
}

/// A large deployment runs the stages apart: what one process does, two do.
#[test]
fn cli_run_of_the_stages_apart_finds_what_was_injected() {
    let ground = Ground::prepare(&served("off"));
    let mut theatre = Theatre::new(&ground.cluster.bootstrap_servers(), &[]);
    let stages = ["ingest", "reconcile"].map(|stage| {
        let mut process = ground.run(&["--stage", stage]);
        let log = process.stderr();
        (process, std::thread::spawn(move || log.collect::<Vec<_>>().join("\n")))
    });
    theatre.play(true, Duration::from_secs(60), |theatre| theatre.judge.seen.len() >= 3);
    theatre.play(false, Duration::from_secs(60), |theatre| theatre.judge.is_complete());
    let [ingest, reconcile] = stages.map(|(mut process, log)| {
        process.signal("TERM");
        let told = log.join().expect("its log is text");
        assert_eq!(process.exit_code(), Some(0), "{told}");
        assert!(!told.contains("ERROR") && told.contains("\"stopped\""), "{told}");
        ["source partitions assigned", "partition opened"].map(|work| told.contains(work))
    });
    assert_eq!((ingest, reconcile), ([true, false], [false, true]), "each does its own work");
    let summary = theatre.judge.summary();
    assert!(summary.is_right(), "{summary}");
}
