//! One column for each type that both databases can keep: how each declares it, values that are one and the same on both
//! sides, and two that differ by as little as they can.
//!
//! Literals are SQL of a session whose zone is five and a half hours east of UTC.

/// A column of both tables. Of each pair the first is PostgreSQL's, the second MariaDB's.
pub struct Column {
    pub name: &'static str,
    /// As DDL has it.
    pub types: [&'static str; 2],
    /// As the configuration declares it.
    pub declared: [&'static str; 2],
    /// What stands behind the type in DDL.
    pub rest: [&'static str; 2],
    /// One value each, in both databases' words; NULL is one of them.
    pub equal: Vec<[String; 2]>,
    pub unequal: [String; 2],
    /// Decimal places and digits beyond what a double keeps.
    pub is_wide: bool,
    /// The unequal values differ by less than a millisecond.
    pub is_fine: bool,
}

impl Column {
    fn new(name: &'static str, postgresql: &'static str, mariadb: &'static str) -> Column {
        let types = [postgresql, mariadb];
        Column {
            name,
            types,
            declared: types,
            rest: ["", ""],
            equal: Vec::new(),
            unequal: Default::default(),
            is_wide: false,
            is_fine: false,
        }
    }

    /// Values that both databases write alike.
    fn same(mut self, literals: &[&str]) -> Column {
        self.equal.extend(literals.iter().map(|literal| [(*literal).to_owned(), (*literal).to_owned()]));
        self
    }

    /// A value that each writes in its own words.
    fn pair(mut self, postgresql: &str, mariadb: &str) -> Column {
        self.equal.push([postgresql.to_owned(), mariadb.to_owned()]);
        self
    }

    fn unlike(mut self, postgresql: &str, mariadb: &str) -> Column {
        self.unequal = [postgresql.to_owned(), mariadb.to_owned()];
        self
    }

    fn declared(self, postgresql: &'static str, mariadb: &'static str) -> Column {
        Column { declared: [postgresql, mariadb], ..self }
    }

    fn rest(self, postgresql: &'static str, mariadb: &'static str) -> Column {
        Column { rest: [postgresql, mariadb], ..self }
    }

    fn wide(self) -> Column {
        Column { is_wide: true, ..self }
    }

    fn fine(self) -> Column {
        Column { is_fine: true, ..self }
    }

    /// What a rule compares of it.
    pub fn compared(&self, alias: &str) -> String {
        let cast = if self.types[1] == "json" { "::text" } else { "" };
        format!("{alias}.{}{cast}", self.name)
    }
}

pub fn columns() -> Vec<Column> {
    let mut all = [numbers(), texts(), others(), moments(), defaults()].into_iter().flatten().collect::<Vec<_>>();
    for column in &mut all {
        column.equal.push(["null".to_owned(), "null".to_owned()]);
    }
    all
}

/// Beyond what an integer of 64 bits holds.
const UNSIGNED: &str = "bigint unsigned";

fn numbers() -> Vec<Column> {
    let column = Column::new;
    vec![
        column("tiny", "smallint", "tinyint").same(&["7", "-128", "127", "0"]).unlike("7", "8"),
        column("small", "smallint", "smallint").same(&["7", "-32768", "32767"]).unlike("-1", "1"),
        column("medium", "integer", "mediumint").same(&["7", "-8388608", "8388607"]).unlike("7", "8"),
        column("whole", "integer", "int").same(&["7", "-2147483648", "2147483647"]).unlike("7", "8"),
        column("wholeu", "bigint", "int unsigned").same(&["7", "4294967295"]).unlike("4294967295", "4294967294"),
        // The last two are one number to a double.
        column("big", "bigint", "bigint")
            .same(&["7", "-9223372036854775808", "9223372036854775807", "9007199254740993"])
            .unlike("9007199254740993", "9007199254740992"),
        column("bigu", "numeric(20,0)", UNSIGNED)
            .same(&["7", "18446744073709551615", "9223372036854775808", "9223372036854775807", "0"])
            .unlike("18446744073709551615", "18446744073709551614")
            .wide(),
        column("yr", "smallint", "year").same(&["2024", "1901", "2155"]).unlike("2024", "2025"),
        column("amount", "numeric(12,2)", "decimal(12,2)")
            .same(&["12.34", "-0.01", "0.00", "9999999999.99", "-9999999999.99", "1.50", "100"])
            .unlike("0.10", "0.11"),
        column("fine", "numeric(38,10)", "decimal(38,10)")
            .same(&["12.34", "-9999999999999999999999999999.9999999999", "0.0000000001"])
            .unlike("1234567890123456789.0000000001", "1234567890123456789.0000000002")
            .wide(),
        column("scaled", "numeric(12,4)", "decimal(14,2)")
            .same(&["12.34", "-1.50", "10000000"])
            .unlike("12.3401", "12.34"),
        column("most", "numeric(65,30)", "decimal(65,30)")
            .same(&["0", "99999999999999999999999999999999999.999999999999999999999999999999"])
            .unlike("0.000000000000000000000000000001", "0")
            .wide(),
        // Each value has a scale of its own.
        column("free", "numeric", "decimal(30,6)")
            .same(&["1.50", "-0.000001", "1e5", "123456789012345678901234.5"])
            .unlike("1.5", "1.500001")
            .wide(),
        column("cash", "money", "decimal(19,2)").same(&["12.34", "-12.34", "0"]).unlike("12.34", "12.35").wide(),
        column("flag", "boolean", "tinyint(1)")
            .declared("boolean", "boolean")
            .same(&["true", "false"])
            .unlike("true", "false"),
        column("bits", "boolean", "bit(1)").pair("true", "b'1'").pair("false", "b'0'").unlike("true", "b'0'"),
        column("bitp", "bit(1)", "boolean").pair("B'1'", "1").pair("B'0'", "0").unlike("B'1'", "0"),
    ]
}

fn texts() -> Vec<Column> {
    let column = Column::new;
    let texts = ["'plain'", "''", "'Größe 漢字 🎉'", "'it''s \"so\" & <so>'", "'end '", "' '", "'null'"];
    vec![
        column("txt", "text", "text").same(&texts).unlike("'a'", "'A'"),
        column("line", "varchar(40)", "varchar(40)").same(&texts).unlike("'a'", "'a '"),
        column("longer", "text", "longtext")
            .pair("repeat('0123456789', 1000)", "repeat('0123456789', 1000)")
            .unlike("repeat('0123456789', 1000)", "concat(repeat('0123456789', 999), '012345678_')"),
        // PostgreSQL pads it with blanks, which mean nothing to either.
        column("padded", "char(8)", "char(8)")
            .same(&["'ab'", "'12345678'", "''", "' ab'", "'äö'"])
            .unlike("'ab'", "'ac'"),
        column("padtext", "text", "char(3)").same(&["'EUR'", "'E'", "''"]).unlike("'EUR'", "'USD'"),
        column("kind", "shop.kind", "enum('NEW','PAID','in part')")
            .declared("text", "enum")
            .same(&["'NEW'", "'PAID'", "'in part'"])
            .unlike("'NEW'", "'PAID'"),
        column("tags", "text", "set('a','b','c')")
            .declared("text", "set")
            .same(&["'a,c'", "'a'", "''"])
            .unlike("'a,c'", "'a,b'"),
    ]
}

fn others() -> Vec<Column> {
    let column = Column::new;
    let [one, two] = ["'3f2504e0-4f89-11d3-9a0c-0305e82c3301'", "'FFFFFFFF-ffff-4fff-bfff-ffffffffffff'"];
    let zero = "'00000000-0000-0000-0000-000000000000'";
    let document = r#"'{"b": [1.50, null, true, "é"], "a": {"d": "x y", "c": {}}}'"#;
    let shuffled = r#"'{ "a":{"c":{ },"d":"x y"},  "b":[1.5,null,true,"\\u00e9"] }'"#;
    let odd = r#"'{ "a":{"c":{ },"d":"x y"},  "b":[1.5,null,true,"e"] }'"#;
    let json = |name, ty| {
        column(name, ty, "json")
            .pair(document, shuffled)
            .same(&["'[]'", "'\"x\"'", "'null'", "'1e2'", "'-0.10'"])
            .unlike(document, odd)
    };
    vec![
        column("id1", "uuid", "uuid").same(&[one, two, zero]).unlike(one, two),
        column("id2", "uuid", "char(36)").declared("uuid", "uuid").same(&[one, two, zero]).unlike(one, two),
        json("doc", "jsonb"),
        json("docj", "json"),
        column("raw", "bytea", "varbinary(40)")
            .pair(r"'\xdeadbeef'", "x'deadbeef'")
            .pair(r"'\x'", "x''")
            .pair(r"'\x00ff00'", "x'00ff00'")
            .pair(r"'\xfbefbe'", "x'fbefbe'")
            .unlike(r"'\x00ff00'", "x'00ff'"),
        column("blobs", "bytea", "blob")
            .pair(r"'\xfbff3f00'", "x'fbff3f00'")
            .pair(r"'\x00'", "x'00'")
            .unlike(r"'\x00'", "x'01'"),
        // MariaDB pads it with zeros, and says so.
        column("fixed", "bytea", "binary(6)")
            .pair(r"'\x616200000000'", "'ab'")
            .pair(r"'\x000000000000'", "x'00'")
            .pair(r"'\xffffffffffff'", "x'ffffffffffff'")
            .unlike(r"'\x616200000000'", "'abc'"),
    ]
}

fn moments() -> Vec<Column> {
    let column = Column::new;
    let seconds =
        ["'2024-02-29 12:34:56'", "'1969-12-31 23:59:59'", "'9999-12-31 23:59:59'", "'1000-01-01 00:00:00'"];
    let millis = ["'2024-02-29 12:34:56.789'", "'1969-12-31 23:59:59.999'", "'9999-12-31 23:59:59.999'"];
    let micros = [
        "'2024-02-29 12:34:56.123456'",
        "'1969-12-31 23:59:59.999999'",
        "'1970-01-01 00:00:00'",
        "'9999-12-31 23:59:59.999999'",
    ];
    let times = ["'12:34:56'", "'00:00:00'", "'23:59:59'", "'24:00:00'"];
    vec![
        column("day", "date", "date")
            .same(&["'2024-02-29'", "'1969-12-31'", "'1970-01-01'", "'1900-02-28'", "'1000-01-01'", "'9999-12-31'"])
            .unlike("'2024-02-29'", "'2024-03-01'"),
        column("t0", "time(0)", "time(0)").same(&times).unlike("'12:34:56'", "'12:34:57'"),
        column("t3", "time(3)", "time(3)")
            .same(&times)
            .same(&["'12:34:56.789'"])
            .unlike("'12:34:56.789'", "'12:34:56.790'"),
        column("t6", "time(6)", "time(6)")
            .same(&times)
            .same(&["'12:34:56.123456'", "'23:59:59.999999'"])
            .unlike("'12:34:56.123456'", "'12:34:56.123457'")
            .fine(),
        column("ts0", "timestamp(0)", "datetime")
            .same(&seconds)
            .unlike("'2024-02-29 12:34:56'", "'2024-02-29 12:34:57'"),
        column("ts3", "timestamp(3)", "datetime(3)")
            .same(&seconds)
            .same(&millis)
            .unlike("'2024-02-29 12:34:56.789'", "'2024-02-29 12:34:56.788'"),
        column("ts6", "timestamp(6)", "datetime(6)")
            .same(&seconds)
            .same(&micros)
            .unlike("'2024-02-29 12:34:56.123456'", "'2024-02-29 12:34:56.123457'")
            .fine(),
        // A moment is one whatever the zones that it is written in.
        column("tz0", "timestamptz(0)", "timestamp")
            .pair("'2024-02-29 12:34:56+02'", "'2024-02-29 16:04:56'")
            .pair("'1970-01-01 00:00:01+00'", "'1970-01-01 05:30:01'")
            .unlike("'2024-02-29 12:34:56+02'", "'2024-02-29 12:34:56'"),
        column("tz6", "timestamptz(6)", "timestamp(6)")
            .pair("'2024-02-29 12:34:56.123456+02'", "'2024-02-29 16:04:56.123456'")
            .pair("'2024-02-29 16:04:56.5'", "'2024-02-29 16:04:56.5'")
            .pair("'2038-01-19 03:14:07.999999+00'", "'2038-01-19 08:44:07.999999'")
            .unlike("'2024-02-29 12:34:56.123456+02'", "'2024-02-29 16:04:56.123457'"),
    ]
}

/// The one side has a default, the other none. A NULL that arrives as the default is not what the other side has.
fn defaults() -> Vec<Column> {
    let column = Column::new;
    let of = |name, postgresql, mariadb| column(name, postgresql, mariadb);
    vec![
        of("deft", "text", "varchar(20)").rest("default 'said'", "").same(&["'x'"]).unlike("'x'", "'y'"),
        of("defm", "text", "varchar(20)").rest("", "default 'said'").same(&["'x'"]).unlike("'x'", "'y'"),
        of("defn", "numeric(12,2)", "decimal(12,2)").rest("default 5.00", "").same(&["1.00"]).unlike("1.00", "2.00"),
        of("defe", "text", "enum('NEW','PAID')")
            .declared("text", "enum")
            .rest("", "default 'PAID'")
            .same(&["'NEW'"])
            .unlike("'NEW'", "'PAID'"),
        of("defz", "timestamptz(6)", "timestamp(6) null")
            .declared("timestamptz(6)", "timestamp(6)")
            .rest("default now()", "")
            .same(&["'2024-02-29 16:04:56.5'"])
            .unlike("'2024-02-29 16:04:56.5'", "'2024-02-29 16:04:56.6'"),
    ]
}
