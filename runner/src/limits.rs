//! Every limit of the runner, with its unit last in the name and the reason for the number.

use std::time::Duration;

/// Rows kept by `system.processing_engine_logs`, as many as InfluxDB 3 keeps.
pub const LOG_ROWS_MAX: usize = 10_000;

/// Rows kept by `system.invocations`: at some 300 bytes each, 3 MB.
pub const INVOCATION_ROWS_MAX: usize = 10_000;

/// Longest text of a failure in `system.invocations`, characters; the log table has the whole.
pub const INVOCATION_ERROR_CHARS_MAX: usize = 200;

/// Longest log line, bytes. Long enough for a traceback, short enough that a full ring of
/// [`LOG_ROWS_MAX`] such lines stays at 160 MB.
pub const LOG_LINE_BYTES_MAX: u32 = 16 * 1024;

/// Log lines that one trigger may produce per second once its burst is spent. A plugin that prints in a
/// loop makes hundreds of thousands; nobody reads more than this.
pub const LOG_LINES_PER_SECOND: u32 = 1_000;

/// Log lines that one trigger may produce at once before [`LOG_LINES_PER_SECOND`] counts.
pub const LOG_LINES_BURST: u32 = 5_000;

/// Lines of severity `WARN` and above of one call that are looked at for what its trigger was not granted.
pub const COMPLAINTS_MAX: usize = 8;

/// Bytes of such a line that are looked at.
pub const COMPLAINT_BYTES_MAX: usize = 1024;

/// Variables that a worker may say its plugin has looked for in vain. The worker says each once and stops before.
pub const VARIABLES_MISSING_MAX: u64 = bulkhead_proto::transport::VARIABLES_MISSING_MAX as u64;

/// Longest name of such a variable, bytes.
pub const VARIABLE_NAME_BYTES_MAX: u64 = bulkhead_proto::transport::VARIABLE_NAME_BYTES_MAX as u64;

/// Bytes of a dead worker's standard error that are kept for the report of its death.
pub const STDERR_TAIL_BYTES: usize = 8 * 1024;

/// Line protocol that one invocation may buffer, bytes.
pub const WRITE_BUFFER_BYTES_MAX: u64 = 64 << 20;

/// Largest response body of a request trigger that is returned in one piece, bytes. A body that is yielded has no
/// limit: it is never held as a whole.
pub const RESPONSE_BYTES_MAX: u64 = 32 << 20;

/// Parts of a yielded body that may wait for a slow client, the socket's own buffers aside; then the plugin waits.
/// With [`RESPONSE_PART_BYTES_MAX`] at most 1 MiB for each request.
pub const RESPONSE_PARTS_UNREAD_MAX: u32 = 16;

/// Largest part of a yielded body, bytes; what is yielded at once beyond it comes in several parts.
pub const RESPONSE_PART_BYTES_MAX: u32 = 64 << 10;

/// Largest HTTP request body by default, bytes, as in InfluxDB 3.
pub const HTTP_REQUEST_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Requests that may wait for one request trigger; the next one is answered with 503.
pub const REQUEST_QUEUE_MAX: usize = 256;

/// Requests that may wait for or run in request triggers, all of them together; the next one is answered with 503.
pub const REQUESTS_MAX: usize = 4_096;

/// Time that a request may wait for its turn by default; after it it is answered with 504. Somebody is waiting at the other end.
pub const REQUEST_QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

/// Facts of one worker that may wait for the runner to look at them. Beyond it the worker is held back by
/// HTTP/2 flow control.
pub const SESSION_FACTS_QUEUED_MAX: usize = 64;

/// Orders that may wait for one worker.
pub const SESSION_ORDERS_QUEUED_MAX: usize = 16;

/// Parts of a query's result that may wait for the worker; flow control holds the query up beyond that.
pub const QUERY_ANSWERS_QUEUED_MAX: usize = 1;

/// Questions (queries, synchronous writes) of one worker that may be open at a time. A plugin asks one at a
/// time per thread.
pub const SESSION_STREAMS_MAX: u32 = 64;

/// Largest header list that a worker may send, bytes, and largest frame of headers.
pub const SESSION_HEADER_BYTES_MAX: u32 = 16 * 1024;

/// Largest HTTP/2 frame of a worker that carries neither headers nor data, bytes: settings, or the reason of an end.
pub const SESSION_CONTROL_FRAME_BYTES_MAX: u32 = 1024;

