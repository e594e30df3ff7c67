//! The tables of schema `system`: InfluxDB 3's columns first, ours after them.

mod invocations;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::clock::nanos;
use crate::dispatch::{Engine, TriggerInfo};
use crate::host::DataApi;
use crate::invocations::Invocations;
use crate::journal::Letter;
use crate::logs::LogStore;
use crate::plugin_files::files_of;
use crate::supervisor::{self, WorkerRegistry, WorkerRow, WorkerState};

/// Database in which the rows of all databases are seen.
const INTERNAL_DATABASE: &str = "_internal";

/// Builds the tables when they are asked for.
pub struct SystemTables {
    /// Set once the engine runs; the host, which shows the tables, is older than the engine.
    engine: OnceLock<Weak<Engine>>,
    /// The data, when the runner holds it itself.
    data: OnceLock<Weak<dyn DataApi>>,
    logs: Arc<LogStore>,
    workers: Arc<WorkerRegistry>,
    invocations: Arc<Invocations>,
}

impl std::fmt::Debug for SystemTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemTables").field("logs", &self.logs).finish_non_exhaustive()
    }
}

const TABLES: [&str; 8] = [
    "databases",
    "dead_letters",
    "invocations",
    "plugin_files",
    "processing_engine_logs",
    "processing_engine_trigger_arguments",
    "processing_engine_triggers",
    "workers",
];

fn schema(table: &str) -> Option<SchemaRef> {
    let schema = match table {
        "databases" => databases_schema(),
        "invocations" => invocations::schema(),
        "plugin_files" => plugin_files_schema(),
        "dead_letters" => dead_letters_schema(),
        "processing_engine_logs" => logs_schema(),
        "processing_engine_trigger_arguments" => arguments_schema(),
        "processing_engine_triggers" => triggers_schema(),
        "workers" => workers_schema(),
        _ => return None,
    };
    Some(Arc::new(schema))
}

impl SystemTables {
    /// Tables over these.
    #[must_use]
    pub fn new(logs: Arc<LogStore>, workers: Arc<WorkerRegistry>, invocations: Arc<Invocations>) -> Self {
        Self { engine: OnceLock::new(), data: OnceLock::new(), logs, workers, invocations }
    }

    /// Makes the triggers of `engine` and the databases of `data` visible.
    pub fn attach(&self, engine: &Arc<Engine>, data: Option<&Arc<dyn DataApi>>) {
        // A second engine cannot be attached: there is one in a process.
        let _ = self.engine.set(Arc::downgrade(engine));
        if let Some(data) = data {
            let _ = self.data.set(Arc::downgrade(data));
        }
    }

    /// Names and columns.
    #[must_use]
    pub fn tables(&self) -> Vec<(String, SchemaRef)> {
        TABLES.iter().filter_map(|name| Some(((*name).to_owned(), schema(name)?))).collect()
    }

    /// The present rows of one table as seen from `database`.
    #[must_use]
    pub fn scan(&self, database: &str, table: &str) -> Option<RecordBatch> {
        let database = (database != INTERNAL_DATABASE).then_some(database);
        let schema = schema(table)?;
        let columns = match table {
            "databases" => self.databases(),
            "invocations" => invocations::columns(&self.invocations.rows(database)),
            "plugin_files" => self.plugin_files(database),
            "dead_letters" => self.dead_letters(database),
            "processing_engine_logs" => self.logs(database),
            "processing_engine_trigger_arguments" => self.arguments(database),
            "processing_engine_triggers" => self.triggers(database),
            _ => self.workers(database),
        };
        RecordBatch::try_new(schema, columns).inspect_err(|error| tracing::error!("system.{table}: {error}")).ok()
    }

    fn listed(&self, database: Option<&str>) -> Vec<TriggerInfo> {
        let engine = self.engine.get().and_then(Weak::upgrade);
        let mut triggers = engine.map(|engine| engine.list()).unwrap_or_default();
        triggers.retain(|trigger| database.is_none_or(|name| trigger.definition.id.database == name));
        triggers
    }

    /// The databases that hold data here, and those of which only triggers are known.
    fn databases(&self) -> Vec<ArrayRef> {
        let mut triggers: BTreeMap<String, u64> = BTreeMap::new();
        for name in self.data.get().and_then(Weak::upgrade).map(|data| data.list_databases()).unwrap_or_default() {
            triggers.entry(name).or_default();
        }
        for trigger in self.listed(None) {
            *triggers.entry(trigger.definition.id.database).or_default() += 1;
        }
        vec![
            strings(triggers.keys().map(|name| Some(name.clone()))),
            Arc::new(triggers.values().map(|count| Some(*count)).collect::<UInt64Array>()),
        ]
    }

