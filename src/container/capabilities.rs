//! Capabilities: the five sets as configured (S10), less what bookend does not have itself.

use anyhow::{Context, Result};
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use crate::linux::capability::{self, Sets};

/// Number N of the kernel is at index N (include/uapi/linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability that bookend knows, for `features`.
pub fn all() -> Vec<String> {
    NAMES.iter().map(|name| format!("CAP_{name}")).collect()
}

fn mask(set: &Option<Capabilities>) -> u64 {
    set.iter().flatten().filter_map(number).fold(0, |mask, number| mask | 1 << number)
}

fn number(capability: &Capability) -> Option<usize> {
    let name = capability.to_string();
    NAMES.iter().position(|known| *known == name)
}

fn names(mask: u64) -> String {
    let names = (0..64).filter(|bit| mask & 1 << bit != 0);
    let names = names.map(|bit| NAMES.get(bit).map_or(format!("capability {bit}"), |name| format!("CAP_{name}")));
    names.collect::<Vec<_>>().join(", ")
}

/// The capabilities that the kernel knows and this process does not have, by name; "" when it has all.
pub fn missing() -> Result<String> {
    let known = (0..64).take_while(|bit| capability::in_bounding(*bit).is_some()).fold(0, |mask, bit| mask | 1 << bit);
    Ok(names(known & !capability::get().context("capget")?.effective))
}

/// What a process shall have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    sets: Sets,
    bounding: u64,
    ambient: u64,
}

impl Wanted {
    /// No capabilities configured means none.
    pub fn new(configured: &Option<LinuxCapabilities>) -> Wanted {
        let Some(configured) = configured else { return Wanted::default() };
        Wanted {
            sets: Sets {
                effective: mask(configured.effective()),
                permitted: mask(configured.permitted()),
                inheritable: mask(configured.inheritable()),
            },
            bounding: mask(configured.bounding()),
            ambient: mask(configured.ambient()),
        }
    }

    /// Drops from the bounding set what is not wanted there. While we still have CAP_SETPCAP. Gives what is wanted and not there.
    pub fn limit_bounding(&self) -> Result<u64> {
        let mut missing = self.bounding;
        for bit in 0..64 {
            match capability::in_bounding(bit) {
                None => break,
                Some(true) if self.bounding & 1 << bit == 0 => capability::drop_from_bounding(bit)
                    .with_context(|| format!("drop {} from the bounding set", names(1 << bit)))?,
                Some(there) => missing &= !(u64::from(there) << bit),
            }
        }
        Ok(missing)
    }

    /// Makes all that is permitted effective again, which a change of user took away.
    pub fn raise_all() -> Result<()> {
        let now = capability::get().context("capget")?;
        capability::set(Sets { effective: now.permitted, ..now }).context("make the permitted capabilities effective")
    }

    /// Sets the other four, after the change of user. What we do not have ourselves is left out, which can only lessen the
    /// process's rights, and told in a warning, as is `missing` from the bounding set (config.md "capabilities").
    pub fn apply(&self, missing: u64) -> Result<Option<String>> {
        let ours = capability::get().context("capget")?.permitted;
        let sets = self.within(ours);
        capability::set(sets).with_context(|| {
            let (e, p, i) = (names(sets.effective), names(sets.permitted), names(sets.inheritable));
            format!("set capabilities (effective [{e}], permitted [{p}], inheritable [{i}])")
        })?;
        capability::clear_ambient().context("clear ambient capabilities")?;
        let possible = self.ambient & sets.permitted & sets.inheritable;
        for bit in (0..64).filter(|bit| possible & 1 << bit != 0) {
            capability::raise_ambient(bit).with_context(|| format!("raise {} to ambient", names(1 << bit)))?;
        }
        Ok(self.out_of_reach(ours, missing))
    }

