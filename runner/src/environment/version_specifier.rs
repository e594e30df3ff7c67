//! Whether an interpreter's version satisfies `requires-python` (the part of PEP 440 that applies to released
//! versions of Python).

/// A version as numbers, most significant first.
type Release = Vec<u64>;

/// Tells whether `version` (`3.12.1`) satisfies `specifier` (`>=3.10,<3.14`); an error names the clause that
/// cannot be read.
pub(super) fn satisfies(version: &str, specifier: &str) -> Result<bool, String> {
    let version = release(version).ok_or_else(|| version.to_owned())?;
    let mut all = true;
    for clause in specifier.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
        all &= clause_holds(&version, clause).ok_or_else(|| clause.to_owned())?;
    }
    Ok(all)
}

/// Which of two versions is newer, as far as their numbers tell.
pub(super) fn newer(one: &str, other: &str) -> std::cmp::Ordering {
    compare(&release(one).unwrap_or_default(), &release(other).unwrap_or_default()).then_with(|| one.cmp(other))
}

fn clause_holds(version: &[u64], clause: &str) -> Option<bool> {
    // Longer operators first: `>=` begins with `>`.
    let operators = ["===", "~=", "==", "!=", "<=", ">=", "<", ">"];
    let operator = *operators.iter().find(|operator| clause.starts_with(**operator))?;
    let text = clause[operator.len()..].trim();
    let (wanted, is_prefix) = match text.strip_suffix(".*") {
        Some(prefix) if matches!(operator, "==" | "!=") => (release(prefix)?, true),
        Some(_) => return None,
        None => (release(text)?, false),
    };
    let equal = if is_prefix { has_prefix(version, &wanted) } else { compare(version, &wanted).is_eq() };
    Some(match operator {
        "==" | "===" => equal,
        "!=" => !equal,
        "<=" => compare(version, &wanted).is_le(),
        ">=" => compare(version, &wanted).is_ge(),
        "<" => compare(version, &wanted).is_lt(),
        ">" => compare(version, &wanted).is_gt(),
        // `~=3.10` means `>=3.10, ==3.*`; it needs a part that is free.
        "~=" if wanted.len() >= 2 => {
            compare(version, &wanted).is_ge() && has_prefix(version, &wanted[..wanted.len() - 1])
        }
        _ => return None,
    })
}

/// The numbers of a version; what follows them in an alpha or a development build (`3.14.0a2+`) is dropped.
fn release(text: &str) -> Option<Release> {
    let parts = text.trim().split('.').map(|part| {
        let digits = part.find(|character: char| !character.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    });
    parts.collect()
}

/// Compares as if the shorter one ended in zeros.
fn compare(left: &[u64], right: &[u64]) -> std::cmp::Ordering {
    let part = |release: &[u64], index: usize| release.get(index).copied().unwrap_or(0);
    (0..left.len().max(right.len()))
        .map(|index| part(left, index).cmp(&part(right, index)))
        .find(|order| order.is_ne())
        .unwrap_or(std::cmp::Ordering::Equal)
}

fn has_prefix(version: &[u64], prefix: &[u64]) -> bool {
    prefix.iter().enumerate().all(|(index, part)| version.get(index).copied().unwrap_or(0) == *part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_hold_as_pep_440_has_it() {
        let holds = [
            ">=3.10",
            ">=3.10,<3.14",
            "==3.12.*",
            "!=3.11.*",
            "~=3.10",
            "~=3.12.0",
            "== 3.12.1",
            ">3.12",
            "<4",
            "<=3.12.1",
            "",
            "===3.12.1",
        ];
        for specifier in holds {
            assert_eq!(satisfies("3.12.1", specifier), Ok(true), "{specifier}");
        }
        for specifier in [">=3.13", "<3.12", "==3.12", "==3.1.*", "~=3.11.0", "!=3.12.1", ">=3.10,<3.12"] {
            assert_eq!(satisfies("3.12.1", specifier), Ok(false), "{specifier}");
        }
    }

    #[test]
    fn a_clause_that_cannot_be_read_is_named() {
        for clause in ["3.10", "^3.10", ">=three", "~=3", ">=3.*"] {
            assert_eq!(satisfies("3.12.1", &format!(">=3, {clause}")), Err(clause.to_owned()));
        }
    }

    #[test]
    fn a_development_build_counts_as_its_release() {
        assert_eq!(satisfies("3.14.0a2+", ">=3.14"), Ok(true));
    }
}
