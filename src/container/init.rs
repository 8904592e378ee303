//! What runs between clone and execve in the first process of a container. It is single-threaded and has the memory of the
//! verb that cloned it; nothing in here returns to that verb's code.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{SockFlag, accept4, getsockopt};
use nix::unistd::{geteuid, setsid};
use oci_spec::runtime::{LinuxNamespaceType as Kind, Process, Spec};

use super::bundle::Bundle;
use super::create::CreateOptions;
use super::hooks::{self, Point, Until};
use super::labels::Labels;
use super::link::{self, Failure, Message};
use super::namespaces::{self, Namespaces};
use super::nature::Nature;
use super::rootfs::{self, Prepared, RootfsOptions, Sources};
use super::seccomp::{Filter, Moment};
use super::state::{State, Status};
use super::{limits, process, scheduling, terminal, user};
use crate::cgroup::Driver;
use crate::linux::process::{NoReturn, exit_now, set_dumpable, set_parent_death_signal};
use crate::linux::procfs::Procfs;
use crate::linux::{fd, net, signals};

/// Namespaces, by their kind.
type Held = Vec<(CloneFlags, OwnedFd)>;

/// What init takes over from the verb.
pub struct Birth<'a> {
    pub bundle: &'a Bundle,
    pub options: &'a CreateOptions,
    pub namespaces: &'a Namespaces,
    pub state: State,
    /// `start.sock`.
    pub listener: OwnedFd,
    pub ends: Ends,
    pub filter: Option<&'a Filter>,
    pub nature: &'a Nature,
    /// Sockets that our own caller passed by LISTEN_FDS.
    pub listen_fds: u32,
}

/// What there is between init and the verb.
pub struct Ends {
    /// Init's end of the link.
    pub link: OwnedFd,
    /// What is the verb's alone, and of which init has a copy: its own end, and the lock of the container.
    pub verbs: [RawFd; 2],
}

impl Birth<'_> {
    /// How many descriptors are passed on to the program.
    fn passed(&self) -> u32 {
        self.options.preserve_fds + self.listen_fds
    }

    fn config(&self) -> &Spec {
        &self.bundle.config
    }

    fn process(&self) -> &Process {
        self.bundle.config.process().as_ref().expect("Bundle::parse demands process")
    }

    fn user_namespace(&self) -> bool {
        self.namespaces.is_own(Kind::User)
    }
}

/// The life of init, up to its program. A failure is told to whoever listens: `create`, later `start`.
pub fn run(mut birth: Birth<'_>, sources: Sources) -> ! {
    let _guard = NoReturn;
    // Or we would never see the end of file that tells us of the verb's death, and `delete --force` would wait for us, whatever
    // we hang in. Only closed: a `Lock` that is dropped unlocks for the verb, too.
    for fd in birth.ends.verbs {
        let _ = nix::unistd::close(fd); // it is open, so this cannot fail
    }
    let Ok(mut link) = birth.ends.link.try_clone() else { exit_now(125) };
    let failure = match init(&mut birth, sources, &mut link) {
        Ok(never) => match never {},
        Err(error) => Failure::of(&error),
    };
    let code = failure.code;
    let _ = link::send(link.as_fd(), &Message::Failed(failure), None); // nobody is left to be told
    // `birth` is not dropped: its descriptors may have been closed, and their numbers be another's.
    exit_now(code)
}

