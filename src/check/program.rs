//! Programs that a root file system has or lacks (`--rootfs`).

use std::path::Path;

use super::Subject;
use super::image::{Image, Lookup};
use super::shell::{Joined, Step, script, shell_words, steps};
use crate::foreign::quote;
use crate::lifecycle::rule::Rule;
use crate::lifecycle::tree::Node;
use crate::lifecycle::validate::Problems;

/// Where images have their programs that do not say otherwise.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a shell has itself.
const BUILTINS: [&str; 56] = [
    ".",
    ":",
    "[",
    "alias",
    "bg",
    "break",
    "builtin",
    "cd",
    "command",
    "continue",
    "declare",
    "dirs",
    "disown",
    "echo",
    "enable",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "getopts",
    "hash",
    "help",
    "history",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "set",
    "shift",
    "shopt",
    "source",
    "test",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "wait",
];

/// BE005.
pub fn is_missing(subject: &Subject, problems: &mut Problems) {
    let Some(image) = subject.image else { return };
    for (_, draft, command) in subject.commands() {
        let Some(name) = command.first() else { continue };
        let (certain, lookup) = look_up(name, subject, image);
        let name = quote(name);
        let why = match lookup {
            Lookup::Missing => format!("the root file system has no {name}"),
            Lookup::NotExecutable => format!("{name} is not executable in the root file system"),
            Lookup::LacksInterpreter(other) => {
                format!("{name} is a script for {}, which the root file system lacks", quote(&other))
            }
            Lookup::Runs => {
                in_the_line(subject, image, draft.at, &draft.path, command, problems);
                continue;
            }
            Lookup::Unknown => continue,
        };
        let problem = match certain {
            true => problems.error(draft.at, &draft.path, why),
            false => problems.warning(draft.at, &draft.path, format_args!("{why} in the usual PATH")),
        };
        problem.is(Rule::MissingProgram);
    }
}

/// The programs that a shell line calls. busybox' shell may have them in itself.
fn in_the_line(
    subject: &Subject,
    image: &Image,
    at: Option<crate::lifecycle::tree::Mark>,
    path: &str,
    command: &[String],
    problems: &mut Problems,
) {
    if script(command).is_none() || shell_words(command) != Some(1) {
        return;
    }
    let busybox = busybox(&command[0], subject, image);
    let mut told: Vec<String> = Vec::new();
    for step in steps(command) {
        let Some(name) = called(&step) else { continue };
        if told.iter().any(|known| known == name) || look_up(name, subject, image).1 != Lookup::Missing {
            continue;
        }
        if !name.contains('/') && busybox.as_ref().is_some_and(|busybox| has_applet(busybox, name)) {
            continue;
        }
        told.push(name.to_owned());
        let why = format_args!("the shell line calls {}, which the root file system lacks", quote(name));
        problems.warning(at, path, why).is(Rule::MissingProgram);
    }
}

/// The program that is called in any case: one after `||` is what to do without another.
fn called(step: &Step) -> Option<&str> {
    let name = step.words.first()?.literal().filter(|name| !BUILTINS.contains(name))?;
    (step.joined != Joined::Or).then_some(name)
}

/// The busybox that is the shell, if it is one.
fn busybox(shell: &str, subject: &Subject, image: &Image) -> Option<Vec<u8>> {
    if shell.contains('/') {
        return image.busybox(Path::new(shell));
    }
    search_path(subject).0.split(':').find_map(|directory| image.busybox(&Path::new(directory).join(shell)))
}

/// Whether it can do that without a file of that name. It has the names one after the other, each with a NUL behind it.
fn has_applet(busybox: &[u8], name: &str) -> bool {
    let name = [name.as_bytes(), b"\0"].concat();
    busybox.is_empty() || busybox.windows(name.len()).any(|bytes| bytes == name)
}

/// PATH, and whether it is surely the container's.
fn search_path<'a>(subject: &'a Subject) -> (&'a str, bool) {
    let variables = subject.field("env").and_then(Node::list).unwrap_or_default();
    let path = variables.iter().rfind(|variable| variable.get("name").and_then(Node::text) == Some("PATH"));
    match path.and_then(|variable| variable.get("value")?.text()) {
        // `$(...)` is expanded from other variables.
        Some(path) if !path.contains('$') => (path, true),
        _ => (USUAL_PATH, false),
    }
}

/// What there is under a program's name, and whether that is certain.
fn look_up(name: &str, subject: &Subject, image: &Image) -> (bool, Lookup) {
    let mounts = subject.texts("volumeMounts", "mountPath");
    // A volume may hold anything.
    let is_mounted = |path: &Path| mounts.iter().any(|mount| path.starts_with(mount));
    if name.contains('/') {
        let directory = subject.field("workingDir").and_then(Node::text);
        let path = match (name.starts_with('/'), directory) {
            (true, _) => Path::new(name).to_owned(),
            (false, Some(directory)) => Path::new(directory).join(name),
            // The image's own working directory is not in its root file system.
            (false, None) => return (false, Lookup::Unknown),
        };
        let lookup = if is_mounted(&path) { Lookup::Unknown } else { image.program(&path) };
        return (true, lookup);
    }
    let (path, certain) = search_path(subject);
    let mut best = Lookup::Missing;
    for directory in path.split(':').filter(|directory| directory.starts_with('/')) {
        let path = Path::new(directory).join(name);
        if is_mounted(&path) {
            return (false, Lookup::Unknown);
        }
        match image.program(&path) {
            Lookup::Missing => {}
            found @ (Lookup::Runs | Lookup::LacksInterpreter(_) | Lookup::Unknown) => return (certain, found),
            // The search goes on.
            Lookup::NotExecutable => best = Lookup::NotExecutable,
        }
    }
    (certain, best)
}
