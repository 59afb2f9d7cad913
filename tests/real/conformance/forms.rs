//! Forms of expressions that are well typed by chance only, or that say nothing of what binds closer.

use super::queries::{Scope, Ty, comparison, leaf};
use crate::support::dice::Dice;

/// Literals without a type, and forms of them, beside what has one: PostgreSQL refuses some of these.
pub fn literals(dice: &mut Dice, scope: &Scope) -> String {
    let of = dice.pick(&[Ty::Int, Ty::Dec, Ty::Text, Ty::Bool, Ty::Time]);
    let (form, other) = (form(dice), leaf(dice, scope, of));
    match dice.below(6) {
        0..=1 => format!("({form} {} {other})", comparison(dice)),
        2 => format!("({other} IN ({form}, {}))", literal(dice)),
        3 => format!("({other} BETWEEN {} AND {form})", literal(dice)),
        4 => format!("(CASE {form} WHEN {other} THEN 1 ELSE 2 END)"),
        _ => format!("(COALESCE({form}, {other}) = {})", leaf(dice, scope, of)),
    }
}

fn form(dice: &mut Dice) -> String {
    let (one, two) = (literal(dice), literal(dice));
    match dice.below(5) {
        0 => one.to_owned(),
        1 => format!("COALESCE({one}, {two})"),
        2 => format!("NULLIF({one}, {two})"),
        3 => format!("{}({one}, {two})", dice.pick(&["GREATEST", "LEAST"])),
        _ => format!("CASE WHEN TRUE THEN {one} ELSE {two} END"),
    }
}

fn literal(dice: &mut Dice) -> &'static str {
    dice.pick(&["'1'", "' 7 '", "'1.50'", "'PAID'", "'y'", "'2026-01-02'", "'infinity'", "NULL"])
}

/// Expressions without parentheses.
pub fn bare(dice: &mut Dice, scope: &Scope) -> String {
    let forms = [
        "i + i * i - i c i g n i c i",
        "n b g n b g b",
        "n b IS w g b",
        "i c i IS w",
        "n i c i IS w",
        "- i * i - - i c i",
        "- i % 5 + i",
        "t || t c t g b",
        "t || i + i * i",
        "t || t || i - i LIKE t || '%'",
        "i + i IN (i, i + 1) g b",
        "i IN (i, 1) = b",
        "i NOT BETWEEN i AND i + i g b",
        "i BETWEEN i AND i = b",
        "t NOT LIKE t || '%' g n b",
        "t LIKE t = b",
        "i IS NULL = b",
        "i c i = b",
        "i = i = b",
        "n i IS NULL g b IS NOT NULL",
        "n b IS DISTINCT FROM b g b g n b",
        "b IS NOT DISTINCT FROM NOT b g b",
        "b g n i IS DISTINCT FROM i + i g b IS DISTINCT FROM b g b",
        "i IS DISTINCT FROM i IS NULL",
        "b g b IS DISTINCT FROM b IS w",
        "b IS w IS DISTINCT FROM b",
        "i::text || t LIKE t",
        "d - i / 7.0 * d c - d",
        "i::text || t c t",
        "- i::numeric(12,1) + d",
        "CASE WHEN i c i g b THEN i + i ELSE - i END * i c i",
    ];
    let form = dice.pick(&forms);
    let words: Vec<String> = form.split(' ').map(|word| bare_word(dice, scope, word)).collect();
    words.join(" ")
}

fn bare_word(dice: &mut Dice, scope: &Scope, word: &str) -> String {
    let trimmed = word.trim_end_matches([',', ')']).trim_start_matches('(');
    let (name, cast) = trimmed.split_once("::").map_or((trimmed, ""), |(name, _)| (name, "::"));
    let value = match name {
        "i" => leaf(dice, scope, Ty::Int),
        "d" => leaf(dice, scope, Ty::Dec),
        "t" => leaf(dice, scope, Ty::Text),
        "b" => leaf(dice, scope, Ty::Bool),
        "c" => comparison(dice).to_owned(),
        "g" => dice.pick(&["AND", "OR"]).to_owned(),
        "n" => dice.pick(&["", "NOT"]).to_owned(),
        "w" => dice.pick(&["TRUE", "NOT TRUE", "FALSE", "NOT UNKNOWN", "NULL"]).to_owned(),
        _ => return word.to_owned(),
    };
    word.replacen(&format!("{name}{cast}"), &format!("{value}{cast}"), 1)
}
