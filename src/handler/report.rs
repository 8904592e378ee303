//! What a handler's child process (`bookend handle`) tells the supervisor on its report descriptor: one JSON object a line.
//!
//! ```text
//!   handle                       supervisor
//!     | ---- Started{pid} ---->  |    exec only: the hook's own process runs
//!     | ---- Exited{code} ---->  |    exec only: it was reaped
//!     | -- StartFailed{..} --->  |    exec only: it could not be executed
//!     | ----- Probed{..} ----->  |    httpGet, tcpSocket
//!     | ------ (closed) ------>  |    without one of the last three: the child was killed
//! ```

use serde::{Deserialize, Serialize};

use crate::lifecycle::outcome::{Failure, Success};

/// The descriptor on which the child finds its end of the report pipe.
pub const REPORT_FD: i32 = 3;

/// The first of the descriptors on which a postStop child finds the namespaces that were kept.
pub const NAMESPACES_FD: i32 = 4;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Report {
    Started {
        /// As the supervisor sees it; it stays this process's until the report of its end.
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
