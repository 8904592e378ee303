//! Lives with fixed records, and the pictures that they make.

mod pictures;

use super::*;
use crate::lifecycle::notice::Kind;

fn text(records: &[Record], width: usize, color: bool, now: Option<Instant>) -> String {
    Life::of(records, now).unwrap().text(width, color)
}

fn ascii(records: &[Record], width: usize, color: bool, now: Option<Instant>) -> String {
    Life::of(records, now).unwrap().ascii(width, color)
}

/// Builds the records of a life from times in seconds.
struct Script(Vec<Record>);

impl Script {
    fn new() -> Script {
        Script(Vec::new())
    }

    fn at(mut self, seconds: f64, notice: Notice) -> Script {
        self.0.push(Record {
            time: "2026-01-01T00:00:00.000000000Z".into(),
            monotonic_ns: Instant(5_000_000_000 + (seconds * 1e9).round() as u64),
            boot_id: "boot".into(),
            container: "web".into(),
            notice,
        });
        self
    }

    fn plain(self, seconds: f64, reason: &str) -> Script {
        self.at(seconds, Notice::normal(reason, ""))
    }

    fn begin(self, at: f64, hook: Hook, handler: &str) -> Script {
        self.begin_entry(at, hook, None, handler, 1)
    }

    fn begin_entry(self, at: f64, hook: Hook, entry: Option<usize>, handler: &str, attempt: u32) -> Script {
        let attempt = Some(attempt);
        let handler = Some(handler.to_owned());
        self.at(at, Notice { hook: Some(hook), entry, handler, attempt, ..Notice::normal("HookStarted", "") })
    }

    fn end(self, at: f64, hook: Hook, outcome: &str, message: &str) -> Script {
        self.end_entry(at, hook, None, outcome, message)
    }

    fn end_entry(self, at: f64, hook: Hook, entry: Option<usize>, outcome: &str, message: &str) -> Script {
        let outcome = Some(outcome.to_owned());
        let detail = message.parse::<u16>().is_ok().then(|| message.to_owned());
        self.at(at, Notice { hook: Some(hook), entry, outcome, detail, ..Notice::normal("HookEnd", message) })
    }

    fn stop(self, at: f64, grace: u64) -> Script {
        let signal = Some("SIGTERM".to_owned());
        let notice = Notice { by: Some("kill".into()), signal, grace_seconds: Some(grace), ..Notice::default() };
        self.at(at, Notice { reason: "StopRequested".into(), ..notice })
    }

    fn signal(self, at: f64) -> Script {
        self.at(at, Notice { signal: Some("SIGTERM".into()), ..Notice::normal("SignalSent", "") })
    }

    fn exit(self, at: f64, code: i32) -> Script {
        let signal = (code == 137).then(|| "SIGKILL".to_owned());
        self.at(at, Notice { code: Some(code), signal, ..Notice::normal("Exited", "") })
    }

    fn life(&self) -> Life {
        Life::of(&self.0, None).unwrap()
    }

    fn named(mut self, container: &str) -> Script {
        self.0.iter_mut().for_each(|record| record.container = container.to_owned());
        self
    }

    fn picture(&self) -> String {
        text(&self.0, 100, false, None)
    }
}

use Hook::{PostStart, PostStop, PreStart, PreStop};

fn born() -> Script {
    Script::new().plain(0.0, "Created").plain(0.02, "EntrypointExecuted")
}

fn running() -> Script {
    born().plain(0.02, "Started")
}

/// interface.md section 8.
fn example() -> Script {
    Script::new()
        .plain(0.0, "Created")
        .begin_entry(0.012, PreStart, Some(0), "exec", 1)
        .end_entry(0.322, PreStart, Some(0), "Succeeded", "")
        .plain(0.330, "EntrypointExecuted")
        .begin(0.335, PostStart, "exec")
        .end(1.435, PostStart, "Succeeded", "")
        .stop(9.0, 30)
        .begin(9.001, PreStop, "httpGet")
        .end(11.4, PreStop, "Succeeded", "200")
        .signal(11.4)
        .exit(13.23, 0)
}

/// G=30, preStop never ends, ENTRYPOINT ignores the signal.
fn never_ends() -> Script {
    running()
        .stop(2.0, 30)
        .begin(2.0, PreStop, "exec")
        .at(32.0, Notice { kind: Kind::Warning, hook: Some(PreStop), ..Notice::normal("PreStopHookTimedOut", "") })
        .signal(32.0)
        .plain(34.0, "SigkillSent")
        .end(34.01, PreStop, "Interrupted", "container exited")
        .exit(34.01, 137)
        .begin_entry(34.02, PostStop, Some(0), "exec", 1)
        .end_entry(34.2, PostStop, Some(0), "Succeeded", "")
}

