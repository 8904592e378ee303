//! `linux.resources`: what the container may use.

use serde_json::Value;

use super::Check;

impl<'a> Check<'a> {
    pub(super) fn resources(&mut self) {
        self.device_rules();
        self.block_io();
        self.huge_pages();
        self.network_priorities();
        self.rdma();
        self.idle();
    }

    fn device_rules(&mut self) {
        for (index, rule) in self.list("linux.resources.devices").iter().enumerate() {
            let field = format!("linux.resources.devices[{index}]");
            let kind = rule["type"].as_str().unwrap_or("a");
            if !["a", "b", "c", "u"].contains(&kind) {
                self.problem(&format!("{field}.type"), format!("unknown device type {kind:?}, use a, b or c"));
            }
            let access = rule["access"].as_str().unwrap_or("");
            if !access.chars().all(|letter| "rwm".contains(letter)) {
                self.problem(&format!("{field}.access"), format!("{access:?} is not made of r, w and m"));
            }
            for number in ["major", "minor"] {
                if let Some(value) = rule[number].as_i64()
                    && value != -1
                    && u32::try_from(value).is_err()
                {
                    self.problem(&format!("{field}.{number}"), format!("{value} is out of range"));
                }
            }
        }
    }

    /// config-linux.md "Block IO": weights are from 10 to 1000, and 0 stands for none.
    fn block_io(&mut self) {
        const BLOCK_IO: &str = "linux.resources.blockIO";
        let devices = |field: &str| (format!("{BLOCK_IO}.{field}"), self.list(&format!("{BLOCK_IO}.{field}")));
        let (weights, of_devices) = devices("weightDevice");
        let throttles =
            ["ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"].map(|what| devices(&format!("throttle{what}Device")));
        let entries = |(field, list): (String, &'a [Value])| {
            list.iter().enumerate().map(move |(index, entry)| (format!("{field}[{index}]"), entry)).collect::<Vec<_>>()
        };
        let weighted = entries((weights, of_devices));
        for (field, _) in
            weighted.iter().filter(|(_, entry)| entry["weight"].is_null() && entry["leafWeight"].is_null())
        {
            self.problem(field, "weighs nothing: give weight");
        }
        for (field, entry) in
            weighted.iter().map(|(field, entry)| (field.as_str(), *entry)).chain([(BLOCK_IO, self.get(BLOCK_IO))])
        {
            match entry["weight"].as_u64() {
                Some(weight) if weight != 0 && !(10..=1000).contains(&weight) => {
                    self.problem(&format!("{field}.weight"), format!("{weight} is not within 10 to 1000"));
                }
                _ => {}
            }
            if entry["leafWeight"].as_u64().is_some_and(|weight| weight != 0) {
                self.problem(&format!("{field}.leafWeight"), "kernels since 5.0 have no such setting; remove it");
            }
        }
        let throttled: Vec<_> = throttles.into_iter().flat_map(entries).collect();
        for (field, device) in &throttled {
            self.numbers(field, device, &["rate"]);
        }
        for (field, device) in weighted.iter().chain(&throttled) {
            for number in ["major", "minor"] {
                match device[number].as_i64().map(u32::try_from) {
                    Some(Ok(_)) => {}
                    _ => self.problem(&format!("{field}.{number}"), format!("{} is no device number", device[number])),
                }
            }
        }
    }

    fn huge_pages(&mut self) {
        for (index, limit) in self.list("linux.resources.hugepageLimits").iter().enumerate() {
            let size = limit["pageSize"].as_str().unwrap_or("");
            let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
            if number.and_then(|number| number.parse::<u32>().ok()).is_none() {
                let field = format!("linux.resources.hugepageLimits[{index}].pageSize");
                self.problem(&field, format!("{size:?} is not a size like 64KB, 2MB or 1GB"));
            }
            let field = format!("linux.resources.hugepageLimits[{index}]");
            self.numbers(&field, limit, &["limit"]);
            if limit["limit"].as_i64().is_some_and(|limit| limit < 0) {
                self.problem(&format!("{field}.limit"), format!("{} is no number of bytes", limit["limit"]));
            }
        }
    }

