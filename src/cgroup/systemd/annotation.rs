//! Properties of the scope that annotations set: `org.systemd.property.NAME` with a value in the text form of D-Bus.
//!
//! An annotation may come from an image or from whoever may annotate a Pod, and systemd's properties can run commands on
//! the host (CVE-2024-3154). So there is a list of those that take something from the container at most, never give it
//! anything (threats.md S15).

use std::collections::HashMap;

use anyhow::{Result, bail};
use zbus::Variant;

use super::Property;

/// What the keys begin with.
pub const PREFIX: &str = "org.systemd.property.";

/// What kind of value a property has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// `t`
    Unsigned64,
    /// `u`
    Unsigned32,
    /// `i`
    Signed32,
    Words(&'static [&'static str]),
}

/// What annotations may set. Those that end with `USec` may also be given in seconds, as `Sec`.
const ALLOWED: [(&str, Kind); 11] = [
    ("CollectMode", Kind::Words(&["inactive", "inactive-or-failed"])),
    ("Description", Kind::Text),
    ("FinalKillSignal", Kind::Signed32),
    ("KillSignal", Kind::Signed32),
    ("ManagedOOMMemoryPressure", Kind::Words(&["auto", "kill"])),
    ("ManagedOOMMemoryPressureLimit", Kind::Unsigned32),
    ("ManagedOOMSwap", Kind::Words(&["auto", "kill"])),
    ("MemoryHigh", Kind::Unsigned64),
    ("OOMPolicy", Kind::Words(&["continue", "stop", "kill"])),
    ("RuntimeMaxUSec", Kind::Unsigned64),
    ("TimeoutStopUSec", Kind::Unsigned64),
];

/// The properties that annotations ask for, in the order of their names.
pub fn properties(annotations: &HashMap<String, String>) -> Result<Vec<Property>> {
    let mut asked: Vec<(&str, &str)> =
        annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str()))).collect();
    asked.sort();
    asked.into_iter().map(|(name, value)| property(name, value)).collect()
}

fn property(name: &str, text: &str) -> Result<Property> {
    let in_seconds = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')).map(|stem| format!("{stem}USec"));
    let wanted = in_seconds.as_deref().unwrap_or(name);
    let Some((name, kind)) = ALLOWED.iter().find(|(allowed, _)| *allowed == wanted) else {
        let names: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        bail!(
            "annotation {PREFIX}{}: not a property that an annotation may set ({})",
            name.escape_debug(),
            names.join(", ")
        );
    };
    let value = value(*kind, text.trim(), in_seconds.is_some());
    let Some(value) = value else {
        bail!("annotation {PREFIX}{name}: {text:?} is not {}", expected(*kind));
    };
    Ok(((*name).to_owned(), value))
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text => "a text in quotes".to_owned(),
        Kind::Unsigned64 => "a number as \"uint64 5\"".to_owned(),
        Kind::Unsigned32 => "a number as \"uint32 5\"".to_owned(),
        Kind::Signed32 => "a number as \"int32 5\"".to_owned(),
        Kind::Words(words) => format!("one of '{}' in quotes", words.join("', '")),
    }
}

fn value(kind: Kind, text: &str, in_seconds: bool) -> Option<Variant<'static>> {
    match kind {
        Kind::Text => unquote(text).map(Variant::from),
        Kind::Words(words) => unquote(text).filter(|word| words.contains(&word.as_str())).map(Variant::from),
        Kind::Signed32 => number(text, "int32")?.parse::<i32>().ok().map(Variant::from),
        Kind::Unsigned32 => number(text, "uint32")?.parse::<u32>().ok().map(Variant::from),
        Kind::Unsigned64 if in_seconds => {
            // As runc: any number of seconds, also with a fraction, of whatever type it says to be.
            let digits =
                ["uint64", "int64", "uint32", "int32", "double"].iter().find_map(|kind| text.strip_prefix(kind));
            let seconds: f64 = digits.unwrap_or(text).trim().parse().ok()?;
            (0.0..1e12).contains(&seconds).then(|| Variant::from((seconds * 1e6).round() as u64))
        }
        Kind::Unsigned64 => number(text, "uint64")?.parse::<u64>().ok().map(Variant::from),
    }
}

/// The digits of a number that may say its type.
fn number<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let digits = text.strip_prefix(kind).map_or(text, str::trim_start);
    digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-').then_some(digits)
}

/// What is between two quotes of a kind. The values that are taken need no escapes.
fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|first| ['"', '\''].contains(first))?;
    let inner = text[1..].strip_suffix(quote)?;
    let plain = inner.len() <= 256 && !inner.contains([quote, '\\']) && !inner.chars().any(char::is_control);
    plain.then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Result<Vec<Property>> {
        properties(&HashMap::from([
            (format!("{PREFIX}{name}"), value.to_owned()),
            ("other".to_owned(), "x".to_owned()),
        ]))
    }

    #[test]
    fn values_are_in_the_text_form_of_d_bus() {
        let one = |name: &str, value: &str| of(name, value).unwrap().remove(0);
        assert_eq!(
            one("TimeoutStopUSec", "uint64 123456789"),
            ("TimeoutStopUSec".to_owned(), Variant::U64(123_456_789))
        );
        assert_eq!(one("CollectMode", "'inactive-or-failed'").1, Variant::from("inactive-or-failed"));
        assert_eq!(one("KillSignal", "18").1, Variant::I32(18));
        assert_eq!(one("KillSignal", "int32 18").1, Variant::I32(18));
        assert_eq!(one("Description", "\"a web server\"").1, Variant::from("a web server"));
    }

    #[test]
    fn seconds_become_microseconds() {
        let found = of("TimeoutStopSec", "1.5").unwrap();
        assert_eq!(found, [("TimeoutStopUSec".to_owned(), Variant::U64(1_500_000))]);
        assert_eq!(of("RuntimeMaxSec", "uint64 2").unwrap()[0].1, Variant::U64(2_000_000));
        assert!(of("TimeoutStopSec", "-1").is_err() && of("TimeoutStopSec", "nan").is_err());
    }

    #[test]
    fn s15_a_property_that_is_not_on_the_list_is_refused_by_name() {
        for name in
            ["ExecStopPost", "ExecStart", "User", "Delegate", "Slice", "PIDs", "DeviceAllow", "MemoryMax", "Bad\nName"]
        {
            let error = format!("{:#}", of(name, "true").unwrap_err());
            assert!(error.contains("not a property that an annotation may set"), "{error}");
            assert!(error.contains("TimeoutStopUSec") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for (name, value) in [
            ("TimeoutStopUSec", "'5'"),
            ("TimeoutStopUSec", "-5"),
            ("TimeoutStopUSec", "int32 5"),
            ("KillSignal", "99999999999"),
            ("CollectMode", "'other'"),
            ("CollectMode", "inactive"),
            ("Description", "'a\nb'"),
            ("Description", "'"),
            ("Description", ""),
        ] {
            assert!(of(name, value).is_err(), "{name} {value:?}");
        }
    }
}
