//! The names of databases.

use crate::error::NameError;
use crate::limits::DATABASE_NAME_BYTES_MAX;

/// The database that always exists, holds nothing but system tables and takes no writes.
pub const INTERNAL_DATABASE: &str = "_internal";

/// Checks a database's name by InfluxDB 3's rules: ASCII letters, digits, underscores and hyphens, the first a letter or digit.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_database_name(name: &str) -> Result<(), NameError> {
    let Some(first) = name.chars().next() else {
        return Err(NameError::Empty);
    };
    if !first.is_ascii() {
        return Err(NameError::InvalidCharacter);
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::InvalidStart);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Err(NameError::InvalidCharacter);
    }
    if name.len() > DATABASE_NAME_BYTES_MAX {
        return Err(NameError::TooLong { limit: DATABASE_NAME_BYTES_MAX, requested: name.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_incumbents_rules() {
        for good in ["a", "1", "my-db_2", "Z9"] {
            assert_eq!(check_database_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_database_name(""), Err(NameError::Empty));
        assert_eq!(check_database_name("_x"), Err(NameError::InvalidStart));
        assert_eq!(check_database_name("bad name!"), Err(NameError::InvalidCharacter));
        assert_eq!(check_database_name("a/b"), Err(NameError::InvalidCharacter));
        assert_eq!(check_database_name("dé"), Err(NameError::InvalidCharacter));
        let long = "x".repeat(65);
        assert_eq!(check_database_name(&long), Err(NameError::TooLong { limit: 64, requested: 65 }));
    }
}
