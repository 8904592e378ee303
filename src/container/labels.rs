//! Labels of the kernel's security modules: `process.apparmorProfile`, `process.selinuxLabel` and `linux.mountLabel`. Where the module
//! is not there a label is refused before anything is made; an empty one is none.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{FsWord, statfs};

use crate::linux::procfs::Procfs;

const SELINUX_MAGIC: FsWord = 0xf97c_ff8c;
/// The profile that is none: it is granted also where there is no AppArmor.
const UNCONFINED: &str = "unconfined";

/// The labels of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    apparmor: Option<&'a str>,
    selinux: Option<&'a str>,
}

impl<'a> Labels<'a> {
    pub fn of(process: &'a Process) -> Labels<'a> {
        let label = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        Labels { apparmor: label(process.apparmor_profile()), selinux: label(process.selinux_label()) }
    }

    /// Whether this kernel has the modules that the labels are for.
    pub fn check(&self) -> Result<()> {
        if self.apparmor.is_some_and(|profile| profile != UNCONFINED) && !has_apparmor() {
            bail!(absent("process.apparmorProfile", "AppArmor"));
        }
        if self.selinux.is_some() && !has_selinux() {
            bail!(absent("process.selinuxLabel", "SELinux"));
        }
        Ok(())
    }

    /// Sets what the next execve of this process gives it, and looks whether the kernel took it (S20). `proc` is the host's.
    pub fn apply(&self, proc: &Procfs) -> Result<()> {
        self.apparmor.map_or(Ok(()), |profile| apply_profile(profile, proc))?;
        let Some(label) = self.selinux else { return Ok(()) };
        let written = proc.write_own("attr/exec", label.as_bytes());
        written.map_err(|error| not_taken("process.selinuxLabel", "SELinux label", label, error))?;
        let taken = proc.read_own("attr/exec").context("read attr/exec")?;
        if trimmed(&taken) != label {
            bail!("process.selinuxLabel: asked for {label:?}, the kernel says {:?}", trimmed(&taken));
        }
        Ok(())
    }

    /// Makes keyrings with the label of the process, for as long as `make` runs.
    pub fn while_making_keys<T>(&self, proc: &Procfs, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(label) = self.selinux else { return make() };
        let set = |label: &str| proc.write_own("attr/keycreate", label.as_bytes());
        set(label).map_err(|error| not_taken("process.selinuxLabel", "SELinux label for keys", label, error))?;
        let made = make();
        set("\0").context("reset attr/keycreate")?;
        made
    }
}

/// Whether there is AppArmor is asked of the host's /proc alone: /sys may be the container's by now.
fn apply_profile(profile: &str, proc: &Procfs) -> Result<()> {
    // Since Linux 5.1 each module has its own; before, the file is that of the only one.
    let text = format!("exec {profile}");
    let write = |file: &str| proc.write_own(file, text.as_bytes()).map(|()| file.to_owned());
    let written = write("attr/apparmor/exec").or_else(|error| match error.kind() {
        io::ErrorKind::NotFound if !proc.has_own("attr/apparmor") => write("attr/exec"),
        _ => Err(error),
    });
    let file = match written {
        // EINVAL: no module of this kernel takes a profile, and nothing is confined.
        Err(error) if profile == UNCONFINED && error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
        Err(error) => return Err(not_taken("process.apparmorProfile", "AppArmor profile", profile, error)),
        Ok(file) => file,
    };
    let taken = proc.read_own(&file).with_context(|| format!("read {file}"))?;
    if !is_profile(&taken, profile) {
        bail!("process.apparmorProfile: asked for {profile:?}, the kernel says {:?}", taken.trim_end());
    }
    Ok(())
}

/// The context of the file systems that are made for a container.
pub fn of_mounts(config: &Spec) -> Option<&str> {
    let label = config.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    label.filter(|label| !label.is_empty())
}

/// The same as `Labels::check`, for mounts.
pub fn check_mounts(config: &Spec) -> Result<()> {
    match of_mounts(config) {
        Some(_) if !has_selinux() => bail!(absent("linux.mountLabel", "SELinux")),
        _ => Ok(()),
    }
}

fn absent(field: &str, module: &str) -> String {
    format!("{field}: {module} is not enabled on this kernel; remove the label, or enable it (kernel parameter lsm=)")
}

fn not_taken(field: &str, what: &str, label: &str, error: io::Error) -> anyhow::Error {
    let cause = match error.raw_os_error() {
        Some(libc::ENOENT) => " (is it loaded?)",
        Some(libc::EINVAL) => " (is it known to the policy?)",
        _ => "",
    };
    anyhow!(error).context(format!("{field}: set {what} {label:?}{cause}"))
}

pub fn has_apparmor() -> bool {
    is_enabled(Path::new("/sys/module/apparmor/parameters/enabled"))
}

fn is_enabled(parameter: &Path) -> bool {
    fs::read_to_string(parameter).is_ok_and(|text| text.starts_with('Y'))
}

pub fn has_selinux() -> bool {
    statfs("/sys/fs/selinux").is_ok_and(|found| found.f_type == SELINUX_MAGIC)
}

/// What the kernel reads back: `NAME (MODE)`, or the name alone of one without a mode. One of another policy namespace may be shown
/// by another name.
fn is_profile(read: &str, profile: &str) -> bool {
    let read = trimmed(read);
    let name = read.rsplit_once(" (").map_or(read, |(name, _)| name);
    name == profile || profile.starts_with(':') && !name.is_empty()
}

fn trimmed(read: &str) -> &str {
    read.trim_end_matches(['\0', '\n'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn process(apparmor: &str, selinux: &str) -> Process {
        let user = json!({"uid": 0, "gid": 0});
        serde_json::from_value(json!({"cwd": "/", "user": user, "apparmorProfile": apparmor, "selinuxLabel": selinux}))
            .unwrap()
    }

    #[test]
    fn an_empty_label_is_none_and_unconfined_needs_no_module() {
        assert_eq!(Labels::of(&process("", "")), Labels::default());
        Labels::of(&process("", "")).check().unwrap();
        Labels::of(&process("unconfined", "")).check().unwrap();
    }

    #[test]
    fn s20_a_label_without_its_module_is_refused_by_its_field() {
        if !has_apparmor() {
            let error = Labels::of(&process("web", "")).check().unwrap_err().to_string();
            assert!(error.starts_with("process.apparmorProfile: AppArmor is not enabled on this kernel"), "{error}");
        }
        if !has_selinux() {
            let error = Labels::of(&process("", "u:r:t:s0")).check().unwrap_err().to_string();
            assert!(error.starts_with("process.selinuxLabel: SELinux is not enabled on this kernel"), "{error}");
        }
    }

    #[test]
    fn s20_what_the_kernel_reads_back_is_compared_with_what_was_asked() {
        assert!(is_profile("docker-default (enforce)\n", "docker-default"));
        assert!(is_profile("unconfined\n", "unconfined"));
        assert!(is_profile("ns//web (complain)", ":ns:web"));
        assert!(!is_profile("unconfined\n", "docker-default"));
        assert!(!is_profile("docker-default2 (enforce)\n", "docker-default"));
        assert!(!is_profile("", "web") && !is_profile("", ":ns:web"));
    }

    #[test]
    fn a_module_is_there_if_its_parameter_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("enabled");
        assert!(!is_enabled(&file));
        fs::write(&file, "N\n").unwrap();
        assert!(!is_enabled(&file));
        fs::write(&file, "Y\n").unwrap();
        assert!(is_enabled(&file));
    }
}
