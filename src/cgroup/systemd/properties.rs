//! What systemd must know of a container's limits: it writes the files of its units again whenever it likes, so what is
//! only in the files does not last (systemd.resource-control(5)). Made from the settings of those files, so that both say
//! the same. What systemd has no property for stays in the files, which it leaves alone.

use anyhow::{Context, Result, ensure};
use zbus::Variant;

use super::Property;
use crate::cgroup::limits::Setting;

/// "No limit", for properties that are a number.
const INFINITY: u64 = u64::MAX;

/// Of `CPUQuota=`, which systemd rounds down to whole percents of a second.
const PERCENT: u64 = 10_000;

/// The kernel's default period of a quota, in microseconds.
const PERIOD: u64 = 100_000;

/// More CPUs or memory nodes than this no kernel has (NR_CPUS).
const MOST_UNITS: usize = 8192;

/// The limits among `settings` that systemd has a property for.
pub(in crate::cgroup) fn of_settings<'a>(settings: impl Iterator<Item = &'a Setting>) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    let mut add = |name: &str, value: Variant<'static>| properties.push((name.to_owned(), value));
    for setting in settings {
        let context = || format!("{setting}: tell systemd");
        let value = setting.value.trim();
        let limit = || number_or_max(value).with_context(context);
        match setting.file.as_str() {
            "pids.max" => add("TasksMax", limit()?.into()),
            "memory.max" => add("MemoryMax", limit()?.into()),
            "memory.high" => add("MemoryHigh", limit()?.into()),
            "memory.low" => add("MemoryLow", limit()?.into()),
            "memory.min" => add("MemoryMin", limit()?.into()),
            "memory.swap.max" => add("MemorySwapMax", limit()?.into()),
            "cpu.weight" => add("CPUWeight", limit()?.into()),
            "cpu.max" => {
                let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
                let quota = number_or_max(quota).with_context(context)?;
                let period = if period.is_empty() { PERIOD } else { period.trim().parse().with_context(context)? };
                add("CPUQuotaPerSecUSec", per_second(quota, period).into());
                add("CPUQuotaPeriodUSec", period.into());
            }
            "cpuset.cpus" => add("AllowedCPUs", mask(value).with_context(context)?.into()),
            "cpuset.mems" => add("AllowedMemoryNodes", mask(value).with_context(context)?.into()),
            "io.weight" => {
                if let Ok(weight) = value.trim_start_matches("default ").parse::<u64>() {
                    add("IOWeight", weight.into());
                }
            }
            _ => {}
        }
    }
    Ok(properties)
}

fn number_or_max(text: &str) -> Result<u64> {
    match text {
        "max" => Ok(INFINITY),
        text => Ok(text.parse::<u64>()?),
    }
}

/// A quota as systemd has it: microseconds of CPU in a second. Rounded up, as systemd would round it down.
fn per_second(quota: u64, period: u64) -> u64 {
    if quota == INFINITY || period == 0 {
        return INFINITY;
    }
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    u64::try_from(exact).map_or(INFINITY, |exact| exact.div_ceil(PERCENT).saturating_mul(PERCENT))
}

/// `0-2,5` as the bits of its numbers, lowest byte first.
fn mask(list: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse()?, last.parse()?);
        ensure!(first <= last && last < MOST_UNITS, "{part:?} is no range of CPUs or memory nodes");
        bytes.resize(bytes.len().max(last / 8 + 1), 0);
        for unit in first..=last {
            bytes[unit / 8] |= 1 << (unit % 8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cgroup::layout::Version;
    use crate::cgroup::limits::limits;

    fn of(resources: Value) -> Vec<(String, String)> {
        let resources = serde_json::from_value(resources).unwrap();
        let settings = limits(Version::V2, &resources, &|_| None).unwrap().settings;
        let text = |value: Variant<'_>| match value {
            Variant::U64(INFINITY) => "infinity".to_owned(),
            Variant::U64(number) => number.to_string(),
            Variant::Array(array) => format!("{:?}", Vec::<u8>::try_from(array).unwrap()),
            other => format!("{other:?}"),
        };
        let properties = of_settings(settings.iter()).unwrap();
        properties.into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    fn expect(properties: &[(&str, &str)]) -> Vec<(String, String)> {
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn limits_are_told_by_their_properties() {
        let resources = json!({
            "pids": {"limit": 7}, "memory": {"limit": 100, "swap": 150, "reservation": 50},
            "cpu": {"shares": 1024, "quota": 50000, "period": 200000, "cpus": "0-2,9", "mems": "0"},
            "blockIO": {"weight": 10}, "unified": {"memory.high": "90", "memory.min": "5", "hugetlb.2MB.max": "1"},
        });
        assert_eq!(
            of(resources),
            expect(&[
                ("TasksMax", "7"),
                ("MemorySwapMax", "50"),
                ("MemoryMax", "100"),
                ("MemoryLow", "50"),
                ("CPUWeight", "100"),
                ("CPUQuotaPerSecUSec", "250000"),
                ("CPUQuotaPeriodUSec", "200000"),
                ("AllowedCPUs", "[7, 2]"),
                ("AllowedMemoryNodes", "[1]"),
                ("IOWeight", "1"),
                ("MemoryHigh", "90"),
                ("MemoryMin", "5"),
            ])
        );
    }

    #[test]
    fn a_quota_is_rounded_up_to_what_systemd_keeps() {
        assert_eq!(per_second(50_000, 100_000), 500_000);
        assert_eq!(per_second(1, 100_000), 10_000);
        assert_eq!(per_second(INFINITY, 100_000), INFINITY);
        assert_eq!(per_second(u64::MAX - 1, 1), INFINITY);
    }

    #[test]
    fn a_list_that_is_no_list_is_refused() {
        assert_eq!(mask("8").unwrap(), [0, 1]);
        for list in ["a", "3-1", "0-", "99999999999999", "8192"] {
            assert!(mask(list).is_err(), "{list}");
        }
    }
}
