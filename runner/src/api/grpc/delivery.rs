//! Between the wire's settings of how events are delivered and ours.

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::runner::v1::trigger_spec::Kind;
use tonic::Status;

use super::convert::duration;
use crate::trigger::{Delivery, MissedTicks, Span};

/// What a host has set. Rules that do not come from the wire's types are checked with the definition.
pub(super) fn read(policy: &wire::ErrorPolicy, spec: Option<&wire::TriggerSpec>) -> Result<Delivery, Status> {
    let mut delivery = Delivery {
        backoff_initial: span(policy.backoff_initial.as_ref(), "backoff_initial")?,
        backoff_factor: policy.backoff_factor,
        backoff_cap: span(policy.backoff_cap.as_ref(), "backoff_cap")?,
        backoff_jitter: policy.backoff_jitter,
        no_retry_on: policy.no_retry_on.clone(),
        isolate_poison: policy.isolate_poison,
        ..Delivery::default()
    };
    match spec.and_then(|spec| spec.kind.as_ref()) {
        Some(Kind::Wal(wal)) => delivery.coalesce_rows = wal.coalesce_rows.map(|rows| rows as usize),
        Some(Kind::Cron(cron)) => {
            delivery.time_zone = (!cron.time_zone.is_empty()).then(|| cron.time_zone.clone());
            read_ticks(&mut delivery, cron.ticks.as_ref())?;
        }
        Some(Kind::Every(every)) => read_ticks(&mut delivery, every.ticks.as_ref())?,
        Some(Kind::Request(_)) | None => {}
    }
    Ok(delivery)
}

fn read_ticks(delivery: &mut Delivery, ticks: Option<&wire::TickPolicy>) -> Result<(), Status> {
    let Some(ticks) = ticks else { return Ok(()) };
    delivery.missed_ticks = match ticks.missed() {
        wire::MissedTicks::Unspecified => None,
        wire::MissedTicks::Skip => Some(MissedTicks::Skip),
        wire::MissedTicks::Coalesce => Some(MissedTicks::Coalesce),
        // The text form has the rule for the number.
        wire::MissedTicks::CatchUp => {
            Some(format!("catch-up {}", ticks.catch_up_max).parse().map_err(Status::invalid_argument)?)
        }
    };
    delivery.tick_jitter = span(ticks.jitter.as_ref(), "jitter")?;
    Ok(())
}

/// What was set of attempts, but for the action and their number.
pub(super) fn error_policy(delivery: &Delivery) -> wire::ErrorPolicy {
    wire::ErrorPolicy {
        backoff_initial: wire_span(delivery.backoff_initial),
        backoff_factor: delivery.backoff_factor,
        backoff_cap: wire_span(delivery.backoff_cap),
        backoff_jitter: delivery.backoff_jitter,
        no_retry_on: delivery.no_retry_on.clone(),
        isolate_poison: delivery.isolate_poison,
        ..wire::ErrorPolicy::default()
    }
}

/// What was set of ticks.
pub(super) fn ticks(delivery: &Delivery) -> Option<wire::TickPolicy> {
    let (missed, catch_up_max) = match delivery.missed_ticks {
        None => (wire::MissedTicks::Unspecified, 0),
        Some(MissedTicks::Skip) => (wire::MissedTicks::Skip, 0),
        Some(MissedTicks::Coalesce) => (wire::MissedTicks::Coalesce, 0),
        Some(MissedTicks::CatchUp(number)) => (wire::MissedTicks::CatchUp, number),
    };
    let policy = wire::TickPolicy { missed: missed.into(), catch_up_max, jitter: wire_span(delivery.tick_jitter) };
    (policy != wire::TickPolicy::default()).then_some(policy)
}

fn span(value: Option<&prost_types::Duration>, what: &str) -> Result<Option<Span>, Status> {
    value.map(|value| duration(value, what).map(Span)).transpose()
}

fn wire_span(span: Option<Span>) -> Option<prost_types::Duration> {
    span.and_then(|span| prost_types::Duration::try_from(span.0).ok())
}
