//! Namespaces made, joined and left out, and what belongs to them.

use serde_json::{Value, json};

use super::{also, without};
use crate::case::{Case, case};

fn namespace(name: &'static str, value: Value) -> Case {
    case(name, move |c| {
        without(c, value["type"].as_str().unwrap());
        c["linux"]["namespaces"].as_array_mut().unwrap().push(value.clone());
    })
}

fn sysctl(name: &'static str, key: &'static str, value: &'static str) -> Case {
    case(name, move |c| c["linux"]["sysctl"] = json!({ key: value }))
}

fn propagation(name: &'static str, value: &'static str) -> Case {
    case(name, move |c| c["linux"]["rootfsPropagation"] = json!(value))
}

/// The owner of the root file system is the host's root, who is uid 0 of this map too.
fn user_namespace(c: &mut Value, maps: &Value) {
    c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    c["linux"]["uidMappings"] = maps.clone();
    c["linux"]["gidMappings"] = maps.clone();
}

pub fn cases() -> Vec<Case> {
    vec![
        case("the host's pid namespace", |c| without(c, "pid")),
        case("the host's network", |c| without(c, "network")),
        case("the host's network with a sysfs of its own", |c| {
            without(c, "network");
            c["mounts"][5]["options"] = json!(["ro"]);
        }),
        case("the host's ipc namespace", |c| {
            without(c, "ipc");
            c["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "mqueue");
        }),
        case("the host's uts namespace", |c| {
            without(c, "uts");
            c["hostname"] = Value::Null;
        }),
        case("a hostname without a uts namespace", |c| without(c, "uts")),
        namespace("a cgroup namespace", json!({ "type": "cgroup" }))
            .alone("mounts /sys/fs/cgroup/systemd", "only the name of the source"),
        namespace("a network by its path", json!({ "type": "network", "path": "/proc/{TEST}/ns/net" })),
        namespace("an ipc namespace by its path", json!({ "type": "ipc", "path": "/proc/{TEST}/ns/ipc" })),
        namespace("a pid namespace by its path", json!({ "type": "pid", "path": "/proc/{TEST}/ns/pid" })),
        namespace("a cgroup namespace by its path", json!({ "type": "cgroup", "path": "/proc/{TEST}/ns/cgroup" }))
            .alone(
                "mounts /sys/fs/cgroup/*",
                "a container sees its own group also where the namespace is another's, and not all of the host's",
            ),
        namespace("a path of another type", json!({ "type": "network", "path": "/proc/{TEST}/ns/uts" })),
        namespace("a path that is no namespace", json!({ "type": "network", "path": "/etc/passwd" })),
        namespace("a path that is not there", json!({ "type": "network", "path": "/nonexistent" })),
        namespace("an unknown type", json!({ "type": "nonsense" })),
        case("a namespace twice", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "pid" }));
        }),
        case("a user namespace", |c| {
            user_namespace(c, &json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]));
        }),
        case("a user namespace of several ranges", |c| {
            let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1 }, { "containerID": 1, "hostID": 100_000, "size": 1000 }]);
            user_namespace(c, &maps);
            c["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [9] });
        }),
        case("a user that is not mapped", |c| {
            user_namespace(c, &json!([{ "containerID": 0, "hostID": 0, "size": 10 }]));
            c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        }),
        case("mappings without a user namespace", |c| {
            c["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
        })
        .alone("run exit", "mappings for which there is no namespace are a mistake")
        .alone("run error", "mappings for which there is no namespace are a mistake"),
        case("a hostname", |c| c["hostname"] = json!("other.example")),
        case("no hostname", |c| c["hostname"] = json!("")),
        sysctl("a sysctl of the network", "net.ipv4.ip_forward", "1"),
        sysctl("a sysctl of the network with slashes", "net/ipv4/ip_unprivileged_port_start", "80"),
        sysctl("a sysctl of ipc", "kernel.msgmax", "4096"),
        sysctl("a sysctl of message queues", "fs.mqueue.msg_max", "20"),
        sysctl("a sysctl of several words", "net.ipv4.ping_group_range", "0 1000"),
        sysctl("a sysctl of the host", "vm.swappiness", "10"),
        sysctl("a sysctl that is not there", "net.ipv4.nonsense", "1"),
        sysctl("a sysctl with a bad value", "kernel.msgmax", "many"),
        sysctl("the hostname by a sysctl", "kernel.hostname", "other"),
        sysctl("the domainname by a sysctl", "kernel.domainname", "other.example"),
        case("a sysctl of a network that is the host's", |c| {
            without(c, "network");
            c["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        }),
        propagation("a private root", "private"),
        propagation("a slave root", "slave"),
        propagation("a shared root", "shared").like_crun("mounts /", "it was asked for"),
        propagation("an unbindable root", "unbindable")
            .like_crun("run exit", "it is one of the four that the specification has")
            .like_crun("run error", "it is one of the four that the specification has"),
        propagation("a recursively private root", "rprivate"),
        propagation("an unknown propagation", "nonsense"),
        case("the loopback interface is up", |c| also(c, "ping -c 1 -w 2 127.0.0.1 > /dev/null 2>&1; echo ping $?")),
    ]
}
