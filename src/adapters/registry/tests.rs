//! A registry that is slow, away, wrong; and what is kept of it.

use super::*;
use crate::adapters::http::served::serve;

fn settings(url: &Url) -> RegistrySettings {
    RegistrySettings { url: url.clone(), credentials: None, ca_file: None, use_id: UseId::ContentId }
}

fn open(settings: &RegistrySettings, folder: &tempfile::TempDir) -> RemoteRegistry {
    RemoteRegistry::open(settings, folder.path().join("schemas")).expect("a client can be made")
}

/// Asks until there is an answer.
fn answered<T>(ask: impl FnMut(usize) -> Option<T>) -> T {
    (0..1000).find_map(ask).expect("the registry answers")
}

fn found(registry: &RemoteRegistry, id: &SchemaId) -> Found {
    answered(|_| match registry.find(id) {
        Found::Asked => {
            registry.wait(id, Duration::from_secs(10));
            None
        }
        found => Some(found),
    })
}

const STRING: &str = r#"{"schema":"\"string\""}"#;

const NONE: &str = r#"{"error_code":40403,"message":"Schema not found"}"#;

#[test]
fn a_registry_that_is_away_for_a_while_is_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = |_: &str, number| if number < 2 { (503, String::new()) } else { (200, STRING.to_owned()) };
    let served = serve("", answer);
    let registry = open(&settings(&served.url), &folder);
    assert_eq!(found(&registry, &SchemaId::Number(7)), Found::Avro("\"string\"".into()));
    assert_eq!(served.asked().len(), 3);
    assert_eq!(registry.wait(&SchemaId::Number(7), Duration::ZERO), None, "it is back");
}

#[test]
fn what_a_registry_said_outlives_a_restart_and_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = serve("", |_, _| (200, STRING.to_owned()));
    let id = SchemaId::Guid([9; 16]);
    assert_eq!(found(&open(&settings(&served.url), &folder), &id), Found::Avro("\"string\"".into()));
    assert_eq!(found(&open(&settings(&served.url), &folder), &id), Found::Avro("\"string\"".into()));
    assert_eq!(served.asked().len(), 1, "the second one read it from the disk");
    let file = std::fs::read_dir(folder.path().join("schemas")).expect("a folder").next();
    let file = file.expect("a file").expect("a file").path();
    std::fs::write(&file, "garbage").expect("it can be written");
    assert_eq!(found(&open(&settings(&served.url), &folder), &id), Found::Avro("\"string\"".into()));
    assert_eq!(served.asked().len(), 2, "what is damaged is asked for again");
}

#[test]
fn an_id_that_a_registry_does_not_have_is_believed_after_several_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = serve("", |_, _| (404, NONE.to_owned()));
    let registry = open(&settings(&served.url), &folder);
    let Found::Useless(refusal) = found(&registry, &SchemaId::Number(404)) else { panic!("it has none") };
    assert_eq!(refusal.reason, "unknown_schema");
    assert_eq!(served.asked().len(), 4);
    assert!(matches!(registry.find(&SchemaId::Number(404)), Found::Useless(_)));
    assert_eq!(served.asked().len(), 4, "not asked at once again");
}

/// A proxy before it, a path that it does not know: good records must not be refused for that.
#[test]
fn that_it_has_no_such_id_is_believed_of_the_registry_alone() {
    let is_denied = |path: &str, said: &str| {
        let said = said.to_owned();
        let served = serve(path, move |_, _| (404, said.clone()));
        match client::Client::new(&settings(&served.url)).expect("a client can be made").fetch(&SchemaId::Number(7)) {
            Ok(found) => found.is_none(),
            Err(error) => {
                assert!(error.to_string().contains("is registry.url right?"), "{error}");
                false
            }
        }
    };
    let apicurio = |name: &str| format!(r#"{{"status":404,"title":"…","name":"{name}"}}"#);
    for path in ["", "/apis/ccompat/v7", "/apis/registry/v2", "/apis/registry/v3"] {
        let is_native = path.starts_with("/apis/registry");
        assert_eq!(is_denied(path, NONE), !is_native, "{path}");
        assert_eq!(is_denied(path, &apicurio("ContentNotFoundException")), is_native, "{path}");
        assert_eq!(is_denied(path, &apicurio("VersionNotFoundException")), is_native, "{path}");
        for said in ["", "default backend - 404", r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#] {
            assert!(!is_denied(path, said), "{path} {said}");
        }
        assert!(!is_denied(path, &apicurio("NotFoundException")), "{path}");
    }
}

#[test]
fn a_registry_that_is_behind_for_a_moment_is_believed_when_it_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = |_: &str, number| if number < 2 { (404, NONE.to_owned()) } else { (200, STRING.to_owned()) };
    let registry = open(&settings(&serve("", answer).url), &folder);
    assert_eq!(found(&registry, &SchemaId::Number(7)), Found::Avro("\"string\"".into()));
}

