//! Whatever reads bytes that others wrote, each as a function of bytes: the fuzz targets. libFuzzer runs them
//! (`tests/fuzz/libfuzzer.rs`), and so does a bounded run on stable Rust (`tests/fuzz/mod.rs`).
//!
//! A target panics where the product would, where it takes much more memory than its input, and where what was read does not
//! survive being written.

pub mod debezium;
pub mod memory;
pub mod records;
pub mod registry;
pub mod setting;
pub mod sql;
pub mod values;
pub mod wire;
pub mod yaml;

/// One of the things that are fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

pub const TARGETS: [Target; 14] = [
    target("json", debezium::json),
    target("key", debezium::key),
    target("cell", debezium::cell),
    target("avro", debezium::avro),
    target("avro_schema", debezium::avro_schema),
    target("frame", debezium::frame),
    target("registry", registry::answer),
    target("block", wire::block),
    target("state", wire::state),
    target("records", records::records),
    target("values", values::values),
    target("sql", sql::query),
    target("config", yaml::config),
    target("stories", yaml::stories),
];

/// The target of a name, known to the compiler: a binary holds no more than it runs, for libFuzzer looks at all of that
/// after each execution.
pub const fn named(name: &str) -> Target {
    let mut index = 0;
    while !is_same(TARGETS[index].name.as_bytes(), name.as_bytes()) {
        index += 1;
    }
    TARGETS[index]
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

impl Target {
    /// Runs it once. What it took of memory at a time must stand in a proportion to its input.
    pub fn run(&self, input: &[u8]) {
        let most = memory::most_of(|| (self.run)(input));
        let allowed = ROOM + PROPORTION * input.len();
        assert!(most <= allowed, "{}: an input of {} bytes took {most} bytes of memory", self.name, input.len());
    }
}

/// What a target may take whatever its input is, bytes.
const ROOM: usize = 64 << 20;

/// What a target may take beside for each byte of its input: a tree of many small values takes that much.
const PROPORTION: usize = 400;
