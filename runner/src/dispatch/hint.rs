//! From a failure to the permission that would have allowed what the plugin tried. The exception stays the system's; the
//! author reads one more line. Pure.

use std::path::{Path, PathBuf};

use bulkhead_proto::types::v1::{Failure, FailureKind};

use crate::trigger::{Permissions, TriggerId};

/// What a hint needs to know of a trigger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted<'a> {
    /// Its permissions.
    pub(super) permissions: &'a Permissions,
    /// The directory that relative paths are below.
    pub(super) plugin_dir: Option<&'a Path>,
    /// The plugin's own files, which it may read.
    pub(super) plugin: Option<&'a Path>,
    /// Its packages.
    pub(super) packages: Option<Packages<'a>>,
}

/// What a hint needs to know of a trigger's packages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packages<'a> {
    /// The trigger.
    pub(super) trigger: &'a TriggerId,
    /// Its environment, once there is one.
    pub(super) environment: Option<&'a str>,
    /// What its settings ask for.
    pub(super) own: &'a [String],
}

/// The line for the author, if the failure looks like a denial. Whether a file outside of the sandbox exists is not told:
/// the plugin could read it in its own log.
pub(super) fn hint(failure: &Failure, granted: Granted<'_>) -> Option<String> {
    if failure.kind() != FailureKind::Exception && failure.kind() != FailureKind::Load {
        return None;
    }
    let (error, text) = failure.message.split_once(": ")?;
    if let Some(hint) = module(error, text, granted.packages) {
        return Some(hint);
    }
    if granted.permissions.allow_all {
        return None;
    }
    environment_variable(error, text, failure, granted)
        .or_else(|| subprocess(error, failure, granted))
        .or_else(|| file(error, text, failure, granted))
        .or_else(|| network(error, text, failure, granted))
}

/// The line for the author of a plugin that went on, if something that it complained of looks like a denial. Most published plugins
/// catch what they are denied, and log it.
pub(super) fn hint_of_complaint(text: &str, granted: Granted<'_>) -> Option<String> {
    if granted.permissions.allow_all {
        return None;
    }
    let errors = [
        ("[Errno 2] No such file or directory: ", "FileNotFoundError"),
        ("[Errno 13] Permission denied: ", "PermissionError"),
        ("[Errno 30] Read-only file system: ", "OSError"),
    ];
    for (words, error) in errors {
        if let Some(start) = text.find(words) {
            return file(error, &text[start..], &Failure::default(), granted);
        }
    }
    let unreachable = [
        "Name or service not known",
        "name resolution",
        "Failed to resolve",
        "Network is unreachable",
        "All connection attempts failed",
        "Failed to establish a new connection",
        "Connection refused",
        "URLError",
        "urlopen error",
    ];
    let is_network = unreachable.iter().any(|words| text.contains(words));
    // Where hosts were granted it is more likely that one of them is away.
    (is_network && granted.permissions.allow_net.is_none()).then(network_denied)
}

/// `ModuleNotFoundError: No module named 'NAME'`. The distribution may have another name than its module; that is for the author
/// to know.
fn module(error: &str, text: &str, packages: Option<Packages<'_>>) -> Option<String> {
    let name = text.strip_prefix("No module named ").filter(|_| error == "ModuleNotFoundError").and_then(quoted)?;
    let package = name.split('.').next().unwrap_or(name);
    let environment = packages.and_then(|packages| packages.environment);
    let environment = environment.map(|id| format!(" `{id}`")).unwrap_or_default();
    let update = packages.map(|Packages { trigger, own, .. }| {
        let words = ["--database", &trigger.database, "--trigger-name", &trigger.name];
        let own = own.iter().map(String::as_str).chain([package]).flat_map(|one| ["--requirements", one]);
        let words: Vec<_> = words.into_iter().chain(own).map(shell_word).collect();
        format!(", give it to this trigger with `bulkhead update trigger {}`", words.join(" "))
    });
    Some(format!(
        "the module {name} is not in this trigger's environment{environment}; name the package that brings it in a comment at the \
         head of the plugin (`# /// script`, `# dependencies = [\"{package}\"]`, `# ///`) or in a file `requirements.txt` beside it{}, or \
         to every plugin with `bulkhead install package {package}`",
        update.unwrap_or_default()
    ))
}

