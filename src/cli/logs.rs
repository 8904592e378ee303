//! `bookend logs ID`: the kept output of hooks.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::handler::log::parse_file_name;
use crate::lifecycle::journal::open_regular;
use crate::lifecycle::model::Hook;

/// One attempt's output. They sort in the order of a life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    pub hook: Hook,
    pub entry: Option<usize>,
    pub attempt: u32,
    pub path: PathBuf,
}

/// The logs in a container's `hooks` directory, all or those of one hook or attempt. No directory: none.
pub fn select(hooks: &Path, hook: Option<Hook>, attempt: Option<u32>) -> Result<Vec<LogFile>> {
    let entries = match std::fs::read_dir(hooks) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("read {}", hooks.display()))?,
    };
    let mut files = Vec::new();
    for file in entries {
        let file = file.with_context(|| format!("read {}", hooks.display()))?;
        let Some((of, entry, number)) = file.file_name().to_str().and_then(parse_file_name) else { continue };
        if hook.is_none_or(|hook| hook == of) && attempt.is_none_or(|attempt| attempt == number) {
            files.push(LogFile { hook: of, entry, attempt: number, path: file.path() });
        }
    }
    files.sort();
    Ok(files)
}

/// Prints logs one after the other; where there are several, each under a line that names it.
pub fn print(files: &[LogFile], out: &mut impl Write) -> Result<()> {
    for (at, file) in files.iter().enumerate() {
        if files.len() > 1 {
            let entry = file.entry.map(|entry| format!("[{entry}]")).unwrap_or_default();
            let blank = if at > 0 { "\n" } else { "" };
            writeln!(out, "{blank}==> {}{entry} attempt {} <==", file.hook, file.attempt)?;
        }
        let mut log = open_regular(&file.path).with_context(|| format!("read {}", file.path.display()))?;
        io::copy(&mut log, out).with_context(|| format!("print {}", file.path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["postStop-0-1", "preStop-1", "preStop-2", "preStart-10-1", "preStart-2-1", "other"] {
            std::fs::write(dir.path().join(format!("{name}.log")), format!("text of {name}\n")).unwrap();
        }
        dir
    }

    fn printed(hook: Option<Hook>, attempt: Option<u32>) -> String {
        let dir = hooks();
        let mut out = Vec::new();
        print(&select(dir.path(), hook, attempt).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_logs_are_printed_in_the_order_of_a_life_under_their_names() {
        let expected = "\
==> preStart[2] attempt 1 <==
text of preStart-2-1

==> preStart[10] attempt 1 <==
text of preStart-10-1

==> preStop attempt 1 <==
text of preStop-1

==> preStop attempt 2 <==
text of preStop-2

==> postStop[0] attempt 1 <==
text of postStop-0-1
";
        assert_eq!(printed(None, None), expected);
    }

    #[test]
    fn a_single_log_is_printed_as_it_is() {
        assert_eq!(printed(Some(Hook::PreStop), Some(2)), "text of preStop-2\n");
        assert_eq!(printed(Some(Hook::PostStart), None), "");
    }

    #[test]
    fn no_directory_is_no_logs() {
        assert_eq!(select(Path::new("/nonexistent/hooks"), None, None).unwrap(), []);
    }
}
