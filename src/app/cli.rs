//! The command line: verbs, their flags, exit codes.
//!
//! Exit codes: 0 ok; 1 the verb failed or found something; 2 wrong use or configuration.

mod evidence;
mod quarantine;
mod state;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::evidence::{
    AuditArgs, CopyArgs, ExplainArgs, ReplayArgs, audit_verb, copy_verb, explain_verb, replay_verb,
};
use self::quarantine::{QuarantineArgs, quarantine_verb};
use self::state::{StateArgs, state_verb};
use super::acknowledge::{acknowledge, confirm};
use super::demo::{self, demo};
use super::diagnostic::{Diagnostic, render_all};
use super::reconcile_stage::ReconcileStatus;
use super::run::{Runtime, Stages, run, stop_on_signal};
use super::settings::Settings;
use super::{check, config, doctor, rule_tests};
use crate::adapters::telemetry;
use crate::domain::change::{SourceIndex, Unseen};

/// Wrong use or configuration.
const WRONG: u8 = 2;

#[derive(Parser)]
#[command(name = "evenkeel", version, about = "Says, within seconds and without false alarms, where two databases stopped agreeing.", long_about = None)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(RunArgs),
    Demo(DemoArgs),
    Check(CheckArgs),
    Doctor(DoctorArgs),
    Test(TestArgs),
    Acknowledge(AcknowledgeArgs),
    Confirm(ConfirmArgs),
    Quarantine(QuarantineArgs),
    State(StateArgs),
    Audit(AuditArgs),
    Copy(CopyArgs),
    Replay(ReplayArgs),
    Explain(ExplainArgs),
}

/// Run the product: ingest and reconcile, until SIGTERM or SIGINT
///
/// Start the same command on several machines to share the work. Logs go to stderr, for people on a terminal and as
/// JSON otherwise; RUST_LOG filters them. Metrics, /livez and /readyz are served where the configuration says.
#[derive(Args)]
#[command(after_help = "Example:\n  evenkeel run -c evenkeel.yaml")]
struct RunArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Run only one of the two stages in this process
    #[arg(long, value_enum)]
    stage: Option<Stage>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    /// Read the sources' topics, write the changes log
    Ingest,
    /// Read the changes log, judge, publish
    Reconcile,
}

/// Watch the whole product find injected faults, on an embedded Kafka
///
/// Two simulated databases write Debezium's events; faults of every kind are injected, and one feed stalls. The exit
/// code is 0 if exactly what was injected was found, and nothing else was said.
#[derive(Args)]
#[command(after_help = "Examples:\n  evenkeel demo\n  evenkeel demo --seconds 120 --json")]
struct DemoArgs {
    /// How long it runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(20..=86_400), conflicts_with = "forever")]
    seconds: u64,
    /// Run until q or Ctrl-C is pressed, or SIGTERM or SIGINT comes
    #[arg(long)]
    forever: bool,
    /// Print nothing but the summary, as one JSON object
    #[arg(long)]
    json: bool,
}

/// Say everything that is wrong with a configuration and its rules
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel check -c evenkeel.yaml\n  evenkeel check -c evenkeel.yaml --live --json"
)]
struct CheckArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Also compare it with the brokers, their topics, and each topic's last records
    #[arg(long)]
    live: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// Look for whatever loses, repeats or changes something on its way from the databases
///
/// Reads how Kafka's topics, the Debezium connectors in Kafka Connect (connect:) and the databases (connectors.NAME.database:)
/// are set, and each topic's last records, and says what of it may harm. Nothing is changed anywhere. The exit code is 1 where
/// something fails.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel doctor -c evenkeel.yaml\n  evenkeel doctor -c evenkeel.yaml --json\n  evenkeel doctor -c evenkeel.yaml --fix-hints > mend.sh"
)]
struct DoctorArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    /// Print only the commands and the SQL that mend what was found, to be read before they are run
    #[arg(long, conflicts_with = "json")]
    fix_hints: bool,
}

