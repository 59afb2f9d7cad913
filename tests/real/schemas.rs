//! The schemas beside the tools that are theirs: the registry's own rule of compatibility, AsyncAPI's own parser.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Result;
use super::jvm::Jars;
use super::process::Folder;
use super::registry::Registry;

/// Old consumers read new records, and new ones read all old records: topics are kept for ever.
const RULE: &str = "FULL_TRANSITIVE";

/// A registry's subjects, asked as anybody asks them.
struct Subjects {
    url: String,
    http: ureq::Agent,
}

impl Subjects {
    fn of(registry: &Registry) -> Subjects {
        let http = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        Subjects { url: registry.confluent(), http }
    }

    fn hand(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let request = self.http.post(&format!("{}/{path}", self.url)).header("content-type", "application/json");
        let mut answer = request.send(body.to_string())?;
        let text = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default()))
    }

    fn rule(&self, subject: &str, rule: &str) -> Result {
        let request =
            self.http.put(&format!("{}/config/{subject}", self.url)).header("content-type", "application/json");
        let answer = request.send(json!({"compatibility": rule}).to_string())?;
        assert_eq!(answer.status(), 200, "{subject} has the rule {rule}");
        Ok(())
    }

    /// Registers a schema; gives the status and what was said.
    fn register(&self, subject: &str, schema: &str) -> Result<(u16, Value)> {
        self.hand(&format!("subjects/{subject}/versions"), &json!({"schema": schema}))
    }

    /// Whether a schema may follow all that are registered.
    fn may_follow(&self, subject: &str, schema: &str) -> Result<bool> {
        let path = format!("compatibility/subjects/{subject}/versions");
        let (status, answer) = self.hand(&path, &json!({"schema": schema}))?;
        assert_eq!(status, 200, "{answer}");
        Ok(answer["is_compatible"] == true)
    }
}

/// The files of each version, oldest first.
fn versions() -> Result<Vec<Vec<(String, String)>>> {
    let mut versions = Vec::new();
    while let Ok(folder) = std::fs::read_dir(format!("schemas/avro/{}", versions.len() + 1)) {
        let mut files = Vec::new();
        for entry in folder {
            let path = entry?.path();
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(&path)?));
        }
        files.sort();
        versions.push(files);
    }
    Ok(versions)
}

/// The record of a schema that is changed on purpose: of a union the first.
fn changed(schema: &str, change: impl Fn(&mut Vec<Value>)) -> String {
    let mut document: Value = serde_json::from_str(schema).expect("JSON");
    let record = if document.is_array() { &mut document[0] } else { &mut document };
    change(record["fields"].as_array_mut().expect("it has fields"));
    document.to_string()
}

fn compatible() -> Result {
    let folder = Folder::create()?;
    let registry = Registry::start(&Jars::find()?, folder.path())?;
    let subjects = Subjects::of(&registry);
    let versions = versions()?;
    assert!(versions.first().is_some_and(|files| files.len() == 5), "{versions:?}");
    for (number, files) in versions.iter().enumerate() {
        for (name, schema) in files {
            if number > 0 {
                assert!(subjects.may_follow(name, schema)?, "{name} of version {} may follow all before", number + 1);
            }
            let (status, said) = subjects.register(name, schema)?;
            assert_eq!(status, 200, "{name} of version {}: {said}", number + 1);
            subjects.rule(name, RULE)?;
        }
    }
    for (name, schema) in versions.last().expect("there is a version") {
        assert!(subjects.may_follow(name, schema)?, "{name} may follow itself");
        // What the next version may do, and what it may not.
        let more = json!({"name": "more", "type": ["null", "string"], "default": null});
        assert!(subjects.may_follow(name, &changed(schema, |fields| fields.push(more.clone())))?, "{name}: a field");
        let needed = json!({"name": "more", "type": "string"});
        for (what, schema) in [
            ("a field without a default", changed(schema, |fields| fields.push(needed.clone()))),
            (
                "no field \"reconciliation\"",
                changed(schema, |fields| {
                    fields.retain(|field| field["name"] != "reconciliation");
                }),
            ),
            (
                "another type of a field",
                changed(schema, |fields| {
                    let field =
                        fields.iter_mut().find(|field| field["name"] == "reconciliation").expect("it is there");
                    field["type"] = "long".into();
                }),
            ),
        ] {
            assert!(!subjects.may_follow(name, &schema)?, "{name}: {what} is refused");
            let (status, said) = subjects.register(name, &schema)?;
            assert_eq!(status, 409, "{name}: {what}: {said}");
        }
    }
    Ok(())
}

/// Each version of the Avro schemas may follow all before it, by the registry's own rule; and that rule does refuse.
#[test]
#[ignore = "real stack"]
fn real_registry_takes_each_version_after_all_before() {
    compatible().expect("the registry works");
}

/// What AsyncAPI's parser says of a document, and whether all is well.
fn parsed(document: &Path) -> Result<(bool, String)> {
    let parts = Jars::find()?;
    let mut node = Command::new("node");
    node.env("NODE_PATH", &parts.modules).arg("tests/real/asyncapi/validate.cjs").arg(document);
    let output = node.output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

fn described() -> Result {
    let (sound, said) = parsed(Path::new("schemas/asyncapi.yaml"))?;
    assert!(sound, "{said}");
    for topic in ["discrepancies", "open", "quarantine", "changes"] {
        assert!(said.contains(&format!("{{prefix}}.{topic}: ")), "{topic} has messages:\n{said}");
    }
    // It does refuse.
    let folder = tempfile::tempdir()?;
    let text = std::fs::read_to_string("schemas/asyncapi.yaml")?;
    for entry in std::fs::read_dir("schemas")? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            std::fs::copy(&path, folder.path().join(path.file_name().expect("a name")))?;
        }
    }
    for (right, wrong) in [
        ("action: send", "action: sends"),
        ("./discrepancy.schema.json#/$defs/event", "./discrepancy.schema.json#/$defs/events"),
        ("'#/channels/open'", "'#/channels/opened'"),
        ("address: '{prefix}.open'", "adress: '{prefix}.open'"),
        ("./avro/1/open.avsc", "./avro/0/open.avsc"),
    ] {
        assert!(text.contains(right), "{right} stands in the document");
        let bent = folder.path().join("bent.yaml");
        std::os::unix::fs::symlink(std::fs::canonicalize("schemas/avro")?, folder.path().join("avro")).ok();
        std::fs::write(&bent, text.replace(right, wrong))?;
        let (sound, said) = parsed(&bent)?;
        assert!(!sound && said.contains("error"), "{wrong}:\n{said}");
    }
    Ok(())
}

/// The document of all topics is what AsyncAPI's own parser takes.
#[test]
#[ignore = "real stack"]
fn real_asyncapi_document_is_one() {
    described().expect("the parser runs");
}
