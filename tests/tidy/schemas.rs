//! The schemas of the two forms say the same: of every record that the stories cause, and field by field.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::adapters::records::avro::{self, Form, Kind, Naming};
use evenkeel::adapters::records::{Message, Output};
use serde_json::Value;

use super::docs::told;
use super::root;
use crate::support::schemas::{Schemas, Topic};

fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(root().join("schemas").join(name)).expect("the schema is there");
    serde_json::from_str(&text).expect("a schema is JSON")
}

fn kind(message: &Message) -> Option<Kind> {
    let (_, name) = message.headers.iter().find(|(name, _)| *name == "ce_type").expect("it has a type");
    match (message.output, name.as_str()) {
        (Output::Open, _) => Some(Kind::Open),
        (Output::Quarantine, _) => None,
        (Output::Discrepancies, "evenkeel.heartbeat") => Some(Kind::Heartbeat),
        (Output::Discrepancies, name) if name.starts_with("evenkeel.source.") => Some(Kind::SourceNotice),
        (Output::Discrepancies, _) => Some(Kind::Discrepancy),
    }
}

#[test]
fn tidy_what_stories_say_is_as_the_schemas_say() {
    let schemas = Schemas::load();
    let forms = [Naming::TopicName.form(&[1, 2]), Naming::TopicRecordName.form(&[1, 2, 3, 4])];
    let told = told();
    assert!(told.len() > 50, "the stories say little: {}", told.len());
    for (_, message) in &told {
        let topic = match message.output {
            Output::Discrepancies => Topic::Discrepancies,
            Output::Open => Topic::Open,
            Output::Quarantine => Topic::Quarantine,
        };
        let Some(body) = &message.body else { continue };
        let json = serde_json::from_slice(body).expect("a body is JSON");
        schemas.check(topic, &json);
        if let Some(kind) = kind(message) {
            forms.iter().for_each(|form| survives(form, kind, &json));
        }
    }
}

/// Written as Avro and read back, it is the same JSON.
fn survives(form: &Form, kind: Kind, json: &Value) {
    let headers = form.headers(Some(kind));
    let (_, schema) = headers.iter().find(|(name, _)| *name == "ce_dataschema").expect("it names its schema");
    let read = avro::read(schema, &form.write(Some(kind), json)).expect("it can be read");
    assert_eq!(read.to_string(), json.to_string(), "{kind:?}");
}

/// Names of fields, each with whether it is always there.
type Fields = BTreeMap<String, bool>;

fn of_json(schemas: &[&Value]) -> Fields {
    let list = |schema: &Value| -> BTreeSet<String> {
        let required = schema["required"].as_array().into_iter().flatten();
        required.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let required: BTreeSet<String> = schemas.iter().flat_map(|schema| list(schema)).collect();
    let named = schemas.iter().flat_map(|schema| schema["properties"].as_object().expect("it has properties").keys());
    named.map(|name| (name.clone(), required.contains(name))).collect()
}

fn of_avro(record: &Value) -> Fields {
    let fields = record["fields"].as_array().expect("it has fields").iter();
    let field =
        |field: &Value| (field["name"].as_str().expect("it has a name").to_owned(), field.get("default").is_none());
    fields.map(field).collect()
}

/// The record of a name, wherever it stands.
fn record<'s>(node: &'s Value, name: &str) -> Option<&'s Value> {
    match node {
        Value::Object(members) if members.get("name").is_some_and(|own| own == name) && node["type"] == "record" => {
            Some(node)
        }
        Value::Object(members) => members.values().find_map(|member| record(member, name)),
        Value::Array(items) => items.iter().find_map(|item| record(item, name)),
        _ => None,
    }
}

#[test]
fn tidy_avro_has_the_fields_of_json() {
    let (discrepancy, open) = (read("discrepancy.schema.json"), read("open.schema.json"));
    let part = |name: &str| &discrepancy["$defs"][name];
    let unknown = &part("value")["oneOf"][1];
    let mut wrong = Vec::new();
    for (kind, name, json) in [
        (Kind::Discrepancy, "Discrepancy", vec![part("discrepancy"), part("event")]),
        (Kind::Discrepancy, "SideRow", vec![part("side_row")]),
        (Kind::Discrepancy, "Rule", vec![part("rule")]),
        (Kind::Discrepancy, "Unknown", vec![unknown]),
        (Kind::Heartbeat, "Heartbeat", vec![part("heartbeat")]),
        (Kind::SourceNotice, "SourceNotice", vec![part("source_notice")]),
        (Kind::Open, "Open", vec![&open]),
        (Kind::Open, "OpenDiscrepancy", vec![part("discrepancy"), &open["properties"]["open"]["items"]]),
        (Kind::Open, "SideRow", vec![part("side_row")]),
        (Kind::Open, "Rule", vec![part("rule")]),
        (Kind::Open, "Unknown", vec![unknown]),
    ] {
        let document: Value = serde_json::from_str(kind.document().text).expect("JSON");
        let avro = of_avro(record(&document, name).expect("the record is there"));
        let mut json = of_json(&json);
        // It is always null, and a type for it would have to be kept for ever.
        json.remove("resolution_proposal");
        if avro != json {
            wrong.push(format!("{kind:?}, {name}:\n  {avro:?}\n  {json:?}"));
        }
    }
    assert!(wrong.is_empty(), "always there, or not, in Avro and in JSON:\n{}", wrong.join("\n"));
}

/// The document of all topics is of this version, names every topic and every header, and refers to the newest schemas.
#[test]
fn tidy_asyncapi_names_what_is_published() {
    let text = std::fs::read_to_string(root().join("schemas/asyncapi.yaml")).expect("the document is there");
    let document: Value = serde_saphyr::from_str(&text).expect("it is YAML");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let channels = document["channels"].as_object().expect("it has channels");
    let topics: Vec<&str> = channels.values().filter_map(|channel| channel["address"].as_str()).collect();
    assert_eq!(topics, ["{prefix}.changes", "{prefix}.discrepancies", "{prefix}.open", "{prefix}.quarantine"]);
    for kind in Kind::ALL {
        let file = format!("./avro/1/{}.avsc", kind.document().name);
        let messages = document["components"]["messages"].as_object().expect("it has messages");
        let found = messages.values().any(|message| message["payload"]["schema"]["$ref"] == file.as_str());
        assert!(found, "{file} is no message's payload");
    }
    let headers = &document["components"]["schemas"]["headers"];
    let of = of_json(&[headers]);
    for (_, message) in told() {
        let own: BTreeSet<&str> = message.headers.iter().map(|(name, _)| *name).collect();
        assert!(own.iter().all(|name| of.contains_key(*name)), "{own:?} are headers");
        let lacking: Vec<&String> = of
            .iter()
            .filter(|(name, needed)| **needed && !own.contains(name.as_str()))
            .map(|(name, _)| name)
            .collect();
        assert!(lacking.is_empty(), "{lacking:?} are always there");
    }
    for name in [evenkeel::adapters::records::chain::PREVIOUS_HEADER, "ce_dataschema"] {
        assert!(of.contains_key(name), "{name} is a header");
    }
}
