//! A container's life as a picture, drawn from the journal (interface.md section 8).
//!
//! The records become a `Life`: one lane for each thing that lasted or happened. `text`, `json`, `svg` and `html` are views
//! of it.

mod axis;
mod html;
pub mod letters;
mod svg;
mod text;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::describe;
use super::journal::Record;
use super::model::{Hook, Plan};
use super::notice::Notice;
use super::status::{Status, class};
use super::time::Instant;

/// A life that is drawn: what happened, in lanes, in the order in which they are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    pub container: String,
    /// Wall time of the first record.
    pub began: String,
    /// The clock that its times are of.
    pub boot_id: String,
    pub origin: Instant,
    /// The last thing that is known: the last record's time, or the present of a life that goes on.
    pub end: Instant,
    /// It goes on: the end is the present.
    pub alive: bool,
    pub lanes: Vec<Lane>,
}

/// One line of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    pub label: String,
    /// Which handler of which hook; None of what is no hook.
    pub hook: Option<(Hook, usize)>,
    /// A hook's handler, else empty.
    pub handler: String,
    /// What the handler does, where the plan is known: `exec /bin/drain --wait 20`.
    pub summary: String,
    pub start: Instant,
    pub shape: Shape,
    /// How long it lasted: `0.31s`.
    pub took: String,
    /// What came of it: `ok`.
    pub words: String,
    /// The same as a kind; of marks and points it is `Open`.
    pub ending: Ending,
    pub tone: Tone,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Something that only happened: create.
    Point,
    /// Something that was not done, and when that was decided.
    Nothing,
    /// What the container was told: ▼ comes in, ▲ goes to the ENTRYPOINT.
    Marks { glyph: Glyph, at: Vec<Instant> },
    /// What lasted; a hook has a span for each attempt.
    Spans { spans: Vec<Span> },
    /// The grace period, from T0 to its end.
    Grace { end: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyph {
    Incoming,
    Outgoing,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub start: Instant,
    /// None while it lasts.
    pub end: Option<Instant>,
    pub ending: Ending,
    /// Why it failed, or what its success adds: `exit code 3`, `200`.
    pub detail: String,
}

/// How a span came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It lasts.
    Open,
    Succeeded,
    Failed,
    TimedOut,
    Interrupted,
    Skipped,
    /// Nobody wrote it down.
    Unknown,
}

impl Ending {
    fn of(notice: &Notice) -> Ending {
        match notice.outcome.as_deref() {
            Some("Succeeded") => Ending::Succeeded,
            Some("TimedOut") => Ending::TimedOut,
            Some("Interrupted") => Ending::Interrupted,
            Some("Skipped") => Ending::Skipped,
            _ => Ending::Failed,
        }
    }
}

/// How a lane is meant; the words say it too, so that colour is never needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Lane {
    fn new(label: impl Into<String>, start: Instant, shape: Shape) -> Lane {
        let label = label.into();
        let (hook, handler, summary, took, words) = Default::default();
        Lane { label, hook, handler, summary, start, shape, took, words, ending: Ending::Open, tone: Tone::Plain }
    }

    /// What stands behind the drawing in a terminal: `0.31s ok`.
    fn text(&self) -> String {
        format!("{} {}", self.took, self.words).trim().to_owned()
    }
}

