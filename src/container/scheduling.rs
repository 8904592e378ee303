//! When and where a process runs: `process.scheduler`, `ioPriority` and `execCPUAffinity` (config.md, "Linux Process").

use std::io;

use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy,
    Process, Scheduler,
};

use crate::linux::bits::Bits;
use crate::linux::sched::{self, Attributes};

/// Gives this process its scheduling policy and I/O priority. After its rlimits, which may allow more.
pub fn apply(process: &Process) -> Result<()> {
    process.scheduler().as_ref().map_or(Ok(()), schedule)?;
    process.io_priority().as_ref().map_or(Ok(()), set_io_priority)
}

fn schedule(scheduler: &Scheduler) -> Result<()> {
    let policy = *scheduler.policy();
    let mut attributes = Attributes::of(policy_number(policy));
    attributes.flags = scheduler.flags().iter().flatten().fold(0, |flags, flag| flags | flag_number(*flag));
    attributes.nice = scheduler.nice().unwrap_or(0);
    attributes.priority = scheduler.priority().unwrap_or(0).unsigned_abs();
    attributes.runtime = scheduler.runtime().unwrap_or(0);
    attributes.deadline = scheduler.deadline().unwrap_or(0);
    attributes.period = scheduler.period().unwrap_or(0);
    sched::set_attributes(attributes).map_err(|error| {
        let cause = why_not(policy, &error);
        anyhow!(error).context(format!("process.scheduler: set {policy}{cause}"))
    })
}

/// What the kernel's error number does not say.
fn why_not(policy: Policy, error: &io::Error) -> &'static str {
    match (error.raw_os_error(), policy) {
        (Some(libc::EPERM), Policy::SchedDeadline) => {
            " (needs CAP_SYS_NICE, and all CPUs: it cannot be used together with linux.resources.cpu.cpus)"
        }
        (Some(libc::EPERM), _) => {
            " (needs CAP_SYS_NICE or RLIMIT_NICE and RLIMIT_RTPRIO, and realtime also cpu time in the cgroup)"
        }
        (Some(libc::EINVAL), Policy::SchedDeadline) => {
            " (the period must be within the sysctls kernel.sched_deadline_period_min_us and _max_us; are the flags for this policy?)"
        }
        (Some(libc::EINVAL), _) => " (does this kernel know the flags for this policy?)",
        (Some(libc::EBUSY), Policy::SchedDeadline) => " (the CPUs have no such time left to promise)",
        _ => "",
    }
}

fn policy_number(policy: Policy) -> u32 {
    /// include/uapi/linux/sched.h reserves it, and no kernel has it.
    const SCHED_ISO: i32 = 4;
    let number = match policy {
        Policy::SchedOther => libc::SCHED_OTHER,
        Policy::SchedFifo => libc::SCHED_FIFO,
        Policy::SchedRr => libc::SCHED_RR,
        Policy::SchedBatch => libc::SCHED_BATCH,
        Policy::SchedIso => SCHED_ISO,
        Policy::SchedIdle => libc::SCHED_IDLE,
        Policy::SchedDeadline => libc::SCHED_DEADLINE,
    };
    number.unsigned_abs()
}

fn flag_number(flag: Flag) -> u64 {
    let number = match flag {
        Flag::SchedResetOnFork => libc::SCHED_FLAG_RESET_ON_FORK,
        Flag::SchedFlagReclaim => libc::SCHED_FLAG_RECLAIM,
        Flag::SchedFlagDLOverrun => libc::SCHED_FLAG_DL_OVERRUN,
        Flag::SchedFlagKeepPolicy => libc::SCHED_FLAG_KEEP_POLICY,
        Flag::SchedFlagKeepParams => libc::SCHED_FLAG_KEEP_PARAMS,
        Flag::SchedFlagUtilClampMin => libc::SCHED_FLAG_UTIL_CLAMP_MIN,
        Flag::SchedFlagUtilClampMax => libc::SCHED_FLAG_UTIL_CLAMP_MAX,
    };
    number as u64
}

fn set_io_priority(priority: &LinuxIOPriority) -> Result<()> {
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u16::try_from(priority.priority()).context("process.ioPriority.priority")?;
    sched::set_io_priority(class, level).map_err(|error| {
        let cause = match error.raw_os_error() {
            Some(libc::EPERM) => " (needs CAP_SYS_NICE or CAP_SYS_ADMIN)",
            _ => "",
        };
        anyhow!(error).context(format!("process.ioPriority: set {} {level}{cause}", priority.class()))
    })
}

/// Lets this process run on all CPUs of the cpuset that it is in. Kernels since 6.2 remember how a caller was pinned (taskset(1),
/// systemd's CPUAffinity=), and a container does not belong where its caller does.
pub fn forget_callers_cpus() {
    // Where a filter forbids it the container runs on fewer CPUs, as everything else of its caller's.
    let _ = sched::set_cpus(&Bits::all());
}

/// Puts a process of `exec`, which is in its cgroup by now, on the CPUs where it should be at last.
pub fn settle(affinity: Option<&ExecCPUAffinity>) -> Result<()> {
    let last = affinity.and_then(|affinity| affinity.cpu_affinity_final().as_deref());
    let first = affinity.and_then(|affinity| affinity.initial().as_deref());
    match (last, first) {
        (Some(list), _) => set_cpus("final", list),
        // config.md: without `final` the kernel decides what becomes of `initial`.
        (None, Some(_)) => Ok(()),
        (None, None) => {
            forget_callers_cpus();
            Ok(())
        }
    }
}

/// While this lives, this process, and with it every child that it makes, is on the CPUs that `execCPUAffinity.initial` names.
pub struct Initial {
    before: Bits,
}

impl Initial {
    pub fn of(process: &Process) -> Result<Option<Initial>> {
        let affinity = process.exec_cpu_affinity().as_ref();
        let Some(list) = affinity.and_then(|affinity| affinity.initial().as_deref()) else { return Ok(None) };
        let before = sched::cpus().context("read our CPU affinity")?;
        set_cpus("initial", list)?;
        Ok(Some(Initial { before }))
    }
}

impl Drop for Initial {
    fn drop(&mut self) {
        // It is where we were allowed to be, and a verb that stays where it is works all the same.
        let _ = sched::set_cpus(&self.before);
    }
}

fn set_cpus(which: &str, list: &str) -> Result<()> {
    let cpus: Bits = list.parse().map_err(|error| anyhow!("process.execCPUAffinity.{which}: {error}"))?;
    sched::set_cpus(&cpus)
        .with_context(|| format!("process.execCPUAffinity.{which}: run on CPUs {list} (are they in the cpuset?)"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_process_says_of_its_scheduling_is_what_the_kernel_knows_of_it() {
        let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/",
            "scheduler": {"policy": "SCHED_BATCH", "nice": 7}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}});
        let process: Process = serde_json::from_value(process).unwrap();
        std::thread::spawn(move || {
            apply(&process).unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            // proc(5): nice is field 19, the policy 41; the first here is field 3.
            assert_eq!((fields[16], fields[38]), ("7", "3"));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_policy_that_no_kernel_has_is_an_error_that_names_the_field() {
        let scheduler = serde_json::from_value(json!({"policy": "SCHED_ISO"})).unwrap();
        let error = format!("{:#}", schedule(&scheduler).unwrap_err());
        assert!(error.starts_with("process.scheduler: set SCHED_ISO"), "{error}");
    }
}
