//! From `linux.resources` of a config to the values that the kernel's files take (runtime-spec config-linux.md;
//! kernel documentation admin-guide/cgroup-v1 and cgroup-v2.rst). Pure: what is set now is asked of a function.

use std::fmt;

use anyhow::{Result, bail, ensure};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::layout::Version;

/// One value for one file of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub controller: String,
    pub file: String,
    pub value: String,
    /// What to do when the file is not there, though its controller is.
    pub if_missing: IfMissing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMissing {
    Fail,
    /// The value is what a kernel without the feature does anyway.
    Skip,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} to {}", self.file, self.value)
    }
}

/// What a file of the container's cgroup says now; `None` when there is no such file.
pub(super) type Current<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The settings of `resources` in the order in which the kernel accepts them. Device rules are not among them.
pub(super) fn settings(version: Version, resources: &LinuxResources, current: Current) -> Result<Vec<Setting>> {
    let mut list = List { version, settings: Vec::new() };
    if let Some(pids) = resources.pids() {
        list.add("pids", "pids.max", pids_max(pids.limit()));
    }
    if let Some(memory) = resources.memory() {
        match version {
            Version::V1 => memory_v1(&mut list, memory, current)?,
            Version::V2 => memory_v2(&mut list, memory, current)?,
        }
    }
    if let Some(cpu) = resources.cpu() {
        match version {
            Version::V1 => cpu_v1(&mut list, cpu, current),
            Version::V2 => cpu_v2(&mut list, cpu, current)?,
        }
        list.add_text("cpuset", "cpuset.cpus", cpu.cpus());
        list.add_text("cpuset", "cpuset.mems", cpu.mems());
    }
    if let Some(block_io) = resources.block_io() {
        block(&mut list, block_io, current)?;
    }
    others(&mut list, resources, current)?;
    Ok(list.settings)
}

struct List {
    version: Version,
    settings: Vec<Setting>,
}

impl List {
    fn add(&mut self, controller: &str, file: &str, value: impl ToString) {
        self.settings.push(Setting {
            controller: controller.to_owned(),
            file: file.to_owned(),
            value: value.to_string(),
            if_missing: IfMissing::Fail,
        });
    }

    fn add_optional(&mut self, controller: &str, file: &str, value: impl ToString) {
        self.add(controller, file, value);
        self.settings.last_mut().expect("one was just added").if_missing = IfMissing::Skip;
    }

    /// Adds a text unless it is absent or empty, which both mean "leave it".
    fn add_text(&mut self, controller: &str, file: &str, value: &Option<String>) {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            self.add(controller, file, value);
        }
    }
}

/// runtime-spec: -1 is unlimited and 0 is a limit. A container that exists has one process, so 1 is the lowest limit
/// that means something (runc writes 1, too).
fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        0 => "1".to_owned(),
        limit => limit.to_string(),
    }
}

fn memory_v1(list: &mut List, memory: &LinuxMemory, current: Current) -> Result<()> {
    // The kernel wants limit <= memsw at every moment, so the order depends on which way the pair moves.
    let limit = set_value(memory.limit());
    let swap = set_value(memory.swap());
    let now = |file| current(file).and_then(|text| text.trim().parse::<u64>().ok());
    let swap_first = match (limit, swap) {
        (Some(_), Some(swap)) => swap < 0 || now("memory.limit_in_bytes").is_some_and(|limit| limit < swap as u64),
        _ => false,
    };
    if let (Some(swap), true) = (swap, swap_first) {
        list.add("memory", "memory.memsw.limit_in_bytes", swap);
    }
    if let Some(limit) = limit {
        list.add("memory", "memory.limit_in_bytes", limit);
    }
    if let (Some(swap), false) = (swap, swap_first) {
        list.add("memory", "memory.memsw.limit_in_bytes", swap);
    }
    if let Some(reservation) = set_value(memory.reservation()) {
        list.add("memory", "memory.soft_limit_in_bytes", reservation);
    }
    // `kernel` is not set: kernels since 5.16 refuse it and runtime-spec calls it deprecated.
    if let Some(kernel_tcp) = set_value(memory.kernel_tcp()) {
        list.add("memory", "memory.kmem.tcp.limit_in_bytes", kernel_tcp);
    }
    if let Some(swappiness) = memory.swappiness() {
        // Docker 20.10 passes the largest number for "not set".
        if swappiness as i64 != -1 {
            ensure!(swappiness <= 100, "linux.resources.memory.swappiness is {swappiness}, use 0 to 100");
            list.add("memory", "memory.swappiness", swappiness);
        }
    }
    if memory.disable_oom_killer() == Some(true) {
        list.add("memory", "memory.oom_control", 1);
    }
    Ok(())
}

