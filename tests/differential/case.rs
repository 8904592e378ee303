//! A row of the table: a bundle, the command lines, and the differences that are wanted.

use serde_json::Value;

/// Who does as bookend where runc does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    Crun,
    Nobody,
}

/// A difference from runc that is wanted.
pub struct Wanted {
    /// The fact's name; a `*` at its end stands for any ending.
    pub key: &'static str,
    pub company: Company,
    pub reason: &'static str,
}

impl Wanted {
    pub fn covers(&self, key: &str) -> bool {
        match self.key.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == self.key,
        }
    }
}

pub struct Case {
    pub name: &'static str,
    /// What it makes of the default configuration.
    pub change: Box<dyn Fn(&mut Value)>,
    /// The command lines, with `{ID}`, `{B}` (the bundle) and `{D}` (a directory of the case's own). A line that begins
    /// with `@` is something that the test does: see `compare.rs`.
    pub lines: Vec<String>,
    /// Done before the first line, by sh, in the case's directory.
    pub prepare: &'static str,
    pub wanted: Vec<Wanted>,
}

/// A container that runs to its end in the foreground.
pub fn case(name: &'static str, change: impl Fn(&mut Value) + 'static) -> Case {
    let lines = vec!["run --bundle {B} {ID}".to_owned()];
    Case { name, change: Box::new(change), lines, prepare: "", wanted: Vec::new() }
}

/// Command lines that have a bundle with the default configuration.
pub fn lines(name: &'static str, lines: &[&str]) -> Case {
    case(name, |_| ()).lines(lines)
}

impl Case {
    pub fn lines(mut self, lines: &[&str]) -> Case {
        self.lines = lines.iter().map(|line| (*line).to_owned()).collect();
        self
    }

    pub fn prepare(mut self, script: &'static str) -> Case {
        self.prepare = script;
        self
    }

    /// bookend does as crun, and runc otherwise.
    pub fn like_crun(self, key: &'static str, reason: &'static str) -> Case {
        self.differs(key, Company::Crun, reason)
    }

    /// bookend does as neither of them.
    pub fn alone(self, key: &'static str, reason: &'static str) -> Case {
        self.differs(key, Company::Nobody, reason)
    }

    fn differs(mut self, key: &'static str, company: Company, reason: &'static str) -> Case {
        self.wanted.push(Wanted { key, company, reason });
        self
    }
}
