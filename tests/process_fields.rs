//! Fields of `process` and `linux` that a program sees in itself: scheduling, CPUs, personality, memory policy, and the flags of
//! `exec` that change them.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Fixture, Output, finish, is_root, needs_root};
use serde_json::{Value, json};

/// What `script` prints in a container that `change` has changed.
fn prints(script: &str, change: impl FnOnce(&mut Value)) -> Output {
    Fixture::busybox().shell(script).with(change).run()
}

fn sleeping(change: impl FnOnce(&mut Value)) -> Fixture {
    Fixture::busybox().entrypoint(["sleep", "60"]).with(change).started()
}

/// Of the whole machine.
fn all_cpus() -> String {
    std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap().trim().to_owned()
}

const CPUS: &str = "grep Cpus_allowed_list /proc/self/status | cut -f 2";

/// A call of bookend by a caller that is pinned to CPU 0.
fn pinned(c: &Fixture, args: &[&str]) -> Output {
    let whole = c.command(args);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(whole.get_program()).args(whole.get_args());
    command.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let scratch = common::Scratch::new();
    finish(command, &scratch)
}

#[test]
fn the_scheduler_and_the_io_priority_are_those_of_the_process() {
    // proc(5): nice is field 19 of stat, the policy field 41.
    let output = prints("cut -d ' ' -f 19,41 /proc/self/stat; ionice -p $$", |config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    });
    assert_eq!(output.ok().stdout, "5 3\nbest-effort: prio 6\n");
}

#[test]
fn reset_on_fork_is_a_flag_that_the_kernel_gets() {
    // A child of the shell has the default policy again.
    let output = prints("cut -d ' ' -f 41 /proc/$$/stat; (cut -d ' ' -f 41 /proc/self/stat); true", |config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    });
    let output = output.ok();
    assert_eq!(output.stdout.lines().next(), Some("5"));
}

#[test]
fn realtime_is_given_to_who_may_and_otherwise_the_error_says_what_it_needs() {
    let fifo = |config: &mut Value| config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 7});
    let output = prints("cut -d ' ' -f 40,41 /proc/self/stat", fifo);
    // A control group of v1 has no realtime of its own, on kernels that ration it.
    if is_root() && output.code == 0 {
        assert_eq!(output.stdout, "7 1\n");
    } else {
        output.fails(125).says("process.scheduler: set SCHED_FIFO (needs CAP_SYS_NICE");
    }
}

