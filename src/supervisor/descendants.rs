//! Ending whole trees of processes where there is no control group that holds them (X-E15, S-20).

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::unistd::Pid;

use crate::container::state::ProcessId;
use crate::linux::{clock, pidfd};

/// A tree that grows faster than this is left to the end of its pid namespace.
const ROUNDS: usize = 64;

/// How long killed processes may take to be gone, in all.
const DEATH: Duration = Duration::from_secs(1);

/// SIGKILL to every process below `root`, as long as that is there, that began at `since` or later (field 22 of `/proc/PID/stat`), and waits for
/// their ends. They are stopped first, or a parent's death would take its children out of the tree before we have seen
/// them.
pub fn kill_below(root: &ProcessId, since: u64) {
    let mut stopped: Vec<(Process, OwnedFd)> = Vec::new();
    for _ in 0..ROUNDS {
        let all = processes();
        let known = |found: &Process| stopped.iter().any(|(known, _)| known.pid == found.pid);
        if !all.iter().any(|found| found.pid.as_raw() == root.pid && found.start == root.start_time) {
            break; // its number may be another's by now
        }
        let new: Vec<Process> =
            below(&all, Pid::from_raw(root.pid)).filter(|found| found.start >= since && !known(found)).collect();
        if new.is_empty() {
            break;
        }
        stopped.extend(new.into_iter().filter_map(|process| Some((process, stop(process)?))));
    }
    for (_, pidfd) in &stopped {
        let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL); // ESRCH: it is gone, which is what was wanted
    }
    let deadline = clock::now() + DEATH;
    for (_, pidfd) in &stopped {
        let _ = pidfd::wait_ended(pidfd.as_fd(), Some(deadline - clock::now())); // what hangs in the kernel ends later
    }
}

/// Stops a process; none if it has ended since it was found.
fn stop(found: Process) -> Option<OwnedFd> {
    let pidfd = pidfd::open(found.pid).ok()?;
    // By number: it is the one that was found if it began then.
    let same = pidfd::start_time(found.pid).is_ok_and(|start| start == found.start);
    (same && pidfd::send_signal(pidfd.as_fd(), libc::SIGSTOP).is_ok()).then_some(pidfd)
}

#[derive(Clone, Copy, Debug)]
struct Process {
    pid: Pid,
    parent: Pid,
    start: u64,
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| parse(Pid::from_raw(pid), &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// proc_pid_stat(5); the name may hold anything, so the fields are counted from its end. Zombies are no processes.
fn parse(pid: Pid, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    Some(Process { pid, parent: Pid::from_raw(fields.get(1)?.parse().ok()?), start: fields.get(19)?.parse().ok()? })
}

fn below(all: &[Process], root: Pid) -> impl Iterator<Item = Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent && process.pid != root) {
            if !found.iter().any(|known| known.pid == child.pid) {
                parents.push(child.pid);
                found.push(*child);
            }
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_of_the_process() {
        let line = "7 (a) S 1 (x) R 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0";
        let process = parse(Pid::from_raw(7), line).unwrap();
        assert_eq!((process.parent.as_raw(), process.start), (3, 4242));
        assert!(parse(Pid::from_raw(7), "7 (a) Z 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0").is_none());
    }

    #[test]
    fn a_tree_is_all_that_hangs_on_its_root() {
        let process = |pid, parent| Process { pid: Pid::from_raw(pid), parent: Pid::from_raw(parent), start: 0 };
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 5)];
        let mut found: Vec<i32> = below(&all, Pid::from_raw(2)).map(|process| process.pid.as_raw()).collect();
        found.sort();
        assert_eq!(found, [3, 4]);
    }
}
