//! Lifecycle files: reading one of any kind, and the shape of lifecycle.md section 2 in particular.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::rule::{Rule, Severity};
use super::tree::{self, MAX_BYTES, Node};
use super::validate::{Problems, Wishes, shape};

/// The names of a lifecycle file beside `config.json`.
const BESIDE: [&str; 3] = ["lifecycle.yaml", "lifecycle.yml", "lifecycle.json"];

/// A file's name as messages show it.
pub fn label(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// The documents of a file, or of standard input for `-`. What keeps them from being read is a problem (V-33).
pub fn documents(path: &Path, problems: &mut Problems) -> Option<Vec<Node>> {
    let label = label(path);
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let text = format!("read {label}: {error}");
            problems.put(Severity::Error, None, text).is(Rule::NotReadable).source = label;
            return None;
        }
    };
    match tree::parse(&bytes) {
        Ok(documents) => Some(documents),
        Err(error) => {
            let text = format!("{label}:{error}");
            problems.put(Severity::Error, Some(error.at), text).is(Rule::NotReadable).source = label;
            None
        }
    }
}

/// At most one byte more than may be in a document, so that what is too large is seen to be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let limit = MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// A file of `--lifecycle`, or one beside `config.json`.
pub fn lifecycle(path: &Path, problems: &mut Problems) -> Wishes {
    let Some(documents) = documents(path, problems) else { return Wishes::default() };
    match documents.as_slice() {
        [root] => shape(root, &label(path), problems),
        [] => Wishes::default(),
        [_, second, ..] => {
            problems.error(second.at, &label(path), "Invalid value: must be one document");
            Wishes::default()
        }
    }
}

/// The lifecycle file in a bundle's directory; two of them are an error, since one would be left unread.
pub fn beside(bundle: &Path, problems: &mut Problems) -> Option<PathBuf> {
    let found: Vec<&str> = BESIDE.into_iter().filter(|name| bundle.join(name).is_file()).collect();
    if let [first, second, ..] = found.as_slice() {
        problems.error(None, second, format_args!("Forbidden: {first} is there too; keep one of them"));
    }
    found.first().map(|name| bundle.join(name))
}
