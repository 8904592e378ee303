//! Keys in other letters: runc's decoder takes `readOnly` and `NoNewPrivileges` for the fields of nearly that name, and who tried
//! a configuration with it relies on them.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

/// Every name of a field that bookend reads or refuses, sorted (config.md, config-linux.md).
#[rustfmt::skip]
const FIELDS: [&str; 156] = [
    "access", "action", "additionalGids", "allow", "ambient", "annotations", "apparmorProfile", "architectures", "args",
    "blockIO", "bounding", "burst", "capabilities", "cgroupsPath", "checkBeforeUpdate", "class", "classID", "closID",
    "commandLine", "consoleSize", "containerID", "cpu", "cpus", "createContainer", "createRuntime", "cwd", "deadline",
    "defaultAction", "defaultErrnoRet", "destination", "devices", "disableOOMKiller", "domain", "domainname", "effective",
    "enableCMT", "enableMBM", "enableMonitoring", "env", "errnoRet", "execCPUAffinity", "fileMode", "final", "flags", "freebsd",
    "gid", "gidMappings", "hard", "hcaHandles", "hcaObjects", "height", "hooks", "hostID", "hostname", "hugepageLimits", "idle",
    "index", "inheritable", "initial", "intelRdt", "ioPriority", "kernel", "kernelTCP", "l3CacheSchema", "leafWeight", "limit",
    "linux", "listenerMetadata", "listenerPath", "major", "maskedPaths", "memBwSchema", "memory", "memoryPolicy", "mems", "minor",
    "mode", "mountLabel", "mounts", "name", "names", "namespaces", "nanosecs", "netDevices", "network", "nice", "noNewPrivileges",
    "nodes", "ociVersion", "oomScoreAdj", "op", "options", "pageSize", "path", "period", "permitted", "personality", "pids",
    "policy", "poststart", "poststop", "prestart", "priorities", "priority", "process", "quota", "rate", "rdma", "readonly",
    "readonlyPaths", "realtimePeriod", "realtimeRuntime", "reservation", "resources", "rlimits", "root", "rootfsPropagation",
    "runtime", "scheduler", "schemata", "seccomp", "secs", "selinuxLabel", "shares", "size", "soft", "solaris", "source",
    "startContainer", "swap", "swappiness", "syscalls", "sysctl", "terminal", "throttleReadBpsDevice", "throttleReadIOPSDevice",
    "throttleWriteBpsDevice", "throttleWriteIOPSDevice", "timeOffsets", "timeout", "type", "uid", "uidMappings", "umask",
    "unified", "useHierarchy", "user", "username", "value", "valueTwo", "vm", "weight", "weightDevice", "width", "windows", "zos",
];

/// Fields with names of the user's own in them, which are taken as they are.
const OF_THE_USER: [&str; 6] = ["annotations", "netDevices", "rdma", "sysctl", "timeOffsets", "unified"];

/// Writes the keys of a configuration, or of a part of one, in their own letters. Gives a warning for each that was not; none is
/// the rule.
///
/// # Errors
/// Two keys of one object that differ in their letters alone.
pub(super) fn correct(json: &mut Value) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    walk(json, &mut String::new(), false, &mut warnings)?;
    Ok(warnings)
}

