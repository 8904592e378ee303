//! Limits of a process: rlimits, and how soon the kernel's out-of-memory killer takes it.

use anyhow::{Context, Result};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Kind, Process};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::linux::procfs::Procfs;

/// RLIM_INFINITY
const INFINITY: u64 = u64::MAX;

/// As many open files as we may need ourselves on the way to the program, for hooks above all.
const OURS: u64 = 64;

/// How many open files a process on its way needs, besides those that are passed on to the program.
pub fn room(passed: u32) -> u64 {
    OURS + u64::from(passed)
}

/// Sets every rlimit that is configured; one of open files leaves this room, until `apply_last`.
pub fn apply(process: &Process, room: u64) -> Result<()> {
    for limit in process.rlimits().iter().flatten() {
        let least = if leaves_too_little(limit, room) { room.min(most_files()) } else { 0 };
        set(limit.typ(), limit.soft().max(least), limit.hard().max(least))?;
    }
    Ok(())
}

/// Lowers the limit of open files to what is configured, where that leaves less than this room.
pub fn apply_last(process: &Process, room: u64) -> Result<()> {
    let mut limits = process.rlimits().iter().flatten().filter(|limit| leaves_too_little(limit, room));
    limits.try_for_each(|limit| set(limit.typ(), limit.soft(), limit.hard()))
}

fn leaves_too_little(limit: &PosixRlimit, room: u64) -> bool {
    limit.typ() == Kind::RlimitNofile && limit.soft() < room
}

/// To raise it further takes a right that we may not have.
fn most_files() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(INFINITY)
}

fn set(kind: Kind, soft: u64, hard: u64) -> Result<()> {
    let bound = |value: u64| (value != INFINITY).then_some(value);
    let new = Rlimit { current: bound(soft), maximum: bound(hard) };
    setrlimit(resource(kind), new).with_context(|| {
        format!("set {kind} to soft {}, hard {} (above the caller's hard limit?)", shown(soft), shown(hard))
    })
}

fn shown(value: u64) -> String {
    if value == INFINITY { "unlimited".to_owned() } else { value.to_string() }
}

fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::RlimitCpu => Resource::Cpu,
        Kind::RlimitFsize => Resource::Fsize,
        Kind::RlimitData => Resource::Data,
        Kind::RlimitStack => Resource::Stack,
        Kind::RlimitCore => Resource::Core,
        Kind::RlimitRss => Resource::Rss,
        Kind::RlimitNproc => Resource::Nproc,
        Kind::RlimitNofile => Resource::Nofile,
        Kind::RlimitMemlock => Resource::Memlock,
        Kind::RlimitAs => Resource::As,
        Kind::RlimitLocks => Resource::Locks,
        Kind::RlimitSigpending => Resource::Sigpending,
        Kind::RlimitMsgqueue => Resource::Msgqueue,
        Kind::RlimitNice => Resource::Nice,
        Kind::RlimitRtprio => Resource::Rtprio,
        Kind::RlimitRttime => Resource::Rttime,
    }
}

/// Sets `oom_score_adj`, while /proc is the host's and the file is ours. Returns a warning where a rootless caller may not
/// lower it.
pub fn set_oom_score(process: &Process, proc: &Procfs, rootless: bool) -> Result<Option<String>> {
    let Some(score) = process.oom_score_adj() else { return Ok(None) };
    let file = "oom_score_adj";
    if proc.read_own(file).is_ok_and(|now| now.trim() == score.to_string()) {
        return Ok(None);
    }
    match proc.write_own(file, score.to_string().as_bytes()) {
        Err(error) if rootless && error.kind() == std::io::ErrorKind::PermissionDenied => {
            Ok(Some(format!("process.oomScoreAdj: {score} needs CAP_SYS_RESOURCE, left as it is")))
        }
        done => {
            done.map(|()| None).with_context(|| format!("write {score} to {file} (lowering needs CAP_SYS_RESOURCE)"))
        }
    }
}
