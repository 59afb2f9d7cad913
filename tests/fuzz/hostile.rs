//! Inputs that a fuzzer does not come upon by itself: what is very deep, very long, or stands for very much.

use super::run;
use super::targets::named;

/// The sources of `sources.yaml`, as the first byte of an input chooses them.
const SOURCES: [&str; 10] = [
    "postgresql",
    "postgresql, masked",
    "postgresql, precise",
    "postgresql, flattened",
    "mariadb",
    "mysql",
    "mysql, flattened",
    "sqlserver",
    "oracle",
    "mongodb",
];

/// Deeper than any stack.
const DEEP: usize = 100_000;

/// As long as a record of a broker that is set to let anything through.
const LONG: usize = 10 << 20;

fn survives(target: &str, input: impl AsRef<[u8]>, about: &str) {
    run(named(target), input.as_ref(), about);
}

/// Of every source.
fn every_source_survives(target: &str, content: impl AsRef<[u8]>, about: &str) {
    for (index, source) in SOURCES.iter().enumerate() {
        survives(target, [&[index as u8], content.as_ref()].concat(), &format!("{about}, {source}"));
    }
}

fn nested(open: &str, inner: &str, close: &str) -> String {
    [&open.repeat(DEEP), inner, &close.repeat(DEEP)].concat()
}

