//! The verbs that show evidence: what they are asked with, what they print, how they end.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{WRONG, complain, fail, load};
use crate::adapters::clock::now;
use crate::app::config;
use crate::app::evidence::EvidenceError;
use crate::app::evidence::archive::Archive;
use crate::app::evidence::audit::audit;
use crate::app::evidence::copy::copy;
use crate::app::evidence::desk::Desk;
use crate::app::evidence::explain::{self, explain};
use crate::app::evidence::replay::{self, replay};
use crate::app::settings::Settings;
use crate::domain::change::Key;
use crate::domain::instant::Instant;

/// Show that nothing was removed from the discrepancy topic, put in or altered
///
/// Each record carries the hash of the one before it. Exits with 1 where the chain of a partition breaks, a record is not
/// Evenkeel's, or something was said twice. Whoever can write to the topic could still rewrite all of it, or cut its end
/// off: keep what --json prints, and give it to the next audit with --earlier.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel audit -c evenkeel.yaml\n  evenkeel audit -c evenkeel.yaml --json > today.json\n  \
                  evenkeel audit -c evenkeel.yaml --earlier today.json\n  evenkeel audit -c evenkeel.yaml --copy /mnt/audit"
)]
pub struct AuditArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Read a copy that evenkeel copy made, and no brokers
    #[arg(long, value_name = "FOLDER")]
    copy: Option<PathBuf>,
    /// What an earlier audit printed with --json: what it saw last must still be there
    #[arg(long, value_name = "FILE")]
    earlier: Option<PathBuf>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// Copy the changes log and the discrepancy topic into a folder
///
/// As they stand now, each partition in a file of its own that says what it is a copy of and ends with its SHA-256. audit,
/// replay and explain read it with --copy, without a broker.
#[derive(Args)]
#[command(after_help = "Example:\n  evenkeel copy -c evenkeel.yaml /mnt/audit")]
pub struct CopyArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Where the copy goes; made where it is missing
    folder: PathBuf,
}

/// Run the pure function over the changes log again, by the rules of the time or by others
///
/// Nothing is published. Prints the records that happened from --from up to --to, one JSON body a line, heartbeats left out;
/// with --diff only how they differ from what was published. With --rules a new rule is rehearsed on what has happened
/// before it goes live. Without, there is no difference: what was published is a function of the changes log. With --diff it
/// exits with 1 where there is one. How much was replayed is said on stderr.
#[derive(Args)]
#[command(after_help = "Examples:\n  evenkeel replay -c evenkeel.yaml --from 7d --rules rules/new.yaml\n  \
                  evenkeel replay -c evenkeel.yaml --from 7d --rules rules/new.yaml --diff\n  \
                  evenkeel replay -c evenkeel.yaml --diff\n  \
                  evenkeel replay -c evenkeel.yaml --copy /mnt/audit --from 2026-11-02T00:00:00Z --to 2026-11-09T00:00:00Z")]
pub struct ReplayArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// What happened at or after this instant (in UTC, or a span before now, as in 7d)
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Instant>,
    /// And before this one
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    to: Option<Instant>,
    /// A rule file, or a configuration: its rules stand in the place of those that the changes log says
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Print only how it differs from what was published
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    material: Material,
}

/// Tell why an order is where it is
///
/// Its changes with their positions in the database and in Kafka, the promises that let them be judged, what each rule
/// returned, what was published, and how it stands: open, pending, held and by whom, or fine.
#[derive(Args)]
#[command(after_help = "Examples:\n  evenkeel explain -c evenkeel.yaml 1171\n  \
                  evenkeel explain -c evenkeel.yaml 1171 --rule paid-without-payment --at 2026-11-02T12:00:00Z\n  \
                  evenkeel explain -c evenkeel.yaml 1171 --copy /mnt/audit --json")]
pub struct ExplainArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The order's key, as records have it
    key: String,
    /// How it stood at this instant (in UTC, or a span before now, as in 2h)
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Instant>,
    /// Only what this rule says
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    #[command(flatten)]
    material: Material,
    /// Print the account as one JSON object
    #[arg(long)]
    json: bool,
}

/// What a replay reads.
#[derive(Args)]
struct Material {
    /// Read a copy that evenkeel copy made, and no brokers
    #[arg(long, value_name = "FOLDER")]
    copy: Option<PathBuf>,
    /// Begin with copies of the states, a folder for each partition: where retention removed the beginning of the changes
    /// log, and the checkpoint store has none
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
}

impl Material {
    fn desk(&self, settings: Settings) -> Result<Desk, EvidenceError> {
        Desk::open(settings, self.copy.as_deref(), self.state.as_deref())
    }
}

/// An instant as it is asked for.
fn instant(text: &str) -> Result<Instant, String> {
    if let Some(micros) = config::moment(text, None) {
        return Ok(Instant(micros));
    }
    match config::duration(text) {
        Ok(span) => Ok(now().plus(-span)),
        Err(_) => Err("write an instant, as in 2026-11-02T12:00:00Z, or a span before now, as in 7d".to_owned()),
    }
}

/// 0 where all is well, 1 where something was found.
fn found(result: Result<bool, EvidenceError>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(error),
    }
}

/// Prints a result; whoever reads it may have gone.
fn print(text: impl std::fmt::Display) -> Result<(), EvidenceError> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(EvidenceError::Print)
}

pub fn audit_verb(args: &AuditArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let audited = || {
        let archive = Archive::open(&settings, args.copy.as_deref())?;
        let report = audit(&settings, &archive, args.earlier.as_deref())?;
        match args.json {
            true => print(format_args!("{}\n", report.to_json()))?,
            false => print(&report)?,
        }
        Ok(report.is_sound())
    };
    found(audited())
}

pub fn copy_verb(args: &CopyArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let copied = || {
        for copied in copy(&settings, &args.folder)? {
            let (path, about) = (copied.path.display(), copied.about);
            print(format_args!("{path}: {} records, offsets {} to {}\n", copied.records, about.start, about.end))?;
        }
        Ok(true)
    };
    found(copied())
}

pub fn replay_verb(args: &ReplayArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let rules = match args.rules.as_deref().map(|rules| config::load_rules(&args.config, rules)).transpose() {
        Ok(rules) => rules,
        Err(faults) => {
            complain(&faults);
            return ExitCode::from(WRONG);
        }
    };
    let (from, to) = (args.from.unwrap_or(Instant::MIN), args.to.unwrap_or(Instant::MAX));
    let question = replay::Question { from, to, rules, diff: args.diff };
    let replayed = || {
        let desk = args.material.desk(settings)?;
        let summary = replay(&desk, &question, |line| print(format_args!("{line}\n")))?;
        eprint!("{summary}");
        Ok(summary.is_same())
    };
    found(replayed())
}

pub fn explain_verb(args: &ExplainArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let question = explain::Question { key: Key(args.key.as_str().into()), at: args.at, rule: args.rule.clone() };
    let explained = || {
        let account = explain(&args.material.desk(settings)?, &question)?;
        match args.json {
            true => print(format_args!("{}\n", account.to_json()))?,
            false => print(&account)?,
        }
        Ok(true)
    };
    found(explained())
}
