//! What is listed of records.

use super::{Filter, Listed, Rejected};

fn rejected(reason: &str, offset: i64, timestamp: &str) -> Rejected {
    serde_json::from_value(serde_json::json!({
        "reconciliation": "demo", "source": "payments", "topic": "pay", "partition": 1, "offset": offset,
        "timestamp": timestamp, "reason": reason, "detail": format!("why {offset}"), "masked": false,
        "key_base64": null, "value_base64": "e30=", "headers": [],
    }))
    .expect("a record of the quarantine topic")
}

#[test]
fn reasons_are_counted_with_their_first_and_last() {
    let mut listed = Listed::default();
    assert_eq!(listed.to_string(), "nothing is in quarantine\n");
    listed.add(rejected("not_json", 2, "2026-01-01T00:00:02.000000Z"));
    listed.add(rejected("not_json", 3, "2026-01-01T00:00:03.000000Z"));
    listed.add(rejected("not_json", 1, "2026-01-01T00:00:01.000000Z"));
    listed.add(rejected("truncate", 9, "2026-01-01T00:00:00.000000Z"));
    assert_eq!(
        listed.to_string(),
        "source    reason    records  first                last                 the last one\n\
         payments  not_json        3  2026-01-01T00:00:01  2026-01-01T00:00:03  pay:1:3\n\
         payments  truncate        1  2026-01-01T00:00:00  2026-01-01T00:00:00  pay:1:9\n\
         \npayments not_json: why 3\n\npayments truncate: why 9\n"
    );
    assert_eq!(listed.json()[0]["records"], 3);
}

#[test]
fn a_filter_leaves_out_what_is_not_asked_for() {
    let of = |source: &str, reason: &str| Filter { source: Some(source.into()), reason: Some(reason.into()) };
    let one = rejected("not_json", 1, "");
    assert!(Filter::default().wants(&one) && of("payments", "not_json").wants(&one));
    assert!(!of("orders", "not_json").wants(&one) && !of("payments", "truncate").wants(&one));
}