fn memory_v2(list: &mut List, memory: &LinuxMemory, current: Current) -> Result<()> {
    let limit = set_value(memory.limit());
    // On v1 swap is the sum of memory and swap; on v2 it is swap alone.
    match (set_value(memory.swap()), limit) {
        (Some(..0), _) | (None, Some(..0)) => list.add_optional("memory", "memory.swap.max", "max"),
        (Some(swap), Some(limit @ 0..)) => {
            ensure!(
                swap >= limit,
                "linux.resources.memory.swap is {swap}, less than the limit of {limit}: it is the sum of memory and swap"
            );
            if swap == limit {
                list.add_optional("memory", "memory.swap.max", 0);
            } else {
                list.add("memory", "memory.swap.max", swap - limit);
            }
        }
        (Some(swap), _) => bail!("linux.resources.memory.swap is {swap} without a limit of memory: set both"),
        (None, _) => {}
    }
    if let Some(limit) = limit {
        let used = current("memory.current").and_then(|text| text.trim().parse::<i64>().ok());
        if let (Some(true), Some(used)) = (memory.check_before_update(), used) {
            ensure!(limit < 0 || used <= limit, "memory limit {limit} is below the {used} bytes in use");
        }
        list.add("memory", "memory.max", or_max(limit));
    }
    if let Some(reservation) = set_value(memory.reservation()) {
        list.add("memory", "memory.low", or_max(reservation));
    }
    Ok(())
}

fn cpu_v1(list: &mut List, cpu: &LinuxCpu, current: Current) {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        list.add("cpu", "cpu.shares", shares);
    }
    let period = cpu.period().filter(|period| *period != 0);
    let quota = set_value(cpu.quota());
    let burst = cpu.burst();
    // burst <= quota at every moment, and quota/period may not exceed the parent's: shrink before growing.
    let now = |file| current(file).and_then(|text| text.trim().parse::<i64>().ok());
    let burst_first =
        burst.is_some_and(|burst| now("cpu.cfs_burst_us").is_some_and(|now| (burst as i64) < now) || quota.is_none());
    if let (Some(burst), true) = (burst, burst_first) {
        list.add("cpu", "cpu.cfs_burst_us", burst);
    }
    let period_first = period.is_some_and(|period| now("cpu.cfs_period_us").is_none_or(|now| period as i64 >= now));
    if let (Some(period), true) = (period, period_first) {
        list.add("cpu", "cpu.cfs_period_us", period);
    }
    if let Some(quota) = quota {
        list.add("cpu", "cpu.cfs_quota_us", quota);
    }
    if let (Some(period), false) = (period, period_first) {
        list.add("cpu", "cpu.cfs_period_us", period);
    }
    if let (Some(burst), false) = (burst, burst_first) {
        list.add("cpu", "cpu.cfs_burst_us", burst);
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        list.add("cpu", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        list.add("cpu", "cpu.rt_runtime_us", runtime);
    }
    if let Some(idle) = cpu.idle() {
        // Last: a cgroup that is idle takes no shares.
        list.add("cpu", "cpu.idle", idle);
    }
}

fn cpu_v2(list: &mut List, cpu: &LinuxCpu, current: Current) -> Result<()> {
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        bail!("linux.resources.cpu.realtimeRuntime is {runtime}: cgroup v2 has no realtime limits");
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        list.add("cpu", "cpu.weight", weight_of_shares(shares));
    }
    let quota = set_value(cpu.quota());
    let period = cpu.period().filter(|period| *period != 0);
    let burst = cpu.burst();
    let burst_first = burst.is_some() && quota.is_none();
    if let (Some(burst), true) = (burst, burst_first) {
        list.add("cpu", "cpu.max.burst", burst);
    }
    if quota.is_some() || period.is_some() {
        // One file holds both: what the config leaves out stays as it is.
        let now = current("cpu.max").unwrap_or_default();
        let mut now = now.split_whitespace();
        let (quota_now, period_now) = (now.next().unwrap_or("max"), now.next().unwrap_or("100000"));
        let quota = quota.map(or_max).unwrap_or_else(|| quota_now.to_owned());
        let period = period.map(|period| period.to_string()).unwrap_or_else(|| period_now.to_owned());
        list.add("cpu", "cpu.max", format!("{quota} {period}"));
    }
    if let (Some(burst), false) = (burst, burst_first) {
        list.add("cpu", "cpu.max.burst", burst);
    }
    if let Some(idle) = cpu.idle() {
        list.add("cpu", "cpu.idle", idle);
    }
    Ok(())
}

