//! All that `create` can know, open or refuse while nothing exists yet.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Result, bail};
use nix::unistd::geteuid;
use oci_spec::runtime::{LinuxNamespaceType as Kind, LinuxResources, Spec};

use super::CreateOptions;
use crate::cgroup::{Cgroup, Driver, Scope};
use crate::container::bundle::Bundle;
use crate::container::id::ContainerId;
use crate::container::labels::{self, Labels};
use crate::container::namespaces::Namespaces;
use crate::container::nature::Nature;
use crate::container::seccomp::{Connection, Filter};
use crate::container::state::Kept;
use crate::container::{net_devices, process, rdt, receiver};

pub(super) struct Plan {
    /// Sockets that our own caller passed by LISTEN_FDS.
    pub listen_fds: u32,
    /// Who gets the master of the terminal.
    pub console: Option<OwnedFd>,
    /// Who gets a pidfd of init.
    pub pidfd_socket: Option<OwnedFd>,
    pub filter: Option<Filter>,
    /// Of its seccomp filter.
    pub agent: Option<Connection>,
    pub namespaces: Namespaces,
    pub nature: Nature,
    pub rdt: Option<rdt::Group>,
    pub cgroup: Cgroup,
    /// What systemd is to make of init, who then is not in its cgroup at first.
    pub scope: Option<Scope>,
    pub warnings: Vec<String>,
}

impl Plan {
    pub fn new(id: &ContainerId, bundle: &Bundle, options: &CreateOptions) -> Result<Plan> {
        let config = &bundle.config;
        let listen_fds = process::listen_fds();
        process::check_passed(listen_fds + options.preserve_fds)?;
        let console = reach_console(config, options)?;
        let watcher = options.pidfd_socket.as_deref();
        let pidfd_socket = watcher.map(|path| receiver::reach(receiver::PIDFD, path)).transpose()?;
        let (filter, warnings) = Filter::of(config)?;
        let agent = filter.as_ref().map_or(Ok(None), Filter::reach_agent)?;
        let namespaces = Namespaces::open(config)?;
        check_rights(&namespaces, options)?;
        net_devices::check(config, &namespaces, options.rootless)?;
        check_labels(config)?;
        let rdt = rdt::Group::of(config, id)?;
        let cgroup = plan_cgroup(config, id, options)?;
        let scope = plan_scope(&cgroup, id, config)?;
        let nature = Nature::of(config, options.no_new_keyring);
        Ok(Plan { listen_fds, console, pidfd_socket, filter, agent, namespaces, nature, rdt, cgroup, scope, warnings })
    }

    /// What `save` will keep, and what else later verbs want to know of the configuration.
    pub fn kept(&self) -> Kept {
        Kept {
            filter: self.filter.is_some(),
            nature: !self.nature.is_plain(),
            rdt: self.rdt.is_some(),
            own_pids: self.namespaces.is_new(Kind::Pid),
        }
    }

    /// Keeps what `exec` and `delete` need, where there is any.
    pub fn save(&self, dir: &Path) -> Result<()> {
        self.filter.as_ref().map_or(Ok(()), |filter| filter.save(dir))?;
        self.nature.save(dir)?;
        self.rdt.as_ref().map_or(Ok(()), |group| group.save(dir))
    }
}

fn reach_console(config: &Spec, options: &CreateOptions) -> Result<Option<OwnedFd>> {
    let wants = config.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    match &options.console_socket {
        None => Ok(None),
        Some(path) if wants => receiver::reach(receiver::CONSOLE, path).map(Some),
        Some(_) => bail!(
            "a console socket needs a process with a terminal: set process.terminal, or leave --console-socket out"
        ),
    }
}

fn check_rights(namespaces: &Namespaces, options: &CreateOptions) -> Result<()> {
    if options.rootless && !geteuid().is_root() && !namespaces.is_own(Kind::User) {
        bail!(
            "rootless containers need a user namespace: add {{\"type\": \"user\"}} and mappings (`bookend spec --rootless` writes both)"
        );
    }
    Ok(())
}

fn check_labels(config: &Spec) -> Result<()> {
    labels::check_mounts(config)?;
    config.process().as_ref().map_or(Ok(()), |process| Labels::of(process).check())
}

fn plan_cgroup(config: &Spec, id: &ContainerId, options: &CreateOptions) -> Result<Cgroup> {
    let path = config.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    match options.driver {
        Driver::Files => {
            let cgroup = Cgroup::plan(path, id.as_str(), options.rootless)?;
            resources(config).map_or(Ok(()), |resources| cgroup.check(resources))?;
            Ok(cgroup)
        }
        Driver::Systemd => Cgroup::plan_unit(path, id.as_str(), options.rootless),
    }
}

/// What systemd is to make, where it makes the cgroup.
fn plan_scope(cgroup: &Cgroup, id: &ContainerId, config: &Spec) -> Result<Option<Scope>> {
    let resources = resources(config).cloned().unwrap_or_default();
    cgroup.scope(id.as_str(), &config.annotations().clone().unwrap_or_default(), &resources)
}

pub(super) fn resources(config: &Spec) -> Option<&LinuxResources> {
    config.linux().as_ref()?.resources().as_ref()
}