/// Frames of a worker that carry nothing (settings, pings, resets, windows, empty data) in a second. Its own client sends a
/// few at the start, then one for megabytes received or for a question that was dropped.
pub const SESSION_IDLE_FRAMES_MAX: u32 = 5000;

/// Bytes of all questions of one worker that the runner holds at a time: two of the largest ones.
pub const SESSION_QUESTIONS_BYTES_MAX: usize = 2 * bulkhead_proto::transport::MESSAGE_BYTES_MAX;

/// Time from the start of a worker process to its first words, including the imports of its interpreter.
pub const WORKER_START_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a zygote to import what its plugin imports; a plugin that takes longer has its workers started one by one, each
/// importing as its calls do. pandas takes half a second, on a busy machine two.
pub const ZYGOTE_START_TIMEOUT: Duration = Duration::from_secs(10);

/// Time to load a plugin's code, including its own imports for a directory plugin.
pub const PLUGIN_LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest run of one invocation by default. InfluxDB 3 has no limit; five minutes let a model be trained
/// and still end a hang.
pub const INVOCATION_TIMEOUT: Duration = Duration::from_secs(300);

/// Time between the exception that cancels a plugin and the kill of its process.
pub const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// Time for a worker without work to leave by itself.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time after which a worker without work is stopped by default.
pub const WORKER_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Workers that one asynchronous trigger may have by default.
pub const ASYNC_WORKERS_MAX: usize = 8;

/// Attempts in all of an event whose trigger has the error behavior `retry`, by default.
pub const RETRY_ATTEMPTS_MAX: u32 = 5;

/// Faults of a trigger's workers in a row after which its breaker opens: a call then is a probe, one at a time. By then the waits
/// have grown to most of a second, and whatever passes by itself has passed.
pub const BREAKER_FAULTS: u32 = 5;

/// Time for a running invocation to end when its trigger is disabled or deleted, or the runner stops,
/// before it is cancelled.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Dead workers kept by `system.workers`.
pub const ENDED_WORKERS_MAX: usize = 200;

/// Time for which an environment that nobody uses is kept, unless the operator says otherwise: a trigger that runs weekly does
/// not build anew.
pub const ENVIRONMENT_GRACE: Duration = Duration::from_secs(15 * 24 * 3600);

/// Pause between two looks for environments that nobody uses.
pub const ENVIRONMENT_COLLECT_PERIOD: Duration = Duration::from_secs(3600);

/// Time that one build of an environment may take.
pub const ENVIRONMENT_BUILD_TIMEOUT: Duration = Duration::from_secs(600);

/// WAL batches of one database of a delegating host kept in memory for triggers that read a little behind, bytes. A trigger
/// further behind reads from the journal.
pub const SPOOL_RECENT_BYTES: usize = 16 << 20;

/// Batches of a delegating host that a start reads at a time to sum up what is left to do; each may have 64 MiB.
pub const SPOOL_PAGE_BATCHES: usize = 4;

/// Numbers of a delegating host's batches that are remembered, to know those again that it sends a second time because an
/// acknowledgement was lost. It is above what a stream may have open.
pub const SPOOL_REMEMBERED: u64 = 4_096;

/// Batches of one stream that may be on their way to the disk: so many can share a write.
pub const STREAM_ENTERING_MAX: usize = 256;

/// Bytes of rows of one stream that may be on their way to the disk. Beyond it the stream is held back.
pub const STREAM_ENTERING_BYTES_MAX: usize = 64 << 20;

/// WAL batches of the embedded host kept in memory for triggers that read a little behind, bytes. A trigger
/// further behind reads from the WAL on disk.
pub const RECENT_COMMITS_BYTES_MAX: usize = 64 << 20;

/// Bytes of plugin files that a host may send along with one trigger.
pub const PLUGIN_UPLOAD_BYTES_MAX: usize = 8 << 20;

/// Files of one plugin that `system.plugin_files` shows.
pub const PLUGIN_FILES_SHOWN_MAX: usize = 1_000;

/// Rows of one query that are sent to a worker in one message at the most; with wide rows the
/// size of a part is cut further by its bytes.
pub const QUERY_PART_ROWS: usize = 64 * 1024;

/// Bytes of a query result that a plugin may receive. Its rows become Python objects of many times the size.
pub const QUERY_RESULT_BYTES_MAX: usize = 1 << 30;

/// Bytes of new records in memory after which they go to the journal's file: little to write at once, and little to read again
/// after a crash.
pub const LEDGER_RECENT_BYTES: usize = 8 << 20;

