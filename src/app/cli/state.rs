//! `evenkeel state` and its verbs: their flags, what they print, exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{WRONG, colours, fail, load};
use crate::app::diagnostic::render_all;
use crate::app::settings::Settings;
use crate::app::state::drop::{Consent, drop_checkpoint, drop_state};
use crate::app::state::restore::{Restored, restore};
use crate::app::state::show::look;
use crate::app::state::verify::verify;
use crate::app::state::{Desk, StateFailure};

/// Show each partition's state: offsets, settled time, keys, bytes, checkpoints
///
/// What is on this disk is read as it is at this moment, also while a process works on it, and nothing is changed. Brokers
/// are asked how far the changes log goes; where none answers, what is on this disk is shown all the same.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  evenkeel state -c evenkeel.yaml\n  evenkeel state -c evenkeel.yaml --json"
)]
pub struct StateArgs {
    #[command(subcommand)]
    verb: Option<StateVerb>,
    /// The configuration
    #[arg(short, long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum StateVerb {
    Verify(VerifyArgs),
    Restore(RestoreArgs),
    Drop(DropArgs),
}

/// Read every byte of this disk's states and of every checkpoint
///
/// Also while a process works on them. The exit code is 1 where something is not what was written, each with its place, why,
/// and what to do.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel state verify -c evenkeel.yaml\n  evenkeel state verify -c evenkeel.yaml --partition 3 --json"
)]
struct VerifyArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Only this partition of the changes log
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// What one partition's state is of.
#[derive(Args)]
struct OfPartition {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The partition of the changes log
    #[arg(long, value_name = "N")]
    partition: i32,
}

/// Put a checkpoint in the place of this disk's state
///
/// No process may work on it. The furthest checkpoint is taken that goes further than what is there; an older one must be
/// named. It is fetched whole and opened before it takes its place. Nothing is lost thereby: a start reads the changes log from
/// where the checkpoint ends. A start also takes a checkpoint that goes further by itself.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel state restore -c evenkeel.yaml --partition 3\n  evenkeel state restore -c evenkeel.yaml --partition 3 --checkpoint 812304"
)]
struct RestoreArgs {
    #[command(flatten)]
    of: OfPartition,
    /// The one that goes on at this offset, or has this name; also an older one than what is there
    #[arg(long, value_name = "OFFSET|NAME")]
    checkpoint: Option<String>,
}

/// Remove this disk's state of a partition, or one checkpoint
///
/// Without --yes it only says what would be lost, and what can make up for it: the changes log from its beginning, or a
/// checkpoint that is whole. Where nothing can, --yes alone is refused, too. No process may work on a state that is removed.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  evenkeel state drop -c evenkeel.yaml --partition 3 --yes\n  evenkeel state drop -c evenkeel.yaml --partition 3 --checkpoint 812304 --yes"
)]
struct DropArgs {
    #[command(flatten)]
    of: OfPartition,
    /// Instead of this disk's state, the checkpoint that goes on at this offset, or has this name
    #[arg(long, value_name = "OFFSET|NAME")]
    checkpoint: Option<String>,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Also where nothing can make up for it
    #[arg(long, requires = "yes")]
    lose_it: bool,
}

pub fn state_verb(args: &StateArgs) -> ExitCode {
    match &args.verb {
        None => show_verb(args),
        Some(StateVerb::Verify(args)) => verify_verb(args),
        Some(StateVerb::Restore(args)) => restore_verb(args),
        Some(StateVerb::Drop(args)) => drop_verb(args),
    }
}

/// Loads the configuration, and gives it to `work` if it has such a partition; complains where not.
fn with(config: &Path, partition: Option<i32>, work: impl FnOnce(&Desk<'_>, &Settings) -> ExitCode) -> ExitCode {
    let settings = match load(config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let last = settings.topics.partitions - 1;
    if let Some(partition) = partition.filter(|partition| !(0..=last).contains(partition)) {
        eprintln!("error: there is no partition {partition}; the changes log has partitions 0 to {last}");
        return ExitCode::from(WRONG);
    }
    match Desk::new(&settings) {
        Ok(desk) => work(&desk, &settings),
        Err(error) => fail(error),
    }
}

fn show_verb(args: &StateArgs) -> ExitCode {
    let config = args.config.as_ref().expect("it is required where no verb follows");
    with(config, None, |desk, _| {
        let report = look(desk, &config.display().to_string());
        if args.json {
            println!("{}", report.to_json());
        } else {
            print!("{}", report.to_text());
        }
        ExitCode::SUCCESS
    })
}

fn verify_verb(args: &VerifyArgs) -> ExitCode {
    with(&args.config, args.partition, |desk, settings| {
        let all = 0..settings.topics.partitions;
        let meant = all.filter(|partition| args.partition.is_none_or(|meant| meant == *partition));
        let verified = verify(desk, meant, &args.config.display().to_string());
        if args.json {
            println!("{}", verified.to_json());
        } else {
            print!("{}", verified.to_text());
            if !verified.faults.is_empty() {
                eprint!("{}", render_all(&verified.faults, colours()));
            }
        }
        if verified.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

fn restore_verb(args: &RestoreArgs) -> ExitCode {
    with(&args.of.config, Some(args.of.partition), |desk, _| {
        match restore(desk, args.of.partition, args.checkpoint.as_deref()) {
            Ok(restored) => {
                say_restored(args.of.partition, &restored);
                ExitCode::SUCCESS
            }
            Err(error) => fail(error),
        }
    })
}

fn say_restored(partition: i32, restored: &Restored) {
    let Restored { manifest, before, furthest } = restored;
    let settled = manifest.settled.as_deref().unwrap_or("nothing yet");
    println!("partition {partition}: the state goes on at offset {}, settled up to {settled}", manifest.next_offset);
    match before {
        Ok(None) => println!("  there was none before"),
        Ok(Some(next)) => println!("  the one before, which is gone, went on at offset {next}"),
        Err(error) => println!("  the one before, which is gone, could not be read: {error}"),
    }
    if let Some(furthest) = furthest {
        println!(
            "  a member that starts takes the furthest checkpoint, which goes on at offset {}: to keep this one, drop those \
             beyond it first",
            furthest.next_offset
        );
    }
}

fn drop_verb(args: &DropArgs) -> ExitCode {
    let consent = match (args.yes, args.lose_it) {
        (false, _) => Consent::None,
        (true, false) => Consent::Yes,
        (true, true) => Consent::LoseIt,
    };
    with(&args.of.config, Some(args.of.partition), |desk, _| {
        let dropped: Result<String, StateFailure> = match &args.checkpoint {
            Some(wanted) => drop_checkpoint(desk, args.of.partition, wanted, consent),
            None => drop_state(desk, args.of.partition, consent),
        };
        match dropped {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(error),
        }
    })
}
