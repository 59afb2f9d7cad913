//! Column types as the databases' own DDL writes them, and values as people write them.
//!
//! Must not know: where a type or a value was written. PostgreSQL's `timestamp` has no zone and MySQL's has one, so a
//! type's name is read in its database's dialect.

use std::str::FromStr;

use bigdecimal::BigDecimal;

use super::units::{Problem, suggestion};
use crate::adapters::debezium::shape::{ConnectorKind, Detail};
use crate::domain::value::{Type, Value};

/// A type, and what its declaration says beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnType {
    pub ty: Type,
    pub detail: Detail,
}

impl ColumnType {
    pub fn plain(ty: Type) -> ColumnType {
        ColumnType { ty, detail: Detail::default() }
    }

    fn padded() -> ColumnType {
        ColumnType { ty: Type::Text, detail: Detail { is_padded: true, ..Detail::default() } }
    }

    fn decimal(scale: Option<u32>, digits: Option<u32>) -> ColumnType {
        ColumnType { ty: Type::Decimal { scale }, detail: Detail { digits, ..Detail::default() } }
    }
}

const NAMES: [&str; 24] = [
    "bigint",
    "integer",
    "smallint",
    "tinyint",
    "boolean",
    "numeric",
    "decimal",
    "text",
    "varchar",
    "char",
    "enum",
    "bytea",
    "blob",
    "varbinary",
    "timestamp",
    "timestamptz",
    "datetime",
    "date",
    "time",
    "uuid",
    "json",
    "jsonb",
    "citext",
    "longtext",
];

/// What Debezium writes of these has no order that all databases agree on, or is not one value.
const UNCOMPARED: [&str; 23] = [
    "interval",
    "timetz",
    "time with time zone",
    "hstore",
    "geometry",
    "geography",
    "point",
    "vector",
    "halfvec",
    "sparsevec",
    "bit",
    "varbit",
    "bit varying",
    "cidr",
    "macaddr",
    "macaddr8",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "tsvector",
];

/// Reads a type's name: `bigint`, `numeric(12,2)`, `datetime(6)`.
pub fn parse_type(text: &str, dialect: ConnectorKind) -> Result<ColumnType, Problem> {
    let lower = text.trim().to_lowercase();
    let (name, arguments) = match lower.split_once('(') {
        Some((name, rest)) => {
            let (inside, tail) = rest.split_once(')').ok_or_else(|| {
                Problem::new(format!("type \"{text}\" has a ( without its )"))
                    .hint("Within {…} a comma ends a value: put the type into quotes, as in \"numeric(12,2)\".")
            })?;
            (format!("{}{tail}", name.trim_end()), Some(inside))
        }
        None => (lower.clone(), None),
    };
    let own = match dialect {
        ConnectorKind::Sqlserver => sqlservers(&name, text, arguments)?,
        ConnectorKind::Oracle => oracles(&name, text, arguments)?,
        _ => None,
    };
    if let Some(own) = own {
        return Ok(own);
    }
    let mysql = matches!(dialect, ConnectorKind::Mysql | ConnectorKind::Mariadb);
    let plain = |ty| Ok(ColumnType::plain(ty));
    match name.as_str() {
        "bigint" | "integer" | "int" | "smallint" | "mediumint" | "tinyint" | "int2" | "int4" | "int8" | "serial"
        | "bigserial" | "smallserial" | "year" | "integer unsigned" | "int unsigned" | "smallint unsigned"
        | "mediumint unsigned" | "tinyint unsigned" => plain(Type::Int),
        "bigint unsigned" if mysql => {
            let ColumnType { ty, detail } = ColumnType::decimal(Some(0), Some(20));
            Ok(ColumnType { ty, detail: Detail { is_unsigned: true, ..detail } })
        }
        "boolean" | "bool" => plain(Type::Bool),
        "bit" if matches!(arguments, None | Some("1")) => plain(Type::Bool),
        "numeric" | "decimal" | "dec" => decimal(text, arguments, mysql),
        "money" => Ok(ColumnType::decimal(Some(2), Some(19))),
        "float" | "double" | "double precision" | "real" | "float4" | "float8" => {
            let problem = Problem::new(format!("{name} is binary floating point, which cannot be compared exactly"));
            Err(problem.hint("Store money as numeric(p,s) or as integer minor units; a float column cannot be kept."))
        }
        "char" | "character" | "bpchar" => Ok(ColumnType::padded()),
        "text" | "varchar" | "character varying" | "citext" | "enum" | "set" | "tinytext" | "mediumtext"
        | "longtext" | "name" | "inet" | "xml" => plain(Type::Text),
        "bytea" | "blob" | "tinyblob" | "mediumblob" | "longblob" | "binary" | "varbinary" => plain(Type::Bytes),
        "timestamptz" | "timestamp with time zone" => plain(Type::TimestampTz),
        "timestamp" if mysql => plain(Type::TimestampTz),
        "timestamp" | "timestamp without time zone" | "datetime" => {
            let precision = if mysql && arguments.is_none() { 0 } else { fraction(text, arguments, 6)? };
            plain(Type::Timestamp { precision })
        }
        "date" => plain(Type::Date),
        "time" | "time without time zone" => {
            let precision = if mysql && arguments.is_none() { 0 } else { fraction(text, arguments, 6)? };
            plain(Type::Time { precision })
        }
        "uuid" => plain(Type::Uuid),
        "json" | "jsonb" => plain(Type::Json),
        _ if name.ends_with("[]") || UNCOMPARED.contains(&&*name) => {
            Err(Problem::new(format!("columns of type \"{text}\" cannot be compared"))
                .hint("Leave the column out: only columns that rules need are kept."))
        }
        _ => {
            let problem = Problem::new(format!("unknown type \"{text}\""));
            Err(match suggestion(&name, NAMES) {
                Some(hint) => problem.hint(hint),
                None => problem.hint("Write the type as the database's own DDL does, as in numeric(12,2)."),
            })
        }
    }
}

