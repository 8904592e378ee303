//! What a process is given: arguments, environment, limits; and its user and rights.

use serde_json::{Value, json};

use super::program;
use crate::case::{Case, case};

fn process(name: &'static str, field: &'static str, value: Value) -> Case {
    case(name, move |c| c["process"][field] = value.clone())
}

fn env(name: &'static str, variables: &[&str]) -> Case {
    process(name, "env", json!(variables))
}

fn limit(name: &'static str, kind: &'static str, soft: u64, hard: u64) -> Case {
    process(name, "rlimits", json!([{ "type": kind, "soft": soft, "hard": hard }]))
}

pub fn cases() -> Vec<Case> {
    const PATH: &str = "PATH=/sbin:/bin";
    vec![
        program("arguments with blanks and quotes", &["/bin/echo", "a b", "'c'", "\"d\"", ""]),
        program("an exit code", &["/bin/sh", "-c", "exit 7"]),
        program("the highest exit code", &["/bin/sh", "-c", "exit 255"]),
        program("a program by its name", &["echo", "found"]),
        program("a program by a relative path", &["bin/echo", "found"]),
        program("a program beside the PATH", &["nosuch", "x"]),
        case("an empty PATH", |c| {
            c["process"]["env"] = json!(["PATH="]);
            c["process"]["args"] = json!(["echo", "x"]);
        }),
        program("what stdin holds", &["/bin/sh", "-c", "read line; echo \"got $? $line\""]),
        program("both streams", &["/bin/sh", "-c", "echo out; echo err >&2"]),
        case("a death by a signal", |c| {
            super::without(c, "pid");
            c["process"]["args"] = json!(["/bin/sh", "-c", "kill -KILL $$"]);
        }),
        case("a death by SIGTERM", |c| {
            super::without(c, "pid");
            c["process"]["args"] = json!(["/bin/sh", "-c", "kill -TERM $$"]);
        }),
        env("a variable twice", &[PATH, "X=first", "X=last"]),
        env("a variable with a newline", &[PATH, "X=a\nb"]),
        env("a variable with more equals signs", &[PATH, "X=a=b=c", "Y="]),
        env("HOME as it is given", &[PATH, "HOME=/elsewhere"]),
        env("an empty HOME", &[PATH, "HOME="]),
        env("no variables but PATH", &[PATH]),
        process("no env at all", "env", Value::Null),
        process("a working directory", "cwd", json!("/etc")),
        process("a working directory that is not there", "cwd", json!("/made/for/it")),
        case("a working directory that is a link", |c| {
            c["process"]["cwd"] = json!("/link");
        })
        .prepare("ln -sfn /etc {R}/link"),
        process("an OOM score", "oomScoreAdj", json!(500)),
        process("an OOM score of 0", "oomScoreAdj", json!(0)),
        limit("a limit of open files", "RLIMIT_NOFILE", 512, 1024),
        limit("no core files", "RLIMIT_CORE", 0, 0),
        limit("a limit of the stack", "RLIMIT_STACK", 1 << 20, 1 << 23),
        limit("a limit of CPU time", "RLIMIT_CPU", 100, 200),
        process(
            "several limits",
            "rlimits",
            json!([
                { "type": "RLIMIT_FSIZE", "soft": 1 << 30, "hard": 1_u64 << 31 },
                { "type": "RLIMIT_NPROC", "soft": 1000, "hard": 1000 },
                { "type": "RLIMIT_AS", "soft": 1_u64 << 40, "hard": 1_u64 << 41 },
            ]),
        ),
        process("no limits", "rlimits", Value::Null),
        process("no user", "user", Value::Null),
        case("keys in other letters", |c| {
            c["process"]["nonewprivileges"] = c["process"].as_object_mut().unwrap().remove("noNewPrivileges").unwrap();
            c["root"] = json!({ "Path": c["root"]["path"], "readOnly": true });
        }),
        process("a console size without a terminal", "consoleSize", json!({ "height": 10, "width": 20 })),
        process("new privileges", "noNewPrivileges", json!(false)),
    ]
}

