//! `ps`

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::args::{Global, Ps, TableFormat};
use super::lookup;

pub fn run(global: &Global, args: &Ps) -> Result<u8> {
    let container = lookup::container(global, &args.id)?;
    let mut pids: Vec<i32> = match container.state.cgroup.is_none() {
        true => container.state.init().map(|init| init.pid.as_raw()).into_iter().collect(),
        false => container.state.cgroup.pids()?.into_iter().map(|pid| pid.as_raw()).collect(),
    };
    pids.sort_unstable();
    match args.format {
        TableFormat::Json => println!("{}", serde_json::to_string(&pids)?),
        TableFormat::Table => table(&pids, &args.options)?,
    }
    Ok(0)
}

/// The lines of ps(1) that are about these processes.
fn table(pids: &[i32], options: &[String]) -> Result<()> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default } else { options };
    let output = Command::new("ps").args(options).output().context("run ps")?;
    if !output.status.success() {
        bail!("ps {}: {}", options.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let Some(column) = title.split_whitespace().position(|word| word == "PID") else {
        bail!("ps {} prints no column PID", options.join(" "));
    };
    println!("{title}");
    let is_ours = |line: &&str| {
        line.split_whitespace().nth(column).and_then(|word| word.parse().ok()).is_some_and(|pid| pids.contains(&pid))
    };
    lines.filter(is_ours).for_each(|line| println!("{line}"));
    Ok(())
}
