//! The members of a tar, one after the other.
//!
//! The tar crate reads the headers. The way from one to the next is ours: the crate takes memory for a long name before
//! it has seen how long that is, and ends an extended attribute at a newline.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use tar::{EntryType, Header};

use super::compression::read_fully;
use super::files::Part;

const BLOCK: u64 = 512;

/// What a path may come to: the kernel's PATH_MAX.
pub const PATH_LIMIT: u64 = 4096;

/// What the records of one extended header may come to; an extended attribute of the kernel has 64 KiB at most.
const RECORDS_LIMIT: u64 = 1 << 20;

/// A member with what the headers before it say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Without `.`, `..` and leading slashes; empty for the root directory.
    pub path: PathBuf,
    pub kind: Kind,
    /// Where a link leads, as it is written.
    pub link: PathBuf,
    /// How much data follows.
    pub size: u64,
    /// Permission bits, set-id and sticky bits among them.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    /// Major and minor number.
    pub device: (u32, u32),
    pub attributes: Vec<(OsString, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    HardLink,
    SymbolicLink,
    CharacterDevice,
    BlockDevice,
    Fifo,
}

/// What extra headers say of the member that follows them.
#[derive(Default)]
struct Extra {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Vec<Record>,
}

/// Key and value.
type Record = (Vec<u8>, Vec<u8>);

pub struct Members<R> {
    input: R,
    /// Data of the current member that nobody has read.
    data: u64,
    /// What fills its last block.
    padding: u64,
}

impl<R: Read> Members<R> {
    pub fn new(input: R) -> Members<R> {
        Members { input, data: 0, padding: 0 }
    }

    /// The next member; `None` at the end of the archive.
    pub fn next(&mut self) -> Result<Option<Member>> {
        let mut extra = Extra::default();
        loop {
            self.finish_member()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().context("size of a member")?;
            match header.entry_type() {
                EntryType::GNULongName => extra.long_name = Some(terminated(self.text(size, PATH_LIMIT + 1)?)),
                EntryType::GNULongLink => extra.long_link = Some(terminated(self.text(size, PATH_LIMIT + 1)?)),
                EntryType::XHeader => extra.records = records(&self.text(size, RECORDS_LIMIT)?)?,
                // What holds for all members is a comment in practice.
                EntryType::XGlobalHeader => drop(self.text(size, RECORDS_LIMIT)?),
                _ => {
                    let member = extra.member(&header, size)?;
                    self.expect(member.size);
                    return Ok(Some(member));
                }
            }
        }
    }

    /// The data of the member that `next` has just given.
    pub fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    fn expect(&mut self, size: u64) {
        self.data = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn finish_member(&mut self) -> Result<()> {
        let rest = self.data.saturating_add(self.padding);
        let read = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink())?;
        // The last block of the last member may be short, its data may not.
        if read < self.data {
            bail!("the archive ends within a member: {} bytes are missing", self.data - read);
        }
        self.expect(0);
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let read = read_fully(&mut self.input, header.as_mut_bytes())?;
        if read == 0 || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if read < BLOCK as usize {
            bail!("the archive ends within a header");
        }
        let sum: u32 = header.as_bytes().iter().map(|byte| u32::from(*byte)).sum();
        // The sum was taken with blanks in its own place.
        let own: u32 = header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum();
        if header.cksum().ok() != Some(sum - own + 8 * u32::from(b' ')) {
            bail!("it is no tar: a header's checksum is wrong");
        }
        Ok(Some(header))
    }

    /// The data of an extra header.
    fn text(&mut self, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit {
            bail!("a header with {size} bytes: more than {limit} are not read");
        }
        self.expect(size);
        let mut text = Vec::new();
        self.data().read_to_end(&mut text)?;
        Ok(text)
    }
}

impl Members<Part> {
    /// Leaves the data of the current member out, and says where in the file it begins.
    pub fn leap(&mut self) -> Result<u64> {
        let begin = self.input.position();
        self.input.skip(self.data).map_err(|_| anyhow!("the archive ends within a member"))?;
        self.data = 0;
        Ok(begin)
    }
}

/// The data of one member. An archive that ends before it does is an error.
pub struct Data<'m, R>(&'m mut Members<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.0.data).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self.0.input.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends within a member"));
        }
        self.0.data -= count as u64;
        Ok(count)
    }
}

