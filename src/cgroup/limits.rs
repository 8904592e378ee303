//! From `linux.resources` of a config to the values that the kernel's files take (runtime-spec config-linux.md;
//! kernel documentation admin-guide/cgroup-v1 and cgroup-v2.rst). Pure: what is set now is asked of a function.

use std::fmt;

use anyhow::{Result, ensure};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::layout::Version;

/// One value for one file of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Where it stands in the config: `linux.resources.pids.limit`.
    pub field: String,
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
        write!(f, "{}: set {} to {}", self.field, self.file, self.value.trim().escape_debug())
    }
}

/// What cannot be had of a controller in this version of cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub controller: String,
    /// Field and cause.
    pub text: String,
}

/// What a file of the container's cgroup says now; `None` when there is no such file.
pub(super) type Current<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What `resources` come to in one version of cgroups, in the order in which the kernel accepts it. Device rules are not
/// among it.
pub(super) struct Limits {
    version: Version,
    pub settings: Vec<Setting>,
    pub refused: Vec<Refusal>,
}

/// The limits of `resources`.
pub(super) fn limits(version: Version, resources: &LinuxResources, current: Current) -> Result<Limits> {
    let mut list = Limits { version, settings: Vec::new(), refused: Vec::new() };
    if let Some(pids) = resources.pids() {
        list.add("pids.limit", "pids.max", pids_max(pids.limit()));
    }
    if let Some(memory) = resources.memory() {
        match version {
            Version::V1 => memory_v1(&mut list, memory, current)?,
            Version::V2 => memory_v2(&mut list, memory, current)?,
        }
    }
    if let Some(cpu) = resources.cpu() {
        cpu_idle(&mut list, cpu, 0);
        match version {
            Version::V1 => cpu_v1(&mut list, cpu, current),
            Version::V2 => cpu_v2(&mut list, cpu, current),
        }
        // Last: the kernel takes neither shares nor weight of a cgroup that is idle.
        cpu_idle(&mut list, cpu, 1);
        list.add_text("cpu.cpus", "cpuset.cpus", cpu.cpus());
        list.add_text("cpu.mems", "cpuset.mems", cpu.mems());
    }
    if let Some(block_io) = resources.block_io() {
        block(&mut list, block_io, current);
    }
    others(&mut list, resources)?;
    Ok(list)
}

impl Limits {
    /// `field` is below `linux.resources`; the controller is the beginning of the file's name.
    fn add(&mut self, field: &str, file: &str, value: impl ToString) {
        let controller = file.split_once('.').map_or(file, |(controller, _)| controller);
        self.settings.push(Setting {
            field: format!("linux.resources.{field}"),
            controller: controller.to_owned(),
            file: file.to_owned(),
            value: value.to_string(),
            if_missing: IfMissing::Fail,
        });
    }

    fn add_optional(&mut self, field: &str, file: &str, value: impl ToString) {
        self.add(field, file, value);
        self.settings.last_mut().expect("one was just added").if_missing = IfMissing::Skip;
    }

    /// Adds a text unless it is absent or empty, which both mean "leave it".
    fn add_text(&mut self, field: &str, file: &str, value: &Option<String>) {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            self.add(field, file, value);
        }
    }

    fn refuse(&mut self, field: &str, controller: &str, text: &str) {
        self.refused
            .push(Refusal { controller: controller.to_owned(), text: format!("linux.resources.{field}: {text}") });
    }
}

