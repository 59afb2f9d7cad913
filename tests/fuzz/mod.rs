//! Hostile input. Every fuzz target is run with what is kept for it (`tests/fuzz/seeds`, `tests/fuzz/corpus`) and with so many
//! mutations of it, by a seed: EVENKEEL_FUZZ_RUNS says how many, EVENKEEL_FUZZ_SEED which.

mod hostile;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use self::targets::memory::{Counting, most_of};
use self::targets::{TARGETS, Target, named};
use crate::support::dice::Dice;

/// It counts what targets take; everything else it hands on.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What no input may take; far more than any does, since machines are busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// As much of an input is shown: all that mutations make.
const SHOWN: usize = 1 << 16;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What is kept for a target: an input a line, escaped as failures print it. Seeds are real, or of a failure, whose line may be
/// added as it is; what libFuzzer found besides is written anew now and then.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for folder in ["tests/fuzz/seeds", "tests/fuzz/corpus"] {
        let text = std::fs::read_to_string(Path::new(folder).join(target).with_extension("txt"));
        let text = text.expect("every target has seeds and a corpus");
        inputs.extend(text.lines().map(|line| unescaped(line).unwrap_or_else(|| panic!("{target}: {line}"))));
    }
    inputs
}

/// The inverse of `escape_ascii`.
fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter != '\\' {
            bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        let (kind, tail) = rest.split_at_checked(1)?;
        rest = tail;
        bytes.push(match kind {
            "t" => b'\t',
            "n" => b'\n',
            "r" => b'\r',
            "x" => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                u8::from_str_radix(digits, 16).ok()?
            }
            "\\" | "\"" | "'" => kind.as_bytes()[0],
            _ => return None,
        });
    }
    Some(bytes)
}

#[test]
fn fuzz_inputs_are_read_as_they_are_printed() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(unescaped(&all.escape_ascii().to_string()), Some(all));
}

/// Runs a target once; what it fails with comes with the input, so that it can become a test.
fn run(target: Target, input: &[u8], about: &str) {
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target.run(input)));
    let took = began.elapsed();
    if outcome.is_err() || took > PATIENCE {
        let shown = input[..input.len().min(SHOWN)].escape_ascii();
        let rest = input.len().saturating_sub(SHOWN);
        panic!("target {}, {about}, {took:?}: fails with b\"{shown}\" and {rest} bytes more", target.name);
    }
}

/// `cost` is how many times as long as the quickest a target takes: so many times less often it runs.
fn fuzz(name: &str, cost: u64) {
    let target = named(name);
    let kept = kept(name);
    for (number, input) in kept.iter().enumerate() {
        run(target, input, &format!("input {number} of those that are kept"));
    }
    let seed = from_environment("EVENKEEL_FUZZ_SEED", 1);
    let runs = from_environment("EVENKEEL_FUZZ_RUNS", 20_000) / cost;
    for number in 0..runs {
        let mut dice = Dice::new(seed.wrapping_mul(1 << 32).wrapping_add(number));
        let chosen = dice.below(kept.len() as u64) as usize;
        let input = mutate::mutated(&mut dice, &kept[chosen], &kept);
        run(target, &input, &format!("seed {seed}, run {number}"));
    }
}

#[test]
fn fuzz_memory_is_counted() {
    let most = most_of(|| {
        drop(vec![1_u8; 3 << 20]);
        drop(vec![1_u8; 2 << 20]);
    });
    assert!((3 << 20..4 << 20).contains(&most), "{most}");
}

macro_rules! tests {
    ($($name:ident $target:literal $cost:literal),+ $(,)?) => {
        $(#[test]
        fn $name() {
            fuzz($target, $cost);
        })+

        #[test]
        fn fuzz_every_target_is_run() {
            let run = [$($target),+];
            assert_eq!(TARGETS.map(|target| target.name), run);
        }
    };
}

tests! {
    fuzz_json "json" 1,
    fuzz_key "key" 1,
    fuzz_cell "cell" 1,
    fuzz_avro "avro" 1,
    fuzz_avro_schema "avro_schema" 4,
    fuzz_frame "frame" 1,
    fuzz_registry "registry" 1,
    fuzz_block "block" 1,
    fuzz_state "state" 1,
    fuzz_records "records" 4,
    fuzz_values "values" 1,
    fuzz_sql "sql" 8,
    fuzz_config "config" 8,
    fuzz_stories "stories" 20,
}