/// A word of a command line, quoted where a shell would take it for something else.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// `KeyError: 'NAME'` out of `os.environ`.
fn environment_variable(error: &str, text: &str, failure: &Failure, granted: Granted<'_>) -> Option<String> {
    let name = quoted(text)?;
    let from_environ = error == "KeyError"
        && last_frames(&failure.traceback).any(|frame| frame.contains("<frozen os>") || frame.contains("/os.py\""));
    if !from_environ {
        return None;
    }
    Some(missing_variable(name, granted))
}

/// The line for the author of a plugin that looked for a variable in vain and went on.
pub(super) fn hint_of_variable(name: &str, granted: Granted<'_>) -> Option<String> {
    (!granted.permissions.allow_all).then(|| missing_variable(name, granted))
}

fn missing_variable(name: &str, granted: Granted<'_>) -> String {
    if granted.permissions.allow_env.iter().any(|granted| granted == name) {
        format!("the environment variable {name} was granted, but the server has none of that name")
    } else {
        format!("the environment variable {name} was not granted to this trigger; `--allow-env={name}` would grant it")
    }
}

/// `PermissionError` out of a fork or the start of a program.
fn subprocess(error: &str, failure: &Failure, granted: Granted<'_>) -> Option<String> {
    let started = [
        "_fork_exec",
        "fork_exec(",
        "os.fork(",
        "_posix_spawn",
        "os.posix_spawn",
        "os.exec",
        "/popen_fork.py\"",
        "/pty.py\"",
    ];
    let denied = matches!(error, "PermissionError" | "BlockingIOError")
        && last_frames(&failure.traceback).any(|frame| started.iter().any(|call| frame.contains(call)));
    (denied && !granted.permissions.allow_run).then(|| {
        "starting programs and forking were not granted to this trigger; `--allow-run` would grant them".to_owned()
    })
}

/// An error with a path that lies outside of everything that was granted.
fn file(error: &str, text: &str, failure: &Failure, granted: Granted<'_>) -> Option<String> {
    let denied = ["PermissionError", "FileNotFoundError", "NotADirectoryError"].contains(&error)
        || text.starts_with("[Errno 30]")
        || text.starts_with("[Errno 13]");
    let path = PathBuf::from(quoted(text)?);
    if !denied {
        return None;
    }
    let absolute = if path.is_absolute() { path.clone() } else { granted.plugin_dir?.join(&path) };
    let inside = |paths: &[String]| {
        paths.iter().any(|path| absolute.starts_with(Permissions::resolve(path, granted.plugin_dir)))
    };
    let beside = granted.plugin_dir.is_some_and(|directory| absolute.starts_with(directory));
    // What is there and denied is not the worker's own: without mount namespaces the directory is everybody's.
    let own = !beside
        && error != "PermissionError"
        && ["/tmp", "/dev/shm"].iter().any(|directory| absolute.starts_with(directory));
    let readable = inside(&granted.permissions.allow_read)
        || own
        || granted.plugin.is_some_and(|plugin| absolute.starts_with(plugin));
    if inside(&granted.permissions.allow_write) {
        return None;
    }
    let shown = granted.plugin_dir.and_then(|directory| absolute.strip_prefix(directory).ok()).unwrap_or(&absolute);
    let shown = if shown.as_os_str().is_empty() { Path::new(".") } else { shown };
    let wants_to_write = text.starts_with("[Errno 30]") || writes(&failure.traceback);
    if wants_to_write && !own {
        return Some(format!(
            "writing to `{}` was not granted to this trigger; `--allow-write={}` would grant it",
            path.display(),
            shown.display()
        ));
    }
    if readable {
        return None;
    }
    Some(format!(
        "`{}` lies outside of what was granted to this trigger; `--allow-read={}` would grant reading it",
        path.display(),
        shown.display()
    ))
}

