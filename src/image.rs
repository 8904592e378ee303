//! Images in files: an OCI image layout, or what `docker save` writes. They are read, checked and unpacked; nothing is
//! fetched from anywhere.
//!
//! Everything in an image is hostile (threats.md S25). It is read twice: once to see that every digest is right, no limit
//! is passed and every name can be one, before anything is written; then to unpack it, which resolves each name inside
//! the new tree, by descriptor.
//!
//! ```text
//!   files        a directory, or a tar that is read where it lies
//!   layout       index.json -> manifest -> configuration, layers       } Contents
//!   docker       manifest.json -> configuration, layers                }
//!   layer        compression -> member -> tree
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, Mode, OFlags, fstatvfs, mkdir, openat};
use rustix::process::umask;

pub use config::ImageConfig;
use files::{Files, Part};
use layer::{Budget, Layer};
pub use layout::machine;
pub use tree::Ownership;
use tree::{Tree, Whiteout};
pub use user::{Ids, Users};

mod compression;
mod config;
mod digest;
mod docker;
mod files;
mod layer;
mod layout;
mod member;
mod removal;
mod tree;
mod user;

/// No honest manifest or configuration comes near this.
const JSON_LIMIT: u64 = 4 << 20;

/// No honest image comes near this, and the kernel's overlays end at 500.
const MAX_LAYERS: usize = 1000;

/// An image that was found to be whole and harmless to unpack.
#[derive(Debug)]
pub struct Image {
    pub config: ImageConfig,
    name: String,
    /// The lowest first, each with what it hides.
    layers: Vec<(Layer, Vec<Whiteout>)>,
    size: u64,
}

/// What a manifest, of either kind, leads to.
struct Contents {
    config: Vec<u8>,
    layers: Vec<PackedLayer>,
}

/// A layer before its content's digest is known.
struct PackedLayer {
    name: String,
    part: Part,
    digest: Option<digest::Digest>,
}

impl Image {
    /// Opens and checks the image in `PATH` or `PATH:NAME`. Writes nothing. The error names image, layer and member.
    pub fn open(argument: &Path) -> Result<Image> {
        let (path, reference) = split(argument)?;
        let name = argument.display().to_string();
        read(&path, reference.as_deref()).with_context(|| format!("image {name}")).map(|(config, layers, size)| Image {
            config,
            name,
            layers,
            size,
        })
    }

    /// Unpacks it into the new directory `into`. A failure leaves nothing there. Gives the members that this user cannot
    /// make, which are devices.
    pub fn unpack(&self, into: &Path, ownership: Ownership) -> Result<Vec<PathBuf>> {
        let what = || format!("image {}: unpack it into {}", self.name, into.display());
        // Parents that no layer names are for everybody to pass, whoever calls.
        let mask = umask(Mode::from_raw_mode(0o022));
        let made = mkdir(into, Mode::from_raw_mode(0o755)).map_err(io::Error::from).with_context(what);
        let unpacked = made.and_then(|()| {
            let unpacked = self.fill(into, ownership).with_context(what);
            if unpacked.is_err()
                && let Err(error) = remove(into)
            {
                return unpacked.with_context(|| format!("remove {}: {error}", into.display()));
            }
            unpacked
        });
        umask(mask);
        unpacked
    }

    fn fill(&self, into: &Path, ownership: Ownership) -> Result<Vec<PathBuf>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(CWD, into, flags, Mode::empty())?;
        let room = fstatvfs(&root)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if self.size > free {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            bail!(
                "it takes {} MiB and {} MiB are free there: make room, or set TMPDIR to a directory with more",
                mib(self.size),
                mib(free)
            );
        }
        let mut tree = Tree::new(root, ownership);
        let mut skipped = Vec::new();
        for (layer, whiteouts) in &self.layers {
            skipped.extend(layer.unpack(whiteouts, &mut tree).with_context(|| format!("layer {}", layer.name))?);
        }
        Ok(skipped)
    }
}

/// Removes what is at `path`, a tree of any depth and with any modes; nothing there is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    removal::remove_tree(openat(CWD, parent, flags, Mode::empty())?, name)
}

type Checked = (ImageConfig, Vec<(Layer, Vec<Whiteout>)>, u64);

