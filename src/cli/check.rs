//! `bookend check FILE...`: finds what would go wrong without running anything (interface.md section 6).

mod github;
mod json;
mod sarif;
mod text;

use std::path::Path;

use anyhow::{Result, anyhow};

use super::args::{Check, CheckFormat, Global};
use super::with_code;
use crate::check::{Finding, Image, Options, check};
use crate::foreign::quote;

pub fn run(global: &Global, args: &Check) -> Result<u8> {
    if args.files.iter().filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(with_code(2, anyhow!("check: standard input (-) is given more than once")));
    }
    let image = args.rootfs.as_deref().map(Image::open).transpose();
    let image = image.map_err(|error| with_code(2, error.context("check: --rootfs")))?;
    let container = args.container.as_deref().or(global.hooks.container.as_deref());
    let report = check(&args.files, &Options { image, container });
    if let Some(name) = container.filter(|name| !report.names.is_empty() && !report.names.contains(*name)) {
        let names: Vec<String> = report.names.iter().map(|name| quote(name)).collect();
        let text = format!("check: --container: there is no container {}; there are {}", quote(name), names.join(", "));
        return Err(with_code(2, anyhow!(text)));
    }
    match args.format {
        CheckFormat::Text => print!("{}", text::findings(&report, text::is_coloured())),
        CheckFormat::Json => println!("{:#}", json::report(&report)),
        CheckFormat::Sarif => println!("{:#}", sarif::log(&report)),
        CheckFormat::Github => print!("{}", github::annotations(&report)),
    }
    if !args.quiet {
        eprintln!("{}", text::summary(&report));
    }
    Ok(report.exit_code())
}

/// What a finding says: the sentence, and the cure where there is one.
fn message(finding: &Finding) -> String {
    match finding.cure.as_str() {
        "" => finding.sentence.clone(),
        cure => format!("{}; {cure}", finding.sentence),
    }
}
