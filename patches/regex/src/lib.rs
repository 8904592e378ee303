//! What oci-spec uses of regex: `Regex`, for one list of processors (`process.execCPUAffinity`).

pub use regex_lite::Regex;
