//! What a process finds in its container: namespaces, ids, root file system, user, environment, limits, capabilities,
//! descriptors (issue "First light", item 4). Each test looks from inside.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use common::{Fixture, Output, bookend, finish, is_root, needs_root};

/// What the ENTRYPOINT prints in a container whose configuration is changed.
fn inside(script: &str, change: impl FnOnce(&mut Value)) -> String {
    let c = Fixture::busybox().shell(script).with(change);
    let output = c.run().ok();
    c.assert_nothing_left();
    output.stdout
}

/// `run` is refused with these words, and nothing is left of it.
#[track_caller]
fn refused(change: impl FnOnce(&mut Value), words: &[&str]) {
    let c = Fixture::busybox().shell("echo it ran").with(change);
    let mut output = c.run().fails(125);
    assert!(!output.stdout.contains("it ran"));
    for word in words {
        output = output.says(word);
    }
    c.assert_nothing_left();
    c.create().fails(1).says(words[0]);
    c.assert_nothing_left();
}

/// The container's process by a shell that first arranges what bookend inherits.
fn through_shell(c: &Fixture, script: &str, verb: &[&str]) -> Output {
    c.write();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(bookend()).arg("--root").arg(c.root()).args(verb);
    command.arg("--bundle").arg(c.bundle()).arg(&c.id);
    command.env("XDG_RUNTIME_DIR", c.scratch.path().join("run"));
    finish(command, &c.scratch)
}

fn add_namespace(config: &mut Value, namespace: Value) {
    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|entry| entry["type"] != namespace["type"]);
    list.push(namespace);
}

fn add_mount(config: &mut Value, source: &Path, destination: &str, options: &[&str]) {
    let mount = json!({"source": source, "destination": destination, "type": "bind", "options": options});
    config["mounts"].as_array_mut().unwrap().push(mount);
}

/// The `N: ` fields of the mount at a place: options of the mount, the optional fields, and the file system's.
fn mount_line<'m>(mountinfo: &'m str, at: &str) -> &'m str {
    let of = |line: &&str| line.split(' ').nth(4) == Some(at);
    mountinfo.lines().rfind(of).unwrap_or_else(|| panic!("no mount at {at} in\n{mountinfo}"))
}

fn mount_options<'m>(mountinfo: &'m str, at: &str) -> Vec<&'m str> {
    mount_line(mountinfo, at).split(' ').nth(5).unwrap().split(',').collect()
}

// ── namespaces ──

#[test]
fn every_namespace_of_the_configuration_is_new() {
    let files = [
        ("pid", "pid"),
        ("network", "net"),
        ("mount", "mnt"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("user", "user"),
        ("time", "time"),
    ];
    let c = Fixture::busybox()
        .shell("for n in pid net mnt ipc uts cgroup user time; do echo $n $(readlink /proc/self/ns/$n); done")
        .with(|config| {
            if is_root() {
                config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
                config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
            }
            for (kind, _) in files {
                add_namespace(config, json!({ "type": kind }));
            }
        });
    let c = if is_root() { owned_by(c, 100000) } else { c };
    let output = c.run().ok();
    for (_, file) in files {
        let ours = fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
        let line = output.stdout.lines().find(|line| line.starts_with(&format!("{file} "))).unwrap();
        let theirs = line.split(' ').nth(1).unwrap();
        assert!(theirs.starts_with(&format!("{file}:[")), "{line}");
        assert_ne!(theirs, ours.to_str().unwrap(), "{file}");
    }
}

/// The root file system, and the way to it, of a user who is root of a container.
fn owned_by(c: Fixture, uid: u32) -> Fixture {
    let done = Command::new("chown").args(["-R", "-h", &format!("{uid}:{uid}")]).arg(c.rootfs()).status().unwrap();
    assert!(done.success());
    c
}

#[test]
fn a_namespace_that_is_left_out_is_the_callers() {
    if !needs_root("a_namespace_that_is_left_out_is_the_callers") {
        return;
    }
    let c = Fixture::busybox().shell("for n in pid net ipc uts; do readlink /proc/self/ns/$n; done");
    let c = ["pid", "network", "ipc", "uts", "cgroup"].iter().fold(c, |c, kind| c.without_namespace(kind));
    let c = c.with(|config| drop(config.as_object_mut().unwrap().remove("hostname")));
    let output = c.run().ok();
    let ours = ["pid", "net", "ipc", "uts"].map(|n| fs::read_link(format!("/proc/self/ns/{n}")).unwrap());
    let ours: Vec<&str> = ours.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), ours);
}