/// An error out of a socket.
fn network(error: &str, text: &str, failure: &Failure, granted: Granted<'_>) -> Option<String> {
    if granted.permissions.allow_net.is_all() {
        return None;
    }
    let frames = [
        "/socket.py\"",
        "socket.socket(",
        "/urllib/",
        "/urllib3/",
        "/requests/",
        "/http/client.py\"",
        "/aiohttp/",
        "/httpx/",
        "/httpcore/",
    ];
    let by_socket = [
        "PermissionError",
        "gaierror",
        "OSError",
        "ConnectionError",
        "URLError",
        "NewConnectionError",
        "ConnectError",
        "ClientConnectorError",
        "ConnectTimeout",
        "ConnectionRefusedError",
    ]
    .iter()
    .any(|name| error == *name || error.ends_with(&format!(".{name}")))
        && last_frames(&failure.traceback)
            .chain(std::iter::once(text))
            .any(|line| frames.iter().any(|frame| line.contains(frame)) || line.contains("HTTPConnection"));
    if !by_socket {
        return None;
    }
    Some(if granted.permissions.allow_net.is_none() {
        network_denied()
    } else {
        let words = granted.permissions.words();
        format!(
            "the network was granted to this trigger for some hosts only (`{words}`); others have to be added to the list"
        )
    })
}

fn network_denied() -> String {
    "the network was not granted to this trigger; `--allow-net=HOST:PORT` would grant one host, `--allow-net` all of it"
        .to_owned()
}

/// The text between the first quotes, either kind.
fn quoted(text: &str) -> Option<&str> {
    let start = text.find(['\'', '"'])?;
    let quote = text.get(start..=start)?;
    let rest = text.get(start + 1..)?;
    rest.find(quote).and_then(|end| rest.get(..end)).filter(|found| !found.is_empty())
}

/// The lines of a traceback that tell where it happened; the last ones count.
fn last_frames(traceback: &str) -> impl Iterator<Item = &str> {
    traceback.lines().rev().take(60)
}

