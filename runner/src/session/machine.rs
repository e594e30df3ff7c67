//! What a worker may say, and when: a function of (state, fact). It reads no clock and no socket.
//!
//! Everything here comes from a process that runs somebody's plugin, so nothing of it is trusted: a fact out of
//! place is a [`Violation`], and the worker that said it is killed.

use std::collections::VecDeque;

use bulkhead_proto::types::v1::{Failure, KeyValue, LogEntry, LogLevel, LogSource, Outcome, outcome};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{Cached, Finished, Hello, Log, ResponseBegun, ResponsePart, Usage};
use bytes::Bytes;
use uuid::Uuid;

use super::cached::LiveOnly;
use crate::cache::CacheChange;
use crate::limits;
use crate::logs::{Level, Source};

/// Ended invocations whose log lines are still attributed; threads that a plugin leaves running use them.
const ENDED_REMEMBERED: usize = 64;

/// What a fact means for the supervisor.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The worker introduced itself.
    Greeted(Hello),
    /// The plugin is ready.
    Loaded,
    /// The plugin cannot be used.
    LoadFailed(Failure),
    /// The plugin or its process said something.
    Logged(Vec<Line>),
    /// Writes of the running invocation were taken in; nothing to do.
    Buffered,
    /// A thread that an ended invocation left running wrote something.
    WrittenLate {
        /// The invocation, unless it ended long ago.
        invocation: Option<Uuid>,
        /// Target; the trigger's own database when empty.
        database: String,
        /// Line protocol.
        lines: Bytes,
    },
    /// A thread that an ended invocation left running changed a cache entry.
    CachedLate {
        /// The invocation, unless it ended long ago.
        invocation: Option<Uuid>,
        /// The change.
        change: CacheChange,
    },
    /// The plugin looked for a variable that its environment does not have.
    VariableMissing(String),
    /// What holds the worker may have changed.
    HoldChanged,
    /// The running invocation answers with a body in parts.
    ResponseBegun {
        /// Status code.
        status_code: u32,
        /// Headers.
        headers: Vec<KeyValue>,
    },
    /// The next part of that body.
    ResponsePart(Bytes),
    /// The running invocation ended.
    Finished {
        /// How.
        outcome: Outcome,
        /// What it wrote, by database in order; the trigger's own database when empty.
        writes: Vec<(String, Bytes)>,
        /// What it took, as the worker says.
        usage: Option<Usage>,
        /// What it changed in the cache, in order.
        cache: Vec<CacheChange>,
    },
}

/// One log line.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// The invocation that said it, as far as known.
    pub invocation: Option<Uuid>,
    /// Severity.
    pub level: Level,
    /// Origin.
    pub source: Source,
    /// Text.
    pub text: String,
}

/// A worker that broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A message without content.
    #[error("an empty message")]
    Empty,
    /// A fact that has no place in the present state.
    #[error("`{fact}` while {state}")]
    OutOfPlace {
        /// The fact.
        fact: &'static str,
        /// The state.
        state: &'static str,
    },
    /// Another version of the protocol.
    #[error("protocol version {theirs} instead of {}", bulkhead_proto::WORKER_PROTOCOL_VERSION)]
    Version {
        /// What the worker speaks.
        theirs: u32,
    },
    /// A result or write for an invocation that is not its own.
    #[error("`{fact}` for invocation {id:x}, which does not run")]
    UnknownInvocation {
        /// The fact.
        fact: &'static str,
        /// The id it named.
        id: u64,
    },
    /// More than a limit allows.
    #[error("more than {max} {unit} against the limit `{limit}`")]
    Limit {
        /// The limit.
        limit: &'static str,
        /// Its value.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// An outcome without content.
    #[error("a result without an outcome")]
    NoOutcome,
    /// A cache entry that is none.
    #[error("a cache entry without namespace or operation")]
    NoEntry,
}

#[derive(Debug)]
enum State {
    Opened,
    Loading,
    Idle,
    Running(Run),
}

/// The invocation that runs.
#[derive(Debug)]
struct Run {
    id: u64,
    invocation: Uuid,
    writes: Vec<(String, Bytes)>,
    written_bytes: u64,
    cache: Vec<CacheChange>,
    cached_bytes: u64,
    response: Streaming,
}

/// How far a response in parts has come.
#[derive(Debug)]
enum Streaming {
    /// Nobody waits for a response.
    Refused,
    /// It may begin.
    Possible,
    /// It began.
    Begun { sent: u64, read: u64 },
}

