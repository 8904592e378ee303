//! Handlers: exec, httpGet, tcpSocket. Each attempt is a child process of its own (`bookend handle`), which reports how it
//! ended; sleep needs none and lives in the supervisor's loop.

mod address;
mod http;
pub mod log;
pub mod probe;
pub mod report;
mod tls;
mod url;