impl Life {
    /// Reads a life out of its records. `now` is given while the container lives, in the boot of its records: what has no
    /// end then goes on until now.
    pub fn of(records: &[Record], now: Option<Instant>) -> Option<Life> {
        let first = records.first()?;
        // Another boot has another clock: what came after a reboot cannot be placed.
        let records: Vec<&Record> = records.iter().filter(|record| record.boot_id == first.boot_id).collect();
        let last = records.iter().map(|record| record.monotonic_ns).max()?;
        let mut life = Life {
            container: first.container.clone(),
            began: first.time.clone(),
            boot_id: first.boot_id.clone(),
            alive: now.is_some(),
            origin: records.iter().map(|record| record.monotonic_ns).min()?,
            end: now.map_or(last, |now| now.max(last)),
            lanes: Vec::new(),
        };
        let stop = Stop::of(&records);
        life.add_point(&records, "Created", "create");
        life.add_hooks(&records, Hook::PreStart, &stop, now.is_some());
        life.add_entrypoint(&records, &stop, now.is_some());
        life.add_hooks(&records, Hook::PostStart, &stop, now.is_some());
        life.add_stop_requests(&records);
        life.add_hooks(&records, Hook::PreStop, &stop, now.is_some());
        life.add_signals(&records);
        life.add_grace(&records, &stop);
        life.add_hooks(&records, Hook::PostStop, &stop, now.is_some());
        Some(life)
    }

    /// Says what each handler does, as the plan has it.
    pub fn describe(&mut self, plan: &Plan) {
        for lane in &mut self.lanes {
            let of = lane.hook.and_then(|(hook, entry)| plan.entries(hook).get(entry));
            lane.summary = of.map_or_else(String::new, |entry| describe::in_full(&entry.handler));
        }
    }

    /// The end of the grace period, if a stop began.
    pub fn deadline(&self) -> Option<Instant> {
        self.lanes.iter().find_map(|lane| match lane.shape {
            Shape::Grace { end } => Some(end),
            _ => None,
        })
    }

    /// The whole life in a line, worst things first.
    pub fn verdict(&self) -> (Tone, String) {
        let told = |lane: &&Lane| matches!(lane.shape, Shape::Spans { .. } | Shape::Nothing | Shape::Grace { .. });
        let words = |lane: &Lane| match lane.shape {
            Shape::Grace { .. } => lane.words.split_once(", ").map(|(_, over)| format!("grace period {over}")),
            _ => Some(format!("{} {}", lane.label, lane.words)),
        };
        let of = |tone: Tone| self.lanes.iter().filter(told).filter(move |lane| lane.tone == tone).filter_map(words);
        let mut parts: Vec<String> = of(Tone::Bad).chain(of(Tone::Warning)).collect();
        let worst = [Tone::Bad, Tone::Warning].into_iter().find(|tone| of(*tone).next().is_some());
        let entrypoint = self.lanes.iter().find(|lane| lane.label == "entrypoint");
        parts.extend(entrypoint.filter(|lane| matches!(lane.tone, Tone::Good | Tone::Plain)).and_then(words));
        let succeeded = self.lanes.iter().filter(|lane| lane.hook.is_some() && lane.tone == Tone::Good).count();
        if worst.is_none() && succeeded > 0 && !self.alive {
            parts.push("every hook succeeded".to_owned());
        }
        if parts.is_empty() {
            parts.push(if self.alive { "created, not started yet" } else { "created and never started" }.to_owned());
        }
        let tone = worst.unwrap_or(if self.alive { Tone::Plain } else { Tone::Good });
        (tone, parts.join(" · "))
    }

    /// The picture in words, a line a lane, for who cannot see it.
    pub fn told(&self) -> String {
        let lane = |lane: &Lane| {
            let what = if lane.summary.is_empty() { &lane.handler } else { &lane.summary };
            let at = offset(lane.start - self.origin);
            [lane.label.as_str(), what, "at", &at, &lane.text()].join(" ").replace("  ", " ").trim_end().to_owned()
        };
        self.lanes.iter().map(lane).collect::<Vec<_>>().join("\n")
    }

    /// The picture as text, at most `width` columns wide where its words allow it.
    pub fn text(&self, width: usize, color: bool) -> String {
        text::draw(self, width, color, &text::UNICODE)
    }

    /// As `text`, for a terminal that shows ASCII only.
    pub fn ascii(&self, width: usize, color: bool) -> String {
        text::draw(self, width, color, &text::ASCII)
    }