#[test]
fn each_registry_is_asked_in_its_own_way() {
    let asked = |path: &str, use_id, id: SchemaId| {
        let folder = tempfile::tempdir().expect("a folder");
        let served = serve(path, |_, _| (200, r#"{"schema":"{\"type\":\"record\"}"}"#.to_owned()));
        let settings = RegistrySettings { use_id, ..settings(&served.url) };
        let found = found(&open(&settings, &folder), &id);
        let paths = served.asked().join(" ").replace("GET ", "");
        match found {
            Found::Avro(_) => paths,
            Found::Useless(refusal) => refusal.reason.to_owned(),
            other => panic!("{other:?}"),
        }
    };
    let (content, global) = (UseId::ContentId, UseId::GlobalId);
    assert_eq!(asked("", content, SchemaId::Number(7)), "/schemas/ids/7");
    assert_eq!(asked("/apis/ccompat/v7/", content, SchemaId::Number(7)), "/apis/ccompat/v7/schemas/ids/7");
    let guid = SchemaId::Guid([0x11; 16]);
    assert_eq!(asked("", content, guid.clone()), "/schemas/guids/11111111-1111-1111-1111-111111111111");
    assert_eq!(asked("/apis/registry/v3", content, SchemaId::Number(7)), "/apis/registry/v3/ids/contentIds/7");
    assert_eq!(asked("/apis/registry/v2/", global, SchemaId::Number(7)), "/apis/registry/v2/ids/globalIds/7");
    assert_eq!(asked("/apis/registry/v3", content, SchemaId::Global(7)), "/apis/registry/v3/ids/globalIds/7");
    assert_eq!(asked("/apis/registry/v3", global, SchemaId::Content(7)), "/apis/registry/v3/ids/contentIds/7");
    assert_eq!(asked("/apis/ccompat/v7", content, SchemaId::Global(7)), "other_registry");
    assert_eq!(asked("/apis/registry/v3", content, guid), "other_registry");
}

#[test]
fn what_is_of_no_use_is_said() {
    let reason = |body: &'static str| {
        let folder = tempfile::tempdir().expect("a folder");
        let served = serve("", move |_, _| (200, body.to_owned()));
        match found(&open(&settings(&served.url), &folder), &SchemaId::Number(1)) {
            Found::Useless(refusal) => refusal.reason.to_owned(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(reason(r#"{"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}"#), "protobuf");
    assert_eq!(reason(r#"{"schema":"{}","schemaType":"JSON"}"#), "Json");
    assert_eq!(reason(r#"{"schema":"{}","references":[{"name":"a"}]}"#), "schema_references");
    assert_eq!(reason(r#"{"schema":"syntax"}"#), "unknown_schema_type");
}

#[test]
fn a_login_is_sent_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = serve("", |_, _| (200, STRING.to_owned()));
    let credentials = Credentials::Basic { username: "u".to_owned(), password: "secret".to_owned() };
    let settings = RegistrySettings { credentials: Some(credentials), ..settings(&served.url) };
    assert!(!format!("{settings:?}").contains("secret"));
    found(&open(&settings, &folder), &SchemaId::Number(1));
    assert_eq!(served.asked(), ["GET /schemas/ids/1 Basic dTpzZWNyZXQ="]);
}

fn wanted(registers: bool) -> Wanted {
    Wanted { subject: "evenkeel.shop.open-value".to_owned(), schema: "\"string\"", registers }
}

fn id_of(registry: &RemoteRegistry, wanted: &Wanted) -> Answered {
    answered(|_| match registry.id_of(wanted) {
        Answered::Asked => {
            registry.wait_for(wanted, Duration::from_secs(10));
            None
        }
        answered => Some(answered),
    })
}

#[test]
fn a_subject_is_registered_once_for_all_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = |_: &str, number| if number < 2 { (503, String::new()) } else { (200, "{\"id\":7}".to_owned()) };
    let served = serve("", answer);
    assert_eq!(id_of(&open(&settings(&served.url), &folder), &wanted(true)), Answered::Id(7));
    assert_eq!(id_of(&open(&settings(&served.url), &folder), &wanted(false)), Answered::Id(7));
    assert_eq!(
        served.asked(),
        ["POST /subjects/evenkeel.shop.open-value/versions"; 3],
        "the second read it from the disk"
    );
    let other = Wanted { schema: "\"long\"", ..wanted(false) };
    assert_eq!(id_of(&open(&settings(&served.url), &folder), &other), Answered::Id(7));
    assert_eq!(served.asked().last().map(String::as_str), Some("POST /subjects/evenkeel.shop.open-value"));
}

#[test]
fn what_is_refused_is_said_and_asked_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = serve("", |_, _| (409, r#"{"error_code":409,"message":"incompatible"}"#.to_owned()));
    let registry = open(&settings(&served.url), &folder);
    for _ in 0..2 {
        assert_eq!(id_of(&registry, &wanted(true)), Answered::Refused("incompatible (409)".to_owned()));
    }
    assert_eq!(served.asked().len(), 1);
}

#[test]
fn a_subject_that_is_not_there_is_asked_for_several_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = serve("", |_, _| (404, String::new()));
    let answered = id_of(&open(&settings(&served.url), &folder), &wanted(false));
    assert!(matches!(answered, Answered::Refused(_)), "{answered:?}");
    assert_eq!(served.asked().len(), 4);
    let answer = |_: &str, number| if number < 2 { (404, String::new()) } else { (200, "{\"id\":7}".to_owned()) };
    let late = serve("", answer);
    assert_eq!(id_of(&open(&settings(&late.url), &folder), &wanted(false)), Answered::Id(7));
}

#[test]
fn apicurio_is_asked_for_subjects_in_confluents_way() {
    for (below, path) in [
        ("/apis/registry/v3", "/apis/ccompat/v7/subjects/evenkeel.shop.open-value"),
        ("/proxy/apis/registry/v2/", "/proxy/apis/ccompat/v7/subjects/evenkeel.shop.open-value"),
        ("/apis/ccompat/v7", "/apis/ccompat/v7/subjects/evenkeel.shop.open-value"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let served = serve(below, |_, _| (200, "{\"id\":7}".to_owned()));
        let credentials = Credentials::Bearer("secret".to_owned());
        let settings = RegistrySettings { credentials: Some(credentials), ..settings(&served.url) };
        id_of(&open(&settings, &folder), &wanted(false));
        assert_eq!(served.asked(), [format!("POST {path} Bearer secret")]);
    }
}
