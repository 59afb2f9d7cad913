//! The rules in force as bytes, version 1: in a block of the changes log, and in the store.
//!
//! Must not know: what a rule means. Its SQL is written as it stands and compiled anew by whoever reads it.

use std::collections::BTreeMap;

use super::block::{read_column, write_column};
use super::{Reader, WireError, Writer};
use crate::domain::catalog::LookupTable;
use crate::domain::rule::{Definition, Escalation, RuleSet};
use crate::domain::value::Type;

const WHAT: &str = "rule set";
const MAGIC: &[u8] = b"EKR";
const VERSION: u8 = 1;

pub fn encode_rules(set: &RuleSet) -> Vec<u8> {
    let mut writer = Writer::begin(MAGIC, VERSION);
    writer.length(set.lookups.len());
    for lookup in &set.lookups {
        writer.text(&lookup.name);
        writer.length(lookup.columns.len());
        lookup.columns.iter().for_each(|column| write_column(&mut writer, column));
        writer.length(lookup.rows.len());
        lookup.rows.iter().for_each(|row| writer.values(row));
    }
    writer.length(set.rules.len());
    for rule in &set.rules {
        write_rule(&mut writer, rule);
    }
    writer.bytes
}

pub fn decode_rules(bytes: &[u8]) -> Result<RuleSet, WireError> {
    let mut reader = Reader::new(WHAT, bytes);
    reader.head(MAGIC, VERSION)?;
    let lookups = reader.list(|reader| {
        let name = reader.text()?.to_owned();
        let columns = reader.list(read_column)?;
        let rows = reader.list(|reader| Ok(reader.values()?.into_vec()))?;
        Ok(LookupTable { name, columns, rows })
    })?;
    let rules = reader.list(read_rule)?;
    reader.end()?;
    Ok(RuleSet { lookups, rules })
}

fn write_rule(writer: &mut Writer, rule: &Definition) {
    writer.text(&rule.id);
    writer.text(&rule.version);
    writer.text(&rule.sql);
    writer.signed(rule.grace_us);
    writer.length(rule.escalations.len());
    for step in &rule.escalations {
        writer.signed(step.after_us);
        writer.text(&step.severity);
    }
    writer.signed(rule.keep_open_for_us);
    writer.signed(rule.flap_window_us);
    writer.length(rule.identity.len());
    rule.identity.iter().for_each(|column| writer.length(*column));
    for texts in [&rule.labels, &rule.annotations] {
        writer.length(texts.len());
        for (name, text) in texts {
            writer.text(name);
            writer.text(text);
        }
    }
}

fn read_rule(reader: &mut Reader<'_>) -> Result<Definition, WireError> {
    Ok(Definition {
        id: reader.text()?.into(),
        version: reader.text()?.into(),
        sql: reader.text()?.into(),
        grace_us: reader.signed()?,
        escalations: reader
            .list(|reader| Ok(Escalation { after_us: reader.signed()?, severity: reader.text()?.into() }))?,
        keep_open_for_us: reader.signed()?,
        flap_window_us: reader.signed()?,
        identity: reader.list(Reader::narrow)?,
        labels: read_texts(reader)?,
        annotations: read_texts(reader)?,
    })
}

fn read_texts(reader: &mut Reader<'_>) -> Result<BTreeMap<String, String>, WireError> {
    let texts = reader.list(|reader| Ok((reader.text()?.to_owned(), reader.text()?.to_owned())))?;
    Ok(texts.into_iter().collect())
}

pub(super) fn write_type(writer: &mut Writer, ty: Type) {
    let (tag, detail) = match ty {
        Type::Bool => (1, None),
        Type::Int => (2, None),
        Type::Decimal { scale } => (3, scale),
        Type::Text => (4, None),
        Type::Bytes => (5, None),
        Type::Timestamp { precision } => (6, Some(u32::from(precision))),
        Type::TimestampTz => (7, None),
        Type::Date => (8, None),
        Type::Time { precision } => (9, Some(u32::from(precision))),
        Type::Uuid => (10, None),
        Type::Json => (11, None),
    };
    writer.byte(tag);
    writer.option(detail, |writer, detail| writer.unsigned(u64::from(detail)));
}

pub(super) fn read_type(reader: &mut Reader<'_>) -> Result<Type, WireError> {
    let tag = reader.byte()?;
    let detail: Option<u32> = reader.option(Reader::narrow)?;
    let precision = detail.and_then(|detail| u8::try_from(detail).ok()).unwrap_or(6);
    Ok(match tag {
        1 => Type::Bool,
        2 => Type::Int,
        3 => Type::Decimal { scale: detail },
        4 => Type::Text,
        5 => Type::Bytes,
        6 => Type::Timestamp { precision },
        7 => Type::TimestampTz,
        8 => Type::Date,
        9 => Type::Time { precision },
        10 => Type::Uuid,
        11 => Type::Json,
        _ => return Err(reader.damaged("a type has an unknown tag")),
    })
}