/// What SQL Server alone calls so, or means by it.
fn sqlservers(name: &str, text: &str, arguments: Option<&str>) -> Result<Option<ColumnType>, Problem> {
    let precision = || fraction(text, arguments, 7);
    Ok(Some(match name {
        "nvarchar" | "ntext" => ColumnType::plain(Type::Text),
        "nchar" => ColumnType::padded(),
        "uniqueidentifier" => ColumnType::plain(Type::Uuid),
        "image" | "timestamp" | "rowversion" => ColumnType::plain(Type::Bytes),
        "datetimeoffset" => ColumnType::plain(Type::TimestampTz),
        "datetime2" => ColumnType::plain(Type::Timestamp { precision: precision()? }),
        "datetime" => ColumnType::plain(Type::Timestamp { precision: 3 }),
        "smalldatetime" => ColumnType::plain(Type::Timestamp { precision: 0 }),
        "time" => ColumnType::plain(Type::Time { precision: precision()? }),
        "money" => ColumnType::decimal(Some(4), Some(19)),
        "smallmoney" => ColumnType::decimal(Some(4), Some(10)),
        _ => return Ok(None),
    }))
}

/// What Oracle alone calls so, or means by it: its `date` is a moment of whole seconds.
fn oracles(name: &str, text: &str, arguments: Option<&str>) -> Result<Option<ColumnType>, Problem> {
    Ok(Some(match name {
        "number" => decimal(text, arguments, false)?,
        "varchar2" | "nvarchar2" | "clob" | "nclob" => ColumnType::plain(Type::Text),
        "nchar" => ColumnType::padded(),
        "raw" => ColumnType::plain(Type::Bytes),
        "date" => ColumnType::plain(Type::Timestamp { precision: 0 }),
        "timestamp" => ColumnType::plain(Type::Timestamp { precision: fraction(text, arguments, 9)? }),
        "timestamp with local time zone" => ColumnType::plain(Type::TimestampTz),
        _ => return Ok(None),
    }))
}