    fn network_priorities(&mut self) {
        for (index, interface) in self.list("linux.resources.network.priorities").iter().enumerate() {
            self.numbers(&format!("linux.resources.network.priorities[{index}]"), interface, &["priority"]);
            if !interface["name"].as_str().is_some_and(is_name) {
                let field = format!("linux.resources.network.priorities[{index}].name");
                self.problem(&field, format!("{} is not the name of an interface", interface["name"]));
            }
        }
    }

    fn rdma(&mut self) {
        for (device, limit) in self.get("linux.resources.rdma").as_object().into_iter().flatten() {
            let field = format!("linux.resources.rdma.{}", device.escape_debug());
            if !is_name(device) {
                self.problem(&field, "not the name of an RDMA device");
            } else if ["hcaHandles", "hcaObjects"].iter().all(|kind| limit[kind].is_null()) {
                self.problem(&field, "limits nothing: give hcaHandles or hcaObjects");
            }
        }
    }

    fn idle(&mut self) {
        if let Some(idle) = self.get("linux.resources.cpu.idle").as_i64()
            && ![0, 1].contains(&idle)
        {
            self.problem("linux.resources.cpu.idle", format!("{idle} is neither 0 nor 1"));
        }
    }
}

/// Whether it can be the name of a device or an interface: no path, and one word in the files of the control group.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '/')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::each_is_refused;

    #[test]
    fn bad_limits_are_refused_with_their_field() {
        each_is_refused([
            (
                "/linux/resources/devices",
                json!([{"allow": true, "access": "rx"}]),
                "linux.resources.devices[0].access: \"rx\" is not made of r, w and m",
            ),
            (
                "/linux/resources/devices",
                json!([{"allow": false}, {"allow": true, "type": "p", "access": "rwm"}]),
                "linux.resources.devices[1].type: unknown device type \"p\"",
            ),
            (
                "/linux/resources/devices",
                json!([{"allow": true, "type": "", "access": "r"}]),
                "linux.resources.devices[0].type: unknown device type \"\"",
            ),
            (
                "/linux/resources/devices",
                json!([{"allow": true, "type": "c", "major": -2}]),
                "linux.resources.devices[0].major: -2 is out of range",
            ),
            (
                "/linux/resources/blockIO",
                json!({"weight": 9}),
                "linux.resources.blockIO.weight: 9 is not within 10 to 1000",
            ),
            (
                "/linux/resources/blockIO",
                json!({"leafWeight": 10}),
                "linux.resources.blockIO.leafWeight: kernels since 5.0 have no such setting",
            ),
            (
                "/linux/resources/blockIO",
                json!({"weightDevice": [{"major": 8, "minor": 0, "weight": 1001}]}),
                "linux.resources.blockIO.weightDevice[0].weight: 1001 is not within 10 to 1000",
            ),
            (
                "/linux/resources/blockIO",
                json!({"throttleReadIOPSDevice": [{"major": -1, "minor": 0, "rate": 5}]}),
                "linux.resources.blockIO.throttleReadIOPSDevice[0].major: -1 is no device number",
            ),
            (
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB/../x", "limit": 5}]),
                "linux.resources.hugepageLimits[0].pageSize: \"2MB/../x\" is not a size",
            ),
            (
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB"}]),
                "linux.resources.hugepageLimits[0].limit: missing",
            ),
            (
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB", "limit": -1}]),
                "linux.resources.hugepageLimits[0].limit: -1 is no number of bytes",
            ),
            (
                "/linux/resources/blockIO",
                json!({"throttleReadIOPSDevice": [{"major": 8, "minor": 0}]}),
                "linux.resources.blockIO.throttleReadIOPSDevice[0].rate: missing",
            ),
            (
                "/linux/resources/blockIO",
                json!({"weightDevice": [{"major": 8, "minor": 0}]}),
                "linux.resources.blockIO.weightDevice[0]: weighs nothing",
            ),
            (
                "/linux/resources/network",
                json!({"priorities": [{"name": "eth0"}]}),
                "linux.resources.network.priorities[0].priority: missing",
            ),
            (
                "/linux/resources/network",
                json!({"priorities": [{"name": "a b", "priority": 1}]}),
                "linux.resources.network.priorities[0].name: \"a b\" is not the name",
            ),
            ("/linux/resources/rdma", json!({"mlx5_1": {}}), "linux.resources.rdma.mlx5_1: limits nothing"),
            ("/linux/resources/cpu", json!({"idle": 2}), "linux.resources.cpu.idle: 2 is neither 0 nor 1"),
        ]);
    }
}