fn gallery() -> Vec<(&'static str, Script)> {
    vec![
        ("example", example()),
        (
            "preStop sleeps 5, exit 1 s after the signal",
            running()
                .stop(2.0, 30)
                .begin(2.0, PreStop, "sleep")
                .end(7.0, PreStop, "Succeeded", "")
                .signal(7.0)
                .exit(8.0, 0)
                .begin_entry(8.0, PostStop, Some(0), "exec", 1)
                .end_entry(8.3, PostStop, Some(0), "Succeeded", ""),
        ),
        ("never ends", never_ends()),
        (
            "preStop takes 29.7",
            running()
                .stop(1.0, 30)
                .begin(1.0, PreStop, "exec")
                .end(30.7, PreStop, "Succeeded", "")
                .signal(30.7)
                .plain(32.7, "SigkillSent")
                .exit(32.7, 137),
        ),
        (
            "grace 0",
            running()
                .stop(1.0, 0)
                .end(1.0, PreStop, "Skipped", "PreStopHook skipped: no grace period")
                .signal(1.0)
                .plain(3.0, "SigkillSent")
                .exit(3.01, 137),
        ),
        (
            "postStart fails",
            born()
                .begin(0.021, PostStart, "exec")
                .end(3.0, PostStart, "Failed", "PostStartHook failed: exit code 1")
                .at(3.0, Notice { grace_seconds: Some(30), ..Notice::normal("Killing", "FailedPostStartHook") })
                .begin(3.0, PreStop, "sleep")
                .end(8.0, PreStop, "Succeeded", "")
                .signal(8.0)
                .exit(8.5, 0),
        ),
        (
            "stop during postStart",
            born()
                .begin(0.021, PostStart, "exec")
                .stop(2.0, 30)
                .begin(2.0, PreStop, "sleep")
                .end(3.0, PreStop, "Succeeded", "")
                .signal(3.0)
                .exit(3.4, 0)
                .end(
                    3.4,
                    PostStart,
                    "Interrupted",
                    "PostStartHook failed: container exited (code 0) before the hook finished",
                )
                .begin_entry(3.41, PostStop, Some(0), "exec", 1)
                .end_entry(3.5, PostStop, Some(0), "Succeeded", ""),
        ),
        (
            "exit during postStart",
            born()
                .begin(0.021, PostStart, "sleep")
                .exit(1.0, 0)
                .end(
                    1.0,
                    PostStart,
                    "Interrupted",
                    "PostStartHook failed: container exited (code 0) before the hook finished",
                )
                .begin_entry(1.01, PostStop, Some(0), "exec", 1)
                .end_entry(1.2, PostStop, Some(0), "Succeeded", ""),
        ),
        (
            "20 ms",
            Script::new()
                .plain(0.0, "Created")
                .plain(0.004, "EntrypointExecuted")
                .begin(0.005, PostStart, "exec")
                .end(0.013, PostStart, "Succeeded", "")
                .exit(0.020, 0),
        ),
        (
            "hours",
            born()
                .begin(0.021, PostStart, "httpGet")
                .end(0.4, PostStart, "Succeeded", "404")
                .stop(9000.0, 30)
                .begin(9000.0, PreStop, "exec")
                .end(9012.0, PreStop, "Succeeded", "")
                .signal(9012.0)
                .exit(9014.0, 143),
        ),
        (
            "retries",
            Script::new()
                .plain(0.0, "Created")
                .begin_entry(0.01, PreStart, Some(0), "tcpSocket", 1)
                .end_entry(0.5, PreStart, Some(0), "Failed", "x: connection failed")
                .begin_entry(1.5, PreStart, Some(0), "tcpSocket", 2)
                .end_entry(2.0, PreStart, Some(0), "Failed", "x: connection failed")
                .begin_entry(3.0, PreStart, Some(0), "tcpSocket", 3)
                .end_entry(3.2, PreStart, Some(0), "Succeeded", "")
                .begin_entry(3.2, PreStart, Some(1), "exec", 1)
                .end_entry(4.2, PreStart, Some(1), "Failed", "PreStartHook failed: executable file not found")
                .begin_entry(4.2, PostStop, Some(0), "exec", 1)
                .end_entry(4.3, PostStop, Some(0), "TimedOut", "timed out after 60s")
                .exit(4.4, 125),
        ),
        (
            "not executable",
            Script::new()
                .plain(0.0, "Created")
                .at(0.02, Notice::warning("Failed", "exec: \"nosuch\": executable file not found in $PATH"))
                .exit(0.02, 127),
        ),
        ("no hooks, killed", running().plain(3600.0, "SigkillSent").exit(3600.0, 137)),
    ]
}

fn live() -> Script {
    born()
        .begin(0.021, PostStart, "exec")
        .end(1.0, PostStart, "Succeeded", "")
        .stop(4.0, 30)
        .begin(4.0, PreStop, "exec")
}

fn after(seconds: u64) -> Option<Instant> {
    Some(Instant(5_000_000_000 + seconds * 1_000_000_000))
}

