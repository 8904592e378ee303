//! Handlers (lifecycle.md section 4) on real containers: exec, sleep and tcpSocket.

mod common;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use common::{Fixture, is_root, needs_a_user, needs_root};
use serde_json::{Value, json};

const WAIT_FOR_GO: &str = "while [ ! -e /go ]; do sleep 0.05; done";

fn go(c: &Fixture) {
    fs::write(c.rootfs().join("go"), "").unwrap();
}

/// An exec handler without a shell.
fn exec<const N: usize>(command: [&str; N]) -> Value {
    json!({"exec": {"command": command.to_vec()}})
}

/// Where a process is in each hierarchy, as the host sees it, without the named ones.
fn cgroups(pid: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Processes of this machine whose command line has these words one after the other.
fn processes(words: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(words) && !line.contains("/bin/sh")).collect()
}

// ── exec ──

#[test]
fn x_e01_a_hook_runs_in_the_namespaces_and_the_control_group_of_the_container() {
    if !needs_root("x_e01_a_hook_runs_in_the_namespaces_and_the_control_group_of_the_container") {
        return;
    }
    // With the host's pid namespace the hook knows its pid as we do.
    let c = Fixture::busybox().without_namespace("pid").without_namespace("cgroup");
    let c = c.hook("postStart", "cat /proc/self/cgroup > /cgroup").started();
    let own = c.read("/cgroup");
    assert!(own.contains(&c.id), "{own}");
    for line in cgroups(&c.pid().to_string()).iter().filter(|line| line.contains(&c.id)) {
        assert!(own.lines().any(|found| found.starts_with(line.as_str())), "{line} is a parent of none of {own}");
    }

    let c = Fixture::busybox().hook("postStart", "for n in /proc/self/ns/*; do echo $n $(readlink $n); done > /ns");
    let c = c.started();
    let own = c.read("/ns");
    for kind in ["ipc", "mnt", "net", "pid", "uts", "cgroup", "user"] {
        let of_init = fs::read_link(format!("/proc/{}/ns/{kind}", c.pid())).unwrap();
        assert!(own.contains(&format!("{}", of_init.display())), "{kind}: {} is not in {own}", of_init.display());
    }
}

#[test]
fn x_e01_a_hook_counts_against_the_limits_of_the_container() {
    if !needs_root("x_e01_a_hook_counts_against_the_limits_of_the_container") {
        return;
    }
    let c = Fixture::busybox().with(|config| config["linux"]["resources"]["memory"] = json!({"limit": 20 << 20}));
    let c = c.hook("preStop", "a=aaaaaaaaaaaaaaaa; while :; do a=$a$a; done").started();
    c.stop().ok();
    let state = c.state();
    assert_eq!(state["hooks"]["preStop"]["exitCode"], 137, "{state:#}");
}

#[test]
fn x_e02_x_e03_a_hook_has_environment_user_umask_limits_and_directory_of_the_process() {
    let print = "env | sort; id -u; id -g; umask; ulimit -n; pwd; grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status";
    let c = Fixture::busybox().with(|config| {
        let process = &mut config["process"];
        process["env"] = json!(["PATH=/usr/bin:/bin", "COLOUR=green", "HOME=/"]);
        process["cwd"] = json!("/tmp");
        process["user"]["umask"] = json!(0o27);
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 345, "hard": 345}]);
        process["noNewPrivileges"] = json!(true);
        if is_root() {
            process["user"]["uid"] = json!(1234);
            process["user"]["gid"] = json!(2345);
            process["user"]["additionalGids"] = json!([3456]);
        }
    });
    fs::create_dir_all(c.rootfs().join("tmp")).unwrap();
    fs::set_permissions(c.rootfs().join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let c = c.shell(&format!("({print}) > /tmp/own; touch /tmp/done; exec /bin/entrypoint"));
    let c = c.hook("postStart", &format!("while [ ! -e /tmp/done ]; do sleep 0.05; done; ({print}) > /tmp/hook"));
    let c = c.started();
    let (own, hook) = (c.read("/tmp/own"), c.read("/tmp/hook"));
    // The shell numbers its own levels.
    let plain = |text: &str| text.lines().filter(|line| !line.starts_with("SHLVL")).collect::<Vec<_>>().join("\n");
    assert_eq!(plain(&own), plain(&hook));
    assert!(hook.contains("COLOUR=green") && hook.contains("\n345\n") && hook.contains("\n/tmp\n"), "{hook}");
    assert!(!hook.contains("BOOKEND"), "{hook}");
}

