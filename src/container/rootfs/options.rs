//! The options of a mount: flags of the mount, propagation, and the rest, which the file system knows (config.md "mounts").

use rustix::mount::MountAttrFlags as Attr;

use crate::linux::mount::MountAttributes;

/// What the options of one mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// `bind`: `Some(false)`, `rbind`: `Some(true)`.
    pub bind: Option<bool>,
    /// `MOUNT_ATTR_*` that are asked for, and those that are asked not to be.
    pub set: u64,
    pub clear: u64,
    /// The same for the mount and all below it: `rro` and its like.
    pub recursive_set: u64,
    pub recursive_clear: u64,
    /// `MS_*` propagation and whether for all mounts below, in the order given.
    pub propagation: Vec<(u64, bool)>,
    /// Flags of the superblock, as fsconfig(2) calls them.
    pub superblock: Vec<&'static str>,
    /// What only the file system knows.
    pub data: Vec<String>,
}

enum Meaning {
    Nothing,
    Set(Attr),
    Clear(Attr),
    Atime(Attr),
    Propagation(u64),
    Superblock(&'static str),
    NotSuperblock(&'static str),
    Unsupported,
}

/// What `meaning` knows.
const WITH_RECURSIVE_FORM: [&str; 22] = [
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "nodiratime",
    "diratime",
    "nosymfollow",
    "symfollow",
    "noatime",
    "relatime",
    "atime",
    "norelatime",
    "nostrictatime",
    "strictatime",
    "shared",
    "slave",
    "private",
    "unbindable",
];

/// What else is no option of a file system and is supported.
const PLAIN: [&str; 12] = [
    "bind",
    "rbind",
    "defaults",
    "silent",
    "loud",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "lazytime",
    "nolazytime",
];

/// Every option that bookend knows by itself, for `features`.
pub fn names() -> Vec<String> {
    let recursive = WITH_RECURSIVE_FORM.iter().map(|name| format!("r{name}"));
    let plain = WITH_RECURSIVE_FORM.iter().chain(&PLAIN).map(|name| (*name).to_owned());
    let mut names: Vec<String> = plain.chain(recursive).collect();
    names.sort();
    names
}

/// Options whose `r` form means the same for all mounts below.
fn meaning(option: &str) -> Option<Meaning> {
    use Meaning::*;
    Some(match option {
        "ro" => Set(Attr::MOUNT_ATTR_RDONLY),
        "rw" => Clear(Attr::MOUNT_ATTR_RDONLY),
        "nosuid" => Set(Attr::MOUNT_ATTR_NOSUID),
        "suid" => Clear(Attr::MOUNT_ATTR_NOSUID),
        "nodev" => Set(Attr::MOUNT_ATTR_NODEV),
        "dev" => Clear(Attr::MOUNT_ATTR_NODEV),
        "noexec" => Set(Attr::MOUNT_ATTR_NOEXEC),
        "exec" => Clear(Attr::MOUNT_ATTR_NOEXEC),
        "nodiratime" => Set(Attr::MOUNT_ATTR_NODIRATIME),
        "diratime" => Clear(Attr::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => Set(Attr::MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => Clear(Attr::MOUNT_ATTR_NOSYMFOLLOW),
        "noatime" => Atime(Attr::MOUNT_ATTR_NOATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => Atime(Attr::MOUNT_ATTR_RELATIME),
        "strictatime" => Atime(Attr::MOUNT_ATTR_STRICTATIME),
        "shared" => Propagation(libc::MS_SHARED),
        "slave" => Propagation(libc::MS_SLAVE),
        "private" => Propagation(libc::MS_PRIVATE),
        "unbindable" => Propagation(libc::MS_UNBINDABLE),
        _ => return None,
    })
}

/// The ones without such a form.
fn plain_meaning(option: &str) -> Option<Meaning> {
    use Meaning::*;
    Some(match option {
        "" | "defaults" | "silent" | "loud" => Nothing,
        "sync" => Superblock("sync"),
        "async" => NotSuperblock("sync"),
        "dirsync" => Superblock("dirsync"),
        "mand" => Superblock("mand"),
        "nomand" => NotSuperblock("mand"),
        "lazytime" => Superblock("lazytime"),
        "nolazytime" => NotSuperblock("lazytime"),
        "remount" | "move" | "tmpcopyup" | "idmap" | "ridmap" | "iversion" | "noiversion" | "copy-symlink"
        | "src-nofollow" | "dest-nofollow" => Unsupported,
        _ => return None,
    })
}

impl Options {
    /// Reads the options of one mount; of two that contradict each other the later counts.
    pub fn parse<'o>(options: impl IntoIterator<Item = &'o str>) -> Result<Options, String> {
        let mut parsed = Options::default();
        for option in options {
            match option {
                "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
                "rbind" => parsed.bind = Some(true),
                _ => parsed.add(option)?,
            }
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str) -> Result<(), String> {
        if let Some(meaning) = meaning(option).or_else(|| plain_meaning(option)) {
            return self.take(option, meaning, false);
        }
        if let Some(meaning) = option.strip_prefix('r').and_then(meaning) {
            return self.take(option, meaning, true);
        }
        self.data.push(option.to_owned());
        Ok(())
    }

    fn take(&mut self, option: &str, meaning: Meaning, recursive: bool) -> Result<(), String> {
        let (set, clear) = match recursive {
            true => (&mut self.recursive_set, &mut self.recursive_clear),
            false => (&mut self.set, &mut self.clear),
        };
        let bits = |attr: Attr| u64::from(attr.bits());
        match meaning {
            Meaning::Nothing => {}
            Meaning::Set(attr) => {
                *set |= bits(attr);
                *clear &= !bits(attr);
            }
            Meaning::Clear(attr) => {
                *set &= !bits(attr);
                *clear |= bits(attr);
            }
            Meaning::Atime(attr) => {
                *set = *set & !bits(Attr::MOUNT_ATTR__ATIME) | bits(attr);
                // The kernel demands that the whole field is cleared when it is set.
                *clear |= bits(Attr::MOUNT_ATTR__ATIME);
            }
            Meaning::Propagation(kind) => self.propagation.push((kind, recursive)),
            Meaning::Superblock(flag) => {
                self.superblock.retain(|given| *given != flag);
                self.superblock.push(flag);
            }
            Meaning::NotSuperblock(flag) => self.superblock.retain(|given| *given != flag),
            Meaning::Unsupported => return Err(format!("option {option:?} is not supported by bookend; remove it")),
        }
        Ok(())
    }

    /// Errors of a bind mount that would else come late or not at all: it has no superblock of its own to change.
    pub fn check_bind(&self) -> Result<(), String> {
        if let Some(option) = self.data.first() {
            return Err(format!("option {option:?} is unknown for a bind mount; remove it"));
        }
        match self.superblock.first() {
            Some(flag) => Err(format!("option {flag:?} has no effect on a bind mount; remove it")),
            None => Ok(()),
        }
    }

    pub fn attributes(&self) -> MountAttributes {
        MountAttributes::new(self.set, self.clear)
    }

    pub fn recursive_attributes(&self) -> MountAttributes {
        MountAttributes::new(self.recursive_set, self.recursive_clear)
    }

    /// Takes read-only off, to be set when everything below is made. Says whether it was there.
    pub fn postpone_readonly(&mut self) -> bool {
        let readonly = READONLY & (self.set | self.recursive_set) != 0;
        self.set &= !READONLY;
        self.recursive_set &= !READONLY;
        readonly
    }
}

pub(super) const READONLY: u64 = Attr::MOUNT_ATTR_RDONLY.bits() as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(attr: Attr) -> u64 {
        u64::from(attr.bits())
    }

    #[test]
    fn what_features_lists_is_known_and_supported() {
        for name in names() {
            let parsed = Options::parse([name.as_str()]).unwrap();
            assert_eq!(parsed.data, Vec::<String>::new(), "{name} would be left to the file system");
        }
        assert!(names().contains(&"rro".to_owned()) && !names().contains(&"idmap".to_owned()));
    }

    #[test]
    fn every_flag_sets_what_its_opposite_clears() {
        for (on, off, attr) in [
            ("ro", "rw", Attr::MOUNT_ATTR_RDONLY),
            ("nosuid", "suid", Attr::MOUNT_ATTR_NOSUID),
            ("nodev", "dev", Attr::MOUNT_ATTR_NODEV),
            ("noexec", "exec", Attr::MOUNT_ATTR_NOEXEC),
            ("nodiratime", "diratime", Attr::MOUNT_ATTR_NODIRATIME),
            ("nosymfollow", "symfollow", Attr::MOUNT_ATTR_NOSYMFOLLOW),
        ] {
            let set = Options { set: bits(attr), ..Options::default() };
            let clear = Options { clear: bits(attr), ..Options::default() };
            assert_eq!(Options::parse([on]).unwrap(), set, "{on}");
            assert_eq!(Options::parse([off]).unwrap(), clear, "{off}");
            assert_eq!(Options::parse([off, on]).unwrap(), set, "{off},{on}");
            assert_eq!(Options::parse([on, off]).unwrap(), clear, "{on},{off}");
            let recursive = Options::parse([format!("r{on}").as_str()]).unwrap();
            assert_eq!(recursive, Options { recursive_set: bits(attr), ..Options::default() }, "r{on}");
            let recursive = Options::parse([format!("r{off}").as_str()]).unwrap();
            assert_eq!(recursive, Options { recursive_clear: bits(attr), ..Options::default() }, "r{off}");
        }
    }

    #[test]
    fn the_last_atime_option_counts() {
        let parsed = Options::parse(["noatime", "strictatime"]).unwrap();
        assert_eq!(parsed.set, bits(Attr::MOUNT_ATTR_STRICTATIME));
        assert_eq!(parsed.clear, bits(Attr::MOUNT_ATTR__ATIME));
    }

    #[test]
    fn propagation_keeps_its_order_and_reach() {
        let parsed = Options::parse(["rslave", "shared"]).unwrap();
        assert_eq!(parsed.propagation, [(libc::MS_SLAVE, true), (libc::MS_SHARED, false)]);
    }

    #[test]
    fn what_is_left_is_for_the_file_system_and_nothing_for_a_bind() {
        let parsed = Options::parse(["size=1k", "sync", "async", "dirsync"]).unwrap();
        assert_eq!(parsed.data, ["size=1k"]);
        assert_eq!(parsed.superblock, ["dirsync"]);
        assert!(Options::parse(["nosuidd"]).unwrap().check_bind().unwrap_err().contains("\"nosuidd\" is unknown"));
        assert!(Options::parse(["sync"]).unwrap().check_bind().unwrap_err().contains("no effect"));
    }

    #[test]
    fn what_bookend_cannot_do_is_refused() {
        for option in ["tmpcopyup", "idmap", "ridmap", "remount"] {
            assert!(Options::parse([option]).unwrap_err().contains(option));
        }
    }
}
