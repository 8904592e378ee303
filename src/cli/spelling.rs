//! runc's spellings of a command line. Its flags are those of Go's flag package, to which one dash is as good as two
//! (`-bundle DIR`) and an empty value as good as none (`--pid-file ""`).

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, Command, CommandFactory};

use super::args::Cli;

/// runc's verbs that have flags with a value.
const RUNCS: [&str; 8] = ["create", "events", "exec", "list", "ps", "run", "spec", "update"];

/// Flags that must not be left out because they are empty: the hooks of a container would be, another root would be meant, or root
/// itself for a user (threats.md S11).
const NEVER_EMPTY: [&str; 7] = ["root", "user", "pod", "container", "lifecycle", "hook-log-dir", "poststart-stop"];

/// The line as our own parser wants it.
pub fn ours(arguments: &[OsString]) -> Cow<'_, [OsString]> {
    match arguments.iter().skip(1).any(|word| is_suspicious(word.as_bytes())) {
        true => Cow::Owned(rewritten(arguments)),
        false => Cow::Borrowed(arguments),
    }
}

/// Whether something may have to be done: most lines are spared the look at what flags there are.
fn is_suspicious(word: &[u8]) -> bool {
    word.is_empty() || word[0] == b'-' && (word.ends_with(b"=") || word.len() > 2 && word[1] != b'-')
}

fn rewritten(arguments: &[OsString]) -> Vec<OsString> {
    let (mut command, mut in_verb) = (Cli::command(), false);
    let mut words = arguments.iter();
    let mut made: Vec<OsString> = words.next().cloned().into_iter().collect();
    while let Some(word) = words.next() {
        if word == "--" {
            made.push(word.clone());
            break; // the rest is no flags
        }
        let Some(flag) = Flag::of(word) else {
            made.push(word.clone());
            match command.find_subcommand(word).cloned() {
                Some(mut verb) if !in_verb => {
                    verb.build(); // it has no arguments yet
                    (command, in_verb) = (verb, true);
                }
                _ if in_verb && !command.get_positionals().any(Arg::is_trailing_var_arg_set) => {}
                _ => break, // the rest is a command's own, or no line of ours
            }
            continue;
        };
        let Some(known) = flag.find(&command) else {
            made.push(word.clone());
            continue;
        };
        let wants_value = known.get_action().takes_values() && known.get_num_args().is_none_or(|n| n.min_values() > 0);
        let next = if wants_value && flag.value.is_none() { words.next() } else { None };
        let value = flag.value.or(next.map(OsString::as_os_str));
        let is_ours = in_verb && !RUNCS.contains(&command.get_name())
            || known.get_long().is_some_and(|name| NEVER_EMPTY.contains(&name));
        if !wants_value || is_ours || value != Some(OsStr::new("")) {
            made.push(flag.spelled(word));
            made.extend(next.cloned());
        }
    }
    made.extend(words.cloned());
    made
}

/// `-name`, `--name`, `-name=value`
struct Flag<'a> {
    dashes: usize,
    name: &'a str,
    value: Option<&'a OsStr>,
}

impl<'a> Flag<'a> {
    /// None for a word, and for `-` and `--`, which are no flags either.
    fn of(word: &'a OsStr) -> Option<Flag<'a>> {
        let bytes = word.as_bytes();
        let dashes = bytes.iter().take(2).take_while(|byte| **byte == b'-').count();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) if at > dashes => (&bytes[dashes..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
            _ => (&bytes[dashes..], None),
        };
        let name = std::str::from_utf8(name).ok().filter(|name| dashes > 0 && !name.is_empty())?;
        Some(Flag { dashes, name, value })
    }

    fn find<'c>(&self, command: &'c Command) -> Option<&'c Arg> {
        command.get_arguments().find(|arg| match self.name.chars().count() {
            1 if self.dashes == 1 => arg.get_short() == self.name.chars().next(),
            _ => arg.get_long() == Some(self.name),
        })
    }

    /// The word with the dashes that it should have.
    fn spelled(&self, word: &OsStr) -> OsString {
        let mut spelled = OsString::new();
        if self.dashes == 1 && self.name.len() > 1 {
            spelled.push("-");
        }
        spelled.push(word);
        spelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> String {
        let words = ["bookend"].into_iter().chain(words.split(' ')).map(|word| word.replace("''", "").into());
        let words: Vec<OsString> = words.collect();
        let made = ours(&words).iter().skip(1).map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        made.iter().map(|word| if word.is_empty() { "''" } else { word }).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        for (theirs, ours) in [
            ("delete -force x", "delete --force x"),
            ("-root /r run -bundle b -no-pivot=false x", "--root /r run --bundle b --no-pivot=false x"),
            ("exec -cwd /tmp -user=5 x pwd", "exec --cwd /tmp --user=5 x pwd"),
            (
                "-log l -log-format json list -quiet -format json",
                "--log l --log-format json list --quiet --format json",
            ),
            ("kill x -all KILL", "kill x --all KILL"),
        ] {
            assert_eq!(line(theirs), ours);
        }
    }

    #[test]
    fn an_empty_value_is_none() {
        for (theirs, ours) in [
            ("run -b d --pid-file '' --console-socket= x", "run -b d x"),
            ("--log '' --rootless= list", "list"),
            ("exec --cwd '' -p '' x true", "exec x true"),
            ("update --memory '' --cpu-share 5 x", "update --cpu-share 5 x"),
        ] {
            assert_eq!(line(theirs), ours);
        }
    }

    #[test]
    fn what_means_something_already_stays() {
        for same in [
            "exec x ls -all --color=",
            "exec x sh -c '' -force",
            "exec -dt x true",
            "exec -e=A= x true",
            "exec -- x -force",
            "delete -- -force",
            "kill x -KILL",
            "update --memory-swap -1 x",
            "--root '' list",
            "exec -u '' x true",
            "run --lifecycle '' x",
            "run --pod= x",
            "test --fault '' x",
            "state ''",
            "nonsense -force --pid-file ''",
            "-nonsense list",
        ] {
            assert_eq!(line(same), same);
        }
    }
}