/// Run unit tests of rules
///
/// A test file tells stories: changes and promises over time, and the records that must come of them.
#[derive(Args)]
#[command(after_help = "Example:\n  evenkeel test tests/golden/*.yaml")]
struct TestArgs {
    /// Test files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// Go on after records of a source's topic were lost
///
/// Where retention deleted records before they were read, or a topic was deleted and created anew, nobody knows what they
/// said: verdicts are held, and a source_gap record says so. Re-snapshot the table, wait until the snapshot is through, and
/// then say with this command that the source can be relied on again.
#[derive(Args)]
#[command(after_help = "Example:\n  evenkeel acknowledge -c evenkeel.yaml orders")]
struct AcknowledgeArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The source whose gaps are made good, or do not matter
    source: String,
}

/// Say what has become of rows that a connector's new snapshot has not seen
///
/// A connector that has lost its place in the database's log takes a new snapshot, which tells of no row that was deleted in
/// between. What rests on a row that it has not seen is not judged: a source_unconfirmed record says how many there are.
#[derive(Args)]
#[command(after_help = "Example:\n  evenkeel confirm -c evenkeel.yaml orders gone")]
struct ConfirmArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The source whose rows these are
    source: String,
    /// What has become of them
    #[arg(value_enum)]
    unseen: UnseenArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum UnseenArg {
    /// They were deleted: the snapshot was of the whole table
    Gone,
    /// They are as they were: the snapshot was not to see them (snapshot.select.statement.overrides,
    /// snapshot.include.collection.list)
    Kept,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(args) => run_verb(&args),
        Verb::Demo(args) => demo_verb(&args),
        Verb::Check(args) => check_verb(&args),
        Verb::Doctor(args) => doctor_verb(&args),
        Verb::Test(args) => rule_tests::run(&args.files, args.json, colours()),
        Verb::Acknowledge(args) => acknowledge_verb(&args),
        Verb::Confirm(args) => confirm_verb(&args),
        Verb::Quarantine(args) => quarantine_verb(&args),
        Verb::State(args) => state_verb(&args),
        Verb::Audit(args) => audit_verb(&args),
        Verb::Copy(args) => copy_verb(&args),
        Verb::Replay(args) => replay_verb(&args),
        Verb::Explain(args) => explain_verb(&args),
    }
}

fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints faults for people.
fn complain(faults: &[Diagnostic]) {
    eprint!("{}", render_all(faults, colours()));
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// A configuration that is sound; else its faults are printed, and this is the exit code.
fn load(path: &Path) -> Result<Settings, ExitCode> {
    config::load(path).map_err(|faults| {
        complain(&faults);
        ExitCode::from(WRONG)
    })
}

fn run_verb(args: &RunArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let stages = match args.stage {
        None => Stages::Both,
        Some(Stage::Ingest) => Stages::Ingest,
        Some(Stage::Reconcile) => Stages::Reconcile,
    };
    telemetry::install_logs();
    match until_signal(settings, stages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn until_signal(settings: Settings, stages: Stages) -> Result<(), Box<dyn std::error::Error>> {
    let metrics = telemetry::install_metrics(&settings.plan.reconciliation)?;
    let runtime = Runtime::start()?;
    tracing::info!(reconciliation = %settings.plan.reconciliation, rules = settings.plan.rules.len(), "starting");
    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let signalled = tokio::spawn(stop_on_signal(Arc::clone(&stop)));
        let status = Arc::new(ReconcileStatus::default());
        let result = run(Arc::new(settings), stages, stop, status, metrics).await;
        signalled.abort();
        result
    })?;
    tracing::info!("stopped");
    Ok(())
}

fn acknowledge_verb(args: &AcknowledgeArgs) -> ExitCode {
    let (settings, source) = match load_source(&args.config, &args.source) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match acknowledge(&settings, source) {
        Ok(ids) => {
            println!("acknowledged whatever was lost of source {} before now:", args.source);
            ids.iter().for_each(|id| println!("  {}:{}", id.topic, id.partition));
            println!("verdicts go on from its next promise");
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

fn confirm_verb(args: &ConfirmArgs) -> ExitCode {
    let (settings, source) = match load_source(&args.config, &args.source) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let (unseen, word) = match args.unseen {
        UnseenArg::Gone => (Unseen::Gone, "gone"),
        UnseenArg::Kept => (Unseen::Kept, "as they were"),
    };
    match confirm(&settings, source, unseen) {
        Ok(true) => {
            println!("said that the rows of source {} are {word} that its last snapshot has not seen", args.source);
            println!("source_confirmed records tell how many they were, as far as they were counted");
            ExitCode::SUCCESS
        }
        Ok(false) => fail(format_args!("source {} has no topic", args.source)),
        Err(error) => fail(error),
    }
}

/// A configuration that is sound, and a source of it.
fn load_source(path: &Path, name: &str) -> Result<(Settings, SourceIndex), ExitCode> {
    let settings = load(path)?;
    let names: Vec<&str> = settings.sources.iter().map(|source| &*source.name).collect();
    match names.iter().position(|known| *known == name) {
        Some(source) => Ok((settings, source)),
        None => {
            eprintln!("error: there is no source {name:?}; there are: {}", names.join(", "));
            Err(ExitCode::from(WRONG))
        }
    }
}

fn demo_verb(args: &DemoArgs) -> ExitCode {
    let seconds = (!args.forever).then_some(args.seconds);
    match demo(demo::Options { seconds, json: args.json }) {
        Ok(summary) if summary.is_right() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(error),
    }
}

fn check_verb(args: &CheckArgs) -> ExitCode {
    let (faults, settings) = match config::load(&args.config) {
        Ok(settings) => (Vec::new(), Some(settings)),
        Err(faults) => (faults, None),
    };
    let is_sound = settings.is_some();
    let live = settings.as_ref().filter(|_| args.live).map(|settings| check::live(settings, &args.config));
    let live = live.unwrap_or_default();
    let faults = [faults, live].concat();
    if args.json {
        let errors: Vec<_> = faults.iter().map(Diagnostic::to_json).collect();
        println!("{}", serde_json::json!({"ok": faults.is_empty(), "errors": errors}));
    } else if let (true, Some(settings)) = (faults.is_empty(), &settings) {
        say_sound(&args.config, settings, args.live);
    } else {
        complain(&faults);
    }
    match (is_sound, faults.is_empty()) {
        (false, _) => ExitCode::from(WRONG),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    }
}

fn doctor_verb(args: &DoctorArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let chapters = doctor::examine(&settings);
    match (args.json, args.fix_hints) {
        (true, _) => println!("{}", doctor::print::json(&chapters)),
        (_, true) => print!("{}", doctor::hints(&settings, &chapters)),
        _ => print!("{}", doctor::print::table(&chapters)),
    }
    if doctor::print::is_sound(&chapters) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say_sound(path: &Path, settings: &Settings, live: bool) {
    let names = |names: Vec<&str>| names.join(", ");
    println!("{}: reconciliation {} is sound", path.display(), settings.plan.reconciliation);
    println!("  sources  {}", names(settings.sources.iter().map(|source| &*source.name).collect()));
    println!("  rules    {}", names(settings.plan.rules.iter().map(|rule| &*rule.id).collect()));
    if live {
        println!("  brokers and topics are what it says");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound_and_every_verb_has_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        check_verbs("evenkeel", &command);
    }

    fn check_verbs(above: &str, command: &clap::Command) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let name = format!("{above} {}", verb.get_name());
            let help = verb.clone().render_long_help().to_string();
            assert!(help.split_once("Example").is_some_and(|(_, examples)| examples.contains(&name)), "{help}");
            check_verbs(&name, verb);
        }
    }
}
