//! Changes an input a little, by the dice: what libFuzzer does, without watching where it leads.

use crate::support::dice::Dice;

/// Longer inputs are cut.
const LONGEST: usize = 1 << 16;

/// What often lies at a limit, as text.
const TEXTS: [&str; 24] = [
    "null",
    "true",
    "-0",
    "1e999999999",
    "-1e-999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "0.00000000000000000000000000000000000001",
    "NaN",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "infinity",
    "9999-12-31T23:59:59.999999999Z",
    "-9999-01-01T00:00:00-23:59",
    "24:00:00",
    "{}",
    "[]",
    "\"\"",
    "${",
    "*all",
    "--",
    "'",
    "::numeric(1000,1000)",
];

/// What often lies at a limit, as bytes: varints, lengths, what is no UTF-8.
const BYTES: [&[u8]; 10] = [
    &[0xFF; 9],
    &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x10],
    &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F],
    &[0x80; 19],
    &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0x00; 8],
    &[0xC3],
    &[0xED, 0xA0, 0x80],
    &[0x01],
];

/// What opens something, and what closes it.
const PAIRS: [[&str; 2]; 6] = [["[", "]"], ["{\"a\":", "}"], ["(", ")"], ["- ", ""], ["NOT ", ""], ["{a: ", "}"]];

/// An input with up to four changes; `others` are pieces to take from.
pub fn mutated(dice: &mut Dice, input: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        change(dice, &mut bytes, others);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = dice.below(bytes.len() as u64 + 1) as usize;
    let end = at + dice.below((bytes.len() - at) as u64 + 1).min(dice.below(64)) as usize;
    match dice.below(10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = dice.next() as u8,
        2 => drop(bytes.splice(at..at, (0..=dice.below(8)).map(|_| dice.next() as u8).collect::<Vec<_>>())),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].repeat(1 + dice.below(8) as usize);
            bytes.splice(at..at, piece);
        }
        5 => {
            let other = &others[dice.below(others.len() as u64) as usize];
            let from = dice.below(other.len() as u64 + 1) as usize;
            let to = from + dice.below((other.len() - from) as u64 + 1) as usize;
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        6 => drop(bytes.splice(at..end, dice.pick(&BYTES).iter().copied())),
        7 => drop(bytes.splice(at..end, dice.pick(&TEXTS).bytes())),
        8 => bytes.truncate(at),
        _ => {
            let [open, close] = dice.pick(&PAIRS);
            let depth = 1 << dice.below(11);
            let nested = [open.repeat(depth).as_bytes(), &bytes[at..end], close.repeat(depth).as_bytes()].concat();
            bytes.splice(at..end, nested);
        }
    }
}