fn decimal(text: &str, arguments: Option<&str>, mysql: bool) -> Result<ColumnType, Problem> {
    let bad = || Problem::new(format!("\"{text}\" is not numeric(precision, scale)")).hint("As in numeric(12,2).");
    let Some(arguments) = arguments else {
        // MySQL's decimal without arguments is decimal(10,0); PostgreSQL's numeric has any scale.
        let known = mysql.then_some((10, 0));
        return Ok(ColumnType::decimal(known.map(|(_, scale)| scale), known.map(|(digits, _)| digits)));
    };
    let (digits, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    let digits: u32 = digits.trim().parse().map_err(|_| bad())?;
    let scale: u32 = scale.trim().parse().map_err(|_| bad())?;
    if digits == 0 || digits > 1000 || scale > digits {
        return Err(bad());
    }
    Ok(ColumnType::decimal(Some(scale), Some(digits)))
}

/// Digits of a second's fraction, of which a database has at most so many. More than six are beyond what is kept. Without an
/// argument there are six.
fn fraction(text: &str, arguments: Option<&str>, most: u8) -> Result<u8, Problem> {
    match arguments.map(str::trim) {
        None => Ok(6),
        Some(digits) => match digits.parse::<u8>() {
            Ok(digits) if digits <= most => Ok(digits.min(6)),
            _ => Err(Problem::new(format!("\"{text}\" has a precision that is not from 0 to {most}"))
                .hint("It counts the digits of a second's fraction.")),
        },
    }
}

/// Reads a value of a type as a person writes it. A time of day stands for that time of `day`, where one is given.
pub fn parse_value(text: &str, ty: Type, day: Option<jiff::civil::Date>) -> Result<Value, Problem> {
    let bad = |expected: &str| {
        Problem::new(format!("\"{text}\" is not {expected}")).hint(format!("The column is declared {ty}; ~ is NULL."))
    };
    match ty {
        Type::Bool => super::units::boolean(text).map(Value::Bool),
        Type::Int => text.parse().map(Value::Int).map_err(|_| bad("a whole number of 64 bits")),
        Type::Decimal { .. } => {
            const TOO_LONG: &str = "a decimal number of fewer than a thousand digits";
            if text.len() > 1000 {
                return Err(bad(TOO_LONG));
            }
            let decimal = BigDecimal::from_str(text).map_err(|_| bad("a decimal number"))?;
            if decimal.fractional_digit_count().unsigned_abs() > 1000 {
                return Err(bad(TOO_LONG));
            }
            Ok(Value::decimal(decimal))
        }
        Type::Text => Ok(Value::text(text)),
        Type::Bytes => {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| bad("base64"))?;
            Ok(Value::Bytes(bytes.into()))
        }
        Type::Timestamp { .. } | Type::TimestampTz => {
            let micros = moment(text, day).ok_or_else(|| bad("a moment such as 2026-01-31T12:00:00Z"))?;
            Ok(Value::Timestamp(micros))
        }
        Type::Date => {
            let date: jiff::civil::Date = text.parse().map_err(|_| bad("a date such as 2026-01-31"))?;
            let days = date.since(jiff::civil::date(1970, 1, 1)).map_err(|_| bad("a date within the calendar"))?;
            Ok(Value::Date(days.get_days()))
        }
        Type::Time { .. } => {
            let time: jiff::civil::Time = text.parse().map_err(|_| bad("a time of day such as 12:00:00"))?;
            let micros = time.duration_since(jiff::civil::Time::midnight()).as_micros();
            i64::try_from(micros).map(Value::Time).map_err(|_| bad("a time of day"))
        }
        Type::Uuid => {
            let uuid = uuid::Uuid::parse_str(text).map_err(|_| bad("a UUID"))?;
            Ok(Value::Uuid(*uuid.as_bytes()))
        }
        Type::Json => crate::adapters::debezium::document(text).ok_or_else(|| bad("JSON")),
    }
}

