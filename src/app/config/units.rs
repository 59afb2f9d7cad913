//! Durations, sizes and small names as text: `1h30m`, `64MiB`, `orders-payments`.
//!
//! Must not know: YAML.

/// Why a text is not what was expected, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

/// Longest first where one ends another.
const DURATIONS: [(&str, i64); 7] = [
    ("ms", 1_000),
    ("us", 1),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
    ("w", 604_800_000_000),
];

const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Microseconds of `5m`, `1h30m`, `500ms`, `0`.
pub fn duration(text: &str) -> Result<i64, Problem> {
    let problem = || {
        Problem::new(format!("\"{text}\" is not a duration"))
            .hint("Write numbers with units w, d, h, m, s, ms or us, as in 5m, 1h30m or 500ms.")
    };
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().map_err(|_| problem())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = DURATIONS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(problem)?;
        total = number.checked_mul(unit.1).and_then(|part| total.checked_add(part)).ok_or_else(problem)?;
        rest = &rest[letters..];
    }
    if text.is_empty() { Err(problem()) } else { Ok(total) }
}

/// A duration in words that [`duration`] reads.
pub fn duration_text(micros: i64) -> String {
    let mut rest = micros;
    let mut text = String::new();
    for unit in ["d", "h", "m", "s", "ms", "us"] {
        let size = DURATIONS.iter().find(|(name, _)| *name == unit).map_or(1, |(_, size)| *size);
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Bytes of `64MiB`, `1GB`, `512B`.
pub fn size(text: &str) -> Result<usize, Problem> {
    let problem = || {
        Problem::new(format!("\"{text}\" is not a size"))
            .hint("Write a whole number with a unit B, KB, MB, GB, KiB, MiB or GiB, as in 64MiB.")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| problem())?;
    let unit = text[digits..].trim_start();
    let unit = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(problem)?;
    let bytes = number.checked_mul(unit.1).ok_or_else(problem)?;
    usize::try_from(bytes).map_err(|_| problem())
}

/// `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, Problem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::new(format!("\"{text}\" is not a boolean")).hint("Write true or false.")),
    }
}

/// Nobody has meant a known name by a longer text.
const LONGEST_NAME: usize = 100;

/// The nearest of `known` to what was written, where one is near enough to have been meant.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if written.len() > LONGEST_NAME {
        return None;
    }
    let lower = written.to_lowercase();
    let distance = |name: &str| strsim::osa_distance(&lower, &name.to_lowercase());
    let best = known.into_iter().map(|name| (distance(name), name)).min_by_key(|(distance, _)| *distance)?;
    let limit = 1 + written.chars().count() / 4;
    (best.0 <= limit && best.0 < written.chars().count()).then_some(best.1)
}

/// `Did you mean "x"?` where something near is known, else the whole list where it is short.
pub fn suggestion<'k>(written: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<String> {
    if let Some(near) = nearest(written, known.clone()) {
        return Some(format!("Did you mean \"{near}\"?"));
    }
    let all: Vec<&str> = known.into_iter().collect();
    match all.as_slice() {
        [] => None,
        [only] => Some(format!("The only one is \"{only}\".")),
        [most @ .., last] if all.len() <= 16 => Some(format!("Known are {} and {last}.", most.join(", "))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, micros) in [
            ("5m", 300_000_000),
            ("1h30m", 5_400_000_000),
            ("500ms", 500_000),
            ("0", 0),
            ("0s", 0),
            ("1d", 86_400_000_000),
            ("2w", 1_209_600_000_000),
            ("3us", 3),
        ] {
            assert_eq!(duration(text), Ok(micros), "{text}");
            assert_eq!(duration(&duration_text(micros)), Ok(micros), "{text}");
        }
        for text in ["", "5", "m", "5x", "-5m", "1.5h", "5 m", "99999999999999w", "5min"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1GB", 1_000_000_000), ("512B", 512), ("256 KiB", 256 << 10)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "MiB", "64mib", "64M", "-1KB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(nearest("topc", ["topic", "topics", "key"]), Some("topic"));
        assert_eq!(nearest("grase", ["grace", "rules"]), Some("grace"));
        assert_eq!(nearest("zzz", ["topic", "key"]), None);
    }
}