#[test]
fn a_policy_that_cannot_be_is_refused_by_its_field_and_its_cause() {
    let scheduler = |scheduler: Value| prints("true", |config| config["process"]["scheduler"] = scheduler).fails(125);
    scheduler(json!({"policy": "SCHED_ISO"})).says("process.scheduler.policy: no kernel has SCHED_ISO; use another");
    let missing = scheduler(json!({"policy": "SCHED_DEADLINE"}));
    missing.says("process.scheduler.runtime: missing or too short").says("process.scheduler.deadline: missing");
    let times = json!({"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4000, "period": 3000});
    let wrong = scheduler(times).says("process.scheduler.deadline: missing or shorter than runtime");
    wrong.says("process.scheduler.period: shorter than deadline");
    if is_root() {
        // Below the least period that the kernel lets anybody have.
        let times = json!({"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000, "period": 3000});
        scheduler(times).says("process.scheduler: set SCHED_DEADLINE (the period must be within the sysctls");
    }
}

#[test]
fn a_deadline_and_a_cpuset_are_told_to_be_in_conflict() {
    if !needs_root("a_deadline_and_a_cpuset_are_told_to_be_in_conflict") {
        return;
    }
    if all_cpus() == "0" {
        return; // then the cpuset would be all there is
    }
    prints("true", |config| {
        let times =
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 10_000_000});
        config["process"]["scheduler"] = times;
        config["linux"]["resources"]["cpu"] = json!({"cpus": "0"});
    })
    .fails(125)
    .says("cannot be used together with linux.resources.cpu.cpus");
}

#[test]
fn a_container_does_not_stay_where_its_caller_is_pinned() {
    if is_root() {
        let c = Fixture::busybox().shell(CPUS);
        c.write();
        let bundle = c.bundle();
        let output = pinned(&c, &["run", "--bundle", bundle.to_str().unwrap(), &c.id]).ok();
        assert_eq!(output.stdout.trim(), all_cpus());
    }
    let c = sleeping(|_| {});
    let output = pinned(&c, &["exec", &c.id, "/bin/sh", "-c", CPUS]).ok();
    assert_eq!(output.stdout.trim(), all_cpus());
}

#[test]
fn in_a_cpuset_a_pinned_callers_container_has_all_of_that() {
    if !needs_root("in_a_cpuset_a_pinned_callers_container_has_all_of_that") {
        return;
    }
    let last = all_cpus().rsplit(['-', ',']).next().unwrap().to_owned();
    let c = Fixture::busybox().shell(CPUS).with(|config| config["linux"]["resources"]["cpu"] = json!({"cpus": last}));
    c.write();
    let bundle = c.bundle();
    let output = pinned(&c, &["run", "--bundle", bundle.to_str().unwrap(), &c.id]).ok();
    assert_eq!(output.stdout.trim(), last);
}

#[test]
fn exec_runs_on_the_cpus_that_it_is_given_and_init_does_not() {
    let c = Fixture::busybox().shell(&format!("{CPUS} > /cpus; exec sleep 60"));
    let c = c.with(|config| config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"})).started();
    assert_eq!(c.exec(CPUS).ok().stdout.trim(), "0");
    c.wait_for("init's list", |c| c.read("/cpus").ends_with('\n'));
    assert_eq!(c.read("/cpus").trim(), all_cpus());
}

#[test]
fn without_a_final_list_exec_stays_where_it_was_put_at_first() {
    let c = sleeping(|config| config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": ""}));
    assert_eq!(c.exec(CPUS).ok().stdout.trim(), "0");
}

#[test]
fn cpus_that_are_not_there_are_an_error_of_exec_that_names_the_field() {
    let c = sleeping(|config| config["process"]["execCPUAffinity"] = json!({"final": "8000"}));
    c.exec("true").fails(125).says("process.execCPUAffinity.final: run on CPUs 8000 (are they in the cpuset?)");
}

#[test]
fn linux32_is_the_personality_of_init_and_of_exec() {
    let c = Fixture::busybox().shell("uname -m > /machine; exec sleep 60");
    let c = c.with(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"})).started();
    assert_eq!(c.exec("uname -m").ok().stdout, "i686\n");
    c.wait_for("init's machine", |c| c.read("/machine").ends_with('\n'));
    assert_eq!(c.read("/machine"), "i686\n");
}

#[test]
fn a_memory_policy_holds_for_init_and_for_exec() {
    let script = "sed -n '1s/^[^ ]* \\([^ ]*\\).*/\\1/p' /proc/self/numa_maps";
    let c = Fixture::busybox().shell(&format!("{script} > /policy; exec sleep 60"));
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let c = c.with(|config| config["linux"]["memoryPolicy"] = policy).started();
    assert_eq!(c.exec(script).ok().stdout, "bind=static:0\n");
    c.wait_for("init's policy", |c| c.read("/policy").ends_with('\n'));
    assert_eq!(c.read("/policy"), "bind=static:0\n");
}

#[test]
fn nodes_that_are_not_there_are_an_error_that_names_the_field() {
    prints("true", |config| config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "1000"}))
        .fails(125)
        .says("linux.memoryPolicy: set MPOL_BIND for nodes 1000");
}

/// `exec --process` with this process.
fn exec_process(c: &Fixture, process: &Value) -> Output {
    let file = c.bundle().join("process.json");
    std::fs::write(&file, process.to_string()).unwrap();
    c.call(&["exec", "--process", file.to_str().unwrap(), &c.id])
}

#[test]
fn exec_takes_the_scheduler_and_the_cpus_of_the_process_that_it_is_given() {
    let c = sleeping(|_| {});
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["/bin/sh", "-c", format!("cut -d ' ' -f 19,41 /proc/self/stat; {CPUS}")],
        "scheduler": {"policy": "SCHED_OTHER", "nice": 3}, "execCPUAffinity": {"final": "0"}
    });
    assert_eq!(exec_process(&c, &process).ok().stdout, "3 0\n0\n");
}

#[test]
fn exec_refuses_a_process_by_the_rules_of_the_configuration() {
    let c = sleeping(|_| {});
    let process =
        json!({"user": {"uid": 0, "gid": 0}, "cwd": "x", "args": ["true"], "scheduler": {"policy": "SCHED_X"}});
    let output = exec_process(&c, &process).fails(125);
    output.says("process.cwd: \"x\" is not an absolute path").says("process.scheduler.policy: unknown value");
}

/// A pair of virtual devices on the host; the second goes with the first.
struct Pair(String);

impl Pair {
    fn new(name: &str) -> Pair {
        let name = format!("{name}{}", std::process::id() % 100_000);
        ip(&["link", "add", &name, "type", "veth", "peer", "name", &format!("p{name}")]);
        Pair(name)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Gone with the container's network namespace, where it went there.
        let _ = Command::new("ip").args(["link", "delete", &format!("p{}", self.0)]).output();
    }
}

/// Gives this thread, and all that it calls, a host of its own as far as the network goes: what it adds there cannot be there already
/// for another run.
fn enter_own_network() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_network_device_moves_with_its_addresses_under_its_new_name_and_is_up() {
    let test = "a_network_device_moves_with_its_addresses_under_its_new_name_and_is_up";
    if !needs_root(test) || !common::needs_tool(test, "ip") {
        return;
    }
    enter_own_network();
    let pair = Pair::new("fla");
    ip(&["address", "add", "192.0.2.7/24", "dev", &pair.0]);
    ip(&["-6", "address", "add", "2001:db8::7/64", "dev", &pair.0, "nodad"]);
    ip(&["link", "set", "mtu", "1400", "dev", &pair.0]);
    let c = Fixture::busybox().own_network().shell("ip -o address show dev web0; ip -o link show dev web0");
    let c = c.with(|config| config["linux"]["netDevices"] = json!({ pair.0.as_str(): {"name": "web0"} }));
    let shown = c.run().ok().stdout;
    for wanted in ["inet 192.0.2.7/24", "inet6 2001:db8::7/64", "mtu 1400", ",UP"] {
        assert!(shown.contains(wanted), "{wanted} is not in {shown}");
    }
}

/// What a user gave a device: `ip` in words that do not change with time.
fn as_given(pair: &Pair) -> String {
    let shown = |args: &[&str]| {
        let output = Command::new("ip").args(args).args(["dev", &pair.0]).output().unwrap();
        // The rest are states, and numbers that a new life of the device changes.
        let words = ["state", "qlen", "linkdown", "pref", "medium"];
        let is_kept = |word: &&str| !words.contains(word);
        // A time that is left, up to the next full hundred seconds.
        let round = |word: &str| match word.strip_suffix("sec").and_then(|seconds| seconds.parse::<u32>().ok()) {
            Some(seconds) => format!("{}sec", seconds.next_multiple_of(100)),
            None => word.to_owned(),
        };
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| !line.contains("fe80:"));
        let kept = lines.map(|line| line.split_whitespace().filter(is_kept).map(round).collect::<Vec<_>>().join(" "));
        let mut kept: Vec<String> = kept.collect();
        kept.sort();
        kept.join("\n")
    };
    let addresses = shown(&["-o", "address", "show"]);
    // Without the number of the device, which may be another.
    let addresses: Vec<&str> = addresses.lines().filter_map(|line| Some(line.split_once(": ")?.1)).collect();
    let routes = ["-4", "-6"].map(|family| shown(&[family, "route", "show", "table", "all"]));
    format!("{}\n{}", addresses.join("\n"), routes.join("\n"))
}

