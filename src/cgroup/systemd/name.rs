//! From `linux.cgroupsPath` to the names of a slice and a scope, and to the cgroup that systemd makes of them
//! (systemd.unit(5), systemd.slice(5)).

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

/// systemd refuses longer names of units (UNIT_NAME_MAX).
const LONGEST: usize = 255;

/// A scope and the slice that it is in, by names that systemd accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub slice: String,
    pub scope: String,
}

impl Names {
    /// Of `slice:prefix:name`; without a path as runc does, but with our own name for a prefix.
    pub fn of(cgroups_path: Option<&str>, id: &str, rootless: bool) -> Result<Names> {
        let default = default_slice(rootless);
        let Some(path) = cgroups_path.filter(|path| !path.is_empty()) else {
            return Ok(Names { slice: default.to_owned(), scope: scope("bookend", id)? });
        };
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            bail!(
                "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \
                 {path:?} instead: change it, or leave --systemd-cgroup out"
            );
        };
        let slice = if slice.is_empty() { default } else { slice };
        check_slice(slice)?;
        ensure!(!name.is_empty(), "linux.cgroupsPath {path:?} has no name after its last colon");
        ensure!(
            !name.ends_with(".slice"),
            "linux.cgroupsPath {path:?} names a slice: a container is a scope, which is in a slice"
        );
        Ok(Names { slice: slice.to_owned(), scope: scope(prefix, name)? })
    }

    /// The cgroup of the scope below that of its manager: `a-b.slice` is in `a.slice`.
    pub fn cgroup(&self) -> PathBuf {
        let mut cgroup = PathBuf::new();
        let stem = self.slice.trim_end_matches(".slice");
        if stem != "-" {
            let ends = stem.match_indices('-').map(|(end, _)| end).chain([stem.len()]);
            cgroup.extend(ends.map(|end| format!("{}.slice", &stem[..end])));
        }
        cgroup.join(&self.scope)
    }
}

fn default_slice(rootless: bool) -> &'static str {
    if rootless { "user.slice" } else { "system.slice" }
}

/// `prefix-name.scope`, with what a unit's name cannot have as systemd-escape(1) writes it.
fn scope(prefix: &str, name: &str) -> Result<String> {
    let joined = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
    let mut scope: String = joined.bytes().map(escape).collect();
    scope.push_str(".scope");
    ensure!(
        scope.len() <= LONGEST,
        "linux.cgroupsPath: the scope {scope:?} has {} bytes, and systemd takes {LONGEST}",
        scope.len()
    );
    Ok(scope)
}

fn escape(byte: u8) -> String {
    match byte {
        byte if byte.is_ascii_alphanumeric() || b":-_.@".contains(&byte) => char::from(byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    }
}

fn check_slice(slice: &str) -> Result<()> {
    let Some(stem) = slice.strip_suffix(".slice") else {
        bail!("linux.cgroupsPath: {slice:?} is no slice: its name must end with .slice");
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let parts = stem == "-" || stem.split('-').all(|part| !part.is_empty());
    if stem.is_empty() || !stem.bytes().all(legal) || !parts || slice.len() > LONGEST {
        bail!(
            "linux.cgroupsPath: {slice:?} is no name of a slice: it has letters, digits and :_.\\@ in parts joined by a single \"-\""
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn names(path: &str) -> Names {
        Names::of(Some(path), "id", false).unwrap()
    }

    #[test]
    fn a_path_names_a_scope_in_a_slice() {
        let found = names("machine.slice:libpod:abc");
        assert_eq!((found.slice.as_str(), found.scope.as_str()), ("machine.slice", "libpod-abc.scope"));
        assert_eq!(found.cgroup(), Path::new("machine.slice/libpod-abc.scope"));
        assert_eq!(names("a.slice::abc").scope, "abc.scope");
        assert_eq!(names(":docker:abc").slice, "system.slice");
    }

    #[test]
    fn without_a_path_it_is_in_the_slice_of_who_asks() {
        let of = |path, rootless| Names::of(path, "id", rootless).unwrap().cgroup();
        assert_eq!(of(None, false), Path::new("system.slice/bookend-id.scope"));
        assert_eq!(of(Some(""), true), Path::new("user.slice/bookend-id.scope"));
        assert_eq!(of(Some(":p:n"), true), Path::new("user.slice/p-n.scope"));
    }

    #[test]
    fn a_slice_is_below_those_that_its_name_begins_with() {
        let found = names("kubepods-besteffort-pod1_2.slice:cri-containerd:abc").cgroup();
        let expected =
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-abc.scope";
        assert_eq!(found, Path::new(expected));
        assert_eq!(names("-.slice:p:n").cgroup(), Path::new("p-n.scope"));
    }

    #[test]
    fn what_a_name_of_a_unit_cannot_have_is_escaped() {
        assert_eq!(names("a.slice:p:x+y z/../é").scope, r"p-x\x2by\x20z\x2f..\x2f\xc3\xa9.scope");
        assert_eq!(names("a.slice:p:n").cgroup().components().count(), 2);
    }

    #[test]
    fn other_forms_are_refused_with_what_is_wrong() {
        let error = |path: &str| format!("{:#}", Names::of(Some(path), "id", false).unwrap_err());
        // The words that callers of runc know.
        assert!(error("/docker/abc").contains("expected cgroupsPath to be of format \"slice:prefix:name\""));
        assert!(error("a:b").contains("slice:prefix:name"));
        assert!(error("a.slice:p:").contains("no name"));
        assert!(error("a.slice:p:b.slice").contains("names a slice"));
        for slice in ["a", "../a.slice", "a--b.slice", "-a.slice", "a-.slice", ".slice", "a b.slice", "a/b.slice"] {
            assert!(error(&format!("{slice}:p:n")).contains("slice"), "{slice}");
        }
        let long = error(&format!("a.slice:p:{}", "n".repeat(250)));
        assert!(long.contains("systemd takes 255"), "{long}");
    }
}
