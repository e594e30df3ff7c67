//! `bulkhead selftest`: attacks of plugins on everything around them, on this machine.

mod attack;
mod files;
mod surroundings;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead_launcher::Launcher;
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::attack::{Attack, Terrain};
use self::files::FILES;
use self::surroundings::{Surroundings, left_behind, open_sockets};
use super::client::{Client, with_query};
use super::output::{CliError, note, say};
use super::serve::{EmulationName, LogFormat, Signals, log_to_stderr};
use crate::config::Config;
use crate::server::Server;
use crate::supervisor::examine;

/// `selftest`.
#[derive(Debug, Args)]
pub(super) struct SelftestArgs {
    /// Let evil plugins attack the sandbox, the runner, the host and each other.
    #[arg(long, required = true)]
    evil: bool,
    /// Only attacks whose names contain this.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Python interpreter for the workers, 3.10 or newer; found on PATH otherwise.
    #[arg(long, env = "BULKHEAD_PYTHON", value_name = "PATH")]
    python: Option<OsString>,
    /// What the server logs to standard error meanwhile.
    #[arg(long, env = "LOG_FILTER", default_value = "off", value_name = "FILTER")]
    log_filter: String,
    /// Imitates an environment that grants less than this machine.
    #[arg(long, value_enum, value_name = "ENVIRONMENT", hide = true)]
    sandbox_emulate: Option<EmulationName>,
}

