//! Line protocol, as little of it as the example needs: no escapes, no blanks in strings.

use std::collections::BTreeMap;

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    /// `1.5`
    Float(f64),
    /// `1i`
    Integer(i64),
    /// `"text"`
    Text(String),
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) fields: BTreeMap<String, Field>,
    pub(crate) time: i64,
}

/// Reads one line: the table and the row. A line without a time gets `default_time`.
pub(crate) fn parse(line: &str, default_time: i64) -> Result<(String, Row), String> {
    let mut parts = line.split_ascii_whitespace();
    let (Some(key), Some(fields)) = (parts.next(), parts.next()) else {
        return Err("a table and a field are needed".to_owned());
    };
    let time = match parts.next() {
        Some(time) => time.parse().map_err(|_| format!("time `{time}` is not a number"))?,
        None => default_time,
    };
    if parts.next().is_some() {
        return Err("there is more than a table, fields and a time".to_owned());
    }
    let mut key = key.split(',');
    let table = key.next().unwrap_or_default().to_owned();
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no value"))?;
        Ok::<_, String>((name.to_owned(), value.to_owned()))
    };
    let tags = key.map(pair).collect::<Result<_, _>>()?;
    let fields = fields.split(',').map(|text| {
        let (name, value) = pair(text)?;
        Ok((name, field(&value)?))
    });
    let fields = fields.collect::<Result<_, String>>()?;
    Ok((table, Row { tags, fields, time }))
}

fn field(text: &str) -> Result<Field, String> {
    let bad = || format!("`{text}` is neither a float, an integer such as `1i`, nor a string in quotes");
    if let Some(text) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(Field::Text(text.to_owned()));
    }
    match text.strip_suffix('i') {
        Some(integer) => integer.parse().map(Field::Integer).map_err(|_| bad()),
        None => text.parse().map(Field::Float).map_err(|_| bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused() {
        let (table, row) = parse("cpu,host=a use=1.5,n=2i,s=\"x\"", 7).unwrap();
        assert_eq!((table.as_str(), row.time), ("cpu", 7));
        assert_eq!(row.tags, BTreeMap::from([("host".to_owned(), "a".to_owned())]));
        assert_eq!(row.fields["n"], Field::Integer(2));
        assert_eq!(parse("cpu use=1 9", 7).unwrap().1.time, 9);
        for line in ["", "cpu", "cpu use", "cpu use=x", "cpu use=1 then", "cpu use=1 2 3"] {
            assert!(parse(line, 0).is_err(), "{line}");
        }
    }
}
