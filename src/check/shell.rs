//! Shell lines, read as far as one can without being a shell.
//!
//! What is read are simple commands in a row. At the first thing that needs more (a loop, a condition, a subshell, a here
//! document) reading ends: what follows is not known, and nothing is said about it.

/// One simple command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub words: Vec<Word>,
    pub joined: Joined,
    /// The shell does not wait for it.
    pub background: bool,
}

/// How a command hangs together with the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The first one, or after `;` or the end of a line: it runs in any case.
    Then,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `|`
    Pipe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Literal(String),
    /// What it will be is known only when it runs: `$HOME`, `*.pid`. As it is written.
    Unknown(String),
}

impl Word {
    pub fn literal(&self) -> Option<&str> {
        match self {
            Word::Literal(text) => Some(text),
            Word::Unknown(_) => None,
        }
    }

    /// The file whose contents it is, as that of a pid: `$(cat FILE)`, `$(< FILE)`, also in double quotes, or in backquotes.
    pub fn contents_of(&self) -> Option<&str> {
        let Word::Unknown(text) = self else { return None };
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let command = text.strip_prefix("$(").and_then(|text| text.strip_suffix(')'));
        let command = command.or_else(|| text.strip_prefix('`')?.strip_suffix('`'))?.trim();
        let mut words = command.strip_prefix("cat ").or(command.strip_prefix('<'))?.split_whitespace();
        let file = words.next().filter(|file| !file.contains(['|', ';', '&', '$', '`', '(']))?;
        words.all(|word| word.starts_with("2>")).then_some(file)
    }
}

impl Step {
    /// The program's name without its directory, and the arguments.
    pub fn program(&self) -> Option<(&str, &[Word])> {
        let (name, arguments) = self.words.split_first()?;
        Some((base_name(name.literal()?), arguments))
    }

    /// The command as it would be typed, for a message.
    pub fn text(&self) -> String {
        let words = self.words.iter().map(|word| match word {
            Word::Literal(text) | Word::Unknown(text) => text.as_str(),
        });
        let words: Vec<&str> = words.collect();
        words.join(" ")
    }
}

/// What `exec.command` runs, one after the other: of a shell line its commands, else the one program.
pub fn steps(command: &[String]) -> Vec<Step> {
    match script(command) {
        Some((script, _)) => read(script),
        None => {
            let words = command.iter().cloned().map(Word::Literal).collect();
            vec![Step { words, joined: Joined::Then, background: false }]
        }
    }
}

/// The shell line of a command, and the words after it.
pub fn script(command: &[String]) -> Option<(&str, &[String])> {
    let mut words = command.iter().enumerate().skip(shell_words(command)?);
    loop {
        let (index, word) = words.next()?;
        let flags = word.strip_prefix(['-', '+'])?;
        if word.starts_with('-') && !flags.starts_with('-') && flags.contains('c') {
            let rest = &command[index + 1..];
            return rest.split_first().map(|(script, rest)| (script.as_str(), rest));
        }
        // `-o pipefail`
        if flags.ends_with('o') {
            words.next();
        }
    }
}

/// How many words name the shell, where a command is one: `sh`, `/bin/bash`, `busybox sh`.
pub fn shell_words(command: &[String]) -> Option<usize> {
    const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"];
    let name = |index: usize| command.get(index).map(|word| base_name(word));
    match name(0)? {
        shell if SHELLS.contains(&shell) => Some(1),
        "busybox" if name(1).is_some_and(|shell| SHELLS.contains(&shell)) => Some(2),
        _ => None,
    }
}

pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Where reading goes on after a token.
enum Token {
    Word(Word),
    Operator(&'static str),
    /// A redirection whose target is the next word.
    Redirection,
    /// One without: `2>&1`.
    Duplication,
    End,
    /// Something that this cannot read.
    Beyond,
}

/// The simple commands at the beginning of a script.
pub fn read(script: &str) -> Vec<Step> {
    const COMPOUND: [&str; 14] =
        ["if", "while", "until", "for", "case", "select", "function", "{", "!", "[[", "((", "then", "do", "else"];
    let mut rest = script;
    let mut steps = Vec::new();
    let mut joined = Joined::Then;
    let mut words: Vec<Word> = Vec::new();
    let mut end = |words: &mut Vec<Word>, joined: Joined, background: bool| {
        if let Some(words) = stripped(std::mem::take(words)) {
            steps.push(Step { words, joined, background });
        }
    };
    loop {
        match token(&mut rest) {
            Token::Word(Word::Literal(word)) if words.is_empty() && COMPOUND.contains(&word.as_str()) => break,
            Token::Word(word) => words.push(word),
            Token::Redirection => {
                if !matches!(token(&mut rest), Token::Word(_)) {
                    break;
                }
            }
            Token::Duplication => {}
            Token::Operator(operator) => {
                end(&mut words, joined, operator == "&");
                joined = match operator {
                    "&&" => Joined::And,
                    "||" => Joined::Or,
                    "|" => Joined::Pipe,
                    _ => Joined::Then,
                };
            }
            Token::End => {
                end(&mut words, joined, false);
                break;
            }
            // `name() {`, `x=(...)`: the command before is none.
            Token::Beyond => break,
        }
    }
    steps
}

/// A command without the variables that are set for it and without `exec` and its like; None for an empty one.
fn stripped(mut words: Vec<Word>) -> Option<Vec<Word>> {
    let is_assignment = |word: &Word| match word {
        Word::Literal(text) => text.split_once('=').is_some_and(|(name, _)| is_name(name)),
        Word::Unknown(_) => false,
    };
    let is_prefix = |word: &Word| matches!(word.literal(), Some("exec" | "command" | "nohup"));
    let from = words.iter().position(|word| !is_assignment(word) && !is_prefix(word))?;
    words.drain(..from);
    Some(words)
}

/// Whether a text can be a variable's name.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn token(rest: &mut &str) -> Token {
    let text = rest.trim_start_matches([' ', '\t', '\r']);
    let text = text.strip_prefix("\\\n").unwrap_or(text).trim_start_matches([' ', '\t', '\r']);
    let text = match text.strip_prefix('#') {
        Some(comment) => &comment[comment.find('\n').unwrap_or(comment.len())..],
        None => text,
    };
    *rest = text;
    if text.is_empty() {
        return Token::End;
    }
    for operator in ["&&", "||", ";;", ";", "\n", "|", "&"] {
        if let Some(after) = text.strip_prefix(operator) {
            if operator == "&" && after.starts_with('>') {
                break;
            }
            *rest = after;
            return if operator == ";;" { Token::Beyond } else { Token::Operator(operator) };
        }
    }
    if text.starts_with(['(', ')']) {
        return Token::Beyond;
    }
    redirection(rest).unwrap_or_else(|| word(rest))
}

/// `>`, `2>>`, `<`, `&>`, `2>&1`; `<<` is beyond us.
fn redirection(rest: &mut &str) -> Option<Token> {
    let text = rest.strip_prefix('&').filter(|after| after.starts_with('>')).unwrap_or(rest);
    let text = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if text.starts_with("<<") || text.starts_with("<(") || text.starts_with(">(") {
        return Some(Token::Beyond);
    }
    let operator = [">>", ">|", "<>", ">&", "<&", ">", "<"].into_iter().find(|operator| text.starts_with(operator))?;
    let after = &text[operator.len()..];
    if operator.ends_with('&') {
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        if digits.len() < after.len() {
            *rest = digits;
            return Some(Token::Duplication);
        }
    }
    *rest = after;
    Some(Token::Redirection)
}

fn word(rest: &mut &str) -> Token {
    let text = *rest;
    let mut literal = String::new();
    let mut unknown = false;
    let mut letters = rest.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | ')' => {
                *rest = &rest[index..];
                return Token::Word(if unknown {
                    Word::Unknown(text[..index].to_owned())
                } else {
                    Word::Literal(literal)
                });
            }
            '(' => return Token::Beyond,
            '\\' => match letters.next() {
                Some((_, '\n')) | None => {}
                Some((_, letter)) => literal.push(letter),
            },
            '\'' => loop {
                match letters.next() {
                    Some((_, '\'')) => break,
                    Some((_, letter)) => literal.push(letter),
                    None => return Token::Beyond,
                }
            },
            '"' => loop {
                match letters.next() {
                    Some((_, '"')) => break,
                    Some((_, '$' | '`')) => {
                        unknown = true;
                        if !skip_quoted(&mut letters) {
                            return Token::Beyond;
                        }
                        break;
                    }
                    Some((_, '\\')) => literal.extend(letters.next().map(|(_, letter)| letter)),
                    Some((_, letter)) => literal.push(letter),
                    None => return Token::Beyond,
                }
            },
            '$' => {
                unknown = true;
                if !skip_expansion(&mut letters) {
                    return Token::Beyond;
                }
            }
            '`' => {
                unknown = true;
                if !letters.by_ref().any(|(_, letter)| letter == '`') {
                    return Token::Beyond;
                }
            }
            '*' | '?' | '[' if !(letter == '[' && literal.is_empty()) => unknown = true,
            letter => literal.push(letter),
        }
    }
    *rest = "";
    Token::Word(if unknown { Word::Unknown(text.to_owned()) } else { Word::Literal(literal) })
}

