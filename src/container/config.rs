//! What `config.json` may say: the runtime specification.
//!
//! A field that cannot be honoured is refused by name, never ignored: a container that runs without the protection it
//! asked for is worse than one that does not run. Fields that the specification does not know are ignored, as it demands.
//! The checks read the JSON, not `oci_spec`'s type, since only the JSON knows where in the file a value stands.

mod letters;
mod linux;
mod place;
mod process;
mod resources;
mod sysctl;

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};
use nix::sys::stat::Mode;
use oci_spec::runtime::{Capability, LinuxResources, Process, Spec};
use serde_json::Value;

pub(in crate::container) use self::linux::{MEMORY_FLAGS, MEMORY_MODES};
use self::place::{in_field, placed, positioned, without_position};
use crate::container::rootfs;
use crate::lifecycle::tree::nearest;

const NAMESPACES: [&str; 8] = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];
const PROPAGATIONS: [&str; 8] =
    ["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"];
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Reads and checks a configuration. Gives it with the warnings; the error lists all problems, one a line. Where keys are not in
/// their own letters, `raw` has them corrected afterwards.
pub fn parse(raw: &mut Vec<u8>) -> Result<(Spec, Vec<String>)> {
    read(raw, Strictness::All)
}

/// Reads the configuration of a container that exists: it was checked when that was created, by the rules of then.
pub fn kept(raw: &mut Vec<u8>) -> Result<(Spec, Vec<String>)> {
    read(raw, Strictness::Readable)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    All,
    Readable,
}

fn read(raw: &mut Vec<u8>, strictness: Strictness) -> Result<(Spec, Vec<String>)> {
    let mut json = serde_json::from_slice(raw).map_err(|error| positioned(&error))?;
    let mut warnings = letters::correct(&mut json)?;
    if !warnings.is_empty() {
        *raw = serde_json::to_vec(&json)?;
    }
    let read = parse_value(json, Some(raw), strictness).map_err(|error| placed::<Spec>(error, raw, ""));
    // The place would be one in a text that nobody has seen.
    let (spec, others) = if warnings.is_empty() { read } else { read.map_err(without_position) }?;
    warnings.extend(others);
    Ok((spec, warnings))
}

/// `process` by itself, as `exec --process` gets it: the same rules hold for it.
pub fn process(raw: &[u8]) -> Result<(Process, Vec<String>)> {
    let mut whole = super::spec::template(false);
    whole["process"] = serde_json::from_slice(raw).map_err(|error| positioned(&error))?;
    let mut warnings = letters::correct(&mut whole)?;
    let own = if warnings.is_empty() { raw } else { &serde_json::to_vec(&whole["process"])? };
    let read = parse_value(whole, None, Strictness::All).map_err(|error| placed::<Process>(error, own, "process"));
    let (spec, others) = if warnings.is_empty() { read } else { read.map_err(without_position) }?;
    warnings.extend(others);
    Ok((spec.process().clone().expect("the checks demand process"), warnings))
}

/// `raw` is where `json` was read from, for the positions in errors.
fn parse_value(mut json: Value, raw: Option<&[u8]>, strictness: Strictness) -> Result<(Spec, Vec<String>)> {
    if !json.is_object() {
        bail!("not a JSON object");
    }
    let mut warnings = drop_unknown_capabilities(&mut json);
    warnings.extend(unknown_hooks(&json));
    warnings.extend(kernel_memory(&json));
    warnings.extend(monitoring_of_old(&json));
    let mut check = Check { json: &json, problems: Vec::new(), warnings: Vec::new() };
    check.all();
    let (problems, unused) = (check.problems, check.warnings);
    if strictness == Strictness::All && !problems.is_empty() {
        bail!("{}", problems.join("\n  "));
    }
    let without_pids = is_without_pids(&json);
    let adapted = process::adapt(&mut json["process"]);
    // The bytes first: their errors have a line and a column. Only what was changed needs the detour.
    let mut spec: Spec = match raw.map(serde_json::from_slice) {
        None => serde_json::from_value(json)?,
        Some(Err(_)) if adapted || !warnings.is_empty() => serde_json::from_value(json)?,
        Some(spec) => spec.map_err(|error| in_field(&error, raw.unwrap_or_default(), ""))?,
    };
    warnings.extend(unused);
    put_mounts_below_the_root(&mut spec);
    if without_pids && let Some(resources) = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut())
    {
        resources.set_pids(None);
    }
    Ok((spec, warnings))
}

