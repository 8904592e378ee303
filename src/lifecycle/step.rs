//! The lifecycle as one pure function: see `step`.
