//! `update`: other limits for a container that exists.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxIntelRdt;
use serde_json::{Map, Value, json};

use super::args::{Global, Update};
use super::lookup;
use crate::container::config;
use crate::container::rdt::Group;
use crate::container::state::{ContainerError, Status};

/// Limits are a page of JSON.
const LONGEST: u64 = 1 << 20;

pub fn run(global: &Global, args: &Update) -> Result<u8> {
    let shares = shares(args)?;
    let (mut wanted, text) = match &args.resources {
        Some(file) => read(file)?,
        None => (json!({}), Vec::new()),
    };
    let corrected = config::own_letters(&mut wanted)?;
    // Who names both wants both; runc looks at the file alone.
    merge(&mut wanted, of_flags(args));
    // A caller's file may have nothing in it that has changed.
    if args.resources.is_none() && shares.is_none() && wanted.as_object().is_none_or(Map::is_empty) {
        bail!("nothing to change: give --resources FILE or a limit (`bookend update --help` lists them)");
    }
    let (resources, warnings) = config::resources(&wanted, &text).with_context(|| match &args.resources {
        Some(file) => format!("update {}: the resources of {}", args.id, name(file)),
        None => format!("update {}", args.id),
    })?;
    let container = lookup::container(global, &args.id)?;
    match container.state.status(&container.dir) {
        Status::Created | Status::Running | Status::Paused => {}
        found => bail!(ContainerError::Not { wanted: Status::Running, found }),
    }
    if container.state.cgroup.is_none() {
        bail!("container {} has no control group, so it has no limits: it is rootless without delegation", args.id);
    }
    let group = Group::load(&container.dir)?;
    if shares.is_some() && group.is_none() {
        bail!("--l3-cache-schema, --mem-bw-schema: container {} was created without linux.intelRdt", args.id);
    }
    corrected.iter().chain(&warnings).for_each(|warning| container.log.warn(warning));
    for (flag, given) in [("--kernel-memory", &args.kernel_memory), ("--kernel-memory-tcp", &args.kernel_memory_tcp)] {
        if given.is_some() {
            container.log.warn(&format!("{flag}: has no effect, kernels have no such limit any more; leave it out"));
        }
    }
    container.state.cgroup.update(&resources)?;
    // No rules are no change: most callers send none. Without root's rights there are none to change.
    let rules = resources.devices().as_deref().unwrap_or_default();
    match container.state.rootless {
        _ if rules.is_empty() => {}
        true => container.log.warn("devices: a container without root's rights has no device rules to change"),
        false => drop(container.state.cgroup.change_devices(rules)?), // it has a cgroup, as was seen above
    }
    // Last, since nobody undoes it.
    if let (Some(mut group), Some(shares)) = (group, &shares) {
        group.change(shares)?;
    }
    Ok(0)
}

/// The share of caches and memory bandwidth that flags ask for.
fn shares(args: &Update) -> Result<Option<LinuxIntelRdt>> {
    if args.l3_cache_schema.is_none() && args.mem_bw_schema.is_none() {
        return Ok(None);
    }
    let asked = json!({"l3CacheSchema": args.l3_cache_schema, "memBwSchema": args.mem_bw_schema});
    Ok(Some(serde_json::from_value(asked)?))
}

/// A file of resources in messages; `-` is standard input.
fn name(path: &Path) -> String {
    if path.to_str() == Some("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// The object of a file, and its text.
fn read(path: &Path) -> Result<(Value, Vec<u8>)> {
    let mut text = Vec::new();
    let from_file = |text: &mut Vec<u8>| File::open(path)?.take(LONGEST + 1).read_to_end(text);
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(LONGEST + 1).read_to_end(&mut text),
        _ => from_file(&mut text),
    };
    let name = name(path);
    read.with_context(|| format!("read resources from {name}"))?;
    if text.len() as u64 > LONGEST {
        bail!("read resources from {name}: more than {} KiB", LONGEST >> 10);
    }
    let value: Value = serde_json::from_slice(&text).with_context(|| format!("parse the resources of {name}"))?;
    if !value.is_object() {
        bail!("parse the resources of {name}: must be an object as linux.resources of a config.json");
    }
    Ok((value, text))
}

/// What the flags ask for, in the words of linux.resources.
fn of_flags(args: &Update) -> Value {
    let fields = [
        ("pids", "limit", args.pids_limit.map(Value::from)),
        ("memory", "limit", args.memory.map(Value::from)),
        ("memory", "reservation", args.memory_reservation.map(Value::from)),
        ("memory", "swap", args.memory_swap.map(Value::from)),
        ("cpu", "period", args.cpu_period.map(Value::from)),
        ("cpu", "quota", args.cpu_quota.map(Value::from)),
        ("cpu", "burst", args.cpu_burst.map(Value::from)),
        ("cpu", "shares", args.cpu_share.map(Value::from)),
        ("cpu", "idle", args.cpu_idle.map(Value::from)),
        ("cpu", "realtimePeriod", args.cpu_rt_period.map(Value::from)),
        ("cpu", "realtimeRuntime", args.cpu_rt_runtime.map(Value::from)),
        ("cpu", "cpus", args.cpuset_cpus.clone().map(Value::from)),
        ("cpu", "mems", args.cpuset_mems.clone().map(Value::from)),
        ("blockIO", "weight", args.blkio_weight.map(Value::from)),
    ];
    let mut wanted = json!({});
    for (group, field, value) in fields {
        if let Some(value) = value {
            wanted[group][field] = value;
        }
    }
    wanted
}

/// Fields of `nearer` replace those of `base`.
fn merge(base: &mut Value, nearer: Value) {
    match (base, nearer) {
        (Value::Object(base), Value::Object(nearer)) => {
            for (key, value) in nearer {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, nearer) => *base = nearer,
    }
}

/// A number of bytes as docker and runc take it: `-1` (no limit), `1048576`, `512m`, `1.5GiB`.
pub fn bytes(text: &str) -> Result<i64, String> {
    let bad =
        || format!("{text:?} is no size: write bytes, or a number with k, m, g or t (512m); -1 takes the limit away");
    if text == "-1" {
        return Ok(-1);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| bad())?;
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(bad()),
    };
    let bytes = number * 1024_f64.powi(power);
    if bytes <= i64::MAX as f64 { Ok(bytes as i64) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, size) in [
            ("-1", -1),
            ("0", 0),
            ("1048576", 1 << 20),
            ("512m", 512 << 20),
            ("1.5G", 3 << 29),
            ("1KiB", 1024),
            ("2b", 2),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "m", "-2", "1x", "1e3", "99999999999t", "1 2"] {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_flags_say_wins_over_the_file_field_by_field() {
        let mut wanted = json!({"memory": {"limit": 1, "swap": 2}, "pids": {"limit": 3}});
        merge(&mut wanted, json!({"memory": {"limit": 9}}));
        assert_eq!(wanted, json!({"memory": {"limit": 9, "swap": 2}, "pids": {"limit": 3}}));
    }
}