/// The stages. Order matters; each says what must already be true.
fn init(birth: &mut Birth<'_>, mut sources: Sources, link: &mut OwnedFd) -> Result<Infallible> {
    let proc = Procfs::open().context("open /proc")?;
    // With our caller's rights to paths of the host, which mapped ids would take from us.
    sources.enter()?;
    // Its file is ours only until the first change of user.
    warn(link, limits::set_oom_score(birth.process(), &proc, birth.options.rootless)?)?;
    // With its ids mapped from here on.
    let Message::Mapped { pid } = link::request(link.as_fd(), &Message::MapIds, &Message::Mapped { pid: 0 })? else {
        bail!("request answers with the kind that was asked for");
    };
    birth.state.pid = pid;
    // Our creator, as our user namespace sees it.
    let creator = geteuid().as_raw();
    if birth.user_namespace() {
        user::become_root()?;
    }
    let groups_denied = proc.read_own("setgroups").is_ok_and(|text| text.trim() == "deny");
    setsid().context("setsid")?;
    let labels = Labels::of(birth.process());
    birth.nature.make_keyring(&birth.state.keyring(), &labels, &proc)?;
    enter_time_namespace(birth, &proc)?;
    // While /proc is the host's: it shows the namespaces of whoever opens it, and nobody has put anything over it.
    set_sysctls(birth, &proc)?;
    set_names(birth.config())?;
    if birth.namespaces.is_new(Kind::Network) {
        net::bring_up_loopback().context("bring up the loopback device")?;
    }
    let root = match birth.state.cgroup.is_none() || birth.options.driver == Driver::Systemd {
        // A cgroup mount is then one of its cgroup namespace; or the cgroup is not there before we are in it.
        true => enter_cgroup(birth, link).and_then(|()| prepare_root(birth, sources))?,
        // The mounts are made while `create` moves us, which on v1 takes it as long.
        false => prepare_root(birth, sources).and_then(|root| enter_cgroup(birth, link).map(|()| root))?,
    };
    hooks_before_pivot(birth, link)?;
    root.enter()?;
    // For the next execve of ours. Hooks inside the container are under it, too.
    labels.apply(&proc)?;
    // For who may not look into us while we wait: root sees them in /proc.
    let namespaces = if birth.user_namespace() { namespaces::of_ourselves(&proc)? } else { Vec::new() };
    drop(proc);

    // Inside the root. What we need is put where no name inside can mean anything of the host, and the rest closed (S9).
    terminal::set_up(birth.process(), link.as_fd(), true)?;
    let (listener, namespaces) = carry_nothing_in(birth, link, namespaces)?;
    set_dumpable(false).context("become non-dumpable")?;
    let environment = process::environment(birth.process(), user::read_passwd, birth.listen_fds);
    let filter = birth.filter;
    scheduling::forget_callers_cpus();
    let room = process::room(birth.process(), filter, birth.passed());
    process::set_up(birth.process(), birth.nature, groups_denied, filter, link.as_fd(), room)?;
    if birth.options.dies_with_parent {
        // A change of credentials forgets it, so not before now. A parent that is gone already has closed the link.
        set_parent_death_signal(libc::SIGKILL).context("set the signal for the parent's death")?;
    }
    if birth.options.lookup_program {
        process::look_up(birth.process(), &environment)?;
    }
    signals::reset().context("reset signals")?;
    signals::end_on_any().context("handle signals")?;

    process::filter_at(Moment::BeforeReady, birth.process(), filter, link.as_fd())?;
    // `created`: everything is ready except the user's program.
    link::send(link.as_fd(), &Message::Ready, None)?;
    *link = wait_for_start(&listener, creator, &namespaces)?;
    drop(namespaces);
    hooks::run(birth.config(), Point::StartContainer, &birth.state, Status::Created, Until::default())?;
    let program = process::look_up(birth.process(), &environment)?;
    limits::apply_last(birth.process(), room)?;
    link::send(link.as_fd(), &Message::Executing, None)?;
    process::filter_at(Moment::Last, birth.process(), filter, link.as_fd())?;
    Ok(process::exec(&program, birth.process(), &environment)?)
}

fn warn(link: &OwnedFd, warning: Option<String>) -> Result<()> {
    warning.map_or(Ok(()), |warning| link::send(link.as_fd(), &Message::Warning(warning), None))
}

