//! Control groups: where they are, and the limits as the host sees them.

use serde_json::{Value, json};

use crate::case::{Case, case};

const LINES: [&str; 3] = ["create --pid-file {D}/pid --bundle {B} {ID}", "@cgroup", "delete --force {ID}"];

fn limits(name: &'static str, field: &'static str, value: Value) -> Case {
    case(name, move |c| c["linux"]["resources"][field] = value.clone()).lines(&LINES)
}

fn path(name: &'static str, path: &'static str) -> Case {
    case(name, move |c| c["linux"]["cgroupsPath"] = json!(path)).lines(&LINES)
}

fn update(name: &'static str, line: &str) -> Case {
    case(name, |c| {
        c["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        c["linux"]["resources"]["cpu"] = json!({ "quota": 50_000, "period": 100_000, "shares": 512 });
        c["linux"]["resources"]["pids"] = json!({ "limit": 100 });
    })
    .lines(&["create --pid-file {D}/pid --bundle {B} {ID}", line, "@cgroup", "delete --force {ID}"])
}

pub fn cases() -> Vec<Case> {
    const MIB: i64 = 1 << 20;
    vec![
        case("no limits", |_| ()).lines(&LINES),
        case("no resources at all", |c| c["linux"]["resources"] = Value::Null).lines(&LINES),
        path("an absolute path", "/df-parent/{ID}"),
        path("a relative path", "df-parent/{ID}"),
        path("a path with dots", "/../../df-parent/{ID}")
            .like_crun("create exit", "a path that leaves the hierarchy is refused, not bent")
            .alone("create error", "a path that leaves the hierarchy is refused, not bent"),
        limits("a limit of memory", "memory", json!({ "limit": 64 * MIB })),
        limits("a limit of memory and swap", "memory", json!({ "limit": 64 * MIB, "swap": 128 * MIB })),
        limits("memory without a limit", "memory", json!({ "limit": -1 })),
        limits("a reservation of memory", "memory", json!({ "reservation": 32 * MIB })),
        limits("swappiness", "memory", json!({ "limit": 64 * MIB, "swappiness": 10 })),
        limits("no OOM killer", "memory", json!({ "limit": 64 * MIB, "disableOOMKiller": true })),
        limits("a limit below what is used", "memory", json!({ "limit": 1024 })),
        limits("shares of the CPU", "cpu", json!({ "shares": 512 })),
        limits("a quota of the CPU", "cpu", json!({ "quota": 20_000, "period": 50_000 })),
        limits("a quota alone", "cpu", json!({ "quota": 20_000 })),
        limits("a period alone", "cpu", json!({ "period": 50_000 })),
        limits("a CPU", "cpu", json!({ "cpus": "0", "mems": "0" })),
        limits("a CPU that is not there", "cpu", json!({ "cpus": "4000" }))
            .like_crun("create error", "runc's words speak of a file that is missing"),
        limits("shares that are too few", "cpu", json!({ "shares": 1 }))
            .like_crun("create exit", "the kernel takes 1 for 2, the fewest there are")
            .like_crun("create error", "the kernel takes 1 for 2, the fewest there are"),
        limits("a limit of processes", "pids", json!({ "limit": 100 })),
        limits("processes without a limit", "pids", json!({ "limit": -1 })),
        // Of a configuration before version 1.3, in which 0 is none.
        limits("a limit of 0 processes", "pids", json!({ "limit": 0 })),
        update("update of memory", "update --memory 32m {ID}"),
        update("update of memory and swap", "update --memory 32m --memory-swap 64m {ID}"),
        update("update of the CPU", "update --cpu-share 256 --cpu-period 20000 --cpu-quota 10000 {ID}"),
        update("update of the quota alone", "update --cpu-quota 10000 {ID}"),
        update("update of processes", "update --pids-limit 20 {ID}"),
        update("update of the cpuset", "update --cpuset-cpus 0 --cpuset-mems 0 {ID}"),
        update("update by a file", "update --resources {D}/new.json {ID}").prepare(
            r#"echo '{"memory": {"limit": 33554432}, "pids": {"limit": 7}, "cpu": {"shares": 2048}}' > new.json"#,
        ),
        update("update by a file that is no JSON", "update --resources {D}/new.json {ID}")
            .prepare("echo '{' > new.json"),
        update("update by a file that is not there", "update --resources {D}/new.json {ID}"),
        update("update of nothing", "update {ID}")
            .alone("update exit", "an update that asks for nothing is a mistake")
            .alone("update error", "an update that asks for nothing is a mistake"),
        update("update to nonsense", "update --memory much {ID}")
            .alone("update error", "told as a mistake of the command line"),
        update("pause, as the control groups tell it", "pause {ID}").alone(
            "cgroup freezer freezer.state",
            "on a hybrid host the freezer of version 2 is used: it freezes at once",
        ),
    ]
}
