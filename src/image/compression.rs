//! Layers are tars, plain or compressed. What they begin with tells, media types are often wrong.

use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Result, bail};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The last three bytes of sixteen magic numbers, whose frames are skipped (RFC 8878, 3.1.2).
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// How something that begins like this is compressed; `None` for what may be a tar.
pub fn name(start: &[u8]) -> Option<&'static str> {
    match start {
        _ if start.starts_with(GZIP) => Some("gzip"),
        _ if start.starts_with(ZSTD) || is_skippable(start) => Some("zstd"),
        _ if start.starts_with(b"BZh") => Some("bzip2"),
        _ if start.starts_with(b"\xfd7zXZ\0") => Some("xz"),
        _ => None,
    }
}

fn is_skippable(start: &[u8]) -> bool {
    start.len() >= 4 && start[0] & 0xf0 == 0x50 && &start[1..4] == ZSTD_SKIPPABLE
}

/// What is in it, unpacked.
pub fn unpacked<'a>(input: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    Ok(match name(input.fill_buf()?) {
        None => Box::new(input),
        Some("gzip") => Box::new(MultiGzDecoder::new(input)),
        Some("zstd") => Box::new(Zstd { input, decoder: FrameDecoder::new(), between_frames: true }),
        Some(how) => bail!("it is compressed by {how}: only gzip and zstd layers are read"),
    })
}

/// Frame after frame. Some builders write one for each file, and tables of contents in frames to be skipped.
struct Zstd<R> {
    input: R,
    decoder: FrameDecoder,
    between_frames: bool,
}

impl<R: Read> Zstd<R> {
    /// Finds the next frame. Whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let mut magic = [0; 4];
            let length = read_fully(&mut self.input, &mut magic)?;
            if length == 0 {
                return Ok(false);
            }
            if is_skippable(&magic[..length]) {
                let mut size = [0; 4];
                self.input.read_exact(&mut size)?;
                let size = u64::from(u32::from_le_bytes(size));
                if io::copy(&mut self.input.by_ref().take(size), &mut io::sink())? < size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            self.decoder.init((&magic[..length]).chain(&mut self.input)).map_err(io::Error::other)?;
            return Ok(true);
        }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.between_frames && !self.begin()? {
                return Ok(0);
            }
            self.between_frames = false;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let some = BlockDecodingStrategy::UptoBytes(buffer.len());
                self.decoder.decode_blocks(&mut self.input, some).map_err(io::Error::other)?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            self.between_frames = true;
        }
    }
}

/// As much as there is, up to a full buffer.
pub fn read_fully(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpacked(bytes).map_err(io::Error::other)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn plain_gzip_and_zstd_are_told_by_their_beginning() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(&gzip(&text)).unwrap(), text);
        assert_eq!(read(&zstd(&text)).unwrap(), text);
        assert_eq!(read(b"").unwrap(), b"");
        assert!(read(b"BZh91AY").unwrap_err().to_string().contains("bzip2"));
    }

    #[test]
    fn several_members_and_frames_follow_each_other_and_some_are_skipped() {
        assert_eq!(read(&[gzip(b"one "), gzip(b""), gzip(b"two")].concat()).unwrap(), b"one two");
        let skipped = b"\x5f\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let frames = [skipped.clone(), zstd(b"one "), skipped.clone(), zstd(b""), zstd(b"two"), skipped].concat();
        assert_eq!(read(&frames).unwrap(), b"one two");
    }

    #[test]
    fn s25_what_is_cut_off_or_damaged_is_an_error() {
        let text = vec![7; 100_000];
        for whole in [gzip(&text), zstd(&text), b"\x5f\x2a\x4d\x18\x09\0\0\0abc".to_vec()] {
            for cut in 3..whole.len() {
                if read(&whole[..cut]).is_ok_and(|read| read == text) {
                    panic!("cut at {cut} of {}", whole.len());
                }
            }
            assert!(read(&whole[..whole.len() - 1]).is_err());
        }
        assert!(read(&[gzip(b"one"), b"rubbish".to_vec()].concat()).is_err());
        assert!(read(&[zstd(b"one"), b"rubbish".to_vec()].concat()).is_err());
    }
}
