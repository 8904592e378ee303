//! Cgroups by way of systemd: the container is a transient scope, made by the system's manager for root and by the user's
//! own for anybody else. systemd keeps the limits that it has properties for; all other things are done in the scope's
//! directory as in any, which is ours by `Delegate` (systemd documentation, "Control Group APIs and Delegation").

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use zbus::Variant;

use crate::linux::procfs::outside;

mod annotation;
mod bus;
mod name;
mod properties;

pub use annotation::PREFIX as PROPERTY_PREFIX;
use bus::{Bus, Refusal};
use name::Names;
pub(super) use properties::of_settings;

/// A property of a unit.
pub(super) type Property = (String, Variant<'static>);

/// Who makes a container's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// bookend itself, by making directories.
    #[default]
    Files,
    /// systemd (`--systemd-cgroup`).
    Systemd,
}

/// The unit that a container's cgroup belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unit {
    pub name: String,
    slice: String,
    /// The socket of the bus that its manager is on.
    bus: PathBuf,
    /// Whether that is a user's manager.
    user: bool,
    /// The part of the unit's cgroup that is meant: empty, or the name of a sub-cgroup.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    below: String,
}

/// What a unit is made with.
#[derive(Debug)]
pub struct Scope {
    properties: Vec<Property>,
}

impl Unit {
    /// Decides on the unit, and its cgroup below the top of the hierarchies. Nothing is made, but systemd must be there.
    pub fn plan(cgroups_path: Option<&Path>, id: &str, rootless: bool) -> Result<(Unit, PathBuf)> {
        let path = cgroups_path.map(|path| path.to_str().context("linux.cgroupsPath is not UTF-8")).transpose()?;
        let names = Names::of(path, id, rootless)?;
        let (bus, manager) = if rootless { of_user()? } else { of_system()? };
        UnixStream::connect(&bus).map_err(|error| no_bus(error, &bus, rootless))?;
        let cgroup = manager.join(names.cgroup());
        let unit = Unit { name: names.scope, slice: names.slice, bus, user: rootless, below: String::new() };
        Ok((unit, cgroup))
    }

    /// The same for a cgroup below, which does not end with the unit. "" is the unit itself.
    pub fn child(&self, path: &str) -> Unit {
        let slash = if path.is_empty() { "" } else { "/" };
        Unit { below: format!("{}{slash}{path}", self.below), ..self.clone() }
    }

    pub fn is_whole(&self) -> bool {
        self.below.is_empty()
    }

    /// Makes the scope with a process in it. `expected` is its cgroup as planned.
    pub fn start(&self, scope: &Scope, pid: Pid, expected: &Path) -> Result<()> {
        let start = |bus: &mut Bus| {
            let pids = vec![pid.as_raw() as u32];
            let mut properties = vec![
                ("Slice", Variant::from(self.slice.as_str())),
                ("Delegate", true.into()),
                ("DefaultDependencies", false.into()),
                ("PIDs", pids.into()),
            ];
            properties.extend(scope.properties.iter().map(|(name, value)| (name.as_str(), borrowed(value))));
            let nothing: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
            bus.run_job("StartTransientUnit", &(self.name.as_str(), "fail", properties, nothing))
        };
        let context = || format!("ask {} to start {}", self.manager(), self.name);
        let mut bus = self.connect()?;
        let result = match start(&mut bus) {
            // One that has ended and failed keeps its name until somebody has taken note.
            Err(error) if is(&error, "UnitExists") => {
                bus.call("ResetFailedUnit", &(self.name.as_str(),)).or_else(no_unit_is_fine).with_context(context)?;
                start(&mut bus)
            }
            done => done,
        };
        match result.map_err(|error| self.explained(error)).with_context(context)?.as_str() {
            "done" => {}
            other => bail!(
                "{} could not start {}: its job is {other:?} (`{} status {}` says more)",
                self.manager(),
                self.name,
                self.systemctl(),
                self.name
            ),
        }
        let cgroup = bus.unit_property(&self.name, "org.freedesktop.systemd1.Scope", "ControlGroup");
        let cgroup = cgroup.with_context(|| format!("ask {} for the cgroup of {}", self.manager(), self.name))?;
        ensure!(
            Path::new(&cgroup) == expected,
            "{} has put {} into the cgroup {cgroup:?}, expected {}",
            self.manager(),
            self.name,
            expected.display()
        );
        Ok(())
    }

