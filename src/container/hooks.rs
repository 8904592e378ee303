//! OCI hooks: host programs that `config.json` names, given the state on stdin (runtime-spec, "POSIX-platform Hooks").
//! Not to be mixed up with the hooks of the lifecycle.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oci_spec::runtime::{Hook, Hooks, Spec};
use serde::Deserialize;

use super::bundle::Bundle;
use super::interrupt::HeldSignals;
use super::state::{State, Status};
use crate::linux::pidfd::{self, Woken};
use crate::linux::spawn;

/// How much of what a hook said is in the error.
const SAID: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Point {
    pub const ALL: [Point; 6] = [
        Point::Prestart,
        Point::CreateRuntime,
        Point::CreateContainer,
        Point::StartContainer,
        Point::Poststart,
        Point::Poststop,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Point::Prestart => "prestart",
            Point::CreateRuntime => "createRuntime",
            Point::CreateContainer => "createContainer",
            Point::StartContainer => "startContainer",
            Point::Poststart => "poststart",
            Point::Poststop => "poststop",
        }
    }
}

fn of(hooks: Option<&Hooks>, point: Point) -> &[Hook] {
    let Some(hooks) = hooks else { return &[] };
    // Deprecated, and what docker uses.
    #[allow(deprecated, reason = "prestart is deprecated in the specification, and docker uses nothing else")]
    let listed = match point {
        Point::Prestart => hooks.prestart(),
        Point::CreateRuntime => hooks.create_runtime(),
        Point::CreateContainer => hooks.create_container(),
        Point::StartContainer => hooks.start_container(),
        Point::Poststart => hooks.poststart(),
        Point::Poststop => hooks.poststop(),
    };
    listed.as_deref().unwrap_or_default()
}

pub fn any(config: &Spec, points: &[Point]) -> bool {
    points.iter().any(|point| !of(config.hooks().as_ref(), *point).is_empty())
}

/// What ends a hook before its time.
#[derive(Clone, Copy, Default)]
pub struct Until<'a> {
    /// A signal to us that is held.
    pub signal: Option<&'a HeldSignals>,
    /// The end of init: of its link to us, on which it says nothing meanwhile.
    pub init: Option<BorrowedFd<'a>>,
}

impl<'a> Until<'a> {
    fn reasons(self) -> Vec<Reason<'a>> {
        let init = self.init.map(|link| (link, "init has ended"));
        self.signal.map(|held| (held.as_fd(), A_SIGNAL)).into_iter().chain(init).collect()
    }
}

/// Once something can be read from the descriptor, a hook is killed, and this is why.
type Reason<'a> = (BorrowedFd<'a>, &'static str);

const A_SIGNAL: &str = "a signal came";

/// Runs the hooks of a point one after the other; the first that fails is the error.
pub fn run(config: &Spec, point: Point, state: &State, status: Status, until: Until<'_>) -> Result<()> {
    run_all(config.hooks().as_ref(), point, state, status, until)
}

fn run_all(hooks: Option<&Hooks>, point: Point, state: &State, status: Status, until: Until<'_>) -> Result<()> {
    for (index, hook) in of(hooks, point).iter().enumerate() {
        let interrupted = || until.signal.map_or(Ok(()), HeldSignals::check);
        interrupted()
            .and_then(|()| run_one(point, hook, state, status, &until.reasons()))
            .or_else(|error| interrupted().and(Err(error)))
            .with_context(|| describe(point, index, hook))?;
    }
    Ok(())
}

fn describe(point: Point, index: usize, hook: &Hook) -> String {
    format!("{} hook #{index} {}", point.name(), hook.path().display())
}

/// Runs the poststart hooks, for `start`. The first that fails is the error.
pub fn poststart(state: &State, dir: &Path, held: Option<&HeldSignals>) -> Result<()> {
    let until = Until { signal: held, init: None };
    run_all(hooks_at_create(dir)?.as_ref(), Point::Poststart, state, Status::Running, until)
}

