//! Bodies into lines, with their numbers.

use influxdb_line_protocol::split_lines;

/// The lines of a body with their numbers, counted from 1. A line ends at a newline that is not inside a quoted string value.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    rest: &'a str,
    next_number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(body: &'a str) -> Self {
        Self { rest: body, next_number: 1 }
    }

    /// The length of the first line of what is left.
    ///
    /// Quotes and backslashes are what makes finding the end slow, so a line without them takes the fast way. A comment ends at
    /// its newline whatever it holds.
    fn first_line_length(&self) -> usize {
        let up_to_newline = self.rest.find('\n').unwrap_or(self.rest.len());
        let plain = &self.rest[..up_to_newline];
        if !plain.bytes().any(|byte| byte == b'"' || byte == b'\\') || plain.trim_start().starts_with('#') {
            return up_to_newline;
        }
        split_lines(self.rest).next().map_or(up_to_newline, str::len)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.first_line_length();
        let line = &self.rest[..length];
        self.rest = self.rest.get(length + 1..).unwrap_or("");
        let number = self.next_number;
        // A string value may hold newlines, and an editor counts them.
        self.next_number += 1 + line.bytes().filter(|&byte| byte == b'\n').count();
        Some((number, line.strip_suffix('\r').unwrap_or(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(body: &str) -> Vec<(usize, &str)> {
        Lines::new(body).collect()
    }

    #[test]
    fn lines_are_numbered_from_one_and_keep_quoted_newlines() {
        assert_eq!(lines("a b=1\n\nc d=2"), [(1, "a b=1"), (2, ""), (3, "c d=2")]);
        assert_eq!(lines("a b=\"x\ny\" 1\nc d=2\n"), [(1, "a b=\"x\ny\" 1"), (3, "c d=2")]);
        assert_eq!(lines("a\\ b c=1\r\nd e=2\r\n"), [(1, "a\\ b c=1"), (2, "d e=2")]);
    }

    #[test]
    fn a_quote_in_a_comment_swallows_nothing() {
        assert_eq!(lines("# f = \"x\na b=1"), [(1, "# f = \"x"), (2, "a b=1")]);
    }
}
