//! The verbs, in states where they fit and where they do not; and `exec`.

use serde_json::json;

use super::sleeper;
use crate::case::{Case, case, lines};

const CREATE: &str = "create --pid-file {D}/pid --bundle {B} {ID}";
const RUN: &str = "run --detach --pid-file {D}/pid --bundle {B} {ID}";

/// Verbs upon a container that runs until it is killed.
fn running(name: &'static str, then: &[&str]) -> Case {
    let mut all = vec![RUN];
    all.extend(then);
    sleeper(name).lines(&all)
}

fn created(name: &'static str, then: &[&str]) -> Case {
    let mut all = vec![CREATE];
    all.extend(then);
    sleeper(name).lines(&all)
}

fn stopped(name: &'static str, then: &[&str]) -> Case {
    let mut all = vec![RUN, "kill {ID} KILL", "@wait"];
    all.extend(then);
    sleeper(name).lines(&all)
}

pub fn cases() -> Vec<Case> {
    vec![
        lines(
            "a container that is not there",
            &[
                "state {ID}",
                "start {ID}",
                "kill {ID} TERM",
                "delete {ID}",
                "delete --force {ID}",
                "exec {ID} true",
                "ps {ID}",
                "pause {ID}",
                "resume {ID}",
                "update --pids-limit 5 {ID}",
            ],
        ),
        created(
            "a life",
            &[
                "state {ID}",
                "start {ID}",
                "state {ID}",
                "kill {ID} KILL",
                "@wait",
                "state {ID}",
                "delete {ID}",
                "state {ID}",
            ],
        ),
        running("a detached life", &["state {ID}", "kill {ID} KILL", "@wait", "delete {ID}"]),
        lines("a life that ends by itself", &[CREATE, "start {ID}", "@wait", "state {ID}", "delete {ID}"]),
        created("start of one that runs", &["start {ID}", "start {ID}", "state {ID}"]),
        stopped("start of one that has stopped", &["start {ID}", "state {ID}"]),
        running("delete of one that runs", &["delete {ID}", "state {ID}"]),
        running("delete of one that runs, by force", &["delete --force {ID}", "state {ID}", "delete --force {ID}"]),
        created("delete of one that is created", &["delete {ID}", "state {ID}"]),
        stopped("delete of one that has stopped, twice", &["delete {ID}", "delete {ID}", "delete -f {ID}"]),
        created("kill of one that is created", &["kill {ID} KILL", "@wait", "state {ID}"]),
        stopped("kill of one that has stopped", &["kill {ID} TERM", "kill {ID} KILL", "kill --all {ID} KILL"]),
        running("kill by a number", &["kill {ID} 9", "@wait"]),
        running("kill by a name with SIG", &["kill {ID} SIGKILL", "@wait"]),
        running("kill by a small name", &["kill {ID} kill"]),
        running("kill by default", &["kill {ID}"]),
        running("kill with all", &["kill --all {ID} KILL"]),
        running("kill with a and the flag last", &["kill {ID} KILL -a"]),
        running(
            "kill by a signal that is none",
            &["kill {ID} NONSENSE", "kill {ID} 0", "kill {ID} 99", "kill {ID} -1", "state {ID}"],
        )
        .alone("kill error#3", "a number that is no signal is refused by name")
        .like_crun("kill error#4", "a number that is no signal is refused by name"),
        running("a signal that is ignored", &["kill {ID} USR1", "kill {ID} WINCH", "state {ID}"]),
        running("pause and resume", &["pause {ID}", "state {ID}", "resume {ID}", "state {ID}"]),
        running("pause twice", &["pause {ID}", "pause {ID}", "state {ID}"]),
        running("resume of one that runs", &["resume {ID}"]),
        created("pause of one that is created", &["pause {ID}", "state {ID}"]),
        stopped("pause of one that has stopped", &["pause {ID}", "resume {ID}"]),
        running("kill of one that is paused", &["pause {ID}", "kill {ID} KILL", "resume {ID}", "@wait"]),
        running("delete of one that is paused", &["pause {ID}", "delete {ID}", "delete --force {ID}", "state {ID}"]),
        running("exec in one that is paused", &["pause {ID}", "exec {ID} true", "resume {ID}", "exec {ID} true"]),
        created("exec in one that is created", &["exec {ID} echo inside", "state {ID}"]),
        stopped("exec in one that has stopped", &["exec {ID} true"]),
        created("an id twice", &[CREATE, RUN, "state {ID}"]),
        lines(
            "ids that are none",
            &[
                "create --bundle {B} a/b",
                "create --bundle {B} ..",
                "create --bundle {B} ''",
                "create --bundle {B} 'a b'",
                "state a/b",
                "create --bundle {B} 'ä'",
            ],
        ),
        lines("no id", &["create --bundle {B}", "start", "state", "kill", "delete", "exec", "ps", "pause", "resume"]),
        lines("more than an id", &["state {ID} other", "start {ID} other", "pause {ID} other"]),
        lines("unknown flags and verbs", &["create --nonsense {ID}", "nonsense {ID}", "--nonsense state {ID}"]),
        lines(
            "an id of many letters",
            &[
                "create --pid-file {D}/pid --bundle {B} {ID}+_.-Aa09",
                "state {ID}+_.-Aa09",
                "delete --force {ID}+_.-Aa09",
            ],
        ),
        lines("a bundle by the working directory", &["run {ID}"]).prepare("cp {B}/config.json ."),
        lines("a bundle by a relative path", &["run --bundle bundle {ID}"]),
        lines("a bundle by a short flag", &["run -b {B} {ID}"]),
        lines("flags with an equals sign", &["run --bundle={B} {ID}"]),
        lines(
            "a pid file by a relative path",
            &["create --pid-file pid --bundle {B} {ID}", "@sh wc -w < pid", "delete --force {ID}"],
        ),
        lines("no pivot_root", &["run --no-pivot --bundle {B} {ID}"]),
        lines("no new keyring", &["run --no-new-keyring --bundle {B} {ID}"]),
        lines("a console socket without a terminal", &["create --console-socket {D}/none --bundle {B} {ID}"]),
        lines("no containers", &["list", "list --quiet", "list --format json"])
            .like_crun("list", "an empty list is a list, where runc says null"),
        running("one container", &["list --quiet"]),
        stopped("one container that has stopped", &["list -q", "ps --format json {ID}"])
            .alone("ps", "an empty list is a list, where runc says null"),
        running("its processes", &["@sh sleep 0.5", "ps {ID} -o comm", "ps --format nonsense {ID}"])
            .alone("ps error#2", "told as a mistake of the command line"),
        lines("a configuration to begin with", &["spec --bundle {D}", "@sh ls config.json", "spec --bundle {D}"]),
    ]
}