/// Whether `pids` is there and says nothing. Before version 1.3 a limit of 0 was that of a caller who set none: podman writes it for
/// `--pids-limit -1`. Since then it counts, and no limit is a `pids` without one.
fn is_without_pids(json: &Value) -> bool {
    let version = json["ociVersion"].as_str().unwrap_or_default();
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    let before = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (1, 3);
    match json.pointer("/linux/resources/pids").map(|pids| &pids["limit"]) {
        Some(Value::Null) => true,
        Some(limit) => before && limit.as_i64() == Some(0),
        None => false,
    }
}

/// Relative destinations, which have been warned of.
fn put_mounts_below_the_root(spec: &mut Spec) {
    for mount in spec.mounts_mut().iter_mut().flatten().filter(|mount| !mount.destination().is_absolute()) {
        mount.set_destination(Path::new("/").join(mount.destination()));
    }
}

/// Writes the keys of `linux.resources` in their own letters. Gives a warning for each that was not.
pub fn own_letters(resources: &mut Value) -> Result<Vec<String>> {
    letters::correct(resources)
}

/// `linux.resources` by itself, as `update` gets it: the same rules hold for it. Gives it with the warnings. `raw` is the text
/// that it came from, where it did.
///
/// # Errors
/// Also where it has fields and none of them is of `linux.resources`, as a whole configuration: nothing would be changed.
pub fn resources(given: &Value, raw: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    const FIELDS: [&str; 9] =
        ["blockIO", "cpu", "devices", "hugepageLimits", "memory", "network", "pids", "rdma", "unified"];
    let names: Vec<&str> = given.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let unknown: Vec<&str> = names.iter().copied().filter(|name| !FIELDS.contains(name)).collect();
    if !names.is_empty() && unknown.len() == names.len() {
        bail!("{}: not of linux.resources, which has {}", unknown.join(", ").escape_debug(), FIELDS.join(", "));
    }
    let mut whole = super::spec::template(false);
    whole["linux"]["resources"] = given.clone();
    let (spec, mut warnings) = parse_value(whole, None, Strictness::All)
        .map_err(|error| placed::<LinuxResources>(error, raw, "linux.resources"))?;
    warnings.extend(unknown.iter().map(|name| format!("{}: not of linux.resources, ignored", name.escape_debug())));
    let linux = spec.linux().as_ref();
    Ok((linux.and_then(|linux| linux.resources().clone()).unwrap_or_default(), warnings))
}

/// config.md "capabilities": an unknown one is dropped with a warning. It can only lessen the container's rights.
fn drop_unknown_capabilities(json: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(sets) = json.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else {
        return warnings;
    };
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let known = !name.is_string() || serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known {
                warnings.push(format!("process.capabilities.{set}: unknown capability {name} is dropped"));
            }
            known
        });
    }
    warnings
}

/// A misspelt hook would never run. The specification lets an unknown field pass, so it is told.
fn unknown_hooks(json: &Value) -> Vec<String> {
    let given = json["hooks"].as_object().into_iter().flat_map(|hooks| hooks.keys());
    let unknown = given.filter(|name| !HOOKS.contains(&name.as_str()));
    let warning = |name: &String| {
        let meant = match name.eq_ignore_ascii_case("preStop") {
            true => "; before a stop runs what the annotation bookend/pre-stop says".to_owned(),
            false => nearest(name, HOOKS).map(|hook| format!(", did you mean {hook:?}?")).unwrap_or_default(),
        };
        format!("hooks.{}: not a hook of the specification, never run{meant}", name.escape_debug())
    };
    unknown.map(warning).collect()
}