/// Runs every poststop hook, for `delete`; the failures are warnings. Once something can be read from `ended_by`, no hook is
/// waited for.
pub fn poststop(state: &State, dir: &Path, ended_by: Option<BorrowedFd<'_>>) -> Vec<String> {
    let hooks = match hooks_at_create(dir) {
        Ok(hooks) => hooks,
        Err(error) => return vec![format!("{error:#}")],
    };
    let reason = ended_by.map(|signal| (signal, A_SIGNAL));
    let hooks = of(hooks.as_ref(), Point::Poststop).iter().enumerate();
    let failed = hooks.filter_map(|(index, hook)| {
        let done = run_one(Point::Poststop, hook, state, Status::Stopped, reason.as_slice())
            .with_context(|| describe(Point::Poststop, index, hook));
        done.err().map(|error| format!("{error:#}"))
    });
    failed.collect()
}

/// The configuration as it was at `create`.
pub fn snapshot(state: &State, dir: &Path) -> Result<Spec> {
    let (_, raw) = read_snapshot(dir)?;
    Ok(Bundle::kept(&state.bundle, raw)?.config)
}

/// The hooks of that configuration. The rest, which was checked then, is skipped.
fn hooks_at_create(dir: &Path) -> Result<Option<Hooks>> {
    #[derive(Deserialize)]
    struct Config {
        hooks: Option<Hooks>,
    }
    let (path, raw) = read_snapshot(dir)?;
    let config: Config = serde_json::from_slice(&raw).with_context(|| format!("parse {}", path.display()))?;
    Ok(config.hooks)
}

fn read_snapshot(dir: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let path = dir.join("config.json");
    let raw = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok((path, raw))
}

fn run_one(point: Point, hook: &Hook, state: &State, status: Status, reasons: &[Reason<'_>]) -> Result<()> {
    let input = serde_json::to_vec(&state.oci(status)).context("serialize the state")?;
    // Files in memory: neither a hook that does not read nor one that says more than a pipe holds can stop us.
    let mut stdin = memory(c"state")?;
    stdin.write_all(&input).and_then(|()| stdin.rewind()).context("write the state")?;
    let mut output = memory(c"output")?;
    let mut command = Command::new(hook.path());
    let args = hook.args().as_deref().unwrap_or_default();
    command.arg0(args.first().map_or(hook.path().as_os_str(), |name| name.as_ref())).args(args.iter().skip(1));
    command.env_clear().envs(hook.env().iter().flatten().filter_map(|variable| variable.split_once('=')));
    command.stdin(stdin).process_group(0);
    command.stdout(output.try_clone().context("dup")?).stderr(output.try_clone().context("dup")?);
    spawn::unblock_signals(&mut command);
    if matches!(point, Point::CreateContainer | Point::StartContainer) {
        // Without a pid namespace and a cgroup of its own nothing else would end it with init.
        spawn::die_with_us(&mut command);
    }
    spawn::pass_nothing(&mut command);
    let mut child = command.spawn().context("spawn")?;
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    let (woken, status) = wait(&mut child, limit.map(Duration::from_secs), reasons)?;
    let said = last_words(&mut output);
    match (woken, status.signal()) {
        (Woken::ByLimit, _) => bail!("timed out after {}s{said}", limit.unwrap_or(0)),
        (Woken::ByOther(index), _) => bail!("killed, since {}{said}", reasons[index].1),
        (Woken::ByItsEnd, _) if status.success() => Ok(()),
        (Woken::ByItsEnd, Some(signal)) => bail!("signal {signal}{said}"),
        (Woken::ByItsEnd, None) => bail!("exit code {}{said}", status.code().unwrap_or(-1)),
    }
}

/// Waits for the end of a hook. When its deadline or something else is first, it is killed with its whole process group.
fn wait(child: &mut Child, limit: Option<Duration>, reasons: &[Reason<'_>]) -> Result<(Woken, ExitStatus)> {
    let pid = Pid::from_raw(child.id() as i32);
    let handle = pidfd::open(pid).context("pidfd_open")?;
    let others: Vec<BorrowedFd> = reasons.iter().map(|(fd, _)| *fd).collect();
    let woken = pidfd::wait(handle.as_fd(), &others, limit).context("poll")?;
    if woken != Woken::ByItsEnd {
        // Not reaped yet, so the number is still its own.
        let _ = killpg(pid, Signal::SIGKILL); // gone already is fine
    }
    Ok((woken, child.wait().context("wait")?))
}

pub(super) fn memory(name: &std::ffi::CStr) -> Result<File> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).context("memfd_create")?;
    Ok(File::from(file))
}

