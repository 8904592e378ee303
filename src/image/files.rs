//! The files of an image: of a directory, or of a tar that is read where it lies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use super::member::{Kind, Members};
use crate::container::rootfs::path::{Root, link_to};

/// A layout or a saved image has a few files for each layer; a layer is another tar.
const MAX_MEMBERS: usize = 20_000;

/// As many links as are followed from one file of a tar to another.
const MAX_LINKS: usize = 8;

pub enum Files {
    Directory(Root),
    Archive { file: Arc<File>, members: HashMap<PathBuf, Place> },
}

/// Where a file of a tar is.
pub enum Place {
    At { offset: u64, size: u64 },
    LinkTo(PathBuf),
}

impl Files {
    /// Opens the image in `path`; of a tar it reads the headers.
    pub fn open(path: &Path) -> Result<Files> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = open(path, flags, Mode::empty()).map_err(io::Error::from)?;
        let status = fstat(&fd)?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => Ok(Files::Directory(Root::new(fd))),
            FileType::RegularFile => {
                let file = Arc::new(File::from(fd));
                let whole = Part { file: file.clone(), at: 0, left: status.st_size as u64 };
                Ok(Files::Archive { file, members: index(whole)? })
            }
            _ => bail!("it is no directory and no file"),
        }
    }

    /// The file `name`; `None` where there is none. No name leads out of the image.
    pub fn find(&self, name: &str) -> Result<Option<Part>> {
        match self {
            Files::Directory(root) => find_below(root, name).with_context(|| format!("open {name:?}")),
            Files::Archive { file, members } => find_in(file, members, name),
        }
    }

    /// The text of the file `name`, which is JSON and so no longer than that.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let part = self.find(name)?.with_context(|| format!("there is no file {name:?} in it"))?;
        part.read_json().with_context(|| format!("read {name:?}"))
    }

    /// A few names that are in it, for messages.
    pub fn names(&self) -> Vec<String> {
        let Files::Archive { members, .. } = self else { return Vec::new() };
        let mut names: Vec<String> = members.keys().map(|name| format!("{:?}", name.display().to_string())).collect();
        names.sort();
        names.truncate(5);
        names
    }
}

fn find_below(root: &Root, name: &str) -> io::Result<Option<Part>> {
    let Some(fd) = root.find(Path::new(name))? else { return Ok(None) };
    if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    // What was found is opened again, by its descriptor, for reading.
    let file = File::open(link_to(&fd))?;
    let left = file.metadata()?.len();
    Ok(Some(Part { file: Arc::new(file), at: 0, left }))
}

fn find_in(file: &Arc<File>, members: &HashMap<PathBuf, Place>, name: &str) -> Result<Option<Part>> {
    let mut name = Path::new(name).to_owned();
    for _ in 0..MAX_LINKS {
        match members.get(&name) {
            None => return Ok(None),
            Some(Place::At { offset, size }) => {
                return Ok(Some(Part { file: file.clone(), at: *offset, left: *size }));
            }
            Some(Place::LinkTo(target)) => name = target.clone(),
        }
    }
    bail!("{:?} is behind more than {MAX_LINKS} links", name.display().to_string())
}

fn index(whole: Part) -> Result<HashMap<PathBuf, Place>> {
    let mut start = [0; 6];
    let length = whole.clone().read(&mut start)?;
    if let Some(how) = super::compression::name(&start[..length]) {
        bail!("the whole file is compressed ({how}): unpack it first, the layers in it may stay as they are");
    }
    let mut members = HashMap::new();
    let mut archive = Members::new(whole);
    while let Some(member) = archive.next().context("read it as a tar")? {
        if members.len() == MAX_MEMBERS {
            bail!("it has more than {MAX_MEMBERS} files");
        }
        let place = match member.kind {
            Kind::File => Place::At { offset: archive.leap()?, size: member.size },
            Kind::HardLink => Place::LinkTo(plain(&member.link)),
            // A layer that an image has twice is saved once, with a link to it.
            Kind::SymbolicLink => {
                Place::LinkTo(plain(&member.path.parent().unwrap_or(Path::new("")).join(&member.link)))
            }
            _ => continue,
        };
        members.insert(member.path, place);
    }
    if members.is_empty() {
        bail!("it is no tar with files");
    }
    Ok(members)
}

/// A path without `.` and `..`. It is looked up among the names of a tar only.
fn plain(path: &Path) -> PathBuf {
    let mut names = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => names.push(name),
            std::path::Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    names
}

/// A stretch of a file. Copies of it are read independently.
#[derive(Clone, Debug)]
pub struct Part {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Part {
    /// How many bytes are still to be read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Where the next byte is in the file.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Goes on without reading; past the end is an error.
    pub fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += bytes;
        self.left -= bytes;
        Ok(())
    }

    /// All of it, which must not be more than JSON of an image comes to.
    pub fn read_json(mut self) -> Result<Vec<u8>> {
        if self.left > super::JSON_LIMIT {
            bail!("it has {} bytes: more than {} are not read", self.left, super::JSON_LIMIT);
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
