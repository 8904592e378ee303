//! A YAML or JSON document as a tree that knows where each of its parts was written.
//!
//! What comes in may be hostile (an annotation is written by whoever may create a container), so size, nesting and what
//! aliases expand to are bounded before memory is taken for them.

use std::collections::HashMap;
use std::fmt;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, Tag};

use crate::foreign::quote;

/// The most bytes of one document that are looked at.
pub const MAX_BYTES: usize = 1 << 20;
/// The most values of all documents of a file, counting what aliases stand for.
const MAX_NODES: usize = 100_000;
/// The deepest nesting, aliases included: walking and dropping a tree is recursive.
const MAX_DEPTH: usize = 100;

/// A place in a file; both numbers begin at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

impl Mark {
    fn below(self, lines: usize) -> Mark {
        Mark { line: self.line + lines, ..self }
    }
}

/// A value and the place where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub at: Mark,
    /// How many values it is made of, itself included.
    size: usize,
    depth: usize,
}

/// Scalars keep their text, since messages show what was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(String),
    /// Plain text that reads as a number; `1.5`, `8080`, `-1`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Mark, Node)>),
}

/// Why a text is no document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub at: Mark,
    pub text: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.at.line, self.at.column, self.text)
    }
}

impl Node {
    /// The value of a field; a `null` is the same as an absent one (V-23).
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Value::Map(fields) = &self.value else { return None };
        fields.iter().find(|(key, _, node)| key == name && node.value != Value::Null).map(|(_, _, node)| node)
    }

    /// Where a field's name was written; as `get`, a `null` is none.
    pub fn key(&self, name: &str) -> Option<Mark> {
        let Value::Map(fields) = &self.value else { return None };
        fields.iter().find(|(key, _, node)| key == name && node.value != Value::Null).map(|(_, at, _)| *at)
    }

    /// The same value as if all of it were written at one place: what is read from a text within a file has its place.
    pub fn moved_to(mut self, at: Mark) -> Node {
        self.at = at;
        self.value = match self.value {
            Value::List(nodes) => Value::List(nodes.into_iter().map(|node| node.moved_to(at)).collect()),
            Value::Map(fields) => {
                Value::Map(fields.into_iter().map(|(name, _, node)| (name, at, node.moved_to(at))).collect())
            }
            scalar => scalar,
        };
        self
    }

    /// The text of a string; numbers and booleans are none.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(nodes) => Some(nodes),
            _ => None,
        }
    }

    /// The value of a boolean. YAML 1.1's words count too, as in Kubernetes.
    pub fn bool(&self) -> Option<bool> {
        match &self.value {
            Value::Bool(text) => Some(["true", "yes", "on"].contains(&text.to_ascii_lowercase().as_str())),
            _ => None,
        }
    }

    /// What was written, fit for a message: text in quotes, numbers without, a word for the rest.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(text) | Value::Number(text) => text.clone(),
            Value::Text(text) => quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "an object".to_owned(),
        }
    }
}

/// Every document of a file, empty ones left out. Duplicate keys are errors (V-33).
pub fn parse(bytes: &[u8]) -> Result<Vec<Node>, ParseError> {
    parse_at(bytes, 0)
}

/// As `parse`, of a part of a file that has `lines` before it.
pub fn parse_at(bytes: &[u8], lines: usize) -> Result<Vec<Node>, ParseError> {
    let mut builder = Builder { lines, ..Builder::default() };
    builder.build(bytes)?;
    Ok(builder.documents)
}