/// `cpu.weight` (1 to 10000) for `cpu.shares` (2 to 262144).
///
/// The newer formula of runc 1.3.2 and crun 1.23: a quadratic in log2(shares) through 2 → 1, 1024 → 100 and
/// 262144 → 10000, so that the default of one is the default of the other. (The older one was linear and made 39 of 1024.)
fn weight_of_shares(shares: u64) -> u64 {
    let l = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // Rounding errors must not lift 100.0000001 to 101.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

fn block(list: &mut List, block_io: &LinuxBlockIo, current: Current) -> Result<()> {
    let there = |file: &str| current(file).is_some();
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        match list.version {
            Version::V1 if there("blkio.weight") => list.add("blkio", "blkio.weight", weight),
            Version::V1 => list.add("blkio", "blkio.bfq.weight", weight),
            Version::V2 if there("io.bfq.weight") => list.add("io", "io.bfq.weight", weight),
            // runtime-spec's 10..=1000 onto the kernel's 1..=10000.
            Version::V2 => {
                list.add("io", "io.weight", format!("default {}", 1 + (u64::from(weight.max(10)) - 10) * 9999 / 990))
            }
        }
    }
    if block_io.leaf_weight().is_some_and(|weight| weight != 0) {
        bail!("linux.resources.blockIO.leafWeight: the kernel has no such setting since 5.0");
    }
    for device in block_io.weight_device().iter().flatten() {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
        let value = format!("{}:{} {weight}", device.major(), device.minor());
        match list.version {
            Version::V1 if there("blkio.weight_device") => list.add("blkio", "blkio.weight_device", value),
            Version::V1 => list.add("blkio", "blkio.bfq.weight_device", value),
            Version::V2 => list.add("io", "io.bfq.weight", value),
        }
    }
    let throttles: [(&Option<Vec<LinuxThrottleDevice>>, &str, &str); 4] = [
        (block_io.throttle_read_bps_device(), "blkio.throttle.read_bps_device", "rbps"),
        (block_io.throttle_write_bps_device(), "blkio.throttle.write_bps_device", "wbps"),
        (block_io.throttle_read_iops_device(), "blkio.throttle.read_iops_device", "riops"),
        (block_io.throttle_write_iops_device(), "blkio.throttle.write_iops_device", "wiops"),
    ];
    for (devices, file, key) in throttles {
        for device in devices.iter().flatten() {
            let (number, rate) = (format!("{}:{}", device.major(), device.minor()), device.rate());
            match list.version {
                Version::V1 => list.add("blkio", file, format!("{number} {rate}")),
                Version::V2 if rate == 0 => list.add("io", "io.max", format!("{number} {key}=max")),
                Version::V2 => list.add("io", "io.max", format!("{number} {key}={rate}")),
            }
        }
    }
    Ok(())
}

fn others(list: &mut List, resources: &LinuxResources, current: Current) -> Result<()> {
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        ensure!(!size.contains('/'), "linux.resources.hugepageLimits has the page size {size:?}");
        let (file, reserved) = match list.version {
            Version::V1 => (format!("hugetlb.{size}.limit_in_bytes"), format!("hugetlb.{size}.rsvd.limit_in_bytes")),
            Version::V2 => (format!("hugetlb.{size}.max"), format!("hugetlb.{size}.rsvd.max")),
        };
        list.add("hugetlb", &file, limit.limit());
        if current(&reserved).is_some() {
            list.add("hugetlb", &reserved, limit.limit());
        }
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            list.add("net_cls", "net_cls.classid", class);
        }
        for interface in network.priorities().iter().flatten() {
            list.add("net_prio", "net_prio.ifpriomap", format!("{} {}", interface.name(), interface.priority()));
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let mut value = device.clone();
        if let Some(handles) = limit.hca_handles() {
            value.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = limit.hca_objects() {
            value.push_str(&format!(" hca_object={objects}"));
        }
        list.add("rdma", "rdma.max", value);
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        let controller = file.split_once('.').map(|(controller, _)| controller);
        let Some(controller) = controller.filter(|_| !file.contains('/')) else {
            bail!("linux.resources.unified has {file:?}: that is not the name of a cgroup file");
        };
        if list.version == Version::V2 {
            list.add(controller, file, value);
        }
    }
    Ok(())
}

