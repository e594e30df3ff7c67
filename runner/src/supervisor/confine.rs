//! From what a trigger was granted to the policy that its worker is launched with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkhead_launcher::{
    Access, Endpoint, GroupLimits, LaunchPolicy, Network, PathGrant, Sandbox, SeccompProfile, seccomp_filters,
};
use uuid::Uuid;

use super::forward::{PROXY_HOST, PROXY_PORT};
use super::watchdog::kill_beyond;
use super::{Supervisor, WorkerSpec};
use crate::environment::{Environment, is_for_tools_only};
use crate::limits;
use crate::trigger::{BeyondCeiling, Permissions};

/// Users that no system gives to people, services or containers.
const FREE_USERS: std::ops::Range<u32> = 0x7000_0000..0x7fff_0000;
/// Links that an interpreter may be behind.
const LINKS_MAX: usize = 16;
/// Least address space of a process, bytes: Arrow's allocator alone reserves 1 GiB.
const ADDRESS_SPACE_BYTES_MIN: u64 = bulkhead_launcher::limits::ADDRESS_SPACE_BYTES;

/// What the process of worker `id` starts with. Its environment is built from nothing.
pub(super) fn policy(
    supervisor: &Supervisor,
    spec: &WorkerSpec,
    environment: &Environment,
    plugin: &Path,
    id: Uuid,
) -> Result<LaunchPolicy, String> {
    let permissions = &spec.permissions;
    // It may have been granted before there was a ceiling, and a link may lead elsewhere by now.
    check_ceiling(supervisor, permissions, spec.plugin_dir.as_deref()).map_err(|beyond| beyond.to_string())?;
    let scratch = supervisor.settings.homes.join(id.to_string());
    let cwd = spec.plugin_dir.clone().unwrap_or_else(|| PathBuf::from("/"));
    let mut policy = LaunchPolicy::new(&environment.python, cwd);
    policy.args = vec!["-I".to_owned(), supervisor.package.bootstrap().to_string_lossy().into_owned()];
    policy.resources = supervisor.settings.resources;
    policy.nice = Some(supervisor.settings.nice);
    policy.resources.processes = Some(permissions.max_procs.unwrap_or(limits::WORKER_PROCESSES));
    if let Some(files) = permissions.max_files {
        policy.resources.open_files = Some(files);
    }
    let memory = memory(supervisor, spec);
    policy.resources.data_bytes = Some(memory.saturating_add(limits::WORKER_MEMORY_SLACK_BYTES));
    policy.resources.data_bytes_at_start = Some(memory.saturating_add(limits::WORKER_MEMORY_UNTOUCHED_BYTES));
    policy.resources.address_space_bytes = Some(memory.saturating_mul(4).max(ADDRESS_SPACE_BYTES_MIN));
    policy.group = Some(group(supervisor, spec));
    policy.env = variables(spec, environment);
    policy.sandbox = Some(sandbox(supervisor, spec, environment, plugin, scratch)?);
    Ok(policy)
}

/// What the kernel holds a worker with all that it starts to, where there are control groups. The worker's own process meets
/// its own limit of memory first, so that its plugin can be told.
fn group(supervisor: &Supervisor, spec: &WorkerSpec) -> GroupLimits {
    let processes = spec.permissions.max_procs.unwrap_or(limits::WORKER_PROCESSES);
    GroupLimits {
        memory_bytes: Some(kill_beyond(memory(supervisor, spec))),
        // And process 1.
        processes: Some(processes.saturating_add(1)),
        cpu_thousandths: spec.permissions.cpu,
        nice: Some(supervisor.settings.nice),
        ends_together: true,
    }
}

/// Compares what a trigger is granted with what the operator allows.
///
/// # Errors
/// The first grant that is more.
pub fn check_ceiling(
    supervisor: &Supervisor,
    permissions: &Permissions,
    plugin_dir: Option<&Path>,
) -> Result<(), BeyondCeiling> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    supervisor.settings.permission_policy.check(permissions, plugin_dir, &real)
}

/// Why the hosts of a grant cannot be told from others on this machine; nothing where they can, or where none are named.
#[must_use]
pub fn hosts_cannot_be_granted(supervisor: &Supervisor, permissions: &Permissions) -> Option<String> {
    let named = !permissions.allow_all && !permissions.allow_net.is_none() && !permissions.allow_net.is_all();
    let lost = supervisor.registry.lost_layers();
    let reason = lost.iter().find(|layer| layer.starts_with("namespaces")).filter(|_| named)?;
    Some(format!(
        "hosts cannot be granted one by one on this machine, because the kernel grants no network namespace ({reason}); \
         grant all of the network with --allow-net, or none; `bulkhead doctor` tells how to get namespaces"
    ))
}

