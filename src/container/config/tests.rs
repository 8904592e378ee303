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
pub(super) fn each_is_refused<const N: usize>(rows: [(&str, Value, &str); N]) {
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
        ("/mounts/0/uidMappings", json!([{"containerID": 0, "size": 1}]), "mounts[0].uidMappings[0].hostID: missing"),
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
    with("/process", json!({"user": user, "args": ["x"], "cwd": "/", "consoleSize": {"height": 70000, "width": 1}}))
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
    assert!(error(json!({"linux": {"resources": {}}})).starts_with("linux: not of linux.resources, which has blockIO"));
    let (found, warnings) = resources(&json!({"pids": {"limit": 5}, "memroy": {}}), b"").unwrap();
    assert_eq!(found.pids().as_ref().unwrap().limit(), 5);
    assert_eq!(warnings, ["memroy: not of linux.resources, ignored"]);
    assert!(resources(&json!({}), b"").is_ok());
}
