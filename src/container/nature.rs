//! What holds for every process of a container, for init and for those of `exec` alike: personality, memory policy, session keyring.
//! `create` keeps it, when there is any, so that `exec` need not read the configuration again.

use std::ffi::{CStr, CString};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::{
    LinuxPersonalityDomain as Domain, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode, Spec,
};
use serde::{Deserialize, Serialize};

use super::labels::Labels;
use super::state::write_file;
use crate::linux::bits::Bits;
use crate::linux::procfs::Procfs;
use crate::linux::{keyring, numa, process};

/// Its name in a state directory.
const FILE: &str = "nature.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nature {
    personality: Option<Domain>,
    memory: Option<Memory>,
    /// It keeps its caller's session keyring (--no-new-keyring).
    callers_keyring: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    mode: Mode,
    flags: Vec<Flag>,
    nodes: String,
}

impl Nature {
    pub fn of(config: &Spec, callers_keyring: bool) -> Nature {
        let linux = config.linux().as_ref();
        let memory = linux.and_then(|linux| linux.memory_policy().as_ref()).map(|policy| Memory {
            mode: policy.mode(),
            flags: policy.flags().clone().unwrap_or_default(),
            nodes: policy.nodes().clone().unwrap_or_default(),
        });
        let personality = linux.and_then(|linux| linux.personality().as_ref());
        let personality = personality.map(|personality| personality.domain());
        Nature { personality, memory, callers_keyring }
    }

    /// Of a container that asks for nothing.
    pub fn is_plain(&self) -> bool {
        *self == Nature::default()
    }

    /// Keeps it for `exec` and hooks; of a container that asks for nothing, nothing.
    pub fn save(&self, dir: &Path) -> Result<()> {
        if self.is_plain() {
            return Ok(());
        }
        write_file(&dir.join(FILE), &serde_json::to_vec(self)?)
    }

    /// None of a container that has nothing of it.
    pub fn load(dir: &Path) -> Result<Option<Nature>> {
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("parse {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Makes the container's session keyring, whose label is the process's. `proc` is the host's.
    pub fn make_keyring(&self, name: &str, labels: &Labels<'_>, proc: &Procfs) -> Result<()> {
        self.keyring(name, labels, proc, keyring::make_session)
    }

    /// Joins the session keyring that `make_keyring` has made.
    pub fn join_keyring(&self, name: &str, labels: &Labels<'_>, proc: &Procfs) -> Result<()> {
        self.keyring(name, labels, proc, keyring::join_session)
    }

    fn keyring(
        &self,
        name: &str,
        labels: &Labels<'_>,
        proc: &Procfs,
        join: fn(&CStr) -> std::io::Result<()>,
    ) -> Result<()> {
        if self.callers_keyring {
            return Ok(());
        }
        let name = CString::new(name).context("name of the keyring")?;
        labels.while_making_keys(proc, || {
            join(&name).context("join the session keyring (--no-new-keyring leaves the caller's)")
        })
    }

    /// Makes this process so, and what it executes.
    pub fn apply(&self) -> Result<()> {
        if let Some(domain) = self.personality {
            process::set_personality(number(domain)).with_context(|| format!("linux.personality: become {domain}"))?;
        }
        self.memory.as_ref().map_or(Ok(()), Memory::apply)
    }
}

/// include/uapi/linux/personality.h
fn number(domain: Domain) -> u32 {
    match domain {
        Domain::PerLinux => 0,
        Domain::PerLinux32 => 8,
    }
}

impl Memory {
    fn apply(&self) -> Result<()> {
        let nodes: Bits = self.nodes.parse().map_err(|error| anyhow!("linux.memoryPolicy.nodes: {error}"))?;
        let mode = self.flags.iter().fold(mode_number(self.mode), |mode, flag| mode | flag_number(*flag));
        numa::set_policy(mode, &nodes).with_context(|| {
            let flags: String = self.flags.iter().map(|flag| format!(" {flag}")).collect();
            let nodes = if nodes.is_empty() { String::new() } else { format!(" for nodes {}", self.nodes) };
            format!(
                "linux.memoryPolicy: set {}{flags}{nodes} (does this kernel know it, and are the nodes there?)",
                self.mode
            )
        })
    }
}

/// include/uapi/linux/mempolicy.h
fn mode_number(mode: Mode) -> u32 {
    match mode {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    }
}

fn flag_number(flag: Flag) -> u32 {
    match flag {
        Flag::MpolFStaticNodes => 1 << 15,
        Flag::MpolFRelativeNodes => 1 << 14,
        Flag::MpolFNumaBalancing => 1 << 13,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nature(linux: serde_json::Value) -> Nature {
        let config = json!({"ociVersion": "1.3.0", "linux": linux});
        Nature::of(&serde_json::from_value(config).unwrap(), false)
    }

    #[test]
    fn what_create_keeps_exec_finds_and_nothing_is_kept_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        nature(json!({})).save(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(Nature::load(dir.path()).unwrap(), None);
        let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
        let kept = nature(json!({"personality": {"domain": "LINUX32"}, "memoryPolicy": policy}));
        kept.save(dir.path()).unwrap();
        assert_eq!(Nature::load(dir.path()).unwrap(), Some(kept));
    }

    #[test]
    fn a_memory_policy_that_the_kernel_refuses_is_told_by_its_field() {
        let policy = json!({"mode": "MPOL_BIND", "nodes": "1023", "flags": ["MPOL_F_STATIC_NODES"]});
        let error = std::thread::spawn(move || nature(json!({"memoryPolicy": policy})).apply().unwrap_err());
        let error = format!("{:#}", error.join().unwrap());
        assert!(error.starts_with("linux.memoryPolicy: set MPOL_BIND MPOL_F_STATIC_NODES for nodes 1023 ("), "{error}");
    }
}
