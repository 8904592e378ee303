//! `spec`

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, Result};

use super::args::{Global, Spec};
use crate::container::spec::template;

pub fn run(_global: &Global, args: &Spec) -> Result<u8> {
    let path = args.bundle.join("config.json");
    let text = serde_json::to_string_pretty(&template(args.rootless))? + "\n";
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("write {} (an existing one is never overwritten)", path.display()))?;
    Ok(0)
}
