//! What a trigger is granted, on the command line. Everything else is denied.

use clap::Args;

use super::output::note;
use crate::trigger::{NetPermission, Permissions, parse_cpu, parse_size};

/// Grants and limits of a trigger.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Permissions (everything that is not granted is denied)")]
pub(super) struct PermissionArgs {
    /// Grant the network: all of it, or only these hosts; a host without a port means 80 and 443. `*.domain` and addresses are
    /// reached through an HTTP proxy, which most libraries find by themselves.
    #[arg(long, value_name = "HOST[:PORT]", num_args = 0..=1, require_equals = true, value_delimiter = ',', default_missing_value = "")]
    allow_net: Vec<String>,
    /// Grant reading a file or directory; a relative path lies below the plugin directory.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    allow_read: Vec<String>,
    /// Grant reading and writing a file or directory.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    allow_write: Vec<String>,
    /// Grant a variable of the server's environment.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    allow_env: Vec<String>,
    /// Grant starting programs and forking.
    #[arg(long)]
    allow_run: bool,
    /// Grant everything: the plugin can then do whatever the server's user can.
    #[arg(long)]
    allow_all: bool,
    /// Memory of one worker and all that it starts, such as `512MB`, files in `/tmp` included; the server's default otherwise.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Processors that one worker and all that it starts may keep busy, such as `0.5`. Without delegated control groups it only
    /// gives way to others, which `bulkhead doctor` tells.
    #[arg(long, value_name = "N", value_parser = parse_cpu)]
    cpu: Option<u32>,
    /// Processes and threads of one worker.
    #[arg(long, value_name = "N")]
    max_procs: Option<u64>,
    /// Open files of one process.
    #[arg(long, value_name = "N")]
    max_files: Option<u64>,
    /// Size of the worker's `/tmp`, such as `64MB`.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    tmp_size: Option<u64>,
}

impl PermissionArgs {
    /// What goes to the server. Granting everything is said aloud.
    pub(super) fn permissions(self) -> Permissions {
        if self.allow_all {
            note(
                "warning: --allow-all takes the sandbox's walls down: the plugin can read and write whatever the server's user can, use the network, start programs and see the server's environment",
            );
        }
        let allow_net = match self.allow_net.as_slice() {
            [] => NetPermission::None,
            hosts if hosts.iter().any(String::is_empty) => NetPermission::Flag(true),
            hosts => NetPermission::Hosts(hosts.to_vec()),
        };
        Permissions {
            allow_all: self.allow_all,
            allow_net,
            allow_read: self.allow_read,
            allow_write: self.allow_write,
            allow_env: self.allow_env,
            allow_run: self.allow_run,
            memory: self.memory,
            cpu: self.cpu,
            max_procs: self.max_procs,
            max_files: self.max_files,
            tmp_size: self.tmp_size,
        }
    }
}