#[test]
fn namespaces_of_another_container_are_joined_by_path() {
    if !needs_root("namespaces_of_another_container_are_joined_by_path") {
        return;
    }
    let first = Fixture::busybox()
        .with(|config| {
            add_namespace(config, json!({"type": "time"}));
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 86400}});
        })
        .started();
    let kinds =
        [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup"), ("time", "time")];
    let c = Fixture::busybox()
        .shell("for n in net ipc uts pid cgroup time; do echo $n $(readlink /proc/self/ns/$n); done; hostname; cat /proc/uptime")
        .with(|config| {
            config.as_object_mut().unwrap().remove("hostname");
            for (kind, file) in kinds {
                add_namespace(config, json!({"type": kind, "path": format!("/proc/{}/ns/{file}", first.pid())}));
            }
        });
    let output = c.run().ok();
    for (_, file) in kinds {
        let theirs = fs::read_link(format!("/proc/{}/ns/{file}", first.pid())).unwrap();
        let expected = format!("{file} {}", theirs.display());
        assert!(output.stdout.contains(&expected), "{expected} in {}", output.stdout);
    }
    let uptime: f64 = output.stdout.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 86400.0, "{uptime}");
    c.assert_nothing_left();
}

#[test]
fn user_and_mount_namespaces_are_joined_by_path() {
    if !needs_root("user_and_mount_namespaces_are_joined_by_path") {
        return;
    }
    let mapped = |config: &mut Value| {
        add_namespace(config, json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
    };
    let first = owned_by(Fixture::busybox().with(mapped), 100000).started();
    let pid = first.pid();
    let c = owned_by(Fixture::busybox().shell("readlink /proc/self/ns/user; cat /proc/self/uid_map; id -u"), 100000);
    let c = c.with(|config| add_namespace(config, json!({"type": "user", "path": format!("/proc/{pid}/ns/user")})));
    let output = c.run().ok();
    let theirs = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(output.stdout.lines().next().unwrap(), theirs.to_str().unwrap());
    assert_eq!(output.stdout.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(output.stdout.lines().nth(2).unwrap(), "0");
}

#[test]
fn what_lies_in_a_directory_of_the_containers_root_alone_is_found() {
    if !needs_root("what_lies_in_a_directory_of_the_containers_root_alone_is_found") {
        return;
    }
    // As podman keeps what is for `--userns=keep-id`: neither the mapped root nor the caller's uid without its
    // capabilities gets everywhere.
    let c = Fixture::busybox().shell("cat /mnt/word /opt/word").with(|config| {
        add_namespace(config, json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        config["root"]["path"] = json!("of-mapped-root/rootfs");
        let binds = [("of-mapped-root/inner", "/mnt"), ("of-caller/inner", "/opt")];
        let binds = binds.map(|(source, destination)| json!({"type": "bind", "source": source, "destination": destination, "options": ["rbind"]}));
        config["mounts"].as_array_mut().unwrap().extend(binds);
    });
    let c = owned_by(c, 100000);
    let dirs = [("of-mapped-root", 100000), ("of-caller", 0)].map(|(name, owner)| (c.bundle().join(name), owner));
    for (dir, owner) in &dirs {
        fs::create_dir(dir).unwrap();
        fs::create_dir(dir.join("inner")).unwrap();
        fs::write(dir.join("inner/word"), "found\n").unwrap();
        std::os::unix::fs::chown(dir, Some(*owner), Some(*owner)).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::rename(c.rootfs(), dirs[0].0.join("rootfs")).unwrap();
    assert_eq!(c.run().ok().stdout, "found\nfound\n");
}

#[test]
fn a_namespace_path_of_another_type_or_none_at_all_is_refused() {
    let other = |kind: &'static str, path: &'static str| {
        move |config: &mut Value| add_namespace(config, json!({"type": kind, "path": path}))
    };
    refused(other("network", "/proc/self/ns/uts"), &["/proc/self/ns/uts is a namespace of type uts, not net"]);
    refused(other("uts", "/proc/self/ns/pid"), &["/proc/self/ns/pid is a namespace of type pid, not uts"]);
    refused(other("ipc", "/nonexistent"), &["ipc", "/nonexistent", "No such file"]);
    refused(other("ipc", "/etc/passwd"), &["/etc/passwd is no namespace"]);
    refused(other("pid", "ns/pid"), &["linux.namespaces", "absolute"]);
}

#[test]
fn a_namespace_in_which_nobody_here_has_rights_is_refused_before_anything_is_made() {
    if !needs_root("a_namespace_in_which_nobody_here_has_rights_is_refused_before_anything_is_made") {
        return;
    }
    let hosts = Fixture::busybox();
    let file = hosts.scratch.path().join("net");
    fs::write(&file, "").unwrap();
    let hosts = hosts.own_network().with(|config| {
        let network = config["linux"]["namespaces"].as_array_mut().unwrap().pop().unwrap();
        add_namespace(config, json!({"type": network["type"], "path": file}));
    });
    hosts.write();
    // In a user namespace, from where the host's network cannot be entered.
    let script = "mount --bind /proc/self/ns/net \"$1\" && shift && exec unshare --user --map-root-user --net \"$@\"";
    let call = hosts.command(&["create", "--bundle", hosts.bundle().to_str().unwrap(), &hosts.id]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&file).arg(call.get_program()).args(call.get_args());
    let wanted = format!(
        "linux.namespaces: cannot join net namespace {}: it belongs to a user namespace outside",
        file.display()
    );
    finish(command, &hosts.scratch).fails(1).says(&wanted);
    assert!(!hosts.state_dir().exists());
}

/// A process in a user and a network namespace of its own, made by this user.
struct Elsewhere(std::process::Child);

impl Elsewhere {
    fn new() -> Elsewhere {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", "echo there; read end"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        Elsewhere(child)
    }

    fn namespace(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_rights_a_namespace_is_joined_only_with_the_user_namespace_that_it_belongs_to() {
    if !common::needs_a_user("without_rights_a_namespace_is_joined_only_with_the_user_namespace_that_it_belongs_to") {
        return;
    }
    let (one, other) = (Elsewhere::new(), Elsewhere::new());
    let with = |user: Option<String>, network: String| {
        let c = Fixture::busybox().own_network().entrypoint(["/bin/busybox", "true"]).with(|config| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.pop();
            list.push(json!({"type": "network", "path": network}));
            if let Some(path) = user {
                list.retain(|namespace| namespace["type"] != "user");
                list.push(json!({"type": "user", "path": path}));
                config["linux"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("Mappings"));
            }
        });
        let output = c.run();
        c.assert_nothing_left();
        output
    };
    let network = one.namespace("net");
    let needs =
        format!("linux.namespaces: cannot join net namespace {network}: that needs CAP_SYS_ADMIN: join the user");
    with(None, network.clone()).fails(125).says(&needs);
    let foreign = other.namespace("user");
    let wrong =
        format!("cannot join net namespace {network}: it does not belong to user namespace {foreign}: join the one");
    with(Some(foreign), network.clone()).fails(125).says(&wrong);
    with(Some(one.namespace("user")), network).ok();
}

#[test]
fn clocks_are_set_off_in_a_new_time_namespace() {
    let offsets = json!({"boottime": {"secs": 86400, "nanosecs": 500}, "monotonic": {"secs": 3600}});
    let out = inside("cat /proc/uptime; cat /proc/self/timens_offsets", |config| {
        add_namespace(config, json!({"type": "time"}));
        config["linux"]["timeOffsets"] = offsets.clone();
    });
    let uptime: f64 = out.split([' ', '\n']).next().unwrap().parse().unwrap();
    assert!(uptime > 86400.0, "{out}");
    let words: Vec<&str> = out.split_whitespace().collect();
    assert!(words.windows(3).any(|three| three == ["boottime", "86400", "500"]), "{out}");
    assert!(words.windows(3).any(|three| three == ["monotonic", "3600", "0"]), "{out}");
    // A process of exec has the same clocks.
    let c = Fixture::busybox().entrypoint(["sleep", "60"]).with(|config| {
        add_namespace(config, json!({"type": "time"}));
        config["linux"]["timeOffsets"] = offsets.clone();
    });
    let c = c.started();
    let uptime = c.exec("cat /proc/uptime").ok().stdout;
    assert!(uptime.split(' ').next().unwrap().parse::<f64>().unwrap() > 86400.0, "{uptime}");
    refused(|config| config["linux"]["timeOffsets"] = offsets, &["linux.timeOffsets", "time namespace"]);
}

#[test]
fn the_loopback_device_of_a_new_network_is_up() {
    if !needs_root("the_loopback_device_of_a_new_network_is_up") {
        return;
    }
    let out = inside("ip -o link show lo; ls /sys/class/net 2>/dev/null", |_| {});
    assert!(out.contains("LOOPBACK,UP"), "{out}");
}

#[test]
fn hostname_and_domainname_are_the_containers() {
    let out = inside("hostname; cat /proc/sys/kernel/domainname", |config| {
        config["hostname"] = json!("walnut");
        config["domainname"] = json!("example.org");
    });
    assert_eq!(out, "walnut\nexample.org\n");
    refused(
        |config| config["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "uts"),
        &["hostname", "uts"],
    );
}

// ── ids ──

#[test]
fn a_user_namespace_maps_ids_as_configured() {
    if !needs_root("a_user_namespace_maps_ids_as_configured") {
        return;
    }
    let c = owned_by(Fixture::busybox().shell("cat /proc/self/uid_map /proc/self/gid_map; id; touch /made"), 200000);
    let c = c.with(|config| {
        add_namespace(config, json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([
            {"containerID": 0, "hostID": 200000, "size": 1000}, {"containerID": 1000, "hostID": 300000, "size": 10}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200000, "size": 2000}]);
    });
    let out = c.run().ok().stdout;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["0", "200000", "1000"]);
    assert_eq!(rows[1], ["1000", "300000", "10"]);
    assert_eq!(rows[2], ["0", "200000", "2000"]);
    assert!(rows[3][0].starts_with("uid=0"), "{out}");
    let made = fs::metadata(c.rootfs().join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (200000, 200000));
}

#[test]
fn id_maps_that_make_no_sense_are_refused() {
    refused(
        |config| {
            add_namespace(config, json!({"type": "user"}));
            config["linux"].as_object_mut().unwrap().remove("uidMappings");
            config["linux"].as_object_mut().unwrap().remove("gidMappings");
        },
        &["linux.uidMappings", "at least one mapping"],
    );
    if is_root() {
        refused(
            |config| config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]),
            &["linux.uidMappings", "user namespace"],
        );
    }
}

// ── root file system ──

#[test]
fn the_mounts_of_the_template_are_there() {
    let out = inside("cat /proc/self/mountinfo", |_| {});
    for (at, kind, flags) in [
        ("/proc", "proc", &[][..]),
        ("/dev", "tmpfs", &["nosuid"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ] {
        let line = mount_line(&out, at);
        assert!(line.contains(&format!(" - {kind} ")), "{line}");
        let options = mount_options(&out, at);
        assert!(flags.iter().all(|flag| options.contains(flag)), "{line}");
    }
    let sys = mount_options(&out, "/sys");
    for flag in ["nosuid", "noexec", "nodev", "ro"] {
        assert!(sys.contains(&flag), "{sys:?}");
    }
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let host_roots = host.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
    assert!(host_roots >= 1);
    assert!(!out.contains("put_old") && !out.contains("/oldroot"), "{out}");
}

/// runtime-spec, "Extensibility": unknown properties must be ignored.
#[test]
fn what_a_newer_specification_may_add_is_ignored() {
    let out = inside("echo runs", |config| {
        config["tomorrow"] = json!({"a": [1]});
        config["process"]["tomorrow"] = json!(true);
        config["linux"]["tomorrow"] = json!("x");
        config["mounts"][0]["tomorrow"] = json!(null);
    });
    assert_eq!(out, "runs\n");
}

#[test]
fn a_read_only_root_cannot_be_written() {
    let script = "touch /x 2>/dev/null && echo wrote; touch /dev/x /dev/shm/x && echo dev; exit 0";
    let out = inside(script, |config| config["root"]["readonly"] = json!(true));
    assert_eq!(out, "dev\n");
    assert_eq!(inside(script, |_| {}), "wrote\ndev\n");
}

#[test]
fn a_relative_root_is_below_the_bundle_and_a_missing_one_is_told() {
    let c = Fixture::busybox().shell("echo in").with(|config| config["root"]["path"] = json!("./rootfs/../rootfs"));
    assert_eq!(c.run().ok().stdout, "in\n");
    let c = Fixture::busybox().shell("echo in").with(|config| config["root"]["path"] = json!("."));
    for entry in fs::read_dir(c.rootfs()).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), c.bundle().join(entry.file_name())).unwrap();
    }
    assert_eq!(c.run().ok().stdout, "in\n");
    refused(|config| config["root"]["path"] = json!("nowhere"), &["nowhere", "No such file"]);
    refused(|config| config["root"]["path"] = json!("config.json"), &["config.json"]);
    refused(|config| config["root"]["path"] = json!(""), &["root.path", "missing or empty"]);
}

#[test]
fn bind_mounts_keep_to_their_options() {
    let c = Fixture::busybox();
    let source = c.scratch.path().join("volume");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("hello"), "hello\n").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).unwrap();
    let file = c.scratch.path().join("file");
    fs::write(&file, "a file\n").unwrap();
    let c = c
        .shell("cat /proc/self/mountinfo; echo ---; cat /made/up/there/hello /etc/new; touch /rw/x && echo rw; touch /ro/x 2>/dev/null || echo ro")
        .with(|config| {
            add_mount(config, &source, "/rw", &["rbind", "rw"]);
            add_mount(config, &source, "/ro", if is_root() { &["bind", "ro", "nosuid", "nodev", "noexec", "noatime"] } else { &["bind", "ro", "nosuid", "nodev", "noexec"] });
            add_mount(config, &source, "/made/up/there", &["rbind", "nosuid"]);
            add_mount(config, &file, "/etc/new", &["bind", "ro"]);
        });
    let out = c.run().ok().stdout;
    let (mounts, said) = out.split_once("---\n").unwrap();
    assert_eq!(said, "hello\na file\nrw\nro\n");
    let options = mount_options(mounts, "/ro");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.contains(&flag), "{options:?}");
    }
    assert!(mount_options(mounts, "/rw").contains(&"rw"));
    assert!(mount_options(mounts, "/made/up/there").contains(&"nosuid"));
    assert!(source.join("x").exists());
}

