//! Between the wire's triggers and ours.

use std::time::Duration;

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::runner::v1::trigger_spec::Kind;
use tonic::Status;

use super::delivery;
use crate::catalog::CatalogError;
use crate::dispatch::{EngineError, TriggerInfo, TriggerState};
use crate::environment::without_credentials;
use crate::plugin_files::PluginFileError;
use crate::trigger::{
    ErrorBehavior, NetPermission, Permissions, PluginLocation, TriggerDefinition, TriggerId, TriggerSpec,
};

/// `databases/{database}/triggers/{trigger}` taken apart.
pub(super) fn trigger_id(name: &str) -> Result<TriggerId, Status> {
    let bad = || {
        Status::invalid_argument(format!(
            "trigger name `{name}` is not of the form `databases/DATABASE/triggers/TRIGGER`"
        ))
    };
    let (database, trigger) =
        name.strip_prefix("databases/").and_then(|rest| rest.split_once("/triggers/")).ok_or_else(bad)?;
    if database.is_empty() || trigger.is_empty() {
        return Err(bad());
    }
    Ok(TriggerId::new(database, trigger))
}

/// The definition that a host sent. `plugin` is where its code was put.
pub(super) fn definition(trigger: &wire::Trigger, plugin: PluginLocation) -> Result<TriggerDefinition, Status> {
    let policy = trigger.error_policy.clone().unwrap_or_default();
    let error_behavior = match policy.action() {
        wire::ErrorAction::Unspecified | wire::ErrorAction::Log => ErrorBehavior::Log,
        wire::ErrorAction::Retry => ErrorBehavior::Retry,
        wire::ErrorAction::Disable => ErrorBehavior::Disable,
    };
    let timeout = trigger.timeout.map(|timeout| duration(&timeout, "timeout")).transpose()?;
    if timeout.is_some_and(|timeout| timeout < Duration::from_millis(1)) {
        return Err(Status::invalid_argument("the timeout must be at least 1ms"));
    }
    Ok(TriggerDefinition {
        id: trigger_id(&trigger.name)?,
        plugin,
        spec: spec(trigger.spec.as_ref())?,
        arguments: (!trigger.arguments.is_empty()).then(|| trigger.arguments.clone()),
        run_async: trigger.allow_concurrent,
        error_behavior,
        attempts_max: (policy.attempts_max > 0).then_some(policy.attempts_max),
        delivery: delivery::read(&policy, trigger.spec.as_ref())?,
        timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        requirements: trigger.requirements.clone(),
        permissions: permissions(trigger.permissions.as_ref()),
        disabled: trigger.disabled,
        disabled_reason: None,
        shares_path: false,
    })
}

fn permissions(wire: Option<&wire::Permissions>) -> Permissions {
    let Some(wire) = wire else { return Permissions::default() };
    let net = wire.net.as_ref();
    Permissions {
        allow_all: wire.all,
        allow_net: match net {
            Some(net) if net.all => NetPermission::Flag(true),
            Some(net) if !net.hosts.is_empty() => NetPermission::Hosts(net.hosts.clone()),
            _ => NetPermission::None,
        },
        allow_read: wire.read_paths.clone(),
        allow_write: wire.write_paths.clone(),
        allow_env: wire.environment_variables.clone(),
        allow_run: wire.subprocesses,
        memory: wire.memory_bytes,
        cpu: wire.cpu_thousandths,
        max_procs: wire.processes_max,
        max_files: wire.files_max,
        tmp_size: wire.tmp_bytes,
    }
}

fn wire_permissions(permissions: &Permissions) -> wire::Permissions {
    let hosts = match &permissions.allow_net {
        NetPermission::Hosts(hosts) => hosts.clone(),
        NetPermission::None | NetPermission::Flag(_) => Vec::new(),
    };
    let all = permissions.allow_net.is_all();
    wire::Permissions {
        all: permissions.allow_all,
        net: (all || !hosts.is_empty()).then_some(wire::NetPermission { all, hosts }),
        read_paths: permissions.allow_read.clone(),
        write_paths: permissions.allow_write.clone(),
        environment_variables: permissions.allow_env.clone(),
        subprocesses: permissions.allow_run,
        memory_bytes: permissions.memory,
        cpu_thousandths: permissions.cpu,
        processes_max: permissions.max_procs,
        files_max: permissions.max_files,
        tmp_bytes: permissions.tmp_size,
    }
}