fn walk(json: &mut Value, path: &mut String, of_the_user: bool, warnings: &mut Vec<String>) -> Result<()> {
    let length = path.len();
    match json {
        Value::Object(object) => {
            if !of_the_user {
                correct_keys(object, path, warnings)?;
            }
            // What the specification does not know is none of our business.
            let concerns = |key: &str| of_the_user || FIELDS.binary_search(&key).is_ok();
            for (key, value) in object.iter_mut().filter(|(key, _)| concerns(key)) {
                *path += &format!("{}{}", if length == 0 { "" } else { "." }, key.escape_debug());
                walk(value, path, !of_the_user && OF_THE_USER.contains(&key.as_str()), warnings)?;
                path.truncate(length);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter_mut().enumerate().filter(|(_, value)| value.is_object()) {
                *path += &format!("[{at}]");
                walk(value, path, false, warnings)?;
                path.truncate(length);
            }
        }
        _ => {}
    }
    Ok(())
}

fn correct_keys(object: &mut Map<String, Value>, path: &str, warnings: &mut Vec<String>) -> Result<()> {
    let other = |key: &String| {
        FIELDS.binary_search(&key.as_str()).err()?;
        let field = FIELDS.iter().find(|field| field.eq_ignore_ascii_case(key))?;
        Some((key.clone(), *field))
    };
    let wrong: Vec<(String, &str)> = object.keys().filter_map(other).collect();
    for (key, field) in wrong {
        let at = if path.is_empty() { String::new() } else { format!("{path}.") };
        if object.contains_key(field) {
            bail!("{at}{key}: the same as {field}, which is given too; remove one");
        }
        warnings.push(format!("{at}{key}: taken as {field}"));
        let value = object.remove(&key).unwrap_or_default();
        object.insert(field.to_owned(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_are_sorted_and_differ_in_more_than_their_letters() {
        assert!(FIELDS.is_sorted());
        let mut small: Vec<String> = FIELDS.iter().map(|field| field.to_ascii_lowercase()).collect();
        small.sort_unstable();
        small.dedup();
        assert_eq!(small.len(), FIELDS.len());
        assert!(OF_THE_USER.iter().all(|name| FIELDS.contains(name)));
    }

    #[test]
    fn the_fields_that_our_parser_writes_are_known() {
        fn each(json: &Value, of_the_user: bool) {
            for (key, value) in json.as_object().into_iter().flatten() {
                assert!(of_the_user || FIELDS.contains(&key.as_str()), "{key}");
                each(value, OF_THE_USER.contains(&key.as_str()));
            }
            json.as_array().into_iter().flatten().for_each(|value| each(value, false));
        }
        each(&serde_json::to_value(oci_spec::runtime::Spec::default()).unwrap(), false);
        each(&crate::container::spec::template(true), false);
    }

    #[test]
    fn keys_are_corrected_wherever_they_are_and_told() {
        let mut json = json!({
            "Process": {"nonewprivileges": true, "rlimits": [{"Type": "RLIMIT_CORE", "soft": 1}]},
            "linux": {"rdma": {"CPU": {"hcahandles": 3}}, "resources": {"CPU": {"Shares": 5}}},
        });
        let mut warnings = correct(&mut json).unwrap();
        warnings.sort_unstable();
        assert_eq!(
            warnings,
            [
                "Process: taken as process",
                "linux.rdma.CPU.hcahandles: taken as hcaHandles",
                "linux.resources.CPU: taken as cpu",
                "linux.resources.cpu.Shares: taken as shares",
                "process.nonewprivileges: taken as noNewPrivileges",
                "process.rlimits[0].Type: taken as type",
            ]
        );
        let whole = json!({
            "process": {"noNewPrivileges": true, "rlimits": [{"type": "RLIMIT_CORE", "soft": 1}]},
            "linux": {"rdma": {"CPU": {"hcaHandles": 3}}, "resources": {"cpu": {"shares": 5}}},
        });
        assert_eq!(json, whole);
    }

    #[test]
    fn names_of_the_user_and_fields_that_nobody_knows_stay() {
        let same = json!({
            "annotations": {"Path": "x"}, "x.y": {"Name": 1, "name": {"Root": 2}}, "linux": {"sysctl": {"TYPE": "x"}, "netDevices": {"Root": {}}},
        });
        let mut json = same.clone();
        assert_eq!((correct(&mut json).unwrap(), json), (vec![], same));
    }

    #[test]
    fn a_key_twice_in_different_letters_is_refused() {
        let error = correct(&mut json!({"root": {"readonly": false, "readOnly": true}})).unwrap_err().to_string();
        assert_eq!(error, "root.readOnly: the same as readonly, which is given too; remove one");
    }
}