/// 0 means "not set" for the limits that can be -1 for "unlimited".
fn set_value(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(version: Version, resources: Value, now: &[(&str, &str)]) -> Result<Vec<String>> {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let current = |file: &str| now.iter().find(|(name, _)| *name == file).map(|(_, value)| (*value).to_owned());
        let settings = settings(version, &resources, &current)?;
        Ok(settings.into_iter().map(|setting| format!("{} = {}", setting.file, setting.value)).collect())
    }

    fn v1(resources: Value) -> Vec<String> {
        set(Version::V1, resources, &[]).unwrap()
    }

    fn v2(resources: Value) -> Vec<String> {
        set(Version::V2, resources, &[]).unwrap()
    }

    #[test]
    fn minus_one_is_unlimited_and_no_pids_at_all_is_one() {
        for (limit, value) in [(-1, "max"), (0, "1"), (1, "1"), (500, "500")] {
            let expected = [format!("pids.max = {value}")];
            assert_eq!(v1(json!({"pids": {"limit": limit}})), expected);
            assert_eq!(v2(json!({"pids": {"limit": limit}})), expected);
        }
    }

    #[test]
    fn shares_become_weights_so_that_the_defaults_and_the_ends_agree() {
        for (shares, weight) in [(1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let weights: Vec<u64> = (1..=18).map(|power| weight_of_shares(1 << power)).collect();
        assert!(weights.is_sorted(), "{weights:?}");
    }

    #[test]
    fn on_v2_swap_is_without_memory() {
        let memory = |limit: i64, swap: i64| json!({"memory": {"limit": limit, "swap": swap}});
        assert_eq!(v2(memory(100, 150)), ["memory.swap.max = 50", "memory.max = 100"]);
        assert_eq!(v2(memory(100, 100)), ["memory.swap.max = 0", "memory.max = 100"]);
        assert_eq!(v2(memory(100, -1)), ["memory.swap.max = max", "memory.max = 100"]);
        assert_eq!(v2(memory(-1, 0)), ["memory.swap.max = max", "memory.max = max"]);
        assert!(set(Version::V2, memory(100, 50), &[]).is_err());
        assert!(set(Version::V2, memory(0, 50), &[]).is_err());
    }

    #[test]
    fn on_v1_memory_never_exceeds_memory_and_swap_on_the_way() {
        let change = |swap: i64, now: &str| {
            let resources = json!({"memory": {"limit": 100, "swap": swap}});
            set(Version::V1, resources, &[("memory.limit_in_bytes", now)]).unwrap()
        };
        assert_eq!(change(200, "50"), ["memory.memsw.limit_in_bytes = 200", "memory.limit_in_bytes = 100"]);
        assert_eq!(change(200, "900"), ["memory.limit_in_bytes = 100", "memory.memsw.limit_in_bytes = 200"]);
        assert_eq!(change(-1, "900"), ["memory.memsw.limit_in_bytes = -1", "memory.limit_in_bytes = 100"]);
    }

    #[test]
    fn on_v2_the_half_of_cpu_max_that_is_not_given_stays() {
        let now = [("cpu.max", "50000 100000\n")];
        let change = |cpu: Value| set(Version::V2, json!({"cpu": cpu}), &now).unwrap();
        assert_eq!(change(json!({"period": 200000})), ["cpu.max = 50000 200000"]);
        assert_eq!(change(json!({"quota": -1})), ["cpu.max = max 100000"]);
        assert_eq!(v2(json!({"cpu": {"quota": 10000}})), ["cpu.max = 10000 100000"]);
    }

    #[test]
    fn unset_values_set_nothing() {
        let empty = json!({
            "memory": {"limit": 0, "swap": 0, "disableOOMKiller": false, "swappiness": u64::MAX},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
            "blockIO": {"weight": 0}, "hugepageLimits": [], "unified": {},
        });
        assert_eq!(v1(empty.clone()), [""; 0]);
        assert_eq!(v2(empty), [""; 0]);
    }

    #[test]
    fn each_version_has_its_own_files() {
        let resources = json!({
            "memory": {"reservation": 7, "swappiness": 10, "disableOOMKiller": true},
            "cpu": {"shares": 1024, "idle": 0, "cpus": "0-1"},
            "blockIO": {"weight": 1000, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
            "unified": {"memory.high": "5"},
        });
        assert_eq!(
            v1(resources.clone()),
            [
                "memory.soft_limit_in_bytes = 7",
                "memory.swappiness = 10",
                "memory.oom_control = 1",
                "cpu.shares = 1024",
                "cpu.idle = 0",
                "cpuset.cpus = 0-1",
                "blkio.bfq.weight = 1000",
                "blkio.throttle.read_bps_device = 8:0 9",
                "hugetlb.2MB.limit_in_bytes = 4",
            ]
        );
        assert_eq!(
            v2(resources),
            [
                "memory.low = 7",
                "cpu.weight = 100",
                "cpu.idle = 0",
                "cpuset.cpus = 0-1",
                "io.weight = default 10000",
                "io.max = 8:0 rbps=9",
                "hugetlb.2MB.max = 4",
                "memory.high = 5",
            ]
        );
    }

    #[test]
    fn a_unified_key_cannot_leave_the_cgroup() {
        for key in ["../memory.max", "memory", "a.b/c"] {
            assert!(set(Version::V2, json!({"unified": {key: "1"}}), &[]).is_err(), "{key}");
        }
    }
}