    fn plugin_files(&self, database: Option<&str>) -> Vec<ArrayRef> {
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return empty(&plugin_files_schema()) };
        let mut rows = Vec::new();
        for trigger in self.listed(database) {
            let id = trigger.definition.id;
            let files = engine.files().resolve(&trigger.definition.plugin).map(|plugin| files_of(&plugin));
            // A plugin that is not there has no files; the trigger's state says so.
            rows.extend(files.unwrap_or_default().into_iter().map(|file| (id.clone(), file)));
        }
        vec![
            strings(rows.iter().map(|(id, _)| Some(id.name.clone()))),
            strings(rows.iter().map(|(_, file)| Some(file.name.clone()))),
            strings(rows.iter().map(|(_, file)| Some(file.path.display().to_string()))),
            Arc::new(rows.iter().map(|(_, file)| Some(file.bytes)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|(_, file)| Some(file.modified_ms)).collect::<Int64Array>()),
            strings(rows.iter().map(|(id, _)| Some(id.database.clone()))),
        ]
    }

    fn triggers(&self, database: Option<&str>) -> Vec<ArrayRef> {
        let triggers = self.listed(database);
        let of = |text: fn(&TriggerInfo) -> Option<String>| strings(triggers.iter().map(text));
        vec![
            of(|trigger| Some(trigger.definition.id.name.clone())),
            of(|trigger| Some(trigger.definition.plugin.filename().into_owned())),
            of(|trigger| Some(trigger.definition.spec.system_table_json())),
            Arc::new(triggers.iter().map(|trigger| Some(trigger.definition.disabled)).collect::<BooleanArray>()),
            of(|trigger| Some(trigger.definition.error_behavior.word().to_owned())),
            Arc::new(triggers.iter().map(|trigger| Some(trigger.definition.run_async)).collect::<BooleanArray>()),
            of(|trigger| Some(trigger.state.word().to_owned())),
            of(|trigger| trigger.reason.clone()),
            of(|trigger| Some(trigger.definition.id.database.clone())),
        ]
    }

    fn dead_letters(&self, database: Option<&str>) -> Vec<ArrayRef> {
        let engine = self.engine.get().and_then(Weak::upgrade);
        let letters = engine.map(|engine| engine.letters().list()).transpose();
        let mut letters = letters
            .inspect_err(|error| tracing::error!("system.dead_letters: {error}"))
            .ok()
            .flatten()
            .unwrap_or_default();
        letters.retain(|letter| database.is_none_or(|name| letter.trigger.database == name));
        let text = |of: fn(&Letter) -> String| strings(letters.iter().map(|letter| Some(of(letter))));
        let numbers = |of: fn(&Letter) -> u64| -> ArrayRef {
            Arc::new(letters.iter().map(|letter| Some(of(letter))).collect::<UInt64Array>())
        };
        let times = |of: fn(&Letter) -> i64| -> ArrayRef {
            Arc::new(letters.iter().map(|letter| Some(of(letter))).collect::<TimestampNanosecondArray>())
        };
        vec![
            text(|letter| letter.id.clone()),
            text(|letter| letter.trigger.name.clone()),
            numbers(|letter| letter.sequence),
            times(|letter| letter.recorded_at_ns),
            times(|letter| letter.dead_at_ns),
            text(|letter| letter.cause.clone()),
            text(|letter| letter.message.clone()),
            numbers(|letter| u64::from(letter.attempts)),
            text(|letter| letter.tables.iter().map(|(table, _)| table.as_str()).collect::<Vec<_>>().join(",")),
            numbers(Letter::rows),
            numbers(|letter| letter.bytes),
            Arc::new(letters.iter().map(|letter| Some(letter.isolated)).collect::<BooleanArray>()),
            text(|letter| letter.trigger.database.clone()),
        ]
    }

    fn arguments(&self, database: Option<&str>) -> Vec<ArrayRef> {
        let triggers = self.listed(database);
        let rows = triggers.iter().flat_map(|trigger| {
            let name = &trigger.definition.id.name;
            trigger
                .definition
                .arguments
                .iter()
                .flatten()
                .map(move |(key, value)| (name.clone(), key.clone(), value.clone()))
        });
        let rows: Vec<_> = rows.collect();
        vec![
            strings(rows.iter().map(|row| Some(row.0.clone()))),
            strings(rows.iter().map(|row| Some(row.1.clone()))),
            strings(rows.iter().map(|row| Some(row.2.clone()))),
        ]
    }

    fn logs(&self, database: Option<&str>) -> Vec<ArrayRef> {
        let rows = self.logs.rows(database);
        vec![
            Arc::new(rows.iter().map(|row| Some(nanos(row.time))).collect::<TimestampNanosecondArray>()),
            strings(rows.iter().map(|row| Some(row.trigger.name.clone()))),
            strings(rows.iter().map(|row| Some(row.level.word().to_owned()))),
            strings(rows.iter().map(|row| Some(row.text.clone()))),
            strings(rows.iter().map(|row| Some(row.source.word().to_owned()))),
            strings(rows.iter().map(|row| row.invocation.map(|id| id.to_string()))),
            strings(rows.iter().map(|row| row.worker.map(|id| id.to_string()))),
            strings(rows.iter().map(|row| Some(row.trigger.database.clone()))),
        ]
    }

    fn workers(&self, database: Option<&str>) -> Vec<ArrayRef> {
        let mut rows = self.workers.rows();
        rows.retain(|row| database.is_none_or(|name| row.trigger.database == name));
        vec![
            strings(rows.iter().map(|row| Some(row.id.to_string()))),
            strings(rows.iter().map(|row| Some(row.trigger.name.clone()))),
            Arc::new(rows.iter().map(|row| row.pid.and_then(|pid| u64::try_from(pid).ok())).collect::<UInt64Array>()),
            strings(rows.iter().map(|row| Some(row.state.word().to_owned()))),
            strings(rows.iter().map(|row| row.end.clone())),
            strings(rows.iter().map(|row| Some(row.environment.clone()))),
            strings(rows.iter().map(|row| Some(row.python.clone()))),
            strings(rows.iter().map(|row| Some(row.enforced.join(",")))),
            strings(rows.iter().map(|row| Some(row.missing.join("; ")))),
            strings(rows.iter().map(kernel_view)),
            Arc::new(rows.iter().map(|row| Some(row.invocations)).collect::<UInt64Array>()),
            Arc::new(rows.iter().map(|row| Some(nanos(row.started_at))).collect::<TimestampNanosecondArray>()),
            Arc::new(rows.iter().map(|row| row.ended_at.map(nanos)).collect::<TimestampNanosecondArray>()),
            Arc::new(rows.iter().map(|row| row.cpu_us).collect::<UInt64Array>()),
            Arc::new(rows.iter().map(|row| row.max_rss_bytes).collect::<UInt64Array>()),
            strings(rows.iter().map(|row| Some(row.trigger.database.clone()))),
        ]
    }
}

