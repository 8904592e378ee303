//! `create`'s side of the link to init.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxMemory, LinuxNamespaceType as Kind};

use super::plan::Plan;
use super::undo::Undo;
use super::{identity, set_limits};
use crate::container::bundle::Bundle;
use crate::container::hooks::{self, Point, Until};
use crate::container::interrupt::HeldSignals;
use crate::container::link::{self, Message};
use crate::container::net_devices::Moved;
use crate::container::state::{self, State, Status};
use crate::container::{idmap, process};
use crate::linux::{fd, procfs};

/// What `create` does for init while that sets itself up.
pub(super) struct Raising<'a> {
    pub plan: &'a Plan,
    pub bundle: &'a Bundle,
    pub state: &'a State,
    pub dir: &'a Path,
    pub proc_dir: BorrowedFd<'a>,
    pub in_cgroup: bool,
    pub held: &'a HeldSignals,
}

impl Raising<'_> {
    /// Answers until init is ready. Returns the master of its terminal, and warnings.
    pub fn serve(&self, link: BorrowedFd<'_>, undo: &mut Undo) -> Result<(Option<OwnedFd>, Vec<String>)> {
        let (mut terminal, mut warnings) = (None, Vec::new());
        loop {
            // Init may take for ever: for a hook, or at a file system that does not answer.
            self.held.await_readable(link)?;
            match link::receive(link)? {
                Some((Message::MapIds, _)) => {
                    let pid = Pid::from_raw(self.state.pid);
                    self.map_ids(pid)?;
                    self.plan.rdt.clone().map_or(Ok(()), |group| undo.rdt.insert(group).found(pid))?;
                    undo.devices = self.move_devices()?;
                    link::send(link, &Message::Mapped { pid: pid.as_raw() }, None)?;
                    // From here on init makes its mounts, and does not wait for us.
                    state::write_down(self.dir, &identity(self.state), self.state, None)?;
                    let born = self.start_scope(pid, undo)? || self.in_cgroup;
                    // On v1 the first move waits for an RCU grace period: as long as init takes for all its mounts.
                    self.state.cgroup.enter(pid, born)?;
                    // Init may have ended while we were busy; then what it said last is the error, and it is next.
                    match link::send(link, &Message::Admitted, None) {
                        Err(error) if !link::is_gone(&error) => return Err(error),
                        _ => {}
                    }
                }
                Some((Message::RunHooks, _)) => {
                    let until = Until { signal: Some(self.held), init: Some(link) };
                    for point in [Point::Prestart, Point::CreateRuntime] {
                        hooks::run(&self.bundle.config, point, self.state, Status::Creating, until)?;
                    }
                    link::send(link, &Message::HooksRun, None)?;
                }
                Some((Message::Terminal, master)) => terminal = master,
                Some((Message::Warning(warning), _)) => warnings.push(warning),
                Some((Message::Seccomp, Some(listener))) => {
                    let agent =
                        self.plan.agent.as_ref().context("init has a seccomp listener that nobody asked for")?;
                    agent.send(&listener, Pid::from_raw(self.state.pid), self.state, Status::Creating)?;
                }
                Some((Message::Ready, _)) => return Ok((terminal, warnings)),
                Some((Message::Failed(failure), _)) => bail!(failure),
                Some((other, _)) => bail!("init said {other:?} before it was ready"),
                None => bail!("{}", self.why_init_ended()),
            }
        }
    }

    /// What is known of an init that ended without a word.
    fn why_init_ended(&self) -> String {
        let resources = self.bundle.config.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let limit = resources.and_then(|resources| resources.memory().as_ref()).and_then(LinuxMemory::limit);
        match limit {
            Some(limit) if self.state.cgroup.oom_kills() > 0 => format!(
                "init was killed for want of memory: linux.resources.memory.limit is {limit} bytes, which are too few to start \
                 with; raise it"
            ),
            _ => "init ended before it was ready".to_owned(),
        }
    }

    /// Gives it the network devices of the host that it is to have.
    fn move_devices(&self) -> Result<Option<Moved>> {
        let network = || procfs::open_namespace(self.proc_dir, "net").context("open the network namespace of init");
        Moved::into(&self.bundle.config, network)
    }

    /// Has systemd make the scope, which takes a process; whether that is the way here.
    fn start_scope(&self, pid: Pid, undo: &mut Undo) -> Result<bool> {
        let (Some(scope), cgroup) = (&self.plan.scope, &self.state.cgroup) else { return Ok(false) };
        cgroup.start(scope, pid)?;
        undo.cgroup = Some(cgroup.clone());
        set_limits(cgroup, &self.bundle.config, self.state.rootless)?;
        Ok(true)
    }

    /// Maps the ids of its new user namespace.
    fn map_ids(&self, pid: Pid) -> Result<()> {
        if self.plan.namespaces.is_new(Kind::User) {
            let linux = self.bundle.config.linux().as_ref();
            let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
            let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
            idmap::write(self.proc_dir, pid, uids, gids)?;
        }
        let user = self.bundle.config.process().as_ref().map_or(0, |process| process.user().uid());
        if let (true, Some(uid)) = (self.plan.namespaces.is_own(Kind::User), idmap::outside(self.proc_dir, user)) {
            process::give_stdio(fd::stdio(), uid)?;
        }
        Ok(())
    }
}
