//! What a container uses of its machine, as its cgroup counts it: one reading, for whoever asks.
//!
//! The names are those of `runc events`, so that what reads one can read the other; so is what is left out where it is
//! nothing. Times are nanoseconds, sizes bytes. A file that is not there, or not as expected, counts nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use super::directory::Directory;
use super::{Cgroup, Hierarchy, Version};

/// No limit, as a number.
const UNLIMITED: u64 = u64::MAX;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By the size of the pages: `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Nothing counts these yet.
    pub intel_rdt: BTreeMap<String, u64>,
    /// Those of the container's own network namespace; none where it has the host's.
    pub network_interfaces: Option<Vec<Interface>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_nothing")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_nothing")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub throttled_time: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_nothing")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_nothing")]
    pub current: u64,
    /// 0: none.
    #[serde(skip_serializing_if = "is_nothing")]
    pub limit: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_nothing")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub minor: u64,
    pub op: String,
    #[serde(skip_serializing_if = "is_nothing")]
    pub value: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_nothing")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub max: u64,
    pub failcnt: u64,
}

/// How long processes had to wait for something (kernel documentation accounting/psi.rst).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    pub some: Pressure,
    pub full: Pressure,
}

/// Averages in percent, the total in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

fn is_nothing(number: &u64) -> bool {
    *number == 0
}

impl Interface {
    /// Reads `/proc/PID/net/dev`: two lines of titles, then one for each interface.
    pub fn parse(text: &str) -> Vec<Interface> {
        let interface = |line: &str| {
            let (name, counters) = line.split_once(':')?;
            let n: Vec<u64> = counters.split_whitespace().map_while(|word| word.parse().ok()).collect();
            let [rx_bytes, rx_packets, rx_errors, rx_dropped] = *n.first_chunk()?;
            let [tx_bytes, tx_packets, tx_errors, tx_dropped] = *n.get(8..)?.first_chunk()?;
            let name = name.trim().to_owned();
            Some(Interface {
                name,
                rx_bytes,
                rx_packets,
                rx_errors,
                rx_dropped,
                tx_bytes,
                tx_packets,
                tx_errors,
                tx_dropped,
            })
        };
        text.lines().skip(2).filter_map(interface).collect()
    }
}

impl Cgroup {
    /// Everything that the cgroup counts now. The network is not a cgroup's.
    ///
    /// # Errors
    /// Where one of the cgroup's directories cannot be opened: it is gone.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        let has_v1 = |controller: &str| self.hierarchies.iter().any(|hierarchy| hierarchy.has(controller));
        for hierarchy in &self.hierarchies {
            let directory = Directory::open(&hierarchy.path)
                .with_context(|| format!("read the counters of {}", hierarchy.path.display()))?;
            let files = Files(directory);
            match hierarchy.version {
                Version::V1 => files.v1(hierarchy, &mut stats),
                // Beside v1 hierarchies it says again what they say, of CPU time.
                Version::V2 => files.v2(!has_v1("cpuacct"), &mut stats),
            }
        }
        Ok(stats)
    }
}

/// The files of a cgroup, as what they hold.
struct Files(Directory);

impl Files {
    fn text(&self, file: &str) -> Option<String> {
        self.0.read(file).ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        match self.text(file)?.trim() {
            "max" => Some(UNLIMITED),
            number => number.parse().ok(),
        }
    }

    fn or_zero(&self, file: &str) -> u64 {
        self.number(file).unwrap_or_default()
    }

    /// Lines of a name and a number.
    fn table(&self, file: &str) -> BTreeMap<String, u64> {
        let line = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.trim().parse().ok()?))
        };
        self.text(file).iter().flat_map(|text| text.lines()).filter_map(line).collect()
    }

    /// `0-2,5`
    fn list(&self, file: &str) -> Vec<u16> {
        let mut numbers = Vec::new();
        for range in self.text(file).unwrap_or_default().trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
                numbers.extend(first..=last);
            }
        }
        numbers
    }

    fn psi(&self, file: &str) -> Option<Psi> {
        let text = self.text(file)?;
        let mut psi = Psi::default();
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ')?;
            let pressure = match kind {
                "some" => &mut psi.some,
                "full" => &mut psi.full,
                _ => continue,
            };
            for (key, value) in rest.split_whitespace().filter_map(|word| word.split_once('=')) {
                match key {
                    "avg10" => pressure.avg10 = value.parse().ok()?,
                    "avg60" => pressure.avg60 = value.parse().ok()?,
                    "avg300" => pressure.avg300 = value.parse().ok()?,
                    "total" => pressure.total = value.parse().ok()?,
                    _ => {}
                }
            }
        }
        Some(psi)
    }

    /// The sizes of huge pages that there are files for: `hugetlb.SIZE.LAST`.
    fn page_sizes(&self, last: &str) -> Vec<String> {
        let size = |name: String| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(last)?;
            (!size.contains('.')).then(|| size.to_owned())
        };
        self.0.files().unwrap_or_default().into_iter().filter_map(size).collect()
    }

    fn v1(&self, hierarchy: &Hierarchy, stats: &mut Stats) {
        for controller in &hierarchy.controllers {
            match controller.as_str() {
                "cpu" => self.throttling("throttled_time", 1, &mut stats.cpu.throttling),
                "cpuacct" => self.cpuacct(&mut stats.cpu.usage),
                "cpuset" => stats.cpuset = self.cpuset(),
                "memory" => self.memory_v1(&mut stats.memory),
                "pids" => stats.pids = self.pids(),
                "blkio" => self.blkio(&mut stats.blkio),
                "hugetlb" => {
                    for size in self.page_sizes(".usage_in_bytes") {
                        let number = |last: &str| self.or_zero(&format!("hugetlb.{size}.{last}"));
                        let (usage, max) = (number("usage_in_bytes"), number("max_usage_in_bytes"));
                        let failcnt = number("failcnt");
                        stats.hugetlb.insert(size, Hugetlb { usage, max, failcnt });
                    }
                }
                _ => {}
            }
        }
    }

    fn throttling(&self, time: &str, nanoseconds: u64, throttling: &mut Throttling) {
        let counted = self.table("cpu.stat");
        let number = |name: &str| counted.get(name).copied().unwrap_or_default();
        throttling.periods = number("nr_periods");
        throttling.throttled_periods = number("nr_throttled");
        throttling.throttled_time = number(time).saturating_mul(nanoseconds);
    }

    fn cpuacct(&self, usage: &mut CpuUsage) {
        usage.total = self.or_zero("cpuacct.usage");
        let percpu = self.text("cpuacct.usage_percpu").unwrap_or_default();
        usage.percpu = percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        for line in self.text("cpuacct.usage_all").unwrap_or_default().lines().skip(1) {
            let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if let [_, user, kernel] = numbers[..] {
                usage.percpu_user.push(user);
                usage.percpu_kernel.push(kernel);
            }
        }
        // In ticks of user space, which are 100 a second whatever the kernel's own are (time(7)).
        let ticks = self.table("cpuacct.stat");
        let nanoseconds = |name: &str| ticks.get(name).copied().unwrap_or_default().saturating_mul(10_000_000);
        (usage.user, usage.kernel) = (nanoseconds("user"), nanoseconds("system"));
    }

    fn cpuset(&self) -> Cpuset {
        let flag = |name: &str| self.or_zero(&format!("cpuset.{name}"));
        let level = self.text("cpuset.sched_relax_domain_level").and_then(|text| text.trim().parse().ok());
        Cpuset {
            cpus: self.list("cpuset.cpus"),
            cpu_exclusive: flag("cpu_exclusive"),
            mems: self.list("cpuset.mems"),
            mem_hardwall: flag("mem_hardwall"),
            mem_exclusive: flag("mem_exclusive"),
            memory_migrate: flag("memory_migrate"),
            memory_spread_page: flag("memory_spread_page"),
            memory_spread_slab: flag("memory_spread_slab"),
            memory_pressure: flag("memory_pressure"),
            sched_load_balance: flag("sched_load_balance"),
            sched_relax_domain_level: level.unwrap_or_default(),
        }
    }

    fn memory_v1(&self, memory: &mut Memory) {
        let entry = |prefix: &str| MemoryEntry {
            limit: self.or_zero(&format!("{prefix}.limit_in_bytes")),
            usage: self.or_zero(&format!("{prefix}.usage_in_bytes")),
            max: self.or_zero(&format!("{prefix}.max_usage_in_bytes")),
            failcnt: self.or_zero(&format!("{prefix}.failcnt")),
        };
        memory.usage = entry("memory");
        memory.swap = entry("memory.memsw");
        memory.kernel = entry("memory.kmem");
        memory.kernel_tcp = entry("memory.kmem.tcp");
        memory.raw = self.table("memory.stat");
        memory.cache = memory.raw.get("cache").copied().unwrap_or_default();
    }

    fn pids(&self) -> Pids {
        let limit = self.number("pids.max").filter(|limit| *limit != UNLIMITED);
        Pids { current: self.or_zero("pids.current"), limit: limit.unwrap_or_default() }
    }

    /// BFQ counts what goes through it; the throttle layer counts the rest.
    fn blkio(&self, blkio: &mut Blkio) {
        for layer in ["bfq", "throttle"] {
            let entries = |what: &str| {
                let text = self.text(&format!("blkio.{layer}.{what}_recursive")).unwrap_or_default();
                text.lines().filter_map(blkio_entry).collect::<Vec<_>>()
            };
            blkio.io_service_bytes_recursive = entries("io_service_bytes");
            blkio.io_serviced_recursive = entries("io_serviced");
            if !blkio.io_serviced_recursive.is_empty() {
                return;
            }
        }
    }

    fn v2(&self, with_cpu_time: bool, stats: &mut Stats) {
        if with_cpu_time {
            let counted = self.table("cpu.stat");
            let time = |name: &str| counted.get(name).copied().unwrap_or_default().saturating_mul(1000);
            let usage = &mut stats.cpu.usage;
            (usage.total, usage.user, usage.kernel) = (time("usage_usec"), time("user_usec"), time("system_usec"));
            self.throttling("throttled_usec", 1000, &mut stats.cpu.throttling);
        }
        if self.text("cpuset.cpus.effective").is_some() {
            stats.cpuset.cpus = self.list("cpuset.cpus.effective");
            stats.cpuset.mems = self.list("cpuset.mems.effective");
        }
        if self.text("memory.current").is_some() {
            self.memory_v2(&mut stats.memory);
        }
        if self.text("pids.current").is_some() {
            stats.pids = self.pids();
        }
        if let Some(text) = self.text("io.stat") {
            text.lines().for_each(|line| io_stat(line, &mut stats.blkio));
        }
        for size in self.page_sizes(".current") {
            let usage = self.or_zero(&format!("hugetlb.{size}.current"));
            let failcnt = self.table(&format!("hugetlb.{size}.events")).get("max").copied().unwrap_or_default();
            stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
        }
        stats.cpu.psi = self.psi("cpu.pressure");
        stats.memory.psi = self.psi("memory.pressure");
        stats.blkio.psi = self.psi("io.pressure");
    }

    fn memory_v2(&self, memory: &mut Memory) {
        memory.usage = MemoryEntry {
            limit: self.number("memory.max").unwrap_or(UNLIMITED),
            usage: self.or_zero("memory.current"),
            max: self.or_zero("memory.peak"),
            failcnt: self.table("memory.events").get("max").copied().unwrap_or_default(),
        };
        // Readers know the sum, as v1 has it.
        let (limit, usage) = (self.number("memory.swap.max").unwrap_or(UNLIMITED), self.or_zero("memory.swap.current"));
        memory.swap.limit = limit.saturating_add(memory.usage.limit);
        memory.swap.usage = usage.saturating_add(memory.usage.usage);
        memory.raw = self.table("memory.stat");
        memory.cache = memory.raw.get("file").copied().unwrap_or_default();
    }
}

/// `8:0 Read 4096`; the total of all is no entry.
fn blkio_entry(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let op = words.next()?.to_owned();
    Some(BlkioEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, op, value: words.next()?.parse().ok()? })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn io_stat(line: &str, blkio: &mut Blkio) {
    let mut words = line.split_whitespace();
    let Some((major, minor)) = words.next().and_then(|number| number.split_once(':')) else { return };
    let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { return };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let Ok(value) = value.parse() else { continue };
        let op = match key.as_bytes().first() {
            Some(b'r') => "Read",
            Some(b'w') => "Write",
            _ => "Discard",
        };
        let entry = BlkioEntry { major, minor, op: op.to_owned(), value };
        match key {
            "rbytes" | "wbytes" | "dbytes" => blkio.io_service_bytes_recursive.push(entry),
            "rios" | "wios" | "dios" => blkio.io_serviced_recursive.push(entry),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    /// The counters of one hierarchy that has these files.
    fn stats(version: Version, controllers: &[&str], files: &[(&str, &str)]) -> Value {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let hierarchy = Hierarchy {
            version,
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            mount: directory.path().to_owned(),
            root: Path::new("/").to_owned(),
            path: directory.path().to_owned(),
            owned: true,
        };
        serde_json::to_value(Cgroup { hierarchies: vec![hierarchy], unit: None }.stats().unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_counted_is_there_with_nothing_in_it() {
        let empty = stats(Version::V2, &[], &[]);
        let memory = json!({"limit": 0, "failcnt": 0});
        assert_eq!(
            empty,
            json!({
                "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
                "cpuset": {
                    "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0,
                    "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0,
                },
                "memory": {"usage": memory, "swap": memory, "kernel": memory, "kernelTCP": memory},
                "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": null,
            })
        );
    }

    #[test]
    fn v1_counts_cpu_and_sets_of_cpus() {
        let found = stats(
            Version::V1,
            &["cpu", "cpuacct", "cpuset"],
            &[
                ("cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 99\n"),
                ("cpuacct.usage", "100\n"),
                ("cpuacct.usage_percpu", "60 40 \n"),
                ("cpuacct.usage_all", "cpu user system\n0 50 10\n1 30 10\n"),
                ("cpuacct.stat", "user 8\nsystem 2\n"),
                ("cpuset.cpus", "0-2,5\n"),
                ("cpuset.mems", "0\n"),
                ("cpuset.sched_load_balance", "1\n"),
                ("cpuset.sched_relax_domain_level", "-1\n"),
            ],
        );
        let usage = json!({"total": 100, "percpu": [60, 40], "percpu_kernel": [10, 10], "percpu_user": [50, 30],
                           "kernel": 20_000_000, "user": 80_000_000});
        assert_eq!(found["cpu"]["usage"], usage);
        assert_eq!(found["cpu"]["throttling"], json!({"periods": 3, "throttledPeriods": 2, "throttledTime": 99}));
        let cpuset = &found["cpuset"];
        assert_eq!((&cpuset["cpus"], &cpuset["mems"]), (&json!([0, 1, 2, 5]), &json!([0])));
        assert_eq!((&cpuset["sched_load_balance"], &cpuset["sched_relax_domain_level"]), (&json!(1), &json!(-1)));
    }

    #[test]
    fn v1_counts_memory_processes_and_block_io() {
        let found = stats(
            Version::V1,
            &["memory", "pids", "blkio", "hugetlb"],
            &[
                ("memory.limit_in_bytes", "4096\n"),
                ("memory.usage_in_bytes", "1024\n"),
                ("memory.max_usage_in_bytes", "2048\n"),
                ("memory.failcnt", "7\n"),
                ("memory.stat", "cache 512\nrss 256\n"),
                ("pids.current", "2\n"),
                ("pids.max", "max\n"),
                ("blkio.bfq.io_service_bytes_recursive", "Total 0\n"),
                ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n"),
                ("blkio.throttle.io_serviced_recursive", "8:0 Read 1\nTotal 1\n"),
                ("hugetlb.2MB.usage_in_bytes", "2097152\n"),
                ("hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
                ("hugetlb.2MB.rsvd.usage_in_bytes", "9\n"),
            ],
        );
        assert_eq!(found["memory"]["usage"], json!({"limit": 4096, "usage": 1024, "max": 2048, "failcnt": 7}));
        assert_eq!(found["memory"]["raw"], json!({"cache": 512, "rss": 256}));
        assert_eq!(found["memory"]["cache"], 512);
        assert_eq!(found["pids"], json!({"current": 2}));
        let bytes = json!([{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Total", "value": 4096}]);
        assert_eq!(found["blkio"]["ioServiceBytesRecursive"], bytes);
        assert_eq!(found["blkio"]["ioServicedRecursive"], json!([{"major": 8, "op": "Read", "value": 1}]));
        assert_eq!(found["hugetlb"], json!({"2MB": {"usage": 2_097_152, "max": 4_194_304, "failcnt": 0}}));
    }

    #[test]
    fn v2_counts_in_the_same_words() {
        let found = stats(
            Version::V2,
            &[],
            &[
                (
                    "cpu.stat",
                    "usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 3\nnr_throttled 2\nthrottled_usec 5\n",
                ),
                (
                    "cpu.pressure",
                    "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
                ),
                ("cpuset.cpus.effective", "0-1\n"),
                ("memory.current", "1000\n"),
                ("memory.max", "4096\n"),
                ("memory.swap.current", "10\n"),
                ("memory.swap.max", "max\n"),
                ("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n"),
                ("memory.stat", "anon 5\nfile 9\n"),
                ("pids.current", "3\n"),
                ("pids.max", "77\n"),
                ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n"),
                ("hugetlb.2MB.current", "0\n"),
                ("hugetlb.2MB.rsvd.current", "0\n"),
                ("hugetlb.2MB.events", "max 2\n"),
            ],
        );
        assert_eq!(found["cpu"]["usage"], json!({"total": 100_000, "kernel": 40_000, "user": 60_000}));
        assert_eq!(found["cpu"]["throttling"]["throttledTime"], 5000);
        assert_eq!(found["cpu"]["psi"]["some"], json!({"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 12}));
        assert_eq!(found["cpu"]["psi"]["full"]["total"], 3);
        assert_eq!(found["cpuset"]["cpus"], json!([0, 1]));
        assert_eq!(found["memory"]["usage"], json!({"limit": 4096, "usage": 1000, "failcnt": 4}));
        assert_eq!(found["memory"]["swap"], json!({"limit": u64::MAX, "usage": 1010, "failcnt": 0}));
        assert_eq!(found["memory"]["cache"], 9);
        assert_eq!(found["pids"], json!({"current": 3, "limit": 77}));
        let entry = |op: &str, value: u64| json!({"major": 8, "minor": 16, "op": op, "value": value});
        let bytes = json!([entry("Read", 1), entry("Write", 2), entry("Discard", 5)]);
        assert_eq!(found["blkio"]["ioServiceBytesRecursive"], bytes);
        let operations = json!([entry("Read", 3), entry("Write", 4), entry("Discard", 6)]);
        assert_eq!(found["blkio"]["ioServicedRecursive"], operations);
        assert_eq!(found["hugetlb"], json!({"2MB": {"failcnt": 2}}));
    }

    #[test]
    fn interfaces_are_read_with_their_names_and_counters() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  bad: 1\n";
        let found = serde_json::to_value(Interface::parse(text)).unwrap();
        assert_eq!(
            found,
            json!([{"Name": "lo", "RxBytes": 1, "RxPackets": 2, "RxErrors": 3, "RxDropped": 4,
                    "TxBytes": 9, "TxPackets": 10, "TxErrors": 11, "TxDropped": 12}])
        );
    }

    #[test]
    fn a_cgroup_that_is_gone_has_no_counters() {
        let path = Path::new("/nonexistent/cgroup").to_owned();
        let hierarchy = Hierarchy {
            version: Version::V2,
            controllers: vec![],
            mount: path.clone(),
            root: path.clone(),
            path,
            owned: true,
        };
        assert!(Cgroup { hierarchies: vec![hierarchy], unit: None }.stats().is_err());
    }
}
