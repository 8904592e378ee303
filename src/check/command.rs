//! Commands that are not what their writer took them for: there is no shell unless the command names one (X-E05).

use super::Subject;
use super::shell::{base_name, is_name, script, shell_words};
use crate::foreign::quote;
use crate::lifecycle::rule::Rule;
use crate::lifecycle::validate::Problems;

/// What is wrong with how a command is split, and what to write.
struct Split {
    /// It surely fails; else it does something else than it says.
    fails: bool,
    word: usize,
    why: String,
    cure: String,
}

/// BE004.
pub fn is_split_wrongly(subject: &Subject, problems: &mut Problems) {
    for (_, draft, command) in subject.commands() {
        let Some(split) = one_word(command).or_else(|| words_after_script(command)).or_else(|| operators(command))
        else {
            continue;
        };
        // The words of an annotation are not in a list.
        let path = match draft.path.strip_suffix(".exec") {
            Some(_) => format!("{}.command[{}]", draft.path, split.word),
            None => draft.path.clone(),
        };
        let problem = match split.fails {
            true => problems.error(draft.at, &path, split.why),
            false => problems.warning(draft.at, &path, split.why),
        };
        problem.is(Rule::CommandLine).cured_by(split.cure);
    }
}

/// A command as one would write it in YAML, all of it on one line.
fn list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(", "))
}

/// `["sleep 5"]`, `["/bin/sh -c", "..."]`, `["sh", "sleep 5"]`
fn one_word(command: &[String]) -> Option<Split> {
    let first = command.first()?;
    if let Some((program, rest)) = first.trim().split_once(char::is_whitespace) {
        // A blank in a directory's name is possible.
        let is_path = program.contains('/') && rest.contains('/') && !rest.trim_start().starts_with(['-', '/']);
        if is_path {
            return None;
        }
        let mut split: Vec<&str> = first.split_whitespace().collect();
        let is_line = first.contains(['&', '|', ';', '>', '<', '$', '*', '\'', '"']);
        if is_line {
            split = vec!["/bin/sh", "-c", first];
        } else {
            split.extend(command[1..].iter().map(String::as_str));
        }
        let why = format!("{} is taken for the name of one program", quote(first));
        return Some(Split { fails: true, word: 0, why, cure: format!("write {}", list(&split)) });
    }
    let after = shell_words(command)?;
    let written = |line: &str| {
        let shell = command[..after].iter().map(String::as_str);
        format!("write {}", list(&shell.chain(["-c", line]).collect::<Vec<_>>()))
    };
    let line = command.get(after)?;
    if let Some((flag, rest)) = line.split_once(char::is_whitespace).filter(|(flag, _)| flag.starts_with('-')) {
        let why = format!("{} is one word to the shell: {} and its line are two", quote(line), quote(flag));
        return Some(Split { fails: true, word: after, why, cure: written(rest.trim()) });
    }
    if !line.trim().contains(char::is_whitespace) {
        return None;
    }
    let why = format!("{} is taken for the file of a script: -c is missing before it", quote(line));
    Some(Split { fails: true, word: after, why, cure: written(line) })
}

/// `["sh", "-c", "sleep", "5"]`
fn words_after_script(command: &[String]) -> Option<Split> {
    let (script, rest) = script(command)?;
    let [first, ..] = rest else { return None };
    let uses_them = script.match_indices('$').any(|(index, _)| {
        let next = script[index + 1..].trim_start_matches('{');
        next.starts_with(|c: char| c.is_ascii_digit() || "@*#".contains(c))
    });
    let is_word = !script.trim().contains(char::is_whitespace);
    // The first word after the line names the script, as people do: `sh -c 'a; b' sh`.
    let names = ["--", "-", "_", "sh", "bash", "/bin/sh", "/bin/bash"];
    let is_plain = rest.len() == 1 && !first.starts_with('-') && !first.contains(char::is_whitespace);
    let is_name = !is_word && (is_plain || names.contains(&first.as_str()));
    if uses_them || is_name {
        return None;
    }
    let at = command.len() - rest.len();
    let mut whole: Vec<&str> = command[..at - 1].iter().map(String::as_str).collect();
    let line = format!("{script} {}", rest.join(" "));
    whole.push(&line);
    let why = format!("the shell runs only {}: what follows is not part of its line", quote(script));
    let fails = base_name(script.trim()) == "sleep";
    Some(Split { fails, word: at, why, cure: format!("write {}", list(&whole)) })
}

/// `["sleep", "5", "&&", "nginx", "-s", "quit"]`
fn operators(command: &[String]) -> Option<Split> {
    const OPERATORS: [&str; 8] = ["&&", "||", "|", ";", ">", ">>", "<", "2>&1"];
    let program = base_name(command.first()?);
    if script(command).is_some() || ["find", "xargs", "expr", "test", "["].contains(&program) {
        return None;
    }
    let word = command.iter().position(|word| OPERATORS.contains(&word.as_str()))?;
    let line = command.join(" ");
    let why = format!("{} is an argument of {} here: no shell reads it", quote(&command[word]), quote(program));
    let cure = format!("write {}", list(&["/bin/sh", "-c", &line]));
    Some(Split { fails: program == "sleep", word, why, cure })
}

