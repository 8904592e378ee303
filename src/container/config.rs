//! What `config.json` may say: the runtime specification.
//!
//! A field that cannot be honoured is refused by name, never ignored: a container that runs without the protection it
//! asked for is worse than one that does not run. Fields that the specification does not know are ignored, as it demands.
//! The checks read the JSON, not `oci_spec`'s type, since only the JSON knows where in the file a value stands.

mod letters;
mod linux;
mod place;
mod process;

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
/// Sysctls that belong to the IPC namespace, besides `fs.mqueue.*` (sysctl(5), ipc_namespaces(7)).
const IPC_SYSCTLS: [&str; 11] = [
    "kernel.auto_msgmni",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg_next_id",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shm_next_id",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

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

    fn resources(&mut self) {
        self.device_rules();
        self.block_io();
        self.other_limits();
    }

    fn device_rules(&mut self) {
        for (index, rule) in self.list("linux.resources.devices").iter().enumerate() {
            let field = format!("linux.resources.devices[{index}]");
            let kind = rule["type"].as_str().unwrap_or("a");
            if !["a", "b", "c", "u"].contains(&kind) {
                self.problem(&format!("{field}.type"), format!("unknown device type {kind:?}, use a, b or c"));
            }
            let access = rule["access"].as_str().unwrap_or("");
            if !access.chars().all(|letter| "rwm".contains(letter)) {
                self.problem(&format!("{field}.access"), format!("{access:?} is not made of r, w and m"));
            }
            for number in ["major", "minor"] {
                if let Some(value) = rule[number].as_i64()
                    && value != -1
                    && u32::try_from(value).is_err()
                {
                    self.problem(&format!("{field}.{number}"), format!("{value} is out of range"));
                }
            }
        }
    }

    /// config-linux.md "Block IO": weights are from 10 to 1000, and 0 stands for none.
    fn block_io(&mut self) {
        const BLOCK_IO: &str = "linux.resources.blockIO";
        let devices = |field: &str| (format!("{BLOCK_IO}.{field}"), self.list(&format!("{BLOCK_IO}.{field}")));
        let (weights, of_devices) = devices("weightDevice");
        let throttles =
            ["ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"].map(|what| devices(&format!("throttle{what}Device")));
        let entries = |(field, list): (String, &'a [Value])| {
            list.iter().enumerate().map(move |(index, entry)| (format!("{field}[{index}]"), entry)).collect::<Vec<_>>()
        };
        let weighted = entries((weights, of_devices));
        for (field, _) in
            weighted.iter().filter(|(_, entry)| entry["weight"].is_null() && entry["leafWeight"].is_null())
        {
            self.problem(field, "weighs nothing: give weight");
        }
        for (field, entry) in
            weighted.iter().map(|(field, entry)| (field.as_str(), *entry)).chain([(BLOCK_IO, self.get(BLOCK_IO))])
        {
            match entry["weight"].as_u64() {
                Some(weight) if weight != 0 && !(10..=1000).contains(&weight) => {
                    self.problem(&format!("{field}.weight"), format!("{weight} is not within 10 to 1000"));
                }
                _ => {}
            }
            if entry["leafWeight"].as_u64().is_some_and(|weight| weight != 0) {
                self.problem(&format!("{field}.leafWeight"), "kernels since 5.0 have no such setting; remove it");
            }
        }
        let throttled: Vec<_> = throttles.into_iter().flat_map(entries).collect();
        for (field, device) in &throttled {
            self.numbers(field, device, &["rate"]);
        }
        for (field, device) in weighted.iter().chain(&throttled) {
            for number in ["major", "minor"] {
                match device[number].as_i64().map(u32::try_from) {
                    Some(Ok(_)) => {}
                    _ => self.problem(&format!("{field}.{number}"), format!("{} is no device number", device[number])),
                }
            }
        }
    }

    fn other_limits(&mut self) {
        for (index, limit) in self.list("linux.resources.hugepageLimits").iter().enumerate() {
            let size = limit["pageSize"].as_str().unwrap_or("");
            let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
            if number.and_then(|number| number.parse::<u32>().ok()).is_none() {
                let field = format!("linux.resources.hugepageLimits[{index}].pageSize");
                self.problem(&field, format!("{size:?} is not a size like 64KB, 2MB or 1GB"));
            }
            let field = format!("linux.resources.hugepageLimits[{index}]");
            self.numbers(&field, limit, &["limit"]);
            if limit["limit"].as_i64().is_some_and(|limit| limit < 0) {
                self.problem(&format!("{field}.limit"), format!("{} is no number of bytes", limit["limit"]));
            }
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '/');
        for (index, interface) in self.list("linux.resources.network.priorities").iter().enumerate() {
            self.numbers(&format!("linux.resources.network.priorities[{index}]"), interface, &["priority"]);
            if !interface["name"].as_str().is_some_and(is_name) {
                let field = format!("linux.resources.network.priorities[{index}].name");
                self.problem(&field, format!("{} is not the name of an interface", interface["name"]));
            }
        }
        for (device, limit) in self.get("linux.resources.rdma").as_object().into_iter().flatten() {
            let field = format!("linux.resources.rdma.{}", device.escape_debug());
            if !is_name(device) {
                self.problem(&field, "not the name of an RDMA device");
            } else if ["hcaHandles", "hcaObjects"].iter().all(|kind| limit[kind].is_null()) {
                self.problem(&field, "limits nothing: give hcaHandles or hcaObjects");
            }
        }
        if let Some(idle) = self.get("linux.resources.cpu.idle").as_i64()
            && ![0, 1].contains(&idle)
        {
            self.problem("linux.resources.cpu.idle", format!("{idle} is neither 0 nor 1"));
        }
    }

    /// threats.md S14: a sysctl that is not of a namespace of the container's would be the host's.
    fn sysctl(&mut self) {
        let Some(settings) = self.get("linux.sysctl").as_object() else { return };
        for (name, value) in settings {
            let field = format!("linux.sysctl.{}", name.escape_debug());
            let dotted = name.replace('/', ".");
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
            if name.is_empty() || !name.chars().all(legal) || dotted.split('.').any(str::is_empty) {
                self.problem(&field, "not the name of a sysctl");
                continue;
            }
            if value.as_str().is_some_and(|value| value.contains('\n')) {
                self.problem(&field, "the value holds a newline");
            }
            let namespace = match dotted.as_str() {
                "kernel.domainname" | "kernel.hostname" => "uts",
                ipc if IPC_SYSCTLS.contains(&ipc) || ipc == "kernel.shm_rmid_forced" => "ipc",
                mqueue if mqueue.starts_with("fs.mqueue.") => "ipc",
                net if net.starts_with("net.") => "network",
                _ => {
                    self.problem(&field, "belongs to no namespace of the container: it would change the host");
                    continue;
                }
            };
            if !self.has_namespace(namespace) {
                let article = if namespace == "ipc" { "an" } else { "a" };
                self.problem(
                    &field,
                    format!("would change the host; add {article} {namespace} namespace or remove it"),
                );
            }
            let given = self.text("domainname");
            if dotted == "kernel.hostname" {
                self.problem(&field, "has a field of its own: use hostname");
            } else if dotted == "kernel.domainname" && !given.is_empty() && value.as_str() != Some(given) {
                self.problem(&field, format!("{value} contradicts domainname {given:?}"));
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
mod tests {
    use super::*;
    use crate::container::spec;
    use serde_json::json;

    /// The template with `value` at `pointer`, parsed.
    pub(super) fn with(pointer: &str, value: Value) -> Result<(Spec, Vec<String>)> {
        let mut spec = spec::template(false);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        for (index, _) in parent.match_indices('/').chain([(parent.len(), "")]).skip(1) {
            let (above, name) = parent[..index].rsplit_once('/').unwrap();
            let above = spec.pointer_mut(above).unwrap();
            if above.is_object() && above.get(name).is_none_or(Value::is_null) {
                above[name] = json!({});
            }
        }
        let parent = spec.pointer_mut(parent).unwrap();
        match key.parse::<usize>() {
            Ok(index) if parent.is_array() && index >= parent.as_array().unwrap().len() => {
                parent.as_array_mut().unwrap().push(value);
            }
            Ok(index) if parent.is_array() => parent[index] = value,
            _ => parent[key] = value,
        }
        parse(&mut serde_json::to_vec(&spec).unwrap())
    }

    pub(super) fn refused(pointer: &str, value: Value) -> String {
        match with(pointer, value.clone()) {
            Ok(_) => panic!("{pointer} = {value} was accepted"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_limit_of_no_processes_is_none_before_version_1_3() {
        let pids = |version: &str, pids: Value| {
            let mut config = super::super::spec::template(false);
            config["ociVersion"] = json!(version);
            config["linux"]["resources"]["pids"] = pids;
            let (spec, _) = parse(&mut config.to_string().into_bytes()).unwrap();
            let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap().clone();
            resources.pids().as_ref().map(|pids| pids.limit())
        };
        assert_eq!(pids("1.0.2-dev", json!({"limit": 0})), None);
        assert_eq!(pids("1.2.1", json!({"limit": 7})), Some(7));
        assert_eq!(pids("1.3.0", json!({"limit": 0})), Some(0));
        assert_eq!(pids("1.3.0", json!({})), None);
    }

    #[test]
    fn an_id_that_the_kernel_takes_for_none_is_refused() {
        for user in [
            json!({"uid": u32::MAX, "gid": 0}),
            json!({"uid": 0, "gid": u32::MAX}),
            json!({"uid": 0, "gid": 0, "additionalGids": [u32::MAX]}),
        ] {
            let mut config = super::super::spec::template(false);
            config["process"]["user"] = user.clone();
            let error = parse(&mut config.to_string().into_bytes()).unwrap_err().to_string();
            assert!(error.contains("4294967295 is no id"), "{user}: {error}");
            let error = process(config["process"].to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains("4294967295 is no id"), "{user}: {error}");
        }
    }

    #[test]
    fn null_and_empty_values_ask_for_nothing() {
        for (pointer, value) in [
            ("/linux/seccomp", Value::Null),
            ("/process/apparmorProfile", json!("")),
            ("/process/scheduler", Value::Null),
            ("/linux/netDevices", json!({})),
            ("/linux/resources/blockIO", json!({"weight": 0})),
            ("/linux/resources/unified", json!({})),
            ("/linux/resources/hugepageLimits", json!([])),
        ] {
            with(pointer, value).unwrap_or_else(|error| panic!("{pointer}: {error:#}"));
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        with("/linux/invented", json!({"a": [1]})).unwrap();
        with("/invented", json!(true)).unwrap();
    }

    /// Each value at its place is refused with a line that begins so.
    #[track_caller]
    fn each_is_refused<const N: usize>(rows: [(&str, Value, &str); N]) {
        for (pointer, value, beginning) in rows {
            let error = refused(pointer, value);
            assert!(error.lines().any(|line| line.trim_start().starts_with(beginning)), "{pointer}: {error}");
        }
    }

    #[test]
    fn bad_values_are_refused_with_their_field() {
        each_is_refused([
            ("/ociVersion", json!("2.0.0"), "ociVersion: \"2.0.0\" has major version 2"),
            ("/ociVersion", json!("1"), "ociVersion: \"1\" is not a version"),
            ("/ociVersion", Value::Null, "ociVersion: missing"),
            ("/process/args", json!([]), "process.args: missing or empty"),
            ("/process/args", json!([""]), "process.args[0]: empty"),
            ("/process/cwd", json!("tmp"), "process.cwd: \"tmp\" is not an absolute path"),
            ("/process/env", json!(["A=b", "x"]), "process.env[1]: \"x\" is not NAME=VALUE"),
            ("/process/env", json!(["A=\u{0}"]), "process.env[0]: holds a NUL byte"),
            ("/process/user/umask", json!(512), "process.user.umask: 512"),
            ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj: 1001"),
            ("/process/rlimits/0/type", json!("RLIMIT_X"), "process.rlimits[0].type: unknown limit \"RLIMIT_X\""),
            ("/process/rlimits/0/soft", json!(2000), "process.rlimits[0]: soft 2000 is more than hard 1024"),
            (
                "/process/rlimits/9",
                json!({"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}),
                "process.rlimits[1].type: RLIMIT_NOFILE is given twice",
            ),
            ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "hard": 9}]), "process.rlimits[0].soft: missing"),
            ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 9}]), "process.rlimits[0].hard: missing"),
            ("/process/consoleSize", json!({"height": 65536, "width": 1}), "process.consoleSize.height: 65536 is more"),
            ("/root/path", json!(""), "root.path: missing or empty"),
            ("/hooks", json!({"poststop": [{"path": "x"}]}), "hooks.poststop[0].path: \"x\" is not an absolute path"),
            ("/windows", json!({"layerFolders": ["x"]}), "windows: bookend runs Linux containers only"),
        ]);
    }

    #[test]
    fn bad_mounts_are_refused_with_their_field() {
        each_is_refused([
            (
                "/mounts/0/uidMappings",
                json!([{"containerID": 0, "hostID": 1, "size": 1}]),
                "mounts[0] (/proc): uidMappings and gidMappings are for bind mounts only",
            ),
            (
                "/mounts/0",
                json!({"destination": "/v", "source": "/s", "type": "bind",
                    "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}),
                "mounts[0] (/v): uidMappings and gidMappings need each other",
            ),
            (
                "/mounts/0",
                json!({"destination": "/v", "source": "/s", "type": "bind", "options": ["ridmap"]}),
                "mounts[0] (/v): idmap needs uidMappings and gidMappings, or a user namespace",
            ),
            (
                "/mounts/0/gidMappings",
                json!([{"containerID": 0, "hostID": 1, "size": 0}]),
                "mounts[0].gidMappings[0].size: 0",
            ),
            (
                "/mounts/0/uidMappings",
                json!([{"containerID": 0, "size": 1}]),
                "mounts[0].uidMappings[0].hostID: missing",
            ),
            ("/mounts/0/options", json!(["tmpcopyup"]), "mounts[0] (/proc): option \"tmpcopyup\" is for a new tmpfs"),
            ("/mounts/1/options", json!(["idmap"]), "mounts[1] (/dev): option \"idmap\" is for bind mounts only"),
            ("/mounts/1/options", json!(["remount", "size=1"]), "mounts[1] (/dev): option \"size=1\": remount changes"),
            ("/mounts/1/options", json!(["move"]), "mounts[1] (/dev): option \"move\": the runtime specification has"),
        ]);
    }

    #[test]
    fn bad_values_of_linux_are_refused_with_their_field() {
        each_is_refused([
            ("/linux/namespaces/0/type", json!("pidd"), "linux.namespaces[0].type: unknown namespace \"pidd\""),
            ("/linux/namespaces/9", json!({"type": "pid"}), "linux.namespaces[5]: namespace pid is given twice"),
            ("/linux/namespaces/4/type", json!("cgroup"), "linux.namespaces: no mount namespace"),
            ("/linux/namespaces/3/type", json!("cgroup"), "hostname: would change the host's name"),
            (
                "/linux/uidMappings",
                json!([{"containerID": 0, "hostID": 1, "size": 1}]),
                "linux.uidMappings: needs a new user namespace",
            ),
            ("/linux/namespaces/9", json!({"type": "user"}), "linux.uidMappings: missing"),
            ("/linux/uidMappings", json!([{"hostID": 1, "size": 1}]), "linux.uidMappings[0].containerID: missing"),
            ("/linux/gidMappings", json!([{"containerID": 0, "size": 1}]), "linux.gidMappings[0].hostID: missing"),
            ("/linux/gidMappings", json!([{"containerID": 0, "hostID": 1}]), "linux.gidMappings[0].size: missing"),
            (
                "/linux/timeOffsets",
                json!({"boottime": {"nanosecs": 1_000_000_000}}),
                "linux.timeOffsets.boottime.nanosecs: 1000000000 is a second or more",
            ),
            ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}), "linux.timeOffsets: needs a new time namespace"),
            ("/linux/rootfsPropagation", json!("public"), "linux.rootfsPropagation: unknown value \"public\""),
            (
                "/linux/devices",
                json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 1}]),
                "linux.devices[0].type: unknown device type \"z\"",
            ),
            ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": 1}]), "linux.devices[0].minor: missing"),
            ("/linux/maskedPaths", json!(["proc"]), "linux.maskedPaths[0]: \"proc\" is not an absolute path"),
            (
                "/linux/sysctl",
                json!({"kernel.core_pattern": "x"}),
                "linux.sysctl.kernel.core_pattern: belongs to no namespace",
            ),
            (
                "/linux/sysctl",
                json!({"kernel.shm_rmid_forced+kernel.core_pattern": "x"}),
                "linux.sysctl.kernel.shm_rmid_forced+kernel.core_pattern: not the name",
            ),
            (
                "/linux/sysctl",
                json!({"net/../kernel/core_pattern": "x"}),
                "linux.sysctl.net/../kernel/core_pattern: not the name",
            ),
            (
                "/linux/sysctl",
                json!({"kernel.hostname": "x"}),
                "linux.sysctl.kernel.hostname: has a field of its own: use hostname",
            ),
        ]);
    }

    #[test]
    fn bad_limits_are_refused_with_their_field() {
        each_is_refused([
            (
                "/linux/resources/devices",
                json!([{"allow": true, "access": "rx"}]),
                "linux.resources.devices[0].access: \"rx\" is not made of r, w and m",
            ),
            (
                "/linux/resources/devices",
                json!([{"allow": false}, {"allow": true, "type": "p", "access": "rwm"}]),
                "linux.resources.devices[1].type: unknown device type \"p\"",
            ),
            (
                "/linux/resources/devices",
                json!([{"allow": true, "type": "", "access": "r"}]),
                "linux.resources.devices[0].type: unknown device type \"\"",
            ),
            (
                "/linux/resources/devices",
                json!([{"allow": true, "type": "c", "major": -2}]),
                "linux.resources.devices[0].major: -2 is out of range",
            ),
            (
                "/linux/resources/blockIO",
                json!({"weight": 9}),
                "linux.resources.blockIO.weight: 9 is not within 10 to 1000",
            ),
            (
                "/linux/resources/blockIO",
                json!({"leafWeight": 10}),
                "linux.resources.blockIO.leafWeight: kernels since 5.0 have no such setting",
            ),
            (
                "/linux/resources/blockIO",
                json!({"weightDevice": [{"major": 8, "minor": 0, "weight": 1001}]}),
                "linux.resources.blockIO.weightDevice[0].weight: 1001 is not within 10 to 1000",
            ),
            (
                "/linux/resources/blockIO",
                json!({"throttleReadIOPSDevice": [{"major": -1, "minor": 0, "rate": 5}]}),
                "linux.resources.blockIO.throttleReadIOPSDevice[0].major: -1 is no device number",
            ),
            (
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB/../x", "limit": 5}]),
                "linux.resources.hugepageLimits[0].pageSize: \"2MB/../x\" is not a size",
            ),
            (
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB"}]),
                "linux.resources.hugepageLimits[0].limit: missing",
            ),
            (
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB", "limit": -1}]),
                "linux.resources.hugepageLimits[0].limit: -1 is no number of bytes",
            ),
            (
                "/linux/resources/blockIO",
                json!({"throttleReadIOPSDevice": [{"major": 8, "minor": 0}]}),
                "linux.resources.blockIO.throttleReadIOPSDevice[0].rate: missing",
            ),
            (
                "/linux/resources/blockIO",
                json!({"weightDevice": [{"major": 8, "minor": 0}]}),
                "linux.resources.blockIO.weightDevice[0]: weighs nothing",
            ),
            (
                "/linux/resources/network",
                json!({"priorities": [{"name": "eth0"}]}),
                "linux.resources.network.priorities[0].priority: missing",
            ),
            (
                "/linux/resources/network",
                json!({"priorities": [{"name": "a b", "priority": 1}]}),
                "linux.resources.network.priorities[0].name: \"a b\" is not the name",
            ),
            ("/linux/resources/rdma", json!({"mlx5_1": {}}), "linux.resources.rdma.mlx5_1: limits nothing"),
            ("/linux/resources/cpu", json!({"idle": 2}), "linux.resources.cpu.idle: 2 is neither 0 nor 1"),
        ]);
    }

    #[test]
    fn every_problem_is_listed() {
        let mut spec = spec::template(false);
        spec["process"]["args"] = json!([]);
        spec["process"]["cwd"] = json!("x");
        spec["linux"]["netDevices"] = json!({"a/b": {}});
        let error = format!("{:#}", parse(&mut serde_json::to_vec(&spec).unwrap()).unwrap_err());
        assert_eq!(error.lines().count(), 3, "{error}");
    }

    #[test]
    fn an_unknown_capability_is_dropped_with_a_warning() {
        let (spec, warnings) = with("/process/capabilities/bounding", json!(["CAP_KILL", "CAP_FLY"])).unwrap();
        assert_eq!(warnings, ["process.capabilities.bounding: unknown capability \"CAP_FLY\" is dropped"]);
        let process = spec.process().as_ref().unwrap();
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.len(), 1);
    }

    #[test]
    fn the_monitoring_of_older_specifications_is_left_out_with_a_warning() {
        let (_, warnings) = with("/linux/intelRdt", json!({"enableCMT": true, "enableMBM": false})).unwrap();
        assert_eq!(warnings, ["linux.intelRdt.enableCMT: without effect since version 1.3; use enableMonitoring"]);
    }

    /// Whoever makes hooks from an environment of its own would be refused every container.
    #[test]
    fn a_variable_of_a_hook_without_a_value_is_left_out_with_a_warning() {
        let hooks = json!({"poststop": [{"path": "/x", "env": ["A=b", "DEBUG"]}]});
        let (_, warnings) = with("/hooks", hooks).unwrap();
        assert_eq!(warnings, ["hooks.poststop[0].env[1]: \"DEBUG\" is not NAME=VALUE, left out"]);
    }

    #[test]
    fn a_console_size_without_a_terminal_is_ignored() {
        let user = json!({"uid": 0, "gid": 0});
        with(
            "/process",
            json!({"user": user, "args": ["x"], "cwd": "/", "consoleSize": {"height": 70000, "width": 1}}),
        )
        .unwrap();
    }

    #[test]
    fn a_limit_of_kernel_memory_is_left_out_with_a_warning() {
        let (_, warnings) = with("/linux/resources/memory", json!({"kernel": 4096})).unwrap();
        assert!(warnings[0].starts_with("linux.resources.memory.kernel: not set"), "{warnings:?}");
        let (_, warnings) = with("/linux/resources/memory", json!({"kernel": 0})).unwrap();
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn a_process_by_itself_is_held_to_the_same_rules() {
        let given = |json: Value| process(&serde_json::to_vec(&json).unwrap());
        let good = json!({"user": {"uid": 1, "gid": 2}, "cwd": "/", "args": ["true"],
            "capabilities": {"effective": ["CAP_FLY"]}});
        let (read, warnings) = given(good).unwrap();
        assert_eq!((read.user().uid(), warnings.len()), (1, 1));
        let error = given(json!({"user": {"uid": 1, "gid": 2}, "cwd": "x", "args": []})).unwrap_err();
        let lines: Vec<String> = error.to_string().lines().map(|line| line.trim().to_owned()).collect();
        assert!(lines[0].starts_with("process.args: ") && lines[1].starts_with("process.cwd: "), "{lines:?}");
        let error = process(b"{\n x").unwrap_err().to_string();
        assert!(error.starts_with("line 2 column 2: "), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_has_its_line_and_column() {
        let error = refused("/process/args", json!([7]));
        assert!(error.starts_with("line 1 column ") && error.contains(": process.args[0]: invalid type"), "{error}");
        // Also where something else was changed on the way.
        let mut whole = crate::container::spec::template(false);
        whole["process"]["capabilities"]["bounding"] = json!(["CAP_FLY"]);
        whole["root"]["path"] = json!(7);
        whole["hooks"] = json!({"prestop": []});
        let error = parse(&mut serde_json::to_vec(&whole).unwrap()).unwrap_err().to_string();
        assert!(error.contains("root.path"), "{error}");
        let error =
            process(b"{\"cwd\": \"/\", \"args\": [\"a\"],\n \"user\": {\"uid\": \"root\", \"gid\": 0}}").unwrap_err();
        let told = "line 2 column 23: process.user.uid: invalid type: string \"root\", expected u32";
        assert_eq!(error.to_string(), told);
        let text = br#"{"pids": {"limit": "many"}}"#;
        let error = resources(&serde_json::from_slice(text).unwrap(), text).unwrap_err().to_string();
        assert!(error.starts_with("line 1 column 25: linux.resources.pids.limit: invalid type"), "{error}");
    }

    #[test]
    fn a_relative_destination_is_below_the_root_with_a_warning() {
        let (spec, warnings) = with("/mounts/0/destination", json!("proc")).unwrap();
        assert_eq!(spec.mounts().as_ref().unwrap()[0].destination(), Path::new("/proc"));
        assert_eq!(warnings, ["mounts[0].destination: \"proc\" is not an absolute path, and is taken as /proc"]);
    }

    #[test]
    fn pre_release_and_newer_minor_versions_are_accepted() {
        for version in ["1.0.2-dev", "1.3.0", "1.99.0+x"] {
            with("/ociVersion", json!(version)).unwrap();
        }
    }

    #[test]
    fn resources_that_would_change_nothing_are_refused() {
        let error = |given: Value| resources(&given, b"").unwrap_err().to_string();
        assert!(
            error(json!({"linux": {"resources": {}}})).starts_with("linux: not of linux.resources, which has blockIO")
        );
        let (found, warnings) = resources(&json!({"pids": {"limit": 5}, "memroy": {}}), b"").unwrap();
        assert_eq!(found.pids().as_ref().unwrap().limit(), 5);
        assert_eq!(warnings, ["memroy: not of linux.resources, ignored"]);
        assert!(resources(&json!({}), b"").is_ok());
    }
}