/// To look at the pictures: change one, and this prints them all.
#[test]
fn every_life_of_the_gallery_is_drawn_as_it_was_when_somebody_looked_at_it() {
    let mut pictures = String::new();
    for (name, script) in gallery() {
        pictures += &format!("## {name}\n{}\n", script.picture());
    }
    pictures += &format!("## goes on\n{}\n", text(&live().0, 100, false, after(9)));
    pictures += &format!("## in ASCII\n{}\n", ascii(&live().0, 80, false, after(9)));
    pictures += &format!("## without an end\n{}", text(&live().0, 80, false, None));
    if pictures != include_str!("gallery.txt") {
        println!("{pictures}");
        panic!("the pictures are not those of gallery.txt any more");
    }
}

#[test]
fn pictures_fit_the_width_where_their_words_do() {
    for (name, script) in gallery() {
        for width in [110, 120, 200] {
            for line in text(&script.0, width, false, None).lines() {
                assert!(line.chars().count() <= width, "{name}: {line}");
            }
        }
        // Much too narrow: drawn all the same.
        assert_eq!(text(&script.0, 10, false, None).lines().count(), script.picture().lines().count());
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for (_, script) in gallery() {
        let colored = text(&script.0, 100, true, None);
        let mut plain = String::new();
        for (at, part) in colored.split("\x1b[").enumerate() {
            plain += if at == 0 { part } else { part.split_once('m').unwrap().1 };
        }
        assert_eq!(plain, script.picture());
    }
}

#[test]
fn ascii_pictures_are_ascii() {
    for (name, script) in gallery() {
        assert!(ascii(&script.0, 200, false, None).is_ascii(), "{name}");
    }
}

#[test]
fn no_records_make_no_picture() {
    assert_eq!(Life::of(&[], None), None);
}

#[test]
fn a_picture_is_safe_from_what_a_journal_says() {
    let script = born().at(0.1, Notice::warning("Failed", "x")).begin(0.2, PostStart, "exec").end(
        0.3,
        PostStart,
        "Failed",
        "a: \x1b[2J\n",
    );
    assert!(!script.picture().contains('\x1b'));
    assert_eq!(script.picture().lines().count(), 3);
    let picture = script.named("evil\x1b]0;\u{7}\r\u{202e}").picture();
    let odd = picture.chars().find(|letter| (letter.is_control() && *letter != '\n') || *letter == '\u{202e}');
    assert_eq!(odd, None, "{picture}");
}

#[test]
fn a_long_or_wide_name_leaves_room_for_the_picture() {
    let picture = example().named(&"0123456789abcdef".repeat(4)).picture();
    assert!(picture.starts_with("0123456789abcdef0123") && picture.lines().all(|line| line.chars().count() <= 100));
    let picture = example().named("容器").picture();
    assert!(picture.starts_with("容器   create"), "{picture}");
    assert!(picture.lines().nth(1).unwrap().starts_with("       preStart"), "{picture}");
}

#[test]
fn s_18_the_grace_period_only_shrinks() {
    let script = running().stop(1.0, 30).stop(2.0, 3).stop(3.0, 60).exit(4.0, 0);
    let picture = script.picture();
    assert!(picture.contains("grace 4s"), "{picture}");
    assert!(picture.contains("SIGTERM 3 times"), "{picture}");
}

#[test]
fn the_json_says_what_the_picture_shows() {
    let json = Life::of(&example().0, None).unwrap().json();
    assert_eq!(json["container"], "web");
    assert_eq!(json["began"], "2026-01-01T00:00:00.000000000Z");
    assert_eq!(json["seconds"], 13.23);
    let lanes = json["lanes"].as_array().unwrap();
    let lane = |name: &str| lanes.iter().find(|lane| lane["lane"] == name).unwrap();
    let pre_stop = serde_json::json!({
        "lane": "preStop", "start": 9.001, "handler": "httpGet", "kind": "hook", "end": 11.4,
        "attempts": [{ "start": 9.001, "end": 11.4 }], "text": "2.40s 200"
    });
    assert_eq!(*lane("preStop"), pre_stop);
    assert_eq!(lane("grace 30s")["end"], 39.0);
    assert_eq!(lane("SIGTERM")["at"], serde_json::json!([11.4]));
    assert_eq!(lane("entrypoint")["kind"], "process");
    assert_eq!(lanes.len(), 8);
}

#[test]
fn spans_of_time_are_said_as_people_say_them() {
    let said = |micros: u64| seconds(Duration::from_micros(micros));
    assert_eq!([said(400), said(16_000), said(310_000), said(9_994_000)], ["0.4ms", "16ms", "0.31s", "9.99s"]);
    assert_eq!([said(12_900_000), said(59_960_000), said(3_600_000_000)], ["12.9s", "1m00s", "1h00m"]);
    assert_eq!(said(90_000_000_000), "1d01h");
}
