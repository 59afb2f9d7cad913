//! What a record's bytes are, by its first bytes and its headers.
//!
//! Must not know: what is in them. Sources: Confluent's `SchemaId` (magic bytes 0 and 1), Apicurio's
//! `OptimisticFallbackIdHandler` (an id of eight bytes begins with four that are zero, one of four never does) and its
//! `KafkaSerdeHeaders`.

use super::Refusal;
use super::shape::Format;

pub const STRUCT_TEXT: &str =
    "it is a Java Struct printed by StringConverter, of which the types are lost: use JsonConverter or Avro";

/// Which schema a record was written with, as the record says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaId {
    /// The id in front of the record; of what, the registry's kind tells.
    Number(u64),
    /// Confluent's, of 16 bytes.
    Guid([u8; 16]),
    /// Apicurio's, in a header.
    Global(u64),
    /// Apicurio's, in a header.
    Content(u64),
}

/// A record's bytes without what frames them.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Json(&'a [u8]),
    /// What a registry knows the schema of.
    Schema(SchemaId, &'a [u8]),
}

/// Which half of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Key,
    Value,
}

/// Finds a header's value.
pub type Headers<'h> = &'h dyn Fn(&str) -> Option<&'h [u8]>;

pub fn of<'a>(format: Format, half: Half, bytes: &'a [u8], headers: Headers<'_>) -> Result<Frame<'a>, Refusal> {
    let frame = sniff(format, half, bytes, headers)?;
    let other = |is, should| {
        let detail = format!("{is}, though the connector's format is said to be {should}; if both come, say auto");
        Err(Refusal::new("other_format", detail))
    };
    match (format, &frame) {
        (Format::Json, Frame::Schema(..)) => other("it begins like Avro with a schema registry", "json"),
        (Format::Avro { .. }, Frame::Json(_)) => other("it is JSON", "avro"),
        _ => Ok(frame),
    }
}

fn sniff<'a>(format: Format, half: Half, bytes: &'a [u8], headers: Headers<'_>) -> Result<Frame<'a>, Refusal> {
    if let Some(id) = id_in_headers(half, headers)? {
        let encoding = headers(if half == Half::Key { "apicurio.key.encoding" } else { "apicurio.value.encoding" });
        return Ok(if encoding == Some(b"JSON") { Frame::Json(bytes) } else { Frame::Schema(id, bytes) });
    }
    if let Some(name) = named_otherwise(half, headers).filter(|_| !bytes.starts_with(b"{")) {
        let detail = format!(
            "its schema is named by the header {name}: set apicurio.registry.use-id to contentId or globalId"
        );
        return Err(Refusal::new("bad_schema_id", detail));
    }
    let id_bytes = match format {
        Format::Avro { id_bytes } => id_bytes,
        Format::Auto | Format::Json => None,
    };
    match bytes {
        [0, rest @ ..] => numbered(id_bytes, rest),
        [1, rest @ ..] => match rest.split_first_chunk::<16>() {
            Some((guid, datum)) => Ok(Frame::Schema(SchemaId::Guid(*guid), datum)),
            None => Err(short()),
        },
        _ if bytes.starts_with(b"Struct{") => Err(Refusal::new("struct_text", STRUCT_TEXT)),
        _ => Ok(Frame::Json(bytes)),
    }
}

fn numbered(id_bytes: Option<u8>, rest: &[u8]) -> Result<Frame<'_>, Refusal> {
    let is_long = id_bytes.map_or(rest.starts_with(&[0; 4]), |bytes| bytes == 8);
    let framed = if is_long {
        rest.split_first_chunk::<8>().map(|(id, datum)| (u64::from_be_bytes(*id), datum))
    } else {
        rest.split_first_chunk::<4>().map(|(id, datum)| (u64::from(u32::from_be_bytes(*id)), datum))
    };
    framed.map(|(id, datum)| Frame::Schema(SchemaId::Number(id), datum)).ok_or_else(short)
}

fn short() -> Refusal {
    Refusal::new("short_frame", "it begins like Avro with a schema registry, and ends within the schema's id")
}

fn id_in_headers(half: Half, headers: Headers<'_>) -> Result<Option<SchemaId>, Refusal> {
    let [confluent, global, content] = match half {
        Half::Key => ["__key_schema_id", "apicurio.key.globalId", "apicurio.key.contentId"],
        Half::Value => ["__value_schema_id", "apicurio.value.globalId", "apicurio.value.contentId"],
    };
    let bad = |name| Refusal::new("bad_schema_id", format!("the header {name} is no schema id"));
    if let Some(id) = headers(confluent) {
        return match id {
            [0, id @ ..] => id.try_into().map(|id| SchemaId::Number(u64::from(u32::from_be_bytes(id)))),
            [1, id @ ..] => id.try_into().map(SchemaId::Guid),
            _ => return Err(bad(confluent)),
        }
        .map(Some)
        .map_err(|_| bad(confluent));
    }
    for (name, wrap) in [(content, SchemaId::Content as fn(u64) -> SchemaId), (global, SchemaId::Global)] {
        if let Some(id) = headers(name) {
            return Ok(Some(wrap(u64::from_be_bytes(id.try_into().map_err(|_| bad(name))?))));
        }
    }
    Ok(None)
}