fn last_words(output: &mut File) -> String {
    let end = output.seek(SeekFrom::End(0)).unwrap_or(0);
    let mut said = Vec::new();
    let read =
        output.seek(SeekFrom::Start(end.saturating_sub(SAID))).and_then(|_| output.take(SAID).read_to_end(&mut said));
    match (read, String::from_utf8_lossy(&said).trim()) {
        (Err(_), _) | (_, "") => String::new(),
        (_, said) => format!(": {said}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cgroup::Cgroup;

    fn state() -> State {
        let state = serde_json::json!({
            "ociVersion": "1.0.2", "id": "born-hook", "pid": 7, "startTime": 0, "bootId": "", "creator": {}, "bundle": "/b",
            "rootfs": "/b/rootfs", "created": "", "owner": "root", "annotations": {"a": "b"}, "cgroup": Cgroup::none(),
            "rootless": false, "hasHooks": false, "terminal": false
        });
        serde_json::from_value(state).unwrap()
    }

    fn hook(script: &str, timeout: i64) -> Hook {
        let hook = serde_json::json!({
            "path": "/bin/sh", "args": ["hook", "-c", script, "zero"], "env": ["KEY=value=x"], "timeout": timeout
        });
        serde_json::from_value(hook).unwrap()
    }

    fn error(script: &str, timeout: i64) -> String {
        format!("{:#}", run_one(Point::Prestart, &hook(script, timeout), &state(), Status::Creating, &[]).unwrap_err())
    }

    #[test]
    fn a_hook_gets_the_state_and_only_its_own_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!("exec > {}; cat; echo; echo $KEY ${{CARGO_MANIFEST_DIR-none}}", out.display());
        run_one(Point::Prestart, &hook(&script, 60), &state(), Status::Creating, &[]).unwrap();
        let said = std::fs::read_to_string(out).unwrap();
        let mut lines = said.lines();
        let state: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(
            (&state["id"], &state["status"], &state["pid"]),
            (&"born-hook".into(), &"creating".into(), &7.into())
        );
        assert_eq!(state["annotations"]["a"], "b");
        assert_eq!(lines.next(), Some("value=x none"));
    }

    #[test]
    fn a_hook_gets_no_descriptor_that_our_caller_has_left_open() {
        let left = std::io::pipe().unwrap();
        rustix::io::fcntl_setfd(&left.0, rustix::io::FdFlags::empty()).unwrap();
        let script = format!("[ ! -e /proc/self/fd/{} ]", std::os::fd::AsRawFd::as_raw_fd(&left.0));
        run_one(Point::Prestart, &hook(&script, 60), &state(), Status::Creating, &[]).unwrap();
    }

    #[test]
    fn a_failing_hook_says_how_and_with_what_words() {
        assert_eq!(error("echo no luck >&2; exit 3", 60), "exit code 3: no luck");
        assert_eq!(error("kill -9 $$", 60), "signal 9");
    }

    #[test]
    fn the_time_limit_of_a_hook_is_a_bound_for_all_of_it() {
        let begun = Instant::now();
        assert_eq!(error("sleep 1000 & wait", 1), "timed out after 1s");
        assert!(begun.elapsed() < Duration::from_secs(100));
    }
}