/// Deprecated by the specification, and refused by kernels since 5.16. docker 20.10 passes it on, and runc leaves it out.
fn kernel_memory(json: &Value) -> Option<String> {
    let field = "linux.resources.memory.kernel";
    let given = json.pointer("/linux/resources/memory/kernel").is_some_and(|limit| !is_empty(limit));
    given.then(|| format!("{field}: not set, since kernels have no such limit any more; memory.limit counts it in"))
}

/// What 1.3 of the specification has replaced.
fn monitoring_of_old(json: &Value) -> impl Iterator<Item = String> {
    let names = ["enableCMT", "enableMBM"].into_iter();
    let given =
        names.filter(|name| json.pointer(&format!("/linux/intelRdt/{name}")).and_then(Value::as_bool) == Some(true));
    given.map(|name| format!("linux.intelRdt.{name}: without effect since version 1.3; use enableMonitoring"))
}

struct Check<'a> {
    json: &'a Value,
    problems: Vec<String>,
    /// What is no problem but has no effect.
    warnings: Vec<String>,
}

impl<'a> Check<'a> {
    fn all(&mut self) {
        self.version();
        self.nul_bytes(self.json, &mut String::new());
        self.impossible();
        self.root();
        self.process();
        self.scheduling();
        self.nature();
        self.mounts();
        self.namespaces();
        self.id_maps();
        self.devices();
        self.paths();
        self.resources();
        self.sysctl();
        self.hooks();
    }

    fn problem(&mut self, field: &str, text: impl AsRef<str>) {
        self.problems.push(format!("{field}: {}", text.as_ref()));
    }

