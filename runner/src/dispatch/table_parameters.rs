//! Parameters that name a table: `SELECT * FROM $table` is what the documentation of InfluxDB 3 shows, and no SQL engine
//! binds a name like a value. Such a parameter is put into the text as a quoted identifier, so that nothing else can come
//! of it.

use std::collections::BTreeMap;

use crate::host::Parameter;

/// The text with each parameter in table position replaced; everything else stays as it is.
pub(super) fn name_tables(sql: String, parameters: &BTreeMap<String, Parameter>) -> String {
    let is_candidate = sql.contains('$') && parameters.values().any(|value| matches!(value, Parameter::Text(_)));
    if !is_candidate {
        return sql;
    }
    let mut named = String::with_capacity(sql.len());
    let mut place = Place::default();
    let mut rest = sql.as_str();
    while let Some((token, tail)) = next(rest) {
        let text = &rest[..rest.len() - tail.len()];
        let table = match token {
            Token::Parameter if place.expects_table() => match parameters.get(text.trim_start_matches('$')) {
                Some(Parameter::Text(table)) => Some(table),
                _ => None,
            },
            _ => None,
        };
        match table {
            Some(table) => named.push_str(&format!("\"{}\"", table.replace('"', "\"\""))),
            None => named.push_str(text),
        }
        place.pass(token, text);
        rest = tail;
    }
    named
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Blanks and comments.
    Space,
    /// A keyword, a name or a number.
    Word,
    /// `$name`.
    Parameter,
    /// A quoted text or name.
    Quoted,
    /// One other character.
    Sign,
}

/// The first token and what follows it.
fn next(text: &str) -> Option<(Token, &str)> {
    let first = text.chars().next()?;
    let (token, length) = match first {
        '\'' | '"' => (Token::Quoted, quoted(text, first)),
        '-' if text.starts_with("--") => (Token::Space, text.find('\n').unwrap_or(text.len())),
        '/' if text.starts_with("/*") => (Token::Space, comment(text)),
        '$' => (Token::Parameter, 1 + word(&text[1..])),
        _ if first.is_whitespace() => (Token::Space, text.len() - text.trim_start().len()),
        _ if is_word(first) => (Token::Word, word(text)),
        _ => (Token::Sign, first.len_utf8()),
    };
    Some((token, text.get(length..).unwrap_or_default()))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn word(text: &str) -> usize {
    text.find(|character| !is_word(character)).unwrap_or(text.len())
}

/// A quote inside of quotes is doubled, which looks like two quoted texts in a row and ends at the same place.
fn quoted(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |end| end + 2)
}

/// Comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Where in a query the reader is.
#[derive(Default)]
struct Place {
    /// The brackets around.
    outer: Vec<Level>,
    level: Level,
}

/// What stands between two brackets, or outside of all.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Whether it is the argument list of a function, where FROM belongs to the function.
    is_call: bool,
    /// Whether nothing stands before this in the brackets.
    is_start: bool,
    /// Whether the tables of a FROM are being listed.
    in_from: bool,
    /// Whether the next thing is a table.
    expects_table: bool,
    /// Whether the last word was DISTINCT, as in IS DISTINCT FROM.
    after_distinct: bool,
    /// Whether the last token was a word, so that a bracket opens its arguments.
    after_word: bool,
}

impl Place {
    fn expects_table(&self) -> bool {
        self.level.expects_table
    }

    fn pass(&mut self, token: Token, text: &str) {
        let level = &mut self.level;
        match (token, text) {
            (Token::Space, _) => return,
            (Token::Sign, "(") => {
                // What stands in brackets where a table should be is a query or a list of tables, never arguments.
                let is_call = level.after_word && !level.expects_table;
                let expects_table = level.expects_table;
                level.expects_table = false;
                self.outer.push(*level);
                self.level =
                    Level { is_call, is_start: true, in_from: expects_table, expects_table, ..Level::default() };
                return;
            }
            (Token::Sign, ")") => {
                self.level = self.outer.pop().unwrap_or_default();
                self.level.after_word = false;
                return;
            }
            (Token::Sign, ",") => level.expects_table = level.in_from,
            (Token::Word, word) => level.word(word),
            (Token::Sign | Token::Parameter | Token::Quoted, _) => level.expects_table = false,
        }
        level.is_start = false;
        level.after_word = token == Token::Word && !text.eq_ignore_ascii_case("in");
    }
}

impl Level {
    fn word(&mut self, word: &str) {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        let after_distinct = std::mem::replace(&mut self.after_distinct, is("distinct"));
        if is("select") || is("with") {
            // A query, also where a function's arguments could stand: `exists (select ...)`.
            *self = Self { is_call: self.is_call && !self.is_start, ..Self::default() };
        } else if is("join") || (is("from") && !self.is_call && !after_distinct) {
            (self.in_from, self.expects_table) = (true, true);
        } else if !is("lateral") && !is("only") {
            self.expects_table = false;
            let ends =
                ["where", "group", "having", "order", "limit", "offset", "union", "intersect", "except", "on", "using"];
            self.in_from &= !ends.into_iter().any(is);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_in_table_position_become_names() {
        let parameters: BTreeMap<_, _> = [("t", "my table"), ("u", "a\"b"), ("v", "value")]
            .map(|(name, value)| (name.to_owned(), Parameter::Text(value.to_owned())))
            .into();
        let cases = [
            ("select * from $t where a = $v", "select * from \"my table\" where a = $v"),
            (
                "SELECT * FROM $t AS x JOIN $u ON x.a = $v",
                "SELECT * FROM \"my table\" AS x JOIN \"a\"\"b\" ON x.a = $v",
            ),
            ("select $v from $t, $u limit 1", "select $v from \"my table\", \"a\"\"b\" limit 1"),
            ("select * from (select * from $t) s, $u", "select * from (select * from \"my table\") s, \"a\"\"b\""),
            ("select * from ($t)", "select * from (\"my table\")"),
            ("select 1 where exists (select 1 from $t)", "select 1 where exists (select 1 from \"my table\")"),
            ("select 1 where a in (select a from $t)", "select 1 where a in (select a from \"my table\")"),
            ("with x as (select * from $t) select * from x", "with x as (select * from \"my table\") select * from x"),
            ("select extract(epoch from $v) from $t", "select extract(epoch from $v) from \"my table\""),
            ("select a is distinct from $v from $t", "select a is distinct from $v from \"my table\""),
            ("select '$t from $t' from $t -- from $t", "select '$t from $t' from \"my table\" -- from $t"),
            (
                "select 'it''s from ' from /* from $t /* */ $t */ $t",
                "select 'it''s from ' from /* from $t /* */ $t */ \"my table\"",
            ),
            ("select * from m where a = $v or b in ($v, $t)", "select * from m where a = $v or b in ($v, $t)"),
            ("select * from m order by a, $v", "select * from m order by a, $v"),
            ("select * from $unknown", "select * from $unknown"),
            ("select * from 'm", "select * from 'm"),
        ];
        for (sql, expected) in cases {
            assert_eq!(name_tables(sql.to_owned(), &parameters), expected);
        }
    }

    #[test]
    fn numbers_are_no_names() {
        let parameters = BTreeMap::from([("t".to_owned(), Parameter::Integer(1))]);
        assert_eq!(name_tables("select * from $t".to_owned(), &parameters), "select * from $t");
    }
}