#[test]
fn a_create_that_fails_gives_a_network_device_back_as_it_was() {
    let test = "a_create_that_fails_gives_a_network_device_back_as_it_was";
    if !needs_root(test) || !common::needs_tool(test, "ip") {
        return;
    }
    enter_own_network();
    let pair = Pair::new("flb");
    let peer = format!("p{}", pair.0);
    ip(&["link", "set", &peer, "up"]);
    ip(&["link", "set", &pair.0, "up"]);
    let label = format!("{}:x", pair.0);
    ip(&["address", "add", "192.0.2.9/24", "label", &label, "metric", "77", "dev", &pair.0]);
    ip(&["address", "add", "192.0.2.10/24", "dev", &pair.0]);
    ip(&[
        "address",
        "add",
        "198.51.100.9/24",
        "noprefixroute",
        "valid_lft",
        "9000",
        "preferred_lft",
        "4500",
        "dev",
        &pair.0,
    ]);
    ip(&["-6", "address", "add", "2001:db8::9/64", "nodad", "dev", &pair.0]);
    ip(&["route", "add", "203.0.113.0/25", "dev", &pair.0, "table", "4711", "metric", "5"]);
    ip(&["route", "add", "203.0.113.128/25", "via", "192.0.2.1", "src", "192.0.2.9", "mtu", "1300", "dev", &pair.0]);
    ip(&["-6", "route", "add", "2001:db8:1::/64", "via", "2001:db8::1", "metric", "9", "dev", &pair.0]);
    let before = as_given(&pair);
    let lifetimes = "valid_lft 9000sec preferred_lft 4500sec";
    for wanted in
        ["metric 77", lifetimes, "noprefixroute", &label, "table 4711", "mtu 1300", "2001:db8:1::/64 via 2001:db8::1"]
    {
        assert!(before.contains(wanted), "{wanted} is not in {before}");
    }
    let c = Fixture::busybox().own_network().entrypoint(["/no/such/program"]);
    let c = c.with(|config| config["linux"]["netDevices"] = json!({ pair.0.as_str(): {"name": "web0"} }));
    c.run().fails(127);
    assert_eq!(as_given(&pair), before);
}

