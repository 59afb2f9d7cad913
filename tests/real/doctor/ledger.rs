//! Everything that the doctor can find wrong, against what it has found.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

/// What cannot be produced here: why it matters, and why not.
const NEVER: [(&str, &str); 1] = [("Protobuf is not read:", "no converter of it is published as a plugin")];

/// Of MySQL's settings, which take a server of it.
const MYSQLS: [&str; 3] = [
    "Documents come in parts",
    "The configuration says gtids: true",
    "After a failover to a replica the connector cannot find its place.",
];

/// Why each finding mattered that was a FAIL or a WARN.
#[derive(Default)]
pub struct Ledger {
    found: BTreeSet<String>,
    is_without_mysql: bool,
}

impl Ledger {
    pub fn take(&mut self, why: &str) {
        self.found.insert(why.to_owned());
    }

    /// There is no MySQL server to ask.
    pub fn without_mysql(&mut self) {
        self.is_without_mysql = true;
    }

    /// What the doctor's sources can say of a FAIL or a WARN, and was neither found nor cannot be produced.
    pub fn missing(&self) -> Vec<String> {
        let mysqls = MYSQLS.iter().filter(|_| self.is_without_mysql);
        let never: Vec<&str> = NEVER.iter().map(|(begin, _)| begin).chain(mysqls).copied().collect();
        let never = |why: &String| never.iter().any(|begin| why.starts_with(begin));
        let all = sentences(Path::new("src/app/doctor"));
        assert!(all.len() > 100, "{all:?}");
        let unknown: Vec<&String> = all.iter().filter(|why| never(why) && self.has(why)).collect();
        assert!(unknown.is_empty(), "they can be produced: {unknown:?}");
        all.into_iter().filter(|why| !self.has(why) && !never(why)).collect()
    }

    /// Of a sentence with gaps, what stands before and between them.
    fn has(&self, why: &str) -> bool {
        let parts: Vec<String> = why.split(['{', '}']).step_by(2).map(regex::escape).collect();
        let whole = Regex::new(&format!("^{}$", parts.join(".*"))).expect("an expression");
        self.found.iter().any(|known| whole.is_match(known))
    }
}

/// The reasons in the sources of a folder, of findings that are neither passed nor noted nor unknown.
fn sentences(folder: &Path) -> BTreeSet<String> {
    // A constructor, a reason that is given where it is used, one that has a name.
    let said = Regex::new(
        r#"Finding::(?P<level>\w+)\(|\.why\(\s*(?:format!\(\s*)?"(?P<why>(?:[^"\\]|\\.)*)"|const WHY: &str = "(?P<named>[^"]*)""#,
    );
    let said = said.expect("an expression");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            found.extend(sentences(&path));
        }
        let is_about_others = ["tests", "given", "finding", "print"].contains(&&*name);
        if is_about_others || path.extension().is_none_or(|kind| kind != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        let mut is_wrong = false;
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for part in said.captures_iter(code) {
            if let Some(level) = part.name("level") {
                is_wrong = ["fail", "warn"].contains(&level.as_str());
            }
            let why = part.name("why").filter(|_| is_wrong).or(part.name("named"));
            found.extend(why.map(|why| why.as_str().to_owned()));
        }
    }
    found
}
