//! From a file to its documents; what cannot be read is told with its place and a cure.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{Found, fields};
use crate::lifecycle::rule::{Rule, Severity};
use crate::lifecycle::tree::{self, MAX_BYTES, Mark, Node, ParseError, Value};
use crate::lifecycle::validate::Problem;

/// The most bytes of one file: rendered charts with all their definitions have a few MiB. Each document may have 1 MiB.
const MAX_FILE: usize = 32 << 20;

/// Why a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    ByUser,
    /// It lies in a directory that the user named; it may be anything.
    ByWalking,
}

/// Reads a whole file, or standard input for `-`.
pub fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let read = |input: &mut dyn Read| {
        let mut bytes = Vec::new();
        input.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = match path.as_os_str().to_str() {
        Some("-") => read(&mut io::stdin().lock()),
        _ => File::open(path).and_then(|mut file| read(&mut file)),
    };
    let bytes = bytes.map_err(|error| {
        let cure = match error.kind() {
            io::ErrorKind::NotFound => "check the file's name",
            io::ErrorKind::PermissionDenied => "make it readable for this user",
            _ => "give a YAML or JSON file, a directory of them, or - for standard input",
        };
        unreadable(None, format!("cannot be read: {error}"), cure)
    })?;
    if bytes.len() > MAX_FILE {
        return Err(unreadable(None, format!("larger than {} MiB", MAX_FILE >> 20), "split it"));
    }
    Ok(bytes)
}

fn unreadable(at: Option<Mark>, text: String, cure: &str) -> Problem {
    let mut problem = Problem::new(text, "", at, Severity::Error);
    problem.is(Rule::NotReadable).cured_by(cure);
    problem
}

/// Calls `each` for every document; a document that is none is told, and the others are read all the same.
pub fn documents(bytes: &[u8], named: Named, found: &mut Found, each: &mut dyn FnMut(&Node, &mut Found)) {
    if named == Named::ByWalking && !is_about_containers(bytes) {
        return;
    }
    for (first, text) in split(bytes) {
        match tree::parse_at(text, first) {
            Ok(nodes) => nodes.iter().for_each(|node| match node.value {
                Value::Map(_) => each(node, found),
                _ if named == Named::ByUser => no_object(node, found),
                _ => {}
            }),
            Err(error) => {
                found.relevant = true;
                refuse(error, text, first, named, found);
            }
        }
    }
    if !found.relevant && named == Named::ByUser {
        let text = "no Pod, no workload and no lifecycle in here; nothing was checked".to_owned();
        let mut problem = Problem::new(text, "", None, Severity::Info);
        problem.is(Rule::NothingToCheck);
        found.tell(None, None, problem);
    }
}

/// A list is one of patches or values; anything else is no Kubernetes file at all.
fn no_object(node: &Node, found: &mut Found) {
    if node.list().is_some() {
        return;
    }
    found.relevant = true;
    found.unreadable = true;
    let text = format!("Invalid value: {}: must be an object", node.shown());
    let mut problem = Problem::new(text, "", Some(node.at), Severity::Error);
    problem.is(Rule::WrongKind).cured_by("give a Pod, a workload or a lifecycle file, as YAML or JSON");
    found.tell(None, None, problem);
}

/// Whether a file that nobody named may be a manifest: those of other tools are left alone.
fn is_about_containers(bytes: &[u8]) -> bool {
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    has(b"containers") || has(b"lifecycle") || has(b"terminationGracePeriodSeconds")
}

/// Whether a document without a kind is a lifecycle file (lifecycle.md section 2) and not, say, a chart's values.
pub fn is_lifecycle(node: &Node) -> bool {
    const HOOKS: [&str; 6] = ["lifecycle", "extensions", "preStart", "postStart", "preStop", "postStop"];
    let fields = fields(Some(node));
    let has = |name: &str| fields.iter().any(|(known, ..)| known == name);
    if has("kind") || has("apiVersion") {
        return false;
    }
    let near = |words: &[&'static str]| {
        let is_near = |name: &str| tree::nearest(name, words.iter().copied()).is_some();
        fields.iter().take(20).filter(|(name, ..)| is_near(name)).count()
    };
    let hooks = near(&HOOKS);
    hooks > 0 && (hooks + near(&["terminationGracePeriodSeconds", "ports"])) * 2 > fields.len()
}