impl Extra {
    fn member(&self, header: &Header, size: u64) -> Result<Member> {
        let name = self.value("path").or(self.long_name.as_deref());
        let name = name.map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
        let shown = String::from_utf8_lossy(&name).into_owned();
        let member = || -> Result<Member> {
            let kind = kind(header, &name)?;
            if self.records.iter().any(|(key, _)| key.starts_with(b"GNU.sparse.")) {
                bail!("it is sparse, which is not read: make the layer without `--sparse`");
            }
            let link = self.value("linkpath").or(self.long_link.as_deref());
            let link = link.map_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned(), <[u8]>::to_vec);
            let modified = match self.text("mtime")? {
                Some(text) => time(text)?,
                None => (header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0), 0),
            };
            Ok(Member {
                path: path(&name)?,
                link: PathBuf::from(OsString::from_vec(link)),
                // Whatever the header of one without data says (POSIX pax, "size").
                size: if kind == Kind::File { self.number("size")?.unwrap_or(size) } else { 0 },
                mode: header.mode().context("mode")? & 0o7777,
                uid: id("uid", self.number("uid")?, header.uid())?,
                gid: id("gid", self.number("gid")?, header.gid())?,
                modified,
                device: match kind {
                    Kind::CharacterDevice | Kind::BlockDevice => {
                        (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0))
                    }
                    _ => (0, 0),
                },
                attributes: self.attributes(),
                kind,
            })
        };
        member().with_context(|| format!("member {shown:?}"))
    }

    /// The value of a record. Of two the last one counts (POSIX pax).
    fn value(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().rev().find(|(name, _)| name == key.as_bytes())?;
        // An empty value takes an earlier one back.
        Some(found.1.as_slice()).filter(|value| !value.is_empty())
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        let value = self.value(key);
        value.map(std::str::from_utf8).transpose().with_context(|| format!("extended header {key}"))
    }

    fn number<N: FromStr>(&self, key: &str) -> Result<Option<N>>
    where
        N::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.text(key)?;
        text.map(str::parse).transpose().with_context(|| format!("extended header {key} {text:?}"))
    }

    fn attributes(&self) -> Vec<(OsString, Vec<u8>)> {
        let attribute = |(key, value): &Record| {
            let name = key.strip_prefix(b"SCHILY.xattr.")?;
            Some((OsString::from_vec(name.to_vec()), value.clone()))
        };
        self.records.iter().filter_map(attribute).collect()
    }
}

fn kind(header: &Header, name: &[u8]) -> Result<Kind> {
    Ok(match header.entry_type() {
        // The oldest tars knew directories by their slash.
        EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::SymbolicLink,
        EntryType::Char => Kind::CharacterDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Fifo => Kind::Fifo,
        EntryType::GNUSparse => bail!("it is sparse, which is not read: make the layer without `--sparse`"),
        other => bail!("its type {:?} is unknown", char::from(other.as_byte())),
    })
}

/// The path of a member below the root. A name that goes up is refused, whether it would come down again or not.
pub fn path(name: &[u8]) -> Result<PathBuf> {
    if name.len() as u64 > PATH_LIMIT {
        bail!("its name has {} bytes: more than {PATH_LIMIT} are no path", name.len());
    }
    if name.contains(&0) {
        bail!("there is a NUL in its name");
    }
    let names = name.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names
        .map(|name| match name {
            b".." => bail!("its name leads out of the image"),
            name => Ok(OsString::from_vec(name.to_vec())),
        })
        .collect()
}

fn id(what: &str, record: Option<u64>, header: io::Result<u64>) -> Result<u32> {
    let id = record.map_or(header, Ok).with_context(|| format!("its {what}"))?;
    match u32::try_from(id) {
        // 4294967295 is -1: chown takes it for "leave it as it is".
        Ok(id) if id != u32::MAX => Ok(id),
        _ => bail!("its {what} {id} is none: they go from 0 to 4294967294"),
    }
}

/// `1700000000.123456789`, also negative.
fn time(text: &str) -> Result<(i64, u32)> {
    let wrong = || format!("extended header mtime {text:?}");
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().with_context(wrong)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!(wrong());
    }
    let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().with_context(wrong)?;
    Ok(match (seconds.starts_with('-'), nanoseconds) {
        (true, 1..) => (whole.saturating_sub(1), 1_000_000_000 - nanoseconds),
        _ => (whole, nanoseconds),
    })
}

/// Up to the NUL that ends a long name.
fn terminated(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}

