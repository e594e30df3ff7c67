//! Words for the ways in which a call fails.

use bulkhead_proto::types::v1::{Failure, FailureKind};

/// The kinds with their words, as they stand in settings, tables and metrics.
const WORDS: [(FailureKind, &str); 12] = [
    (FailureKind::Exception, "exception"),
    (FailureKind::Load, "load"),
    (FailureKind::Deadline, "deadline"),
    (FailureKind::Cancelled, "cancelled"),
    (FailureKind::Limit, "limit"),
    (FailureKind::Signal, "signal"),
    (FailureKind::Exit, "exit"),
    (FailureKind::Protocol, "protocol"),
    (FailureKind::Environment, "environment"),
    (FailureKind::Start, "start"),
    (FailureKind::Response, "response"),
    (FailureKind::Memory, "memory"),
];

/// The word of a kind.
#[must_use]
pub fn word(kind: FailureKind) -> &'static str {
    WORDS.iter().find(|(known, _)| *known == kind).map_or("host", |(_, word)| word)
}

/// Whether a text is the word of a kind.
#[must_use]
pub fn is_word(text: &str) -> bool {
    WORDS.iter().any(|(_, word)| *word == text)
}

/// The class of the exception that a plugin raised, without its module.
#[must_use]
pub fn exception(failure: &Failure) -> Option<&str> {
    let is_exception = failure.kind() == FailureKind::Exception;
    let class = failure.message.split([':', ' ']).next()?.rsplit('.').next()?;
    (is_exception && !class.is_empty()).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_known_by_its_class() {
        let failure = |kind: FailureKind, message: &str| Failure {
            kind: kind.into(),
            message: message.to_owned(),
            ..Failure::default()
        };
        assert_eq!(exception(&failure(FailureKind::Exception, "ValueError: a: b")), Some("ValueError"));
        assert_eq!(exception(&failure(FailureKind::Exception, "a.b.Odd: x")), Some("Odd"));
        assert_eq!(exception(&failure(FailureKind::Exception, "KeyboardInterrupt")), Some("KeyboardInterrupt"));
        assert_eq!(exception(&failure(FailureKind::Exit, "ValueError: a")), None);
        assert!(is_word(word(FailureKind::Deadline)) && !is_word("host"));
    }
}