/// A header of Apicurio's that names a schema in a way that is not looked up.
fn named_otherwise(half: Half, headers: Headers<'_>) -> Option<&'static str> {
    let names = match half {
        Half::Key => ["apicurio.key.contentHash", "apicurio.key.artifactId"],
        Half::Value => ["apicurio.value.contentHash", "apicurio.value.artifactId"],
    };
    names.into_iter().find(|name| headers(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sniffed(format: Format, bytes: &[u8], headers: &[(&str, &[u8])]) -> String {
        let find = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        match of(format, Half::Value, bytes, &find) {
            Ok(Frame::Json(bytes)) => format!("json {}", bytes.len()),
            Ok(Frame::Schema(id, datum)) => format!("{id:?} {datum:?}"),
            Err(Refusal { reason, .. }) => reason.to_owned(),
        }
    }

    #[test]
    fn records_are_told_by_their_first_bytes() {
        let auto = |bytes: &[u8]| sniffed(Format::Auto, bytes, &[]);
        assert_eq!(auto(b"{}"), "json 2");
        let hash: &[(&str, &[u8])] = &[("apicurio.value.contentHash", b"12")];
        assert_eq!(sniffed(Format::Auto, &[0, 2, 4, 9, 1, 1], hash), "bad_schema_id");
        assert_eq!(sniffed(Format::Auto, b"{}", hash), "json 2");
        assert_eq!(auto(&[0, 0, 0, 1, 4, 9]), "Number(260) [9]");
        assert_eq!(auto(&[0, 0, 0, 0, 0, 0, 0, 1, 4, 9]), "Number(260) [9]", "Apicurio's eight bytes");
        assert_eq!(auto(&[&[1][..], &[7; 16], &[9]].concat()), format!("Guid({:?}) [9]", [7; 16]));
        assert_eq!(auto(&[0, 0, 0, 1]), "short_frame");
        assert_eq!(auto(&[1, 0]), "short_frame");
        assert_eq!(auto(b"Struct{id=1}"), "struct_text");
    }

    #[test]
    fn what_the_configuration_says_goes_before_what_bytes_look_like() {
        let of = |id_bytes, bytes: &[u8]| sniffed(Format::Avro { id_bytes }, bytes, &[]);
        assert_eq!(of(Some(4), &[0, 0, 0, 0, 0, 0, 0, 1, 4, 9]), "Number(0) [0, 0, 1, 4, 9]");
        assert_eq!(of(Some(8), &[0, 0, 0, 0, 1, 0, 0, 1, 4, 9]), "Number(4294967556) [9]");
        assert_eq!(of(None, b"{}"), "other_format");
        assert_eq!(sniffed(Format::Json, &[0, 0, 0, 1, 4, 9], &[]), "other_format");
    }

    #[test]
    fn ids_may_travel_in_headers() {
        let with = |name, id: &[u8]| sniffed(Format::Auto, &[0, 1, 2, 3, 4, 5], &[(name, id)]);
        assert_eq!(with("__value_schema_id", &[0, 0, 0, 0, 5]), "Number(5) [0, 1, 2, 3, 4, 5]");
        assert_eq!(
            with("__value_schema_id", &[&[1][..], &[3; 16]].concat()),
            format!("Guid({:?}) [0, 1, 2, 3, 4, 5]", [3; 16])
        );
        assert_eq!(with("apicurio.value.globalId", &8_u64.to_be_bytes()), "Global(8) [0, 1, 2, 3, 4, 5]");
        assert_eq!(with("apicurio.value.contentId", &8_u64.to_be_bytes()), "Content(8) [0, 1, 2, 3, 4, 5]");
        assert_eq!(with("__value_schema_id", &[0, 5]), "bad_schema_id");
        assert_eq!(with("apicurio.value.globalId", &[5]), "bad_schema_id");
        assert_eq!(with("__key_schema_id", &[0, 0, 0, 0, 5]), "Number(16909060) [5]", "it is the key's");
        let json = [("apicurio.value.globalId", &8_u64.to_be_bytes()[..]), ("apicurio.value.encoding", b"JSON")];
        assert_eq!(sniffed(Format::Auto, b"{}", &json), "json 2");
    }
}
