//! A layer: first read and checked as a whole, then unpacked.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::compression::unpacked;
use super::digest::{Digest, Hasher, Hashing};
use super::files::Part;
use super::member::{Kind, Member, Members};
use super::tree::{Tree, Whiteout};

/// What the layers of an image may come to together, unpacked.
const BYTES_LIMIT: u64 = 32 << 30;

/// How many members they may have together.
const MEMBERS_LIMIT: u64 = 2_000_000;

/// What a layer that unpacks to more than a GiB may have for each of its own bytes. gzip can give 1000.
const RATIO_LIMIT: u64 = 200;
const RATIO_MATTERS: u64 = 1 << 30;

/// A layer of an image.
#[derive(Debug)]
pub struct Layer {
    /// Its digest, or its name in the archive.
    pub name: String,
    pub part: Part,
    /// Of the file, as the manifest has it.
    pub digest: Option<Digest>,
    /// Of what is in it, as the configuration has it.
    pub diff_id: Digest,
}

/// What the layers of an image came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    bytes: u64,
    members: u64,
    /// Of files alone: what will be on the disk.
    pub data: u64,
}

/// A name that hides others begins so.
const WHITEOUT: &[u8] = b".wh.";
/// What is older than overlays left here is no file of the image.
const META: &[u8] = b".wh..wh.";

impl Layer {
    /// Reads it all, and says what it hides. Nothing is written until every layer has passed.
    pub fn check(&self, budget: &mut Budget) -> Result<Vec<Whiteout>> {
        let mut part = self.part.clone();
        let mut packed = self.digest.as_ref().map(Hasher::like);
        let mut content = Hasher::like(&self.diff_id);
        let found = self.walk(&mut part, packed.as_mut(), &mut content, budget);
        // A wrong digest explains everything else.
        if let (Some(expected), Some(mut hasher)) = (&self.digest, packed) {
            io::copy(&mut Hashing { input: &mut part, hasher: Some(&mut hasher) }, &mut io::sink())?;
            let digest = hasher.finish();
            if digest != *expected {
                bail!("its digest is {digest}: the file is damaged or was changed, fetch the image again");
            }
        }
        let found = found?;
        let diff_id = content.finish();
        if diff_id != self.diff_id {
            bail!(
                "its content has the digest {diff_id}, the image's configuration says {}: it is damaged, or of another image",
                self.diff_id
            );
        }
        Ok(found)
    }

    fn walk(
        &self,
        part: &mut Part,
        packed: Option<&mut Hasher>,
        content: &mut Hasher,
        budget: &mut Budget,
    ) -> Result<Vec<Whiteout>> {
        let size = part.left();
        let input = unpacked(Hashing { input: part, hasher: packed })?;
        let mut counted = Counted { input, size, produced: 0, before: budget.bytes };
        let mut hashing = Hashing { input: &mut counted, hasher: Some(content) };
        let mut members = Members::new(&mut hashing);
        let mut whiteouts = Vec::new();
        while let Some(member) = members.next()? {
            budget.members += 1;
            if budget.members > MEMBERS_LIMIT {
                bail!("the image has more than {MEMBERS_LIMIT} members");
            }
            budget.data += member.size;
            if let Meaning::Hides(whiteout) = meaning(&member).with_context(|| shown(&member))? {
                whiteouts.push(whiteout);
            }
        }
        // What follows the end of the archive counts for the digests.
        io::copy(&mut hashing, &mut io::sink())?;
        budget.bytes += counted.produced;
        Ok(whiteouts)
    }

    /// Puts it into the tree, above what is there. What it hides is hidden first: of the layers below, never of its own.
    pub fn unpack(&self, whiteouts: &[Whiteout], tree: &mut Tree) -> Result<Vec<PathBuf>> {
        for whiteout in whiteouts {
            let (Whiteout::One(path) | Whiteout::Contents(path)) = whiteout;
            tree.hide(whiteout).with_context(|| format!("whiteout of {:?}", path.display().to_string()))?;
        }
        let mut skipped = Vec::new();
        let mut members = Members::new(unpacked(self.part.clone())?);
        while let Some(member) = members.next()? {
            if let Meaning::IsThere = meaning(&member)?
                && !tree.put(&member, &mut members.data()).with_context(|| shown(&member))?
            {
                skipped.push(member.path);
            }
        }
        tree.set_directory_times()?;
        Ok(skipped)
    }
}

fn shown(member: &Member) -> String {
    format!("member {:?}", member.path.display().to_string())
}

enum Meaning {
    IsThere,
    Hides(Whiteout),
    Nothing,
}

/// What a member is by its name (image-spec, layer.md "Whiteouts").
fn meaning(member: &Member) -> Result<Meaning> {
    let mut names = member.path.iter().map(OsStrExt::as_bytes);
    let Some(name) = names.next_back() else { return Ok(Meaning::IsThere) };
    let directory = member.path.parent().unwrap_or(Path::new(""));
    for above in names {
        if above.starts_with(META) {
            return Ok(Meaning::Nothing);
        }
        if above.starts_with(WHITEOUT) {
            bail!("names that begin with .wh. hide others, they are no directories");
        }
    }
    if member.kind == Kind::HardLink && member.link.iter().any(|name| name.as_bytes().starts_with(WHITEOUT)) {
        bail!("a link to {:?}, which is no file of the image", member.link.display().to_string());
    }
    Ok(match name.strip_prefix(WHITEOUT) {
        None => Meaning::IsThere,
        Some(b".wh..opq") => Meaning::Hides(Whiteout::Contents(directory.to_owned())),
        Some(_) if name.starts_with(META) => Meaning::Nothing,
        Some(b"" | b"." | b"..") => bail!("it hides no name"),
        Some(hidden) => Meaning::Hides(Whiteout::One(directory.join(std::ffi::OsStr::from_bytes(hidden)))),
    })
}

/// Counts what comes out, so that no more comes than an image has.
struct Counted<R> {
    input: R,
    size: u64,
    produced: u64,
    before: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.produced += count as u64;
        let refuse = |why: String| Err(io::Error::other(anyhow!(why)));
        if self.before + self.produced > BYTES_LIMIT {
            return refuse(format!("the image unpacks to more than {} GiB", BYTES_LIMIT >> 30));
        }
        if self.produced > RATIO_MATTERS && self.produced / RATIO_LIMIT > self.size {
            return refuse(format!("it unpacks to more than {RATIO_LIMIT} times its size: it is made to fill a disk"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s25_what_unpacks_to_far_more_than_it_is_ends_in_an_error() {
        let unpack = |size: u64, before: u64| {
            let mut counted = Counted { input: io::repeat(0).take(3 << 30), size, produced: 0, before };
            let mut buffer = vec![0; 64 << 20];
            loop {
                match counted.read(&mut buffer) {
                    Ok(0) => return (counted.produced, None),
                    Ok(_) => {}
                    Err(error) => return (counted.produced, Some(error.to_string())),
                }
            }
        };
        let (produced, error) = unpack(1 << 20, 0);
        assert!(error.unwrap().contains("more than 200 times its size"));
        assert!(produced <= RATIO_MATTERS + (64 << 20), "{produced}");
        assert_eq!(unpack(1 << 30, 0), (3 << 30, None));
        let (produced, error) = unpack(1 << 30, BYTES_LIMIT - (1 << 30));
        assert!(error.unwrap().contains("more than 32 GiB"));
        assert!(produced <= (1 << 30) + (64 << 20), "{produced}");
    }
}
