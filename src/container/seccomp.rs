//! The system call filter (runtime-spec, config-linux.md, "Seccomp"). A verb compiles it, once; the process puts it over
//! itself as its last act but one. `create` keeps the compiled filter, so that `exec` and hooks need not compile it again.

mod cache;
mod newer;

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::unistd::Pid;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator,
    LinuxSyscall, Spec,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::state::{State, Status, write_file};
use super::{hooks, link, receiver};
use crate::linux::seccomp;

/// The compiled filter in a state directory.
const FILE: &str = "seccomp.json";

/// What the process itself still calls after its filter asks an agent, before anyone can have the agent's descriptor.
const NEEDED: &str = "sendmsg";

/// A filter, compiled, with what else belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// A `struct sock_filter` in each number.
    program: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*`
    flags: u64,
    agent: Option<Agent>,
}

/// Who is asked about the calls with SCMP_ACT_NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Agent {
    path: PathBuf,
    metadata: Option<String>,
}

/// When a process puts its filter over itself. The later, the fewer calls of ours it has to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before capabilities are given up: without no_new_privs the kernel demands CAP_SYS_ADMIN.
    WithCapabilities,
    /// While the verb still listens, who passes the agent's descriptor on.
    BeforeReady,
    /// After everything but execve.
    Last,
}

impl Filter {
    /// The filter that a configuration asks for, and warnings.
    ///
    /// # Errors
    /// What is no filter, or cannot be one here; the field is named.
    pub fn of(config: &Spec) -> Result<(Option<Filter>, Vec<String>)> {
        let Some(seccomp) = config.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
            return Ok((None, Vec::new()));
        };
        let agent = agent(seccomp)?;
        let mut flags = seccomp.flags().iter().flatten().fold(0, |flags, flag| flags | number(*flag));
        if agent.is_some() {
            // init is its only thread: TSYNC has nothing to do, and the kernel refuses it beside a listener (seccomp(2)).
            flags = flags & !libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        } else if flags & libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0 {
            bail!(
                "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is for a filter with SCMP_ACT_NOTIFY, and this one \
                 has none; remove it"
            );
        }
        let Compiled { program, warnings } = compiled(seccomp)?;
        Ok((Some(Filter { program, flags, agent }), warnings))
    }

    /// Keeps it for `exec` and hooks.
    pub fn save(&self, dir: &Path) -> Result<()> {
        write_file(&dir.join(FILE), &serde_json::to_vec(self)?)
    }

    /// The filter that `create` kept; None for a container without.
    pub fn load(dir: &Path) -> Result<Option<Filter>> {
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("parse {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    pub fn moment(&self, no_new_privs: bool) -> Moment {
        match (no_new_privs, &self.agent) {
            (false, _) => Moment::WithCapabilities,
            (true, Some(_)) => Moment::BeforeReady,
            (true, None) => Moment::Last,
        }
    }

    /// Puts it over this process. The descriptor on which the agent is asked, if there is one.
    pub fn install(&self) -> Result<Option<OwnedFd>> {
        seccomp::install(&self.program, self.flags).context("install the seccomp filter (linux.seccomp)")
    }

    /// Connects to the agent, so that one who is not there is told before anything is made.
    pub fn reach_agent(&self) -> Result<Option<Connection>> {
        let Some(agent) = self.agent.clone() else { return Ok(None) };
        let socket = receiver::reach("seccomp agent", &agent.path).context("linux.seccomp.listenerPath")?;
        Ok(Some(Connection { agent, socket }))
    }
}

/// An agent that waits for its descriptor.
pub struct Connection {
    agent: Agent,
    socket: OwnedFd,
}

impl Connection {
    /// Gives the descriptor to the agent, with the container process state that the specification has for it.
    pub fn send(&self, listener: &OwnedFd, pid: Pid, state: &State, status: Status) -> Result<()> {
        let message = json!({
            "ociVersion": state.oci_version,
            "fds": ["seccompFd"],
            "pid": pid.as_raw(),
            "metadata": self.agent.metadata.as_deref().unwrap_or(""),
            "state": state.oci(status),
        });
        link::send_bytes(self.socket.as_fd(), message.to_string().as_bytes(), Some(listener.as_fd()))
            .with_context(|| format!("send to the seccomp agent at {}", self.agent.path.display()))
    }
}

/// What filters can be here (runtime-spec, features-linux.md "Seccomp").
pub fn features() -> serde_json::Value {
    let flags = [
        Flag::SeccompFilterFlagLog,
        Flag::SeccompFilterFlagSpecAllow,
        Flag::SeccompFilterFlagTsync,
        Flag::SeccompFilterFlagWaitKillableRecv,
    ];
    let supported: Vec<Flag> = flags.into_iter().filter(|flag| seccomp::knows(number(*flag))).collect();
    json!({
        "enabled": true,
        "actions": [
            "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
            "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"
        ],
        "operators": [
            "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"
        ],
        "archs": ARCHITECTURES.into_iter().filter(|name| name.parse::<ScmpArch>().is_ok()).collect::<Vec<_>>(),
        "knownFlags": flags,
        "supportedFlags": supported,
    })
}

/// `2.5.4`
pub fn library_version() -> String {
    libseccomp::ScmpVersion::current().map_or_else(|_| "unknown".to_owned(), |version| version.to_string())
}

/// Those of the specification; the library may know fewer.
const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// The agent that a configuration names, if anything asks it.
fn agent(seccomp: &LinuxSeccomp) -> Result<Option<Agent>> {
    let path = seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = seccomp.listener_metadata().clone().filter(|text| !text.is_empty());
    if path.is_none() && metadata.is_some() {
        bail!("linux.seccomp.listenerMetadata: there is no listenerPath that it could be sent to");
    }
    if seccomp.default_action() == Action::ScmpActNotify {
        bail!(
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default: every call would wait for the agent"
        );
    }
    let asking = |rule: &&LinuxSyscall| rule.action() == Action::ScmpActNotify;
    let mut asked = seccomp.syscalls().iter().flatten().filter(asking).peekable();
    if asked.peek().is_none() {
        return Ok(None);
    }
    if asked.flat_map(LinuxSyscall::names).any(|name| name == NEEDED) {
        bail!("linux.seccomp: SCMP_ACT_NOTIFY cannot be for {NEEDED}, by which the agent gets its descriptor");
    }
    let path = path.context("linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY needs it")?;
    Ok(Some(Agent { path: path.clone(), metadata }))
}

fn number(flag: Flag) -> u64 {
    match flag {
        Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        Flag::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    }
}

/// What the library makes of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Compiled {
    program: Vec<u64>,
    warnings: Vec<String>,
}

fn compiled(seccomp: &LinuxSeccomp) -> Result<Compiled> {
    // A short one is compiled sooner than it is looked up.
    let rules = seccomp.syscalls().iter().flatten().map(|rule| rule.names().len()).sum::<usize>();
    let place = (rules > 32).then(|| cache::Place::of(seccomp)).flatten();
    if let Some(compiled) = place.as_ref().and_then(cache::Place::load) {
        return Ok(compiled);
    }
    let compiled = compile(seccomp)?;
    place.iter().for_each(|place| place.save(&compiled));
    Ok(compiled)
}

fn compile(seccomp: &LinuxSeccomp) -> Result<Compiled> {
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())
        .context("linux.seccomp.defaultAction and defaultErrnoRet")?;
    let mut filter = ScmpFilterContext::new(default).context("linux.seccomp.defaultAction")?;
    // A tree instead of a list. Older libraries do not know it: then every call is a little slower.
    let _ = filter.set_ctl_optimize(2);
    let mut architectures = vec![ScmpArch::native()];
    for arch in seccomp.architectures().iter().flatten() {
        let name = serde_json::to_value(arch)?;
        let arch: ScmpArch = name.as_str().unwrap_or_default().parse().map_err(|_| unknown_arch(&name))?;
        filter.add_arch(arch).with_context(|| format!("linux.seccomp.architectures: {name}"))?;
        architectures.push(arch);
    }
    let mut unknown = Vec::new();
    for (at, rule) in seccomp.syscalls().iter().flatten().enumerate() {
        add(&mut filter, rule, default, &mut unknown).with_context(|| format!("linux.seccomp.syscalls[{at}]"))?;
    }
    let warning =
        format!("linux.seccomp: this libseccomp does not know {}; they get the default action", unknown.join(", "));
    let warnings = if unknown.is_empty() { Vec::new() } else { vec![warning] };
    let mut program = newer::prologue(seccomp, default, &architectures);
    program.extend(export(&filter)?);
    Ok(Compiled { program, warnings })
}

fn unknown_arch(name: &serde_json::Value) -> anyhow::Error {
    anyhow!("linux.seccomp.architectures: this libseccomp does not know {name}")
}

/// Adds a rule for each of its calls. `unknown` collects names that would have been denied, which the default may allow.
fn add(
    filter: &mut ScmpFilterContext,
    rule: &LinuxSyscall,
    default: ScmpAction,
    unknown: &mut Vec<String>,
) -> Result<()> {
    let action = action(rule.action(), rule.errno_ret())?;
    if rule.names().iter().any(String::is_empty) {
        bail!("names: \"\" is no system call");
    }
    if action == default {
        return Ok(()); // it says nothing new, which the library takes for a mistake
    }
    for name in rule.names() {
        let Ok(syscall) = ScmpSyscall::from_name(name) else {
            // Profiles name calls of newer kernels. One that would be allowed gets the default, as if it were not there.
            if !matches!(action, ScmpAction::Allow | ScmpAction::Log)
                && matches!(default, ScmpAction::Allow | ScmpAction::Log)
            {
                unknown.push(name.clone());
            }
            continue;
        };
        for conditions in conditions(rule.args().as_deref().unwrap_or_default())? {
            filter.add_rule_conditional(action, syscall, &conditions).with_context(|| format!("system call {name}"))?;
        }
    }
    Ok(())
}

/// All of a rule's conditions must hold. Two about one argument cannot be in one rule of the library: as in runc each of
/// the conditions then is a rule by itself.
fn conditions(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<ScmpArgCompare>>> {
    let compare = |arg: &LinuxSeccompArg| {
        let index = u32::try_from(arg.index()).ok().filter(|index| *index < 6);
        let index = index.with_context(|| format!("args: a system call has no argument {}", arg.index()))?;
        let (op, datum) = match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
            LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
            LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
            LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
            LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
            LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
            }
        };
        Ok(ScmpArgCompare::new(index, op, datum))
    };
    let compared = args.iter().map(compare).collect::<Result<Vec<_>>>()?;
    let mut indices: Vec<usize> = args.iter().map(LinuxSeccompArg::index).collect();
    indices.sort_unstable();
    let repeated = indices.windows(2).any(|pair| pair[0] == pair[1]);
    Ok(if repeated { compared.into_iter().map(|one| vec![one]).collect() } else { vec![compared] })
}

fn action(action: Action, errno: Option<u32>) -> Result<ScmpAction> {
    let code = || {
        let code = errno.unwrap_or(libc::EPERM as u32);
        u16::try_from(code).map_err(|_| anyhow!("errnoRet {code} is no error number: at most {}", u16::MAX))
    };
    let known = match action {
        Action::ScmpActErrno => return Ok(ScmpAction::Errno(code()?.into())),
        Action::ScmpActTrace => return Ok(ScmpAction::Trace(code()?)),
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActNotify => ScmpAction::Notify,
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActAllow => ScmpAction::Allow,
    };
    match errno {
        Some(errno) => bail!("errnoRet {errno}: {action} returns no error number; remove it"),
        None => Ok(known),
    }
}

/// The library writes its program to a file only.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u64>> {
    let mut file = hooks::memory(c"seccomp")?;
    filter.export_bpf(&file).context("compile the seccomp filter")?;
    let mut bytes = Vec::new();
    file.flush()
        .and_then(|()| file.rewind())
        .and_then(|()| file.read_to_end(&mut bytes).map(drop))
        .context("read the seccomp filter")?;
    Ok(bytes.chunks_exact(8).map(|one| u64::from_ne_bytes(one.try_into().expect("eight of them"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(seccomp: serde_json::Value) -> Result<(Option<Filter>, Vec<String>)> {
        let spec = json!({"ociVersion": "1.3.0", "linux": {"seccomp": seccomp}});
        Filter::of(&serde_json::from_value(spec).unwrap())
    }

    #[track_caller]
    fn refused(seccomp: serde_json::Value, words: &str) {
        let error = format!("{:#}", filter(seccomp).unwrap_err());
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn s19_what_is_no_filter_is_refused_by_name() {
        refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}), "defaultErrnoRet: errnoRet 1");
        refused(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}), "70000");
        refused(json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "defaultAction");
        let rule = |rule: serde_json::Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        refused(rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"})), "listenerPath: missing");
        refused(rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 2})), "syscalls[0]: errnoRet 2");
        let args = json!([{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]);
        refused(rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args})), "no argument 6");
        refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}), "listenerMetadata");
        refused(rule(json!({"names": ["mkdir", ""], "action": "SCMP_ACT_KILL"})), "syscalls[0]: names: \"\"");
        let flag = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flag}), "this one has none");
        let mut notify = rule(json!({"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY"}));
        notify["listenerPath"] = json!("/run/agent");
        refused(notify, "sendmsg");
    }

    #[test]
    fn a_call_that_the_library_does_not_know_is_told_only_where_that_allows_it() {
        let with = |default: &str, action: &str| {
            let rule = json!({"names": ["no_such_call", "mkdir"], "action": action});
            filter(json!({"defaultAction": default, "syscalls": [rule]})).unwrap().1
        };
        assert_eq!(with("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW").len(), 0);
        assert!(with("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")[0].contains("no_such_call"));
    }

    #[test]
    fn a_filter_reads_back_as_it_was_kept() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(Filter::load(scratch.path()).unwrap(), None);
        let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 17});
        let (kept, _) = filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})).unwrap();
        let kept = kept.unwrap();
        assert!(kept.program.len() > 2);
        kept.save(scratch.path()).unwrap();
        assert_eq!(Filter::load(scratch.path()).unwrap(), Some(kept));
    }

    #[test]
    fn two_conditions_on_one_argument_are_two_rules() {
        let arg = |index: usize, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
        let list = |args: serde_json::Value| {
            let args: Vec<LinuxSeccompArg> = serde_json::from_value(args).unwrap();
            conditions(&args).unwrap().iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(list(json!([])), [0]);
        assert_eq!(list(json!([arg(0, 1), arg(1, 2)])), [2]);
        assert_eq!(list(json!([arg(0, 1), arg(0, 2)])), [1, 1]);
    }

    #[test]
    fn s19_a_call_that_is_newer_than_the_profile_does_not_exist_and_an_older_one_is_denied() {
        let allowed = json!([{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}]);
        let (kept, _) = filter(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": allowed})).unwrap();
        let program = kept.unwrap().program;
        let answer = |call| newer::tests::answer(&program, newer::tests::X86_64, call);
        let call = |name: &str| ScmpSyscall::from_name(name).unwrap().as_raw_syscall().unsigned_abs();
        assert_eq!(answer(call("openat2")), libc::SECCOMP_RET_ALLOW);
        assert_eq!(answer(call("mkdir")), libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs());
        assert_eq!(answer(call("faccessat2")), newer::tests::ENOSYS);
        assert_eq!(answer(9999), newer::tests::ENOSYS);
    }

    #[test]
    fn with_no_new_privs_the_filter_comes_last() {
        let (plain, _) = filter(json!({"defaultAction": "SCMP_ACT_ALLOW"})).unwrap();
        let plain = plain.unwrap();
        assert_eq!((plain.moment(false), plain.moment(true)), (Moment::WithCapabilities, Moment::Last));
    }
}