    /// The three sets of a process that has no more than `ours` to give.
    fn within(&self, ours: u64) -> Sets {
        let Sets { effective, permitted, inheritable } = self.sets;
        let permitted = permitted & ours;
        Sets { effective: effective & permitted, permitted, inheritable: inheritable & ours }
    }

    /// The warning about what `within` left out, and about what is `missing`.
    fn out_of_reach(&self, ours: u64, missing: u64) -> Option<String> {
        let left = (self.sets.permitted | self.sets.inheritable) & !ours | missing;
        let text = || format!("process.capabilities: without {}, which bookend itself does not have", names(left));
        (left != 0).then(text)
    }
}

/// What a configuration wants that by its other sets cannot be (capabilities(7); config.md: to be logged). buildah 1.28 writes
/// such ambient ones for every container, and runc and crun leave them out without a word.
pub fn impossible(configured: &Option<LinuxCapabilities>) -> Option<String> {
    let Wanted { sets, ambient, .. } = Wanted::new(configured);
    let ambient = ambient & !(sets.permitted & sets.inheritable);
    let effective = sets.effective & !sets.permitted;
    let ambient =
        (ambient != 0).then(|| format!("{} cannot be ambient: not permitted and inheritable", names(ambient)));
    let effective = (effective != 0).then(|| format!("{} cannot be effective: not permitted", names(effective)));
    let told: Vec<String> = ambient.into_iter().chain(effective).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_that_the_specification_names_has_its_number() {
        let all = NAMES.map(|name| format!("CAP_{name}"));
        let set: Capabilities = serde_json::from_value(serde_json::json!(all.as_slice())).unwrap();
        assert_eq!(mask(&Some(set)), (1 << 41) - 1);
        let one = |name: &str| mask(&Some(serde_json::from_value(serde_json::json!([name])).unwrap()));
        assert_eq!(one("CAP_SYS_ADMIN"), 1 << 21);
        assert_eq!(one("CAP_BPF"), 1 << 39);
        assert_eq!(names(1 << 21 | 1), "CAP_CHOWN, CAP_SYS_ADMIN");
    }

    #[test]
    fn s10_inheritable_is_what_is_configured_and_never_derived() {
        let configured =
            serde_json::json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
        let wanted = Wanted::new(&serde_json::from_value(configured).unwrap());
        assert_eq!(wanted.sets.inheritable, 0);
        assert_eq!(wanted.sets.permitted, 1 << 5);
        assert_eq!(Wanted::new(&None), Wanted::default());
    }

    #[test]
    fn what_cannot_be_ambient_is_known_beforehand() {
        let parse = |configured: serde_json::Value| impossible(&serde_json::from_value(configured).unwrap());
        let kill = || serde_json::json!(["CAP_KILL"]);
        assert_eq!(parse(serde_json::json!({"ambient": kill(), "permitted": kill(), "inheritable": kill()})), None);
        assert_eq!(
            parse(serde_json::json!({"ambient": kill(), "permitted": kill()})).as_deref(),
            Some("CAP_KILL cannot be ambient: not permitted and inheritable")
        );
        assert_eq!(
            parse(serde_json::json!({"effective": kill()})).as_deref(),
            Some("CAP_KILL cannot be effective: not permitted")
        );
    }

    #[test]
    fn what_bookend_does_not_have_is_left_out_and_told() {
        let wanted =
            Wanted { sets: Sets { effective: 0b1101, permitted: 0b0111, inheritable: 0b0011 }, ..Wanted::default() };
        assert_eq!(wanted.within(0b0101), Sets { effective: 0b0101, permitted: 0b0101, inheritable: 0b0001 });
        let told = wanted.out_of_reach(0b0101, 0b1_0000).unwrap();
        assert_eq!(
            told,
            "process.capabilities: without CAP_DAC_OVERRIDE, CAP_FSETID, which bookend itself does not have"
        );
        assert_eq!(wanted.out_of_reach(0b0111, 0), None);
    }
}