#[test]
fn a_device_that_cannot_be_moved_is_as_it_was_and_so_are_those_before_it() {
    let test = "a_device_that_cannot_be_moved_is_as_it_was_and_so_are_those_before_it";
    if !needs_root(test) || !common::needs_tool(test, "ip") {
        return;
    }
    enter_own_network();
    let (pair, bridge) = (Pair::new("flc"), Bridge(format!("flz{}", std::process::id() % 100_000)));
    ip(&["link", "add", &bridge.0, "type", "bridge"]);
    ip(&["link", "set", &pair.0, "master", &bridge.0, "up"]);
    ip(&["address", "add", "192.0.2.11/24", "dev", &bridge.0]);
    ip(&["link", "set", &bridge.0, "up"]);
    ip(&["route", "add", "203.0.113.0/24", "via", "192.0.2.1", "dev", &bridge.0]);
    let c = Fixture::busybox().own_network();
    let c = c.with(|config| config["linux"]["netDevices"] = json!({ pair.0.as_str(): {}, bridge.0.as_str(): {} }));
    let field = format!("linux.netDevices.{}: move it to the container as {0} (a bridge", bridge.0);
    c.run().fails(125).says(&field);
    let shown = |args: &[&str]| String::from_utf8(Command::new("ip").args(args).output().unwrap().stdout).unwrap();
    assert!(shown(&["-o", "link", "show", "dev", &pair.0]).contains(&format!("master {}", bridge.0)));
    let routes = shown(&["route", "show", "dev", &bridge.0]);
    assert!(routes.contains("203.0.113.0/24 via 192.0.2.1"), "{routes}");
}

/// A bridge on the host.
struct Bridge(String);

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.0]).output();
    }
}

#[test]
fn network_devices_that_cannot_be_moved_are_refused_before_anything_is_made() {
    let device = |name: &str| {
        let c = Fixture::busybox().own_network();
        c.with(|config| config["linux"]["netDevices"] = json!({ name: {} })).run()
    };
    if is_root() {
        device("no-such-device").fails(125).says("linux.netDevices.no-such-device: the host has no such device");
        device("lo").fails(125).says("linux.netDevices.lo: the loopback device cannot be moved, and every");
    } else {
        device("lo").fails(125).says("linux.netDevices: a rootless container cannot be given devices of the host");
    }
}

#[test]
fn labels_of_security_modules_that_are_not_there_are_refused_by_their_field() {
    for (field, pointer, module) in [
        ("process.apparmorProfile", "/process", "AppArmor"),
        ("process.selinuxLabel", "/process", "SELinux"),
        ("linux.mountLabel", "/linux", "SELinux"),
    ] {
        let there = match module {
            "AppArmor" => {
                std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|on| on.starts_with('Y'))
            }
            _ => std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        };
        if there {
            continue;
        }
        let name = field.rsplit('.').next().unwrap();
        let set =
            |label: &'static str| move |config: &mut Value| config.pointer_mut(pointer).unwrap()[name] = json!(label);
        prints("true", set("web")).fails(125).says(&format!("{field}: {module} is not enabled on this kernel"));
        prints("true", set("")).ok();
    }
    prints("true", |config| config["process"]["apparmorProfile"] = json!("unconfined")).ok();
}