    /// The picture as JSON: times in seconds since the first record, which has its wall time beside it. A lane that goes on
    /// has no `end`.
    pub fn json(&self) -> Value {
        let at = |instant: Instant| (instant - self.origin).as_secs_f64();
        let lanes: Vec<Value> = self.lanes.iter().map(|lane| lane_json(lane, &at)).collect();
        json!({ "container": self.container, "began": self.began, "seconds": at(self.end), "lanes": lanes })
    }

    fn add_point(&mut self, records: &[&Record], reason: &str, label: &str) {
        if let Some(record) = find(records, reason) {
            self.lanes.push(Lane::new(label, record.monotonic_ns, Shape::Point));
        }
    }

    fn add_entrypoint(&mut self, records: &[&Record], stop: &Stop, alive: bool) {
        let exited = find(records, "Exited");
        if let Some(executed) = find(records, "EntrypointExecuted") {
            let start = executed.monotonic_ns;
            let end = exited.map(|record| record.monotonic_ns);
            let (words, mut tone) = match exited {
                Some(record) => exit_words(&record.notice),
                None if alive => ("running".to_owned(), Tone::Plain),
                None => ("end not recorded".to_owned(), Tone::Warning),
            };
            if stop.overrun(end.unwrap_or(self.end)).is_some() {
                // How far is said by the grace period's own lane.
                tone = Tone::Bad;
            }
            let ending = match (exited, alive) {
                (Some(record), _) if record.notice.code == Some(0) => Ending::Succeeded,
                (Some(_), _) => Ending::Failed,
                (None, true) => Ending::Open,
                (None, false) => Ending::Unknown,
            };
            let span = Span { start, end, ending, detail: words.clone() };
            let took = took(ending, start, end.unwrap_or(self.end));
            let lane = Lane::new("entrypoint", start, Shape::Spans { spans: vec![span] });
            self.lanes.push(Lane { took, words, ending, tone, ..lane });
        } else if let Some(why) = find(records, "Failed").or(exited) {
            let failed = why.notice.reason == "Failed";
            let words =
                if failed { format!("not started: {}", why.notice.message) } else { "never started".to_owned() };
            let tone = if failed { Tone::Bad } else { Tone::Warning };
            let ending = if failed { Ending::Failed } else { Ending::Skipped };
            let lane = Lane::new("entrypoint", why.monotonic_ns, Shape::Nothing);
            self.lanes.push(Lane { words, ending, tone, ..lane });
        }
    }

    fn add_hooks(&mut self, records: &[&Record], hook: Hook, stop: &Stop, alive: bool) {
        let of_hook: Vec<&Record> = records.iter().copied().filter(|record| record.notice.hook == Some(hook)).collect();
        let mut entries: Vec<usize> = of_hook.iter().map(|record| record.notice.entry.unwrap_or(0)).collect();
        entries.sort_unstable();
        entries.dedup();
        for &entry in &entries {
            let of_entry: Vec<&Record> =
                of_hook.iter().copied().filter(|record| record.notice.entry.unwrap_or(0) == entry).collect();
            let label = if entries.len() > 1 { format!("{hook}[{entry}]") } else { hook.name().to_owned() };
            let lane = hook_lane(label, &of_entry, self.end, stop, alive);
            self.lanes.extend(lane.map(|lane| Lane { hook: Some((hook, entry)), ..lane }));
        }
    }

    fn add_stop_requests(&mut self, records: &[&Record]) {
        let requests = all(records, "StopRequested");
        let (label, requests) = match (requests.is_empty(), find(records, "Killing")) {
            (true, Some(killing)) => ("killing", vec![killing]),
            _ => ("stop requested", requests),
        };
        let Some(first) = requests.first() else { return };
        let words = match &first.notice {
            Notice { signal: Some(signal), .. } => signal.clone(),
            Notice { by: Some(by), .. } => format!("by {by}"),
            // P-07: nobody asked.
            Notice { reason, message, .. } if reason == "Killing" => {
                message.replace("FailedPostStartHook", "postStart failed")
            }
            _ => String::new(),
        };
        self.push_marks(label, Glyph::Incoming, &requests, words);
    }

