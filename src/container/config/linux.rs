//! Fields of `linux` that every process of the container lives under.

use std::collections::HashSet;

use super::{Check, given};
use crate::linux::bits::Bits;

pub(in crate::container) const MEMORY_MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
];
pub(in crate::container) const MEMORY_FLAGS: [&str; 3] =
    ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];
const PERSONALITIES: [&str; 2] = ["LINUX", "LINUX32"];

impl Check<'_> {
    pub(super) fn nature(&mut self) {
        self.personality();
        self.memory_policy();
        self.net_devices();
        self.intel_rdt();
    }

    fn personality(&mut self) {
        if !self.get("linux.personality").is_object() {
            return;
        }
        self.one_of("linux.personality.domain", &PERSONALITIES);
        if given(self.get("linux.personality.flags")) {
            self.problem("linux.personality.flags", "the specification knows none; remove them");
        }
    }

    fn memory_policy(&mut self) {
        if !self.get("linux.memoryPolicy").is_object() {
            return;
        }
        self.one_of("linux.memoryPolicy.mode", &MEMORY_MODES);
        self.all_of("linux.memoryPolicy.flags", &MEMORY_FLAGS);
        let mode = self.text("linux.memoryPolicy.mode");
        let field = "linux.memoryPolicy.nodes";
        let none = match self.text(field).parse::<Bits>() {
            Ok(nodes) => nodes.is_empty(),
            Err(error) => return self.problem(field, error),
        };
        match mode {
            "MPOL_DEFAULT" | "MPOL_LOCAL" if !none => {
                self.problem(field, format!("{mode} takes no nodes; remove them"))
            }
            "MPOL_BIND" | "MPOL_INTERLEAVE" | "MPOL_WEIGHTED_INTERLEAVE" | "MPOL_PREFERRED_MANY" if none => {
                self.problem(field, format!("missing or empty: {mode} needs at least one node such as \"0\""));
            }
            _ => {}
        }
    }

    fn net_devices(&mut self) {
        let Some(devices) = self.get("linux.netDevices").as_object().filter(|devices| !devices.is_empty()) else {
            return;
        };
        if !self.has_namespace("network") {
            self.problem("linux.netDevices", "would stay on the host; add a network namespace or remove them");
        }
        let mut seen = HashSet::new();
        for (host, device) in devices {
            let field = format!("linux.netDevices.{}", host.escape_debug());
            let name = device["name"].as_str().filter(|name| !name.is_empty()).unwrap_or(host);
            if !is_device_name(host) {
                self.problem(&field, "not a name of a network device");
            }
            if name != host && !is_device_name(name) {
                self.problem(&format!("{field}.name"), format!("{name:?} is not a name of a network device"));
            }
            if !seen.insert(name) {
                self.problem(&field, format!("another device is called {name:?} in the container, too"));
            }
        }
    }

    fn intel_rdt(&mut self) {
        let id = self.text("linux.intelRdt.closID");
        if id != "/" && (id.contains(['/', '\n']) || [".", "..", "info", "mon_groups", "mon_data"].contains(&id)) {
            self.problem("linux.intelRdt.closID", format!("{id:?} is not a name of a group"));
        }
        let bandwidth = self.text("linux.intelRdt.memBwSchema");
        if !bandwidth.is_empty() && (!bandwidth.starts_with("MB:") || bandwidth.trim_end().contains('\n')) {
            self.problem("linux.intelRdt.memBwSchema", format!("{bandwidth:?} is not one line that begins with MB:"));
        }
    }
}

/// As the kernel has it (dev_valid_name), and without what it takes for a pattern that it makes a name of (`eth%d`).
fn is_device_name(name: &str) -> bool {
    let legal = |c: char| !"/:%".contains(c) && !c.is_whitespace();
    (1..16).contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{refused, with};

    #[test]
    fn every_memory_policy_that_features_tell_of_is_accepted() {
        for mode in super::MEMORY_MODES {
            let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) { "" } else { "0" };
            let policy = json!({"mode": mode, "nodes": nodes, "flags": super::MEMORY_FLAGS});
            with("/linux/memoryPolicy", policy).unwrap_or_else(|error| panic!("{mode}: {error:#}"));
        }
    }

    #[test]
    fn what_every_process_would_live_under_is_refused_by_its_field() {
        for (pointer, value, words) in [
            ("/linux/memoryPolicy", json!({}), "linux.memoryPolicy.mode: missing or empty: use one of MPOL_DEFAULT"),
            ("/linux/memoryPolicy", json!({"mode": "MPOL_X"}), "linux.memoryPolicy.mode: unknown value \"MPOL_X\""),
            (
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_BIND"}),
                "linux.memoryPolicy.nodes: missing or empty: MPOL_BIND",
            ),
            (
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_BIND", "nodes": "a"}),
                "linux.memoryPolicy.nodes: \"a\" is not",
            ),
            (
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
                "linux.memoryPolicy.nodes: MPOL_LOCAL takes",
            ),
            (
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}),
                "linux.memoryPolicy.flags[0]: unknown value \"MPOL_F_X\"",
            ),
            ("/linux/personality", json!({}), "linux.personality.domain: missing"),
            ("/linux/personality", json!({"domain": "BSD"}), "linux.personality.domain: unknown value \"BSD\""),
            (
                "/linux/personality",
                json!({"domain": "LINUX", "flags": ["X"]}),
                "linux.personality.flags: the specification",
            ),
            ("/linux/netDevices", json!({"a/b": {}}), "linux.netDevices.a/b: not a name of a network device"),
            ("/linux/netDevices", json!({"a": {"name": "sixteen-letters-"}}), "linux.netDevices.a.name: \"sixteen"),
            ("/linux/netDevices", json!({"a": {}, "b": {"name": "a"}}), "linux.netDevices.b: another device is called"),
            ("/linux/intelRdt", json!({"closID": "../x"}), "linux.intelRdt.closID: \"../x\" is not a name"),
            ("/linux/intelRdt", json!({"memBwSchema": "L3:0=1"}), "linux.intelRdt.memBwSchema: \"L3:0=1\" is not one"),
        ] {
            let error = refused(pointer, value);
            assert!(error.lines().any(|line| line.trim_start().starts_with(words)), "{error}");
        }
    }
}