#[test]
fn x_e02_only_with_inject_env_are_there_variables_of_ours() {
    let c = Fixture::busybox().hook("postStart", "env > /env").policy("postStart", "injectEnv", json!(true));
    let c = c.hook("preStart", "env > /env-pre").started();
    let expected = ["BOOKEND_HOOK=postStart\n", "BOOKEND_ATTEMPT=1\n", &format!("BOOKEND_CONTAINER_ID={}\n", c.id)];
    for variable in expected {
        assert!(c.read("/env").contains(variable), "{variable} {}", c.read("/env"));
    }
    assert!(c.read("/env-pre").contains("BOOKEND_HOOK=preStart\n"));
}

#[test]
fn x_e04_a_hook_has_no_terminal_and_reads_nothing() {
    let c = Fixture::busybox().hook("postStart", "[ -t 0 ] || echo none > /tty; cat > /stdin; echo end >> /stdin");
    let c = c.started();
    assert_eq!((c.read("/tty").as_str(), c.read("/stdin").as_str()), ("none\n", "end\n"));
}

#[test]
fn x_e05_the_command_is_executed_as_it_stands() {
    let c = Fixture::busybox().with(|config| {
        config["process"]["env"].as_array_mut().unwrap().push(json!("WORD=expanded"));
    });
    let show = "for word; do echo \"[$word]\"; done > /words";
    let c = c.handler("postStart", exec(["/bin/sh", "-c", show, "sh", "$WORD", "$(WORD)", "*", "a  b", ""])).started();
    assert_eq!(c.read("/words"), "[$WORD]\n[$(WORD)]\n[*]\n[a  b]\n[]\n");
}

