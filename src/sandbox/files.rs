use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, RestrictSelfAttr, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::needs::Needs;

/// The version of Landlock whose rules are all made use of: that of Linux 6.12.
const WHOLE: ABI = ABI::V6;

/// What older versions do not keep a process from.
const SINCE: [(ABI, &str); 4] = [
    (ABI::V3, "cutting files short"),
    (ABI::V4, "TCP connections"),
    (ABI::V5, "commands for devices"),
    (ABI::V6, "signals to other programs and sockets without a file"),
];

/// Restricts this thread, and those that come after it, to the files and ports of `needs`; all threads with Landlock's
/// ABI 8. Returns what the kernel does not do of it.
///
/// # Errors
/// If the kernel has Landlock and refuses.
pub(super) fn restrict(needs: &Needs) -> Result<Vec<String>, RulesetError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let scopes: BitFlags<Scope> = match needs.sockets.reach_names() {
        true => Scope::Signal.into(),
        false => Scope::from_all(WHOLE),
    };
    let write = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate;
    let device = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::IoctlDev;
    let ports = needs.sockets.ports().iter().map(|&port| NetPort::new(port, AccessNet::ConnectTcp));
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(WHOLE))?
        .handle_access(AccessNet::from_all(WHOLE))?
        .scope(scopes)?
        .create()?
        .add_rules(path_beneath_rules(&needs.read, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(&needs.devices, device))?
        .add_rules(path_beneath_rules(&needs.write, write))?
        .add_rules(path_beneath_rules(&needs.remove, AccessFs::RemoveFile))?
        .add_rules(ports.map(Ok::<_, RulesetError>))?
        .all_threads(true)?
        .restrict_self()?;
    let mut missing = lacks(status.landlock);
    if threads > 1 && !status.all_threads && missing.is_empty() {
        missing.push(format!("{} threads are outside", threads - 1));
    }
    Ok(missing)
}

/// Says what this kernel's Landlock does not do.
fn lacks(status: LandlockStatus) -> Vec<String> {
    let abi = match status {
        LandlockStatus::NotImplemented => {
            return vec!["no rules for files (the kernel has no Landlock)".into()];
        }
        LandlockStatus::NotEnabled => {
            return vec!["no rules for files (Landlock is off in the kernel)".into()];
        }
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
    };
    let lacks: Vec<_> = SINCE.iter().filter(|(since, _)| abi < *since).map(|(_, what)| *what).collect();
    let told =
        (!lacks.is_empty()).then(|| format!("the kernel's Landlock has no rules for {}", lacks.join(", ")));
    told.into_iter().collect()
}