#[test]
fn mounts_have_the_propagation_they_ask_for() {
    let volume = |c: &Fixture| {
        let source = c.scratch.path().join("volume");
        fs::create_dir(&source).unwrap();
        source
    };
    for (option, expected) in
        [("rshared", Some("shared:")), ("rprivate", None), ("private", None), ("unbindable", Some("unbindable"))]
    {
        let c = Fixture::busybox().shell("cat /proc/self/mountinfo");
        let source = volume(&c);
        let c = c.with(|config| add_mount(config, &source, "/v", &["bind", option]));
        let out = c.run().ok().stdout;
        let line = mount_line(&out, "/v");
        let fields = line.split(" - ").next().unwrap().split(' ').skip(6).collect::<Vec<_>>().join(" ");
        match expected {
            Some(expected) => assert!(fields.contains(expected), "{option}: {line}"),
            None => assert_eq!(fields, "", "{option}: {line}"),
        }
    }
    refused(
        |config| config["linux"]["rootfsPropagation"] = json!("sideways"),
        &["linux.rootfsPropagation", "sideways"],
    );
}

#[test]
fn a_mount_that_cannot_be_made_names_itself() {
    refused(
        |config| add_mount(config, Path::new("/nonexistent/volume"), "/v", &["bind"]),
        &["/nonexistent/volume", "No such file"],
    );
    refused(
        |config| {
            config["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": "/v", "type": "nonsensefs", "source": "x"}))
        },
        &["nonsensefs", "/v"],
    );
    refused(
        |config| {
            config["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": "/v", "type": "tmpfs", "source": "x", "options": ["nonsense=1"]}))
        },
        &["/v", "nonsense"],
    );
}

