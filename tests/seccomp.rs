//! System call filters: what `linux.seccomp` denies is denied to the ENTRYPOINT, to `exec` and to hooks (threats.md S19).

mod common;
mod threats;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use common::Fixture;
use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, ScmpSyscall};
use serde_json::{Value, json};

/// A filter that answers some calls with an error number and allows the rest.
fn denying(names: &[&str], errno: i32) -> Value {
    let rule = json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]})
}

fn filtered(c: Fixture, seccomp: Value, no_new_privs: bool) -> Fixture {
    c.with(|config| {
        config["linux"]["seccomp"] = seccomp;
        config["process"]["noNewPrivileges"] = json!(no_new_privs);
    })
}

/// The field of /proc/self/status that says whether there is a filter.
const HAS_FILTER: &str = "grep -q 'Seccomp:[[:space:]]*2' /proc/self/status";

#[test]
fn s19_the_entrypoint_exec_and_hooks_have_the_filter() {
    for no_new_privs in [false, true] {
        let deny = format!("{HAS_FILTER} || exit 9; mkdir /made 2> /said; cat /said >&2; grep -q 'File exists' /said");
        let c = Fixture::busybox().shell(&format!("({deny}) && touch /denied; exec /bin/entrypoint"));
        let c = c.hook("postStart", &deny).hook("preStop", &deny).hook("preStart", &deny).hook("postStop", &deny);
        let c = filtered(c, denying(&["mkdir", "mkdirat"], 17), no_new_privs).started();
        c.wait_for("the ENTRYPOINT", |c| c.rootfs().join("denied").exists());
        c.exec(&deny).ok();
        c.stop().ok();
        let hooks = c.state()["hooks"].clone();
        for state in [&hooks["preStart"][0], &hooks["postStart"], &hooks["preStop"], &hooks["postStop"][0]] {
            assert_eq!(state["state"], "Succeeded", "{hooks}");
        }
        assert!(!c.rootfs().join("made").exists());
    }
}

#[test]
fn s19_exec_makes_no_process_without_the_filter_that_the_container_has() {
    let rule = json!({"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"});
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    let c = filtered(Fixture::busybox().shell("exec sleep 60"), seccomp, true).started();
    let file = c.root().join(&c.id).join("seccomp.json");
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    c.exec("true").fails(125).says("the filter of the container: is gone from ");
    fs::write(&file, kept).unwrap();
    c.exec("true").ok();
}

#[test]
fn s19_a_call_that_kills_ends_the_process_with_sigsys() {
    let rule = json!({"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"});
    let c =
        filtered(Fixture::busybox(), json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}), true).started();
    c.call(&["exec", &c.id, "sync"]).fails(128 + 31);
    c.exec("true").ok();
}

#[test]
fn s19_conditions_on_arguments_count() {
    // sethostname of exactly three bytes, and nice values above 10.
    let three = json!([{"index": 1, "value": 3, "op": "SCMP_CMP_EQ"}]);
    let rule = json!({"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": three});
    let c = Fixture::busybox().with(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
        }
    });
    let c = filtered(c, json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}), false).started();
    c.exec("hostname four").ok();
    c.exec("hostname abc").fails(1).says("Permission denied");
}

#[test]
fn s19_every_comparison_is_the_one_that_it_is_called() {
    // chmod(2): the mode is its second argument.
    for (op, mask, value, denied, allowed) in [
        ("NE", None, 0o600, "644", "600"),
        ("LT", None, 0o600, "400", "600"),
        ("LE", None, 0o600, "600", "644"),
        ("EQ", None, 0o600, "600", "644"),
        ("GE", None, 0o600, "600", "400"),
        ("GT", None, 0o600, "644", "600"),
        ("MASKED_EQ", Some(0o077), 0o044, "644", "600"),
    ] {
        let mut arg = json!({"index": 1, "value": mask.unwrap_or(value), "op": format!("SCMP_CMP_{op}")});
        if mask.is_some() {
            arg["valueTwo"] = json!(value);
        }
        let rule = json!({"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122, "args": [arg]});
        let script = format!("touch /f; chmod {allowed} /f || exit 9; ! chmod {denied} /f");
        let c = filtered(
            Fixture::busybox().shell(&script),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}),
            true,
        );
        assert!(c.run().ok().stderr.contains("uota exceeded"), "{op}");
    }
}

#[test]
fn s19_a_filter_with_any_flag_denies_what_it_denies_without() {
    for flag in ["LOG", "TSYNC", "SPEC_ALLOW"] {
        for no_new_privs in [false, true] {
            let mut seccomp = denying(&["mkdir", "mkdirat"], 17);
            seccomp["flags"] = json!([format!("SECCOMP_FILTER_FLAG_{flag}")]);
            let c = Fixture::busybox().shell(&format!("{HAS_FILTER} && ! mkdir /made"));
            filtered(c, seccomp, no_new_privs).run().ok().says("File exists");
        }
    }
}

/// bookend's own calls are not the program's.
#[test]
fn a_low_limit_of_open_files_is_set_before_a_filter_that_forbids_to_set_it() {
    for no_new_privs in [false, true] {
        let c = filtered(
            Fixture::busybox().shell("grep 'open files' /proc/self/limits"),
            denying(&["prlimit64", "setrlimit"], 1),
            no_new_privs,
        );
        let c = c.with(|config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 32, "hard": 32}]);
        });
        let limits = c.run().ok().stdout;
        assert_eq!(limits.split_whitespace().filter(|word| *word == "32").count(), 2, "{no_new_privs}: {limits}");
    }
}

