//! `evenkeel quarantine` and its verbs: their flags, what they print, exit codes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{fail, load};
use crate::app::quarantine::{Filter, list, requeue, show};

/// Look at what could not be understood, and take back what is understood by now
///
/// Such records are kept whole, with their headers and where they came from. Nothing is changed by looking.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel quarantine list -c evenkeel.yaml\n  evenkeel quarantine show -c evenkeel.yaml pay.pay.payments:1:42\n  evenkeel quarantine requeue -c evenkeel.yaml --reason no_registry"
)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    verb: QuarantineVerb,
}

#[derive(Subcommand)]
enum QuarantineVerb {
    List(ListArgs),
    Show(ShowArgs),
    Requeue(RequeueArgs),
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

/// Take records back that are understood by now
///
/// Each is read again where it came from, with whatever its topic-partition says of its row since; the row is then as if the
/// record had been understood when it came, from now on: what was said meanwhile stays said. To be run when the
/// configuration is mended and members run with it. A record that its topic does not have any more is not requeued: nobody could
/// say whether its row has changed since.
///
/// The exit code is 1 where something was not requeued, or nothing is there.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel quarantine requeue -c evenkeel.yaml pay.pay.payments:1:42\n  evenkeel quarantine requeue -c evenkeel.yaml --source payments --reason no_registry --dry-run"
)]
struct RequeueArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Where they came from
    #[arg(value_name = "TOPIC:PARTITION:OFFSET", required_unless_present_any = ["source", "reason", "all"])]
    places: Vec<String>,
    /// All of this source
    #[arg(long, value_name = "NAME", conflicts_with = "places")]
    source: Option<String>,
    /// All that were refused for this reason
    #[arg(long, value_name = "WORD", conflicts_with = "places")]
    reason: Option<String>,
    /// All that are in quarantine
    #[arg(long, conflicts_with_all = ["places", "source", "reason"])]
    all: bool,
    /// Only say what would become of them
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

pub fn quarantine_verb(args: &QuarantineArgs) -> ExitCode {
    match &args.verb {
        QuarantineVerb::List(args) => list_verb(args),
        QuarantineVerb::Show(args) => show_verb(args),
        QuarantineVerb::Requeue(args) => requeue_verb(args),
    }
}

fn list_verb(args: &ListArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match list(&settings, &filter(&args.source, &args.reason)) {
        Ok(listed) if args.json => println!("{}", listed.json()),
        Ok(listed) => print!("{listed}"),
        Err(error) => return fail(error),
    }
    ExitCode::SUCCESS
}

fn filter(source: &Option<String>, reason: &Option<String>) -> Filter {
    Filter { source: source.as_deref().map(Into::into), reason: reason.as_deref().map(Into::into) }
}

fn requeue_verb(args: &RequeueArgs) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let filter = filter(&args.source, &args.reason);
    let places: BTreeSet<&str> = args.places.iter().map(String::as_str).collect();
    let is_named = |place: &str| places.is_empty() || places.contains(place);
    match requeue(&settings, |one| filter.wants(one) && is_named(&one.place()), args.dry_run) {
        Ok(requeued) => {
            match args.json {
                true => println!("{}", requeued.json()),
                false => {
                    print!("{requeued}");
                    match (requeued.count(), args.dry_run) {
                        ((_, 0), _) => {}
                        ((count, all), true) => println!("{count} of {all} would be requeued"),
                        ((count, all), false) => println!("{count} of {all} requeued"),
                    }
                }
            }
            let missing: Vec<&str> = places.into_iter().filter(|place| requeued.of(place).is_none()).collect();
            missing.iter().for_each(|place| eprintln!("error: {place} is not in quarantine"));
            ExitCode::from(u8::from(!requeued.is_all() || !missing.is_empty()))
        }
        Err(error) => fail(error),
    }
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