    /// The value at `a.b.c`, or null.
    fn get(&self, field: &str) -> &'a Value {
        let json = self.json;
        field.split('.').fold(json, |value, key| value.get(key).unwrap_or(&Value::Null))
    }

    fn list(&self, field: &str) -> &'a [Value] {
        self.get(field).as_array().map_or(&[], Vec::as_slice)
    }

    fn text(&self, field: &str) -> &'a str {
        self.get(field).as_str().unwrap_or("")
    }

    fn has_namespace(&self, kind: &str) -> bool {
        self.list("linux.namespaces").iter().any(|namespace| namespace["type"] == kind)
    }

    /// A namespace that is made for this container, not one that exists already.
    fn has_new_namespace(&self, kind: &str) -> bool {
        let new = |namespace: &&Value| namespace["type"] == kind && is_empty(&namespace["path"]);
        self.list("linux.namespaces").iter().any(|namespace| new(&namespace))
    }

    /// config.md "ociVersion": SemVer; a runtime that knows 1.x refuses any other major.
    fn version(&mut self) {
        let version = self.text("ociVersion");
        let mut parts = version.split('-').next().unwrap_or("").split('+').next().unwrap_or("").splitn(3, '.');
        let numbers: Vec<Option<u64>> = (0..3).map(|_| parts.next()?.parse().ok()).collect();
        match numbers[..] {
            [Some(1), Some(_), Some(_)] => {}
            [Some(major), Some(_), Some(_)] => {
                self.problem("ociVersion", format!("{version:?} has major version {major}, bookend knows 1.x"));
            }
            _ if self.get("ociVersion").is_null() => self.problem("ociVersion", "missing, for instance \"1.0.2\""),
            _ => self.problem("ociVersion", format!("{version:?} is not a version like \"1.0.2\"")),
        }
    }

    /// No path, argument or name of the kernel's can hold a NUL; what comes after it would silently be lost.
    fn nul_bytes(&mut self, value: &Value, at: &mut String) {
        match value {
            Value::String(text) if text.contains('\0') => self.problem(at.trim_start_matches('.'), "holds a NUL byte"),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let length = at.len();
                    at.push_str(&format!("[{index}]"));
                    self.nul_bytes(item, at);
                    at.truncate(length);
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    let length = at.len();
                    at.push_str(&format!(".{}", key.escape_debug()));
                    if key.contains('\0') {
                        self.problem(at.trim_start_matches('.'), "holds a NUL byte");
                    }
                    self.nul_bytes(item, at);
                    at.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn impossible(&mut self) {
        for platform in ["solaris", "windows", "vm", "zos", "freebsd"] {
            if !is_empty(self.get(platform)) {
                self.problem(platform, "bookend runs Linux containers only; remove it");
            }
        }
        // memory.use_hierarchy is gone from the kernel: it always is.
        if self.get("linux.resources.memory.useHierarchy") == &Value::Bool(false) {
            let warning = "linux.resources.memory.useHierarchy: false is not offered by kernels since 5.11";
            self.warnings.push(warning.to_owned());
        }
    }

    fn root(&mut self) {
        if !self.get("root").is_object() {
            return self.problem("root", "missing");
        }
        if self.text("root.path").is_empty() {
            self.problem("root.path", "missing or empty");
        }
    }

    fn process(&mut self) {
        if self.get("process").is_null() {
            return self.problem("process", "missing: bookend has nothing to start");
        }
        if self.list("process.args").is_empty() {
            self.problem("process.args", "missing or empty: name the program");
        } else if self.list("process.args")[0] == "" {
            self.problem("process.args[0]", "empty: name the program");
        }
        match self.text("process.cwd") {
            "" => self.problem("process.cwd", "missing or empty: give an absolute path such as \"/\""),
            cwd if !cwd.starts_with('/') => self.problem("process.cwd", format!("{cwd:?} is not an absolute path")),
            _ => {}
        }
        for (index, variable) in self.list("process.env").iter().enumerate() {
            if variable.as_str().is_some_and(|text| !text.contains('=') || text.starts_with('=')) {
                self.problem(&format!("process.env[{index}]"), format!("{variable} is not NAME=VALUE"));
            }
        }
        for field in ["process.user.uid", "process.user.gid"] {
            self.id(field, self.get(field));
        }
        for (index, gid) in self.list("process.user.additionalGids").iter().enumerate() {
            self.id(&format!("process.user.additionalGids[{index}]"), gid);
        }
        if let Some(umask) = self.get("process.user.umask").as_u64()
            && umask > 0o777
        {
            self.problem("process.user.umask", format!("{umask} is more than 511 (0777)"));
        }
        if let Some(score) = self.get("process.oomScoreAdj").as_i64()
            && !(-1000..=1000).contains(&score)
        {
            self.problem("process.oomScoreAdj", format!("{score} is not within -1000 to 1000"));
        }
        self.rlimits();
        self.console_size();
    }

    fn rlimits(&mut self) {
        let mut seen = HashSet::new();
        for (index, limit) in self.list("process.rlimits").iter().enumerate() {
            let field = format!("process.rlimits[{index}]");
            let kind = limit["type"].as_str().unwrap_or("");
            if !RLIMITS.contains(&kind) {
                self.problem(&format!("{field}.type"), format!("unknown limit {kind:?}"));
            } else if !seen.insert(kind) {
                self.problem(&format!("{field}.type"), format!("{kind} is given twice"));
            }
            self.numbers(&field, limit, &["soft", "hard"]);
            let (Some(soft), Some(hard)) = (limit["soft"].as_u64(), limit["hard"].as_u64()) else { continue };
            if soft > hard {
                self.problem(&field, format!("soft {soft} is more than hard {hard}"));
            }
        }
    }

    fn console_size(&mut self) {
        if self.get("process.terminal").as_bool() != Some(true) {
            return; // config.md: then it is ignored
        }
        for side in ["height", "width"] {
            let field = format!("process.consoleSize.{side}");
            if let Some(size) = self.get(&field).as_u64()
                && size > u64::from(u16::MAX)
            {
                self.problem(&field, format!("{size} is more than 65535"));
            }
        }
    }

    fn mounts(&mut self) {
        for (index, mount) in self.list("mounts").iter().enumerate() {
            let field = format!("mounts[{index}]");
            let destination = mount["destination"].as_str().unwrap_or("");
            match destination {
                "" => self.problem(&format!("{field}.destination"), "missing or empty"),
                // config.md "mounts": deprecated, and to be taken as below the root.
                _ if !destination.starts_with('/') => self.warnings.push(format!(
                    "{field}.destination: {destination:?} is not an absolute path, and is taken as /{}",
                    destination.escape_debug()
                )),
                _ => {}
            }
            for name in ["uidMappings", "gidMappings"] {
                self.id_map(&format!("{field}.{name}"), mount[name].as_array().map_or(&[], Vec::as_slice));
            }
            let field = format!("{field} ({destination})");
            match rootfs::check_mount(mount, self.has_namespace("user")) {
                Err(error) => self.problem(&field, error),
                Ok(unused) => self.warnings.extend(unused.iter().map(|option| {
                    format!("{field}: option {option:?} has no effect on a bind mount: it is one of a file system")
                })),
            }
        }
        let propagation = self.text("linux.rootfsPropagation");
        if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
            self.problem(
                "linux.rootfsPropagation",
                format!("unknown value {propagation:?}, use one of {PROPAGATIONS:?}"),
            );
        }
    }

    fn namespaces(&mut self) {
        let mut seen = HashSet::new();
        for (index, namespace) in self.list("linux.namespaces").iter().enumerate() {
            let field = format!("linux.namespaces[{index}]");
            let kind = namespace["type"].as_str().unwrap_or("");
            if !NAMESPACES.contains(&kind) {
                self.problem(&format!("{field}.type"), format!("unknown namespace {kind:?}"));
            } else if !seen.insert(kind) {
                self.problem(&field, format!("namespace {kind} is given twice"));
            }
            if namespace["path"].as_str().is_some_and(|path| !path.is_empty() && !path.starts_with('/')) {
                self.problem(&format!("{field}.path"), format!("{} is not an absolute path", namespace["path"]));
            }
        }
        if !self.has_namespace("mount") {
            // Without it the mounts below would be made on the host, and pivot_root would move the host's root.
            self.problem("linux.namespaces", "no mount namespace: bookend needs one; add {\"type\": \"mount\"}");
        }
        for name in ["hostname", "domainname"] {
            if !is_empty(self.get(name)) && !self.has_namespace("uts") {
                self.problem(name, "would change the host's name; add a uts namespace or remove it");
            }
            if self.text(name).len() > 64 {
                self.problem(name, "longer than 64 bytes");
            }
        }
        self.time_offsets();
    }

    fn time_offsets(&mut self) {
        let Some(offsets) = self.get("linux.timeOffsets").as_object() else { return };
        for (clock, offset) in offsets {
            if !["monotonic", "boottime"].contains(&clock.as_str()) {
                self.problem("linux.timeOffsets", format!("unknown clock {clock:?}, use monotonic or boottime"));
            } else if offset["nanosecs"].as_u64().is_some_and(|nanos| nanos >= 1_000_000_000) {
                let field = format!("linux.timeOffsets.{clock}.nanosecs");
                self.problem(&field, format!("{} is a second or more: use secs", offset["nanosecs"]));
            }
        }
        if !offsets.is_empty() && !self.has_new_namespace("time") {
            self.problem("linux.timeOffsets", "needs a new time namespace: add {\"type\": \"time\"} or remove it");
        }
    }

    fn id_maps(&mut self) {
        for name in ["uidMappings", "gidMappings"] {
            let field = format!("linux.{name}");
            let maps = self.list(&field);
            if !maps.is_empty() && !self.has_new_namespace("user") {
                self.problem(&field, "needs a new user namespace: add {\"type\": \"user\"} or remove it");
            }
            if maps.is_empty() && self.has_new_namespace("user") {
                self.problem(&field, "missing: a new user namespace needs at least one mapping");
            }
            self.id_map(&field, maps);
        }
    }

    fn id_map(&mut self, field: &str, maps: &[Value]) {
        for (index, map) in maps.iter().enumerate() {
            self.numbers(&format!("{field}[{index}]"), map, &["containerID", "hostID", "size"]);
            let number = |key: &str| map[key].as_u64().unwrap_or(0);
            let size = number("size");
            let last = number("hostID").max(number("containerID")).saturating_add(size);
            if size == 0 && !map["size"].is_null() {
                self.problem(&format!("{field}[{index}].size"), "0: nothing would be mapped");
            } else if last > u64::from(u32::MAX) {
                self.problem(&format!("{field}[{index}]"), "reaches beyond the last id, 4294967294");
            }
        }
    }

    /// Numbers that the specification requires: what is missing would be 0, which is root, or no limit.
    fn numbers(&mut self, field: &str, entry: &Value, names: &[&str]) {
        for name in names.iter().filter(|name| entry[**name].is_null()) {
            self.problem(&format!("{field}.{name}"), "missing");
        }
    }

    /// setuid(2), chown(2) take -1 for "leave it as it is": who asked for that id would stay root.
    fn id(&mut self, field: &str, id: &Value) {
        if id.as_u64() == Some(u64::from(u32::MAX)) {
            self.problem(field, format!("{id} is no id: the kernel takes it for -1"));
        }
    }

    fn devices(&mut self) {
        for (index, device) in self.list("linux.devices").iter().enumerate() {
            let field = format!("linux.devices[{index}]");
            let path = device["path"].as_str().unwrap_or("");
            if !path.starts_with('/') {
                self.problem(&format!("{field}.path"), format!("{path:?} is not an absolute path"));
            }
            let kind = device["type"].as_str().unwrap_or("");
            if !["b", "c", "u", "p"].contains(&kind) {
                self.problem(&format!("{field}.type"), format!("unknown device type {kind:?}, use b, c, u or p"));
            }
            for number in ["major", "minor"] {
                match device[number].as_i64() {
                    None if kind != "p" => self.problem(&format!("{field}.{number}"), "missing"),
                    Some(value) if u32::try_from(value).is_err() => {
                        self.problem(&format!("{field}.{number}"), format!("{value} is out of range"));
                    }
                    _ => {}
                }
            }
            for owner in ["uid", "gid"] {
                self.id(&format!("{field}.{owner}"), &device[owner]);
            }
            if let Some(mode) = device["fileMode"].as_u64()
                && mode & !u64::from(Mode::all().bits() | nix::libc::S_IFMT) != 0
            {
                self.problem(&format!("{field}.fileMode"), format!("{mode} is not a file mode"));
            }
        }
    }

    fn paths(&mut self) {
        for field in ["linux.maskedPaths", "linux.readonlyPaths"] {
            for (index, path) in self.list(field).iter().enumerate() {
                if path.as_str().is_some_and(|path| !path.starts_with('/')) {
                    self.problem(&format!("{field}[{index}]"), format!("{path} is not an absolute path"));
                }
            }
        }
    }

    fn hooks(&mut self) {
        for kind in HOOKS {
            let list = format!("hooks.{kind}");
            for (index, hook) in self.list(&list).iter().enumerate() {
                let path = hook["path"].as_str().unwrap_or("");
                if !path.starts_with('/') {
                    self.problem(&format!("{list}[{index}].path"), format!("{path:?} is not an absolute path"));
                }
                for (at, variable) in hook["env"].as_array().into_iter().flatten().enumerate() {
                    if variable.as_str().is_some_and(|variable| !variable.contains('=')) {
                        let warning = format!("{list}[{index}].env[{at}]: {variable} is not NAME=VALUE, left out");
                        self.warnings.push(warning);
                    }
                }
                if hook["timeout"].as_i64().is_some_and(|timeout| timeout <= 0) {
                    self.problem(&format!("{list}[{index}].timeout"), "must be more than 0 seconds");
                }
            }
        }
    }
}

/// The opposite of `is_empty`.
fn given(value: &Value) -> bool {
    !is_empty(value)
}

/// Whether a value asks for nothing: null, 0, false, "", or a list or an object of nothing else.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests;
