//! A blocking HTTP client, and what users do with it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::DB;
use super::trigger::Trigger;
use super::wait::{PATIENCE, until};

/// Path of the triggers.
pub(crate) const TRIGGERS: &str = "/api/v3/configure/processing_engine_trigger";

/// Talks to one runner; a connection for each request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: SocketAddr,
}

/// An HTTP method.
pub(crate) type Method = &'static str;

/// A request to send.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// With a parameter in the query string.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&pair);
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// The bytes that go over the wire.
    pub(crate) fn encode(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Its status code.
    pub(crate) status: u16,
    /// Its headers, names in lower case; of repeated ones the last.
    pub(crate) headers: BTreeMap<String, String>,
    /// Its headers as they came, names in lower case.
    pub(crate) header_lines: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// A header; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Checks status and text.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, text));
    }

    /// The text, but of the error of a plugin that raised without its traceback.
    pub(crate) fn told(&self) -> String {
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(body) if body["traceback"].as_str().is_some_and(|text| text.starts_with("Traceback (most recent")) => {
                json!({ "error": body["error"] }).to_string()
            }
            _ => self.text(),
        }
    }

    /// Checks that a request plugin has raised, and with what.
    #[track_caller]
    pub(crate) fn raised(&self, text: &str) {
        let told = json!({ "error": format!("Python function call failed: {text}") }).to_string();
        assert_eq!((self.status, self.told()), (500, told), "{}", self.text());
        assert_ne!(self.told(), self.text(), "it has a traceback");
    }

    /// Checks the status and a part of the text.
    #[track_caller]
    pub(crate) fn contains(&self, status: u16, text: &str) {
        assert!(self.status == status && self.text().contains(text), "{} {:?}", self.status, self.text());
    }

    fn read(stream: TcpStream) -> std::io::Result<Self> {
        let mut stream = BufReader::new(stream);
        let status = line(&mut stream)?.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other("no status line"))?;
        let mut header_lines = Vec::new();
        loop {
            let line = line(&mut stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            header_lines.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let headers: BTreeMap<String, String> = header_lines.iter().cloned().collect();
        let mut body = Vec::new();
        if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
            read_chunks(&mut stream, &mut body)?;
        } else if let Some(length) = headers.get("content-length") {
            body.resize(length.parse().map_err(std::io::Error::other)?, 0);
            stream.read_exact(&mut body)?;
        } else {
            stream.read_to_end(&mut body)?;
        }
        Ok(Self { status, headers, header_lines, body })
    }
}