/// Waits until we are in our cgroup, where our cgroup namespace must begin.
fn enter_cgroup(birth: &Birth, link: &OwnedFd) -> Result<()> {
    link::expect(link.as_fd(), &Message::Admitted)?;
    if birth.namespaces.is_new(Kind::Cgroup) {
        unshare(CloneFlags::CLONE_NEWCGROUP).context("unshare cgroup namespace")?;
    }
    Ok(())
}

/// It begins with our clocks set off.
fn enter_time_namespace(birth: &Birth, proc: &Procfs) -> Result<()> {
    if birth.namespaces.is_new(Kind::Time) {
        // After the change of user our own files in /proc belong to the host's root, unless we are dumpable.
        set_dumpable(true).context("become dumpable")?;
        namespaces::new_time(birth.config(), proc)?;
    }
    Ok(())
}

/// Sets sysctls, but only what is the container's own (S14).
fn set_sysctls(birth: &Birth, proc: &Procfs) -> Result<()> {
    let sysctls = birth.config().linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut sysctls: Vec<_> = sysctls.into_iter().flatten().collect();
    sysctls.sort();
    for (name, value) in sysctls {
        let path = sysctl_path(name, |kind| birth.namespaces.is_own(kind))?;
        proc.write(&format!("sys/{path}"), value.as_bytes())
            .with_context(|| format!("write {value:?} to sysctl {name}"))?;
    }
    Ok(())
}

/// Where a sysctl lies below /proc/sys, if it is namespaced and the namespace is `own`.
fn sysctl_path(name: &str, own: impl Fn(Kind) -> bool) -> Result<String> {
    // sysctl(8): in a name with slashes, dots are themselves; whichever comes first separates.
    let slashes = name.find(['.', '/']).is_some_and(|first| name.as_bytes()[first] == b'/');
    let swap = |c: char| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String = if slashes { name.to_owned() } else { name.chars().map(swap).collect() };
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if !path.chars().all(legal) || path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        bail!("sysctl {name:?}: not a name");
    }
    let ipc = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "kernel/msg_next_id",
        "kernel/sem_next_id",
        "kernel/shm_next_id",
        "kernel/auto_msgmni",
    ];
    let kind = match path.as_str() {
        "kernel/domainname" => Kind::Uts,
        "kernel/hostname" => bail!("sysctl {name}: use the hostname of the configuration"),
        path if path.starts_with("net/") => Kind::Network,
        path if path.starts_with("fs/mqueue/") || ipc.contains(&path) => Kind::Ipc,
        _ => bail!("sysctl {name} is not of a namespace: it would change the host"),
    };
    if !own(kind) {
        bail!("sysctl {name} would change the host: the container has no {kind} namespace of its own");
    }
    Ok(path)
}

fn set_names(config: &Spec) -> Result<()> {
    if let Some(name) = config.hostname().as_ref().filter(|name| !name.is_empty()) {
        nix::unistd::sethostname(name).with_context(|| format!("set hostname {name:?}"))?;
    }
    if let Some(name) = config.domainname().as_ref().filter(|name| !name.is_empty()) {
        rustix::system::setdomainname(name.as_bytes()).with_context(|| format!("set domainname {name:?}"))?;
    }
    Ok(())
}

/// prestart and createRuntime are run by `create`, in its namespaces; createContainer here, in the container's.
fn hooks_before_pivot(birth: &Birth, link: &OwnedFd) -> Result<()> {
    if hooks::any(birth.config(), &[Point::Prestart, Point::CreateRuntime]) {
        link::request(link.as_fd(), &Message::RunHooks, &Message::HooksRun)?;
    }
    hooks::run(birth.config(), Point::CreateContainer, &birth.state, Status::Creating, Until::default())
}

fn prepare_root(birth: &Birth, sources: Sources) -> Result<Prepared> {
    let options = RootfsOptions {
        no_pivot: birth.options.no_pivot,
        user_namespace: birth.user_namespace(),
        new_cgroup_namespace: birth.namespaces.is_new(Kind::Cgroup),
    };
    rootfs::prepare(birth.bundle, sources, &birth.state.cgroup.mounts_for_container(), &options)
}