/// `LENGTH KEY=VALUE\n`, where the length counts all of it (POSIX pax, "pax Extended Header").
fn records(mut text: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let record = || -> Option<(usize, Record)> {
            let blank = text.iter().take(8).position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&text[..blank]).ok()?.parse().ok()?;
            let record = text.get(blank + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            Some((length, (record[..equals].to_vec(), record[equals + 1..].to_vec())))
        };
        let (length, record) = record().context("an extended header is malformed")?;
        records.push(record);
        text = &text[length..];
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        header.set_cksum();
        header
    }

    fn member(header: &Header, data: &[u8]) -> Vec<u8> {
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn only(archive: &[u8]) -> Result<Member> {
        Ok(Members::new(archive).next()?.expect("there is a member"))
    }

    fn extended(records: &[u8], size: u64) -> Vec<u8> {
        [
            member(&header("x", EntryType::XHeader, records.len() as u64), records),
            member(&header("short", EntryType::Regular, size), b""),
        ]
        .concat()
    }

    /// A record with its length, which counts itself.
    fn record(key: &str, value: &str) -> Vec<u8> {
        let rest = format!(" {key}={value}\n");
        let length = (1..).find(|length: &usize| length.to_string().len() + rest.len() == *length).unwrap();
        format!("{length}{rest}").into_bytes()
    }

    #[test]
    fn an_extended_header_replaces_what_the_member_says_and_its_values_may_have_newlines() {
        let records = [
            record("path", "a/b"),
            record("mtime", "-1.250000000"),
            record("uid", "70000000"),
            record("SCHILY.xattr.security.capability", "\n\n"),
            record("k", "v=w"),
        ];
        let found = only(&extended(&records.concat(), 0)).unwrap();
        assert_eq!(found.path, PathBuf::from("a/b"));
        assert_eq!(found.modified, (-2, 750_000_000));
        assert_eq!(found.uid, 70_000_000);
        assert_eq!(found.attributes, [("security.capability".into(), b"\n\n".to_vec())]);
    }

    #[test]
    fn the_size_of_an_extended_header_is_where_the_next_member_begins() {
        let records = record("size", "600");
        let archive = [
            member(&header("x", EntryType::XHeader, records.len() as u64), &records),
            member(&header("long", EntryType::Regular, 0), &[1; 600]),
            member(&header("next", EntryType::Regular, 0), b""),
        ]
        .concat();
        let mut members = Members::new(archive.as_slice());
        assert_eq!(members.next().unwrap().unwrap().size, 600);
        let mut data = Vec::new();
        members.data().read_to_end(&mut data).unwrap();
        assert_eq!(data, [1; 600]);
        assert_eq!(members.next().unwrap().unwrap().path, PathBuf::from("next"));
        assert_eq!(members.next().unwrap(), None);
    }

    #[test]
    fn a_long_name_of_gnu_is_read_to_its_end() {
        let name = format!("{}/end", "n".repeat(200));
        let archive = [
            member(&header("././@LongLink", EntryType::GNULongName, name.len() as u64 + 1), name.as_bytes()),
            member(&header("short", EntryType::Directory, 0), b""),
        ]
        .concat();
        assert_eq!(only(&archive).unwrap().path, PathBuf::from(name));
    }

    #[test]
    fn s25_a_name_that_goes_up_is_refused_and_an_absolute_one_is_below_the_root() {
        assert_eq!(path(b"/etc//./passwd/").unwrap(), PathBuf::from("etc/passwd"));
        assert_eq!(path(b"./").unwrap(), PathBuf::new());
        for name in [&b".."[..], b"../x", b"a/../../x", b"a/..", b"/..", b"a\0b", &[b'a'; 4097]] {
            assert!(path(name).is_err(), "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn s25_a_broken_archive_is_an_error_in_words() {
        let refused = |archive: &[u8], why: &str| {
            let mut members = Members::new(archive);
            let error = loop {
                match members.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("not refused: {why}"),
                    Err(error) => break format!("{error:#}"),
                }
            };
            assert!(error.contains(why), "{error}");
        };
        refused(&[1; 512], "checksum");
        refused(&member(&header("a", EntryType::Regular, 0), b"")[..100], "ends within a header");
        refused(&member(&header("a", EntryType::Regular, 5_000), b"abc"), "ends within a member");
        refused(&member(&header("a", EntryType::Regular, u64::MAX / 2), b"abc"), "ends within a member");
        refused(&member(&header("a", EntryType::GNUSparse, 0), b""), "sparse");
        refused(&member(&header("a", EntryType::new(b'Z'), 0), b""), "type 'Z' is unknown");
        refused(&member(&header("a", EntryType::GNULongName, 1 << 40), b""), "more than 4097 are not read");
        refused(&member(&header("a", EntryType::XHeader, 1 << 40), b""), "more than 1048576 are not read");
        for records in ["9 a=b\n", "x a=b\n", "5 a=b", "99999999999999999999 a=b\n", "3 a\n", "0 a=b\n", "-1 a=b\n"] {
            refused(&extended(records.as_bytes(), 0), "malformed");
        }
        refused(&extended(&record("uid", "4294967295"), 0), "uid 4294967295 is none");
        refused(&extended(&record("gid", "4294967296"), 0), "gid 4294967296 is none");
        refused(&extended(&record("uid", "x"), 0), "extended header uid");
        refused(&extended(&record("mtime", "soon"), 0), "extended header mtime");
        refused(&extended(&record("GNU.sparse.major", "1"), 0), "sparse");
    }
}
