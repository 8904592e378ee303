//! Bundles that are no good.

use serde_json::{Value, json};

use crate::case::{Case, case, lines};

fn refused(name: &'static str, pointer: &'static str, value: Value) -> Case {
    case(name, move |c| {
        if let Some(there) = c.pointer_mut(pointer) {
            *there = value.clone();
        } else {
            c[&pointer[1..]] = value.clone();
        }
    })
    .lines(&["create --pid-file {D}/pid --bundle {B} {ID}", "state {ID}"])
}

fn spoilt(name: &'static str, script: &'static str) -> Case {
    lines(name, &["create --bundle {B} {ID}", "state {ID}"]).prepare(script)
}

pub fn cases() -> Vec<Case> {
    vec![
        lines("no bundle", &["create --bundle /nonexistent {ID}", "state {ID}"]),
        lines("a bundle that is a file", &["create --bundle /etc/passwd {ID}", "state {ID}"]),
        spoilt("no config.json", "rm {B}/config.json"),
        spoilt("an empty config.json", ": > {B}/config.json"),
        spoilt("half a config.json", "head -c 300 {B}/config.json > x; cat x > {B}/config.json"),
        spoilt("a config.json that is a list", "echo '[]' > {B}/config.json"),
        spoilt("a config.json that is a directory", "rm {B}/config.json; mkdir {B}/config.json"),
        spoilt("an empty object", "echo '{}' > {B}/config.json"),
        refused("no arguments", "/process/args", json!([])),
        refused("arguments that are no list", "/process/args", json!("sh"))
            .alone("create error", "refused by name before it is tried"),
        refused("an empty argument", "/process/args", json!([""]))
            .alone("create error", "refused by name before it is tried"),
        refused("a program that is not there", "/process/args", json!(["/nonexistent"])),
        refused("a program by name that is not there", "/process/args", json!(["nonexistent"])),
        refused("a program that cannot be executed", "/process/args", json!(["/etc/passwd"])),
        refused("a program that is a directory", "/process/args", json!(["/etc"])),
        refused("a relative working directory", "/process/cwd", json!("relative")),
        refused("no working directory", "/process/cwd", json!("")),
        refused("a working directory that is a file", "/process/cwd", json!("/etc/passwd")),
        refused("no process", "/process", Value::Null),
        refused("no root", "/root", Value::Null),
        refused("no linux part", "/linux", Value::Null),
        refused("a version of another major", "/ociVersion", json!("2.0.0"))
            .like_crun("create exit", "what a runtime does not know it refuses (config.md, ociVersion)")
            .like_crun("create error", "what a runtime does not know it refuses (config.md, ociVersion)")
            .like_crun("state exit", "what a runtime does not know it refuses (config.md, ociVersion)")
            .like_crun("state error", "what a runtime does not know it refuses (config.md, ociVersion)"),
        refused("no version", "/ociVersion", json!(""))
            .like_crun("create exit", "what a runtime does not know it refuses (config.md, ociVersion)")
            .like_crun("create error", "what a runtime does not know it refuses (config.md, ociVersion)")
            .like_crun("state exit", "what a runtime does not know it refuses (config.md, ociVersion)")
            .like_crun("state error", "what a runtime does not know it refuses (config.md, ociVersion)"),
        refused("an unknown limit", "/process/rlimits", json!([{ "type": "RLIMIT_FUN", "soft": 1, "hard": 1 }])),
        refused(
            "a limit twice",
            "/process/rlimits",
            json!([
                { "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }, { "type": "RLIMIT_CORE", "soft": 2, "hard": 2 },
            ]),
        )
        .alone("create error", "refused by name before it is tried"),
        refused(
            "a soft limit above the hard one",
            "/process/rlimits",
            json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]),
        ),
        refused(
            "a limit above what there is",
            "/process/rlimits",
            json!([{ "type": "RLIMIT_NOFILE", "soft": 1_u64 << 40, "hard": 1_u64 << 40 }]),
        ),
        refused("a variable without a value", "/process/env", json!(["NOVALUE"])),
        refused("a mount without a destination", "/mounts/0", json!({ "type": "proc", "source": "proc" }))
            .alone("create error", "refused by name before it is tried"),
        // Deprecated (config.md, mounts), and taken as below the root.
        refused(
            "a relative destination",
            "/mounts/0",
            json!({ "destination": "proc", "type": "proc", "source": "proc" }),
        ),
        refused("a terminal without a socket", "/process/terminal", json!(true)),
        refused("a hostname that is too long", "/hostname", json!("x".repeat(80))),
        refused("an OOM score out of range", "/process/oomScoreAdj", json!(2000)),
        refused("a key that nobody knows", "/nonsense", json!({ "a": 1 })),
        refused("an annotation that is no text", "/annotations", json!({ "a": 1 })),
    ]
}
