//! What is written is read back, by this version and by every later one.

use serde_json::json;

use super::*;

fn discrepancy() -> Json {
    json!({
        "id": "6fcec757-807c-56c4-b7c6-5e1bb580e5f5",
        "revision": 3,
        "type": "resolved",
        "reconciliation": "orders-payments",
        "rule": {"id": "captured-amount", "version": null},
        "key": "1",
        "since": "2026-01-01T12:00:00.000000Z",
        "at": "2026-01-01T12:05:00.000001Z",
        "age_seconds": 300.000001,
        "settled_time": "1969-12-31T23:59:59.999999Z",
        "severity": null,
        "flap_count": 0,
        "lineage": "6fcec757-807c-56c4-b7c6-5e1bb580e5f5",
        "reason": "converged",
        "amount_at_risk": "123456789012345678901234567890.10",
        "evidence": [{
            "total": "25.00", "order_id": i64::MAX, "least": i64::MIN, "is_test": false, "note": null,
            "email": {"unknown": true}, "text": "Grüße \u{1F600}",
        }, {}],
        "evidence_types": {"total": "numeric(_,2)"},
        "sides": {
            "orders": [{
                "columns": {"order_id": 1, "total": "25.00"}, "offset": 7, "partition": 0, "position": "0/3E8",
                "source_time": "2026-01-01T12:00:00.000000Z", "topic": "shop.orders",
            }],
            "payments": [],
        },
        "annotations": {"summary": "it is so"},
        "resolution_proposal": null,
    })
}

/// A body of each kind, with whatever it may hold.
fn bodies() -> [(Kind, Json); 4] {
    let mut standing = discrepancy();
    let members = standing.as_object_mut().expect("it is an object");
    members.retain(|name, _| !["at", "age_seconds", "reason", "amount_at_risk"].contains(&name.as_str()));
    members.insert("type".to_owned(), "open".into());
    members.insert("labels".to_owned(), json!({"severity": "high"}));
    members.insert("currency".to_owned(), "EUR".into());
    let heartbeat = json!({
        "type": "heartbeat", "reconciliation": "orders-payments", "partition": 3,
        "settled_time": "2026-01-01T12:05:00.000000Z",
    });
    let gap = json!({
        "type": "source_gap", "reconciliation": "orders-payments", "source": "orders", "frontier": null,
        "decided_at": "2026-01-01T12:05:00.000000Z", "topic": "shop.orders", "partition": 1, "cause": "retention",
        "found_offset": 12,
    });
    let open = json!({"reconciliation": "orders-payments", "key": "1", "open": [standing]});
    [(Kind::Discrepancy, discrepancy()), (Kind::Heartbeat, heartbeat), (Kind::SourceNotice, gap), (Kind::Open, open)]
}

fn schema_of(form: &Form, kind: Kind) -> String {
    let headers = form.headers(Some(kind));
    let schema = headers.into_iter().find(|(name, _)| *name == SCHEMA_HEADER);
    schema.expect("it says its schema").1
}

fn forms() -> [Form; 2] {
    [Naming::TopicName.form(&[7, 8]), Naming::RecordName.form(&[1, 2, 3, 4])]
}

/// What the gap among the bodies has no fields for.
fn incomplete() -> Json {
    json!({
        "arrived": 1, "decided_at": "2026-01-01T12:00:00.000000Z", "ended_at": "2026-01-01T11:59:59.000999Z", "frontier": null,
        "missing": 70, "reconciliation": "orders-payments", "sent": 2, "source": "orders", "topic": "shop.shop.orders",
        "transaction": "3256:719422520", "transactions": 35, "type": "source_incomplete",
    })
}

#[test]
fn what_is_written_is_read() {
    for form in forms() {
        for (kind, body) in bodies().into_iter().chain([(Kind::SourceNotice, incomplete())]) {
            let written = form.write(Some(kind), &body);
            let read = read(&schema_of(&form, kind), &written).expect("it is ours");
            // As texts: with how numbers are written.
            assert_eq!(read.to_string(), body.to_string());
        }
    }
    assert_eq!(Form::Json.write(Some(Kind::Heartbeat), &json!({"a": 1})), b"{\"a\":1}");
    assert_eq!(forms()[0].write(None, &json!({"a": 1})), b"{\"a\":1}", "what has no kind is JSON");
}

