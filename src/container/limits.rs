//! Limits of a process: rlimits, and how soon the kernel's out-of-memory killer takes it.

use anyhow::{Context, Result};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Kind, Process};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::linux::procfs::Procfs;

/// RLIM_INFINITY
const INFINITY: u64 = u64::MAX;

/// As many open files as we may need ourselves on the way to the program, for hooks above all.
const ROOM: u64 = 64;

/// Sets every rlimit that is configured; one of open files leaves room for us, until `apply_last`.
pub fn apply(process: &Process) -> Result<()> {
    for limit in process.rlimits().iter().flatten() {
        let room = if leaves_no_room(limit) { ROOM.min(most_files()) } else { 0 };
        set(limit.typ(), limit.soft().max(room), limit.hard().max(room))?;
    }
    Ok(())
}

/// Lowers the limit of open files to what is configured, where that is too little for us.
pub fn apply_last(process: &Process) -> Result<()> {
    let limits = process.rlimits().iter().flatten();
    limits.filter(|limit| leaves_no_room(limit)).try_for_each(|limit| set(limit.typ(), limit.soft(), limit.hard()))
}

fn leaves_no_room(limit: &PosixRlimit) -> bool {
    limit.typ() == Kind::RlimitNofile && limit.soft() < ROOM
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
