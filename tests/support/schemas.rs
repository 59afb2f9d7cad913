//! Holds records against the published JSON Schemas.

use jsonschema::{Registry, Resource, Validator};
use serde_json::Value;

/// The schemas of the three output topics.
pub struct Schemas {
    discrepancies: Validator,
    open: Validator,
    quarantine: Validator,
}

/// An output topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Discrepancies,
    Open,
    Quarantine,
}

fn read(name: &str) -> Value {
    let path = std::path::Path::new("schemas").join(name);
    let text = std::fs::read_to_string(&path).expect("the schema is there");
    serde_json::from_str(&text).expect("a schema is JSON")
}

impl Schemas {
    pub fn load() -> Schemas {
        let discrepancy = read("discrepancy.schema.json");
        let validator = |schema: &Value| {
            let shared = Resource::from_contents(discrepancy.clone());
            // Where a schema without a name of its own looks for its neighbours.
            let registry = Registry::new().add("json-schema:///discrepancy.schema.json", shared);
            let registry = registry.expect("the schema has a name").prepare().expect("the schema resolves");
            jsonschema::options().with_registry(&registry).build(schema).expect("the schema is one")
        };
        Schemas {
            discrepancies: validator(&discrepancy),
            open: validator(&read("open.schema.json")),
            quarantine: validator(&read("quarantine.schema.json")),
        }
    }

    /// Panics with everything that is wrong with a record.
    pub fn check(&self, topic: Topic, body: &Value) {
        let validator = match topic {
            Topic::Discrepancies => &self.discrepancies,
            Topic::Open => &self.open,
            Topic::Quarantine => &self.quarantine,
        };
        let errors: Vec<String> =
            validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{topic:?} record against its schema:\n{}\n{body:#}", errors.join("\n"));
    }
}
