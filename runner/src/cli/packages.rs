//! Where packages come from, on the command line.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::Config;
use crate::environment::{IndexSettings, PackageManager};

/// The operator's settings of packages.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Packages")]
pub(super) struct PackageArgs {
    /// Which tool makes virtual environments; `discover` takes uv where it is, `disabled` installs nothing.
    #[arg(long, env = "INFLUXDB3_PACKAGE_MANAGER", value_enum, default_value = "discover")]
    package_manager: PackageManagerName,
    /// Index that packages come from; the tools' own configuration otherwise. Plugins cannot name another one then. Credentials
    /// are better given in the variable, which other users of the machine cannot see.
    #[arg(long, env = "BULKHEAD_INDEX_URL", hide_env_values = true, value_name = "URL")]
    index_url: Option<String>,
    /// A further index; may repeat.
    #[arg(long, env = "BULKHEAD_EXTRA_INDEX_URL", hide_env_values = true, value_delimiter = ' ', value_name = "URL")]
    extra_index_url: Vec<String>,
    /// A directory with wheels; may repeat.
    #[arg(long, env = "BULKHEAD_FIND_LINKS", value_delimiter = ':', value_name = "DIR")]
    find_links: Vec<PathBuf>,
    /// Take packages from the directories of wheels alone.
    #[arg(long, env = "BULKHEAD_OFFLINE")]
    offline: bool,
    /// Install only wheels. A package without one is otherwise built from source, in a sandbox without network.
    #[arg(long, env = "BULKHEAD_ONLY_WHEELS")]
    only_wheels: bool,
    /// Install only files whose hash stands in the lock.
    #[arg(long, env = "BULKHEAD_REQUIRE_HASHES")]
    require_hashes: bool,
    /// Install only these packages and no others, what they need included; a name may end in `*`.
    #[arg(long, env = "BULKHEAD_ALLOW_PACKAGE", value_delimiter = ',', value_name = "NAME")]
    allow_package: Vec<String>,
    /// Never install these packages.
    #[arg(long, env = "BULKHEAD_DENY_PACKAGE", value_delimiter = ',', value_name = "NAME")]
    deny_package: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PackageManagerName {
    Discover,
    Uv,
    Pip,
    Disabled,
}

impl PackageArgs {
    /// Enters them.
    pub(super) fn apply(self, config: &mut Config) {
        config.package_manager = match self.package_manager {
            PackageManagerName::Discover => PackageManager::Discover,
            PackageManagerName::Uv => PackageManager::Uv,
            PackageManagerName::Pip => PackageManager::Pip,
            PackageManagerName::Disabled => PackageManager::Disabled,
        };
        config.index = IndexSettings {
            index_url: self.index_url,
            extra_index_urls: self.extra_index_url,
            find_links: self.find_links,
            offline: self.offline,
            only_wheels: self.only_wheels,
            require_hashes: self.require_hashes,
            allow: self.allow_package,
            deny: self.deny_package,
        };
    }
}
