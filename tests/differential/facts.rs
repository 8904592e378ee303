//! What was seen of one case under one runtime.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where a case is run under one runtime.
pub struct Place {
    pub id: String,
    /// The case's own directory.
    pub dir: PathBuf,
    pub rootfs: PathBuf,
    pub state: PathBuf,
}

impl Place {
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// A command line's or a configuration's text with the paths of this place.
    pub fn fill(&self, text: &str) -> String {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let text = text.replace("{ID}", &self.id).replace("{B}", &path(&self.bundle()));
        let text = text.replace("{TEST}", &std::process::id().to_string());
        text.replace("{D}", &path(&self.dir)).replace("{R}", &path(&self.rootfs))
    }

    /// The other way round, so that what two runtimes say can be compared.
    pub fn normal(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (path, name) in [(&self.bundle(), "{B}"), (&self.dir, "{D}"), (&self.rootfs, "{R}"), (&self.state, "{S}")] {
            text = text.replace(path.to_str().unwrap(), name);
        }
        text.replace(&self.id, "{ID}")
    }

    /// Whether a namespace is the one of the test.
    pub fn namespace(&self, kind: &str, value: &str) -> &'static str {
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        if ours.to_str() == Some(value) { "of the host" } else { "its own" }
    }
}

/// The value of a fact that there is none of.
pub const NOTHING: &str = "(nothing)";

#[derive(Default)]
pub struct Facts(pub BTreeMap<String, String>);

impl Facts {
    /// A second fact of one name is another fact.
    pub fn add(&mut self, key: &str, value: String) {
        let mut name = key.to_owned();
        let mut number = 1;
        while self.0.contains_key(&name) {
            number += 1;
            name = format!("{key}#{number}");
        }
        self.0.insert(name, value);
    }

    pub fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or(NOTHING, String::as_str)
    }

    /// Each value of a JSON document by its path.
    pub fn add_json(&mut self, key: &str, value: &Value, place: &Place) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(name, value)| self.add_json(&format!("{key}.{name}"), value, place));
            }
            Value::Array(items) if !items.is_empty() => {
                items.iter().enumerate().for_each(|(at, value)| self.add_json(&format!("{key}.{at}"), value, place));
            }
            Value::Number(number) if key.ends_with(".pid") => {
                self.add(key, if number.as_u64() == Some(0) { "0" } else { "(a pid)" }.to_owned());
            }
            Value::String(_) if key.ends_with(".created") => self.add(key, "(a time)".to_owned()),
            Value::String(text) => self.add(key, place.normal(text)),
            other => self.add(key, other.to_string()),
        }
    }
}
