//! Closes a process off from what it does not need: files by Landlock, system calls by seccomp, and no capabilities, no
//! other programs, no core dumps. From then on a fault in a library that reads strangers' bytes is a fault within this.
//!
//! Of the ways out, these are left where they are needed: unix sockets, which the kernel tells apart by their users
//! alone; and the network, where a picture is published there or a bus is there.
//!
//! Landlock covers the thread that asks for it and those that come later (before ABI 8), so the process is closed
//! before it has other threads; what starts programs (GStreamer looks for new plugins by one of its own) comes before.
//! [`Needs`] says what may be used, without asking the system; `calls` which system calls.

mod calls;
mod files;
mod needs;

use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use seccompiler::apply_filter_all_threads;
use tracing::warn;

pub(crate) use needs::{Needs, folder_of};

/// What becomes of a process where the kernel cannot close it off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// It goes on, and one line in the log says what is missing.
    On,
    /// It is an error.
    Strict,
}

/// The sandbox could not be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The kernel lacks something, at [`Level::Strict`].
    #[error("this system cannot close the sandbox: {0}; with `--sandbox on` the program starts without")]
    Missing(String),
    /// The rules about files were refused.
    #[error("the kernel refused the rules for files: {0}")]
    Files(#[from] landlock::RulesetError),
    /// A process that may gain rights is no process in a sandbox.
    #[error("the kernel refused `no_new_privs`: {0}")]
    NoNewPrivs(rustix::io::Errno),
}

/// Returns what encoders and readers of pictures need, as the environment of this process says.
pub(crate) fn needs_of_encoders() -> Needs {
    let in_variables = needs::FOLDERS.iter().filter_map(std::env::var_os);
    let mut folders: Vec<PathBuf> =
        in_variables.flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>()).collect();
    folders.retain(|folder| folder.is_absolute());
    // GStreamer's plugins of one's own.
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    folders.extend(data.map(|data| data.join("gstreamer-1.0")));
    let in_dev = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let in_dev: Vec<String> = in_dev.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    Needs::of_encoders(&folders, &in_dev)
}

/// Closes this process off from all but what it needs, for good. Call it before there are other threads.
///
/// # Errors
/// At [`Level::Strict`] if the system lacks something for it. Else only if it has it and refuses.
pub(crate) fn close(needs: &Needs, level: Level) -> Result<(), SandboxError> {
    set_no_new_privs(true).map_err(SandboxError::NoNewPrivs)?;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    crate::sys::keep_memory_private();
    let mut missing = files::restrict(needs)?;
    let kept = if needs.others { CapabilitySet::DAC_OVERRIDE } else { CapabilitySet::empty() };
    if !give_up_capabilities(kept) {
        missing.push("capabilities stay".to_owned());
    }
    let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    let filtered = calls::filters(needs, own).map_err(seccompiler::Error::Backend);
    if let Err(error) =
        filtered.and_then(|filters| filters.iter().try_for_each(|f| apply_filter_all_threads(f)))
    {
        missing.push(format!("no filter of system calls (seccomp: {error})"));
    }
    match (level, missing.is_empty()) {
        (_, true) => {}
        (Level::Strict, false) => return Err(SandboxError::Missing(missing.join("; "))),
        (Level::On, false) => warn!(missing = missing.join("; "), "the sandbox is not whole on this system"),
    }
    Ok(())
}

/// Gives up what root has more than others, but for what is `kept`. Returns whether nothing else is left.
fn give_up_capabilities(kept: CapabilitySet) -> bool {
    let _ = clear_ambient_capability_set();
    for capability in CapabilitySet::all().iter() {
        // Without CAP_SETPCAP it is refused, and does not matter: nothing gains rights with `no_new_privs`.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let Ok(have) = capabilities(None) else { return false };
    let left = CapabilitySets {
        effective: have.effective & kept,
        permitted: have.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    // Where a service manager took them all before us, it may also refuse the call.
    have == left || set_capabilities(None, left).is_ok()
}
