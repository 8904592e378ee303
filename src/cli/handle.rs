//! `bookend handle`: the child process of one attempt of a handler (hidden, for the supervisor alone).
//!
//! `handle ROOT ID HOOK ENTRY ATTEMPT [env:NAME=VALUE]… [ns:KIND]…`, with the report socket, the reading ends of its own
//! output and the namespaces of a postStop at fixed descriptors (handler/report.rs). Standard output and error are the hook's.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use oci_spec::runtime::Process;

use super::exec::own_process;
use crate::container::exec::{Child, ExecError, ExecOptions, Network, spawn, spawn_after};
use crate::container::id::ContainerId;
use crate::container::root::Root;
use crate::container::stand_in::StandIn;
use crate::container::state::{State, write_file};
use crate::handler::probe;
use crate::handler::report::{NAMESPACES_FD, OUTPUT_FD, REPORT_FD, Report, left_behind};
use crate::lifecycle::fault::HandlerFault;
use crate::lifecycle::model::{Entry, Handler, Hook};
use crate::lifecycle::outcome::Failure;
use crate::linux::pidfd::Woken;
use crate::linux::{inherit, pidfd, reap};
use crate::supervisor::boot::{tree_name, unblock_signals};
use crate::supervisor::settings::Settings;

/// The Kubernetes release whose lifecycle rules are reproduced, for the User-Agent of httpGet (X-H13).
const COMPAT: &str = "1.34";

/// What keeps a postStop from running that a successor began after init was gone (S-28).
const LOST: &str = "the container's namespaces are gone: its supervisor was killed, and the ENTRYPOINT exited before another \
                    one had taken over";

/// Runs one attempt, and reports how it went. Returns an exit code that nobody reads: the report tells.
pub fn run(arguments: &[OsString]) -> u8 {
    let Ok(report) = inherit::inherited(REPORT_FD) else {
        eprintln!("bookend: handle is bookend's own: it is not to be called");
        return 2;
    };
    let mut report = File::from(report);
    let _output = [OUTPUT_FD, OUTPUT_FD + 1].map(inherit::inherited); // kept for a successor
    if !matches!(report.read(&mut [0]), Ok(1)) {
        return 1; // nobody has written down that we exist, so this attempt has not begun
    }
    // Nothing of the supervisor's is to be seen in its child.
    unblock_signals();
    let task = Task::read(arguments);
    let last = match task.as_ref().map(|task| task.run(&mut report)) {
        Ok(Ok(last)) => last,
        Ok(Err(error)) => Report::StartFailed { error: format!("{error:#}") },
        Err(error) => Report::StartFailed { error: format!("{error:#}") },
    };
    match (tell(&mut report, &last), task) {
        (Ok(()), _) => 0,
        (Err(_), Ok(task)) => task.leave_behind(&last),
        (Err(_), Err(_)) => 1,
    }
}

/// a SIGTERM is the hook's, whose process the supervisor may not know yet. Until that is there it waits.
fn hold_sigterm() -> Result<SignalFd> {
    let mut held = SigSet::empty();
    held.add(Signal::SIGTERM);
    held.thread_block().context("block SIGTERM")?;
    SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("make a signal descriptor")
}

fn tell(report: &mut File, what: &Report) -> Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(report.write_all(&line)?)
}

/// What takes the place of the whole handler, of whatever kind it is: it needs nothing in the image.
fn stand_in(fault: HandlerFault) -> Option<StandIn> {
    match fault {
        HandlerFault::Hang => Some(StandIn::Hang),
        HandlerFault::Fail => Some(StandIn::Fail),
        HandlerFault::Flood => Some(StandIn::Flood),
        HandlerFault::Slow(_) => None,
    }
}

struct Task {
    hook: Hook,
    at: usize,
    attempt: u32,
    entry: Entry,
    fault: Option<HandlerFault>,
    container: String,
    strict_kubernetes: bool,
    state: State,
    dir: PathBuf,
    env: Vec<String>,
    namespaces: Vec<(CloneFlags, OwnedFd)>,
}

impl Task {
    fn read(arguments: &[OsString]) -> Result<Task> {
        let words: Vec<&str> =
            arguments.iter().map(|word| word.to_str().context("read the arguments")).collect::<Result<_>>()?;
        let [root, id, hook, entry, attempt, rest @ ..] = words.as_slice() else { bail!("too few arguments") };
        let root = Root::at(Path::new(root));
        let id: ContainerId = id.parse().map_err(anyhow::Error::msg)?;
        let dir = root.container(&id);
        let hook = Hook::ALL.into_iter().find(|known| known.name() == *hook).context("no such hook")?;
        let at: usize = entry.parse().context("read the entry")?;
        let Settings { plan, faults, .. } = Settings::load(&dir)?;
        let kinds = rest.iter().filter_map(|word| word.strip_prefix("ns:"));
        let namespaces = kinds.zip(NAMESPACES_FD..).map(|(bits, fd): (&str, RawFd)| -> Result<_> {
            Ok((CloneFlags::from_bits_retain(bits.parse()?), inherit::inherited(fd)?))
        });
        Ok(Task {
            namespaces: namespaces.collect::<Result<_>>()?,
            hook,
            at,
            attempt: attempt.parse().context("read the attempt")?,
            entry: plan.entries(hook).get(at).context("no such entry")?.clone(),
            fault: faults.handlers.get(&hook).copied(),
            strict_kubernetes: plan.strict_kubernetes,
            container: plan.container,
            state: State::load(&root, &id)?,
            dir,
            env: rest.iter().filter_map(|word| word.strip_prefix("env:")).map(str::to_owned).collect(),
        })
    }

