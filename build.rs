//! Tells the version which commit it was built from.

use std::process::Command;

fn main() {
    let head = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = head
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo:rustc-env=BOOKEND_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
    println!("cargo:rerun-if-changed=.git/HEAD");
}
