//! What a handler's child process (`bookend handle`) and the supervisor say to each other on its report socket: a byte that
//! lets it begin, and one JSON object a line.
//!
//! ```text
//!   handle                       supervisor
//!     | <-------- go ----------  |    its pid is written down: a successor will find it (S-28)
//!     | ---- Started{pid} ---->  |    exec only: the hook's own process runs
//!     | ---- Exited{code} ---->  |    exec only: it has ended; the supervisor, which inherits it, reaps it
//!     | -- StartFailed{..} --->  |    exec only: it could not be executed
//!     | ----- Probed{..} ----->  |    httpGet, tcpSocket
//!     | ------ (closed) ------>  |    without one of the last three: the child was killed
//! ```
//!
//! Where the supervisor is gone, `handle` leaves its last word in a file for the next one.

use serde::{Deserialize, Serialize};

use crate::lifecycle::model::Hook;
use crate::lifecycle::outcome::{Failure, Success};

/// The descriptor on which the child finds its end of the report socket.
pub const REPORT_FD: i32 = 3;

/// The first of two, where it keeps the reading ends of its own output open: so the hook lives on without a supervisor, and
/// the next one goes on reading.
pub const OUTPUT_FD: i32 = 4;

/// The first of the descriptors on which a postStop child finds the namespaces that were kept.
pub const NAMESPACES_FD: i32 = 6;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Report {
    Started {
        /// As the supervisor sees it; it stays this process's until the supervisor reaps it.
        pid: i32,
        /// Whether it was born in a control group of its own, by which its whole tree can be killed (X-E15).
        own_cgroup: bool,
    },
    Exited {
        /// 128+N for signal N (X-E09).
        code: i32,
    },
    StartFailed {
        /// X-E10
        error: String,
    },
    Succeeded(Success),
    Failed(Failure),
}

/// The file in the state directory in which `handle` leaves its last word.
pub fn left_behind(hook: Hook, entry: usize, attempt: u32) -> String {
    format!("{hook}-{entry}-{attempt}.end")
}