/// Whether the plugin's own line opens a file for writing, or changes the file system.
fn writes(traceback: &str) -> bool {
    let changes = [
        "mkdir",
        "makedirs",
        "write_text",
        "write_bytes",
        "unlink",
        "os.remove",
        "rename",
        "touch(",
        "\"w",
        "'w",
        "\"a",
        "'a",
        "\"x",
        "'x",
        "rmtree",
        "to_csv",
        "to_parquet",
        "chmod",
    ];
    last_frames(traceback).take(12).any(|line| changes.iter().any(|change| line.contains(change)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::NetPermission;

    fn hint_of(message: &str, traceback: &str, permissions: &Permissions) -> Option<String> {
        let failure = Failure {
            kind: FailureKind::Exception.into(),
            message: message.to_owned(),
            traceback: traceback.to_owned(),
            ..Failure::default()
        };
        let granted = Granted {
            permissions,
            plugin_dir: Some(Path::new("/plugins")),
            plugin: Some(Path::new("/plugins/own")),
            packages: None,
        };
        hint(&failure, granted)
    }

    #[test]
    fn a_file_outside_is_told_with_the_grant_that_it_needs() {
        let nothing = Permissions::default();
        let missing = "FileNotFoundError: [Errno 2] No such file or directory: '/data/secret'";
        let line = "  File \"/plugins/p.py\", line 3, in process_request\n    open('/data/secret')";
        assert!(hint_of(missing, line, &nothing).unwrap().contains("`--allow-read=/data/secret` would grant"));
        let beside = "PermissionError: [Errno 13] Permission denied: 'config.toml'";
        assert!(hint_of(beside, line, &nothing).unwrap().contains("`--allow-read=config.toml`"));
        let granted = Permissions { allow_read: vec!["/data".into()], ..Permissions::default() };
        assert_eq!(hint_of(missing, line, &granted), None, "it is simply not there");
        assert_eq!(
            hint_of("FileNotFoundError: [Errno 2] No such file or directory: '/plugins/own/x'", line, &nothing),
            None
        );
        assert_eq!(hint_of("FileNotFoundError: [Errno 2] No such file or directory: '/tmp/x'", line, &nothing), None);
        let denied = hint_of("PermissionError: [Errno 13] Permission denied: '/tmp/x'", line, &nothing).unwrap();
        assert!(denied.contains("--allow-read=/tmp/x"), "{denied}");
    }

    #[test]
    fn writing_needs_another_grant() {
        let read_only = "OSError: [Errno 30] Read-only file system: '/plugins/out.csv'";
        let hint = hint_of(read_only, "", &Permissions::default()).unwrap();
        assert!(hint.contains("`--allow-write=out.csv`"), "{hint}");
        let granted = Permissions { allow_read: vec![".".into()], ..Permissions::default() };
        let denied = "PermissionError: [Errno 13] Permission denied: '/plugins/out.csv'";
        let line = "    open('/plugins/out.csv', 'w')";
        assert!(hint_of(denied, line, &granted).unwrap().contains("--allow-write"));
    }

    #[test]
    fn programs_sockets_and_variables_have_theirs() {
        let nothing = Permissions::default();
        let denied = "PermissionError: [Errno 1] Operation not permitted";
        let fork =
            "  File \"/usr/lib/python3.11/subprocess.py\", line 1885, in _execute_child\n    self.pid = _fork_exec(";
        assert!(hint_of(denied, fork, &nothing).unwrap().contains("`--allow-run`"));
        let socket = "  File \"/usr/lib/python3.11/socket.py\", line 232, in __init__\n    _socket.socket.__init__(self, family, type, proto, fileno)";
        assert!(hint_of(denied, socket, &nothing).unwrap().contains("`--allow-net=HOST:PORT`"));
        let some = Permissions { allow_net: NetPermission::Hosts(vec!["db:1".into()]), ..Permissions::default() };
        let unknown = "gaierror: [Errno -2] Name or service not known";
        assert!(hint_of(unknown, socket, &some).unwrap().contains("`--allow-net=db:1`"));
        let key = "KeyError: 'TOKEN'";
        let environ = "  File \"<frozen os>\", line 679, in __getitem__";
        assert!(hint_of(key, environ, &nothing).unwrap().contains("`--allow-env=TOKEN`"));
        assert_eq!(hint_of(key, "  File \"/plugins/p.py\", line 1, in f", &nothing), None, "a dictionary of its own");
        let granted = Permissions { allow_env: vec!["TOKEN".into()], ..Permissions::default() };
        assert!(hint_of(key, environ, &granted).unwrap().contains("the server has none"));
    }

    #[test]
    fn what_a_plugin_only_complains_of_is_told_too() {
        let hint = |text: &str, permissions: &Permissions| {
            hint_of_complaint(
                text,
                Granted { permissions, plugin_dir: Some(Path::new("/plugins")), plugin: None, packages: None },
            )
        };
        let nothing = Permissions::default();
        let refused = "[1a] Request error: All connection attempts failed";
        assert!(hint(refused, &nothing).unwrap().contains("`--allow-net=HOST:PORT`"));
        let some = Permissions { allow_net: NetPermission::Hosts(vec!["db:1".into()]), ..Permissions::default() };
        assert_eq!(hint(refused, &some), None, "the host may be away");
        let missing = "could not read it: [Errno 2] No such file or directory: '/data/model' (given up)";
        assert!(hint(missing, &nothing).unwrap().contains("`--allow-read=/data/model` would grant"));
        assert!(
            hint("[Errno 30] Read-only file system: '/plugins/q'", &nothing).unwrap().contains("`--allow-write=q`")
        );
        assert_eq!(hint("the sensor is hot", &nothing), None);
    }

    #[test]
    fn other_failures_have_no_hint() {
        assert_eq!(hint_of("ValueError: 'x'", "", &Permissions::default()), None);
        assert_eq!(hint_of("nonsense", "", &Permissions::default()), None);
        let all = Permissions { allow_all: true, ..Permissions::default() };
        assert_eq!(hint_of("FileNotFoundError: [Errno 2] No such file or directory: '/x'", "", &all), None);
    }

    #[test]
    fn a_missing_module_comes_with_the_command_that_adds_it() {
        let failure = Failure {
            kind: FailureKind::Exception.into(),
            message: "ModuleNotFoundError: No module named 'yaml.nodes'".to_owned(),
            ..Failure::default()
        };
        let trigger = TriggerId::new("my db", "t");
        let own = ["numpy>=2".to_owned()];
        let packages = Packages { trigger: &trigger, environment: Some("3f29c81b7e50aa41"), own: &own };
        let granted =
            Granted { permissions: &Permissions::default(), plugin_dir: None, plugin: None, packages: Some(packages) };
        let hint = hint(&failure, granted).unwrap();
        assert!(
            hint.starts_with("the module yaml.nodes is not in this trigger's environment `3f29c81b7e50aa41`; "),
            "{hint}"
        );
        let command = "`bulkhead update trigger --database 'my db' --trigger-name t --requirements 'numpy>=2' --requirements yaml`";
        assert!(hint.contains(command), "{hint}");
    }
}
