//! `restart`: the stop sequence, then a new life of the same container (lifecycle.md P-13).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::args::{Global, HookFlags, Id, run_args};
use super::create::prepare;
use super::log::Log;
use super::lookup::{self, Container};
use super::{delete, run, stop};
use crate::container::state::{read_json, write_file};
use crate::linux::clock;

/// What `run --detach` was asked for, kept with the container.
#[derive(Serialize, Deserialize)]
pub struct Again {
    create: run_args::Create,
    /// Those that stood before the verb.
    before: HookFlags,
    /// Whether systemd makes its cgroup.
    #[serde(default)]
    systemd_cgroup: bool,
}

impl Again {
    const FILE: &str = "run.json";

    /// With every path as the caller's directory means it.
    pub fn of(global: &Global, create: &run_args::Create) -> Result<Again> {
        let (create, before) = (create.clone(), global.hooks.clone());
        let mut again = Again { create, before, systemd_cgroup: global.systemd_cgroup };
        let create = &mut again.create;
        create.bundle = std::path::absolute(&create.bundle)?;
        for path in [&mut create.console_socket, &mut create.pid_file] {
            absolute(path)?;
        }
        // Who watched the process that it was then need not be there any more.
        create.pidfd_socket = None;
        for flags in [&mut create.hooks, &mut again.before] {
            absolute(&mut flags.lifecycle)?;
            absolute(&mut flags.manner.hook_log_dir)?;
            if flags.pod.as_deref() != Some(Path::new(STDIN)) {
                absolute(&mut flags.pod)?;
            }
        }
        Ok(again)
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        write_file(&dir.join(Again::FILE), &serde_json::to_vec(self)?)
    }

    /// Refused where the same cannot be had again.
    fn load(container: &Container) -> Result<Again> {
        let path = container.dir.join(Again::FILE);
        if !path.exists() {
            bail!(
                "it was not made by `run --detach`, so only who made it can make it again: use the caller's own restart \
                 (`docker restart`, `podman restart`, or a new Pod)"
            );
        }
        let again: Again = read_json(&path)?;
        if [&again.create.hooks, &again.before].iter().any(|flags| flags.pod.as_deref() == Some(Path::new(STDIN))) {
            bail!("its Pod was read from standard input and cannot be read again: stop it, delete it and run it anew");
        }
        if again.create.preserve_fds > 0 {
            bail!("the descriptors that --preserve-fds gave it are gone: stop it, delete it and run it anew");
        }
        Ok(again)
    }
}

const STDIN: &str = "-";

fn absolute(path: &mut Option<PathBuf>) -> Result<()> {
    if let Some(path) = path {
        *path = std::path::absolute(&*path)?;
    }
    Ok(())
}

pub fn run(global: &Global, args: &Id) -> Result<u8> {
    restart(global, args).with_context(|| format!("restart {}", args.id))
}

/// The bundle and the hooks are read again before anything is touched: with bad input the container goes on.
fn restart(global: &Global, args: &Id) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    let again = Again::load(&container)?;
    let global = Global { hooks: again.before, systemd_cgroup: again.systemd_cgroup, ..global.clone() };
    let prepared = prepare(&global, &again.create)?;
    println!("{}: {}", args.id, stop::stop(&container, None)?);
    let log = Log::new(&global);
    // The life that has ended goes to the history.
    delete::remove(&global, &args.id, false)?.iter().for_each(|warning| log.warn(warning));
    let begun = clock::now();
    run::begin(&global, &again.create, &prepared)?;
    println!("{}: running again after {:.1}s", args.id, (clock::now() - begun).as_secs_f64());
    Ok(0)
}