#[test]
fn s19_other_architectures_of_the_machine_are_no_way_around() {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let c = Fixture::busybox();
    threats::attacker(&c);
    let c = filtered(c, denying(&["mkdir", "mkdirat"], 1), true).started();
    for way in ["i386", "x32"] {
        let output = c.call(&["exec", &c.id, "/bin/attacker", way]);
        assert_ne!(output.code, 0, "{way}");
        assert!(!c.rootfs().join(way).exists(), "{way} made its directory");
    }
    // Seen to work where both architectures are allowed everything, so that the above fails for the right reason.
    let free = Fixture::busybox();
    threats::attacker(&free);
    let free = free.started();
    let made = free.call(&["exec", &free.id, "/bin/attacker", "i386"]);
    assert_eq!(made.code == 0, free.rootfs().join("i386").exists());
}

#[test]
fn a_profile_of_the_size_of_dockers_lets_a_container_live() {
    // Allow what is listed, deny the rest with EPERM: the shape of the profiles of docker and podman.
    let apart =
        ["clone", "clone3", "personality", "unshare", "setns", "mount", "umount2", "bpf", "ptrace", "kexec_load"];
    let known = (0..440).filter_map(|number| ScmpSyscall::from(number).get_name().ok());
    let allowed: Vec<String> = known.filter(|name| !apart.contains(&name.as_str())).collect();
    assert!(allowed.len() > 300);
    let rules = json!([
        {"names": allowed, "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}
    ]);
    let architectures = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": architectures, "syscalls": rules});
    for no_new_privs in [false, true] {
        let c = Fixture::busybox().hook("postStart", HAS_FILTER).hook("preStop", "unshare -m true && exit 1; true");
        let c = filtered(c, profile.clone(), no_new_privs).started();
        c.exec("echo alive | cat").ok().says("alive");
        c.exec("unshare -m true").fails(1).says("not permitted");
        c.stop().ok();
        assert_eq!(c.state()["hooks"]["preStop"]["state"], "Succeeded");
    }
}

#[test]
fn s19_what_is_no_filter_is_refused_and_leaves_nothing() {
    for (seccomp, words) in [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "linux.seccomp.defaultAction"),
        (json!({"defaultAction": "SCMP_ACT_PERHAPS"}), "SCMP_ACT_PERHAPS"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}), "SCMP_ARCH_Z80"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"]}), "SECCOMP_FILTER_FLAG_NEW"),
    ] {
        let c = filtered(Fixture::busybox(), seccomp, true);
        c.create().fails(1).says(words);
        c.assert_nothing_left();
    }
}

/// An agent: takes the descriptor of each process, and answers `mkdir` with EDQUOT.
struct Agent {
    listener: UnixListener,
}

impl Agent {
    fn at(path: &Path) -> Agent {
        Agent { listener: UnixListener::bind(path).unwrap() }
    }

    /// The next process's state, and its descriptor.
    fn accept(&self) -> (Value, OwnedFd) {
        let (stream, _) = self.listener.accept().unwrap();
        receive(&stream)
    }
}

fn receive(stream: &UnixStream) -> (Value, OwnedFd) {
    let (bytes, descriptor) = common::receive_descriptor(stream);
    (serde_json::from_slice(&bytes).unwrap(), descriptor.unwrap())
}

#[test]
fn a_notified_call_is_answered_by_the_agent() {
    // TSYNC and a listener exclude each other (seccomp(2)), and a process of one thread needs no TSYNC.
    for (no_new_privs, flags) in [(false, json!(["SECCOMP_FILTER_FLAG_TSYNC"])), (true, json!([]))] {
        let c = Fixture::busybox().shell("mkdir /made 2> /said; exec /bin/entrypoint");
        let socket = c.scratch.path().join("run/agent.sock");
        let agent = Agent::at(&socket);
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"});
        let seccomp = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": [rule],
            "listenerPath": socket, "listenerMetadata": "of the test",
        });
        let c = filtered(c, seccomp, no_new_privs);
        c.write();
        let create = c.spawn(&["create", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
        let (state, listener) = agent.accept();
        create.wait().ok();
        assert_eq!((&state["fds"], &state["metadata"]), (&json!(["seccompFd"]), &json!("of the test")));
        assert_eq!((&state["state"]["id"], &state["pid"]), (&json!(c.id), &state["state"]["pid"]));
        c.verb("start").ok();
        let request = ScmpNotifReq::receive(listener.as_raw_fd()).unwrap();
        let answer = ScmpNotifResp::new_error(request.id, -libc::EDQUOT, ScmpNotifRespFlags::empty());
        answer.respond(listener.as_raw_fd()).unwrap();
        c.wait_for("the answer", |c| c.rootfs().join("said").exists() && !c.read("/said").is_empty());
        assert!(c.read("/said").contains("uota exceeded"), "{}", c.read("/said"));

        let exec = c.spawn(&["exec", &c.id, "true"]);
        let (state, _) = agent.accept();
        assert_ne!(state["pid"], state["state"]["pid"]);
        exec.wait().ok();
    }
}

#[test]
fn an_agent_that_is_not_there_is_told_before_anything_is_made() {
    let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"});
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonexistent/agent", "syscalls": [rule]});
    let c = filtered(Fixture::busybox(), seccomp, true);
    c.create().fails(1).says("linux.seccomp.listenerPath");
    c.assert_nothing_left();
}
