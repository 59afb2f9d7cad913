//! How values are written: converters, decimals, moments, unsigned numbers; and whether Evenkeel is told the same.

use super::{hidden, setting, shown};
use crate::adapters::debezium::shape::{BinaryMode, DecimalMode, Format};
use crate::app::doctor::finding::Finding;
use crate::app::doctor::seen::{Case, Config, Said};
use crate::domain::value::Type;

pub fn judge(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    let mut found = converter(case, config);
    found.extend([key_converter(config), decimals(case, config), moments(case, config), binary(case, config)]);
    if case.is_mysql() {
        found.push(unsigned(case, config));
    }
    if case.shape.kind.has_placeholders() {
        found.push(placeholder(case, config));
    }
    found
}

const VALUE: &str = "value.converter";
const WORKERS: &str = "the worker's default, which it does not tell; see the records below";

fn key_converter(config: &Config) -> Finding {
    match config.said("key.converter") {
        Said::Absent => Finding::unknown("key.converter", WORKERS),
        Said::Hidden => hidden("key.converter"),
        Said::Is(class) if class.ends_with(".StringConverter") => Finding::warn("key.converter", short(class))
            .why("A key of several columns is printed as a Java Struct, of which the types are lost.")
            .set("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        Said::Is(class) => Finding::pass("key.converter", short(class)),
    }
}

fn short(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

fn converter(case: &Case<'_>, config: &Config) -> Vec<Finding> {
    // Where it is not seen what becomes of NULLs.
    let unseen = |mut found: Vec<Finding>| {
        found.extend(any_nulls(case));
        found
    };
    let class = match config.said(VALUE) {
        Said::Absent => return unseen(vec![Finding::unknown(VALUE, WORKERS)]),
        Said::Hidden => return unseen(vec![hidden(VALUE)]),
        Said::Is(class) => class,
    };
    match short(class) {
        "JsonConverter" => vec![agrees(case, class, Some("json")), json(case, config), nulls(case, config, JSON_NULLS)],
        "AvroConverter" if class.starts_with("io.apicurio") => vec![
            agrees(case, class, Some("avro")),
            apicurio_nulls(case),
        ],
        "AvroConverter" => vec![agrees(case, class, Some("avro")), nulls(case, config, AVRO_NULLS)],
        "CloudEventsConverter" => unseen(vec![agrees(case, class, None), cloud_events(config)]),
        "ProtobufConverter" => vec![
            Finding::fail(VALUE, short(class))
                .why("Protobuf is not read: without optional.for.nullables or wrapper.for.nullables NULL and 0 are the same bytes.")
                .set(VALUE, "org.apache.kafka.connect.json.JsonConverter")
                .set("value.converter.replace.null.with.default", "false"),
        ],
        "StringConverter" | "ByteArrayConverter" | "BinaryDataConverter" => vec![
            Finding::fail(VALUE, short(class))
                .why("An event is a structure; printed as text it has lost its types.")
                .set(VALUE, "org.apache.kafka.connect.json.JsonConverter"),
        ],
        other => unseen(vec![
            Finding::warn(VALUE, other)
                .why("It is not known what it writes.")
                .advice("See below whether the last records were understood."),
        ]),
    }
}

/// Whether the format, and the registry that it needs, are those of Evenkeel's configuration.
fn agrees(case: &Case<'_>, class: &str, format: Option<&str>) -> Finding {
    let finding = Finding::fail(VALUE, short(class));
    let ours = match case.shape.format {
        Format::Auto => format,
        Format::Json => Some("json"),
        Format::Avro { .. } => Some("avro"),
    };
    if format.is_some() && ours != format {
        return finding.why("The configuration says another format: every record goes to quarantine.").ours(format!(
            "connectors.{}.format: {}",
            case.name,
            format.unwrap_or("auto")
        ));
    }
    if format == Some("avro") && !case.has_registry {
        return finding
            .why("Records name a schema in a registry, and the configuration has none.")
            .ours("registry: {url: http://registry:8081}");
    }
    Finding::pass(VALUE, short(class))
}

fn json(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "value.converter.schemas.enable";
    let has_decimals = case.columns().any(|(_, column)| matches!(column.ty, Type::Decimal { .. }));
    let mode = config.or("decimal.handling.mode", "precise");
    setting(config, NAME, "true", |value| {
        let without = value.eq_ignore_ascii_case("false");
        let are_bytes = mode.is_none_or(|mode| mode == "precise")
            && !config
                .or("value.converter.decimal.format", "BASE64")
                .is_some_and(|it| it.eq_ignore_ascii_case("numeric"));
        if !without || !has_decimals || !are_bytes {
            return Finding::pass(NAME, shown(config, NAME, value));
        }
        let finding = match (mode, case.shape.decimal_mode) {
            (None, _) => return Finding::unknown(NAME, "false, and decimal.handling.mode is a placeholder"),
            (_, Some(DecimalMode::Precise)) => Finding::warn(NAME, "false with decimal.handling.mode=precise")
                .why("Amounts are bytes without a scale: where a column's scale is altered, they are off by powers of ten until the configuration follows."),
            _ => Finding::fail(NAME, "false with decimal.handling.mode=precise")
                .why("Amounts are bytes, and nothing says their scale."),
        };
        finding
            .set("decimal.handling.mode", "string")
            .ours(format!("connectors.{}.decimal_handling_mode: string", case.name))
    })
}

/// The setting, what it should be, and its default.
type Nulls<'n> = (&'n str, &'n str, &'n str);

const JSON_NULLS: Nulls<'_> = ("value.converter.replace.null.with.default", "false", "true");
const AVRO_NULLS: Nulls<'_> = ("value.converter.ignore.default.for.nullables", "true", "false");

const WHY: &str = "A NULL in a nullable column that has a default arrives as the default, and nobody can tell.";

pub fn nulls(case: &Case<'_>, config: &Config, (name, wanted, default): Nulls<'_>) -> Finding {
    setting(config, name, default, |value| {
        if value.eq_ignore_ascii_case(wanted) {
            return Finding::pass(name, value);
        }
        let saw = shown(config, name, value);
        let finding = match &case.nullable_defaults {
            Some(columns) if columns.is_empty() => {
                return Finding::note(name, saw)
                    .why("A NULL in a column with a default arrives as the default. No kept column has both.")
                    .set(name, wanted);
            }
            Some(columns) => Finding::fail(name, format!("{saw}; {}", columns.join(", "))),
            None => Finding::warn(name, saw),
        };
        finding.why(WHY).set(name, wanted)
    })
}

/// Where it is not seen how the converter is set, and kept columns are known to be nullable with a default.
fn any_nulls(case: &Case<'_>) -> Option<Finding> {
    let columns = case.nullable_defaults.as_ref().filter(|columns| !columns.is_empty())?;
    let finding = Finding::warn("NULLs with a default", columns.join(", ")).why(WHY);
    Some(finding.advice(
        "Wherever the converter is set: replace.null.with.default=false of JSON, ignore.default.for.nullables=true of Avro.",
    ))
}

/// Apicurio's converter (2.6 was tried) has no setting that keeps them.
fn apicurio_nulls(case: &Case<'_>) -> Finding {
    const NAME: &str = "NULLs with a default";
    let finding = match &case.nullable_defaults {
        Some(columns) if columns.is_empty() => return Finding::pass(NAME, "no kept column has both"),
        Some(columns) => Finding::fail(NAME, columns.join(", ")),
        None => Finding::warn(NAME, "Apicurio's converter"),
    };
    finding
        .why("It writes a NULL in a nullable column that has a default as the default, and nobody can tell.")
        .advice("Drop the defaults, or use Confluent's converter with ignore.default.for.nullables=true, or JSON.")
}

fn cloud_events(config: &Config) -> Finding {
    const NAME: &str = "value.converter.extension.attributes.enable";
    setting(config, NAME, "true", |value| match value.eq_ignore_ascii_case("true") {
        true => Finding::pass(NAME, shown(config, NAME, value)),
        false => Finding::fail(NAME, value)
            .why("Nothing then says what happened, when, and where in the log.")
            .set(NAME, "true"),
    })
}

fn decimals(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "decimal.handling.mode";
    let kept: Vec<Option<u32>> = case
        .columns()
        .filter(|(_, column)| matches!(column.ty, Type::Decimal { .. }))
        .map(|(_, column)| column.detail.digits)
        .collect();
    setting(config, NAME, "precise", |value| {
        let saw = shown(config, NAME, value);
        if kept.is_empty() {
            return Finding::pass(NAME, format!("{saw}; no decimal is kept"));
        }
        let mode = match value.to_ascii_lowercase().as_str() {
            "precise" => DecimalMode::Precise,
            "string" => DecimalMode::String,
            "double" => DecimalMode::Double,
            _ => return Finding::unknown(NAME, saw),
        };
        let ours = case.shape.decimal_mode;
        if ours != Some(mode) && case.has_schemas() != Some(true) {
            let is_sure = case.has_schemas() == Some(false);
            let finding = if is_sure { Finding::fail(NAME, saw) } else { Finding::warn(NAME, saw) };
            return finding
                .why("The configuration says otherwise, and records without a schema do not tell: amounts may be refused, or read wrongly.")
                .set(NAME, "string")
                .ours(format!("connectors.{}.decimal_handling_mode: string", case.name));
        }
        let is_exact = kept.iter().all(|digits| digits.is_some_and(|digits| digits <= 15));
        match mode {
            DecimalMode::Double if !is_exact => Finding::fail(NAME, saw)
                .why("Money as binary floating point is inexact beyond 15 digits: 0.1 and 0.2 do not add up to 0.3."),
            DecimalMode::Double => Finding::warn(NAME, saw)
                .why("Binary floating point; the declared columns have no more than 15 digits and are still exact."),
            DecimalMode::Precise | DecimalMode::String => return Finding::pass(NAME, saw),
        }
        .set(NAME, "string")
        .ours(format!("connectors.{}.decimal_handling_mode: string", case.name))
    })
}

fn moments(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "time.precision.mode";
    let default = if case.is_mysql() { "adaptive_time_microseconds" } else { "adaptive" };
    let is_moment = |ty| matches!(ty, Type::Timestamp { .. } | Type::Time { .. } | Type::Date);
    let has_moments = case.columns().any(|(_, column)| is_moment(column.ty));
    setting(config, NAME, default, |value| {
        let saw = shown(config, NAME, value);
        match case.has_schemas() {
            _ if value == "nanoseconds" => Finding::warn(NAME, saw)
                .why("Of moments before 1677 and after 2262 it makes others (dbz#2075), later versions NULL.")
                .unset(NAME),
            _ if !has_moments || value == "isostring" => Finding::pass(NAME, saw),
            has if has == Some(true) || value == default && case.shape.kind.has_known_units() => {
                Finding::pass(NAME, saw)
            }
            has => {
                let finding = if has.is_some() { Finding::fail(NAME, saw) } else { Finding::warn(NAME, saw) };
                let finding = finding
                    .why("Records without a schema do not say their unit: moments are read in that of the connector's default mode, and refused of SQL Server and Oracle.");
                if case.shape.kind.has_known_units() { finding.unset(NAME) } else { finding.set(NAME, "isostring") }
            }
        }
    })
}

fn binary(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "binary.handling.mode";
    let ours = match case.shape.binary_mode {
        BinaryMode::Bytes => "bytes",
        BinaryMode::Base64 => "base64",
        BinaryMode::Base64UrlSafe => "base64-url-safe",
        BinaryMode::Hex => "hex",
    };
    let has_bytes = case.columns().any(|(_, column)| column.ty == Type::Bytes);
    setting(config, NAME, "bytes", |value| {
        if value == ours || !has_bytes {
            return Finding::pass(NAME, shown(config, NAME, value));
        }
        Finding::fail(NAME, format!("{}; the configuration says {ours}", shown(config, NAME, value)))
            .why("Bytes are read as another text than they are.")
            .ours(format!("connectors.{}.binary_handling_mode: {value}", case.name))
    })
}

fn unsigned(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "bigint.unsigned.handling.mode";
    // Where the database was asked, the columns themselves are judged.
    let was_asked = case.nullable_defaults.is_some();
    let has_integers = !was_asked && case.columns().any(|(_, column)| column.ty == Type::Int);
    setting(config, NAME, "long", |value| {
        let saw = shown(config, NAME, value);
        match value {
            "long" if has_integers => Finding::note(NAME, saw)
                .why("A bigint unsigned of 2^63 and more arrives as a negative number. Give the database's URL to have the columns looked at."),
            _ => Finding::pass(NAME, saw),
        }
    })
}

fn placeholder(case: &Case<'_>, config: &Config) -> Finding {
    const NAME: &str = "unavailable.value.placeholder";
    setting(config, NAME, "__debezium_unavailable_value", |value| match value == case.shape.placeholder {
        true => Finding::pass(NAME, shown(config, NAME, value)),
        false => Finding::fail(NAME, format!("{value}; the configuration says {}", case.shape.placeholder))
            .why("A large value that an update did not touch is taken for a change to this text.")
            .ours(format!("connectors.{}.unavailable_value_placeholder: {value}", case.name)),
    })
}