/// The runner's view of one session.
#[derive(Debug)]
pub struct Session {
    state: State,
    ended: VecDeque<(u64, Uuid)>,
    /// First and last wire id of this session; those between are its invocations, too.
    issued: Option<(u64, u64)>,
    live_only: LiveOnly,
    /// Threads that run although no invocation does, as far as known.
    threads: u32,
    /// Variables that the plugin was told to have looked for in vain.
    variables_missing: u64,
}

impl Default for Session {
    fn default() -> Self {
        let (ended, live_only) = (VecDeque::new(), LiveOnly::default());
        Self { state: State::Opened, ended, issued: None, live_only, threads: 0, variables_missing: 0 }
    }
}

impl Session {
    /// The wire id of the next invocation; `start` makes the first one, which no worker should be able to guess.
    pub fn next_id(&self, start: impl FnOnce() -> u64) -> u64 {
        self.issued.map_or_else(start, |(_, last)| last.wrapping_add(1))
    }

    /// Cache entries that only this worker holds.
    #[must_use]
    pub fn live_only(&self) -> &LiveOnly {
        &self.live_only
    }

    /// Whether something would end with the worker that no other one could go on with: threads, and cache entries.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.threads > 0 || !self.live_only.is_empty()
    }

    /// Says that the invocation with this wire id was ordered, and whether it may answer with a body in parts.
    ///
    /// # Panics
    /// In debug builds when another one runs: the supervisor gives a worker one at a time.
    pub fn begin(&mut self, id: u64, invocation: Uuid, may_stream: bool) {
        debug_assert!(matches!(self.state, State::Idle), "a worker runs one invocation at a time");
        let response = if may_stream { Streaming::Possible } else { Streaming::Refused };
        let first = self.issued.map_or(id, |(first, _)| first);
        self.issued = Some((first, id));
        let (writes, cache) = (Vec::new(), Vec::new());
        self.state = State::Running(Run { id, invocation, writes, written_bytes: 0, cache, cached_bytes: 0, response });
    }

    /// Says how many parts of the response were read in all, as the worker is told.
    pub fn response_read(&mut self, parts: u64) {
        if let State::Running(Run { response: Streaming::Begun { read, .. }, .. }) = &mut self.state {
            *read = parts;
        }
    }

    /// Takes in one fact.
    ///
    /// # Errors
    /// When the worker broke the protocol.
    pub fn on_fact(&mut self, fact: Option<Fact>) -> Result<Step, Violation> {
        match fact.ok_or(Violation::Empty)? {
            Fact::Hello(hello) => self.on_hello(hello),
            Fact::TriggerLoaded(loaded) => {
                if !matches!(self.state, State::Loading) {
                    return Err(self.out_of_place("trigger_loaded"));
                }
                self.state = State::Idle;
                Ok(loaded.failure.map_or(Step::Loaded, Step::LoadFailed))
            }
            Fact::Logs(logs) => {
                if matches!(self.state, State::Opened) {
                    return Err(self.out_of_place("logs"));
                }
                Ok(Step::Logged(logs.lines.into_iter().map(|line| self.line(line)).collect()))
            }
            Fact::Written(written) => {
                let batch = written.batch.ok_or(Violation::Empty)?;
                self.on_written(written.invocation_id, batch.database, batch.line_protocol)
            }
            Fact::ResponseBegun(begun) => self.on_response_begun(begun),
            Fact::ResponsePart(part) => self.on_response_part(part),
            Fact::Cached(cached) => self.on_cached(cached),
            Fact::Threads(threads) => {
                if matches!(self.state, State::Opened | State::Loading) {
                    return Err(self.out_of_place("threads"));
                }
                self.threads = threads.running;
                Ok(Step::HoldChanged)
            }
            Fact::VariableMissing(missing) => self.on_variable_missing(missing.name),
            Fact::Finished(finished) => {
                let threads = finished.threads;
                let step = self.on_finished(finished)?;
                self.threads = threads;
                Ok(step)
            }
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<Step, Violation> {
        if !matches!(self.state, State::Opened) {
            return Err(self.out_of_place("hello"));
        }
        if hello.protocol_version != bulkhead_proto::WORKER_PROTOCOL_VERSION {
            return Err(Violation::Version { theirs: hello.protocol_version });
        }
        self.state = State::Loading;
        Ok(Step::Greeted(hello))
    }

    fn on_variable_missing(&mut self, name: String) -> Result<Step, Violation> {
        if matches!(self.state, State::Opened) {
            return Err(self.out_of_place("variable_missing"));
        }
        self.variables_missing += 1;
        let max = limits::VARIABLES_MISSING_MAX;
        if self.variables_missing > max {
            return Err(Violation::Limit { limit: "variables_missing_max", max, unit: "variables" });
        }
        let max = limits::VARIABLE_NAME_BYTES_MAX;
        if name.len() as u64 > max {
            return Err(Violation::Limit { limit: "variable_name_bytes_max", max, unit: "bytes" });
        }
        Ok(Step::VariableMissing(name))
    }

    fn on_written(&mut self, of: u64, database: String, lines: Bytes) -> Result<Step, Violation> {
        if let State::Running(run) = &mut self.state
            && run.id == of
        {
            run.written_bytes += lines.len() as u64;
            let max = limits::WRITE_BUFFER_BYTES_MAX;
            if run.written_bytes > max {
                return Err(Violation::Limit { limit: "write_buffer_bytes_max", max, unit: "bytes" });
            }
            run.writes.push((database, lines));
            return Ok(Step::Buffered);
        }
        let invocation = self.late("written", of)?;
        Ok(Step::WrittenLate { invocation, database, lines })
    }

    fn on_cached(&mut self, cached: Cached) -> Result<Step, Violation> {
        let of = cached.invocation_id;
        let change = self.live_only.read(cached.change.ok_or(Violation::Empty)?)?;
        if let State::Running(run) = &mut self.state
            && run.id == of
        {
            run.cached_bytes += change.bytes() as u64;
            let max = limits::CACHE_CHANGES_BYTES_MAX;
            if run.cached_bytes > max {
                return Err(Violation::Limit { limit: "cache_changes_bytes_max", max, unit: "bytes" });
            }
            run.cache.push(change);
            return Ok(Step::Buffered);
        }
        Ok(Step::CachedLate { invocation: self.late("cached", of)?, change })
    }

    /// The invocation of something that a thread does after its end. Which one it was is forgotten after a while; that it was
    /// one of this session is not.
    fn late(&self, fact: &'static str, of: u64) -> Result<Option<Uuid>, Violation> {
        let is_running = matches!(&self.state, State::Running(run) if run.id == of);
        let is_issued = self.issued.is_some_and(|(first, last)| of.wrapping_sub(first) <= last.wrapping_sub(first));
        if is_running || !is_issued {
            return Err(Violation::UnknownInvocation { fact, id: of });
        }
        Ok(self.ended_invocation(of))
    }

    fn on_response_begun(&mut self, begun: ResponseBegun) -> Result<Step, Violation> {
        let run = self.run("response_begun", begun.invocation_id)?;
        match run.response {
            Streaming::Possible => {
                run.response = Streaming::Begun { sent: 0, read: 0 };
                Ok(Step::ResponseBegun { status_code: begun.status_code, headers: begun.headers })
            }
            Streaming::Refused | Streaming::Begun { .. } => {
                Err(Violation::OutOfPlace { fact: "response_begun", state: "no response was due" })
            }
        }
    }

    fn on_response_part(&mut self, part: ResponsePart) -> Result<Step, Violation> {
        let run = self.run("response_part", part.invocation_id)?;
        let Streaming::Begun { sent, read } = &mut run.response else {
            return Err(Violation::OutOfPlace { fact: "response_part", state: "no response had begun" });
        };
        if part.body.is_empty() {
            return Err(Violation::Empty);
        }
        let (bytes_max, unread_max) =
            (u64::from(limits::RESPONSE_PART_BYTES_MAX), u64::from(limits::RESPONSE_PARTS_UNREAD_MAX));
        if part.body.len() as u64 > bytes_max {
            return Err(Violation::Limit { limit: "response_part_bytes_max", max: bytes_max, unit: "bytes" });
        }
        *sent += 1;
        if sent.saturating_sub(*read) > unread_max {
            return Err(Violation::Limit { limit: "response_parts_unread_max", max: unread_max, unit: "parts" });
        }
        Ok(Step::ResponsePart(part.body))
    }

    fn run(&mut self, fact: &'static str, of: u64) -> Result<&mut Run, Violation> {
        match &mut self.state {
            State::Running(run) if run.id == of => Ok(run),
            _ => Err(Violation::UnknownInvocation { fact, id: of }),
        }
    }

    fn on_finished(&mut self, finished: Finished) -> Result<Step, Violation> {
        let Finished { invocation_id: of, outcome, usage, .. } = finished;
        let outcome = outcome.filter(|outcome| outcome.kind.is_some()).ok_or(Violation::NoOutcome)?;
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Running(run) if run.id == of => {
                let answers_twice = matches!(run.response, Streaming::Begun { .. })
                    && matches!(&outcome.kind, Some(outcome::Kind::Success(success)) if success.http_response.is_some());
                if answers_twice {
                    self.state = State::Running(run);
                    return Err(Violation::OutOfPlace { fact: "finished", state: "its response had begun already" });
                }
                if self.ended.len() >= ENDED_REMEMBERED {
                    self.ended.pop_front();
                }
                self.ended.push_back((run.id, run.invocation));
                Ok(Step::Finished { outcome, writes: run.writes, cache: run.cache, usage })
            }
            state => {
                self.state = state;
                Err(Violation::UnknownInvocation { fact: "finished", id: of })
            }
        }
    }

    fn line(&self, log: Log) -> Line {
        let entry = log.entry.unwrap_or_default();
        let invocation = log.invocation_id.and_then(|of| match &self.state {
            State::Running(run) if run.id == of => Some(run.invocation),
            _ => self.ended_invocation(of),
        });
        Line { invocation, level: level_of(&entry), source: source_of(&entry), text: entry.message }
    }

    fn ended_invocation(&self, of: u64) -> Option<Uuid> {
        self.ended.iter().rev().find(|(id, _)| *id == of).map(|(_, invocation)| *invocation)
    }

    fn out_of_place(&self, fact: &'static str) -> Violation {
        let state = match self.state {
            State::Opened => "it had not introduced itself",
            State::Loading => "its plugin was loading",
            State::Idle => "it was idle",
            State::Running(_) => "an invocation ran",
        };
        Violation::OutOfPlace { fact, state }
    }
}