/// All forms go through the text form, so that the same rules hold for every client.
fn spec(spec: Option<&wire::TriggerSpec>) -> Result<TriggerSpec, Status> {
    let kind =
        spec.and_then(|spec| spec.kind.as_ref()).ok_or_else(|| Status::invalid_argument("trigger has no spec"))?;
    let text = match kind {
        Kind::Wal(wire::WalTrigger { table: None, .. }) => "all_tables".to_owned(),
        Kind::Wal(wire::WalTrigger { table: Some(table), .. }) => format!("table:{table}"),
        Kind::Cron(cron) => format!("cron:{}", cron.expression),
        Kind::Request(request) => format!("request:{}", request.path),
        Kind::Every(every) => {
            let period = duration(&every.period.unwrap_or_default(), "period")?;
            format!("every:{}ns", period.as_nanos())
        }
    };
    text.parse().map_err(|error: crate::trigger::SpecError| Status::invalid_argument(error.to_string()))
}

pub(super) fn duration(value: &prost_types::Duration, what: &str) -> Result<Duration, Status> {
    Duration::try_from(*value).map_err(|_| Status::invalid_argument(format!("{what} is negative")))
}

pub(super) fn trigger(info: &TriggerInfo) -> wire::Trigger {
    let definition = &info.definition;
    let coalesce_rows = definition.delivery.coalesce_rows.and_then(|rows| u32::try_from(rows).ok());
    let kind = match &definition.spec {
        TriggerSpec::Table(table) => Kind::Wal(wire::WalTrigger { table: Some(table.clone()), coalesce_rows }),
        TriggerSpec::AllTables => Kind::Wal(wire::WalTrigger { table: None, coalesce_rows }),
        TriggerSpec::Cron(expression) => Kind::Cron(wire::CronTrigger {
            expression: expression.clone(),
            time_zone: definition.delivery.time_zone.clone().unwrap_or_default(),
            ticks: delivery::ticks(&definition.delivery),
        }),
        TriggerSpec::Every(period) => Kind::Every(wire::EveryTrigger {
            period: prost_types::Duration::try_from(*period).ok(),
            ticks: delivery::ticks(&definition.delivery),
        }),
        TriggerSpec::Request(path) => Kind::Request(wire::RequestTrigger { path: path.clone() }),
    };
    let action = match definition.error_behavior {
        ErrorBehavior::Log => wire::ErrorAction::Log,
        ErrorBehavior::Retry => wire::ErrorAction::Retry,
        ErrorBehavior::Disable => wire::ErrorAction::Disable,
    };
    let state = match info.state {
        TriggerState::Active => wire::TriggerState::Active,
        TriggerState::Building => wire::TriggerState::Building,
        TriggerState::Backoff | TriggerState::Open | TriggerState::HalfOpen => wire::TriggerState::Backoff,
        TriggerState::Failed => wire::TriggerState::Failed,
        TriggerState::Disabled => wire::TriggerState::Disabled,
    };
    wire::Trigger {
        name: definition.id.resource_name(),
        source: Some(wire::PluginSource {
            files: Default::default(),
            entry_path: definition.plugin.filename().into_owned(),
        }),
        spec: Some(wire::TriggerSpec { kind: Some(kind) }),
        arguments: definition.arguments.clone().unwrap_or_default(),
        error_policy: Some(wire::ErrorPolicy {
            action: action.into(),
            attempts_max: definition.attempts_max.unwrap_or_default(),
            ..delivery::error_policy(&definition.delivery)
        }),
        allow_concurrent: definition.run_async,
        state: state.into(),
        state_message: info.reason.clone().unwrap_or_default(),
        disabled: definition.disabled,
        requirements: definition.requirements.iter().map(|line| without_credentials(line)).collect(),
        permissions: (definition.permissions != Permissions::default())
            .then(|| wire_permissions(&definition.permissions)),
        timeout: definition
            .timeout_ms
            .and_then(|millis| prost_types::Duration::try_from(Duration::from_millis(millis)).ok()),
    }
}

