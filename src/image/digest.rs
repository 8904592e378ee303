//! Digests: names that say what a file holds.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use anyhow::{Result, bail};
use sha2::{Digest as _, Sha256, Sha512};

/// `sha256:` or `sha512:` and as many lower-case hexadecimal digits as it takes (image-spec, descriptor.md "Digests").
/// So checked it is safe to use as a part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Digest> {
        let Some((algorithm, hex)) = text.split_once(':') else { bail!("{text:?} is no digest: sha256:HEX") };
        let (algorithm, length) = match algorithm {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            other => bail!("digest algorithm {other:?} is not supported: sha256 and sha512 are"),
        };
        if hex.len() != length || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            bail!("{text:?} is no digest: {} takes {length} digits from 0 to f", algorithm.name());
        }
        Ok(Digest { algorithm, hex: hex.to_owned() })
    }
}

impl Digest {
    /// Where an image layout keeps what has this digest (image-spec, image-layout.md "Blobs").
    pub fn blob(&self) -> String {
        format!("blobs/{}/{}", self.algorithm.name(), self.hex)
    }

    /// The digest of some bytes, by the same algorithm.
    pub fn of(&self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::like(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// Becomes the digest of what it is given.
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// By the algorithm of `expected`.
    pub fn like(expected: &Digest) -> Hasher {
        match expected.algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Hasher::Sha256(hasher) => Digest { algorithm: Algorithm::Sha256, hex: hex(&hasher.finalize()) },
            Hasher::Sha512(hasher) => Digest { algorithm: Algorithm::Sha512, hex: hex(&hasher.finalize()) },
        }
    }
}

/// Reads on, and hashes what it reads where a digest is expected.
pub struct Hashing<'h, R> {
    pub input: R,
    pub hasher: Option<&'h mut Hasher>,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_its_bytes() {
        let empty: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse().unwrap();
        assert_eq!(empty.of(b""), empty);
        assert_ne!(empty.of(b"x"), empty);
        let long: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
        assert!(long.of(b"").to_string().starts_with("sha512:cf83e1357eefb8bd"));
    }

    #[test]
    fn s25_a_digest_cannot_be_a_path_or_of_an_unknown_algorithm() {
        let slashes = format!("sha256:../../../../../../../../../{}", "a".repeat(37));
        assert_eq!(slashes.len(), "sha256:".len() + 64 + 7 - 7);
        for text in [
            slashes.as_str(),
            "",
            "sha256",
            "sha256:",
            "sha256:abc",
            "../etc:passwd",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}/", "a".repeat(63)),
            &format!("sha512:{}", "a".repeat(64)),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