/// The documents of a file with the lines before each. A line that begins with `---` can be nothing else in YAML.
fn split(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut documents = Vec::new();
    let (mut begin, mut first, mut line, mut at) = (0, 0, 0, 0);
    for text in bytes.split_inclusive(|byte| *byte == b'\n') {
        let is_mark = text.strip_prefix(b"---").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace));
        if is_mark && at > begin {
            documents.push((first, &bytes[begin..at]));
            (begin, first) = (at, line);
        }
        at += text.len();
        line += 1;
    }
    documents.push((first, &bytes[begin..]));
    documents.retain(|(_, text)| !is_blank(text));
    documents
}

/// Nothing but comments and directives, which stand before a document's mark.
fn is_blank(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').all(|line| {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
        line.is_empty() || line == b"---" || line.starts_with(b"#") || line.starts_with(b"%")
    })
}

/// Tells why a text is no document.
fn refuse(error: ParseError, text: &[u8], first: usize, named: Named, found: &mut Found) {
    let lines = || text.split(|byte| *byte == b'\n');
    let has = |line: &[u8], word: &[u8]| line.windows(word.len()).any(|window| window == word);
    if let Some(index) = lines().position(|line| has(line, b"{{") && has(line, b"}}")) {
        // In a directory of charts that is what templates are; what was named is to be checked.
        let severity = if named == Named::ByUser { Severity::Error } else { Severity::Info };
        let at = Mark { line: first + index + 1, column: 1 };
        let text = "this is a template of Helm or its like, not YAML".to_owned();
        let mut problem = Problem::new(text, "", Some(at), severity);
        problem.is(Rule::Template);
        found.unreadable |= named == Named::ByUser;
        return found.tell(None, None, problem);
    }
    found.unreadable = true;
    let line = lines().nth(error.at.line.saturating_sub(first + 1)).unwrap_or_default();
    let cure = cure(&error, line, text);
    found.tell(None, None, unreadable(Some(error.at), format!("not valid YAML or JSON: {}", error.text), cure));
}

fn cure(error: &ParseError, line: &[u8], text: &[u8]) -> &'static str {
    let indent = line.iter().take_while(|byte| byte.is_ascii_whitespace());
    if text.starts_with(b"\x1f\x8b") {
        "unpack it first: it is compressed"
    } else if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        "save it as UTF-8: it is UTF-16"
    } else if error.text.starts_with("not UTF-8") || error.text.starts_with("control character") {
        "give a YAML or JSON file"
    } else if text.len() > MAX_BYTES {
        "split the document"
    } else if indent.into_iter().any(|byte| *byte == b'\t') {
        "indent by blanks: YAML takes no tabs there"
    } else if error.text.starts_with("duplicate key") {
        "keep one of them"
    } else {
        "mend the place, or quote the value"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_at_their_marks_and_keep_their_lines() {
        let lines = |text: &str| split(text.as_bytes()).into_iter().map(|(first, _)| first).collect::<Vec<_>>();
        assert_eq!(lines("a: 1\n"), [0]);
        assert_eq!(lines("---\na: 1\n---\n# nothing\n---\nb: 2\n"), [0, 4]);
        assert_eq!(lines("%YAML 1.2\n---\na: 1\n"), [1]);
        assert_eq!(lines("a: 1\r\n---\r\nb: 2\r\n"), [0, 1]);
        assert_eq!(lines("a: |\n  ---\n  x\n---x: 1\n"), [0]);
        assert_eq!(lines(""), [0_usize; 0]);
        assert_eq!(lines("\u{feff}---\n"), [0_usize; 0]);
    }

    #[test]
    fn a_charts_values_are_no_lifecycle_file() {
        let is = |text: &str| is_lifecycle(&tree::parse(text.as_bytes()).unwrap()[0]);
        assert!(is("lifecycle: {}"));
        assert!(is("lifecycle: {}\nextensoins: {}\nport: []"));
        assert!(is("lifecyle: {}"));
        assert!(is("preStop: {}"));
        assert!(!is("lifecycle: {}\nimage: {}\nreplicas: 1"));
        assert!(!is("kind: Pod\nlifecycle: {}"));
        assert!(!is("terminationGracePeriodSeconds: 5"));
    }
}