/// Closes all but the standard descriptors, those passed on purpose, the link, `start.sock` and our namespaces. Their
/// owners in this memory are never used again: all that follows ends in execve or _exit.
fn carry_nothing_in(birth: &Birth, link: &mut OwnedFd, namespaces: Held) -> Result<(OwnedFd, Held)> {
    let first = 3 + birth.passed() as i32;
    let mut kept = vec![birth.listener.as_fd(), link.as_fd()];
    kept.extend(namespaces.iter().map(|(_, namespace)| namespace.as_fd()));
    let mut moved = keep_first(&kept, first)?.into_iter();
    let (listener, new_link) = (moved.next().context("one for one")?, moved.next().context("one for one")?);
    std::mem::forget(std::mem::replace(link, new_link)); // its number may be another's by now
    let kinds: Vec<CloneFlags> = namespaces.iter().map(|(kind, _)| *kind).collect();
    std::mem::forget(namespaces); // likewise
    Ok((listener, kinds.into_iter().zip(moved).collect()))
}

/// Moves descriptors to `first` and the numbers after it, and closes everything else from there on.
pub(super) fn keep_first(kept: &[BorrowedFd<'_>], first: i32) -> Result<Vec<OwnedFd>> {
    let after = first + kept.len() as i32;
    // Copies above first, so that none is overwritten by another.
    let copies = kept.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, after)).collect::<Result<Vec<_>, _>>();
    let copies = copies.context("dup")?;
    let moved = copies.into_iter().zip(first..).map(|(copy, at)| fd::move_to(copy, at));
    let moved = moved.collect::<std::io::Result<Vec<_>>>().context("dup")?;
    fd::close_from(after).context("close_range")?;
    Ok(moved)
}

/// Waits on `start.sock` until someone who may says Start. Who connects and says nothing only asked whether we wait.
fn wait_for_start(listener: &OwnedFd, creator: u32, namespaces: &Held) -> Result<OwnedFd> {
    loop {
        let connection = match accept4(listener, SockFlag::SOCK_CLOEXEC) {
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::ECONNABORTED) => continue,
            connection => connection.context("accept on start.sock")?,
        };
        let peer = getsockopt(&connection, PeerCredentials).context("credentials of who connected")?;
        if peer.uid() != creator && peer.uid() != 0 {
            continue;
        }
        match link::receive(connection.as_fd()) {
            Ok(Some((Message::Start, _))) => return Ok(connection),
            Ok(Some((Message::Namespaces, _))) => {
                for (kind, namespace) in namespaces {
                    let message = Message::Namespace { kind: kind.bits() };
                    // Who asked may be gone: that is no concern of ours.
                    let _ = link::send(connection.as_fd(), &message, Some(namespace.as_fd()));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s14_a_sysctl_is_set_only_in_a_namespace_of_the_container_itself() {
        let own = |name: &str| sysctl_path(name, |_| true).map_err(|error| error.to_string());
        assert_eq!(own("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(own("net/ipv4/conf/eth0.1/forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(own("net.ipv4.conf.eth0/1.forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(own("kernel.shm_rmid_forced").unwrap(), "kernel/shm_rmid_forced");
        assert_eq!(own("fs.mqueue.msg_max").unwrap(), "fs/mqueue/msg_max");
        let refused = [
            "kernel.core_pattern",
            "vm.swappiness",
            "kernel.shm_rmid_forced+kernel.core_pattern",
            "net",
            "net.",
            "net/../kernel/core_pattern",
            "net...kernel",
            "kernel.hostname",
            "net.x\n",
            "fs.file-max",
            "",
        ];
        for name in refused {
            assert!(own(name).is_err(), "{name:?}");
        }
        assert!(sysctl_path("net.ipv4.ip_forward", |kind| kind != Kind::Network).is_err());
        assert!(sysctl_path("kernel.sem", |kind| kind == Kind::Network).is_err());
    }
}
