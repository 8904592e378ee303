//! Mounts by the real binary: what only `create` can prepare for them, and what takes the place of newer system calls.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Fixture, Output, Scratch, bookend, finish, is_root, needs_a_user, needs_root};
use serde_json::{Value, json};

/// A directory of a file system that has id-mapped mounts; `bundle` is preferred, for what is relative to it.
struct Mappable(PathBuf);

impl Mappable {
    fn new(test: &str, c: &Fixture) -> Option<Mappable> {
        const EXT4: i64 = 0xef53;
        const TMPFS: i64 = 0x0102_1994;
        const BTRFS: i64 = 0x9123_683e;
        const XFS: i64 = 0x5846_5342;
        let able = |dir: &Path| rustix::fs::statfs(dir).is_ok_and(|fs| [EXT4, TMPFS, BTRFS, XFS].contains(&fs.f_type));
        let dir = [c.bundle(), format!("/dev/shm/{}", c.id).into()].into_iter().find(|dir| able(dir.parent().unwrap()));
        let Some(dir) = dir else {
            println!("{test}: no file system with id-mapped mounts is here");
            return None;
        };
        fs::create_dir_all(dir.join("data")).unwrap();
        fs::write(dir.join("data/file"), "content\n").unwrap();
        Some(Mappable(dir.join("data")))
    }
}

impl Drop for Mappable {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap().join("data"));
        let _ = fs::remove_dir(self.0.parent().unwrap()); // the one below /dev/shm; the bundle has more in it
    }
}

fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

fn maps(uid: u32, gid: u32) -> [Value; 2] {
    [uid, gid].map(|id| json!([{ "containerID": 0, "hostID": id, "size": 1 }]))
}

#[test]
fn a_relative_destination_is_below_the_root_with_a_warning() {
    let c = Fixture::busybox().shell("cat /made/file");
    let source = c.scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content\n").unwrap();
    let mount = json!({ "destination": "made", "type": "bind", "source": source, "options": ["bind", "ro"] });
    let output = c.with(|config| add_mount(config, mount)).run().ok();
    assert_eq!(output.stdout, "content\n");
    output.says("destination: \"made\" is not an absolute path, and is taken as /made");
}

#[test]
fn an_id_mapped_mount_shows_the_owners_that_its_mappings_say() {
    let name = "an_id_mapped_mount_shows_the_owners_that_its_mappings_say";
    if !needs_root(name) {
        return;
    }
    for option in ["idmap", "ridmap", "ro"] {
        let mut c = Fixture::busybox().shell("stat -c %u:%g /v/file; grep -o 'idmapped' /proc/self/mountinfo");
        let Some(data) = Mappable::new(name, &c) else { return };
        let [uids, gids] = maps(5000, 6000);
        // Relative to the bundle, where it can be.
        let source = data.0.strip_prefix(c.bundle()).unwrap_or(&data.0);
        let mount = json!({ "destination": "/v", "type": "bind", "source": source, "options": ["rbind", option],
            "uidMappings": uids, "gidMappings": gids });
        add_mount(&mut c.config, mount);
        assert_eq!(c.run().ok().stdout, "5000:6000\nidmapped\n", "{option}");
    }
}

/// A container whose root is 100000 outside, in a root file system of its own.
fn with_user_namespace(script: &str) -> Fixture {
    let c = Fixture::busybox().shell(script).with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        for kind in ["uidMappings", "gidMappings"] {
            config["linux"][kind] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        }
    });
    let all = Command::new("chown").args(["-R", "100000:100000"]).arg(c.rootfs()).status().unwrap();
    assert!(all.success());
    c
}

