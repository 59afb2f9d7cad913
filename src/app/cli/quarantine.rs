//! `evenkeel quarantine` and its verbs: their flags, what they print, exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{fail, load};
use crate::app::quarantine::{Filter, list, show};

/// Look at what could not be understood
///
/// Such records are kept whole, with their headers and where they came from. Nothing is changed by looking.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel quarantine list -c evenkeel.yaml\n  evenkeel quarantine show -c evenkeel.yaml pay.pay.payments:1:42"
)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    verb: QuarantineVerb,
}

#[derive(Subcommand)]
enum QuarantineVerb {
    List(ListArgs),
    Show(ShowArgs),
}

/// Count records by source and reason, with the first, the last, and what was said of it
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel quarantine list -c evenkeel.yaml\n  evenkeel quarantine list -c evenkeel.yaml --reason truncate --json"
)]
struct ListArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Only this source's
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those refused for this reason
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// Show one record whole, and what the configuration makes of it now
///
/// The exit code is 1 where it is not in quarantine.
#[derive(Args)]
#[command(after_help = "Example:\n  evenkeel quarantine show -c evenkeel.yaml pay.pay.payments:1:42")]
struct ShowArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Where it came from
    #[arg(value_name = "TOPIC:PARTITION:OFFSET")]
    place: String,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

pub fn quarantine_verb(args: &QuarantineArgs) -> ExitCode {
    match &args.verb {
        QuarantineVerb::List(args) => list_verb(args),
        QuarantineVerb::Show(args) => show_verb(args),
    }
}

fn list_verb(args: &ListArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let filter =
        Filter { source: args.source.as_deref().map(Into::into), reason: args.reason.as_deref().map(Into::into) };
    match list(&settings, &filter) {
        Ok(listed) if args.json => println!("{}", listed.json()),
        Ok(listed) => print!("{listed}"),
        Err(error) => return fail(error),
    }
    ExitCode::SUCCESS
}

fn show_verb(args: &ShowArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match show(&settings, &args.place) {
        Ok(Some(shown)) if args.json => println!("{}", shown.json()),
        Ok(Some(shown)) => print!("{shown}"),
        Ok(None) => return fail(format!("{} is not in quarantine", args.place)),
        Err(error) => return fail(error),
    }
    ExitCode::SUCCESS
}