/// The text of a file, if it is text at all.
fn readable(bytes: &[u8]) -> Result<&str, ParseError> {
    let error = |before: &[u8], text: &str| {
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        ParseError { at: Mark { line, column }, text: text.to_owned() }
    };
    if bytes.len() > MAX_BYTES {
        return Err(error(&[], "larger than 1 MiB"));
    }
    let text = std::str::from_utf8(bytes).map_err(|cause| error(&bytes[..cause.valid_up_to()], "not UTF-8 text"))?;
    // The scanner takes a NUL for the end of the file, and would leave out what follows it.
    if let Some(index) = bytes.iter().position(|byte| *byte < 0x20 && !b"\t\n\r".contains(byte)) {
        return Err(error(&bytes[..index], &format!("control character 0x{:02x}", bytes[index])));
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn place(marker: &granit_parser::Marker) -> Mark {
    Mark { line: marker.line().max(1), column: marker.col() + 1 }
}

/// A list or map whose end was not seen yet.
struct Open {
    at: Mark,
    anchor: usize,
    size: usize,
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { fields: Vec<(String, Mark, Node)>, index: HashMap<String, Mark>, key: Option<(String, Mark)> },
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// How many lines are before the text.
    lines: usize,
}

impl Builder {
    fn build(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        let lines = self.lines;
        let text = readable(bytes).map_err(|error| ParseError { at: error.at.below(lines), ..error })?;
        let options = granit_parser::options! { emit_comments: false };
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) = next.map_err(|error| ParseError {
                at: place(error.marker()).below(lines),
                text: error.info().replace('\n', " "),
            })?;
            self.take(event, span)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), ParseError> {
        let at = place(&span.start).below(self.lines);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref()).map_err(|text| ParseError { at, text })?;
                // A merge key is one only when it is written plainly.
                let is_key = self.wants_key();
                let node = Node { value, at, size: 1, depth: 1 };
                if is_key {
                    if anchor != 0 {
                        self.anchors.insert(anchor, node);
                    }
                    return self.key(text.into_owned(), at);
                }
                self.complete(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                plain(tag.as_deref(), "seq").map_err(|text| ParseError { at, text })?;
                self.begin(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                plain(tag.as_deref(), "map").map_err(|text| ParseError { at, text })?;
                self.begin(at, anchor, Content::Map { fields: Vec::new(), index: HashMap::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => {
                let target = self.anchors.get(&id);
                let error = |text: &str| ParseError { at, text: text.to_owned() };
                let target = target.ok_or_else(|| error("an alias inside of what it stands for"))?;
                if self.nodes + target.size > MAX_NODES {
                    return Err(error("aliases expand to too many values"));
                }
                let node = target.clone();
                if self.wants_key() {
                    let text = match node.value {
                        Value::Text(text) | Value::Number(text) | Value::Bool(text) => text,
                        _ => return Err(error("a key must be a word")),
                    };
                    return self.key(text, at);
                }
                self.complete(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, name: String, at: Mark) -> Result<(), ParseError> {
        let Some(Open { content: Content::Map { index, key, .. }, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if let Some(first) = index.insert(name.clone(), at) {
            let text = format!("duplicate key {}, first on line {}", quote(&name), first.line);
            return Err(ParseError { at, text });
        }
        *key = Some((name, at));
        Ok(())
    }

    fn begin(&mut self, at: Mark, anchor: usize, content: Content) -> Result<(), ParseError> {
        if self.wants_key() {
            return Err(ParseError { at, text: "a key must be a word".to_owned() });
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(ParseError { at, text: format!("nested more than {MAX_DEPTH} deep") });
        }
        self.open.push(Open { at, anchor, size: 1, depth: 1, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), ParseError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(nodes) => Value::List(nodes),
            Content::Map { fields, .. } => Value::Map(merged(fields)?),
        };
        // Its parts were counted as they came.
        self.nodes = self.nodes.saturating_sub(open.size - 1);
        self.complete(Node { value, at: open.at, size: open.size, depth: open.depth }, open.anchor)
    }

    /// Puts a finished value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), ParseError> {
        let error = |text: String| ParseError { at: node.at, text };
        self.nodes += node.size;
        if self.nodes > MAX_NODES {
            return Err(error(format!("more than {MAX_NODES} values")));
        }
        if self.open.len() + node.depth > MAX_DEPTH {
            return Err(error(format!("nested more than {MAX_DEPTH} deep")));
        }
        if anchor != 0 {
            // The copy is memory too.
            self.nodes += node.size;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            if node.value != Value::Null {
                self.documents.push(node);
            }
            return Ok(());
        };
        open.size += node.size;
        open.depth = open.depth.max(node.depth + 1);
        match &mut open.content {
            Content::List(nodes) => nodes.push(node),
            Content::Map { fields, key, .. } => {
                if let Some((name, at)) = key.take() {
                    fields.push((name, at, node));
                }
            }
        }
        Ok(())
    }
}

/// Resolves `<<`: the fields of another map (or of several) that are not written here.
fn merged(fields: Vec<(String, Mark, Node)>) -> Result<Vec<(String, Mark, Node)>, ParseError> {
    if !fields.iter().any(|(name, ..)| name == "<<") {
        return Ok(fields);
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, ..)| name == "<<");
    for (_, at, node) in merges {
        let maps = match node.value {
            Value::List(nodes) => nodes,
            _ => vec![node],
        };
        for map in maps {
            let Value::Map(fields) = map.value else {
                return Err(ParseError { at, text: "a merge needs an object".to_owned() });
            };
            for field in fields {
                if !own.iter().any(|(name, ..)| *name == field.0) {
                    own.push(field);
                }
            }
        }
    }
    Ok(own)
}

/// A list or map may say what it is, and be nothing else.
fn plain(tag: Option<&Tag>, kind: &str) -> Result<(), String> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(kind) && tag.original() != "!" => {
            Err(format!("unsupported tag {}", quote(&tag.original())))
        }
        _ => Ok(()),
    }
}

/// What a scalar is. Plain words are resolved as Kubernetes' YAML does (`yes` and `on` are booleans there).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag.map(|tag| (tag.core_suffix(), tag)) {
        Some((Some("str"), _)) => return Ok(Value::Text(text.to_owned())),
        Some((Some("int" | "float" | "bool" | "null"), _)) | None => {}
        // The non-specific tag `!` makes a plain scalar a string.
        Some((None, tag)) if tag.original() == "!" => return Ok(Value::Text(text.to_owned())),
        Some((_, tag)) => return Err(format!("unsupported tag {}", quote(&tag.original()))),
    }
    if style != ScalarStyle::Plain {
        return Ok(Value::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        _ if BOOLEANS.contains(&text) => Value::Bool(text.to_owned()),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    })
}

const BOOLEANS: [&str; 18] = [
    "true", "True", "TRUE", "false", "False", "FALSE", "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off",
    "Off", "OFF",
];

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let based = |prefix: &str, radix: u32| {
        digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    let decimal = digits.starts_with(|c: char| c.is_ascii_digit())
        || digits.starts_with('.') && digits[1..].starts_with(|c: char| c.is_ascii_digit());
    based("0x", 16)
        || based("0o", 8)
        || decimal && text.parse::<f64>().is_ok()
        || [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&digits)
}

/// The value of a number that is an integer, if it is one that fits.
pub fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let value = match digits.get(..2) {
        Some("0x") => i128::from_str_radix(&digits[2..], 16),
        Some("0o") => i128::from_str_radix(&digits[2..], 8),
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse(),
        _ => return None,
    };
    i64::try_from(sign * value.ok()?).ok()
}

/// The candidate that was probably meant: few letters away, case and hyphens aside.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let word = plain(word);
    let (distance, candidate) = candidates
        .into_iter()
        .map(|candidate| (edits(&word, &plain(candidate)), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let allowed = if candidate.len() < 5 { 1 } else { 2 };
    (distance <= allowed).then_some(candidate)
}

/// The Levenshtein distance of two short words, counting a swap of neighbours as one.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best.min(rows[i - 2][j - 2] + 1)
                } else {
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        parse(text.as_bytes()).unwrap().remove(0)
    }

    fn error(bytes: &[u8]) -> String {
        parse(bytes).expect_err("must be refused").to_string()
    }

    #[test]
    fn scalars_are_what_kubernetes_takes_them_for() {
        let number = |text: &str| Value::Number(text.to_owned());
        let text = |text: &str| Value::Text(text.to_owned());
        for (yaml, value) in [
            ("8080", number("8080")),
            ("-1.5", number("-1.5")),
            ("0x1f", number("0x1f")),
            ("'8080'", text("8080")),
            ("!!str 8080", text("8080")),
            ("1.2.3", text("1.2.3")),
            ("yes", Value::Bool("yes".to_owned())),
            ("\"yes\"", text("yes")),
            ("|\n  a\n  b\n", text("a\nb\n")),
            (r#""\u00e9\ud83d\ude00\/""#, text("é😀/")),
        ] {
            assert_eq!(one(yaml).value, value, "{yaml}");
        }
        assert_eq!(parse(b"~\n---\nnull\n").unwrap(), []);
    }

    #[test]
    fn every_value_and_key_has_its_place() {
        let root = one("a:\n  bc: [1,\n    two]\n");
        let Value::Map(fields) = &root.value else { panic!("no map") };
        assert_eq!(fields[0].1, Mark { line: 1, column: 1 });
        let list = fields[0].2.get("bc").unwrap();
        assert_eq!(list.at, Mark { line: 2, column: 7 });
        assert_eq!(list.list().unwrap()[1].at, Mark { line: 3, column: 5 });
    }

    #[test]
    fn aliases_and_merges_are_resolved() {
        let root = one("base: &b {x: 1, y: 2}\nown: {<<: *b, x: 3}\nsame: *b\n");
        let own = root.get("own").unwrap();
        assert_eq!(own.get("x").unwrap().value, Value::Number("3".to_owned()));
        assert_eq!(own.get("y").unwrap().value, Value::Number("2".to_owned()));
        assert_eq!(root.get("same").unwrap().value, root.get("base").unwrap().value);
    }

    #[test]
    fn s_15_what_is_hostile_is_an_error_with_a_place() {
        let bomb = include_bytes!("../../testdata/pods/bomb.yaml");
        assert!(error(bomb).contains("aliases expand to too many values"), "{}", error(bomb));
        assert_eq!(error(b"a: x\nb: y\0\nc: z"), "2:5: control character 0x00");
        assert_eq!(error(b"a: \xff\xfe"), "1:4: not UTF-8 text");
        assert_eq!(error(&vec![b' '; MAX_BYTES + 1]), "1:1: larger than 1 MiB");
        assert!(error("[".repeat(5000).as_bytes()).contains("1:"));
        assert!(error(format!("{}1{}", "[".repeat(150), "]".repeat(150)).as_bytes()).contains("nested more than"));
        assert!(error(b"a: &a [*a]").contains("1:8: "), "{}", error(b"a: &a [*a]"));
        assert!(error(b"a: *nothing").starts_with("1:4: "));
        assert!(error(b"{a: 1").starts_with("1:"));
        assert!(error(b"a: 'open\n").starts_with("1:") || error(b"a: 'open\n").starts_with("2:"));
        assert_eq!(error(b"[1, 2]: x"), "1:1: a key must be a word");
        assert_eq!(error(b"a: !evil x"), "1:10: unsupported tag \"!evil\"");
        assert!(error(b"a: !!set {x, y}").contains("unsupported tag"));
        assert!(parse(b"a: !!map {x: !!seq []}").is_ok());
        let many = format!("[{}]", "1,".repeat(200_000));
        assert!(error(many.as_bytes()).contains("more than 100000 values"));
        // Nesting that only aliases make.
        let mut chain = String::from("a0: &a0 [x]\n");
        for n in 1..200 {
            chain.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
        }
        assert!(error(chain.as_bytes()).contains("nested more than"));
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        use proptest::prelude::*;
        proptest!(ProptestConfig::with_cases(2000), |(text in "[\\[\\]{}:,&*!|>'\"%@\\-?#\\sa<0~\\\\]{0,60}")| {
            let _ = parse(text.as_bytes()); // either way is right, as long as it comes back
        });
    }

    #[test]
    fn the_nearest_word_is_few_letters_away() {
        let words = ["preStop", "postStart", "stopSignal"];
        for (word, near) in [
            ("prestop", Some("preStop")),
            ("pre-stop", Some("preStop")),
            ("preSotp", Some("preStop")),
            ("postStrat", Some("postStart")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), words), None);
    }

    #[test]
    fn integers_are_those_that_fit() {
        assert_eq!(integer("-5"), Some(-5));
        assert_eq!(integer("0x10"), Some(16));
        assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
        for text in ["9223372036854775808", "1.0", "1e3", "", "-", "+", "--1", "5 ", "é", "0xé"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