fn empty(schema: &Schema) -> Vec<ArrayRef> {
    schema.fields().iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect()
}

fn databases_schema() -> Schema {
    Schema::new(vec![utf8("database_name"), number("triggers", false)])
}

fn plugin_files_schema() -> Schema {
    Schema::new(vec![
        utf8("plugin_name"),
        utf8("file_name"),
        utf8("file_path"),
        Field::new("size_bytes", DataType::Int64, false),
        Field::new("last_modified", DataType::Int64, false),
        utf8("database"),
    ])
}

/// What the kernel says of a live worker, asked at this moment.
fn kernel_view(row: &WorkerRow) -> Option<String> {
    if row.state == WorkerState::Ended {
        return None;
    }
    supervisor::kernel_view(row.pid?)
}

fn strings(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn utf8(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn utf8_nullable(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn timestamp(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), nullable)
}

fn number(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::UInt64, nullable)
}

fn triggers_schema() -> Schema {
    Schema::new(vec![
        utf8("trigger_name"),
        utf8("plugin_filename"),
        utf8("trigger_specification"),
        Field::new("disabled", DataType::Boolean, false),
        utf8("error_behavior"),
        Field::new("run_async", DataType::Boolean, false),
        utf8("state"),
        utf8_nullable("state_reason"),
        utf8("database"),
    ])
}

fn dead_letters_schema() -> Schema {
    Schema::new(vec![
        utf8("id"),
        utf8("trigger_name"),
        number("wal_sequence", false),
        timestamp("recorded_at", false),
        timestamp("dead_at", false),
        utf8("cause"),
        utf8("message"),
        number("attempts", false),
        utf8("tables"),
        number("rows", false),
        number("bytes", false),
        Field::new("isolated", DataType::Boolean, false),
        utf8("database"),
    ])
}

fn arguments_schema() -> Schema {
    Schema::new(vec![utf8("trigger_name"), utf8("argument_key"), utf8("argument_value")])
}

fn logs_schema() -> Schema {
    Schema::new(vec![
        timestamp("event_time", false),
        utf8("trigger_name"),
        utf8("log_level"),
        utf8("log_text"),
        utf8("source"),
        utf8_nullable("invocation_id"),
        utf8_nullable("worker_id"),
        utf8("database"),
    ])
}

fn workers_schema() -> Schema {
    Schema::new(vec![
        utf8("worker_id"),
        utf8("trigger_name"),
        number("pid", true),
        utf8("state"),
        utf8_nullable("end_cause"),
        utf8("environment"),
        utf8("python"),
        utf8("enforced"),
        utf8("missing"),
        utf8_nullable("kernel_view"),
        number("invocations", false),
        timestamp("started_at", false),
        timestamp("ended_at", true),
        number("cpu_us", true),
        number("max_rss_bytes", true),
        utf8("database"),
    ])
}