fn line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let size = usize::from_str_radix(&line(stream)?, 16).map_err(std::io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        line(stream)?;
        if size == 0 {
            return Ok(());
        }
    }
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where the runner listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection.
    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends a request; an error when the runner is not there or breaks off.
    pub(crate) fn try_send(&self, request: &Request) -> std::io::Result<Answer> {
        let mut stream = self.connect()?;
        // A runner that refuses a long body answers before it has read it.
        let sent = stream.write_all(&request.encode(self.address));
        Answer::read(stream).map_err(|error| sent.err().unwrap_or(error))
    }

    /// Sends a request.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Answer {
        self.try_send(request).unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    /// `GET path`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&Request::new("GET", path))
    }

    /// `POST path` with a JSON body.
    #[track_caller]
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.send(&Request::new("POST", path).json(body))
    }

    /// Creates a database.
    #[track_caller]
    pub(crate) fn create_database(&self, name: &str) {
        self.post_json("/api/v3/configure/database", &json!({ "db": name })).is(200, "");
    }

    /// A write request with nanosecond timestamps.
    pub(crate) fn write_request(database: &str, lines: &str) -> Request {
        Request::new("POST", "/api/v3/write_lp").query("db", database).query("precision", "nanosecond").body(lines)
    }

    /// Writes line protocol to a database, which has to take all of it.
    #[track_caller]
    pub(crate) fn write_to(&self, database: &str, lines: &str) {
        self.send(&Self::write_request(database, lines)).is(204, "");
    }

    /// Writes line protocol to [`DB`], which has to take all of it.
    #[track_caller]
    pub(crate) fn write(&self, lines: &str) {
        self.write_to(DB, lines);
    }

    /// Runs SQL, whatever comes of it.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, sql: &str) -> Answer {
        self.post_json("/api/v3/query_sql", &json!({ "db": database, "q": sql, "format": "json" }))
    }

    /// The rows of a query on [`DB`].
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> Vec<Value> {
        self.query_in(DB, sql)
    }

    /// The rows of a query.
    #[track_caller]
    pub(crate) fn query_in(&self, database: &str, sql: &str) -> Vec<Value> {
        let answer = self.sql(database, sql);
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The rows of a query on [`DB`], when the runner answers it.
    pub(crate) fn try_get_rows(&self, sql: &str) -> Option<Vec<Value>> {
        let body = json!({ "db": DB, "q": sql, "format": "json" });
        let answer = self.try_send(&Request::new("POST", "/api/v3/query_sql").json(&body)).ok()?;
        (answer.status == 200).then(|| serde_json::from_slice(&answer.body).ok()).flatten()
    }

    /// The number of rows of a table in [`DB`]; none when there is no such table.
    #[track_caller]
    pub(crate) fn count(&self, table: &str) -> u64 {
        let answer = self.sql(DB, &format!("SELECT count(*) AS n FROM {table}"));
        if answer.status == 400 && answer.text().contains("not found") {
            return 0;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()[0]["n"].as_u64().unwrap()
    }

    /// Waits until a table in [`DB`] has this many rows.
    #[track_caller]
    pub(crate) fn until_count(&self, table: &str, wanted: u64) {
        until(&format!("`{table}` has {wanted} rows"), || match self.count(table) {
            rows if rows == wanted => Ok(()),
            rows => Err(format!("{rows} rows; {:?}", self.all_logs())),
        });
    }

    /// Creates a trigger, which has to succeed.
    #[track_caller]
    pub(crate) fn create(&self, trigger: &Trigger) {
        self.try_create(trigger).is(200, "");
    }

    /// Creates a trigger, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_create(&self, trigger: &Trigger) -> Answer {
        self.post_json(TRIGGERS, &trigger.json())
    }

    /// Enables or disables a trigger of [`DB`]: `verb` is `enable` or `disable`.
    #[track_caller]
    pub(crate) fn switch(&self, verb: &str, name: &str) -> Answer {
        self.send(&Request::new("POST", &format!("{TRIGGERS}/{verb}")).query("db", DB).query("trigger_name", name))
    }

    /// Deletes a trigger of [`DB`]: `force` is added when it is set.
    #[track_caller]
    pub(crate) fn delete(&self, name: &str, force: bool) -> Answer {
        let request = Request::new("DELETE", TRIGGERS).query("db", DB).query("trigger_name", name);
        self.send(&if force { request.query("force", "true") } else { request })
    }

    /// Calls a request plugin.
    #[track_caller]
    pub(crate) fn engine(&self, path: &str) -> Answer {
        self.get(&format!("/api/v3/engine/{path}"))
    }

    /// The log lines of a trigger of [`DB`], as `LEVEL text`.
    #[track_caller]
    pub(crate) fn logs(&self, trigger: &str) -> Vec<String> {
        let of = format!("WHERE trigger_name = '{trigger}'");
        self.log_lines(&of)
    }

    /// The last lines of all triggers of [`DB`].
    #[track_caller]
    pub(crate) fn all_logs(&self) -> Vec<String> {
        let mut lines = self.log_lines("");
        lines.drain(..lines.len().saturating_sub(30));
        lines
    }

    #[track_caller]
    fn log_lines(&self, of: &str) -> Vec<String> {
        let table = "system.processing_engine_logs";
        let rows = self.query(&format!("SELECT log_level, log_text FROM {table} {of} ORDER BY event_time"));
        let text = |row: &Value, column: &str| row[column].as_str().unwrap().to_owned();
        rows.iter().map(|row| format!("{} {}", text(row, "log_level"), text(row, "log_text"))).collect()
    }

    /// Waits for a log line of a trigger of [`DB`] with this text in it, and returns the line.
    #[track_caller]
    pub(crate) fn until_logged(&self, trigger: &str, part: &str) -> String {
        until(&format!("{trigger} logs {part:?}"), || {
            let lines = self.logs(trigger);
            match lines.iter().find(|line| line.contains(part)) {
                Some(line) => Ok(line.clone()),
                None => Err(format!("{lines:#?}")),
            }
        })
    }

    /// The row of a trigger of [`DB`] in `system.processing_engine_triggers`.
    #[track_caller]
    pub(crate) fn trigger(&self, name: &str) -> Value {
        let table = "system.processing_engine_triggers";
        let mut rows = self.query(&format!("SELECT * FROM {table} WHERE trigger_name = '{name}'"));
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    /// Waits until a trigger of [`DB`] is in this state, and returns the reason.
    #[track_caller]
    pub(crate) fn until_state(&self, name: &str, state: &str) -> String {
        until(&format!("{name} is {state}"), || {
            let row = self.trigger(name);
            if row["state"] == state {
                Ok(row["state_reason"].as_str().unwrap_or_default().to_owned())
            } else {
                Err(format!("{row}; {:#?}", self.logs(name)))
            }
        })
    }

    /// The rows of a trigger's workers in `system.workers`, oldest first.
    #[track_caller]
    pub(crate) fn workers(&self, trigger: &str) -> Vec<Value> {
        self.query(&format!("SELECT * FROM system.workers WHERE trigger_name = '{trigger}' ORDER BY started_at"))
    }

    /// Waits until `count` workers of a trigger have ended, and returns the causes, oldest first.
    #[track_caller]
    pub(crate) fn until_ended(&self, trigger: &str, count: usize) -> Vec<String> {
        until(&format!("{count} workers of {trigger} have ended"), || {
            let ends: Vec<String> =
                self.workers(trigger).iter().filter_map(|row| row["end_cause"].as_str().map(str::to_owned)).collect();
            if ends.len() >= count { Ok(ends) } else { Err(format!("{ends:?}; {:#?}", self.logs(trigger))) }
        })
    }
}