#[test]
fn a_tmpfs_has_the_size_and_mode_it_was_given() {
    let out = inside("stat -c %a /t; stat -c %a /u; grep ' /t ' /proc/mounts", |config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k", "mode=0710"]}));
        mounts.push(json!({"destination": "/u", "type": "tmpfs", "source": "tmpfs"}));
    });
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["710", "1777"]);
    assert!(lines[2].contains("size=64k"), "{out}");
}

#[test]
fn the_default_devices_are_there() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; \
                  for l in fd stdin stdout stderr ptmx; do echo $l $(readlink /dev/$l); done; ls /dev";
    let out = inside(script, |_| {});
    for (name, numbers) in
        [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")]
    {
        let line = out.lines().find(|line| line.starts_with(&format!("/dev/{name} "))).unwrap();
        assert!(line.contains("character special file") && line.contains(numbers) && line.ends_with(" 666"), "{line}");
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        assert!(out.contains(&format!("{link} {target}\n")), "{link}: {out}");
    }
    assert!(out.contains("ptmx pts/ptmx\n"), "{out}");
    assert!(!out.lines().any(|line| line == "console"), "no terminal, no console: {out}");
    assert_eq!(
        inside("echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c", |_| {}),
        "3\n8\n"
    );
}

#[test]
fn devices_of_the_configuration_are_made_with_owner_and_mode() {
    if !needs_root("devices_of_the_configuration_are_made_with_owner_and_mode") {
        return;
    }
    let out = inside("stat -c '%F %t:%T %a %u:%g' /dev/other /dev/deep/pipe", |config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/other", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 1000, "gid": 5},
            {"path": "/dev/deep/pipe", "type": "p", "fileMode": 0o600},
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
        ]);
    });
    assert_eq!(out, "character special file 1:5 640 1000:5\nfifo 0:0 600 0:0\n");
}