#[test]
fn an_id_mapped_mount_takes_the_ids_of_the_containers_user_namespace() {
    let name = "an_id_mapped_mount_takes_the_ids_of_the_containers_user_namespace";
    if !needs_root(name) {
        return;
    }
    for option in ["idmap", "ridmap"] {
        let mut c = with_user_namespace("stat -c %u:%g /v/file /plain/file; echo x > /v/made && echo made");
        let Some(data) = Mappable::new(name, &c) else { return };
        for (place, options) in [("/v", json!(["bind", option])), ("/plain", json!(["bind"]))] {
            let mount = json!({ "destination": place, "type": "bind", "source": data.0, "options": options });
            add_mount(&mut c.config, mount);
        }
        // What is not mapped belongs to nobody.
        assert_eq!(c.run().ok().stdout, "0:0\n65534:65534\nmade\n");
        assert_eq!(fs::metadata(data.0.join("made")).unwrap().uid(), 0, "on the disk");
    }
    // Mappings of its own count more than the container's.
    let mut c = with_user_namespace("stat -c %u:%g /v/file");
    let Some(data) = Mappable::new(name, &c) else { return };
    let [uids, gids] = maps(100_007, 100_008);
    let mount = json!({ "destination": "/v", "type": "bind", "source": data.0, "options": ["bind", "idmap"],
        "uidMappings": uids, "gidMappings": gids });
    add_mount(&mut c.config, mount);
    assert_eq!(c.run().ok().stdout, "7:8\n");
}

/// Runs the fixture's container in a mount namespace where `host`, a shell command, has been executed.
fn run_on(c: &Fixture, host: &str) -> Output {
    c.write();
    let bundle = c.bundle();
    let call = c.command(&["run", "--bundle", bundle.to_str().unwrap(), &c.id]);
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &format!("{host} && exec \"$@\""), "sh"]);
    command.arg(call.get_program()).args(call.get_args());
    finish(command, &c.scratch)
}

#[test]
fn an_id_mapped_mount_takes_the_ids_of_a_user_namespace_that_is_joined() {
    let name = "an_id_mapped_mount_takes_the_ids_of_a_user_namespace_that_is_joined";
    if !needs_root(name) {
        return;
    }
    let first = with_user_namespace("exec sleep 60").started();
    let path = format!("/proc/{}/ns/user", first.pid());
    let mut c = with_user_namespace("stat -c %u:%g /v/file").with(|config| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        *list.last_mut().unwrap() = json!({ "type": "user", "path": path });
        config["linux"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("Mappings"));
    });
    let Some(data) = Mappable::new(name, &c) else { return };
    let mount = json!({ "destination": "/v", "type": "bind", "source": data.0, "options": ["bind", "idmap"] });
    add_mount(&mut c.config, mount);
    assert_eq!(c.run().ok().stdout, "0:0\n");
}

#[test]
fn ids_are_mapped_below_where_that_is_asked_for() {
    if !needs_root("ids_are_mapped_below_where_that_is_asked_for") {
        return;
    }
    for (option, below) in [("idmap", "0:0"), ("ridmap", "5000:6000")] {
        let mut c = Fixture::busybox().shell("stat -c %u:%g /v /v/sub");
        let [uids, gids] = maps(5000, 6000);
        let source = c.scratch.path().join("nested");
        fs::create_dir(&source).unwrap();
        let mount = json!({ "destination": "/v", "type": "bind", "source": source, "options": ["rbind", option],
            "uidMappings": uids, "gidMappings": gids });
        add_mount(&mut c.config, mount);
        let host = "mount -t tmpfs tmpfs SOURCE && mkdir SOURCE/sub && mount -t tmpfs tmpfs SOURCE/sub";
        let output = run_on(&c, &host.replace("SOURCE", source.to_str().unwrap()));
        if output.stderr.contains("has no id-mapped mounts") {
            return println!("this kernel has none for tmpfs (Linux 6.3)");
        }
        assert_eq!(output.ok().stdout, format!("5000:6000\n{below}\n"));
    }
}

#[test]
fn ids_that_cannot_be_mapped_are_told_before_anything_runs() {
    let mapped = |source: &str| {
        let mut c = Fixture::busybox();
        let [uids, gids] = maps(5000, 6000);
        let mount = json!({ "destination": "/v", "type": "bind", "source": source, "options": ["bind", "idmap"],
            "uidMappings": uids, "gidMappings": gids });
        add_mount(&mut c.config, mount);
        c
    };
    let c = mapped("/sys/kernel");
    let output = c.create().fails(1).says("source of the bind mount on /v: map its ids");
    if is_root() {
        output.says("the file system of /sys/kernel has no id-mapped mounts");
    }
    assert!(!c.state_dir().exists());
    if needs_a_user("ids_that_cannot_be_mapped_are_told_before_anything_runs") {
        mapped("/tmp").create().fails(1).says("map its ids: id-mapped mounts need root of the host (CAP_SYS_ADMIN)");
    }
}

