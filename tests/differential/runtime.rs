//! The three runtimes, and what kind of error their words tell.

use std::path::Path;
use std::process::Command;

use super::common;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runtime {
    Bookend,
    Runc,
    Crun,
}

impl Runtime {
    /// A call of it with a state root of its own.
    pub fn command(self, root: &Path) -> Command {
        let mut command = match self {
            Runtime::Bookend => Command::new(common::bookend()),
            Runtime::Runc => Command::new("runc"),
            Runtime::Crun => {
                let mut command = Command::new("unshare");
                let script = "umount /sys/fs/cgroup/unified 2> /dev/null; exec crun \"$@\"";
                command.args(["--mount", "--propagation", "slave", "sh", "-c", script, "crun"]);
                command
            }
        };
        command.arg("--root").arg(root);
        command
    }
}

/// Whether runc and crun are those of Debian 12.
pub fn versions_fit(test: &str) -> bool {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    if version("runc").contains("runc version 1.1.") && version("crun").contains("crun version 1.8.") {
        return true;
    }
    common::skip(test, "compares with runc 1.1 and crun 1.8, and there are others here")
}

/// The kind of an error, by the phrases in which runtimes tell it; the first that fits.
const KINDS: [(&str, &[&str]); 10] = [
    ("no such container", &["container does not exist", "\" does not exist", "/status`: no such file"]),
    ("exists already", &["already exists"]),
    (
        "usage",
        &[
            "incorrect usage",
            "flag provided but",
            "unrecognized option",
            "unrecognized subcommand",
            "requires exactly",
            "requires a minimum",
            "requires a maximum",
            "please specify",
            "for more information, try",
            "name a command",
            "process args cannot be empty",
            "no help topic",
            "unknown command",
            "unexpected argument",
        ],
    ),
    ("no such signal", &["unknown signal", "invalid signal", "no signal"]),
    (
        "bad JSON",
        &[
            "unexpected eof",
            "failed: eof",
            "eof while",
            "cannot unmarshal",
            "invalid character",
            "expected value",
            "not a json object",
            "invalid type",
            "error loading config.json",
            "parse error",
        ],
    ),
    (
        "wrong status",
        &[
            "not running",
            "is running",
            "already running",
            "not stopped",
            "cannot start",
            "has stopped",
            "is paused",
            "not paused",
            "no such process",
            "is stopped",
            "is created",
            "cannot pause",
            "cannot resume",
            "not able to be paused",
            "not able to be resumed",
        ],
    ),
    ("hook", &[" hook #", "running hook", "executing hook"]),
    ("no such file", &["no such file or directory", "not found"]),
    ("not permitted", &["operation not permitted", "permission denied"]),
    ("refused", &[""]),
];

/// What kind of error a failed call tells.
pub fn kind(stderr: &str) -> &'static str {
    let text = stderr.to_lowercase().replace('\\', "");
    // In the words of all three: exec: "/x": ...; executable file `x` ...; open executable: ...
    if ["exec: \"", "executable file", "open executable"].iter().any(|words| text.contains(words)) {
        let denied = ["permission denied", "is a directory", "not permitted"].iter().any(|words| text.contains(words));
        return if denied { "not executable" } else { "not found" };
    }
    let found = KINDS.iter().find(|(_, phrases)| phrases.iter().any(|phrase| text.contains(phrase)));
    found.map_or("refused", |(kind, _)| kind)
}

/// Whether the runtime itself has complained, not the program in the container.
pub fn complained(runtime: Runtime, stderr: &str) -> bool {
    let own = |line: &str| match runtime {
        Runtime::Bookend => {
            (line.starts_with("bookend: ") && !line.starts_with("bookend: warning: ")) || line.starts_with("error: ")
        }
        Runtime::Runc => {
            line.contains("level=error")
                || line.contains("level=fatal")
                || line.starts_with("Incorrect Usage")
                || line.starts_with("runc: ")
                || line.starts_with("No help topic")
        }
        // It writes nothing in front of its words.
        Runtime::Crun => !line.is_empty(),
    };
    stderr.lines().any(own)
}