/// Which limit of a trigger nobody holds on this machine, and why; nothing where all are held.
#[must_use]
pub fn unheld_limit(supervisor: &Supervisor, permissions: &Permissions) -> Option<String> {
    permissions.cpu?;
    supervisor.registry.lost_layers().into_iter().find(|layer| layer.starts_with("cpu: "))
}

/// What the process of a zygote starts with: the same, and what it needs to fork workers.
pub(super) fn zygote_policy(
    supervisor: &Supervisor,
    spec: &WorkerSpec,
    (environment, plugin): (&Environment, &Path),
    id: Uuid,
    workers_max: usize,
) -> Result<LaunchPolicy, String> {
    let mut policy = policy(supervisor, spec, environment, plugin, id)?;
    policy.args.push(plugin.to_string_lossy().into_owned());
    policy.reports_children = true;
    // The kernel counts the processes and threads of all workers together, of the zygote, and of a copy that is being made.
    let workers = u64::try_from(workers_max).unwrap_or(u64::MAX);
    policy.resources.processes = policy.resources.processes.map(|each| each.saturating_mul(workers).saturating_add(2));
    if let Some(group) = &mut policy.group {
        // All are in one group: moving each copy into its own takes longer than making it. A worker is held to its own share
        // of memory by the watchdog.
        group.memory_bytes = group.memory_bytes.map(|each| each.saturating_mul(workers.saturating_add(1)));
        group.processes = policy.resources.processes.map(|all| all.saturating_add(1));
        let many = u32::try_from(workers_max).unwrap_or(u32::MAX);
        group.cpu_thousandths = group.cpu_thousandths.map(|each| each.saturating_mul(many));
        group.ends_together = false;
    }
    if let Some(sandbox) = &mut policy.sandbox {
        sandbox.filters = seccomp_filters(profile(&sandbox.network, false, true))?;
    }
    Ok(policy)
}

pub(super) fn profile(network: &Network, subprocesses: bool, forks_workers: bool) -> SeccompProfile {
    SeccompProfile { subprocesses, internet_sockets: *network != Network::None, forks_workers }
}

/// Memory of a worker and all that it starts, bytes.
pub(super) fn memory(supervisor: &Supervisor, spec: &WorkerSpec) -> u64 {
    spec.permissions.memory.unwrap_or(supervisor.settings.memory_bytes)
}

/// Whether a worker may fork and start programs.
pub(super) fn may_fork(spec: &WorkerSpec) -> bool {
    spec.permissions.allow_run || spec.permissions.allow_all
}

fn sandbox(
    supervisor: &Supervisor,
    spec: &WorkerSpec,
    environment: &Environment,
    plugin: &Path,
    scratch: PathBuf,
) -> Result<Sandbox, String> {
    let permissions = &spec.permissions;
    let network = network(permissions)?;
    let subprocesses = may_fork(spec);
    let profile = profile(&network, subprocesses, false);
    let mut paths = vec![
        PathGrant::new(&environment.path, Access::Execute),
        PathGrant::new(supervisor.package.directory(), Access::Read),
        PathGrant::new(plugin, Access::Read),
    ];
    paths.extend(interpreter(&environment.python));
    let plugin_dir = spec.plugin_dir.as_deref();
    let granted = |paths: &[String], access| -> Vec<PathGrant> {
        paths.iter().map(|path| PathGrant::new(Permissions::resolve(path, plugin_dir), access)).collect()
    };
    paths.extend(granted(&permissions.allow_read, Access::Read));
    paths.extend(granted(&permissions.allow_write, Access::Write));
    if permissions.allow_all {
        paths.extend([PathGrant::new("/", Access::Execute), PathGrant::new("/", Access::Write)]);
    }
    Ok(Sandbox {
        paths,
        network,
        subprocesses,
        tmp_bytes: permissions.tmp_size.unwrap_or(limits::WORKER_TMP_BYTES),
        shm_bytes: limits::WORKER_SHM_BYTES,
        scratch,
        // Whoever is granted everything is granted what the runner's own user may do.
        user: (!permissions.allow_all).then(free_user),
        filters: seccomp_filters(profile)?,
        emulate: supervisor.settings.emulate,
    })
}