fn level_of(entry: &LogEntry) -> Level {
    match entry.level() {
        LogLevel::Debug => Level::Debug,
        LogLevel::Unspecified | LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}

fn source_of(entry: &LogEntry) -> Source {
    match entry.source() {
        // A worker cannot speak as the runner.
        LogSource::Unspecified | LogSource::Api | LogSource::Runner => Source::Api,
        LogSource::Stdout => Source::Stdout,
        LogSource::Stderr => Source::Stderr,
        LogSource::Logging => Source::Logging,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::types::v1::{HttpResponse, Success, WriteBatch};
    use bulkhead_proto::worker::v1 as wire;
    use bulkhead_proto::worker::v1::cache_change::Operation;
    use bulkhead_proto::worker::v1::{
        CacheLiveOnly, CacheNamespace, CachePut, Logs, TriggerLoaded, VariableMissing, Written,
    };

    fn hello(protocol_version: u32) -> Option<Fact> {
        Some(Fact::Hello(Hello { protocol_version, ..Hello::default() }))
    }

    fn written(invocation_id: u64, bytes: usize) -> Option<Fact> {
        let batch = WriteBatch { database: String::new(), line_protocol: vec![b'x'; bytes].into() };
        Some(Fact::Written(Written { invocation_id, batch: Some(batch) }))
    }

    fn finished(invocation_id: u64) -> Option<Fact> {
        let outcome = Outcome { kind: Some(outcome::Kind::Success(Success::default())), elapsed: None };
        Some(Fact::Finished(Finished { invocation_id, outcome: Some(outcome), usage: None, threads: 0 }))
    }

    fn idle() -> Session {
        let mut session = Session::default();
        session.on_fact(hello(bulkhead_proto::WORKER_PROTOCOL_VERSION)).unwrap();
        assert_eq!(session.on_fact(Some(Fact::TriggerLoaded(TriggerLoaded { failure: None }))), Ok(Step::Loaded));
        session
    }

    #[test]
    fn an_invocation_ends_with_its_writes() {
        let mut session = idle();
        session.begin(7, Uuid::from_u128(1), false);
        assert_eq!(session.on_fact(written(7, 3)), Ok(Step::Buffered));
        let Ok(Step::Finished { writes, .. }) = session.on_fact(finished(7)) else { panic!("it finished") };
        assert_eq!(writes, [(String::new(), Bytes::from_static(b"xxx"))]);
        let late = session.on_fact(written(7, 1)).unwrap();
        assert!(matches!(late, Step::WrittenLate { invocation, .. } if invocation == Some(Uuid::from_u128(1))));
    }

    #[test]
    fn a_thread_may_use_what_an_invocation_of_long_ago_gave_it() {
        let mut session = idle();
        let start = u64::MAX - 10;
        for _ in 0..=ENDED_REMEMBERED {
            let id = session.next_id(|| start);
            session.begin(id, Uuid::from_u128(1), false);
            assert!(matches!(session.on_fact(finished(id)), Ok(Step::Finished { .. })));
        }
        assert!(matches!(session.on_fact(written(start, 1)), Ok(Step::WrittenLate { invocation: None, .. })));
        check(&mut session, written(start - 1, 1), "`written` for invocation fffffffffffffff4, which does not run");
        let next = session.next_id(|| 0);
        check(&mut session, written(next, 1), &format!("`written` for invocation {next:x}, which does not run"));
    }

    fn cached(invocation_id: u64, key: &str, operation: Operation) -> Option<Fact> {
        let namespace = CacheNamespace::Trigger.into();
        let change = wire::CacheChange { namespace, key: key.to_owned(), operation: Some(operation) };
        Some(Fact::Cached(Cached { invocation_id, change: Some(change) }))
    }

    #[test]
    fn cache_entries_travel_with_their_invocation_and_those_that_cannot_hold_the_worker() {
        let put =
            |bytes: usize| Operation::Put(CachePut { version: 1, value: vec![0; bytes].into(), expires_in: None });
        let mut session = idle();
        session.begin(7, Uuid::nil(), false);
        assert_eq!(session.on_fact(cached(7, "a", put(3))), Ok(Step::Buffered));
        let live = Operation::LiveOnly(CacheLiveOnly { reason: "TypeError: no".to_owned() });
        assert_eq!(session.on_fact(cached(7, "b", live)), Ok(Step::Buffered));
        assert!(session.is_held());
        assert_eq!(session.live_only().report().unwrap(), "1 cache entry ended with its worker: 'b' (TypeError: no)");
        let Ok(Step::Finished { cache, .. }) = session.on_fact(finished(7)) else { panic!("it finished") };
        let keys: Vec<_> = cache.iter().map(|change| (change.key.as_str(), change.bytes())).collect();
        assert_eq!(keys, [("a", 4), ("b", 1)]);
        let late = session.on_fact(cached(7, "b", put(1)));
        assert!(matches!(late, Ok(Step::CachedLate { invocation: Some(_), .. })));
        assert!(!session.is_held() && session.live_only().report().is_none());
        let too_large = limits::CACHE_ENTRY_BYTES_MAX as usize + 1;
        check(
            &mut session,
            cached(7, "a", put(too_large)),
            "more than 8388608 bytes against the limit `cache_entry_bytes_max`",
        );
        let empty = Cached { invocation_id: 7, change: Some(wire::CacheChange::default()) };
        check(&mut session, Some(Fact::Cached(empty)), "a cache entry without namespace or operation");
    }

    #[test]
    fn threads_hold_the_worker() {
        let mut session = idle();
        for threads in [1, 0] {
            session.begin(7, Uuid::nil(), false);
            let outcome = Outcome { kind: Some(outcome::Kind::Success(Success::default())), elapsed: None };
            let finished = Finished { invocation_id: 7, outcome: Some(outcome), usage: None, threads };
            session.on_fact(Some(Fact::Finished(finished))).unwrap();
            assert_eq!(session.is_held(), threads > 0);
        }
    }

    fn check(session: &mut Session, fact: Option<Fact>, expected: &str) {
        assert_eq!(session.on_fact(fact).unwrap_err().to_string(), expected);
    }

    #[test]
    fn facts_out_of_place_are_violations() {
        check(&mut Session::default(), None, "an empty message");
        check(&mut Session::default(), hello(99), "protocol version 99 instead of 2");
        check(&mut Session::default(), Some(Fact::Logs(Logs::default())), "`logs` while it had not introduced itself");
        check(&mut idle(), hello(1), "`hello` while it was idle");
        check(&mut idle(), finished(7), "`finished` for invocation 7, which does not run");
        check(&mut idle(), written(7, 1), "`written` for invocation 7, which does not run");
        let mut running = idle();
        running.begin(7, Uuid::nil(), false);
        check(&mut running, finished(8), "`finished` for invocation 8, which does not run");
        check(
            &mut running,
            Some(Fact::Finished(Finished { invocation_id: 7, outcome: None, usage: None, threads: 0 })),
            "a result without an outcome",
        );
        check(
            &mut running,
            Some(Fact::TriggerLoaded(TriggerLoaded::default())),
            "`trigger_loaded` while an invocation ran",
        );
        assert!(matches!(running.on_fact(finished(7)), Ok(Step::Finished { .. })), "a refused fact changes nothing");
    }

    #[test]
    fn variables_that_are_missing_are_bounded() {
        let missing = |name: &str| Some(Fact::VariableMissing(VariableMissing { name: name.to_owned() }));
        check(&mut Session::default(), missing("TOKEN"), "`variable_missing` while it had not introduced itself");
        let mut session = idle();
        check(
            &mut session,
            missing(&"x".repeat(257)),
            "more than 256 bytes against the limit `variable_name_bytes_max`",
        );
        for _ in 1..limits::VARIABLES_MISSING_MAX {
            assert_eq!(session.on_fact(missing("TOKEN")), Ok(Step::VariableMissing("TOKEN".to_owned())));
        }
        check(&mut session, missing("TOKEN"), "more than 32 variables against the limit `variables_missing_max`");
    }

    #[test]
    fn writes_are_bounded() {
        let mut session = idle();
        session.begin(7, Uuid::nil(), false);
        let chunk = 16 << 20;
        for _ in 0..limits::WRITE_BUFFER_BYTES_MAX / chunk {
            session.on_fact(written(7, chunk as usize)).unwrap();
        }
        check(&mut session, written(7, 1), "more than 67108864 bytes against the limit `write_buffer_bytes_max`");
    }

    fn begun(invocation_id: u64) -> Option<Fact> {
        Some(Fact::ResponseBegun(ResponseBegun { invocation_id, status_code: 200, headers: Vec::new() }))
    }

    fn part(invocation_id: u64, bytes: usize) -> Option<Fact> {
        Some(Fact::ResponsePart(ResponsePart { invocation_id, body: vec![b'x'; bytes].into() }))
    }

    fn answering() -> Session {
        let mut session = idle();
        session.begin(7, Uuid::nil(), true);
        session
    }

    #[test]
    fn a_response_in_parts_is_held_to_what_was_read() {
        let mut session = answering();
        assert!(matches!(session.on_fact(begun(7)), Ok(Step::ResponseBegun { status_code: 200, .. })));
        for _ in 0..limits::RESPONSE_PARTS_UNREAD_MAX {
            assert!(matches!(session.on_fact(part(7, 1)), Ok(Step::ResponsePart(_))));
        }
        session.response_read(1);
        assert!(matches!(session.on_fact(part(7, 1)), Ok(Step::ResponsePart(_))));
        check(&mut session, part(7, 1), "more than 16 parts against the limit `response_parts_unread_max`");
        assert!(matches!(session.on_fact(finished(7)), Ok(Step::Finished { .. })));
    }

    #[test]
    fn a_response_in_parts_has_its_place() {
        let mut wal = idle();
        wal.begin(7, Uuid::nil(), false);
        check(&mut wal, begun(7), "`response_begun` while no response was due");
        check(&mut answering(), part(7, 1), "`response_part` while no response had begun");
        check(&mut answering(), begun(8), "`response_begun` for invocation 8, which does not run");
        let mut session = answering();
        session.on_fact(begun(7)).unwrap();
        check(&mut session, begun(7), "`response_begun` while no response was due");
        check(&mut session, part(7, 0), "an empty message");
        let too_large = limits::RESPONSE_PART_BYTES_MAX as usize + 1;
        check(&mut session, part(7, too_large), "more than 65536 bytes against the limit `response_part_bytes_max`");
        let success = Success { http_response: Some(HttpResponse::default()) };
        let outcome = Outcome { kind: Some(outcome::Kind::Success(success)), elapsed: None };
        let twice =
            Some(Fact::Finished(Finished { invocation_id: 7, outcome: Some(outcome), usage: None, threads: 0 }));
        check(&mut session, twice, "`finished` while its response had begun already");
    }
}