/// BE047: Kubernetes expands `$(NAME)` in a container's command and args only.
pub fn is_not_expanded(subject: &Subject, problems: &mut Problems) {
    const LANGUAGES: [&str; 12] =
        ["awk", "gawk", "mawk", "sed", "perl", "ruby", "php", "node", "python", "python3", "lua", "envsubst"];
    for (_, draft, command) in subject.commands() {
        let program = command.first().map(|word| base_name(word)).unwrap_or_default();
        if let Some((script, _)) = script(command) {
            if let Some(name) = reference(script, "$(", ")").filter(|name| is_capital(name)) {
                let why = format_args!(
                    "$({name}) runs a program named {name}: only a container's command and args have \
                                        such references"
                );
                problems.warning(draft.at, &draft.path, why).is(Rule::NotExpanded).cured_by(format!("write ${name}"));
            }
            continue;
        }
        if LANGUAGES.contains(&program) || shell_words(command).is_some() {
            continue;
        }
        let references = |word: &String| {
            let name = reference(word, "$(", ")").map(|name| format!("$({name})"));
            let braced = || reference(word, "${", "}").map(|name| format!("${{{name}}}"));
            let bare = || word.strip_prefix('$').filter(|name| is_capital(name)).map(|name| format!("${name}"));
            name.or_else(braced).or_else(bare)
        };
        if let Some(reference) = command.iter().find_map(references) {
            let why = format_args!("{reference} is passed as it stands: hooks have no variables and no shell");
            problems.warning(draft.at, &draft.path, why).is(Rule::NotExpanded);
        }
    }
}

fn is_capital(name: &str) -> bool {
    is_name(name) && !name.contains(|c: char| c.is_ascii_lowercase()) && name.contains(|c: char| c.is_ascii_uppercase())
}

/// The first variable's name between `open` and `close`.
fn reference<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    text.match_indices(open).find_map(|(index, _)| {
        let rest = &text[index + open.len()..];
        let (name, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?);
        (is_name(name) && after.starts_with(close)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn a_line_that_is_one_word_is_split() {
        for (command, cure) in [
            (&["sleep 5"][..], r#"write ["sleep", "5"]"#),
            (&["/bin/sh -c", "sleep 5"], r#"write ["/bin/sh", "-c", "sleep 5"]"#),
            (&["sleep 5 && nginx -s quit"], r#"write ["/bin/sh", "-c", "sleep 5 && nginx -s quit"]"#),
            (&["/bin/cat /etc/hosts"], r#"write ["/bin/cat", "/etc/hosts"]"#),
            (&["sh", "sleep 5"], r#"write ["sh", "-c", "sleep 5"]"#),
            (&["sh", "-c sleep 5"], r#"write ["sh", "-c", "sleep 5"]"#),
        ] {
            let split = one_word(&words(command)).unwrap_or_else(|| panic!("{command:?}"));
            assert_eq!((split.cure.as_str(), split.fails), (cure, true));
        }
        for command in [&["sleep", "5"][..], &["/opt/my app/bin/drain"], &["sh", "-c", "sleep 5"], &["sh", "/x.sh"]] {
            assert!(one_word(&words(command)).is_none(), "{command:?}");
        }
    }

    #[test]
    fn words_after_a_shell_line_are_told_unless_it_uses_them() {
        let split = words_after_script(&words(&["sh", "-c", "sleep", "5"])).unwrap();
        assert_eq!((split.cure.as_str(), split.fails, split.word), (r#"write ["sh", "-c", "sleep 5"]"#, true, 3));
        assert!(!words_after_script(&words(&["sh", "-c", "/drain.sh", "--wait"])).unwrap().fails);
        assert!(words_after_script(&words(&["sh", "-c", "sleep 5", "&&", "nginx -s quit"])).is_some());
        for command in [
            &["sh", "-c", "sleep 5"][..],
            &["sh", "-c", "sleep \"$1\"", "sh", "5"],
            &["sh", "-c", "exec \"$@\"", "--", "a", "b"],
            &["sh", "-c", "a; b", "drain"],
            &["bash", "-c", ". /lib.sh && main", "--", "5"],
        ] {
            assert!(words_after_script(&words(command)).is_none(), "{command:?}");
        }
    }

    #[test]
    fn operators_without_a_shell_are_told() {
        assert!(operators(&words(&["sleep", "5", "&&", "x"])).unwrap().fails);
        assert!(!operators(&words(&["echo", "a", ">", "/x"])).unwrap().fails);
        for command in [&["find", "/", "-exec", "rm", "{}", ";"][..], &["sh", "-c", "a && b"], &["echo", "a&&b"]] {
            assert!(operators(&words(command)).is_none(), "{command:?}");
        }
    }
}