/// What undoes the writing of `value` to a file that said `text`; `None` where that is not known.
pub(super) fn before(file: &str, value: &str, text: &str) -> Option<String> {
    let key = value.split(' ').next().unwrap_or_default();
    let of_key = || text.lines().find(|line| line.split(' ').next() == Some(key)).map(str::to_owned);
    // A device or an interface that has no line has no limit.
    let of_key_or = |none: &str| Some(of_key().unwrap_or_else(|| format!("{key} {none}")));
    match file {
        "memory.oom_control" => text.lines().find_map(|line| line.strip_prefix("oom_kill_disable ")).map(str::to_owned),
        "rdma.max" => of_key(),
        "io.max" => of_key_or("rbps=max wbps=max riops=max wiops=max"),
        "io.weight" | "io.bfq.weight" if key.contains(':') => of_key_or("default"),
        _ if key.contains(':') || file == "net_prio.ifpriomap" => of_key_or("0"),
        _ if text.is_empty() => Some("\n".to_owned()),
        _ => text.lines().next().map(str::to_owned),
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

fn memory_v1(list: &mut Limits, memory: &LinuxMemory, current: Current) -> Result<()> {
    // The kernel wants limit <= memsw at every moment, so the order depends on which way the pair moves.
    let limit = set_value(memory.limit());
    let swap = set_value(memory.swap());
    let now = |file| current(file).and_then(|text| text.trim().parse::<u64>().ok());
    let swap_first = match (limit, swap) {
        (Some(_), Some(swap)) => swap < 0 || now("memory.limit_in_bytes").is_some_and(|limit| limit < swap as u64),
        _ => false,
    };
    match (limit, swap) {
        // Without a limit of memory there is none of the sum, either.
        (Some(..0), None) => list.add_optional("memory.swap", MEMSW, -1),
        (_, Some(swap)) if swap_first => list.add("memory.swap", MEMSW, swap),
        _ => {}
    }
    if let Some(limit) = limit {
        list.add("memory.limit", "memory.limit_in_bytes", limit);
    }
    if let (Some(swap), false) = (swap, swap_first) {
        list.add("memory.swap", MEMSW, swap);
    }
    if let Some(reservation) = set_value(memory.reservation()) {
        list.add("memory.reservation", "memory.soft_limit_in_bytes", reservation);
    }
    // `kernel` is not set: kernels since 5.16 refuse it and runtime-spec calls it deprecated; config.rs warns.
    if let Some(kernel_tcp) = set_value(memory.kernel_tcp()) {
        list.add("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", kernel_tcp);
    }
    if let Some(swappiness) = swappiness(memory) {
        ensure!(swappiness <= 100, "linux.resources.memory.swappiness is {swappiness}, use 0 to 100");
        list.add("memory.swappiness", "memory.swappiness", swappiness);
    }
    if memory.disable_oom_killer() == Some(true) {
        list.add("memory.disableOOMKiller", "memory.oom_control", 1);
    }
    Ok(())
}

const MEMSW: &str = "memory.memsw.limit_in_bytes";

/// Docker 20.10 passes the largest number for "not set".
fn swappiness(memory: &LinuxMemory) -> Option<u64> {
    memory.swappiness().filter(|swappiness| *swappiness as i64 != -1)
}

fn memory_v2(list: &mut Limits, memory: &LinuxMemory, current: Current) -> Result<()> {
    let limit = set_value(memory.limit());
    // On v1 swap is the sum of memory and swap; on v2 it is swap alone.
    let swap = match (set_value(memory.swap()), limit) {
        (Some(..0), _) | (None, Some(..0)) => Some("max".to_owned()),
        (Some(swap), Some(limit @ 0..)) if swap >= limit => Some((swap - limit).to_string()),
        (Some(swap), Some(limit @ 0..)) => {
            let text = format!("{swap} is less than the limit of {limit}: it is the sum of memory and swap");
            list.refuse("memory.swap", "memory", &text);
            None
        }
        (Some(swap), _) => {
            let text = format!("{swap} is the sum of memory and swap, and there is no limit of memory: set both");
            list.refuse("memory.swap", "memory", &text);
            None
        }
        (None, _) => None,
    };
    if memory.check_before_update() == Some(true) {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let limit = limit.and_then(|limit| u64::try_from(limit).ok());
        check_usage(list, "memory.limit", limit, current("memory.current").as_deref().and_then(number));
        let swap = swap.as_deref().and_then(number);
        check_usage(list, "memory.swap", swap, current("memory.swap.current").as_deref().and_then(number));
    }
    match swap.as_deref() {
        Some("max" | "0") => list.add_optional("memory.swap", "memory.swap.max", swap.unwrap_or_default()),
        Some(swap) => list.add("memory.swap", "memory.swap.max", swap),
        None => {}
    }
    if let Some(limit) = limit {
        list.add("memory.limit", "memory.max", or_max(limit));
    }
    if let Some(reservation) = set_value(memory.reservation()) {
        list.add("memory.reservation", "memory.low", or_max(reservation));
    }
    for (field, given) in [
        ("memory.swappiness", swappiness(memory).is_some()),
        ("memory.disableOOMKiller", memory.disable_oom_killer() == Some(true)),
        ("memory.kernelTCP", set_value(memory.kernel_tcp()).is_some()),
    ] {
        if given {
            list.refuse(field, "memory", "cgroup v2 has no such setting: remove it");
        }
    }
    Ok(())
}

/// runtime-spec, "checkBeforeUpdate": v2 would kill for a limit that is below what is in use, where v1 refuses it.
fn check_usage(list: &mut Limits, field: &str, limit: Option<u64>, used: Option<u64>) {
    if let (Some(limit), Some(used)) = (limit, used)
        && used > limit
    {
        list.refuse(field, "memory", &format!("{limit} bytes are less than the {used} in use"));
    }
}

/// `cpu.idle`, if it is to be `now`.
fn cpu_idle(list: &mut Limits, cpu: &LinuxCpu, now: i64) {
    match cpu.idle().filter(|idle| (*idle != 0) == (now != 0)) {
        Some(0) => list.add_optional("cpu.idle", "cpu.idle", 0),
        Some(idle) => list.add("cpu.idle", "cpu.idle", idle),
        None => {}
    }
}

fn cpu_burst(list: &mut Limits, file: &str, burst: u64) {
    match burst {
        0 => list.add_optional("cpu.burst", file, 0),
        burst => list.add("cpu.burst", file, burst),
    }
}

fn cpu_v1(list: &mut Limits, cpu: &LinuxCpu, current: Current) {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        list.add("cpu.shares", "cpu.shares", shares);
    }
    let period = cpu.period().filter(|period| *period != 0);
    let quota = set_value(cpu.quota());
    let burst = cpu.burst();
    // burst <= quota at every moment, and quota/period may not exceed the parent's: shrink before growing.
    let now = |file| current(file).and_then(|text| text.trim().parse::<i64>().ok());
    let burst_first =
        burst.is_some_and(|burst| now("cpu.cfs_burst_us").is_some_and(|now| (burst as i64) < now) || quota.is_none());
    if let (Some(burst), true) = (burst, burst_first) {
        cpu_burst(list, "cpu.cfs_burst_us", burst);
    }
    let period_first = period.is_some_and(|period| now("cpu.cfs_period_us").is_none_or(|now| period as i64 >= now));
    if let (Some(period), true) = (period, period_first) {
        list.add("cpu.period", "cpu.cfs_period_us", period);
    }
    if let Some(quota) = quota {
        list.add("cpu.quota", "cpu.cfs_quota_us", quota);
    }
    if let (Some(period), false) = (period, period_first) {
        list.add("cpu.period", "cpu.cfs_period_us", period);
    }
    if let (Some(burst), false) = (burst, burst_first) {
        cpu_burst(list, "cpu.cfs_burst_us", burst);
    }
    realtime(list, cpu, now("cpu.rt_runtime_us"));
}

/// The kernel wants runtime <= period at every moment.
fn realtime(list: &mut Limits, cpu: &LinuxCpu, runtime_now: Option<i64>) {
    let period = cpu.realtime_period().filter(|period| *period != 0);
    let runtime = set_value(cpu.realtime_runtime());
    let period_first = period.is_some_and(|period| runtime_now.is_none_or(|now| period as i64 >= now));
    if let (Some(period), true) = (period, period_first) {
        list.add("cpu.realtimePeriod", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = runtime {
        list.add("cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime);
    }
    if let (Some(period), false) = (period, period_first) {
        list.add("cpu.realtimePeriod", "cpu.rt_period_us", period);
    }
}

fn cpu_v2(list: &mut Limits, cpu: &LinuxCpu, current: Current) {
    for (field, given) in [
        ("cpu.realtimeRuntime", set_value(cpu.realtime_runtime()).is_some()),
        ("cpu.realtimePeriod", cpu.realtime_period().is_some_and(|period| period != 0)),
    ] {
        if given {
            list.refuse(field, "cpu", "cgroup v2 has no realtime limits: remove it");
        }
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        list.add("cpu.shares", "cpu.weight", weight_of_shares(shares));
    }
    let quota = set_value(cpu.quota());
    let period = cpu.period().filter(|period| *period != 0);
    let burst = cpu.burst();
    let now = current("cpu.max.burst").and_then(|text| text.trim().parse::<u64>().ok());
    let burst_first = burst.is_some_and(|burst| quota.is_none() || now.is_some_and(|now| burst < now));
    if let (Some(burst), true) = (burst, burst_first) {
        cpu_burst(list, "cpu.max.burst", burst);
    }
    if quota.is_some() || period.is_some() {
        // One file holds both: what the config leaves out stays as it is.
        let now = current("cpu.max").unwrap_or_default();
        let mut now = now.split_whitespace();
        let (quota_now, period_now) = (now.next().unwrap_or("max"), now.next().unwrap_or("100000"));
        let field = if quota.is_some() { "cpu.quota" } else { "cpu.period" };
        let quota = quota.map(or_max).unwrap_or_else(|| quota_now.to_owned());
        let period = period.map(|period| period.to_string()).unwrap_or_else(|| period_now.to_owned());
        list.add(field, "cpu.max", format!("{quota} {period}"));
    }
    if let (Some(burst), false) = (burst, burst_first) {
        cpu_burst(list, "cpu.max.burst", burst);
    }
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

/// runtime-spec's weights (10 to 1000) are those of v1 and of the BFQ scheduler; the kernel's other ones go from 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.max(10)) - 10) * 9999 / 990
}

fn block(list: &mut Limits, block_io: &LinuxBlockIo, current: Current) {
    let there = |file: &str| current(file).is_some();
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        match list.version {
            Version::V1 if there("blkio.weight") => list.add("blockIO.weight", "blkio.weight", weight),
            Version::V1 => list.add("blockIO.weight", "blkio.bfq.weight", weight),
            Version::V2 if there("io.bfq.weight") => list.add("blockIO.weight", "io.bfq.weight", weight),
            Version::V2 => list.add("blockIO.weight", "io.weight", format!("default {}", io_weight(weight))),
        }
    }
    for device in block_io.weight_device().iter().flatten() {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
        let number = format!("{}:{}", device.major(), device.minor());
        let (file, weight) = match list.version {
            Version::V1 if there("blkio.weight_device") => ("blkio.weight_device", weight.into()),
            Version::V1 => ("blkio.bfq.weight_device", weight.into()),
            Version::V2 if there("io.bfq.weight") => ("io.bfq.weight", weight.into()),
            Version::V2 => ("io.weight", io_weight(weight)),
        };
        list.add("blockIO.weightDevice", file, format!("{number} {weight}"));
    }
    let throttles: [(&str, &Option<Vec<LinuxThrottleDevice>>, &str, &str); 4] = [
        ("ReadBps", block_io.throttle_read_bps_device(), "read_bps", "rbps"),
        ("WriteBps", block_io.throttle_write_bps_device(), "write_bps", "wbps"),
        ("ReadIOPS", block_io.throttle_read_iops_device(), "read_iops", "riops"),
        ("WriteIOPS", block_io.throttle_write_iops_device(), "write_iops", "wiops"),
    ];
    for (what, devices, file, key) in throttles {
        let field = format!("blockIO.throttle{what}Device");
        for device in devices.iter().flatten() {
            let (number, rate) = (format!("{}:{}", device.major(), device.minor()), device.rate());
            match list.version {
                Version::V1 => list.add(&field, &format!("blkio.throttle.{file}_device"), format!("{number} {rate}")),
                Version::V2 if rate == 0 => list.add(&field, "io.max", format!("{number} {key}=max")),
                Version::V2 => list.add(&field, "io.max", format!("{number} {key}={rate}")),
            }
        }
    }
}

fn others(list: &mut Limits, resources: &LinuxResources) -> Result<()> {
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        let (file, reserved) = match list.version {
            Version::V1 => (format!("hugetlb.{size}.limit_in_bytes"), format!("hugetlb.{size}.rsvd.limit_in_bytes")),
            Version::V2 => (format!("hugetlb.{size}.max"), format!("hugetlb.{size}.rsvd.max")),
        };
        // runtime-spec: reservations are limited where the kernel can (5.7), page faults in any case.
        list.add("hugepageLimits", &file, limit.limit());
        list.add_optional("hugepageLimits", &reserved, limit.limit());
    }
    if let Some(network) = resources.network() {
        let class = network.class_id().filter(|class| *class != 0);
        let priorities = network.priorities().iter().flatten();
        if list.version == Version::V2 {
            class.iter().for_each(|_| list.refuse("network.classID", "net_cls", NO_NETWORK));
            priorities.take(1).for_each(|_| list.refuse("network.priorities", "net_prio", NO_NETWORK));
        } else {
            class.iter().for_each(|class| list.add("network.classID", "net_cls.classid", class));
            for interface in priorities {
                let value = format!("{} {}", interface.name(), interface.priority());
                list.add("network.priorities", "net_prio.ifpriomap", value);
            }
        }
    }
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (device, limit) in devices {
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
        check_unified(file)?;
        // Files with a line for each device take one line a write. An empty one takes a list of CPUs away, and must have its end: the
        // kernel does nothing for a write of no bytes.
        for line in value.lines().chain(value.is_empty().then_some("\n")) {
            list.add(&format!("unified.{file}"), file, line);
        }
    }
    // To v1 they mean nothing; `Cgroup::placed` says so.
    if list.version == Version::V1 {
        list.settings.retain(|setting| !setting.field.starts_with("linux.resources.unified."));
    }
    Ok(())
}

const NO_NETWORK: &str = "cgroup v2 has no such controller: remove it, and have the firewall match the cgroup";

/// What these files do is not a limit, and is bookend's or the container's to do.
const NO_LIMITS: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type", "cgroup.subtree_control"];

/// A key is the name of a file in the container's own cgroup: `CONTROLLER.FILE`.
pub(super) fn check_unified(file: &str) -> Result<()> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let named = file.split_once('.').is_some_and(|(controller, rest)| !controller.is_empty() && !rest.is_empty());
    ensure!(
        named && file.bytes().all(legal) && !file.contains(".."),
        "linux.resources.unified has {file:?}: that is not the name of a cgroup file, such as memory.high"
    );
    ensure!(
        !NO_LIMITS.contains(&file),
        "linux.resources.unified has {file:?}: that file is no limit, and bookend sets it itself"
    );
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
        let limits = limits(version, &resources, &current)?;
        if let Some(refusal) = limits.refused.first() {
            anyhow::bail!("{}", refusal.text);
        }
        Ok(limits.settings.into_iter().map(|setting| format!("{} = {}", setting.file, setting.value)).collect())
    }

    fn v1(resources: Value) -> Vec<String> {
        set(Version::V1, resources, &[]).unwrap()
    }

    fn v2(resources: Value) -> Vec<String> {
        set(Version::V2, resources, &[]).unwrap()
    }

    #[test]
    fn what_a_file_said_is_what_undoes_a_setting() {
        let back = |file, value, text| before(file, value, text);
        assert_eq!(back("pids.max", "5", "max").as_deref(), Some("max"));
        assert_eq!(back("cpu.max", "5000 100000", "max 100000").as_deref(), Some("max 100000"));
        assert_eq!(back("cpuset.cpus", "0-3", "").as_deref(), Some("\n"));
        assert_eq!(back("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0").as_deref(), Some("0"));
        let io = "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=max riops=max wiops=max";
        assert_eq!(back("io.max", "8:16 rbps=9", io).as_deref(), io.lines().nth(1));
        assert_eq!(back("io.max", "8:1 rbps=9", "").as_deref(), Some("8:1 rbps=max wbps=max riops=max wiops=max"));
        assert_eq!(back("io.weight", "200", "default 100\n8:0 7").as_deref(), Some("default 100"));
        assert_eq!(back("io.bfq.weight", "8:1 50", "default 100\n8:0 7").as_deref(), Some("8:1 default"));
        assert_eq!(back("blkio.throttle.read_bps_device", "8:0 9", "8:0 1024").as_deref(), Some("8:0 1024"));
        assert_eq!(back("net_prio.ifpriomap", "eth0 3", "lo 0\neth0 1").as_deref(), Some("eth0 1"));
        assert_eq!(back("rdma.max", "mlx5_1 hca_handle=2", ""), None);
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
        // Unlimited memory is less than no limit of the sum.
        let unlimited = ["memory.memsw.limit_in_bytes = -1", "memory.limit_in_bytes = -1"];
        assert_eq!(v1(json!({"memory": {"limit": -1}})), unlimited);
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

    /// The files of one field, on each version.
    #[track_caller]
    fn files(resources: Value, on_v1: &[&str], on_v2: &[&str]) {
        assert_eq!(v1(resources.clone()), on_v1, "v1");
        assert_eq!(v2(resources), on_v2, "v2");
    }

    #[track_caller]
    fn refused_on_v2(resources: Value, words: &str) {
        let error = format!("{:#}", set(Version::V2, resources, &[]).unwrap_err());
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn each_version_has_its_own_files_for_memory() {
        files(
            json!({"memory": {"limit": 100, "swap": 150, "reservation": 7}}),
            &["memory.limit_in_bytes = 100", "memory.memsw.limit_in_bytes = 150", "memory.soft_limit_in_bytes = 7"],
            &["memory.swap.max = 50", "memory.max = 100", "memory.low = 7"],
        );
        files(json!({"memory": {"reservation": -1}}), &["memory.soft_limit_in_bytes = -1"], &["memory.low = max"]);
        // Deprecated, and no kernel since 5.16 has it.
        files(json!({"memory": {"kernel": 9}}), &[], &[]);
    }

    #[test]
    fn what_v2_has_not_of_memory_is_refused_there_by_name() {
        for (field, value, file) in [
            ("swappiness", json!(10), "memory.swappiness = 10"),
            ("disableOOMKiller", json!(true), "memory.oom_control = 1"),
            ("kernelTCP", json!(5), "memory.kmem.tcp.limit_in_bytes = 5"),
        ] {
            let resources = json!({"memory": {field: value}});
            assert_eq!(v1(resources.clone()), [file]);
            refused_on_v2(resources, &format!("linux.resources.memory.{field}: cgroup v2 has no such setting"));
        }
        let error = set(Version::V1, json!({"memory": {"swappiness": 101}}), &[]).unwrap_err();
        assert!(error.to_string().contains("use 0 to 100"), "{error}");
    }

    #[test]
    fn a_limit_below_what_is_in_use_is_refused_where_that_was_asked_for() {
        let now = [("memory.current", "4096\n")];
        let memory = |check: bool, limit: i64| json!({"memory": {"limit": limit, "checkBeforeUpdate": check}});
        let error = set(Version::V2, memory(true, 4095), &now).unwrap_err().to_string();
        assert_eq!(error, "linux.resources.memory.limit: 4095 bytes are less than the 4096 in use");
        let swapped = [("memory.current", "10"), ("memory.swap.current", "50")];
        let both = |swap: i64| json!({"memory": {"limit": 100, "swap": swap, "checkBeforeUpdate": true}});
        let error = set(Version::V2, both(149), &swapped).unwrap_err().to_string();
        assert_eq!(error, "linux.resources.memory.swap: 49 bytes are less than the 50 in use");
        assert!(set(Version::V2, both(150), &swapped).is_ok());
        assert_eq!(set(Version::V2, memory(false, 4095), &now).unwrap(), ["memory.max = 4095"]);
        assert_eq!(set(Version::V2, memory(true, 4096), &now).unwrap(), ["memory.max = 4096"]);
        assert_eq!(set(Version::V2, memory(true, -1), &now).unwrap(), ["memory.swap.max = max", "memory.max = max"]);
    }

    #[test]
    fn each_version_has_its_own_files_for_cpu() {
        files(
            json!({"cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 700, "cpus": "0-1", "mems": "0"}}),
            &[
                "cpu.shares = 1024",
                "cpu.cfs_period_us = 10000",
                "cpu.cfs_quota_us = 5000",
                "cpu.cfs_burst_us = 700",
                "cpuset.cpus = 0-1",
                "cpuset.mems = 0",
            ],
            &[
                "cpu.weight = 100",
                "cpu.max = 5000 10000",
                "cpu.max.burst = 700",
                "cpuset.cpus = 0-1",
                "cpuset.mems = 0",
            ],
        );
    }

    #[test]
    fn a_burst_never_exceeds_the_quota_on_the_way() {
        let change = |version, file, now, cpu: Value| set(version, json!({"cpu": cpu}), &[(file, now)]).unwrap();
        let both = |quota: i64, burst: u64| json!({"quota": quota, "burst": burst});
        assert_eq!(
            change(Version::V1, "cpu.cfs_burst_us", "900", both(500, 300)),
            ["cpu.cfs_burst_us = 300", "cpu.cfs_quota_us = 500"]
        );
        assert_eq!(
            change(Version::V2, "cpu.max.burst", "900", both(500, 300)),
            ["cpu.max.burst = 300", "cpu.max = 500 100000"]
        );
        assert_eq!(
            change(Version::V2, "cpu.max.burst", "0", both(5000, 3000)),
            ["cpu.max = 5000 100000", "cpu.max.burst = 3000"]
        );
    }

    #[test]
    fn an_idle_cgroup_has_its_weight_set_before_and_one_that_is_idle_no_more_after() {
        let cpu = |idle: i64| json!({"cpu": {"shares": 1024, "idle": idle}});
        files(cpu(1), &["cpu.shares = 1024", "cpu.idle = 1"], &["cpu.weight = 100", "cpu.idle = 1"]);
        files(cpu(0), &["cpu.idle = 0", "cpu.shares = 1024"], &["cpu.idle = 0", "cpu.weight = 100"]);
    }

    #[test]
    fn realtime_limits_are_v1s_and_move_together() {
        let both = json!({"cpu": {"realtimePeriod": 500_000, "realtimeRuntime": 1000}});
        let at = |now| set(Version::V1, both.clone(), &[("cpu.rt_runtime_us", now)]).unwrap();
        assert_eq!(at("0"), ["cpu.rt_period_us = 500000", "cpu.rt_runtime_us = 1000"]);
        assert_eq!(at("950000"), ["cpu.rt_runtime_us = 1000", "cpu.rt_period_us = 500000"]);
        refused_on_v2(both, "linux.resources.cpu.realtimeRuntime: cgroup v2 has no realtime limits");
        refused_on_v2(json!({"cpu": {"realtimePeriod": 1}}), "linux.resources.cpu.realtimePeriod: cgroup v2");
    }

    #[test]
    fn each_version_has_its_own_files_for_block_io() {
        let device = |rate: u64| json!([{"major": 8, "minor": 0, "rate": rate}]);
        files(
            json!({"blockIO": {
                "weight": 1000, "weightDevice": [{"major": 8, "minor": 16, "weight": 10}],
                "throttleReadBpsDevice": device(1), "throttleWriteBpsDevice": device(2),
                "throttleReadIOPSDevice": device(3), "throttleWriteIOPSDevice": device(0),
            }}),
            &[
                "blkio.bfq.weight = 1000",
                "blkio.bfq.weight_device = 8:16 10",
                "blkio.throttle.read_bps_device = 8:0 1",
                "blkio.throttle.write_bps_device = 8:0 2",
                "blkio.throttle.read_iops_device = 8:0 3",
                "blkio.throttle.write_iops_device = 8:0 0",
            ],
            &[
                "io.weight = default 10000",
                "io.weight = 8:16 1",
                "io.max = 8:0 rbps=1",
                "io.max = 8:0 wbps=2",
                "io.max = 8:0 riops=3",
                "io.max = 8:0 wiops=max",
            ],
        );
        // Where BFQ is there, it takes the config's weights as they are.
        let weights = json!({"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 20}]}});
        let with_bfq = set(Version::V2, weights, &[("io.bfq.weight", "default 100")]).unwrap();
        assert_eq!(with_bfq, ["io.bfq.weight = 500", "io.bfq.weight = 8:0 20"]);
    }

    #[test]
    fn huge_pages_are_limited_by_use_and_by_reservation() {
        files(
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]}),
            &["hugetlb.2MB.limit_in_bytes = 4", "hugetlb.2MB.rsvd.limit_in_bytes = 4"],
            &["hugetlb.2MB.max = 4", "hugetlb.2MB.rsvd.max = 4"],
        );
    }

    #[test]
    fn a_networks_class_and_priorities_are_v1s() {
        let class = json!({"network": {"classID": 1_048_577}});
        let priorities =
            json!({"network": {"priorities": [{"name": "lo", "priority": 5}, {"name": "eth0", "priority": 1}]}});
        assert_eq!(v1(class.clone()), ["net_cls.classid = 1048577"]);
        assert_eq!(v1(priorities.clone()), ["net_prio.ifpriomap = lo 5", "net_prio.ifpriomap = eth0 1"]);
        refused_on_v2(class, "linux.resources.network.classID: cgroup v2 has no such controller");
        refused_on_v2(priorities, "linux.resources.network.priorities: cgroup v2 has no such controller");
    }

    #[test]
    fn rdma_has_the_same_file_on_each_version() {
        let lines = ["rdma.max = mlx4_0 hca_handle=2", "rdma.max = mlx5_1 hca_handle=3 hca_object=10000"];
        let rdma = json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaHandles": 2}}});
        files(rdma, &lines, &lines);
    }

    #[test]
    fn unified_is_v2s_and_takes_a_line_a_write() {
        let unified = json!({"unified": {"memory.high": "5", "io.max": "8:0 rbps=9\n8:16 wbps=7\n"}});
        files(unified, &[], &["io.max = 8:0 rbps=9", "io.max = 8:16 wbps=7", "memory.high = 5"]);
        files(json!({"unified": {"cpuset.cpus": ""}}), &[], &["cpuset.cpus = \n"]);
    }

    #[test]
    fn a_unified_key_cannot_leave_the_cgroup_nor_move_processes() {
        for key in ["../memory.max", "memory", "a.b/c", "memory..max", ".max", "memory.", "cgroup.procs", "cgroup.kill"]
        {
            for version in [Version::V1, Version::V2] {
                assert!(set(version, json!({"unified": {key: "1"}}), &[]).is_err(), "{key}");
            }
        }
    }
}