/// Time for which the positions of triggers whose calls had no effects are gathered before they are recorded together. A crash
/// repeats no more than these calls.
pub const POSITIONS_GATHERED: Duration = Duration::from_millis(100);

/// Dead letters that are kept for one trigger. A person looks at them one by one.
pub const DEAD_LETTERS_MAX: u64 = 1_000;

/// Bytes of rows in the dead letters that are kept for one trigger.
pub const DEAD_LETTER_BYTES_MAX: u64 = 256 << 20;

/// Calls that are made to find the rows of a batch that fail; what is not cut by then is given up as it is. One bad row among a
/// million takes 40 calls.
pub const ISOLATION_CALLS_MAX: usize = 256;

/// Places of a feed at which its rows and bytes are summed up, 32 bytes each; of a longer feed the older places are thinned out.
pub const FEED_POINTS_MAX: usize = 8_192;

/// Time between two looks at what is kept for triggers that are behind.
pub const RETENTION_LOOK: Duration = Duration::from_millis(500);

/// Commits that are looked at for one call of a trigger that lags. They may all be for others, and the call waits for the look.
pub const COALESCED_COMMITS_MAX: u64 = 1_000;

/// Bytes of batches that are given together to a trigger that lags.
pub const COALESCED_BYTES_MAX: usize = 32 << 20;

/// Events that an asynchronous trigger may be done with beyond one that is not. Each is remembered by number.
pub const EVENTS_AHEAD_MAX: usize = 4_096;

/// Pause before a host or a journal that failed is asked again for what nobody waits for.
pub const HOST_RETRY: Duration = Duration::from_secs(1);

/// Commits that a trigger may skip, because none of its tables was written, before its position is recorded. Positions hold the
/// log, so it cannot be too many; each costs an entry, so not too few.
pub const COMMITS_SKIPPED_MAX: u64 = 1_000;

/// Largest response that a dry run shows, bytes. It is printed for a person.
pub const DRY_RUN_RESPONSE_BYTES_MAX: usize = 8 << 20;

/// Plugins that are looked at at a time before their triggers are created; the next one waits. Each look is a process.
pub const PLUGIN_CHECKS_MAX: usize = 4;

/// Dry runs at a time; the next one is refused. Each is a process.
pub const DRY_RUNS_MAX: usize = 4;

/// Copy of one cache entry, bytes: what fits one message of a session. A larger value lives in its worker only.
pub const CACHE_ENTRY_BYTES_MAX: u64 = bulkhead_proto::transport::PAYLOAD_PART_BYTES as u64;

/// Key of a cache entry, bytes. Keys name sensors and states; longer ones are data.
pub const CACHE_KEY_BYTES_MAX: u32 = 4 * 1024;

/// Cache entries that are kept for one trigger, and for all together.
pub const CACHE_ENTRIES_MAX: usize = 100_000;

/// Cache entries that are kept for one trigger, and for all together, bytes.
pub const CACHE_NAMESPACE_BYTES_MAX: usize = 64 << 20;

/// Cache entries that are kept in all, bytes.
pub const CACHE_BYTES_MAX: usize = 512 << 20;

/// Time for which changes of the cache that belong to no commit are gathered before they are recorded. A crash of the runner loses
/// no more than these.
pub const CACHE_GATHERED: Duration = Duration::from_millis(100);

/// Such changes that are recorded in one step, bytes. It bounds what one entry of the log holds.
pub const CACHE_SAVED_BYTES: usize = 16 << 20;

/// How often cache entries that have expired are looked for while others are put, as in InfluxDB 3.
pub const CACHE_SWEPT_EVERY: chrono::TimeDelta = chrono::TimeDelta::seconds(10);

/// Cache entries of all dry runs, bytes.
pub const TEST_CACHE_BYTES_MAX: usize = 64 << 20;

/// Cache entries of one name for dry runs.
pub const TEST_CACHE_ENTRIES_MAX: usize = 10_000;

/// Time for which dry runs keep a cache entry that says nothing of its end, as in InfluxDB 3.
pub const TEST_CACHE_KEPT: Duration = Duration::from_secs(30 * 60);

/// Longest name of a cache of dry runs, bytes.
pub const TEST_CACHE_NAME_BYTES_MAX: usize = 255;

/// Changes of cache entries that one invocation may make, bytes.
pub const CACHE_CHANGES_BYTES_MAX: u64 = 128 << 20;

