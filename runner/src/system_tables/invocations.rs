//! `system.invocations`: what each call of a plugin took, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::Schema;
use bulkhead_proto::worker::v1::Usage;

use super::{number, strings, timestamp, utf8, utf8_nullable};
use crate::clock::nanos;
use crate::invocations::InvocationRow;

pub(super) fn schema() -> Schema {
    Schema::new(vec![
        timestamp("event_time", false),
        utf8("trigger_name"),
        utf8("invocation_id"),
        utf8_nullable("worker_id"),
        utf8("kind"),
        utf8("outcome"),
        utf8_nullable("error"),
        number("rows", false),
        number("bytes", false),
        number("queue_us", false),
        number("start_us", false),
        number("elapsed_us", false),
        number("deserialise_us", true),
        number("plugin_us", true),
        number("callbacks_us", true),
        number("commit_us", false),
        number("cpu_us", true),
        number("max_rss_bytes", true),
        utf8("database"),
    ])
}

pub(super) fn columns(rows: &[InvocationRow]) -> Vec<ArrayRef> {
    let numbers = |of: fn(&InvocationRow) -> u64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<UInt64Array>())
    };
    let counted = |of: fn(&Usage) -> u64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.usage.as_ref().map(of)).collect::<UInt64Array>())
    };
    vec![
        Arc::new(rows.iter().map(|row| Some(nanos(row.time))).collect::<TimestampNanosecondArray>()),
        strings(rows.iter().map(|row| Some(row.trigger.name.clone()))),
        strings(rows.iter().map(|row| Some(row.invocation.to_string()))),
        strings(rows.iter().map(|row| row.worker.map(|id| id.to_string()))),
        strings(rows.iter().map(|row| Some(row.kind.word().to_owned()))),
        strings(rows.iter().map(|row| Some(row.outcome()))),
        strings(rows.iter().map(|row| row.failure.as_ref().map(|(_, text)| text.clone()))),
        numbers(|row| row.rows),
        numbers(|row| row.bytes),
        numbers(|row| micros(row.queue)),
        numbers(|row| micros(row.start)),
        numbers(|row| micros(row.elapsed)),
        counted(|usage| usage.deserialise_us),
        counted(|usage| usage.plugin_us),
        counted(|usage| usage.callbacks_us),
        numbers(|row| micros(row.commit)),
        counted(|usage| usage.cpu_us),
        counted(|usage| usage.max_rss_bytes),
        strings(rows.iter().map(|row| Some(row.trigger.database.clone()))),
    ]
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
