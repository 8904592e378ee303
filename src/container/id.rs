//! Container ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A container ID that is safe to use as one path component: `[A-Za-z0-9_+.-]+`, not `.` or `..`, at most 255 bytes
/// (threats.md S16).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = String;

    fn from_str(text: &str) -> Result<ContainerId, String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
        if text.is_empty() || text.len() > 255 || text == "." || text == ".." || !text.bytes().all(legal) {
            return Err(format!(
                "invalid container id {text:?}: use 1 to 255 of the characters A-Z a-z 0-9 _ + . - (and not \".\" or \"..\")"
            ));
        }
        Ok(ContainerId(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = String;

    fn try_from(text: String) -> Result<ContainerId, String> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> String {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