const DATABASE: &str = "attacked";
/// A neighbour that takes longer than this for nothing has noticed something.
const PACE: Duration = Duration::from_secs(5);
/// Pause between two looks at what is taken away soon.
const LOOK: Duration = Duration::from_millis(20);
/// Sockets that client and server may open meanwhile; each attack would leave one at least.
const SOCKETS_SPARE: usize = 8;
/// The neighbour, which tells its process from others.
const NEIGHBOUR: &str = "\
import os
import uuid


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return os.environ.setdefault(\"LIFE\", uuid.uuid4().hex)
";

/// Runs the command.
pub(super) async fn run(args: SelftestArgs) -> Result<(), CliError> {
    log_to_stderr(&args.log_filter, LogFormat::Text)?;
    let mut signals = Signals::new()?;
    let directory = directory().map_err(|error| CliError::new(format!("temporary directory: {error}")))?;
    let emulate = args.sandbox_emulate.map(EmulationName::emulation);
    let launcher = Launcher::of_this_binary().map_err(|error| CliError::new(error.to_string()))?;
    let found = tokio::task::spawn_blocking(move || examine(&launcher, emulate));
    let found = found.await.map_err(|error| CliError::new(error.to_string()))?.map_err(CliError::new)?;
    let has = |layer: &str| found.enforced.iter().any(|word| word.starts_with(layer));
    let has_namespaces = has("mount_namespace");
    let terrain = Terrain {
        has_namespaces,
        has_proc: !has_namespaces || has("proc=own"),
        has_landlock: has("landlock="),
        has_signal_scopes: has("landlock=") && !found.missing.iter().any(|word| word.starts_with("landlock scopes")),
    };

    let plugin_dir = directory.path().join("plugins");
    let mut config = Config::new(directory.path().join("data"), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.plugin_dir = Some(plugin_dir.clone());
    config.python = args.python;
    config.emulate = emulate;
    let homes = config.data_dir.join(&config.node_id).join("homes");
    let server = Server::start(config).await?;
    let outcome = async {
        let client = Client::new(&format!("http://{}", server.http_address()))?;
        let mut arena = Arena::new(client, terrain, directory.path()).await?;
        let wanted = args.name.unwrap_or_default();
        for attack in FILES.iter().map(|(name, code)| Attack::new(name, code)) {
            if attack.name.contains(&wanted) {
                arena.attack(&attack).await?;
            }
        }
        let left = left_after(|| std::fs::read_dir(&homes).map_or(0, Iterator::count).saturating_sub(1)).await;
        arena.complaints.extend((left > 0).then(|| format!("{left} directories of dead workers are left")));
        let most = arena.sockets + SOCKETS_SPARE;
        let left = left_after(|| open_sockets().saturating_sub(most)).await;
        arena.complaints.extend((left > 0).then(|| format!("{left} sockets of dead workers are left")));
        Ok(arena)
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        () = signals.next() => Err(CliError::new("interrupted")),
    };
    server.stop().await;
    let mut arena = outcome?;
    arena.complaints.extend(left_behind(directory.path()).into_iter().map(|what| format!("left behind: {what}")));
    arena.verdict()
}

/// How many things are there after the time in which they are taken away.
async fn left_after(count: impl Fn() -> usize) -> usize {
    let begun = Instant::now();
    loop {
        let left = count();
        if left == 0 || begun.elapsed() > PACE {
            return left;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A directory of the server. Without namespaces a worker with another user goes through it.
fn directory() -> std::io::Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("bulkhead-selftest-").tempdir()?;
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    std::fs::create_dir(directory.path().join("plugins"))?;
    std::fs::write(directory.path().join("plugins/neighbour.py"), NEIGHBOUR)?;
    Ok(directory)
}

/// Where attacks take place.
struct Arena<'a> {
    client: Client,
    terrain: Terrain,
    /// The server's directory.
    directory: &'a Path,
    surroundings: Surroundings,
    /// What the neighbour answers.
    neighbour: String,
    /// The neighbour's longest answer.
    slowest: Duration,
    /// Sockets that were open before the first attack.
    sockets: usize,
    passed: usize,
    skipped: usize,
    complaints: Vec<String>,
}

impl<'a> Arena<'a> {
    async fn new(client: Client, terrain: Terrain, directory: &'a Path) -> Result<Self, CliError> {
        client.post_json("/api/v3/configure/database", &json!({ "db": DATABASE })).await?.success("create database")?;
        let mut arena = Self {
            client,
            terrain,
            directory,
            surroundings: Surroundings::new()?,
            neighbour: String::new(),
            slowest: Duration::ZERO,
            sockets: 0,
            passed: 0,
            skipped: 0,
            complaints: Vec::new(),
        };
        arena.trigger("neighbour", json!({ "run_async": false, "error_behavior": "log" })).await?;
        let answer = arena.client.get("/api/v3/engine/neighbour").await?.success("the neighbour")?;
        arena.neighbour = answer.text();
        arena.sockets = open_sockets();
        Ok(arena)
    }

    async fn trigger(&self, name: &str, settings: Value) -> Result<(), CliError> {
        let body = json!({
            "db": DATABASE, "plugin_filename": format!("{name}.py"), "trigger_name": name,
            "trigger_specification": format!("request:{name}"), "trigger_settings": settings, "disabled": false,
        });
        self.client.post_json("/api/v3/configure/processing_engine_trigger", &body).await?.success("create trigger")?;
        Ok(())
    }

    /// Tries one attack and tells how it went.
    async fn attack(&mut self, attack: &Attack) -> Result<(), CliError> {
        let Attack { name, what, .. } = attack;
        if let Some(obstacle) = attack.obstacle(self.terrain) {
            self.skipped += 1;
            say(format!("  -     {name:<30} {what} ({obstacle})"));
            return Ok(());
        }
        let failed = |what: &str| CliError::new(format!("{name}: {what}"));
        let file = self.directory.join("plugins").join(format!("{name}.py"));
        std::fs::write(&file, attack.code).map_err(|error| failed(&error.to_string()))?;
        self.trigger(name, Value::Object(attack.settings().map_err(|error| failed(&error))?)).await?;
        let parameters = [
            ("secret", self.surroundings.secret.path().to_string_lossy().into_owned()),
            ("data", self.directory.join("data").to_string_lossy().into_owned()),
            ("victim", self.surroundings.victim().to_string()),
            ("port", self.surroundings.port()?.to_string()),
        ];
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = self.client.get(&with_query(&format!("/api/v3/engine/{name}"), &parameters)).await?;
        let mut wrong = Vec::new();
        if let Some(expected) = attack.complaint(self.terrain, answer.status.as_u16(), &answer.text()) {
            wrong.push(format!("{} {:?} instead of {expected:?}", answer.status.as_u16(), answer.text()));
        }
        if let Some(words) = attack.hint()
            && !self.logged(name, words).await?
        {
            wrong.push(format!("no line of its log says {words:?}"));
        }
        wrong.extend(self.neighbour().await?);
        wrong.extend(self.surroundings.damage().map(str::to_owned));
        let query = with_query(
            "/api/v3/configure/processing_engine_trigger",
            &[("db", DATABASE), ("trigger_name", name), ("force", "true")],
        );
        self.client.delete(&query).await?.success("delete trigger")?;
        let word = if wrong.is_empty() { "pass" } else { "FAIL" };
        say(format!("  {word}  {name:<30} {what}"));
        self.passed += usize::from(wrong.is_empty());
        for wrong in wrong {
            say(format!("        {wrong}"));
            self.complaints.push(format!("{name}: {wrong}"));
        }
        Ok(())
    }

    /// Whether the trigger's log has a line with these words. A failure is logged before it is answered.
    async fn logged(&self, trigger: &str, words: &str) -> Result<bool, CliError> {
        let sql = format!("SELECT log_text FROM system.processing_engine_logs WHERE trigger_name = '{trigger}'");
        let query = json!({ "db": DATABASE, "q": sql, "format": "json" });
        let lines: Vec<Value> =
            serde_json::from_slice(&self.client.post_json("/api/v3/query_sql", &query).await?.success("query")?.body)
                .map_err(|error| CliError::new(format!("query: {error}")))?;
        Ok(lines
            .iter()
            .any(|line| line.get("log_text").and_then(Value::as_str).is_some_and(|text| text.contains(words))))
    }

    /// What the neighbour has noticed.
    async fn neighbour(&mut self) -> Result<Option<String>, CliError> {
        let begun = Instant::now();
        let answer = self.client.get("/api/v3/engine/neighbour").await?;
        let took = begun.elapsed();
        self.slowest = self.slowest.max(took);
        if !answer.status.is_success() || answer.text() != self.neighbour {
            return Ok(Some(format!("the neighbour answered {} {:?}", answer.status, answer.text())));
        }
        Ok((took > PACE).then(|| format!("the neighbour took {took:.0?}")))
    }

    fn verdict(self) -> Result<(), CliError> {
        let Self { passed, skipped, complaints, slowest, .. } = self;
        say(format!(
            "\n{passed} attacks came to nothing, {skipped} could not be tried here; the neighbour answered within {slowest:.0?}."
        ));
        if complaints.is_empty() && passed > 0 {
            say("Nothing was left behind.");
            return Ok(());
        }
        if passed == 0 && complaints.is_empty() {
            return Err(CliError::new("no attack has such a name"));
        }
        for complaint in &complaints {
            note(complaint);
        }
        Err(CliError::new(format!("{} of what was checked is not as it has to be", complaints.len())))
    }
}