    fn add_signals(&mut self, records: &[&Record]) {
        let mut labels: Vec<&str> = Vec::new();
        let label_of = |record: &Record| match record.notice.reason.as_str() {
            "SignalSent" => record.notice.signal.clone().unwrap_or_else(|| "signal".to_owned()),
            "SigkillSent" => "SIGKILL".to_owned(),
            _ => String::new(),
        };
        let named: Vec<(String, &Record)> =
            records.iter().map(|record| (label_of(record), *record)).filter(|(label, _)| !label.is_empty()).collect();
        for (label, _) in &named {
            if !labels.contains(&label.as_str()) {
                labels.push(label);
            }
        }
        for label in labels {
            let sent: Vec<&Record> =
                named.iter().filter(|(other, _)| other == label).map(|(_, record)| *record).collect();
            self.push_marks(label, Glyph::Outgoing, &sent, String::new());
        }
    }

    fn push_marks(&mut self, label: &str, glyph: Glyph, records: &[&Record], words: String) {
        let at: Vec<Instant> = records.iter().map(|record| record.monotonic_ns).collect();
        let Some(&start) = at.first() else { return };
        let times = if at.len() > 1 { format!(" {} times", at.len()) } else { String::new() };
        let words = format!("{words}{times}").trim_start().to_owned();
        self.lanes.push(Lane { words, ..Lane::new(label, start, Shape::Marks { glyph, at }) });
    }

    fn add_grace(&mut self, records: &[&Record], stop: &Stop) {
        let Some((start, end)) = stop.grace else { return };
        let exited = find(records, "Exited").map(|record| record.monotonic_ns);
        let (over, tone) = match stop.overrun(exited.unwrap_or(self.end)) {
            Some(late) => (format!(", exceeded by {}", seconds(late)), Tone::Bad),
            None => (String::new(), Tone::Plain),
        };
        let words = format!("{}{over}", offset(end - self.origin));
        let lane = Lane::new(format!("grace {}", whole_seconds(end - start)), start, Shape::Grace { end });
        self.lanes.push(Lane { words, tone, ..lane });
    }
}

/// The stop of a life: T0 and the end of its budget (lifecycle.md section 1).
struct Stop {
    grace: Option<(Instant, Instant)>,
}

impl Stop {
    fn of(records: &[&Record]) -> Stop {
        let mut grace: Option<(Instant, Instant)> = None;
        for record in records {
            let asked = matches!(record.notice.reason.as_str(), "StopRequested" | "Killing");
            if let (true, Some(budget)) = (asked, record.notice.grace_seconds) {
                let end = record.monotonic_ns + Duration::from_secs(budget);
                // S-17, S-18: the budget only shrinks.
                grace = Some(grace.map_or((record.monotonic_ns, end), |(start, old)| (start, old.min(end))));
            }
        }
        Stop { grace }
    }

    /// How far `end` lies beyond the budget. Below 50 ms that is the time a SIGKILL takes, not an overrun.
    fn overrun(&self, end: Instant) -> Option<Duration> {
        let (_, deadline) = self.grace?;
        Some(end - deadline).filter(|late| *late >= Duration::from_millis(50))
    }
}

