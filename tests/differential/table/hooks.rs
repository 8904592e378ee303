//! OCI hooks.

use serde_json::{Value, json};

use crate::case::{Case, case};

const CREATE: &str = "create --pid-file {D}/pid --bundle {B} {ID}";
const LOG: &str = "@sh cat {D}/log {R}{D}/log 2> /dev/null";

/// Appends to `log` which hook it is, what the state's status is and whether it sees the host's files.
fn hook(name: &str) -> Value {
    let script = format!(
        "state=$(cat); case $state in *'\"status\":\"'*|*'\"status\": \"'*) s=${{state#*\\\"status\\\":}}; s=${{s%%,*}};; esac; \
         [ -e {{B}} ] && at=outside || at=inside; \
         echo {name} $s $at \"$0 $*\" \"X=$X\" \"$(env | grep -c .)\" >> {{D}}/log"
    );
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"], "env": ["X=given"] })
}

fn one(name: &'static str, kind: &'static str) -> Case {
    case(name, move |c| c["hooks"] = json!({ kind: [hook(kind)] })).lines(&[
        CREATE,
        LOG,
        "start {ID}",
        "@wait",
        LOG,
        "delete {ID}",
        LOG,
    ])
}

fn failing(name: &'static str, kind: &'static str, hook: Value) -> Case {
    case(name, move |c| {
        c["hooks"] = json!({ "poststop": [self::hook("poststop")] });
        c["hooks"][kind] = json!([hook]);
        c["process"]["args"] = json!(["/bin/sleep", "100"]);
    })
    .lines(&[
        "run --detach --pid-file {D}/pid --bundle {B} {ID}",
        LOG,
        "state {ID}",
        "delete --force {ID}",
        LOG,
        "state {ID}",
    ])
}

/// The same by `create`.
fn failing_create(name: &'static str, kind: &'static str) -> Case {
    failing(name, kind, json!({ "path": "/bin/false" })).lines(&[CREATE, LOG, "state {ID}"])
}

pub fn cases() -> Vec<Case> {
    let fails = || json!({ "path": "/bin/false" });
    let missing = || json!({ "path": "/nonexistent/hook" });
    let hangs = || json!({ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 });
    vec![
        one("a prestart hook", "prestart"),
        one("a createRuntime hook", "createRuntime"),
        one("a createContainer hook", "createContainer").prepare("mkdir -p {R}{D}"),
        one("a startContainer hook", "startContainer").prepare("mkdir -p {R}{D}"),
        one("a poststart hook", "poststart")
            .like_crun("sh", "it is called after the program was executed (config.md, poststart), not by create")
            .alone("sh#2", "the status is running")
            .alone("sh#3", "the status is running"),
        one("a poststop hook", "poststop"),
        case("hooks in their order", |c| {
            let kinds = ["poststop", "poststart", "createRuntime", "prestart"];
            c["hooks"] = json!({});
            for kind in kinds {
                c["hooks"][kind] = json!([hook(kind), hook("second")]);
            }
        })
        .lines(&[CREATE, LOG, "start {ID}", "@wait", LOG, "delete {ID}", LOG])
        .alone("sh*", "poststart is called after the program was executed, with the status running"),
        failing("a prestart hook that fails", "prestart", fails()),
        failing("a createRuntime hook that fails", "createRuntime", fails()),
        failing("a createContainer hook that fails", "createContainer", fails()),
        failing("a startContainer hook that fails", "startContainer", fails())
            .alone(
                "run exit",
                "a container whose startContainer hook fails is never running (config.md, startContainer)",
            )
            .alone(
                "run error",
                "a container whose startContainer hook fails is never running (config.md, startContainer)",
            )
            .alone(
                "state exit",
                "a container whose startContainer hook fails is never running (config.md, startContainer)",
            )
            .alone(
                "state error",
                "a container whose startContainer hook fails is never running (config.md, startContainer)",
            ),
        failing("a poststart hook that fails", "poststart", fails()),
        failing_create("a prestart hook that fails in create", "prestart"),
        failing_create("a createRuntime hook that fails in create", "createRuntime"),
        failing_create("a createContainer hook that fails in create", "createContainer"),
        case("a poststop hook of a container without its program", |c| {
            c["hooks"] = json!({ "poststop": [hook("poststop")] });
            c["process"]["args"] = json!(["/nonexistent"]);
        })
        .lines(&[CREATE, LOG, "state {ID}"]),
        failing("a poststop hook that fails", "poststop", fails()),
        failing("a hook that is not there", "createRuntime", missing()),
        failing("a hook that takes too long", "createRuntime", hangs()),
        failing("a hook with a relative path", "createRuntime", json!({ "path": "bin/true" }))
            .alone("run error", "refused by name before anything is made")
            .like_crun("sh*", "refused by name before anything is made"),
        failing("a hook in other letters", "createRunTime", fails()),
        failing("an unknown hook", "beforehand", fails()),
        failing("a hook without arguments", "createRuntime", json!({ "path": "/bin/true" })),
    ]
}