/// An event with a row, of the form that most connectors have.
fn event(row: &str) -> String {
    let about = r#""ts_ms":1000,"lsn":5,"gtid":"0-1-5","file":"b.1","pos":4,"row":0,"ord":1,"snapshot":"false""#;
    format!(r#"{{"before":null,"after":{row},"source":{{{about}}},"op":"c"}}"#)
}

#[test]
fn fuzz_json_that_is_nested_deeply() {
    for deep in [nested("[", "", "]"), nested("{\"a\":", "1", "}"), "[".repeat(DEEP), "{\"a\":".repeat(DEEP)] {
        let places = [
            deep.clone(),
            event(&deep),
            event(&format!(r#"{{"id":1,"order_id":2,"note":{deep}}}"#)),
            event(&format!(r#"{{"id":1,"meta":{}}}"#, serde_json::Value::from(deep.as_str()))),
            event(&serde_json::Value::from(format!(r#"{{"_id":"x","order_id":{deep}}}"#)).to_string()),
            format!(r#"{{"schema":{deep},"payload":{}}}"#, event(r#"{"id":1}"#)),
            format!(r#"{{"schema":{{"type":"struct","fields":[{deep}]}},"payload":{}}}"#, event(r#"{"id":1}"#)),
            format!(r#"{{"specversion":"1.0","iodebeziumop":"c","data":{deep}}}"#),
        ];
        for (place, value) in places.iter().enumerate() {
            every_source_survives("json", value, &format!("place {place}"));
            every_source_survives("key", value, &format!("place {place}"));
        }
        survives("registry", &deep, "an answer");
        survives("avro_schema", [b"\0", deep.as_bytes()].concat(), "a schema");
        survives("records", [b"\x01", deep.as_bytes()].concat(), "a rejected record");
    }
}

#[test]
fn fuzz_numbers_that_stand_for_much() {
    let digits = "9".repeat(1_000_000);
    let numbers = [
        digits.clone(),
        format!("0.{digits}"),
        format!("1e{digits}"),
        "1e999999999".to_owned(),
        "-1e-999999999".to_owned(),
        "1e9223372036854775807".to_owned(),
        "1e-9223372036854775808".to_owned(),
        "0.1e-9223372036854775808".to_owned(),
        "1e140000".to_owned(),
        "0e999999999".to_owned(),
        r#"{"scale":9223372036854775807,"value":"AQ=="}"#.to_owned(),
        r#"{"scale":-9223372036854775808,"value":"AQ=="}"#.to_owned(),
        format!(r#"{{"scale":0,"value":"{}"}}"#, "AAAA".repeat(250_000)),
        r#"{"$numberDecimal":"1e999999999"}"#.to_owned(),
    ];
    for number in &numbers {
        for column in 0..16 {
            for kind in 0..24 {
                for source in [0, 2, 4, 7, 9] {
                    // Long ones take their time, and are read in a few ways only.
                    if number.len() < 100 || column == 2 && kind < 6 {
                        survives("cell", [&[source, column, kind], number.as_bytes()].concat(), "a number");
                    }
                }
            }
        }
        every_source_survives("values", number, "a value");
        survives("values", [&[10], number.as_bytes()].concat(), "a value");
        survives("sql", format!("SELECT order_id, {number} AS x FROM orders"), "a literal");
        survives("sql", format!("SELECT order_id, '{number}'::numeric AS x FROM orders"), "a literal");
    }
}

#[test]
fn fuzz_values_that_are_very_long() {
    let long = "x".repeat(LONG);
    for row in [format!(r#"{{"id":1,"order_id":2,"note":"{long}"}}"#), format!(r#"{{"id":"{long}"}}"#)] {
        every_source_survives("json", event(&row), "a column");
    }
    for field in ["lsn", "sequence", "gtid", "file", "commit_lsn", "commit_scn", "op"] {
        let event = format!(
            r#"{{"after":{{"id":1,"order_id":2}},"source":{{"ts_ms":1,"{field}":"{long}"}},"op":"{}"}}"#,
            if field == "op" { &long } else { "c" }
        );
        every_source_survives("json", event, field);
    }
    survives("records", [b"\0", long.as_bytes()].concat(), "a header");
    survives("registry", format!(r#"{{"schema":"{long}"}}"#), "a schema");
    survives("config", &long, "a scalar");
    survives("config", format!("reconciliation: {long}\n{long}: x\n"), "scalars");
    survives("sql", &long, "a word");
    survives("sql", format!("SELECT {long} FROM orders"), "a name");
    survives("sql", format!("SELECT order_id FROM orders WHERE payment_status = '{long}'"), "a literal");
    survives(
        "sql",
        format!("SELECT order_id FROM orders WHERE payment_status LIKE '{}b'", "%a".repeat(LONG / 2)),
        "a pattern",
    );
}

/// The last of several fields of a name stands, however many there are.
#[test]
fn fuzz_names_that_are_said_again_and_again() {
    let again = r#""op":"d","after":null,"source":{"lsn":1},"payload":null,"data":1,"#.repeat(DEEP);
    every_source_survives("json", event(r#"{"id":1}"#).replacen('{', &format!("{{{again}"), 1), "an envelope");
    every_source_survives("json", event(&format!("{{{}\"id\":1}}", r#""id":2,"#.repeat(DEEP))), "a row");
    survives("config", "kafka: {}\n".repeat(DEEP), "a configuration");
    survives("config", format!("kafka: {{{}}}\n", "a: 1, ".repeat(DEEP)), "a configuration's line");
}

#[test]
fn fuzz_text_that_is_no_unicode() {
    for bad in [&b"\xFF"[..], b"\xC3", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\\ud800", b"\\udc00\\ud800", b"\0"] {
        let (head, tail) =
            (br#"{"after":{"id":1,"order_id":2,"note":""#, br#""},"source":{"ts_ms":1,"lsn":5},"op":"c"}"#);
        every_source_survives("json", [head, bad, tail].concat(), "a column");
        for target in ["registry", "sql", "config", "stories"] {
            survives(target, bad, "a text");
        }
    }
}

/// A schema, and a datum of it, of every source.
fn avro_survives(schema: &str, datum: &[u8], about: &str) {
    every_source_survives("avro_schema", [schema.as_bytes(), b"\0", datum].concat(), about);
}

fn record(name: &str, fields: &str) -> String {
    format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#)
}

/// Each record holds the one before twice, so that what takes no byte takes a year.
#[test]
fn fuzz_schemas_that_stand_for_much() {
    for leaf in
        [r#""null""#, r#"{"type":"fixed","size":0,"name":"f"}"#, r#"{"type":"record","name":"e","fields":[]}"#]
    {
        let mut bomb = record("r0", &format!(r#"{{"name":"a","type":{leaf}}}"#));
        for depth in 1..40 {
            let before = format!("r{}", depth - 1);
            bomb = record(
                &format!("r{depth}"),
                &format!(r#"{{"name":"a","type":{bomb}}},{{"name":"b","type":"{before}"}}"#),
            );
        }
        avro_survives(&bomb, &[0; 64], "a bomb");
        avro_survives(&format!(r#"{{"type":"array","items":{bomb}}}"#), &[2, 0, 2, 0, 0], "a list of bombs");
    }
    let lists = format!(
        r#"{{"type":"array","items":{{"type":"array","items":{}}}}}"#,
        r#"{"type":"record","name":"e","fields":[{"name":"a","type":"null"}]}"#
    );
    // Lists of a million items that take no bytes, and as many such lists as there are bytes for.
    let million = [0x80, 0x80, 0x80, 0x01, 0x00];
    avro_survives(&lists, &[&[0x80, 0x80, 0x40][..], &million.repeat(100_000)].concat(), "lists of nothing");
    let envelope = record("Envelope", &format!(r#"{{"name":"x","type":{lists}}},{{"name":"op","type":"string"}}"#));
    avro_survives(&envelope, &[&[0x80, 0x80, 0x40][..], &million.repeat(100_000)].concat(), "lists of nothing");
    avro_survives(&record("r", r#"{"name":"a","type":"r"}"#), &[0; 9], "a record that holds itself");
    let chain = record("r", r#"{"name":"a","type":["null","r"]}"#);
    avro_survives(&chain, &[2; 1 << 20], "a record that may hold itself");
    let list = record("r", r#"{"name":"a","type":{"type":"array","items":"r"}}"#);
    avro_survives(&list, &[2; 1 << 20], "a record that holds a list of itself");
    let wide: Vec<String> = (0..20_000).map(|index| format!(r#"{{"name":"c{index}","type":"null"}}"#)).collect();
    avro_survives(&record("wide", &wide.join(",")), &[], "a wide record");
}

#[test]
fn fuzz_avro_that_lies_about_lengths() {
    let huge: [&[u8]; 5] = [
        &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x10],
        &[0xFF; 12],
        &[1],
    ];
    for ty in [
        r#""string""#,
        r#""bytes""#,
        r#"{"type":"array","items":"long"}"#,
        r#"{"type":"map","values":"long"}"#,
        r#"{"type":"array","items":"null"}"#,
        r#"{"type":"fixed","size":9223372036854775807,"name":"f"}"#,
        r#"{"type":"fixed","size":4294967295,"name":"f"}"#,
        r#"{"type":"enum","symbols":["a"],"name":"e"}"#,
        r#"["null","string"]"#,
    ] {
        let fields = format!(r#"{{"name":"op","type":{ty}}},{{"name":"x","type":{ty}}}"#);
        for datum in huge {
            avro_survives(ty, datum, "alone");
            avro_survives(&record("r", &fields), &[datum, datum].concat(), "in a record");
        }
    }
}

/// Every length and count of a block, of a state and of a copy, made greater than what follows, and every end made early.
#[test]
fn fuzz_blocks_that_lie_about_lengths() {
    let golden =
        |name: &str| std::fs::read(format!("schemas/golden/{name}-1.bin")).expect("the golden file is there");
    let block = [("block", golden("block"))];
    let states = ["key", "memory", "chunk", "rules"].into_iter().enumerate();
    let states = states.map(|(index, name)| ("state", [&[index as u8][..], &golden(name)].concat()));
    let copy = golden("copy");
    let copy = [("records", [b"\x03", &copy[..copy.len() - 32]].concat())];
    for (target, bytes) in block.into_iter().chain(states).chain(copy) {
        for at in 0..bytes.len() {
            survives(target, &bytes[..at], "cut");
            for lie in [&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F][..], &[0xFF; 9], &[0x7F; 4], &[0xFF; 18]] {
                survives(target, [&bytes[..at], lie, &bytes[at + 1..]].concat(), "longer");
                survives(target, [&bytes[..at], lie].concat(), "longer, and cut");
            }
        }
    }
}

#[test]
fn fuzz_yaml_that_stands_for_much() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    for target in ["config", "stories"] {
        survives(target, &laughs, "a billion laughs");
        survives(target, "a: &a [*a, *a]\n", "a list of itself");
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
            survives(target, nested(open, "x", close), open);
            survives(target, open.repeat(DEEP), open);
        }
        let steps: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        survives(target, steps, "indented ever deeper");
        let one_line: String = (0..DEEP).map(|number| format!("unknown{number}: x, ")).collect();
        survives(target, format!("{{{one_line}}}"), "one line of unknown fields");
        let lines: String = (0..DEEP).map(|number| format!("unknown{number}: x\n")).collect();
        survives(target, lines, "lines of unknown fields");
    }
}

#[test]
fn fuzz_sql_that_is_nested_deeply() {
    let of = |expression: &str| format!("SELECT order_id FROM orders WHERE {expression}");
    for (open, inner, close) in [
        ("(", "1 = 1", ")"),
        ("NOT ", "f", ""),
        ("- ", "1", ""),
        ("+", "1", ""),
        ("CASE WHEN f THEN ", "1", " END"),
        ("abs(", "1", ")"),
        ("CAST(", "1", " AS bigint)"),
        ("f AND (", "f", ")"),
        ("f IS DISTINCT FROM (", "f", ")"),
        ("order_id IN (", "1", ")"),
        ("(SELECT ", "1", ")"),
        ("EXISTS (SELECT 1 FROM orders WHERE ", "f", ")"),
        ("[", "1", "]"),
        ("ARRAY[", "1", "]"),
        ("1 BETWEEN 1 AND ", "1", ""),
    ] {
        survives("sql", of(&nested(open, inner, close)), open);
        survives("sql", of(&open.repeat(DEEP)), open);
    }
    for from in ["(SELECT order_id FROM ", "(", "orders JOIN ("] {
        survives("sql", format!("SELECT order_id FROM {}", from.repeat(DEEP)), from);
        survives("sql", format!("SELECT order_id FROM {}", nested(from, "orders", ") AS x")), from);
    }
    survives("sql", format!("SELECT order_id FROM orders {}", "/* ".repeat(DEEP)), "comments");
}

/// What the parser reads in a loop it takes apart, compares and forgets in a recursion.
#[test]
fn fuzz_sql_that_goes_on_and_on() {
    let of = |expression: &str| format!("SELECT order_id FROM orders WHERE {expression}");
    for (first, link) in [
        ("f", " AND f"),
        ("f", " OR f"),
        ("order_id", " + 1"),
        ("order_id", " * 2"),
        ("payment_status", " || 'x'"),
        ("order_id", " = 1"),
        ("order_id", "::bigint"),
        ("order_id", " IS NULL"),
        ("f", " IS TRUE"),
        ("f", " IS DISTINCT FROM f"),
        ("f", " IS DISTINCT FROM f AND f"),
        ("order_id", "[1]"),
        ("order_id", ".a"),
        ("j", "->'a'"),
        ("payment_status", " LIKE 'a'"),
        ("payment_status", " COLLATE \"C\""),
        ("ts", " AT TIME ZONE 'UTC'"),
        ("order_id", " BETWEEN 1 AND 2"),
        ("order_id", " IN (1)"),
        ("f", " AND NOT f IS DISTINCT FROM f"),
    ] {
        for length in [50, 1_000, 5_000, DEEP] {
            survives("sql", of(&format!("{first}{}", link.repeat(length))), &format!("{length} times {link}"));
        }
    }
    let select = "SELECT order_id FROM orders";
    for link in [
        " UNION SELECT order_id FROM orders",
        ", orders",
        " CROSS JOIN allowed",
        " JOIN payments USING (order_id)",
        ";",
    ] {
        for length in [50, 1_000, DEEP] {
            survives("sql", format!("{select}{}", link.repeat(length)), &format!("{length} times {link}"));
        }
    }
    for list in ["1, ", "'x', ", "-1, ", "order_id, "] {
        survives("sql", of(&format!("order_id IN ({}1)", list.repeat(DEEP))), list);
        survives("sql", format!("SELECT {}1 AS x FROM orders", list.repeat(DEEP)), list);
    }
}

#[test]
fn fuzz_sql_that_stands_for_much() {
    let chain = |begin: &str, step: fn(&str) -> String, length: usize| {
        let mut sql = format!("WITH q0 AS ({begin})");
        for level in 1..length {
            sql.push_str(&format!(", q{level} AS ({})", step(&format!("q{}", level - 1))));
        }
        format!("{sql} SELECT order_id FROM q{}", length - 1)
    };
    let begin = "SELECT order_id, payment_status AS t, total AS n FROM orders";
    let joined =
        |q: &str| format!("SELECT a.order_id, a.t, a.n FROM {q} AS a JOIN {q} AS b ON a.order_id = b.order_id");
    let doubled = |q: &str| format!("SELECT order_id, t || t AS t, n FROM {q}");
    let squared = |q: &str| format!("SELECT order_id, t, n * n AS n FROM {q}");
    for length in [4, 8, 40, 2_000] {
        survives("sql", chain(begin, joined, length), &format!("{length} joins of what was joined"));
        survives(
            "sql",
            chain(begin, doubled, length).replace("SELECT order_id FROM", "SELECT order_id, t FROM"),
            "doubled texts",
        );
        survives("sql", chain(begin, squared, length), "squares of squares");
    }
    for joins in [5, 15, 30] {
        let lookups: String = (0..joins).map(|number| format!(" CROSS JOIN allowed AS l{number}")).collect();
        survives("sql", format!("SELECT order_id FROM orders{lookups}"), "lookup tables by lookup tables");
        let payments: String = (0..joins)
            .map(|number| format!(" JOIN payments AS p{number} ON p{number}.order_id = orders.order_id"))
            .collect();
        survives("sql", format!("SELECT orders.order_id FROM orders{payments}"), "payments by payments");
    }
}
