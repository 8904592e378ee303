//! The picture as a page that stands alone: no script, nothing fetched.

use std::fmt::Write;
use std::time::Duration;

use super::super::describe;
use super::super::journal::Record;
use super::super::notice::Kind;
use super::super::status::{HookState, HookStatus};
use super::letters::escape;
use super::{Life, Output, Shape, Story, offset, seconds};
use crate::foreign::legible;

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','Noto Sans',Arial,sans-serif;\
font-size:15px;line-height:1.45;max-width:1000px;margin:0 auto;padding:24px 20px;background:#fff;color:#1f2328}
h1{font-size:22px;margin:0 0 16px}
h2{font-size:17px;margin:32px 0 8px;overflow-wrap:anywhere}
h3{font-size:14px;margin:20px 0 6px}
svg{display:block;width:100%;height:auto;min-width:700px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;vertical-align:top;padding:5px 14px 5px 0;border-bottom:1px solid #d1d9e0;overflow-wrap:anywhere}
th{font-weight:600;color:#59636e;white-space:nowrap}
td.h{white-space:nowrap;font-weight:600}
td.n,th.n{white-space:nowrap;font-variant-numeric:tabular-nums}
pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;\
background:#f6f8fa;padding:10px 12px;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0 14px}
.bad{color:#cf222e}.warning{color:#9a6700}.good{color:#1a7f37}.muted{color:#59636e}
@media screen and (prefers-color-scheme:dark){
body{background:#010409;color:#e6edf3}
th,.muted{color:#9198a1}
th,td{border-color:#30363d}
pre{background:#0d1117}
.bad{color:#f85149}.warning{color:#d29922}.good{color:#3fb950}
}
@media print{body{max-width:none;padding:0}tr,pre,svg{break-inside:avoid}h2,h3{break-after:avoid}}
";

pub fn page(stories: &[Story]) -> String {
    let lives: Vec<Life> = stories.iter().map(|story| story.life.clone()).collect();
    let names: Vec<String> = lives.iter().map(|life| escape(&legible(&life.container))).collect();
    let title = format!("Life of {}", names.join(", "));
    let mut body = String::new();
    for story in stories {
        section(&mut body, story, stories.len() > 1);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<div class=\"wide\">{}</div>\n{body}</body>\n</html>\n",
        super::svg(&lives)
    )
}

fn section(page: &mut String, story: &Story, name: bool) {
    if name {
        let _ = writeln!(page, "<h2>{}</h2>", escape(&legible(&story.life.container)));
    }
    hooks(page, story);
    for output in &story.output {
        printed(page, output);
    }
    events(page, story);
}

fn hooks(page: &mut String, story: &Story) {
    let Some(status) = &story.status else { return };
    let mut rows = String::new();
    for (hook, entry, state) in status.entries() {
        let of = story.life.lanes.iter().find(|lane| lane.hook == Some((hook, entry)));
        let list = hook.is_list() && status.entry(hook, 1).is_some();
        let name = if list { format!("{hook}[{entry}]") } else { hook.name().to_owned() };
        let planned = story.plan.as_ref().and_then(|plan| plan.entries(hook).get(entry));
        let handler = planned.map_or_else(|| state.handler.clone(), |entry| describe::in_full(&entry.handler));
        let started = of.filter(|lane| matches!(lane.shape, Shape::Spans { .. }));
        let started = started.map(|lane| offset(lane.start - story.life.origin)).unwrap_or_default();
        let took = of.map(|lane| lane.took.as_str()).unwrap_or_default();
        let code = state.exit_code.map(|code| code.to_string()).unwrap_or_default();
        let reason = state.reason.as_deref().unwrap_or_default();
        rows += &format!("<tr>{}{}", cell("h", &name), cell("", &handler));
        rows += &cell(&format!("n {}", tone(state)), state.state.name());
        rows += &[&started, took, &state.attempts.to_string(), &code].map(|number| cell("n", number)).concat();
        rows += &format!("{}</tr>\n", cell("", reason));
    }
    if !rows.is_empty() {
        let heads = ["Hook", "Handler", "State", "Started", "Took", "Attempts", "Exit code", "Reason"];
        table(page, "Hooks", &heads, &rows);
    }
}

fn table(page: &mut String, title: &str, heads: &[&str], rows: &str) {
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    let _ = writeln!(page, "<h3>{title}</h3>\n<div class=\"wide\"><table>\n<tr>{heads}</tr>\n{rows}</table></div>");
}

fn cell(class: &str, text: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<td{class}>{}</td>", escape(&legible(text)))
}

fn tone(status: &HookStatus) -> &'static str {
    match status.state {
        HookState::Succeeded => "good",
        HookState::Failed | HookState::TimedOut => "bad",
        HookState::Interrupted | HookState::Skipped => "warning",
        HookState::Pending | HookState::Running => "muted",
    }
}

fn printed(page: &mut String, output: &Output) {
    let cut = if output.cut { " <span class=\"muted\">(the end of it)</span>" } else { "" };
    let lines: Vec<String> = output.text.lines().map(|line| escape(&legible(line))).collect();
    let _ =
        writeln!(page, "<h3>Output of {}{cut}</h3>\n<pre>{}</pre>", escape(&legible(&output.name)), lines.join("\n"));
}

fn events(page: &mut String, story: &Story) {
    let rows: String = story.records.iter().map(|record| event(&story.life, record)).collect();
    table(page, "Events", &["After", "Time", "Reason", "Message", "Took"], &rows);
}

fn event(life: &Life, record: &Record) -> String {
    let notice = &record.notice;
    // Another boot has another clock.
    let after = if record.boot_id == life.boot_id { offset(record.monotonic_ns - life.origin) } else { String::new() };
    let took = notice.duration_ms.map(|ms| seconds(Duration::from_millis(ms))).unwrap_or_default();
    let reason = if notice.kind == Kind::Warning { "bad" } else { "" };
    // To the millisecond: the journal has it to the nanosecond.
    let time = record.time.get(..23).map_or(record.time.clone(), |time| format!("{time}Z"));
    let cells = [cell("n", &after), cell("n muted", &time), cell(reason, &notice.reason), cell("", &notice.message)];
    format!("<tr>{}{}</tr>\n", cells.concat(), cell("n", &took))
}