fn hook_lane(label: String, records: &[&Record], now: Instant, stop: &Stop, alive: bool) -> Option<Lane> {
    let first = records.first()?;
    let handler = records.iter().find_map(|record| record.notice.handler.clone()).unwrap_or_default();
    let spans = spans_of(records, alive);
    let last = records.iter().rev().find(|record| record.notice.outcome.is_some());
    let timed_out = records.iter().find(|record| record.notice.reason == "PreStopHookTimedOut");
    let Some(span) = spans.last().cloned() else {
        let reason = last.map_or("", |record| class(&record.notice.message));
        let words = if reason.is_empty() { "skipped".to_owned() } else { format!("skipped: {reason}") };
        let (start, tone) = (first.monotonic_ns, Tone::Warning);
        let ending = Ending::Skipped;
        return Some(Lane { handler, words, ending, tone, ..Lane::new(label, start, Shape::Nothing) });
    };
    let (mut words, mut tone) = match (span.end, last) {
        (Some(_), Some(record)) => outcome_words(&record.notice),
        _ if alive => ("running".to_owned(), Tone::Plain),
        _ => ("end not recorded".to_owned(), Tone::Warning),
    };
    let mut ending = span.end.and(last).map_or(span.ending, |record| Ending::of(&record.notice));
    if let (Some(record), Some((start, _))) = (timed_out, stop.grace) {
        words = format!("timed out after {}", seconds(record.monotonic_ns - start));
        if span.end.is_none() && alive {
            words += ", still running";
        }
        (tone, ending) = (Tone::Bad, Ending::TimedOut);
    }
    if spans.len() > 1 {
        words += &format!(" ({} attempts)", spans.len());
    }
    let start = spans[0].start;
    let took = took(ending, start, span.end.unwrap_or(now));
    Some(Lane { handler, took, words, ending, tone, ..Lane::new(label, start, Shape::Spans { spans }) })
}

/// Of what nobody saw the end nobody knows how long it took.
fn took(ending: Ending, start: Instant, end: Instant) -> String {
    if ending == Ending::Unknown { String::new() } else { seconds(end - start) }
}

/// The attempts of a hook.
fn spans_of(records: &[&Record], alive: bool) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for record in records {
        let notice = &record.notice;
        if notice.reason == "HookStarted" {
            let ending = if alive { Ending::Open } else { Ending::Unknown };
            spans.push(Span { start: record.monotonic_ns, end: None, ending, detail: String::new() });
        } else if let Some(span) = spans.last_mut()
            && span.end.is_none()
            && (notice.outcome.is_some() || notice.reason == "HookRetrying")
        {
            span.end = Some(record.monotonic_ns);
            span.ending = Ending::of(notice);
            span.detail = outcome_words(notice).0;
        }
    }
    spans
}

fn outcome_words(notice: &Notice) -> (String, Tone) {
    match notice.outcome.as_deref() {
        Some("Succeeded") => (notice.detail.clone().unwrap_or_else(|| "ok".to_owned()), Tone::Good),
        Some("Interrupted") => ("interrupted".to_owned(), Tone::Warning),
        Some("TimedOut") => ("timed out".to_owned(), Tone::Bad),
        Some("Skipped") => ("skipped".to_owned(), Tone::Warning),
        _ => {
            let ignored = if notice.message.ends_with("(ignored)") { " (ignored)" } else { "" };
            let class = class(&notice.message).trim_end_matches("(ignored)").trim_end();
            (format!("failed: {class}{ignored}"), Tone::Bad)
        }
    }
}

fn exit_words(notice: &Notice) -> (String, Tone) {
    let signal = notice.signal.as_ref().map(|signal| format!(" {signal}")).unwrap_or_default();
    let oom = if notice.oom == Some(true) { " out of memory" } else { "" };
    match notice.code {
        Some(0) => ("exit 0".to_owned(), Tone::Good),
        Some(code) => (format!("exit {code}{signal}{oom}"), if oom.is_empty() { Tone::Warning } else { Tone::Bad }),
        None => ("exit code unknown".to_owned(), Tone::Warning),
    }
}

fn find<'a>(records: &[&'a Record], reason: &str) -> Option<&'a Record> {
    records.iter().copied().find(|record| record.notice.reason == reason)
}

fn all<'a>(records: &[&'a Record], reason: &str) -> Vec<&'a Record> {
    records.iter().copied().filter(|record| record.notice.reason == reason).collect()
}

