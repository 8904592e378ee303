//! Where in a text an error stands: the position, and the field.

use anyhow::{Error, anyhow};
use serde::de::DeserializeOwned;

/// What is wrong with a value, with its place in the text that the value came from: where reading `T` from there fails for the
/// same reason. `base` is the field that the text stands for.
pub(super) fn placed<T: DeserializeOwned>(error: Error, raw: &[u8], base: &str) -> Error {
    let Some(known) = error.downcast_ref::<serde_json::Error>() else { return error };
    match serde_json::from_slice::<T>(raw) {
        Err(found) if cause(&found) == cause(known) => in_field(&found, raw, base),
        _ => error,
    }
}

/// serde_json's words with the position in front: `line 3 column 7: expected value`.
pub(super) fn positioned(error: &serde_json::Error) -> Error {
    let cause = cause(error);
    if error.line() == 0 { anyhow!(cause) } else { anyhow!("line {} column {}: {cause}", error.line(), error.column()) }
}

/// The same for a value that is not what it has to be, with the name of its field.
pub(super) fn in_field(error: &serde_json::Error, raw: &[u8], base: &str) -> Error {
    let lines = raw.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len);
    let end = lines.take(error.line().saturating_sub(1)).sum::<usize>() + error.column();
    let below = field(&raw[..end.min(raw.len())]);
    let field = match (base, below.as_str()) {
        ("", "") => return positioned(error),
        (base, "") => base.to_owned(),
        ("", below) => below.to_owned(),
        (base, below) if below.starts_with('[') => format!("{base}{below}"),
        (base, below) => format!("{base}.{below}"),
    };
    anyhow!("line {} column {}: {field}: {}", error.line(), error.column(), cause(error))
}

/// The words of `positioned` and `in_field` without the position.
pub(super) fn without_position(error: Error) -> Error {
    let text = error.to_string();
    match text.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => anyhow!("{rest}"),
        None => error,
    }
}

fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&end).unwrap_or(&text).to_owned()
}

enum Level {
    Object { key: String, key_is_next: bool },
    Array(usize),
}

/// The field in which the beginning of a JSON text ends: `mounts[2].options`.
fn field(beginning: &[u8]) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let mut rest = beginning;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, levels.last_mut()) {
            (b'"', level) => {
                let (text, after) = string(rest);
                rest = after;
                if let Some(Level::Object { key, key_is_next: true }) = level {
                    *key = String::from_utf8_lossy(text).escape_debug().to_string();
                }
            }
            (b'{', _) => levels.push(Level::Object { key: String::new(), key_is_next: true }),
            (b'[', _) => levels.push(Level::Array(0)),
            (b'}' | b']', _) => drop(levels.pop()),
            (b':', Some(Level::Object { key_is_next, .. })) => *key_is_next = false,
            (b',', Some(Level::Object { key_is_next, .. })) => *key_is_next = true,
            (b',', Some(Level::Array(index))) => *index += 1,
            _ => {}
        }
    }
    let name = |level: &Level| match level {
        Level::Object { key, .. } if key.is_empty() => String::new(),
        Level::Object { key, .. } => format!(".{key}"),
        Level::Array(index) => format!("[{index}]"),
    };
    levels.iter().map(name).collect::<String>().trim_start_matches('.').to_owned()
}

/// A string after its first quote, as it is written, and what comes after it.
fn string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = text.iter().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    });
    end.map_or((text, &[]), |end| (&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxResources, Process, Spec};

    use super::*;

    #[track_caller]
    fn error<T: DeserializeOwned + std::fmt::Debug>(raw: &str, base: &str) -> String {
        in_field(&serde_json::from_str::<T>(raw).unwrap_err(), raw.as_bytes(), base).to_string()
    }

    #[test]
    fn a_value_of_a_wrong_type_is_told_with_its_field() {
        let raw =
            "{\"ociVersion\": \"1.0.2\",\n \"mounts\": [{\"destination\": \"/a,b\\\"]}\"},\n  {\"destination\": 5}]}";
        assert!(
            error::<Spec>(raw, "").starts_with("line 3 column 19: mounts[1].destination: invalid type: integer `5`")
        );
        let raw = r#"{"ociVersion": "1.0.2", "linux": {"seccomp": {"defaultAction": "SCMP_ACT_NOPE"}}}"#;
        let told = error::<Spec>(raw, "");
        assert!(told.contains(": linux.seccomp.defaultAction: unknown variant `SCMP_ACT_NOPE`"), "{told}");
        assert!(told.contains("`SCMP_ACT_KILL_PROCESS`"), "{told}");
        let told = error::<Spec>(r#"{"ociVersion": "1.0.2", "mounts": [{"source": "/a"}, {"source": "/b"}]}"#, "");
        assert!(told.contains(": mounts[0]: missing field `destination`"), "{told}");
    }

    #[test]
    fn a_part_of_a_configuration_is_told_as_that_part() {
        let told = error::<Process>(r#"{"cwd": "/", "args": ["a", ["b"]]}"#, "process");
        assert!(told.contains(": process.args[1]: invalid type: sequence"), "{told}");
        let told = error::<LinuxResources>(r#"{"pids": {"limit": "many"}}"#, "linux.resources");
        assert!(told.starts_with("line 1 column 25: linux.resources.pids.limit: invalid type"), "{told}");
        assert!(error::<Process>("[]", "process").contains(": process: "));
    }

    #[test]
    fn an_error_keeps_its_own_words_where_the_text_has_another() {
        let known = || Error::new(serde_json::from_str::<u8>("\"x\"").unwrap_err());
        let words = known().to_string();
        assert_eq!(placed::<Vec<u8>>(known(), b"5", "a").to_string(), words);
        assert_eq!(
            placed::<u8>(known(), b" \"x\"", "a").to_string(),
            "line 1 column 4: a: invalid type: string \"x\", expected u8"
        );
        assert_eq!(placed::<u8>(anyhow!("other"), b"\"x\"", "a").to_string(), "other");
    }
}