fn capabilities(name: &'static str, sets: Value) -> Case {
    process(name, "capabilities", sets)
}

fn user(name: &'static str, user: Value) -> Case {
    process(name, "user", user)
}

fn filter(name: &'static str, profile: Value, script: &'static str) -> Case {
    case(name, move |c| {
        c["linux"]["seccomp"] = profile.clone();
        super::also(c, script);
    })
}

pub fn rights() -> Vec<Case> {
    let kill = json!(["CAP_KILL"]);
    let all = |caps: &Value| json!({ "bounding": caps, "effective": caps, "permitted": caps, "inheritable": caps, "ambient": caps });
    let denied = |action: &str| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": action }] });
    vec![
        user("a user", json!({ "uid": 1000, "gid": 1000 })),
        user("a user of another group", json!({ "uid": 1000, "gid": 5 })),
        user("root in a group", json!({ "uid": 0, "gid": 1234 })),
        user("more groups", json!({ "uid": 1000, "gid": 1000, "additionalGids": [5, 6, 1000] })),
        user("more groups for root", json!({ "uid": 0, "gid": 0, "additionalGids": [5, 6] })),
        user("a umask", json!({ "uid": 0, "gid": 0, "umask": 0o27 })),
        user("a umask of 0", json!({ "uid": 0, "gid": 0, "umask": 0 })),
        user("nobody", json!({ "uid": 65534, "gid": 65534 })),
        capabilities("no capabilities are named", Value::Null),
        capabilities("no capabilities", json!({})),
        capabilities("one capability in all sets", all(&kill)),
        capabilities("a bounding set only", json!({ "bounding": ["CAP_KILL", "CAP_CHOWN"] })),
        capabilities(
            "less effective than permitted",
            json!({
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "effective": kill,
            }),
        ),
        capabilities(
            "inheritable ones",
            json!({ "bounding": kill, "permitted": kill, "effective": kill, "inheritable": kill }),
        ),
        capabilities(
            "an unknown one",
            json!({ "bounding": ["CAP_KILL", "CAP_FLY"], "permitted": kill, "effective": kill }),
        ),
        capabilities(
            "ambient ones that are not inheritable",
            json!({
                "bounding": kill, "permitted": kill, "effective": kill, "ambient": kill,
            }),
        ),
        case("capabilities of a user", {
            let all = all(&kill);
            move |c| {
                c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
                c["process"]["capabilities"] = all.clone();
            }
        }),
        case("capabilities of a user without ambient ones", |c| {
            c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 })
        }),
        case("a directory that only root may enter", |c| {
            c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            c["process"]["cwd"] = json!("/private");
        })
        .prepare("mkdir -p {R}/private; chmod 700 {R}/private"),
        case("new privileges of a user", |c| {
            c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            c["process"]["noNewPrivileges"] = json!(false);
        }),
        filter("a system call that fails", denied("SCMP_ACT_ERRNO"), "mkdir /x; echo mkdir $?"),
        filter(
            "a system call that fails in another way",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
            }),
            "mkdir /x 2>&1; echo mkdir $?",
        ),
        filter("a system call that kills", denied("SCMP_ACT_KILL_PROCESS"), "mkdir /x; echo mkdir $?"),
        filter("a system call with a trap", denied("SCMP_ACT_TRAP"), "mkdir /x; echo mkdir $?"),
        filter("a system call that is logged", denied("SCMP_ACT_LOG"), "mkdir /x && rmdir /x; echo mkdir $?"),
        filter(
            "a system call by its argument",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 2, "op": "SCMP_CMP_EQ" }] }],
            }),
            "ping -c1 127.0.0.1 2>&1; echo ping $?",
        ),
        filter(
            "a system call that nobody knows",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
            }),
            "mkdir /x; echo mkdir $?",
        ),
        case("a filter without no_new_privs", {
            let profile = denied("SCMP_ACT_ERRNO");
            move |c| {
                c["linux"]["seccomp"] = profile.clone();
                c["process"]["noNewPrivileges"] = json!(false);
            }
        }),
    ]
}