/// Microseconds since the epoch of an RFC 3339 moment, of one without a zone read as UTC, or of a time of `day`.
pub fn moment(text: &str, day: Option<jiff::civil::Date>) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let utc = |civil: jiff::civil::DateTime| jiff::tz::Offset::UTC.to_timestamp(civil).ok();
    let looks_like_date = text.len() > 4 && text.as_bytes()[4] == b'-';
    let civil = match day {
        Some(day) if !looks_like_date => day.to_datetime(text.parse().ok()?),
        _ => text.parse().ok()?,
    };
    utc(civil).map(|timestamp| timestamp.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_in_its_databases_dialect() {
        let cases = [
            ("timestamp(6)", ConnectorKind::Postgresql, Type::Timestamp { precision: 6 }),
            ("timestamp(6)", ConnectorKind::Mariadb, Type::TimestampTz),
            ("timestamp", ConnectorKind::Postgresql, Type::Timestamp { precision: 6 }),
            ("datetime", ConnectorKind::Mysql, Type::Timestamp { precision: 0 }),
            ("datetime(6)", ConnectorKind::Mysql, Type::Timestamp { precision: 6 }),
            ("decimal", ConnectorKind::Mysql, Type::Decimal { scale: Some(0) }),
            ("numeric", ConnectorKind::Postgresql, Type::Decimal { scale: None }),
            ("NUMERIC(12, 2)", ConnectorKind::Postgresql, Type::Decimal { scale: Some(2) }),
            ("varchar(16)", ConnectorKind::Mariadb, Type::Text),
            ("timestamp(3) without time zone", ConnectorKind::Postgresql, Type::Timestamp { precision: 3 }),
            ("int(10) unsigned", ConnectorKind::Mysql, Type::Int),
            ("bigint(20) unsigned", ConnectorKind::Mariadb, Type::Decimal { scale: Some(0) }),
            ("datetime", ConnectorKind::Sqlserver, Type::Timestamp { precision: 3 }),
            ("datetime2", ConnectorKind::Sqlserver, Type::Timestamp { precision: 6 }),
            ("datetime2(7)", ConnectorKind::Sqlserver, Type::Timestamp { precision: 6 }),
            ("datetimeoffset(3)", ConnectorKind::Sqlserver, Type::TimestampTz),
            ("timestamp", ConnectorKind::Sqlserver, Type::Bytes),
            ("time(2)", ConnectorKind::Sqlserver, Type::Time { precision: 2 }),
            ("money", ConnectorKind::Sqlserver, Type::Decimal { scale: Some(4) }),
            ("money", ConnectorKind::Postgresql, Type::Decimal { scale: Some(2) }),
            ("nvarchar(20)", ConnectorKind::Sqlserver, Type::Text),
            ("uniqueidentifier", ConnectorKind::Sqlserver, Type::Uuid),
            ("date", ConnectorKind::Sqlserver, Type::Date),
            ("date", ConnectorKind::Oracle, Type::Timestamp { precision: 0 }),
            ("timestamp(9)", ConnectorKind::Oracle, Type::Timestamp { precision: 6 }),
            ("timestamp(6) with local time zone", ConnectorKind::Oracle, Type::TimestampTz),
            ("number(12,2)", ConnectorKind::Oracle, Type::Decimal { scale: Some(2) }),
            ("number", ConnectorKind::Oracle, Type::Decimal { scale: None }),
            ("varchar2(30 char)", ConnectorKind::Oracle, Type::Text),
        ];
        for (text, dialect, ty) in cases {
            assert_eq!(parse_type(text, dialect).map(|parsed| parsed.ty), Ok(ty), "{text} {dialect:?}");
        }
        for text in [
            "float",
            "double precision",
            "bigint unsigned",
            "int[]",
            "interval",
            "strng",
            "numeric(2,12)",
            "timestamp(7)",
        ] {
            assert!(parse_type(text, ConnectorKind::Postgresql).is_err(), "{text}");
        }
        for text in ["bit(8)", "cidr", "int4range", "timetz"] {
            let problem = parse_type(text, ConnectorKind::Postgresql).expect_err("it cannot be compared");
            assert!(problem.message.ends_with("cannot be compared"), "{}", problem.message);
        }
    }

    #[test]
    fn moments_may_be_times_of_a_day() {
        let day = Some(jiff::civil::date(2026, 1, 31));
        let full = moment("2026-01-31T12:00:00.5Z", None);
        assert_eq!(moment("12:00:00.5", day), full);
        assert_eq!(moment("2026-01-31T12:00:00.5", day), full);
        assert_eq!(moment("2026-01-31 12:00:00.5", None), full);
        assert_eq!(moment("2026-01-31T13:00:00.5+01:00", None), full);
        assert_eq!(moment("noon", day), None);
    }
}
