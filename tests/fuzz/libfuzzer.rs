//! A target as libFuzzer runs it: the one that the binary is named after.
#![no_main]

#[path = "targets/mod.rs"]
mod targets;

#[global_allocator]
static ALLOCATOR: targets::memory::Counting = targets::memory::Counting;

const TARGET: targets::Target = targets::named(env!("CARGO_BIN_NAME"));

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.run(input));