fn read(path: &Path, reference: Option<&str>) -> Result<Checked> {
    let files = Files::open(path)?;
    let has = |name: &str| files.find(name).map(|found| found.is_some());
    // docker writes both since version 25; only the layout has the digests of the layers as they are in the file.
    let contents = if has(layout::INDEX)? {
        layout::contents(&files, reference)?
    } else if has(docker::MANIFEST)? {
        docker::contents(&files, reference)?
    } else {
        let names = files.names();
        let has = if names.is_empty() { String::new() } else { format!(" (it has {}, ...)", names.join(", ")) };
        bail!(
            "it has neither index.json, as an OCI image layout, nor manifest.json, as `docker save` writes it{has}; a root file system is given with --rootfs"
        );
    };
    let (config, diff_ids) = config::parse(&contents.config).context("configuration")?;
    let count = contents.layers.len();
    if count > MAX_LAYERS {
        bail!("it has {count} layers: more than {MAX_LAYERS} are not read");
    }
    if diff_ids.len() != count {
        bail!("its manifest has {count} layers, its configuration {}: they do not belong together", diff_ids.len());
    }
    let mut budget = Budget::default();
    let mut layers = Vec::new();
    for (packed, diff_id) in contents.layers.into_iter().zip(diff_ids) {
        let layer = Layer { name: packed.name, part: packed.part, digest: packed.digest, diff_id };
        let whiteouts = layer.check(&mut budget).with_context(|| format!("layer {}", layer.name))?;
        layers.push((layer, whiteouts));
    }
    Ok((config, layers, budget.data))
}

/// `PATH`, or `PATH:NAME` where there is no such path. Of several ways to read it the longest path counts.
fn split(argument: &Path) -> Result<(PathBuf, Option<String>)> {
    if argument.exists() {
        return Ok((argument.to_owned(), None));
    }
    let bytes = argument.as_os_str().as_bytes();
    for colon in (1..bytes.len()).rev().filter(|at| bytes[*at] == b':') {
        let path = Path::new(OsStr::from_bytes(&bytes[..colon]));
        if path.exists() {
            return Ok((path.to_owned(), Some(String::from_utf8_lossy(&bytes[colon + 1..]).into_owned())));
        }
    }
    let text = argument.display().to_string();
    for transport in ["oci:", "oci-archive:", "docker-archive:", "dir:"] {
        if let Some(rest) = text.strip_prefix(transport) {
            bail!("image {text}: there is no such file; a path comes without {transport:?}: {rest}");
        }
    }
    let source = text.strip_prefix("docker://").unwrap_or(&text);
    bail!(
        "image {text}: there is no such file or directory; an image of a registry is put into one by `skopeo copy docker://{source} oci:DIR`"
    )
}

/// Whether `wanted` names what is called `name`: all of it, or what is after a `/` or the tag.
fn is_name(name: &str, wanted: &str) -> bool {
    let before = name.strip_suffix(wanted);
    !wanted.is_empty() && before.is_some_and(|before| before.is_empty() || before.ends_with(['/', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_the_end_of_its_name() {
        let name = "registry.example/team/app:1.2";
        for wanted in [name, "team/app:1.2", "app:1.2", "1.2"] {
            assert!(is_name(name, wanted), "{wanted}");
        }
        for wanted in ["", "2", "pp:1.2", "app", "app:1", "other"] {
            assert!(!is_name(name, wanted), "{wanted}");
        }
    }

    #[test]
    fn a_colon_in_a_path_is_the_paths_where_there_is_such_a_path() {
        let scratch = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = scratch.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let (plain, colon) = (file("a"), file("a:b"));
        let name = |text: &str| scratch.path().join(text);
        assert_eq!(split(&plain).unwrap(), (plain.clone(), None));
        assert_eq!(split(&colon).unwrap(), (colon.clone(), None));
        assert_eq!(split(&name("a:c:1")).unwrap(), (plain, Some("c:1".into())));
        assert_eq!(split(&name("a:b:c:1")).unwrap(), (colon, Some("c:1".into())));
        let error = |text: &str| split(Path::new(text)).unwrap_err().to_string();
        assert!(error("oci:dir").contains("comes without \"oci:\": dir"));
        assert!(error("nginx:1.27").contains("skopeo copy docker://nginx:1.27 oci:DIR"));
    }
}
