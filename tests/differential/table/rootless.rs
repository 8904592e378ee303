//! Without root. runc alone is the measure: crun would need a mount namespace that only root can make here.

use serde_json::json;

use super::{also, program, sleeper};
use crate::case::{Case, case};

pub fn cases() -> Vec<Case> {
    vec![
        super::default(),
        program("an exit code", &["/bin/sh", "-c", "exit 7"]),
        program("a program that is not there", &["/nonexistent"]),
        case("a read-only root", |c| c["root"]["readonly"] = json!(true)),
        case("a bind", |c| {
            let bind = json!({ "destination": "/v", "source": "{D}", "type": "bind", "options": ["rbind", "ro"] });
            c["mounts"].as_array_mut().unwrap().push(bind);
        }),
        case("a tmpfs", |c| {
            let tmpfs = json!({ "destination": "/t", "source": "tmpfs", "type": "tmpfs", "options": ["size=1024k", "mode=711"] });
            c["mounts"].as_array_mut().unwrap().push(tmpfs);
        }),
        case("a limit of open files", |c| {
            c["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
        }),
        case("a user that is not mapped", |c| c["process"]["user"] = json!({ "uid": 5, "gid": 5 })),
        case("groups that cannot be set", |c| c["process"]["user"]["additionalGids"] = json!([5])),
        case("a filter", |c| {
            c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }] });
            also(c, "mkdir /x; echo mkdir $?");
        }),
        sleeper("a life").lines(&[
            "run --detach --pid-file {D}/pid --bundle {B} {ID}",
            "state {ID}",
            "exec {ID} /bin/sh -c {PROBE}",
            "list -q",
            "kill {ID} KILL",
            "@wait",
            "state {ID}",
            "delete {ID}",
            "state {ID}",
        ]),
    ]
}