/// `exec` in a container that runs.
fn inside(name: &'static str, line: &str) -> Case {
    running(name, &[line])
}

fn exec_in(name: &'static str, change: impl Fn(&mut serde_json::Value) + 'static, line: &str) -> Case {
    case(name, move |c| {
        c["process"]["args"] = json!(["/bin/sleep", "100"]);
        change(c);
    })
    .lines(&[RUN, line])
}

pub fn exec() -> Vec<Case> {
    vec![
        inside("exec", "exec {ID} /bin/sh -c {PROBE}"),
        inside("exec of a program by its name", "exec {ID} echo found"),
        inside("exec with an exit code", "exec {ID} sh -c 'exit 9'"),
        inside("exec with a death by a signal", "exec {ID} sh -c 'kill -KILL $$'"),
        inside("exec of what is not there", "exec {ID} /nonexistent"),
        inside("exec of a name that is not there", "exec {ID} nonexistent"),
        inside("exec of what cannot be executed", "exec {ID} /etc/passwd"),
        inside("exec of nothing", "exec {ID}"),
        inside("exec as a user", "exec --user 1000:1001 {ID} /bin/sh -c {PROBE}"),
        inside("exec as a user without a group", "exec --user 1000 {ID} /bin/sh -c {PROBE}"),
        inside("exec with more groups", "exec --additional-gids 5 --additional-gids 6 {ID} /bin/sh -c {PROBE}"),
        inside("exec in a directory", "exec --cwd /etc {ID} /bin/sh -c {PROBE}"),
        inside("exec in a directory that is not there", "exec --cwd /nonexistent {ID} pwd"),
        inside("exec with variables", "exec --env A=1 --env B=2 --env PATH=/bin {ID} /bin/sh -c {PROBE}"),
        inside("exec with a capability", "exec --cap CAP_CHOWN {ID} /bin/sh -c {PROBE}"),
        inside("exec with an unknown capability", "exec --cap CAP_FLY {ID} true").alone("exec exit", "who names a capability by hand is told of a slip").alone("exec error", "who names a capability by hand is told of a slip"),
        inside("exec with its options last", "exec {ID} ls -d /"),
        inside("exec with a terminal that there is none of", "exec --tty {ID} true").alone("exec exit", "a terminal that nobody looks at is no reason to fail").alone("exec error", "a terminal that nobody looks at is no reason to fail"),
        running("exec in the background", &["exec --detach --pid-file {D}/other {ID} true", "@sh wc -w < other"]),
        inside("exec by a file", "exec --process {D}/process.json {ID}").prepare(
            r#"echo '{"args": ["/bin/sh", "-c", "id; pwd; env"], "cwd": "/etc", "user": {"uid": 5, "gid": 6}, "env": ["PATH=/bin", "A=b"]}' > process.json"#,
        ),
        inside("exec by a file that says little", "exec --process {D}/process.json {ID}").prepare(
            r#"echo '{"args": ["/bin/sh", "-c", "id; grep ^Cap /proc/self/status"], "cwd": "/"}' > process.json"#,
        ),
        inside("exec by a file that is not there", "exec --process {D}/process.json {ID}"),
        inside("exec by a file that is no JSON", "exec --process {D}/process.json {ID}").prepare("echo '{' > process.json"),
        inside("exec by a file without arguments", "exec --process {D}/process.json {ID}").prepare(r#"echo '{"cwd": "/"}' > process.json"#),
        exec_in("exec where new privileges are allowed", |c| c["process"]["noNewPrivileges"] = json!(false), "exec {ID} /bin/sh -c {PROBE}"),
        exec_in("exec without new privileges", |c| c["process"]["noNewPrivileges"] = json!(false), "exec --no-new-privs {ID} /bin/sh -c {PROBE}"),
        exec_in("exec where the user has groups", |c| c["process"]["user"] = json!({ "uid": 3, "gid": 4, "additionalGids": [5] }), "exec {ID} /bin/sh -c {PROBE}"),
        exec_in("exec in the host's namespaces", |c| {
            for kind in ["pid", "network", "ipc"] {
                super::without(c, kind);
            }
        }, "exec {ID} /bin/sh -c {PROBE}"),
        exec_in("exec in a cgroup namespace", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
        }, "exec {ID} /bin/sh -c {PROBE}").alone("mounts /sys/fs/cgroup/systemd", "only the name of the source"),
        exec_in("exec in a user namespace", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
            for map in ["uidMappings", "gidMappings"] {
                c["linux"][map] = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            }
        }, "exec {ID} /bin/sh -c {PROBE}"),
        exec_in("exec under a filter", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }] });
        }, "exec {ID} sh -c 'mkdir /x; echo mkdir $?'"),
        exec_in("exec with a umask and an OOM score", |c| {
            c["process"]["user"]["umask"] = json!(0o77);
            c["process"]["oomScoreAdj"] = json!(300);
        }, "exec {ID} /bin/sh -c {PROBE}").alone("status Umask", "the umask is one of the container's process as the rest is"),
    ]
}