    /// Sets properties until the unit ends.
    pub fn set(&self, properties: &[Property]) -> Result<()> {
        if properties.is_empty() {
            return Ok(());
        }
        let properties: Vec<(&str, Variant<'_>)> =
            properties.iter().map(|(name, value)| (name.as_str(), borrowed(value))).collect();
        let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
        let context = format!("ask {} to set {} of {}", self.manager(), names.join(", "), self.name);
        self.connect()?
            .call("SetUnitProperties", &(self.name.as_str(), true, properties))
            .map_err(|error| self.explained(error))
            .context(context)
    }

    /// Has the manager move a process into the unit's cgroup, for who may not do so: from a login session it takes rights
    /// to a cgroup above both.
    pub fn attach(&self, pid: Pid) -> Result<()> {
        let pids = vec![pid.as_raw() as u32];
        let context = || format!("ask {} to put process {pid} into {}{}", self.manager(), self.name, self.below);
        self.connect()?
            .call("AttachProcessesToUnit", &(self.name.as_str(), self.below.as_str(), pids))
            .with_context(context)
    }

    /// Ends the unit and has it forgotten. One that is gone is fine.
    pub fn stop(&self) -> Result<()> {
        let context = || format!("ask {} to stop {}", self.manager(), self.name);
        let mut bus = self.connect()?;
        match bus.run_job("StopUnit", &(self.name.as_str(), "replace")) {
            Ok(_) => {}
            Err(error) => no_unit_is_fine(error).with_context(context)?,
        }
        bus.call("ResetFailedUnit", &(self.name.as_str(),)).or_else(no_unit_is_fine).with_context(context)
    }

    fn connect(&self) -> Result<Bus> {
        Bus::connect(&self.bus).map_err(|error| no_bus(error, &self.bus, self.user))
    }

    fn manager(&self) -> &'static str {
        if self.user { "the user's systemd" } else { "systemd" }
    }

    fn systemctl(&self) -> &'static str {
        if self.user { "systemctl --user" } else { "systemctl" }
    }

    /// The next step, for refusals that people meet.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let cure = match error.downcast_ref::<Refusal>().and_then(|refusal| refusal.name.rsplit('.').next()) {
            Some("UnitExists") => {
                format!("if it is not another container, `{} stop {}` ends it", self.systemctl(), self.name)
            }
            Some("NoSuchUnit") => "it has ended, or somebody has stopped it".to_owned(),
            Some("AccessDenied" | "InteractiveAuthorizationRequired") => {
                "only root may ask the system's manager: `--rootless true` asks the user's own".to_owned()
            }
            _ => return error,
        };
        anyhow!("{error:#}; {cure}")
    }
}

impl Scope {
    /// Of a container's annotations and limits. The limits go last, so that no annotation changes one.
    pub fn new(id: &str, annotations: &HashMap<String, String>, limits: Vec<Property>) -> Result<Scope> {
        let mut properties = vec![("Description".to_owned(), format!("bookend container {id}").into())];
        for counter in ["CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"] {
            properties.push((counter.to_owned(), true.into()));
        }
        properties.push(("CollectMode".to_owned(), "inactive-or-failed".into()));
        properties.extend(annotation::properties(annotations)?);
        properties.extend(limits);
        Ok(Scope { properties })
    }
}

fn borrowed<'a>(value: &'a Variant<'static>) -> Variant<'a> {
    value.try_clone().expect("no property holds a descriptor")
}

fn is(error: &anyhow::Error, name: &str) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.name.ends_with(&format!(".{name}")))
}

fn no_unit_is_fine(error: anyhow::Error) -> Result<()> {
    if is(&error, "NoSuchUnit") { Ok(()) } else { Err(error) }
}

/// The bus of the system's manager, whose cgroup is the top.
fn of_system() -> Result<(PathBuf, PathBuf)> {
    // sd_booted(3)
    ensure!(
        Path::new("/run/systemd/system").is_dir(),
        "--systemd-cgroup: this host is not run by systemd (there is no /run/systemd/system): leave the flag out"
    );
    let given = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
    let path = given.as_deref().and_then(socket_of).unwrap_or_else(|| "/run/dbus/system_bus_socket".into());
    Ok((path, PathBuf::from("/")))
}

/// The bus of the user's manager, and its cgroup.
fn of_user() -> Result<(PathBuf, PathBuf)> {
    let uid = outer_uid()?;
    let given = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{uid}").into(), PathBuf::from);
    let path = given.as_deref().and_then(socket_of).unwrap_or_else(|| runtime.join("bus"));
    let own = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    Ok((path, manager_of_user(&own, uid)))
}