#[test]
fn masked_and_read_only_paths_hold() {
    let c = Fixture::busybox();
    fs::write(c.rootfs().join("etc/secret"), "secret\n").unwrap();
    fs::create_dir(c.rootfs().join("vault")).unwrap();
    fs::write(c.rootfs().join("vault/secret"), "secret\n").unwrap();
    let c = c
        .shell("cat /etc/secret; ls /vault; touch /vault/x 2>&1; touch /var/tmp/x 2>/dev/null || echo ro; \
                cat /proc/timer_list /proc/keys 2>/dev/null | wc -c; echo 1 2>/dev/null > /proc/sys/kernel/panic || echo sysro")
        .with(|config| {
            let masked = config["linux"]["maskedPaths"].as_array_mut().unwrap();
            masked.extend([json!("/etc/secret"), json!("/vault"), json!("/not/there"), json!("/etc/secret")]);
            let read_only = config["linux"]["readonlyPaths"].as_array_mut().unwrap();
            read_only.extend([json!("/var/tmp"), json!("/not/there")]);
        });
    let out = c.run().ok().stdout;
    assert!(!out.contains("secret"), "{out}");
    assert!(out.contains("Read-only file system"), "{out}");
    assert!(out.ends_with("ro\n0\nsysro\n"), "{out}");
}

// ── the process ──

