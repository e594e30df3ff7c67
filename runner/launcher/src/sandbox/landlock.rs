//! Landlock: rules about files, ports, signals and abstract sockets that no later step can widen.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::policy::{Access, Network};
use super::root::Place;
use super::{Tier, system_paths};
use crate::start::StartReport;

/// The newest version whose rights are asked for; older kernels grant what they know.
const NEWEST: ABI = ABI::V9;
/// The first version that separates signals and abstract sockets.
const SCOPES_SINCE: ABI = ABI::V6;

/// What the rules are made of.
pub(crate) struct Rules<'a> {
    pub(crate) tier: Tier,
    pub(crate) places: &'a [Place],
    pub(crate) network: &'a Network,
    /// Directories for temporary files.
    pub(crate) scratch: &'a [&'a Path],
}

/// Restricts this process; false where the kernel has no Landlock.
pub(crate) fn restrict(rules: &Rules<'_>, report: &mut StartReport) -> Result<bool, String> {
    let status = build(rules).and_then(RulesetCreated::restrict_self).map_err(|error| error.to_string())?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if status.ruleset != RulesetStatus::NotEnforced => {
            report.enforced.push(format!("landlock={}", effective_abi as i32));
            if effective_abi < SCOPES_SINCE {
                report.missing.push(format!(
                    "landlock scopes: version {} of {} separates neither signals nor abstract sockets",
                    effective_abi as i32, SCOPES_SINCE as i32
                ));
            }
            Ok(true)
        }
        LandlockStatus::NotEnabled => {
            report.missing.push("landlock: the kernel has it switched off; boot with `lsm=landlock,...`".to_owned());
            Ok(false)
        }
        _ => {
            report
                .missing
                .push("landlock: the kernel does not have it, or a container's profile forbids it".to_owned());
            Ok(false)
        }
    }
}

fn build(rules: &Rules<'_>) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    // Ports of named endpoints are in the worker's own empty network; on the host's network all of them were granted.
    if *rules.network == Network::None {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let execute = AccessFs::from_read(NEWEST);
    let write = AccessFs::from_all(NEWEST)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::IoctlDev);
    let mut ruleset = ruleset.create()?;
    for place in rules.places {
        let access = match place.access {
            Access::Read => read,
            Access::Execute => execute,
            Access::Write => write,
            Access::WriteAndExecute => write | AccessFs::Execute,
        };
        ruleset = allow(ruleset, &place.path, access)?;
    }
    for directory in rules.scratch {
        ruleset = allow(ruleset, directory, write)?;
    }
    for device in system_paths::DEVICES {
        ruleset = allow(ruleset, &Path::new("/dev").join(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    match rules.tier {
        Tier::Namespaces => {
            for directory in ["/proc", "/etc", "/dev"] {
                ruleset = allow(ruleset, Path::new(directory), read)?;
            }
        }
        Tier::Plain => {
            for path in system_paths::PROC {
                ruleset = allow(ruleset, Path::new(path), read)?;
            }
        }
    }
    Ok(ruleset)
}

/// A path that is not there needs no rule.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(opened, access))
}