/// The socket that an address names (D-Bus specification, "Server Addresses"), if it is a path.
fn socket_of(address: &str) -> Option<PathBuf> {
    let unix = address.split(';').find_map(|one| one.strip_prefix("unix:"))?;
    let path = unix.split(',').find_map(|part| part.strip_prefix("path="))?;
    Some(PathBuf::from(OsString::from_vec(unescape(path.as_bytes()))))
}

/// `%2F` is a slash in an address.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    bytes
}

/// Our uid as those see it who made our user namespace.
fn outer_uid() -> Result<u32> {
    let own = rustix::process::geteuid().as_raw();
    let map = fs::read_to_string("/proc/self/uid_map").context("read /proc/self/uid_map")?;
    Ok(outside(&map, own).unwrap_or(own))
}

/// The cgroup of a user's manager: the one above ours, or the one beside our login session, or where it is by default.
fn manager_of_user(own: &str, uid: u32) -> PathBuf {
    let service = format!("user@{uid}.service");
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).map(Path::new).unwrap_or(Path::new("/"));
    if let Some(above) = own.ancestors().find(|above| above.ends_with(&service)) {
        return above.to_owned();
    }
    let slice = format!("user-{uid}.slice");
    let slice = own.ancestors().find(|above| above.ends_with(&slice)).map(Path::to_owned);
    slice.unwrap_or_else(|| format!("/user.slice/user-{uid}.slice").into()).join(service)
}

/// Why there is no bus, and what to do.
fn no_bus(error: impl Display, path: &Path, user: bool) -> anyhow::Error {
    let (whose, cure) = if user {
        (
            "the user's systemd",
            "there is one in a login session (as from ssh; not from su), and after `loginctl enable-linger` always, where \
             XDG_RUNTIME_DIR says; or leave the flag out (podman: --cgroup-manager cgroupfs)",
        )
    } else {
        ("systemd", "install and start dbus, or leave the flag out")
    };
    anyhow!("--systemd-cgroup: the bus of {whose} at {}: {error:#}; {cure}", path.display())
}

#[cfg(test)]
impl Unit {
    pub fn example(name: &str) -> Unit {
        let slice = "system.slice".to_owned();
        Unit { name: name.to_owned(), slice, bus: "/b".into(), user: false, below: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_socket() {
        let path = |address| socket_of(address).map(|path| path.display().to_string());
        assert_eq!(path("unix:path=/run/user/1000/bus").as_deref(), Some("/run/user/1000/bus"));
        assert_eq!(path("tcp:host=x;unix:guid=1,path=/a%20b%2").as_deref(), Some("/a b%2"));
        assert_eq!(path("unix:abstract=/tmp/x"), None);
    }

    #[test]
    fn a_users_manager_is_above_us_or_beside_our_session() {
        let of = |own: &str| manager_of_user(own, 7).display().to_string();
        let expected = "/user.slice/user-7.slice/user@7.service";
        assert_eq!(of("0::/user.slice/user-7.slice/session-3.scope\n"), expected);
        assert_eq!(of("0::/user.slice/user-7.slice/user@7.service/app.slice/run-1.scope\n"), expected);
        assert_eq!(of("0::/system.slice/cron.service\n"), expected);
        assert_eq!(of("0::/in/a/user-7.slice/user@7.service/x\n"), "/in/a/user-7.slice/user@7.service");
    }

    #[test]
    fn no_annotation_changes_a_limit() {
        let annotations = HashMap::from([("org.systemd.property.MemoryHigh".to_owned(), "uint64 9".to_owned())]);
        let limits = vec![("MemoryHigh".to_owned(), Variant::U64(5))];
        let scope = Scope::new("c", &annotations, limits).unwrap();
        let of: Vec<_> =
            scope.properties.iter().filter(|(name, _)| name == "MemoryHigh").map(|(_, value)| value).collect();
        assert_eq!(of, [&Variant::U64(9), &Variant::U64(5)], "systemd keeps the last");
    }

    #[test]
    fn a_sub_cgroup_is_not_the_unit() {
        let unit = Unit::example("x.scope");
        assert!(unit.is_whole() && !unit.child("hook").is_whole());
        let text = serde_json::to_string(&unit).unwrap();
        assert_eq!(text, r#"{"name":"x.scope","slice":"system.slice","bus":"/b","user":false}"#);
        assert_eq!(serde_json::from_str::<Unit>(&text).unwrap(), unit);
    }
}
