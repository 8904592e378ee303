//! `config`: the lines that make a tool use this very binary.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::args::{Config, Tool};
use super::with_code;

/// Stands for the path of bookend in a snippet, quoted as the format wants it.
const PATH: &str = "@BOOKEND@";
/// The same in a line for a shell.
const SHELL_PATH: &str = "@BOOKEND_SHELL@";

pub fn run(args: &Config) -> Result<u8> {
    if args.containerd_version.is_some() && args.tool != Tool::Containerd {
        return Err(with_code(
            2,
            anyhow::anyhow!("--containerd-version concerns `config containerd` alone: leave it out"),
        ));
    }
    let path = own_path()?;
    let snippet = match args.tool {
        Tool::Containerd => containerd(args.containerd_version.as_deref())?,
        Tool::Docker => include_str!("config/docker.json").to_owned(),
        Tool::Podman => include_str!("config/podman.conf").to_owned(),
        Tool::Crio => include_str!("config/crio.conf").to_owned(),
        Tool::Runtimeclass => include_str!("config/runtimeclass.yaml").to_owned(),
        Tool::Systemd => include_str!("config/systemd.service").to_owned(),
    };
    let quoted = if args.tool == Tool::Systemd { quote_systemd(&path) } else { quote(&path) };
    let shell = shlex::try_quote(&path).context("quote the path of bookend")?;
    let fill = |text: &str| text.replace(SHELL_PATH, &shell).replace(PATH, &quoted);
    if args.tool == Tool::Docker {
        // JSON has no comments: what stdout has can go to daemon.json as it is.
        eprintln!("{}", fill(include_str!("config/docker.notes")).trim_end());
    }
    print!("{}", fill(&snippet));
    Ok(0)
}

/// The file that this process executes, as other programs can name it.
fn own_path() -> Result<String> {
    let path: PathBuf = std::fs::read_link("/proc/self/exe").context("read the link /proc/self/exe")?;
    let text =
        path.to_str().with_context(|| format!("the path of bookend, {}, is no UTF-8: move it", path.display()))?;
    // The kernel marks a file that is gone (proc_pid_exe(5)).
    if let Some(gone) = text.strip_suffix(" (deleted)").filter(|_| !path.exists()) {
        bail!("the file of this bookend, {gone}, is gone or was replaced while it ran: run the command again");
    }
    if !path.is_absolute() || text.chars().any(char::is_control) {
        bail!("no configuration can name the path of bookend, {text:?}: put the binary elsewhere");
    }
    Ok(text.to_owned())
}

/// A string of JSON, and as such one of TOML and YAML too: it has no control characters.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The executable of an `ExecStart=` line (systemd.service(5), "Command lines"): specifiers and variables are not meant.
fn quote_systemd(text: &str) -> String {
    quote(text).replace('%', "%%").replace('$', "$$")
}

/// The part of containerd's configuration for the versions that are asked for.
fn containerd(version: Option<&str>) -> Result<String> {
    let notes = include_str!("config/containerd.notes");
    let (two, three) = (include_str!("config/containerd-2.toml"), include_str!("config/containerd-3.toml"));
    let parts = match version.map(config_version).transpose().map_err(|error| with_code(2, error))? {
        Some(2) => vec![notes, two],
        Some(_) => vec![notes, three],
        None => vec![notes, three, two],
    };
    Ok(parts.join("\n"))
}

/// The version of the configuration file that a containerd writes: 2 up to 1.7, 3 from 2.0 on.
fn config_version(containerd: &str) -> Result<u32> {
    let numbers = containerd.strip_prefix('v').unwrap_or(containerd);
    let mut numbers = numbers.split(['.', '-', '+', '~']).map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next()) {
        (Some(1), Some(Some(minor))) if minor >= 3 => Ok(2),
        (Some(major), None | Some(Some(_))) if (2..100).contains(&major) => Ok(3),
        (Some(1), Some(Some(_))) | (Some(0), _) => bail!("--containerd-version {containerd}: too old: 1.3 or newer"),
        _ => {
            bail!("--containerd-version {containerd:?} is no version: write 1.7 or 2.1, as `containerd --version` says")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_kind_is_quoted_as_systemd_wants_it() {
        assert_eq!(quote_systemd("/opt/a b/100%/$x\"y"), r#""/opt/a b/100%%/$$x\"y""#);
    }

    #[test]
    fn the_version_of_containerd_says_which_configuration_it_reads() {
        for (version, config) in
            [("1.6.20~ds1", 2), ("1.7", 2), ("v1.7.2", 2), ("2", 3), ("2.0.0", 3), ("v2.4.0-beta.0", 3)]
        {
            assert_eq!(config_version(version).unwrap(), config, "{version}");
        }
        for version in ["", "1", "0.9", "1.2.13", "new", "2.x", "-1", "1.", "999999999999"] {
            assert!(config_version(version).is_err(), "{version}");
        }
    }

    #[test]
    fn whatever_the_path_the_snippets_can_be_parsed() {
        let path = quote("/opt/with \"quotes\" and \\ back/bookend");
        let whole = containerd(None).unwrap();
        for text in [&whole, include_str!("config/podman.conf"), include_str!("config/crio.conf")] {
            let text = text.replace(PATH, &path);
            let parsed: toml::Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(!parsed.is_empty());
        }
        let json = include_str!("config/docker.json").replace(PATH, &path);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["runtimes"]["bookend"]["path"], "/opt/with \"quotes\" and \\ back/bookend");
    }
}
