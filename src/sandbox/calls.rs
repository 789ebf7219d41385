//! Which system calls are left, as two filters that the kernel asks one after the other.
//!
//! A list of what is allowed, not of what is refused: the kernel gets new calls each year, and what nobody has looked
//! at must not be left open. Its price is that a library may one day use a call that is not in the list. To keep that
//! price low, the list has what the C library, GStreamer, its encoders, Mesa and their threads use by any road, not
//! what one run of ours has shown; and what is not in it fails as if the kernel did not have it (`ENOSYS`), for which
//! libraries have another way: `clone3` is refused so that the C library uses `clone`, whose flags a filter can see.
//! Nothing is killed. Root sees what is missed by `strace -f -Z -p PID`.
//!
//! What a library might try, and must not have whatever it makes of it, is refused by name in the second filter
//! (`EPERM`): other programs, processes, sockets of other kinds.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::needs::{Needs, Sockets};

/// What every kind of machine has.
const ALLOWED: &[libc::c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mbind,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    // Files: which, Landlock says.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Sockets: those that are new, the second filter says.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_socketpair,
    // Waiting.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_restart_syscall,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Threads, and how their time is shared.
    libc::SYS_clone,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getpriority,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setpriority,
    // Signals: to itself alone.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    // What the kernel knows of this process, the machine and the time.
    libc::SYS_capget,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_kcmp, // Mesa: whether two fds are one device
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    // A smaller sandbox within this one.
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
];

/// Those that newer kinds of machines never had.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];

/// … and none of them here.
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// For sockets of the network: UDP comes from a port of ours.
const ALLOWED_ON_NETWORKS: &[libc::c_long] = &[libc::SYS_bind];

/// For sockets that others connect to.
const ALLOWED_TO_LISTENERS: &[libc::c_long] = &[libc::SYS_bind, libc::SYS_listen];

/// Refused by name, so that the reason is told: other programs and processes, other rights, the kernel itself.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_kill,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setns,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setuid,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// The two filters for a process that has these needs and the number `own`, in the order in which they are applied.
///
/// # Errors
/// If this kind of machine is not known to the compiler of filters.
pub(super) fn filters(needs: &Needs, own: u32) -> Result<[BpfProgram; 2], BackendError> {
    let machine: TargetArch = std::env::consts::ARCH.try_into()?;
    let error = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    let on_networks = matches!(needs.sockets, Sockets::Network { .. });
    let network = if on_networks { ALLOWED_ON_NETWORKS } else { &[] };
    let listening = if needs.listens { ALLOWED_TO_LISTENERS } else { &[] };
    let allowed = ALLOWED.iter().chain(ALLOWED_HERE).chain(network).chain(listening);
    let allowed = allowed.map(|&call| (call, Vec::new())).collect();
    let allowed = SeccompFilter::new(allowed, error(libc::ENOSYS), SeccompAction::Allow, machine)?;
    let mut refused: BTreeMap<_, _> = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    refused.extend(refused_arguments(&needs.sockets, own)?);
    let refused = SeccompFilter::new(refused, SeccompAction::Allow, error(libc::EPERM), machine)?;
    Ok([allowed.try_into()?, refused.try_into()?])
}

/// Calls that are refused with some arguments.
fn refused_arguments(
    sockets: &Sockets,
    own: u32,
) -> Result<Vec<(libc::c_long, Vec<SeccompRule>)>, BackendError> {
    let is = |argument: u8, how: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)
    };
    let families: &[i32] = match sockets {
        Sockets::None => &[],
        Sockets::Unix { .. } => &[libc::AF_UNIX],
        Sockets::Network { .. } => &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6],
    };
    let others = families.iter().map(|family| is(0, SeccompCmpOp::Ne, family.unsigned_abs().into()));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let others = if others.is_empty() { Vec::new() } else { vec![SeccompRule::new(others)?] };
    let unix = libc::AF_UNIX.unsigned_abs().into();
    let thread = libc::CLONE_THREAD.unsigned_abs().into();
    // They put keys into the terminal that the program was started from.
    let keys = [libc::TIOCSTI, libc::TIOCLINUX].into_iter();
    let keys = keys.map(|command| SeccompRule::new(vec![is(1, SeccompCmpOp::Eq, command)?]));
    Ok(vec![
        (libc::SYS_socket, others),
        (libc::SYS_socketpair, vec![SeccompRule::new(vec![is(0, SeccompCmpOp::Ne, unix)?])?]),
        (libc::SYS_clone, vec![SeccompRule::new(vec![is(0, SeccompCmpOp::MaskedEq(thread), 0)?])?]),
        (libc::SYS_tgkill, vec![SeccompRule::new(vec![is(0, SeccompCmpOp::Ne, own.into())?])?]),
        (libc::SYS_ioctl, keys.collect::<Result<_, _>>()?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_and_refused() {
        let allowed: Vec<_> = ALLOWED.iter().chain(ALLOWED_HERE).chain(ALLOWED_TO_LISTENERS).collect();
        assert!(REFUSED.iter().all(|call| !allowed.contains(&call)));
        let mut once = allowed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), allowed.len(), "one is there twice");
    }

    #[test]
    fn the_kernel_would_take_the_filters() {
        let mut needs = Needs::of_encoders(&[], &[]);
        let mut look = |change: fn(&mut Needs)| {
            change(&mut needs);
            for filter in filters(&needs, 1).unwrap() {
                assert!((10..4096).contains(&filter.len()), "{}", filter.len());
            }
        };
        look(|_| {});
        look(Needs::listen);
        look(|needs| needs.connect_network(Some(1935)));
    }
}
