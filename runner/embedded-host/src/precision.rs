//! The unit of a line's timestamp.

use std::str::FromStr;

/// The unit in which a write states its timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The unit is told from each timestamp's magnitude, by InfluxDB 3's thresholds.
    #[default]
    Auto,
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

/// A text that names no precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown precision `{0}`, expected one of `auto`, `second`, `millisecond`, `microsecond`, `nanosecond`, `s`, `ms`, `us`, `u`, `ns`, `n`"
)]
pub struct UnknownPrecision(pub String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "s" | "second" => Ok(Self::Second),
            "ms" | "millisecond" => Ok(Self::Millisecond),
            "us" | "u" | "microsecond" => Ok(Self::Microsecond),
            "ns" | "n" | "nanosecond" => Ok(Self::Nanosecond),
            other => Err(UnknownPrecision(other.to_owned())),
        }
    }
}

impl Precision {
    /// `timestamp`, stated in this unit, in nanoseconds since the epoch; `None` when nanoseconds in 64 bits cannot hold it.
    #[must_use]
    pub fn to_nanoseconds(self, timestamp: i64) -> Option<i64> {
        let factor = match self {
            Self::Auto => guessed_factor(timestamp),
            Self::Second => 1_000_000_000,
            Self::Millisecond => 1_000_000,
            Self::Microsecond => 1_000,
            Self::Nanosecond => 1,
        };
        timestamp.checked_mul(factor)
    }
}

/// InfluxDB 3's guess: each unit is taken for timestamps of about 1970 to 2128 in it, and anything smaller is seconds.
fn guessed_factor(timestamp: i64) -> i64 {
    match timestamp.unsigned_abs() / 1_000_000_000 {
        0..5 => 1_000_000_000,
        5..5_000 => 1_000_000,
        5_000..5_000_000 => 1_000,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_tells_the_unit_from_the_magnitude() {
        let second = 1_708_976_567;
        for timestamp in [second, second * 1_000, second * 1_000_000, second * 1_000_000_000] {
            assert_eq!(Precision::Auto.to_nanoseconds(timestamp), Some(second * 1_000_000_000), "{timestamp}");
            assert_eq!(Precision::Auto.to_nanoseconds(-timestamp), Some(-second * 1_000_000_000), "-{timestamp}");
        }
        assert_eq!(Precision::Auto.to_nanoseconds(i64::MIN), Some(i64::MIN));
    }

    #[test]
    fn units_multiply_and_refuse_what_does_not_fit() {
        assert_eq!(Precision::Millisecond.to_nanoseconds(5), Some(5_000_000));
        assert_eq!(Precision::Nanosecond.to_nanoseconds(5), Some(5));
        assert_eq!(Precision::Second.to_nanoseconds(i64::MAX), None);
    }

    #[test]
    fn names_parse() {
        for (text, precision) in
            [("u", Precision::Microsecond), ("n", Precision::Nanosecond), ("second", Precision::Second)]
        {
            assert_eq!(text.parse(), Ok(precision));
        }
        assert!("hour".parse::<Precision>().is_err());
    }
}