#[test]
fn s_12_user_and_groups_are_the_configured_ones_and_no_others() {
    if !needs_root("s_12_user_and_groups_are_the_configured_ones_and_no_others") {
        return;
    }
    let groups = |user: Value| {
        let c = Fixture::busybox()
            .shell("id -u; id -g; grep Groups /proc/self/status")
            .with(|config| config["process"]["user"] = user);
        let out = through_shell(&c, "exec setpriv --groups 4,20,24,25,29 \"$@\"", &["run"]).ok().stdout;
        out.split_whitespace().filter(|word| *word != "Groups:").map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(groups(json!({"uid": 0, "gid": 0})), ["0", "0"]);
    assert_eq!(groups(json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 3000]})), ["1000", "1001", "5", "3000"]);
    assert_eq!(groups(json!({"uid": 1000, "gid": 1001, "additionalGids": []})), ["1000", "1001"]);
}

#[test]
fn umask_is_the_configured_one_or_0022() {
    assert_eq!(inside("umask", |config| config["process"]["user"]["umask"] = json!(0o027)), "0027\n");
    let c = Fixture::busybox().shell("umask");
    assert_eq!(through_shell(&c, "umask 0; exec \"$@\"", &["run"]).ok().stdout, "0022\n");
}

#[test]
fn the_working_directory_is_made_if_it_is_missing() {
    assert_eq!(inside("pwd; ls -d .", |config| config["process"]["cwd"] = json!("/var/not/yet")), "/var/not/yet\n.\n");
    refused(|config| config["process"]["cwd"] = json!("var"), &["process.cwd", "absolute"]);
    refused(|config| config["process"]["cwd"] = json!("/etc/passwd"), &["/etc/passwd"]);
}

#[test]
fn a_working_directory_may_be_open_to_one_of_root_and_the_user_alone() {
    if !needs_root("a_working_directory_may_be_open_to_one_of_root_and_the_user_alone") {
        return;
    }
    let c = Fixture::busybox().shell("pwd").with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["cwd"] = json!("/root/private");
        config["process"]["capabilities"] = json!({});
    });
    let dir = c.rootfs().join("root/private");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&dir, Some(1000), Some(1000)).unwrap();
    c.run().ok();
}

#[test]
fn the_environment_is_the_configurations_and_nothing_of_the_callers() {
    let c = Fixture::busybox().shell("env; printf '%s' \"$LINES\"").with(|config| {
        config["process"]["env"] = json!(["PATH=/bin:/usr/bin", "A=1", "A=2", "LINES=one\ntwo", "EMPTY=", "EQ=a=b"]);
    });
    let out = through_shell(&c, "SECRET=x LD_PRELOAD= exec \"$@\"", &["run"]).ok().stdout;
    for line in ["A=2", "LINES=one", "EMPTY=", "EQ=a=b"] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    assert!(out.ends_with("one\ntwo"), "{out}");
    assert!(
        !out.contains("A=1") && !out.contains("SECRET") && !out.contains("BOOKEND") && !out.contains("XDG"),
        "{out}"
    );
}

#[test]
fn home_is_filled_in_from_the_password_file() {
    let home = |uid: u32, env: Value| {
        inside("echo $HOME", |config| {
            config["process"]["user"] = json!({"uid": uid, "gid": uid});
            config["process"]["env"] = env;
        })
    };
    assert_eq!(home(0, json!(["PATH=/bin"])), "/root\n");
    assert_eq!(home(0, json!(["PATH=/bin", "HOME="])), "/root\n");
    assert_eq!(home(0, json!(["PATH=/bin", "HOME=/elsewhere"])), "/elsewhere\n");
    if is_root() {
        assert_eq!(home(1000, json!(["PATH=/bin"])), "/home/app\n");
        assert_eq!(home(4321, json!(["PATH=/bin"])), "/\n");
    }
}

#[test]
fn s_14_sysctls_are_set_in_the_containers_own_namespaces_only() {
    let set = |name: &'static str, value: &'static str| {
        move |config: &mut Value| config["linux"]["sysctl"] = json!({ name: value })
    };
    if is_root() {
        assert_eq!(inside("cat /proc/sys/net/ipv4/ip_forward", set("net.ipv4.ip_forward", "1")), "1\n");
        assert_eq!(inside("cat /proc/sys/kernel/shm_rmid_forced", set("kernel.shm_rmid_forced", "1")), "1\n");
        assert_eq!(inside("cat /proc/sys/fs/mqueue/msg_max", set("fs/mqueue/msg_max", "11")), "11\n");
    }
    let host = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for name in [
        "kernel.core_pattern",
        "vm.swappiness",
        "kernel.shm_rmid_forced+kernel.core_pattern",
        "kernel/../x",
        "fs.file-max",
    ] {
        refused(move |config| config["linux"]["sysctl"] = json!({ name: "|/bin/x" }), &["linux.sysctl"]);
    }
    refused(set("net.ipv4.ip_forward", "1\n2"), &["newline"]);
    refused(
        |config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "network");
        },
        &["network namespace"],
    );
    refused(
        |config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            add_namespace(config, json!({"type": "network", "path": "/proc/self/ns/net"}));
        },
        &["net.ipv4.ip_forward"],
    );
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), host);
}