/// A user for a worker of a runner that is root. So many are free that no two workers ever share one.
#[must_use]
pub fn free_user() -> u32 {
    fastrand::u32(FREE_USERS)
}

/// Whether a user is one of those.
pub(super) fn is_free_user(id: u32) -> bool {
    FREE_USERS.contains(&id)
}

/// Whether some of the network is granted that only a proxy leads to.
fn needs_proxy(permissions: &Permissions) -> bool {
    let granted = !permissions.allow_all && !permissions.allow_net.is_all();
    let patterns = permissions.allow_net.patterns().unwrap_or_default();
    granted && patterns.iter().any(|pattern| pattern.place().is_none())
}

fn network(permissions: &Permissions) -> Result<Network, String> {
    if permissions.allow_all || permissions.allow_net.is_all() {
        return Ok(Network::Host);
    }
    let mut endpoints = permissions.allow_net.endpoints().map_err(|error| error.to_string())?;
    endpoints.extend(needs_proxy(permissions).then(|| (PROXY_HOST.to_owned(), PROXY_PORT)));
    Ok(match endpoints.as_slice() {
        [] => Network::None,
        endpoints => {
            let endpoint = |(host, port): &(String, u16)| Endpoint { host: host.clone(), port: *port };
            Network::Named(endpoints.iter().map(endpoint).collect())
        }
    })
}

/// The installation that an environment's interpreter belongs to, by every name under which it is called on the way.
pub(super) fn interpreter(python: &Path) -> Vec<PathGrant> {
    let mut grants = Vec::new();
    let mut hop = python.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&hop) else { break };
        hop = hop.parent().unwrap_or(Path::new("/")).join(target);
        let prefix = match hop.parent() {
            Some(directory) if directory.file_name().is_some_and(|name| name == "bin") => {
                directory.parent().unwrap_or(directory)
            }
            Some(directory) => directory,
            None => continue,
        };
        // The system's own is part of every root.
        if prefix.components().count() > 1 && prefix != Path::new("/usr") && !prefix.starts_with(python_home(python)) {
            grants.push(PathGrant { path: prefix.to_owned(), access: Access::Execute, optional: true });
        }
    }
    grants
}

/// The environment's own directory, whose links among themselves need nothing.
fn python_home(python: &Path) -> &Path {
    python.parent().and_then(Path::parent).unwrap_or(python)
}

/// The environment of the process. `HOME` and `TMPDIR` are the launcher's to set: it knows where there is room.
fn variables(spec: &WorkerSpec, environment: &Environment) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if spec.permissions.allow_all {
        env.extend(
            std::env::vars_os()
                .filter(|(name, _)| !is_for_tools_only(name))
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        );
    }
    // No grant gives a plugin the credentials with which packages are fetched.
    for name in spec.permissions.allow_env.iter().filter(|name| !is_for_tools_only(name.as_ref())) {
        if let Ok(value) = std::env::var(name) {
            env.insert(name.clone(), value);
        }
    }
    let mut set = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
    set("LANG", "C.UTF-8");
    // Plugins take naive times apart and put them together again, so the local zone must be the one they were made in.
    set("TZ", "UTC");
    set("USER", "plugin");
    set("LOGNAME", "plugin");
    set("PATH", &format!("{}/bin:/usr/local/bin:/usr/bin:/bin", environment.path.display()));
    set("VIRTUAL_ENV", &environment.path.to_string_lossy());
    // Several workers share the machine; numeric libraries would otherwise start a thread a core in each of them, and
    // their allocators reserve memory that counts against the limits.
    set("OPENBLAS_NUM_THREADS", "1");
    // It would start a program to count them, and complain that it may not.
    set("LOKY_MAX_CPU_COUNT", "1");
    set("MALLOC_ARENA_MAX", "2");
    set("ARROW_DEFAULT_MEMORY_POOL", "system");
    if needs_proxy(&spec.permissions) {
        let url = format!("http://{PROXY_HOST}:{PROXY_PORT}");
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            set(name, &url);
        }
        // Whoever was granted a place of this machine has it in its own network.
        set("no_proxy", "localhost,127.0.0.1");
        set("NO_PROXY", "localhost,127.0.0.1");
    }
    if let Some(plugin_dir) = &spec.plugin_dir {
        set("PLUGIN_DIR", &plugin_dir.to_string_lossy());
        set("INFLUXDB3_PLUGIN_DIR", &plugin_dir.to_string_lossy());
    }
    env
}