    /// The supervisor is gone: the next one will look for this (S-28).
    fn leave_behind(&self, last: &Report) -> u8 {
        let path = self.dir.join(left_behind(self.hook, self.at, self.attempt));
        let written = serde_json::to_vec(last).map_err(Into::into).and_then(|text| write_file(&path, &text));
        written.is_err().into() // then the container is gone too, or the disk full
    }

    fn run(&self, report: &mut File) -> Result<Report> {
        if let Some(HandlerFault::Slow(span)) = self.fault {
            std::thread::sleep(span);
        }
        match (&self.entry.handler, self.fault.and_then(stand_in)) {
            (_, Some(stand_in)) => self.exec(&[], Some(stand_in), report),
            (Handler::Exec { command }, None) => self.exec(command, None, report),
            // X-T03
            (Handler::TcpSocket { .. }, None) if self.strict_kubernetes => Ok(Report::Failed(Failure {
                class: "invalid handler".into(),
                error: "invalid handler: the kubelet has no tcpSocket hooks (--strict-kubernetes)".into(),
                ..Failure::default()
            })),
            (handler, None) => self.probe(handler),
        }
    }

    /// 4.1: as the container's own process, but for the arguments.
    fn exec(&self, command: &[String], instead: Option<StandIn>, report: &mut File) -> Result<Report> {
        let mut options = ExecOptions::new(self.process(command)?);
        options.instead = instead;
        options.cgroup_child = Some(tree_name(self.hook, self.at));
        // A frozen container's hook runs once it is resumed, like one that had begun before.
        options.ignore_paused = true;
        let asked = hold_sigterm()?;
        let spawned = match self.hook {
            Hook::PostStop if !self.holds(CloneFlags::CLONE_NEWNS) => bail!(LOST),
            Hook::PostStop => spawn_after(&self.namespaces, &self.dir, &options),
            _ => spawn(&self.state, &self.dir, &options),
        };
        let child = match spawned {
            Ok(child) => child,
            Err(ExecError { message, .. }) => return Ok(Report::StartFailed { error: message }),
        };
        self.attend(child, &asked, report)
    }

    fn attend(&self, child: Child, asked: &SignalFd, report: &mut File) -> Result<Report> {
        // A supervisor that is gone knows by our pid where to look.
        let _ = tell(report, &Report::Started { pid: child.pid.as_raw(), own_cgroup: child.in_cgroup });
        // A closed output must not be kept open by us, who wait (X-E13).
        let wait = || pidfd::wait(child.pidfd.as_fd(), &[asked.as_fd()], None).context("wait for the hook's process");
        while wait()? != Woken::ByItsEnd {
            if let Ok(Some(_)) = asked.read_signal() {
                let _ = pidfd::send_signal(child.pidfd.as_fd(), libc::SIGTERM); // ESRCH: it has ended
            }
        }
        Ok(Report::Exited { code: reap::look(child.pidfd.as_fd()).code().unwrap_or(255) })
    }

    /// X-E02 to X-E04: no terminal, and no variable is added unless the policy says so.
    fn process(&self, command: &[String]) -> Result<Process> {
        let mut process = own_process(&self.state, &self.dir)?;
        process.set_args(Some(command.to_vec()));
        process.set_terminal(Some(false));
        process.set_console_size(None);
        if !self.env.is_empty() {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend(self.env.iter().cloned());
            process.set_env(Some(env));
        }
        Ok(process)
    }

    /// Whether a namespace of the container was kept for postStop.
    fn holds(&self, kind: CloneFlags) -> bool {
        self.namespaces.iter().any(|(held, _)| *held == kind)
    }

    /// 4.2, 4.3: from the container's network.
    fn probe(&self, handler: &Handler) -> Result<Report> {
        let network = match self.hook {
            Hook::PostStop if !self.holds(CloneFlags::CLONE_NEWNET) => {
                Network::after_all(&self.state, &self.dir)?.context(LOST)?
            }
            _ => Network::of(&self.state, &self.dir, &self.namespaces)?,
        };
        let result = probe::run(
            handler,
            self.entry.policy.success_status,
            self.hook,
            &self.container,
            COMPAT,
            network.is_own(),
            || network.join(),
        );
        Ok(match result {
            Ok(success) => Report::Succeeded(success),
            Err(failure) => Report::Failed(Failure { exit_code: None, ..failure }),
        })
    }
}
