//! The fields of a test file.
//!
//! Must not know: how a field is read.

use super::{SectionDoc, optional, required, with_default};

pub static TEST_FILE: SectionDoc = SectionDoc {
    title: "A test file",
    about: "Stories about the rules of one configuration.",
    fields: &[
        required(
            "config",
            "file name",
            "The configuration whose sources and rules are tested, relative to this file.",
        ),
        optional("rules", "rule id or list", "Only these rules are asked; without it, all of them."),
        required("tests", "list of stories", "The stories."),
    ],
};

pub static STORY: SectionDoc = SectionDoc {
    title: "tests[]",
    about: "A story begins with empty tables whose history is known, and tells what happens and what is said.",
    fields: &[
        required("name", "text", "What the story shows."),
        optional("snapshot", "map: source → list of rows", "Rows that are there before the story begins."),
        required("steps", "list of steps", "What happens, in order."),
    ],
};

pub static STEP: SectionDoc = SectionDoc {
    title: "tests[].steps[]",
    about: "Changes at one instant, or a source's history becoming known, and what is then said. Beside these fields, \
            each source's name is a field: its change, or a list of changes, which are one transaction. A change is \
            {insert: {column: value, …}}, {update: …}, which changes the named columns of the row with that primary \
            key, or {delete: …}. An insert leaves unnamed columns NULL. A text that is the connector's \
            unavailable_value_placeholder is a value that the event does not carry.",
    fields: &[
        optional(
            "at",
            "time of day, or RFC 3339",
            "When the step's changes were committed. Times of day are of 2026-01-01, UTC.",
        ),
        with_default(
            "late",
            "boolean",
            "false",
            "true where the changes come although their source's history was said to be complete.",
        ),
        optional(
            "complete",
            "instant, or map: source → instant",
            "Up to when a source's history is known from now on, or every source's.",
        ),
        optional(
            "expect",
            "list of records",
            "Everything said since the last expect: each key's records in order, and no others.",
        ),
        optional("expect_open", "list of records", "What is open after the step, in any order, and nothing else."),
    ],
};

pub static EXPECTED: SectionDoc = SectionDoc {
    title: "An expected record",
    about: "Fields that are not named are not compared.",
    fields: &[
        required("key", "value", "The reconciliation key."),
        optional(
            "type",
            "`opened`, `updated`, `escalated`, `resolved`",
            "What happened. Required in expect; not in expect_open.",
        ),
        optional("rule", "rule id", "The rule."),
        optional("since", "instant", "When the disagreement began."),
        optional("at", "instant", "When it happened on the timeline."),
        optional("severity", "text", "The severity that is published."),
        optional("reason", "`converged`, `deleted`, `late_arrival`, `rule_removed`", "Why it was resolved."),
        optional("revision", "number", "The record's revision, from 1."),
        optional("flap_count", "number", "How often the disagreement returned within the flap window."),
        optional("identity", "value or list", "The identity columns' values."),
        optional(
            "evidence",
            "map of column → value, or a list of them",
            "Selected columns; one map compares the first row only, a list all rows.",
        ),
        optional("amount_at_risk", "value", "The amount that is published."),
        optional("currency", "text", "The currency that is published."),
        optional("annotations", "map: name → text", "Annotations with their values filled in."),
    ],
};

/// The sections of a test file.
pub static TEST_SECTIONS: [&SectionDoc; 4] = [&TEST_FILE, &STORY, &STEP, &EXPECTED];