#[test]
fn oom_score_and_resource_limits_are_set() {
    let out = inside("cat /proc/self/oom_score_adj; cat /proc/self/limits", |config| {
        config["process"]["oomScoreAdj"] = json!(500);
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_STACK", "soft": 4194304, "hard": 8388608},
        ]);
    });
    assert_eq!(out.lines().next().unwrap(), "500");
    let limit = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["100", "200"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max stack size"), ["4194304", "8388608"]);
    refused(
        |config| config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 5}]),
        &["process.rlimits[0]", "soft 10 is more than hard 5"],
    );
    refused(|config| config["process"]["rlimits"] = json!([{"type": "RLIMIT_X", "soft": 1, "hard": 5}]), &["RLIMIT_X"]);
    refused(|config| config["process"]["oomScoreAdj"] = json!(1001), &["process.oomScoreAdj"]);
}

fn sets(out: &str) -> Vec<u64> {
    let of = |name: &str| out.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
        .map(|name| u64::from_str_radix(of(name), 16).unwrap())
        .to_vec()
}

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_BIND: u64 = 1 << 10;

#[test]
fn s_10_the_five_capability_sets_are_the_configured_ones() {
    let out = inside("cat /proc/self/status", |config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_KILL"],
        });
    });
    // execve(2) gives root all of the bounding set.
    let bounding = CHOWN | KILL | NET_BIND;
    assert_eq!(sets(&out), [0, bounding, bounding, bounding, 0]);
    assert_eq!(sets(&inside("cat /proc/self/status", |config| config["process"]["capabilities"] = json!({}))), [0; 5]);
}

#[test]
fn s_10_a_user_other_than_root_has_ambient_capabilities_only() {
    if !needs_root("s_10_a_user_other_than_root_has_ambient_capabilities_only") {
        return;
    }
    let of_user = |capabilities: Value| {
        sets(&inside("cat /proc/self/status", |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["process"]["capabilities"] = capabilities;
        }))
    };
    let all = json!(["CAP_CHOWN", "CAP_KILL"]);
    let both = CHOWN | KILL;
    assert_eq!(of_user(json!({"bounding": all, "permitted": all, "effective": all})), [0, 0, 0, both, 0]);
    assert_eq!(
        of_user(json!({"bounding": all, "permitted": all, "effective": all, "inheritable": ["CAP_KILL"]})),
        [KILL, 0, 0, both, 0]
    );
    assert_eq!(
        of_user(
            json!({"bounding": all, "permitted": all, "effective": all, "inheritable": all, "ambient": ["CAP_KILL"]})
        ),
        [both, KILL, KILL, both, KILL]
    );
}

#[test]
fn an_unknown_capability_is_dropped_with_a_warning() {
    let c = Fixture::busybox().shell("cat /proc/self/status").with(|config| {
        config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_FLY"]});
    });
    let output = c.run().ok().says("unknown capability \"CAP_FLY\" is dropped");
    assert_eq!(sets(&output.stdout)[3], KILL);
}

/// config.md "capabilities": a runtime should not fail for it.
#[test]
fn a_capability_that_bookend_does_not_have_is_left_out_with_a_warning() {
    if !needs_root("a_capability_that_bookend_does_not_have_is_left_out_with_a_warning") {
        return; // in a user namespace there are all of them
    }
    for set in ["bounding", "permitted"] {
        let c = Fixture::busybox().shell("cat /proc/self/status").with(|config| {
            let mut sets = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
            sets[set].as_array_mut().unwrap().push(json!("CAP_SYS_TIME"));
            config["process"]["capabilities"] = sets;
        });
        let without = "exec setpriv --inh-caps=-sys_time --bounding-set=-sys_time \"$@\"";
        let output = through_shell(&c, without, &["run"]).ok();
        let output = output.says("process.capabilities: without CAP_SYS_TIME, which bookend itself does not have");
        assert_eq!(sets(&output.stdout), [0, KILL, KILL, KILL, 0], "{set}");
    }
}

#[test]
fn no_new_privileges_is_as_configured() {
    for wanted in [true, false] {
        let out =
            inside("grep NoNewPrivs /proc/self/status", |config| config["process"]["noNewPrivileges"] = json!(wanted));
        assert_eq!(out.split_whitespace().last().unwrap(), if wanted { "1" } else { "0" });
    }
}

// ── descriptors ──

