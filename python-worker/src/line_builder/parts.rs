//! The parts of a line, in memory that the next line takes over: a plugin builds thousands of short lines, and asking for memory
//! for each part of each would cost more than the parts.

use parking_lot::Mutex;

use super::text::{BACKSLASH, COMMA, EQUALS, LINE_END, SPACE, escape, push_integer};

/// Lines whose memory is kept for the next ones. A plugin builds one at a time in each thread.
const SPARE_MAX: usize = 8;

/// A line that took more than this is not kept, bytes of one of its texts.
const SPARE_BYTES_MAX: usize = 4 * 1024;

static SPARE: Mutex<Vec<Parts>> = Mutex::new(Vec::new());

/// Keys and values, one after the other in one text.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    text: String,
    lengths: Vec<Lengths>,
}

/// Bytes of a key and of its value.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    key: usize,
    value: usize,
}

impl Pairs {
    /// Sets a key, whose value `write` appends; one that is there keeps its place.
    pub(super) fn set(&mut self, key: &str, write: impl FnOnce(&mut String)) {
        let mut start = 0;
        for lengths in &mut self.lengths {
            let value_at = start + lengths.key;
            let end = value_at + lengths.value;
            if self.text.as_bytes()[start..value_at] == *key.as_bytes() {
                let mut value = String::new();
                write(&mut value);
                self.text.replace_range(value_at..end, &value);
                lengths.value = value.len();
                return;
            }
            start = end;
        }
        self.text.push_str(key);
        let value_at = self.text.len();
        write(&mut self.text);
        self.lengths.push(Lengths { key: key.len(), value: self.text.len() - value_at });
    }

    /// The pairs, in the order in which their keys came first.
    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.text.as_str();
        self.lengths.iter().map(move |lengths| {
            let (pair, after) = rest.split_at(lengths.key + lengths.value);
            rest = after;
            pair.split_at(lengths.key)
        })
    }

    /// The pairs as they are now.
    pub(super) fn to_vec(&self) -> Vec<(String, String)> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.lengths.clear();
    }
}

/// What a line has so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) measurement: String,
    /// Values as they were given.
    pub(super) tags: Pairs,
    /// Values as they are written.
    pub(super) fields: Pairs,
    pub(super) time: Time,
    /// Where lines are put together.
    line: String,
}

/// When it was.
#[derive(Debug, Default)]
pub(super) enum Time {
    #[default]
    None,
    Nanoseconds(i64),
    /// Something else that was given as a time, as text.
    Text(String),
}

impl Parts {
    /// An empty line, in memory that another one has left if there is some.
    pub(super) fn take() -> Self {
        // A lock that somebody holds is not waited for: a process may have been forked meanwhile.
        SPARE.try_lock().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    /// Leaves the memory to another line.
    pub(super) fn give_back(mut self) {
        let Self { measurement, tags, fields, line, .. } = &self;
        if [measurement, &tags.text, &fields.text, line].iter().any(|text| text.capacity() > SPARE_BYTES_MAX) {
            return;
        }
        self.clear();
        if let Some(mut spare) = SPARE.try_lock().filter(|spare| spare.len() < SPARE_MAX) {
            spare.push(self);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.measurement.clear();
        self.tags.clear();
        self.fields.clear();
        self.time = Time::None;
    }

    /// The line.
    ///
    /// # Errors
    /// What there is of it when it has no field.
    pub(super) fn build(&mut self) -> Result<&str, &str> {
        let Self { measurement, tags, fields, time, line } = self;
        line.clear();
        escape(line, measurement, COMMA | SPACE | LINE_END);
        for (key, value) in tags.iter() {
            line.push(',');
            escape(line, key, LINE_END);
            line.push('=');
            escape(line, value, BACKSLASH | COMMA | EQUALS | SPACE | LINE_END);
        }
        if fields.lengths.is_empty() {
            return Err(line);
        }
        let mut separator = ' ';
        for (key, value) in fields.iter() {
            line.push(separator);
            escape(line, key, BACKSLASH | LINE_END);
            line.push('=');
            line.push_str(value);
            separator = ',';
        }
        match time {
            Time::None => {}
            Time::Nanoseconds(time) => {
                line.push(' ');
                push_integer(line, *time);
            }
            Time::Text(time) => {
                line.push(' ');
                line.push_str(time);
            }
        }
        Ok(line)
    }
}