pub(super) fn status(error: &EngineError) -> Status {
    let text = error.to_string();
    match error {
        EngineError::AlreadyExists | EngineError::PathTaken { .. } => Status::already_exists(text),
        EngineError::NotFound(_) | EngineError::DatabaseNotFound(_) | EngineError::LetterNotFound(_) => {
            Status::not_found(text)
        }
        EngineError::NotRunning(_) => Status::failed_precondition(text),
        EngineError::Settings(_) | EngineError::CacheName | EngineError::Requirements(_) => {
            Status::invalid_argument(text)
        }
        EngineError::Environment(_) => Status::failed_precondition(text),
        EngineError::Plugin(PluginFileError::NotFound(_)) => Status::not_found(text),
        EngineError::Plugin(PluginFileError::Unreadable { .. }) => Status::internal(text),
        EngineError::Plugin(_) | EngineError::Unusable(_) | EngineError::Name(_) | EngineError::Permission(_) => {
            Status::invalid_argument(text)
        }
        EngineError::Ceiling(_) => Status::permission_denied(text),
        EngineError::NoPluginOf(_) => Status::not_found(text),
        EngineError::Running(_)
        | EngineError::Restricted(_)
        | EngineError::Ambiguous(_)
        | EngineError::NotUpdatable(_)
        | EngineError::NoDirectory(_) => Status::failed_precondition(text),
        EngineError::TooMany | EngineError::TooManyDryRuns => Status::resource_exhausted(text),
        EngineError::Catalog(CatalogError::Conflict) => Status::aborted(text),
        EngineError::Catalog(_)
        | EngineError::Journal(_)
        | EngineError::Store(_)
        | EngineError::LetterUnreadable { .. } => Status::internal(text),
        EngineError::Stopping => Status::unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::{Delivery, MissedTicks, Span};

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(trigger_id("databases/db/triggers/a/b").unwrap(), TriggerId::new("db", "a/b"));
        for name in ["", "db/t", "databases/db", "databases//triggers/t", "databases/db/triggers/"] {
            assert!(trigger_id(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_trigger_survives_the_way_out_and_back() {
        let (rows, daily) = (
            Delivery { coalesce_rows: Some(500), ..Delivery::default() },
            Delivery {
                time_zone: Some("Europe/Berlin".into()),
                missed_ticks: Some(MissedTicks::CatchUp(5)),
                tick_jitter: Some(Span(Duration::from_secs(7))),
                ..Delivery::default()
            },
        );
        let skipping = Delivery { missed_ticks: Some(MissedTicks::Skip), ..Delivery::default() };
        for (text, special) in [
            ("all_tables", rows.clone()),
            ("table:cpu", rows),
            ("every:1500ms", skipping),
            ("cron:0 * * * * *", daily),
            ("request:a/b", Delivery::default()),
        ] {
            let definition = TriggerDefinition {
                id: TriggerId::new("db", "t"),
                plugin: PluginLocation::PluginDir("p.py".into()),
                spec: text.parse().unwrap(),
                arguments: Some([("a".to_owned(), "1".to_owned())].into()),
                run_async: true,
                error_behavior: ErrorBehavior::Retry,
                attempts_max: Some(3),
                timeout_ms: Some(1500),
                requirements: vec!["numpy>=2".to_owned()],
                permissions: Permissions {
                    allow_net: NetPermission::Hosts(vec!["db:5432".into()]),
                    allow_env: vec!["TOKEN".into()],
                    memory: Some(64 << 20),
                    ..Permissions::default()
                },
                delivery: Delivery {
                    backoff_initial: Some(Span(Duration::from_secs(1))),
                    backoff_factor: Some(3.0),
                    no_retry_on: vec!["load".into()],
                    isolate_poison: true,
                    ..special
                },
                disabled: true,
                disabled_reason: None,
                shares_path: false,
            };
            let info = TriggerInfo { definition: definition.clone(), state: TriggerState::Disabled, reason: None };
            let back = super::definition(&trigger(&info), definition.plugin.clone()).unwrap();
            assert_eq!(back, definition);
        }
    }
}