#[test]
fn a_share_of_the_cache_without_resctrl_is_refused_by_its_field() {
    if std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        return;
    }
    prints("true", |config| config["linux"]["intelRdt"] = json!({"closID": "gold"}))
        .fails(125)
        .says("linux.intelRdt: no resctrl file system is mounted; mount it (mount -t resctrl");
}

#[test]
fn exec_has_the_session_keyring_of_the_container_and_not_its_callers() {
    let unmasked = |config: &mut Value| config["linux"]["maskedPaths"] = json!([]);
    let c = sleeping(unmasked);
    let script = format!("grep _ses.{} /proc/keys | cut -d ' ' -f 1", c.id);
    let (first, second) = (c.exec(&script).ok().stdout, c.exec(&script).ok().stdout);
    assert_eq!(first.lines().count(), 1, "{first}");
    assert_eq!(first, second);
    let c = sleeping(unmasked);
    assert_ne!(c.exec(&format!("grep _ses.{} /proc/keys | cut -d ' ' -f 1", c.id)).ok().stdout, first);
}

#[test]
fn exec_with_another_user_keeps_the_umask_of_the_container() {
    let c = sleeping(|config| config["process"]["user"]["umask"] = json!(0o027));
    assert_eq!(c.call(&["exec", "--user", "0", &c.id, "/bin/sh", "-c", "umask"]).ok().stdout, "0027\n");
}

#[test]
fn exec_refuses_a_label_whose_module_is_not_there() {
    let c = sleeping(|_| {});
    let exec = |flag: &str, label: &str| c.call(&["exec", flag, label, &c.id, "true"]);
    exec("--apparmor", "").ok();
    exec("--apparmor", "unconfined").ok();
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        exec("--apparmor", "web").fails(125).says("process.apparmorProfile: AppArmor is not enabled on this kernel");
    }
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        exec("--process-label", "u:r:t:s0").fails(125).says("process.selinuxLabel: SELinux is not enabled");
    }
}

/// A profile in the kernel for as long as the value lives: all is allowed but to write below /denied.
struct Profile(String);

impl Profile {
    fn loaded(name: &str) -> Profile {
        let profile = Profile(format!("bookend-test-{}-{name}", std::process::id()));
        let rules = "file, capability, network, signal, ptrace, mount, umount, unix, deny /denied/** w,";
        let text = format!("profile {} flags=(attach_disconnected) {{ {rules} }}\n", profile.0);
        assert!(profile.parser("--replace", &text), "the profile cannot be loaded");
        profile
    }