/// How long something took: `4ms`, `0.31s`, `12.9s`, `3m07s`, `2h05m`.
pub fn seconds(span: Duration) -> String {
    let secs = span.as_secs_f64();
    match span.as_millis() {
        0..10 => format!("{:.1}ms", secs * 1000.0),
        10..100 => format!("{:.0}ms", secs * 1000.0),
        100..9_995 => format!("{secs:.2}s"),
        9_995..59_950 => format!("{secs:.1}s"),
        _ => clock(span),
    }
}

/// Where something lies on the axis: four digits, and by the clock from ten minutes on.
fn offset(span: Duration) -> String {
    let secs = span.as_secs_f64();
    match span.as_micros() {
        0..9_999_500 => format!("{secs:.3}"),
        9_999_500..99_995_000 => format!("{secs:.2}"),
        99_995_000..600_000_000 => format!("{secs:.1}"),
        _ => format!("{}:{:02}:{:02}", span.as_secs() / 3600, span.as_secs() / 60 % 60, span.as_secs() % 60),
    }
}

/// The same with its unit, as in a sentence: `9.00s`, `0:31:02`.
fn moment(span: Duration) -> String {
    if span < Duration::from_secs(600) { seconds(span) } else { offset(span) }
}

fn clock(span: Duration) -> String {
    let total = span.as_secs() + u64::from(span.subsec_millis() >= 500);
    match total {
        0..3600 => format!("{}m{:02}s", total / 60, total % 60),
        3600..86_400 => format!("{}h{:02}m", total / 3600, total / 60 % 60),
        _ => format!("{}d{:02}h", total / 86_400, total / 3600 % 24),
    }
}

fn whole_seconds(span: Duration) -> String {
    if span.subsec_nanos() == 0 { format!("{}s", span.as_secs()) } else { seconds(span) }
}

/// The picture as SVG: one or several lives on one axis. It stands alone, without script or fetch, and is dark where the
/// viewer is.
pub fn svg(lives: &[Life]) -> String {
    svg::draw(lives)
}

/// The picture as a page that stands alone: the SVG, a table of the hooks, the end of what they printed, and every event.
pub fn html(stories: &[Story]) -> String {
    html::page(stories)
}

/// A life with all that is known about it.
#[derive(Clone, Debug)]
pub struct Story {
    pub life: Life,
    pub records: Vec<Record>,
    pub plan: Option<Plan>,
    /// Where it is known: also of hooks that had no occasion.
    pub status: Option<Status>,
    pub output: Vec<Output>,
}

/// The end of what one attempt of a hook printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// `preStop attempt 1`
    pub name: String,
    pub text: String,
    /// There was more before it.
    pub cut: bool,
}

fn lane_json(lane: &Lane, at: &impl Fn(Instant) -> f64) -> Value {
    let mut value = json!({ "lane": lane.label, "start": at(lane.start) });
    if !lane.handler.is_empty() {
        value["handler"] = json!(lane.handler);
    }
    match &lane.shape {
        Shape::Point => value["kind"] = json!("point"),
        Shape::Nothing => value["kind"] = json!("skipped"),
        Shape::Marks { at: marks, .. } => {
            value["kind"] = json!("marks");
            value["at"] = marks.iter().map(|mark| json!(at(*mark))).collect();
        }
        Shape::Spans { spans } => {
            value["kind"] = json!(if lane.hook.is_some() { "hook" } else { "process" });
            if let Some(end) = spans.last().and_then(|span| span.end) {
                value["end"] = json!(at(end));
            }
            let span = |span: &Span| match span.end {
                Some(end) => json!({ "start": at(span.start), "end": at(end) }),
                None => json!({ "start": at(span.start) }),
            };
            if lane.hook.is_some() {
                value["attempts"] = spans.iter().map(span).collect();
            }
        }
        Shape::Grace { end } => {
            value["kind"] = json!("grace");
            value["end"] = json!(at(*end));
        }
    }
    value["text"] = json!(lane.text());
    value
}