#[test]
fn features_says_that_ids_can_be_mapped() {
    let scratch = Scratch::new();
    let mut command = Command::new(bookend());
    command.arg("features");
    let features = finish(command, &scratch).ok().json();
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], json!(true));
    let options = features["mountOptions"].as_array().unwrap();
    assert!(["idmap", "ridmap", "rro", "tmpcopyup"].iter().all(|name| options.contains(&json!(name))));
}

#[test]
fn options_without_effect_on_a_bind_are_told_and_do_no_harm() {
    let mut c = Fixture::busybox().shell("cat /v");
    let file = c.bundle().join("file");
    fs::write(&file, "content\n").unwrap();
    if is_root() {
        chown(&file, Some(0), Some(0)).unwrap();
    }
    let options = json!(["bind", "mode=755", "lazytime"]);
    add_mount(&mut c.config, json!({ "destination": "/v", "type": "bind", "source": "file", "options": options }));
    let output = c.run().ok();
    assert_eq!(output.stdout, "content\n");
    for option in ["mode=755", "lazytime"] {
        assert!(
            output.stderr.contains(&format!("option {option:?} has no effect on a bind mount")),
            "{}",
            output.stderr
        );
    }
}

/// `examples/without.rs`, where cargo has built it beside the program.
fn without(test: &str) -> Option<PathBuf> {
    if !needs_root(test) {
        return None;
    }
    let program = bookend().parent().unwrap().join("examples/without");
    if !program.exists() {
        println!("{test}: {} is not there (cargo build --example without)", program.display());
        return None;
    }
    Some(program)
}

/// Runs the fixture's container where these system calls are hidden.
fn run_without(c: &Fixture, program: &Path, calls: &str) -> Output {
    c.write();
    let bundle = c.bundle();
    let call = c.command(&["run", "--bundle", bundle.to_str().unwrap(), &c.id]);
    let mut command = Command::new(program);
    command.arg(calls).arg(call.get_program()).args(call.get_args());
    finish(command, &c.scratch)
}

const MOUNT_CALLS: &str = "open_tree,move_mount,fsopen,fsmount,fsconfig,mount_setattr";

#[test]
fn older_filters_that_say_eperm_hide_nothing_that_is_needed() {
    let name = "older_filters_that_say_eperm_hide_nothing_that_is_needed";
    let Some(program) = without(name) else { return };
    let calls = format!("{MOUNT_CALLS},clone3,openat2,close_range,pidfd_open,pidfd_send_signal");
    for calls in [calls.clone(), calls.replace(',', ":EPERM,") + ":EPERM"] {
        let mut c =
            Fixture::busybox().shell("echo x > /v/x; echo x > /proc/sys/kernel/core_pattern; cat /v/file; ls /..");
        let source = c.bundle().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "content\n").unwrap();
        add_mount(
            &mut c.config,
            json!({ "destination": "/v", "type": "bind", "source": "source", "options": ["bind", "ro"] }),
        );
        let output = run_without(&c, &program, &calls).ok();
        assert!(output.stdout.starts_with("content\n") && output.stdout.contains("proc\n"), "{}", output.stdout);
        assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{}", output.stderr);
    }
}

#[test]
fn what_only_newer_calls_can_do_is_refused_by_name_where_they_are_hidden() {
    let name = "what_only_newer_calls_can_do_is_refused_by_name_where_they_are_hidden";
    let Some(program) = without(name) else { return };
    let volume = |options: &[&str]| {
        let mut c = Fixture::busybox();
        add_mount(&mut c.config, json!({ "destination": "/v", "type": "bind", "source": "/etc", "options": options }));
        c
    };
    let recursive = volume(&["rbind", "rro"]);
    run_without(&recursive, &program, "mount_setattr").fails(125).says("recursive mount options need mount_setattr");
    let mut mapped = volume(&["bind", "idmap"]);
    let [uids, gids] = maps(1, 1);
    let mount = mapped.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    (mount["uidMappings"], mount["gidMappings"]) = (uids, gids);
    run_without(&mapped, &program, "mount_setattr").fails(125).says("id-mapped mounts need Linux 5.12");
    run_without(&mapped, &program, MOUNT_CALLS).fails(125).says("id-mapped mounts need open_tree");
    let shared = volume(&["bind", "rshared"]).with(|config| config["linux"]["rootfsPropagation"] = json!("rshared"));
    run_without(&shared, &program, MOUNT_CALLS).fails(125).says("it would share its mounts with the host");
}