    /// Whether it was done.
    fn parser(&self, action: &str, text: &str) -> bool {
        let mut parser = Command::new("apparmor_parser")
            .args([action, "--skip-cache", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        parser.wait().unwrap().success()
    }

    /// What the kernel says of a process that it confines.
    fn label(&self) -> String {
        format!("{} (enforce)\n", self.0)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let removed = self.parser("--remove", &format!("profile {} {{ }}\n", self.0));
        // One that could not be loaded is not there, and has been told.
        assert!(removed || std::thread::panicking(), "the profile cannot be removed");
    }
}

/// Whether the kernel takes profiles; a machine with systemd that a test promised has AppArmor too.
fn needs_apparmor(test: &str) -> bool {
    if !common::needs_root(test) {
        return false;
    }
    if std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|on| on.starts_with('Y')) {
        return common::needs_tool(test, "apparmor_parser");
    }
    assert!(std::env::var_os("BOOKEND_TEST_SYSTEMD").is_none(), "this run promised AppArmor");
    common::skip(test, "needs AppArmor")
}

#[test]
fn s20_an_apparmor_profile_confines_the_container_its_hooks_and_exec() {
    if !needs_apparmor("s20_an_apparmor_profile_confines_the_container_its_hooks_and_exec") {
        return;
    }
    let (profile, other) = (Profile::loaded("own"), Profile::loaded("other"));
    let script = "cat /proc/self/attr/current > /label; (: > /denied/file) 2> /refused; exec sleep 1000";
    let c = Fixture::busybox()
        .shell(script)
        .hook("postStart", "cat /proc/self/attr/current > /of-hook; : > /denied/file")
        .policy("postStart", "onFailure", json!("ignore"))
        .with(|config| config["process"]["apparmorProfile"] = json!(profile.0));
    std::fs::create_dir(c.rootfs().join("denied")).unwrap();
    let c = c.started();
    c.wait_for("the refusal", |c| c.read("/refused").contains("/denied/file: Permission denied"));
    assert_eq!([c.read("/label"), c.read("/of-hook")], [profile.label(), profile.label()]);
    assert!(c.verb("logs").ok().stdout.contains("/denied/file: Permission denied"));

    let script = "cat /proc/self/attr/current; : > /denied/file";
    c.exec(script).fails(1).says(&profile.label()).says("Permission denied");
    let exec = ["exec", "--apparmor", &other.0, &c.id, "cat", "/proc/self/attr/current"];
    assert_eq!(c.call(&exec).ok().stdout, other.label());
    // A process without a label of its own is not to be less confined than the container.
    let process = c.scratch.path().join("process.json");
    let args = json!({"args": ["/bin/cat", "/proc/self/attr/current"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    std::fs::write(&process, args.to_string()).unwrap();
    assert_eq!(c.call(&["exec", "--process", process.to_str().unwrap(), &c.id]).ok().stdout, profile.label());
}

#[test]
fn an_apparmor_profile_that_is_not_loaded_is_refused_by_its_field() {
    if !needs_apparmor("an_apparmor_profile_that_is_not_loaded_is_refused_by_its_field") {
        return;
    }
    let refusal = "process.apparmorProfile: set AppArmor profile \"bookend-no-such\" (is it loaded?)";
    let c = Fixture::busybox().with(|config| config["process"]["apparmorProfile"] = json!("bookend-no-such"));
    c.create().fails(1).says(refusal);
    c.assert_nothing_left();
    let c = Fixture::busybox().started();
    c.call(&["exec", "--apparmor", "bookend-no-such", &c.id, "true"]).fails(125).says(refusal);
    assert_eq!(c.status(), "running");
}

/// An image that has a /sys of its own must not be asked.
#[test]
fn whether_there_is_apparmor_is_not_for_the_container_to_say() {
    let c = Fixture::busybox().shell("echo it runs").with(|config| {
        config["process"]["apparmorProfile"] = json!("unconfined");
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys");
        // What is masked or read-only in /sys is not there.
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let place = c.rootfs().join("sys/module/apparmor/parameters");
    std::fs::create_dir_all(&place).unwrap();
    nix::unistd::mkfifo(&place.join("enabled"), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    assert_eq!(c.run().ok().stdout, "it runs\n");
    c.assert_nothing_left();
}

#[test]
fn features_tell_of_what_the_configuration_accepts() {
    let c = Fixture::busybox();
    let features = c.call(&["features"]).ok().json();
    let linux = &features["linux"];
    assert_eq!(features["ociVersionMax"], "1.3.0");
    for field in ["apparmor", "selinux", "intelRdt", "netDevices"] {
        assert_eq!(linux[field]["enabled"], json!(true), "{field}");
    }
    assert_eq!((&linux["intelRdt"]["schemata"], &linux["intelRdt"]["monitoring"]), (&json!(true), &json!(true)));
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    // None of them is unknown to the program; whether the kernel has each is another matter.
    let unknown = |policy: Value| {
        let output = prints("true", |config| config["linux"]["memoryPolicy"] = policy);
        output.stderr.contains("unknown value")
    };
    let (modes, flags) = (names(&linux["memoryPolicy"]["modes"]), names(&linux["memoryPolicy"]["flags"]));
    assert_eq!((modes.len(), flags.len()), (7, 3));
    for mode in modes {
        assert!(!unknown(json!({"mode": mode, "nodes": "0", "flags": flags})), "{mode}");
    }
    assert!(unknown(json!({"mode": "MPOL_X", "nodes": "0"})));
    let all = names(&linux["capabilities"]);
    let output = prints("true", |config| config["process"]["capabilities"] = json!({"bounding": all, "ambient": all}));
    assert!(!output.stderr.contains("unknown capability"), "{}", output.stderr);
}