/// Cache entries that live in one worker only whose names are remembered, for the report of their loss.
pub const CACHE_LIVE_ONLY_NAMED_MAX: usize = 1_000;

/// Triggers that one runner registers.
pub const TRIGGERS_MAX: usize = 10_000;

/// Requirements in the settings of a trigger. A whole environment that is pinned has some hundred.
pub const TRIGGER_REQUIREMENTS_MAX: usize = 1_000;

/// Longest name of a trigger, bytes.
pub const TRIGGER_NAME_BYTES_MAX: usize = 255;

/// Longest name of a host that a trigger may be granted, bytes; the limit of DNS.
pub const HOST_NAME_BYTES_MAX: usize = 253;

/// Ports of hosts that a trigger may be granted one by one. Each is a listener, and they are handed over in one message.
pub const NETWORK_ENDPOINTS_MAX: usize = 64;

/// Connections that one worker may have open through the runner at a time.
pub const FORWARDED_CONNECTIONS_MAX: usize = 64;

/// Largest head of a request to a worker's proxy, bytes.
pub const PROXY_HEAD_BYTES_MAX: usize = 32 << 10;

/// Time for the runner to connect to a host on behalf of a worker.
pub const FORWARD_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Memory of one worker and all that it starts, unless its trigger or the operator says otherwise, bytes. Python with pandas
/// and Arrow takes 100 MB before it has any data.
pub const WORKER_MEMORY_BYTES: u64 = 512 << 20;

/// Private memory beyond its limit that a worker's process may reserve between two looks of the watchdog, bytes: thread
/// stacks, arenas of allocators.
pub const WORKER_MEMORY_RESERVE_BYTES: u64 = 32 << 20;

/// Least distance between a worker's memory limit and the sum at which it is killed, bytes. It is an eighth of the limit when
/// that is more. It is no less than what private memory may exceed the limit by, so that this meets the kernel's limit first.
pub const WORKER_MEMORY_TOLERANCE_BYTES: u64 = WORKER_MEMORY_UNTOUCHED_BYTES;

/// Private memory that a process reserves and does not touch, bytes, as far as it is not known for the very process: with numpy,
/// pandas and Arrow loaded and a few threads it was some 50 MB.
pub const WORKER_MEMORY_UNTOUCHED_BYTES: u64 = 64 << 20;

/// Least memory that a worker may be limited to, bytes: the interpreter, its session and a small plugin.
pub const WORKER_MEMORY_BYTES_MIN: u64 = 32 << 20;

/// Most private memory that libraries may reserve and never touch, bytes; it is added to the memory that a trigger is granted.
pub const WORKER_MEMORY_SLACK_BYTES: u64 = 256 << 20;

/// Least processor time of a worker, thousandths of a processor. With less the kernel's period of 100 ms has less than a
/// millisecond for it.
pub const WORKER_CPU_THOUSANDTHS_MIN: u64 = 10;

/// Most processors that a limit may name; more than any machine has.
pub const WORKER_CPU_MAX: f64 = 65_536.0;

/// Memory of the build of a package and all that it starts, bytes. Compilers of C++ take a gigabyte for a file.
pub const BUILD_MEMORY_BYTES: u64 = 4 << 30;

/// Processes and threads of a build: compilers run side by side.
pub const BUILD_PROCESSES: u64 = 256;

/// Open files of a process of a build. Linkers open all objects at once.
pub const BUILD_FILES: u64 = 1024;

/// Largest file that a build may write, bytes.
pub const BUILD_FILE_BYTES: u64 = 1 << 30;

/// Size of a build's `/tmp`, bytes. It counts as memory.
pub const BUILD_TMP_BYTES: u64 = 1 << 30;

/// Least number of processes and threads: process 1, the worker and its session's thread.
pub const WORKER_PROCESSES_MIN: u64 = 4;

/// Processes and threads of one worker, unless its trigger says otherwise.
pub const WORKER_PROCESSES: u64 = 64;

/// Least number of open files.
pub const WORKER_FILES_MIN: u64 = 32;

/// Niceness of workers, unless the operator says otherwise. When the processors are busy a worker gets a third of what the
/// server gets, so that plugins that compute take little from writes and queries; on an idle machine it makes no difference.
pub const WORKER_NICE: i32 = 5;

/// Size of a worker's `/tmp`, unless its trigger says otherwise, bytes.
pub const WORKER_TMP_BYTES: u64 = 64 << 20;

/// Size of a worker's `/dev/shm`, bytes.
pub const WORKER_SHM_BYTES: u64 = 64 << 20;
