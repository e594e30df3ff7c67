//! A limit of processor time as people write it: a number of processors, such as `0.5`. It is kept in thousandths.

use serde::{Deserialize, Deserializer, Serializer};

use crate::limits;

/// Thousandths of a processor, from a text such as `0.5`, `2` or `500m`.
///
/// # Errors
/// The text is none.
pub fn parse_cpu(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is not a number of processors; write it as 0.5 or 2");
    if let Some(thousandths) = text.strip_suffix('m') {
        return thousandths.parse().map_err(|_| wrong());
    }
    from_number(text.parse().map_err(|_| wrong())?).ok_or_else(wrong)
}

/// Thousandths, as a number of processors.
#[must_use]
pub fn cpu_number(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1_000.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
fn from_number(processors: f64) -> Option<u32> {
    let possible = processors.is_finite() && (0.0..=limits::WORKER_CPU_MAX).contains(&processors);
    possible.then(|| (processors * 1_000.0).round() as u32)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = match Option::<Written>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Written::Number(number)) => number.to_string(),
        Some(Written::Text(text)) => text,
    };
    parse_cpu(&text).map(Some).map_err(serde::de::Error::custom)
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
pub(super) fn serialize<S: Serializer>(cpu: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    match cpu {
        Some(thousandths) => serializer.serialize_f64(cpu_number(*thousandths)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_as_people_write_them() {
        assert_eq!(parse_cpu("0.5"), Ok(500));
        assert_eq!(parse_cpu(" 2 "), Ok(2_000));
        assert_eq!(parse_cpu("250m"), Ok(250));
        for wrong in ["", "half", "-1", "NaN", "inf", "1e9", "-5m"] {
            assert!(parse_cpu(wrong).unwrap_err().ends_with("write it as 0.5 or 2"), "{wrong}");
        }
    }
}
