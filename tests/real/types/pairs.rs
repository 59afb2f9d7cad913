//! Pairs of connectors, which together are set in all the ways that change how a value is written.

use std::fmt::Write;

use super::columns::Column;
use crate::real::{AvroIds, Result, Source, Stack};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converter {
    Json,
    JsonWithSchemas,
    Avro,
}

/// How one connector is set.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    pub decimal: &'static str,
    pub time: &'static str,
    pub binary: &'static str,
    /// `bigint.unsigned.handling.mode`, which PostgreSQL's connector has not.
    pub unsigned: &'static str,
}

/// A connector of each database, both read by one rule a column.
pub struct Pair {
    pub number: usize,
    /// Of the payments' connector, with what belongs to it.
    kind: &'static str,
    pub converter: Converter,
    pub modes: [Modes; 2],
    /// False where the converter replaces NULL by the column's default: JSON's unless told otherwise, Apicurio's always.
    pub keeps_null: bool,
    /// True where MariaDB's connector is told to leave years of two digits alone.
    pub keeps_years: bool,
    pub sources: [Source; 2],
}

const fn modes(decimal: &'static str, time: &'static str, binary: &'static str, unsigned: &'static str) -> Modes {
    Modes { decimal, time, binary, unsigned }
}

pub fn pairs(stack: &Stack, name: &str) -> Result<Vec<Pair>> {
    use Converter as C;
    // What a moment without a schema is, only the default modes and text say; PostgreSQL's default is not MariaDB's.
    let (default, micros) = ("adaptive", "adaptive_time_microseconds");
    let all = [
        (C::Json, modes("precise", default, "bytes", ""), modes("string", micros, "base64", "long")),
        (
            C::Json,
            modes("string", "isostring", "hex", ""),
            modes("precise", "isostring", "base64-url-safe", "precise"),
        ),
        (C::Json, modes("double", default, "base64-url-safe", ""), modes("double", micros, "hex", "long")),
        (
            C::JsonWithSchemas,
            modes("double", "microseconds", "base64", ""),
            modes("precise", "nanoseconds", "bytes", "precise"),
        ),
        (C::JsonWithSchemas, modes("precise", "connect", "bytes", ""), modes("string", "connect", "hex", "long")),
        (
            C::JsonWithSchemas,
            modes("string", "nanoseconds", "hex", ""),
            modes("double", "microseconds", "base64-url-safe", "long"),
        ),
        (C::Avro, modes("string", "isostring", "base64-url-safe", ""), modes("precise", micros, "bytes", "precise")),
        (C::Avro, modes("precise", default, "bytes", ""), modes("double", "isostring", "hex", "long")),
        (C::Avro, modes("double", "microseconds", "hex", ""), modes("string", "nanoseconds", "base64", "precise")),
        (C::Avro, modes("precise", "connect", "base64", ""), modes("precise", "connect", "base64-url-safe", "long")),
    ];
    let pair = |(index, (converter, shop, pay)): (usize, &(Converter, Modes, Modes))| -> Result<Pair> {
        let number = index + 1;
        let (keeps_null, keeps_years) = (number != 3 && *converter != C::Avro, number == 2);
        let modes = [*shop, *pay];
        let set = |source: Source, modes: Modes| -> Result<Source> {
            let mut source = source
                .set("decimal.handling.mode", modes.decimal)
                .set("time.precision.mode", modes.time)
                .set("binary.handling.mode", modes.binary)
                .set("provide.transaction.metadata", "false")
                .with_table("types", 1)
                .with_table("odd", 1);
            if !modes.unsigned.is_empty() {
                source = source.set("bigint.unsigned.handling.mode", modes.unsigned);
                source = source.set("enable.time.adjuster", &(!keeps_years).to_string());
            }
            // Decimals that would be bytes as JSON numbers.
            if number == 4 || number == 5 {
                source = source.set("value.converter.decimal.format", "NUMERIC");
            }
            if !keeps_null {
                source = source.set("value.converter.replace.null.with.default", "true");
            }
            Ok(match converter {
                C::Json => source,
                C::JsonWithSchemas => source.with_schemas(),
                C::Avro => source.with_avro(stack.registry()?, AvroIds::Confluent),
            })
        };
        let sources = [
            set(Source::shop(stack, &format!("{name}shop{number}")), *shop)?,
            set(Source::pay(stack, &format!("{name}pay{number}")), *pay)?,
        ];
        let kind = if stack.is_paid_by_mysql() { "mysql, gtids: true" } else { "mariadb" };
        Ok(Pair { number, kind, converter: *converter, modes, keeps_null, keeps_years, sources })
    };
    all.iter().enumerate().map(pair).collect()
}

impl Pair {
    /// What the configuration calls a table of a side.
    pub fn name(&self, side: usize, table: &str) -> String {
        format!("{}{}_{table}", ["shop", "pay"][side], self.number)
    }

    pub fn rule(&self, column: &str) -> String {
        format!("p{}-{column}", self.number)
    }

    /// A connector's section of the configuration.
    pub fn declare(&self, side: usize, out: &mut String) {
        let (kind, heartbeat) = [("postgresql", "timestamptz"), (self.kind, "timestamp(6)")][side];
        let modes = self.modes[side];
        let topic = self.sources[side].heartbeat_topic();
        // A schema says itself what this would say.
        let decimal = match self.converter {
            Converter::Json => format!("decimal_handling_mode: {}, ", modes.decimal),
            _ => String::new(),
        };
        writeln!(
            out,
            "  {}{}: {{kind: {kind}, heartbeat: {{topic: {topic}, type: {heartbeat}}}, {decimal}binary_handling_mode: {}}}",
            ["shop", "pay"][side], self.number, modes.binary
        )
        .expect("a string takes everything");
    }

    /// A source's section.
    pub fn source<'c>(
        &self,
        side: usize,
        table: &str,
        columns: impl Iterator<Item = (&'c str, &'c str)>,
        out: &mut String,
    ) {
        let columns: Vec<String> = columns.map(|(name, ty)| format!("{name}: \"{ty}\"")).collect();
        writeln!(
            out,
            "  {}: {{connector: {}{}, topic: {}, primary_key: id, key: id, columns: {{id: bigint, {}}}}}",
            self.name(side, table),
            ["shop", "pay"][side],
            self.number,
            self.sources[side].topic(table),
            columns.join(", ")
        )
        .expect("a string takes everything");
    }

    /// Whether a column is kept: `evenkeel check` refuses decimals that a double does not.
    pub fn keeps(&self, column: &Column) -> bool {
        !column.is_wide || self.modes.iter().all(|modes| modes.decimal != "double")
    }

    /// Whether the values that differ are told apart: `connect` has milliseconds alone.
    pub fn tells(&self, column: &Column) -> bool {
        !column.is_fine || self.modes.iter().all(|modes| modes.time != "connect")
    }

    /// Whether one value becomes two on the way.
    pub fn loses(&self, column: &Column, literal: &str) -> bool {
        let only_one = |mode: &str| self.modes.iter().filter(|modes| modes.time == mode).count() == 1;
        match column.name {
            name if name.starts_with("def") => literal == "null" && !self.keeps_null,
            // As text the end of a day is its beginning.
            "t0" | "t3" | "t6" => literal == "'24:00:00'" && only_one("isostring"),
            // Nanoseconds are of the years 1677 to 2262; beyond them NULL arrives, or some other moment.
            "ts0" | "ts3" | "ts6" => {
                ["'9999-", "'1000-"].iter().any(|year| literal.starts_with(year)) && only_one("nanoseconds")
            }
            _ => false,
        }
    }
}