/// The rest of a double-quoted string that has an expansion in it. One that nests quotes is beyond us.
fn skip_quoted(letters: &mut std::str::CharIndices) -> bool {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (_, letter) in letters.by_ref() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '"' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// What follows a `$` outside of quotes: `{...}` and `(...)` to their end.
fn skip_expansion(letters: &mut std::str::CharIndices) -> bool {
    let (open, close) = match letters.clone().next().map(|(_, letter)| letter) {
        Some('(') => ('(', ')'),
        Some('{') => ('{', '}'),
        _ => return true,
    };
    let mut depth = 0_usize;
    for (_, letter) in letters.by_ref() {
        if letter == open {
            depth += 1;
        } else if letter == close {
            depth -= 1;
            if depth == 0 {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command on its own line: how it is joined, its words, `&` for one in the background.
    fn shown(script: &str) -> Vec<String> {
        let line = |step: &Step| {
            let joined = match step.joined {
                Joined::Then => "",
                Joined::And => "&& ",
                Joined::Or => "|| ",
                Joined::Pipe => "| ",
            };
            format!("{joined}{}{}", step.text(), if step.background { " &" } else { "" })
        };
        read(script).iter().map(line).collect()
    }

    #[test]
    fn simple_commands_are_read_one_after_the_other() {
        for (script, steps) in [
            ("sleep 10", vec!["sleep 10"]),
            ("sleep 5; nginx -s quit", vec!["sleep 5", "nginx -s quit"]),
            ("sleep 5 && nginx -s quit || true", vec!["sleep 5", "&& nginx -s quit", "|| true"]),
            ("a\n# comment; b\n c # d\n", vec!["a", "c"]),
            ("echo 'a; b' \"c && d\" >/dev/null 2>&1; e", vec!["echo a; b c && d", "e"]),
            ("X=1 exec /bin/drain --wait; Y=2", vec!["/bin/drain --wait"]),
            ("server & sleep 1", vec!["server &", "sleep 1"]),
            ("ps | grep x", vec!["ps", "| grep x"]),
            ("kill -TERM $(cat /run/x.pid); b", vec!["kill -TERM $(cat /run/x.pid)", "b"]),
            ("echo \"hi $NAME\"x ${Y:-a b} `date +%s` *.txt", vec!["echo \"hi $NAME\"x ${Y:-a b} `date +%s` *.txt"]),
            ("sleep \\\n 5", vec!["sleep 5"]),
            ("[ -f /x ] && a", vec!["[ -f /x ]", "&& a"]),
        ] {
            assert_eq!(shown(script), steps, "{script}");
        }
    }

    #[test]
    fn the_contents_of_a_pid_file_are_known_by_their_file() {
        for (script, file) in [
            ("kill $(cat /run/x.pid)", Some("/run/x.pid")),
            ("kill \"$(cat /run/x.pid 2>/dev/null)\"", Some("/run/x.pid")),
            ("kill `cat x.pid`", Some("x.pid")),
            ("kill $(< /run/x.pid)", Some("/run/x.pid")),
            ("kill $(cat a b)", None),
            ("kill $(cat a|head -n1)", None),
            ("kill $(pidof nginx)", None),
            ("kill $PID", None),
            ("kill 5", None),
        ] {
            assert_eq!(read(script)[0].words[1].contents_of(), file, "{script}");
        }
    }

    #[test]
    fn reading_ends_where_more_than_a_row_of_commands_begins() {
        for (script, steps) in [
            ("a; while true; do sleep 1; done; b", vec!["a"]),
            ("if x; then sleep 40; fi", vec![]),
            ("a; (b; c)", vec!["a"]),
            ("f() { sleep 40; }; f", vec![]),
            ("cat <<EOF\nsleep 40\nEOF", vec![]),
            ("echo 'open", vec![]),
            ("x=(1 2)", vec![]),
        ] {
            assert_eq!(shown(script), steps, "{script}");
        }
    }

    #[test]
    fn a_shell_line_is_found_behind_its_flags() {
        let script_of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            script(&words).map(|(script, rest)| (script.to_owned(), rest.len()))
        };
        let some = |text: &str, rest| Some((text.to_owned(), rest));
        assert_eq!(script_of(&["/bin/sh", "-c", "a"]), some("a", 0));
        assert_eq!(script_of(&["bash", "-e", "-o", "pipefail", "-c", "a", "b"]), some("a", 1));
        assert_eq!(script_of(&["bash", "-exc", "a"]), some("a", 0));
        assert_eq!(script_of(&["bash", "-lec", "a"]), some("a", 0));
        assert_eq!(script_of(&["bash", "-eo", "pipefail", "-c", "a"]), some("a", 0));
        assert_eq!(script_of(&["busybox", "sh", "-c", "a"]), some("a", 0));
        assert_eq!(script_of(&["bash", "--norc", "-c", "a"]), some("a", 0));
        for words in [&["sh", "x.sh", "-c"][..], &["sh"], &["sh", "-c"], &["curl", "-c", "x"], &["busybox", "x"]] {
            assert_eq!(script_of(words), None, "{words:?}");
        }
    }

    #[test]
    fn no_script_makes_a_panic() {
        use proptest::prelude::*;
        proptest!(ProptestConfig::with_cases(3000), |(script in "[a-c $(){}\\[\\]<>&|;'\"`\\\\\n#*0-9é=-]{0,40}")| {
            let _ = read(&script); // whatever it is, reading comes to an end
        });
    }
}