/// Written by this version, to be read by every later one: `UPDATE_GOLDEN=1` writes those of a new version.
#[test]
fn golden_bodies_are_understood_and_written_the_same() {
    for (kind, body) in bodies() {
        let [in_union, alone] = forms().map(|form| form.write(Some(kind), &body));
        let path = format!("schemas/golden/avro-{}-1.bin", kind.document().name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &alone).expect("it can be written");
        }
        let golden = std::fs::read(&path).expect("the golden body is there");
        assert_eq!(golden, alone, "{path}");
        assert_eq!(read(&format!("{URN}{}", kind.document().name), &golden), Some(body), "{path}");
        // The datum is the same, behind another id, and in the union its branch.
        let skipped = if kind == Kind::Open { 5 } else { 6 };
        assert_eq!(in_union[skipped..], alone[5..]);
    }
}

#[test]
fn subjects_are_named_as_confluents_strategies_name_them() {
    let names = |naming: Naming| -> Vec<String> {
        naming.subjects("e.discrepancies", "e.open").into_iter().map(|subject| subject.name).collect()
    };
    assert_eq!(names(Naming::TopicName), ["e.discrepancies-value", "e.open-value"]);
    let records = ["Discrepancy", "Heartbeat", "SourceNotice", "Open"].map(|name| format!("evenkeel.v1.{name}"));
    assert_eq!(names(Naming::RecordName), records);
    let topics = ["e.discrepancies", "e.discrepancies", "e.discrepancies", "e.open"];
    let both: Vec<String> = topics.iter().zip(&records).map(|(topic, record)| format!("{topic}-{record}")).collect();
    assert_eq!(names(Naming::TopicRecordName), both);
    for kind in Kind::ALL {
        let schema: Json = serde_json::from_str(kind.document().text).expect("JSON");
        let name =
            format!("{}.{}", schema["namespace"].as_str().unwrap_or(""), schema["name"].as_str().unwrap_or(""));
        assert_eq!(name, kind.name());
    }
}

#[test]
fn a_union_has_its_branches_in_the_order_of_kinds() {
    let union: Json = serde_json::from_str(DISCREPANCIES.text).expect("JSON");
    let alone = [Kind::Discrepancy, Kind::Heartbeat, Kind::SourceNotice].map(|kind| {
        let schema: Json = serde_json::from_str(kind.document().text).expect("JSON");
        schema
    });
    assert_eq!(union, Json::from(alone.to_vec()));
    DISCREPANCIES.text.parse::<Schema>().expect("it is Avro");
}

#[test]
fn ids_stand_in_front() {
    let [in_union, alone] = forms();
    let front = |form: &Form, kind| form.write(Some(kind), &bodies()[kind as usize].1)[..6].to_vec();
    assert_eq!(front(&in_union, Kind::SourceNotice), [0, 0, 0, 0, 7, 4]);
    assert_eq!(front(&in_union, Kind::Open)[..5], [0, 0, 0, 0, 8]);
    assert_eq!(front(&alone, Kind::Heartbeat)[..5], [0, 0, 0, 0, 2]);
    assert_eq!(front(&alone, Kind::Open)[..5], [0, 0, 0, 0, 4]);
}

/// Whoever writes to the topic may write anything.
#[test]
fn what_is_none_of_ours_is_not_read() {
    let [in_union, _] = forms();
    let (kind, body) = &bodies()[0];
    let whole = in_union.write(Some(*kind), body);
    let name = schema_of(&in_union, *kind);
    for length in 0..whole.len() {
        assert_eq!(read(&name, &whole[..length]), None, "{length} bytes");
    }
    assert_eq!(read(&name, &[&whole[..], &[0]].concat()), None, "bytes are left over");
    for (schema, value) in [
        (name.as_str(), &[1, 0, 0, 0, 7, 0][..]),
        (&name, &[0, 0, 0, 0, 7, 6]),
        ("urn:evenkeel:avro:2:discrepancies", &whole),
        ("urn:evenkeel:avro:1:payments", &whole),
        ("", &whole),
    ] {
        assert_eq!(read(schema, value), None, "{schema}");
    }
    // Every byte in turn is another one: it is read as something, or not, and nothing panics.
    for place in 5..whole.len() {
        let mut bent = whole.clone();
        bent[place] ^= 0xff;
        let _ = read(&name, &bent);
    }
}
