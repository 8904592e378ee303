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
    /// Flags of the superblock that only mount(2) takes: `MS_*`.
    pub old_flags: u64,
    /// `idmap`: `Some(false)`, `ridmap`: `Some(true)`.
    pub idmap: Option<bool>,
    pub remount: bool,
    /// `tmpcopyup`: the new tmpfs begins with what it covers.
    pub copy_up: bool,
    pub symlinks: Symlinks,
    /// What only the file system knows.
    pub data: Vec<String>,
}

/// How a bind mount takes a symbolic link at either of its ends; else it follows them. They are crun's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Symlinks {
    /// `copy-symlink`: a source that is a link is made again at the destination.
    pub copy: bool,
    /// `src-nofollow`: a source that is a link is mounted itself.
    pub source_is_kept: bool,
    /// `dest-nofollow`: a destination that is a link is mounted on.
    pub destination_is_kept: bool,
}

enum Meaning {
    Nothing,
    Set(Attr),
    Clear(Attr),
    Atime(Attr),
    Propagation(u64),
    Superblock(&'static str),
    NotSuperblock(&'static str),
    OldFlag(u64),
    NotOldFlag(u64),
    IdMap {
        recursive: bool,
    },
    Remount,
    CopyUp,
    Symlinks(fn(&mut Symlinks)),
    /// Refused, with the cure.
    NoOption(&'static str),
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
const PLAIN: [&str; 23] = [
    "bind",
    "rbind",
    "defaults",
    "remount",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
    "acl",
    "noacl",
    "iversion",
    "noiversion",
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
        // The mount calls that we use never make the kernel's log loud.
        "" | "defaults" | "silent" | "loud" => Nothing,
        "sync" => Superblock("sync"),
        "async" => NotSuperblock("sync"),
        "dirsync" => Superblock("dirsync"),
        "mand" => Superblock("mand"),
        "nomand" => NotSuperblock("mand"),
        "lazytime" => Superblock("lazytime"),
        "nolazytime" => NotSuperblock("lazytime"),
        "iversion" => OldFlag(libc::MS_I_VERSION),
        "noiversion" => NotOldFlag(libc::MS_I_VERSION),
        "acl" => OldFlag(libc::MS_POSIXACL),
        "noacl" => NotOldFlag(libc::MS_POSIXACL),
        "idmap" => IdMap { recursive: false },
        "ridmap" => IdMap { recursive: true },
        "remount" => Remount,
        "tmpcopyup" => CopyUp,
        "copy-symlink" => Symlinks(|symlinks| symlinks.copy = true),
        "src-nofollow" => Symlinks(|symlinks| symlinks.source_is_kept = true),
        "dest-nofollow" => Symlinks(|symlinks| symlinks.destination_is_kept = true),
        "move" => NoOption("the runtime specification has no move: mount the source with bind or rbind"),
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
            Meaning::OldFlag(flag) => self.old_flags |= flag,
            Meaning::NotOldFlag(flag) => self.old_flags &= !flag,
            Meaning::IdMap { recursive } => self.idmap = Some(recursive),
            Meaning::Remount => self.remount = true,
            Meaning::CopyUp => self.copy_up = true,
            Meaning::Symlinks(choose) => choose(&mut self.symlinks),
            Meaning::NoOption(cure) => return Err(format!("option {option:?}: {cure}")),
        }
        Ok(())
    }

    /// What cannot be meant for a mount of a directory or file that exists: a word that is no option at all. Options of a
    /// file system have no effect there, and are refused only where nobody could have taken them for such.
    pub fn check_bind(&self) -> Result<(), String> {
        match self.data.iter().find(|option| !option.contains('=')) {
            Some(option) => Err(format!("option {option:?} is unknown for a bind mount; remove it")),
            None => Ok(()),
        }
    }

    /// Options that a mount of an existing file system does not heed: they are for whoever made it.
    pub fn of_the_file_system(&self) -> Vec<String> {
        let old = [(libc::MS_I_VERSION, "iversion"), (libc::MS_POSIXACL, "acl")];
        let old = old.iter().filter(|(flag, _)| self.old_flags & flag != 0).map(|(_, name)| *name);
        let named = self.superblock.iter().copied().chain(old).map(str::to_owned);
        named.chain(self.data.iter().cloned()).collect()
    }

    /// Options that only a bind mount can have.
    pub fn of_a_bind(&self) -> Option<&'static str> {
        let given = [
            (self.idmap.is_some(), "idmap"),
            (self.symlinks.copy, "copy-symlink"),
            (self.symlinks.source_is_kept, "src-nofollow"),
            (self.symlinks.destination_is_kept, "dest-nofollow"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
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
        let names = names();
        for name in &names {
            let parsed = Options::parse([name.as_str()]).unwrap();
            assert_eq!(parsed.data, Vec::<String>::new(), "{name} would be left to the file system");
        }
        assert!(names.is_sorted() && names.iter().collect::<std::collections::HashSet<_>>().len() == names.len());
    }

    /// config.md "Linux mount options": all that the specification has names for.
    #[test]
    fn features_lists_every_option_of_the_specification() {
        let names = names();
        for name in "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime \
            noexec noiversion nolazytime norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime \
            relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate \
            rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime \
            suid symfollow sync tmpcopyup unbindable idmap ridmap acl noacl mand nomand"
            .split_ascii_whitespace()
        {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
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
        let parsed = Options::parse(["size=1k", "sync", "async", "dirsync", "iversion", "acl", "noacl"]).unwrap();
        assert_eq!(parsed.data, ["size=1k"]);
        assert_eq!(parsed.superblock, ["dirsync"]);
        assert_eq!(parsed.old_flags, libc::MS_I_VERSION);
        assert_eq!(parsed.of_the_file_system(), ["dirsync", "iversion", "size=1k"]);
        assert!(parsed.check_bind().is_ok());
        assert!(Options::parse(["nosuidd"]).unwrap().check_bind().unwrap_err().contains("\"nosuidd\" is unknown"));
    }

    #[test]
    fn what_only_a_bind_can_have_is_known() {
        for option in ["idmap", "copy-symlink", "src-nofollow", "dest-nofollow"] {
            assert_eq!(Options::parse([option]).unwrap().of_a_bind(), Some(option));
        }
        assert_eq!(Options::parse(["ridmap"]).unwrap().idmap, Some(true));
        assert_eq!(Options::parse(["ro", "tmpcopyup"]).unwrap().of_a_bind(), None);
    }

    #[test]
    fn an_option_of_another_program_is_refused_with_the_cure() {
        assert!(Options::parse(["move"]).unwrap_err().contains("bind or rbind"));
    }
}
