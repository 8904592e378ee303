//! `completions`

use anyhow::Result;

use super::args::Completions;
use super::help;

pub fn run(args: &Completions) -> Result<u8> {
    let mut script = Vec::new();
    let mut command = help::described().disable_help_subcommand(true);
    clap_complete::generate(args.shell, &mut command, "bookend", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Ok(0)
}
