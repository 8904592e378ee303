//! The journal: `journal.jsonl` in the container's state directory, one event a line (L-04).

use serde::{Deserialize, Serialize};

use super::notice::Notice;
use super::time::Instant;

/// A notice with the time at which it was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
    pub monotonic_ns: Instant,
    pub boot_id: String,
    /// The container's name in the plan.
    pub container: String,
    #[serde(flatten)]
    pub notice: Notice,
}
