//! Debezium's versions, in their order: Alpha, Beta, CR, Final.
//!
//! Must not know: what is wrong with one.

use std::fmt;

/// As in `3.7.0.Alpha2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: [u32; 3],
    stage: Stage,
    nth: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    CR,
    Final,
}

impl Version {
    /// `None` for what is not a release: a snapshot may hold a mend or not.
    pub fn parse(text: &str) -> Option<Version> {
        let mut parts = text.trim().split(['.', '-']);
        let mut number = || parts.next()?.parse().ok();
        let numbers = [number()?, number()?, number()?];
        let Some(word) = parts.next() else { return Some(Version { numbers, stage: Stage::Final, nth: 0 }) };
        let (letters, digits) = word.split_at(word.find(|c: char| c.is_ascii_digit()).unwrap_or(word.len()));
        let nth = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let stage = match letters.to_ascii_lowercase().as_str() {
            "alpha" => Stage::Alpha,
            "beta" => Stage::Beta,
            "cr" => Stage::CR,
            "final" | "ga" => Stage::Final,
            _ => return None,
        };
        // Whoever builds a distribution of it appends a word: 2.7.3.Final-redhat-00001.
        Some(Version { numbers, stage, nth })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        match self.stage {
            Stage::Final => write!(f, "{major}.{minor}.{patch}.Final"),
            stage => write!(f, "{major}.{minor}.{patch}.{stage:?}{}", self.nth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_their_releases() {
        let ordered = [
            "2.7.4.Final",
            "3.6.0.Alpha2",
            "3.6.0.Alpha10",
            "3.6.0.Beta1",
            "3.6.0.CR1",
            "3.6.0.Final",
            "3.6.3.Final",
            "3.7.0.Alpha1",
            "3.10.0.Alpha1",
        ];
        let versions = ordered.map(|text| Version::parse(text).expect("a version"));
        assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
        assert_eq!(versions.map(|version| version.to_string()), ordered);
        assert_eq!(Version::parse("2.7.3.Final-redhat-00001"), Version::parse("2.7.3.Final"));
        assert_eq!(Version::parse("3.7.0"), Version::parse("3.7.0.Final"));
        for text in ["3.7.0-SNAPSHOT", "3.7", "latest", "", "3.7.0.Gamma1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
