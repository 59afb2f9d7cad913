//! The verbs that show evidence: what they are asked with, what they print, how they end.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{WRONG, complain, fail};
use crate::app::config;
use crate::app::evidence::EvidenceError;
use crate::app::evidence::archive::Archive;
use crate::app::evidence::audit::audit;
use crate::app::evidence::copy::copy;
use crate::app::settings::Settings;

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

fn load(config: &std::path::Path) -> Result<Settings, ExitCode> {
    config::load(config).map_err(|faults| {
        complain(&faults);
        ExitCode::from(WRONG)
    })
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