#[test]
fn s_09_a_descriptor_that_the_caller_leaks_is_not_in_the_container() {
    let script =
        "ls /proc/self/fd; for n in 3 4 5 6 7 8 9 10 20; do cat /proc/self/fd/$n/marker 2>/dev/null; done; exit 0";
    let leak = |c: &Fixture| {
        let dir = c.scratch.path().join("host");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("marker"), "marker of the host\n").unwrap();
        format!("exec 3<{0} 7<{0} 9<{0}; exec \"$@\"", dir.display())
    };
    let c = Fixture::busybox().shell(script);
    let output = through_shell(&c, &leak(&c), &["run"]).ok();
    // 3 is the directory that ls itself reads.
    assert_eq!(output.stdout, "0\n1\n2\n3\n");
    for cwd in (3..=20).step_by(4).chain([7, 9]).map(|number| format!("/proc/self/fd/{number}")) {
        let c = Fixture::busybox().shell("cat marker; ls; pwd").with(|config| config["process"]["cwd"] = json!(cwd));
        let output = through_shell(&c, &leak(&c), &["run"]);
        assert_ne!(output.code, 0, "{cwd}: {}", output.stdout);
        assert!(!output.stdout.contains("marker of the host"), "{cwd}: {}", output.stdout);
        c.assert_nothing_left();
    }
    let c = Fixture::busybox().started();
    let mut command = Command::new("sh");
    command.args(["-c", &leak(&c), "sh"]).arg(bookend()).arg("--root").arg(c.root());
    command.args(["exec", "--cwd", "/proc/self/fd/7", &c.id, "/bin/cat", "marker"]);
    let output = finish(command, &c.scratch);
    assert_ne!(output.code, 0);
    assert!(!output.stdout.contains("marker of the host"));
}

#[test]
fn preserved_descriptors_and_no_others_are_passed_on() {
    let c = Fixture::busybox().shell("cat <&3; cat <&4; ls /proc/self/fd");
    for (name, text) in [("three", "3rd\n"), ("four", "4th\n"), ("five", "5th\n")] {
        fs::write(c.scratch.path().join(name), text).unwrap();
    }
    let at = c.scratch.path().display();
    let open = format!("exec 3<{at}/three 4<{at}/four 5<{at}/five; exec \"$@\"");
    let output = through_shell(&c, &open, &["run", "--preserve-fds", "2"]).ok();
    assert_eq!(output.stdout, "3rd\n4th\n0\n1\n2\n3\n4\n5\n");
    let output = through_shell(&c, "exec \"$@\"", &["run", "--preserve-fds", "2"]).fails(125);
    assert!(output.stderr.contains("preserve"), "{}", output.stderr);
    let c = c.started_with_sleep();
    let mut command = Command::new("sh");
    command.args(["-c", &open, "sh"]).arg(bookend()).arg("--root").arg(c.root());
    command.args(["exec", "--preserve-fds=1", &c.id, "/bin/sh", "-c", "cat <&3; ls /proc/self/fd"]);
    assert_eq!(finish(command, &c.scratch).ok().stdout, "3rd\n0\n1\n2\n3\n4\n");
}

#[test]
fn sockets_of_socket_activation_are_passed_on() {
    let c = Fixture::busybox().shell("echo $LISTEN_FDS $LISTEN_PID $$; cat <&3");
    fs::write(c.scratch.path().join("three"), "3rd\n").unwrap();
    let script = format!("exec 3<{}/three; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", c.scratch.path().display());
    let output = through_shell(&c, &script, &["run"]).ok();
    assert_eq!(output.stdout, "1 1 1\n3rd\n");
    // Those of another process, which may not even be there.
    for foreign in ["LISTEN_PID=4194304", "LISTEN_PID="] {
        let c = Fixture::busybox().shell("echo $LISTEN_FDS; ls /proc/self/fd");
        let script = format!("exec 3<&-; LISTEN_FDS=1 {foreign} exec \"$@\"");
        assert_eq!(through_shell(&c, &script, &["run"]).ok().stdout, "\n0\n1\n2\n3\n", "{foreign}");
    }
}

trait StartedWithSleep {
    fn started_with_sleep(self) -> Fixture;
}

impl StartedWithSleep for Fixture {
    fn started_with_sleep(self) -> Fixture {
        self.entrypoint(["/bin/entrypoint"]).started()
    }
}

#[test]
fn a_program_is_found_by_the_path_of_the_container() {
    let c = Fixture::busybox().with(|config| {
        config["process"]["args"] = json!(["hello", "a b"]);
        config["process"]["env"] = json!(["PATH=/nowhere:/opt"]);
    });
    fs::create_dir(c.rootfs().join("opt")).unwrap();
    fs::write(c.rootfs().join("opt/hello"), "#!/bin/sh\necho \"$0 $1\"\n").unwrap();
    fs::set_permissions(c.rootfs().join("opt/hello"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(c.run().ok().stdout, "/opt/hello a b\n");
}
