//! Masked and read-only paths (config-linux.md).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;

use super::options::READONLY;
use super::path::{Root, is_directory};
use super::tree::Tree;
use crate::linux::mount::MountAttributes;

/// What hides files and directories.
pub(super) struct Masks {
    null: OwnedFd,
    /// Made with the first directory; the others show the same one.
    empty: Option<Tree>,
}

impl Masks {
    /// `null` is a `/dev/null` that was checked.
    pub fn new(null: OwnedFd) -> Masks {
        Masks { null, empty: None }
    }

    /// Masks and makes read-only what the configuration names and `concerns` agrees to. What is not there needs no mask.
    pub fn apply(&mut self, root: &Root, config: &Spec, concerns: impl Fn(&OwnedFd) -> io::Result<bool>) -> Result<()> {
        let Some(linux) = config.linux() else { return Ok(()) };
        for path in linux.masked_paths().iter().flatten() {
            let context = || format!("mask {path}");
            if let Some(place) = root.find(Path::new(path)).with_context(context)?
                && concerns(&place).with_context(context)?
            {
                if is_root(root, &place)? {
                    bail!("mask {path}: it is the root itself; refused");
                }
                self.mask(&place).with_context(context)?;
            }
        }
        for path in linux.readonly_paths().iter().flatten() {
            let context = || format!("make {path} read-only");
            if let Some(place) = root.find(Path::new(path)).with_context(context)?
                && concerns(&place).with_context(context)?
            {
                match is_root(root, &place)? {
                    // What would be put upon the root is not what processes begin at.
                    true => Tree::at(place).change(&MountAttributes::new(READONLY, 0), false).with_context(context)?,
                    false => make_readonly(&place).with_context(context)?,
                }
            }
        }
        Ok(())
    }

    fn mask(&mut self, place: &OwnedFd) -> Result<()> {
        if !is_directory(place)? {
            return Ok(Tree::copy_of(&self.null, false)?.attach(place)?);
        }
        match &self.empty {
            Some(empty) => Tree::copy_of(empty, false)?.attach(place)?,
            None => {
                let empty = Tree::empty()?;
                empty.attach(place)?;
                self.empty = Some(empty);
            }
        }
        Ok(())
    }
}

/// Whether this is where processes begin, and not the same directory mounted at another place.
fn is_root(root: &Root, place: &OwnedFd) -> io::Result<bool> {
    Ok(root.is(place)? && root.name_of(place)? == Path::new("/"))
}

/// Puts a read-only copy of a place on the place, with all that is mounted below.
fn make_readonly(place: impl AsFd) -> io::Result<()> {
    let tree = Tree::copy_of(&place, true)?;
    let readonly = MountAttributes::new(READONLY, 0);
    match tree.change_and_attach(&[(readonly, true)], &place) {
        // No mount_setattr: then the mount itself, as the specification asks.
        Err(error) if error.raw_os_error().is_none() => tree.change_and_attach(&[(readonly, false)], &place),
        other => other,
    }
}