#[test]
fn x_e06_a_name_is_looked_up_in_the_containers_path() {
    let c = Fixture::busybox().with(|config| config["process"]["env"] = json!(["PATH=/opt/tools:/bin"]));
    let tools = c.rootfs().join("opt/tools");
    fs::create_dir_all(&tools).unwrap();
    fs::write(tools.join("tool"), "#!/bin/sh\necho \"$0\" > /tool\n").unwrap();
    fs::set_permissions(tools.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let c = c.handler("postStart", exec(["tool"])).started();
    assert_eq!(c.read("/tool"), "/opt/tools/tool\n");
}

#[test]
fn x_e07_x_e08_exit_code_0_is_success_and_any_other_a_failure_with_the_end_of_stderr() {
    let c = Fixture::busybox().hook("preStop", "echo out; echo one >&2; echo 'the secret' >&2; exit 42").started();
    c.stop().ok();
    let hook = &c.state()["hooks"]["preStop"];
    assert_eq!((&hook["state"], &hook["exitCode"]), (&json!("Failed"), &json!(42)));
    let error = hook["error"].as_str().unwrap();
    assert!(
        error.starts_with("command '/bin/sh -c echo out;") && error.contains("' exited with 42: one\nthe secret"),
        "{error}"
    );
    let journal = fs::read_to_string(c.state_dir().join("journal.jsonl")).unwrap();
    assert!(!journal.contains("the secret"), "output is in no event");
}

#[test]
fn x_e09_a_signal_reads_as_128_and_its_number() {
    for (script, code) in [("kill -TERM $$; sleep 1000", 143), ("kill -9 $$", 137), ("kill -USR1 $$", 138)] {
        let c = Fixture::busybox().hook("preStop", script).started();
        c.stop().ok();
        assert_eq!(c.state()["hooks"]["preStop"]["exitCode"], code);
        assert_eq!(c.event("FailedPreStopHook")["message"], format!("PreStopHook failed: exit code {code}"));
    }
}

#[test]
fn x_e10_a_program_that_is_missing_or_no_program_is_a_failure_without_an_exit_code() {
    let cases = [
        (exec(["nosuch"]), "exec: \"nosuch\": executable file not found in $PATH", "executable file not found"),
        (exec(["/etc"]), "is a directory", "is a directory"),
        (exec(["/bin/nosuch"]), "no such file or directory", "no such file or directory"),
        (exec(["/bin/broken"]), "exec format error", "exec format error"),
    ];
    for (handler, error, class) in cases {
        let c = Fixture::busybox().handler("preStop", handler);
        fs::write(c.rootfs().join("bin/broken"), "no program").unwrap();
        fs::set_permissions(c.rootfs().join("bin/broken"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let c = c.started();
        c.stop().ok();
        let hook = &c.state()["hooks"]["preStop"];
        assert_eq!((&hook["state"], hook.get("exitCode")), (&json!("Failed"), None));
        assert!(hook["error"].as_str().unwrap().contains(error), "{hook}");
        assert_eq!(c.event("FailedPreStopHook")["message"], format!("PreStopHook failed: {class}"));
    }
}

#[test]
fn x_e10_a_missing_sleep_has_a_hint() {
    let c = Fixture::busybox();
    fs::remove_file(c.rootfs().join("bin/sleep")).unwrap();
    let c = c.shell("trap 'exit 0' TERM; while :; do usleep 50000; done").handler("preStop", exec(["sleep", "5"]));
    let c = c.started();
    c.stop().ok();
    let error = c.state()["hooks"]["preStop"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("executable file not found in $PATH"), "{error}");
    assert!(error.contains("use the sleep handler, which needs no binary in the image"), "{error}");
}

#[test]
fn x_e12_without_a_pid_namespace_a_hook_ends_with_the_entrypoint() {
    if !needs_root("x_e12_without_a_pid_namespace_a_hook_ends_with_the_entrypoint") {
        return;
    }
    let c = Fixture::busybox().without_namespace("pid").shell(&format!("{WAIT_FOR_GO}; exit 6"));
    let c = c.hook("postStart", "echo $$ > /pid; sleep 8765 & setsid sleep 8765 & touch /go; wait");
    c.create().ok();
    c.verb("start").fails(1).says("container exited (exit code 6)");
    c.verb("wait").fails(6);
    assert_eq!(c.event("FailedPostStartHook")["outcome"], "Interrupted");
    c.wait_for("the hook's tree to end", |_| processes("sleep 8765").is_empty());
}

#[test]
fn x_e13_a_background_child_that_holds_stdout_holds_up_nothing_and_lives_on() {
    let c = Fixture::busybox().hook("postStart", "echo said; (while :; do date > /beat; sleep 0.1; done) &");
    c.create().ok();
    c.verb("start").ok();
    fs::remove_file(c.rootfs().join("beat")).unwrap_or_default();
    c.wait_for("the child", |c| c.rootfs().join("beat").exists());
    assert_eq!(c.state()["hooks"]["postStart"]["state"], "Succeeded");
    // Drained for 2 s, then closed: the child that writes to it dies of nothing it does not write.
    c.wait_for("the log", |c| c.call(&["logs", &c.id]).stdout.contains("said"));
    c.stop().ok();
    c.verb("wait").ok();
}

#[test]
fn x_e14_a_flood_is_bounded_and_blocks_nobody() {
    let c = Fixture::busybox().hook("postStart", "yes 'a line of a chatty hook' | head -c 6000000; echo end >&2");
    let c = c.started();
    assert_eq!(c.state()["hooks"]["postStart"]["state"], "Succeeded");
    c.wait_for("the log's end", |c| {
        let logs = fs::read_to_string(c.state_dir().join("hooks/postStart-1.log")).unwrap_or_default();
        logs.contains(" stderr end") && logs.contains("bytes of stdout are missing here")
    });
    let size = fs::metadata(c.state_dir().join("hooks/postStart-1.log")).unwrap().len();
    assert!(size < 4 << 20, "{size}");
}

#[test]
fn x_e15_a_time_limit_ends_the_whole_tree_of_the_hook() {
    if !needs_root("x_e15_a_time_limit_ends_the_whole_tree_of_the_hook") {
        return;
    }
    let tree = "setsid sleep 7654 & (setsid sh -c 'sleep 7654 & sleep 7654' &) ; touch /ready; sleep 7654";
    for pid in [true, false] {
        let c = Fixture::busybox().hook("postStart", tree).policy("postStart", "timeoutSeconds", json!(1));
        let c = c.policy("postStart", "onFailure", json!("ignore"));
        let c = if pid { c } else { c.without_namespace("pid") };
        let c = c.started();
        assert_eq!(c.state()["hooks"]["postStart"]["state"], "TimedOut");
        assert_eq!(c.event("FailedPostStartHook")["message"], "PostStartHook failed: timed out after 1s (ignored)");
        c.wait_for("the tree's end", |_| processes("sleep 7654").is_empty());
        assert!(c.exec("ps").ok().stdout.contains("entrypoint"));
    }
}

#[test]
fn x_e16_the_handlers_own_limit_is_a_synonym() {
    let handler = json!({"exec": {"command": ["/bin/sleep", "1000"], "timeoutSeconds": 1}});
    let c = Fixture::busybox().handler("preStop", handler).started();
    c.stop().ok();
    assert_eq!(c.event("FailedPreStopHook")["message"], "PreStopHook failed: timed out after 1s");
}

#[test]
fn x_e17_a_hook_reaches_the_containers_log_by_the_stdio_of_pid_1() {
    let users = if is_root() { vec![0, 1234] } else { vec![0] };
    for uid in users {
        let c = Fixture::busybox().with(|config| {
            config["process"]["user"]["uid"] = json!(uid);
            config["process"]["user"]["gid"] = json!(uid);
        });
        let c = c.hook("postStart", "echo from the hook > /proc/1/fd/1; echo and err > /proc/1/fd/2");
        let c = c.hook("preStop", "echo from pre-stop > /proc/1/fd/1");
        c.write();
        // A pipe, as every caller gives: to write to it by its name opens it once more.
        let mut run = c.command(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
        let mut run = run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        c.wait_for_phase("Running");
        c.stop().ok();
        let mut said = String::new();
        run.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(run.wait().unwrap().success());
        for line in ["from the hook", "and err", "from pre-stop"] {
            assert!(said.contains(line), "{uid}: no {line:?} in {said}");
        }
    }
}

#[test]
fn x_e18_without_a_control_group_the_hook_runs_anyway_and_that_is_told_once() {
    if !needs_a_user("x_e18_without_a_control_group_the_hook_runs_anyway_and_that_is_told_once") {
        return;
    }
    let c = Fixture::busybox().hook("postStart", "touch /post").hook("preStop", "touch /pre").started();
    c.stop().ok();
    assert!(c.rootfs().join("post").exists() && c.rootfs().join("pre").exists());
    let told = c.reasons().iter().filter(|reason| *reason == "HookOutsideCgroup").count();
    let has_cgroup = !common::cgroups_named(&c.id).is_empty();
    assert_eq!(told, usize::from(!has_cgroup));
}

#[test]
fn hooks_and_entrypoint_have_no_descriptor_but_the_three() {
    let list = |to: &str| format!("ls -l /proc/self/fd > {to}");
    let c = Fixture::busybox().shell(&format!("{}; exec /bin/entrypoint", list("/entry")));
    let c = c.hook("preStart", &list("/pre-start")).hook("postStart", &list("/post-start"));
    let c = c.hook("preStop", &list("/pre-stop")).hook("postStop", &list("/post-stop")).started();
    c.wait_for("the ENTRYPOINT", |c| !c.read("/entry").is_empty());
    c.stop().ok();
    for file in ["/entry", "/pre-start", "/post-start", "/pre-stop", "/post-stop"] {
        let text = c.read(file);
        // `ls` itself has the directory open.
        let others: Vec<&str> = text.lines().filter(|l| l.contains(" -> ") && !l.contains("/fd")).collect();
        let numbers: Vec<&str> =
            others.iter().filter_map(|l| l.split(" -> ").next()?.split_whitespace().last()).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{file}:\n{text}");
    }
}

// ── sleep and tcpSocket ──

#[test]
fn x_s01_x_s02_sleep_needs_nothing_of_the_image_and_zero_is_over_at_once() {
    let c = Fixture::busybox().handler("postStart", json!({"sleep": {"seconds": 1}}));
    let c = c.handler("preStop", json!({"sleep": {}})).started();
    let started = c.between("HookStarted", "HookSucceeded");
    assert!((1.0..4.0).contains(&started), "{started}");
    c.stop().ok();
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Succeeded");
    assert!(c.between("Killing", "SignalSent") < 3.0);
}

#[test]
fn x_s03_a_sleep_is_cut_off_when_the_budget_ends() {
    let c = Fixture::busybox().handler("preStop", json!({"sleep": {"seconds": 30}})).started();
    c.call(&["stop", &c.id, "--grace", "1"]).ok();
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "TimedOut");
    let signal = c.between("Killing", "SignalSent");
    assert!((1.0..4.0).contains(&signal), "{signal}");
}

#[test]
fn x_s04_a_sleep_ends_with_the_entrypoint() {
    let c = Fixture::busybox()
        .shell(&format!("{WAIT_FOR_GO}; exit 3"))
        .handler("preStop", json!({"sleep": {"seconds": 30}}));
    let c = c.started();
    c.verb("kill").ok();
    c.wait_for_phase("Stopping");
    go(&c);
    c.verb("wait").fails(3);
    assert_eq!(c.state()["hooks"]["preStop"]["state"], "Interrupted");
    assert!(c.between("HookStarted", "Exited") < 25.0);
}

#[test]
fn x_t01_a_tcp_hook_succeeds_when_something_listens_in_the_container() {
    let listen =
        "nc -ll -p 8080 -e /bin/true > /dev/null 2>&1 & touch /up; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let c = Fixture::busybox().own_network().shell(listen).handler("postStart", json!({"tcpSocket": {"port": 8080}}));
    let c = c.policy("postStart", "retries", json!(50)).policy("postStart", "retryDelaySeconds", json!(0.1));
    let output = c.run_detached().ok();
    assert!(output.stderr.contains("tcpSocket hooks are accepted by the Kubernetes API but always fail"), "{output:?}");
    assert_eq!(c.event("LifecycleLoopback")["type"], "Warning");
    let c = Fixture::busybox().own_network().handler("postStart", json!({"tcpSocket": {"port": 8080}})).grace(2);
    let output = c.run_detached().says("PostStartHook failed: connection failed");
    // Where the SIGTERM came before the ENTRYPOINT's trap.
    let killed = c.reasons().iter().any(|reason| reason == "SigkillSent");
    assert_eq!(output.code, if killed { 137 } else { 125 }, "{output:?}");
}

#[test]
fn x_t03_with_strict_kubernetes_a_tcp_hook_fails_as_in_kubernetes() {
    let tcp = json!({"tcpSocket": {"port": 8080}});
    let listens = "nc -l -p 8080 & touch /up; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let c = Fixture::busybox().own_network().shell(listens).flag("--strict-kubernetes").handler("postStart", tcp);
    let c = c.policy("postStart", "retries", json!(1)).policy("postStart", "retryDelaySeconds", json!(0));
    let c = c.hook("preStop", "echo drain >> /log");
    c.create().ok();
    c.verb("start").fails(1).says("PostStartHook failed: invalid handler");
    assert_eq!(c.event("FailedPostStartHook")["message"], "PostStartHook failed: invalid handler");
    let state = c.state();
    assert_eq!(state["hooks"]["postStart"]["attempts"], 2);
    assert_eq!(state["exit"]["reason"], "PostStartHookError");
    assert_eq!(c.read("/log"), "drain\n");
}
