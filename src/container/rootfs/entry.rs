//! What an entry of `mounts` says.

use std::path::Path;

use anyhow::{Result, anyhow};
use oci_spec::runtime::Mount;

use super::options::Options;
use crate::cgroup::Version;

/// What an entry of `mounts` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bind {
        recursive: bool,
    },
    Cgroup {
        version: Option<Version>,
    },
    Filesystem(String),
    /// Changes the flags of what is mounted there.
    Remount,
}

/// Decides what an entry makes. The error is about its type or its options.
pub(super) fn parse(kind: Option<&str>, source: &str, options: &[&str]) -> Result<(Kind, Options), String> {
    let options = Options::parse(options.iter().copied())?;
    let kind = match (options.bind, kind.unwrap_or("")) {
        _ if options.remount => Kind::Remount,
        (Some(recursive), _) => Kind::Bind { recursive },
        (None, "bind") => Kind::Bind { recursive: true },
        (None, "cgroup") => Kind::Cgroup { version: None },
        (None, "cgroup2") => Kind::Cgroup { version: Some(Version::V2) },
        (None, "" | "none") => return Err("type is missing: name a file system, or give the option bind".to_owned()),
        (None, other) => Kind::Filesystem(other.to_owned()),
    };
    if let (false, Some(option)) = (matches!(kind, Kind::Bind { .. }), options.of_a_bind()) {
        return Err(format!("option {option:?} is for bind mounts only; remove it, or add bind"));
    }
    if options.copy_up && kind != Kind::Filesystem("tmpfs".to_owned()) {
        return Err("option \"tmpcopyup\" is for a new tmpfs only; remove it".to_owned());
    }
    match kind {
        Kind::Bind { .. } => {
            options.check_bind()?;
            if source.is_empty() {
                return Err("source is missing for a bind mount".to_owned());
            }
        }
        Kind::Cgroup { .. } => {
            if let Some(option) = options.data.first() {
                return Err(format!("option {option:?} is unknown for a cgroup mount; remove it"));
            }
        }
        // The file system may be the host's, or another container's too.
        Kind::Remount => {
            if let Some(option) = options.of_the_file_system().first() {
                return Err(format!(
                    "option {option:?}: remount changes the flags of the mount, not its file system; give it to the \
                     mount itself"
                ));
            }
        }
        Kind::Filesystem(_) => {}
    }
    Ok((kind, options))
}

pub(super) fn parse_entry(mount: &Mount) -> Result<(Kind, Options)> {
    let options: Vec<&str> = mount.options().iter().flatten().map(String::as_str).collect();
    let source = mount.source().as_deref().and_then(Path::to_str).unwrap_or("");
    parse(mount.typ().as_deref(), source, &options).map_err(|error| anyhow!(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_bind_counts_more_than_the_type() {
        let bind = |recursive| Kind::Bind { recursive };
        assert_eq!(parse(Some("none"), "/sys", &["rbind"]).unwrap().0, bind(true));
        assert_eq!(parse(Some("proc"), "/sys", &["bind"]).unwrap().0, bind(false));
        assert_eq!(parse(Some("bind"), "/sys", &["ro"]).unwrap().0, bind(true));
        assert_eq!(parse(Some("tmpfs"), "", &["ro"]).unwrap().0, Kind::Filesystem("tmpfs".into()));
    }

    #[test]
    fn an_entry_that_says_too_little_is_refused() {
        assert!(parse(None, "/x", &[]).unwrap_err().contains("type is missing"));
        assert!(parse(Some("bind"), "", &[]).unwrap_err().contains("source is missing"));
        assert!(parse(Some("cgroup"), "cgroup", &["memory"]).unwrap_err().contains("\"memory\" is unknown"));
    }
}
