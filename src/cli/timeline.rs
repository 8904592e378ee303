//! `bookend timeline ID`: the container's life as a picture, drawn from the journal.

use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::args::{Global, PictureFormat, Timeline};
use super::logs::{LogFile, select};
use super::lookup;
use crate::container::state::State;
use crate::lifecycle::journal::{self, open_regular};
use crate::lifecycle::status::Status;
use crate::lifecycle::timeline::{self, Life, Output, Story};
use crate::linux::clock;
use crate::supervisor::control;
use crate::supervisor::settings::Settings;

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    pub columns: usize,
    pub color: bool,
    pub unicode: bool,
}

pub fn run(global: &Global, args: &Timeline) -> Result<u8> {
    let dir = lookup::records(global, &args.id, args.previous)?;
    print!("{}", of(&dir, args.format)?);
    Ok(0)
}

/// The picture of the life whose records are in `dir`, as this terminal can show it.
pub fn of(dir: &Path, format: PictureFormat) -> Result<String> {
    let story = read(dir)?;
    Ok(render(story.as_slice(), format, Terminal::of_stdout()))
}

/// All that is kept about a life, in its state directory or in the history. No records: None.
pub fn read(dir: &Path) -> Result<Option<Story>> {
    let records = journal::read(&dir.join(journal::FILE_NAME))?;
    let status = Status::load(dir).ok();
    let Some(mut life) = Life::of(&records, goes_on(dir, status.as_ref()).then(clock::now)) else { return Ok(None) };
    let plan = Settings::load(dir).ok().map(|settings| settings.plan);
    plan.iter().for_each(|plan| life.describe(plan));
    let logs = select(&dir.join("hooks"), None, None)?;
    Ok(Some(Story { life, records, plan, status, output: logs.iter().filter_map(tail).collect() }))
}

/// Whether more of the life will come. Nobody may have written down its end: the supervisor, or the machine, can be killed.
pub fn goes_on(dir: &Path, status: Option<&Status>) -> bool {
    let over = status.is_some_and(|status| status.phase == "Stopped");
    let has_init = || State::load_dir(dir).is_ok_and(|state| state.init().is_some());
    // postStop runs when init is gone.
    let has_supervisor = || control::connect(dir).is_ok_and(|connection| connection.is_some());
    !over && (has_init() || has_supervisor())
}

/// How much of an attempt's output stands in a page.
const TAIL: u64 = 16 << 10;

/// The end of a log, from the beginning of a line on; None if there is nothing, or it has gone in this moment.
fn tail(log: &LogFile) -> Option<Output> {
    let mut file = open_regular(&log.path).ok()?;
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(TAIL);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from)).ok()?;
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = if from > 0 { text.split_once('\n').map_or("", |(_, whole)| whole) } else { &text };
    (!text.is_empty()).then(|| Output { name: log.name(), text: text.to_owned(), cut: from > 0 })
}

/// One picture of several lives; as text and JSON one after the other.
pub fn render(stories: &[Story], format: PictureFormat, terminal: Terminal) -> String {
    let lives: Vec<Life> = stories.iter().map(|story| story.life.clone()).collect();
    let Terminal { columns, color, unicode } = terminal;
    match (format, &lives[..]) {
        (PictureFormat::Svg, lives) => timeline::svg(lives),
        (PictureFormat::Html, _) => timeline::html(stories),
        (PictureFormat::Json, [life]) => format!("{:#}\n", life.json()),
        (PictureFormat::Json, lives) => format!("{:#}\n", lives.iter().map(Life::json).collect::<Value>()),
        (PictureFormat::Text, lives) => {
            let draw = |life: &Life| if unicode { life.text(columns, color) } else { life.ascii(columns, color) };
            lives.iter().map(draw).collect::<Vec<_>>().join("\n")
        }
    }
}

impl Terminal {
    pub fn of_stdout() -> Terminal {
        let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| usize::from(size.ws_col));
        Terminal {
            columns: columns.ok().filter(|columns| *columns >= 60).unwrap_or(100).min(160),
            color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            unicode: is_utf8(|name| std::env::var(name).ok()),
        }
    }
}

/// Whether a terminal shows more than ASCII, by the locale variables in their order: `LC_ALL`, `LC_CTYPE`, `LANG`. With
/// none set (services, CI) it does.
pub fn is_utf8(lookup: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(lookup).find(|value| !value.is_empty());
    set.is_none_or(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::source::{Sources, resolve};

    /// Journals of real runs, each with its Pod; the pictures are drawn anew by `BLESS=1 cargo test the_pictures_of_the_pages`.
    #[test]
    fn the_pictures_of_the_pages_are_what_is_drawn_of_their_examples() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (journal, pod, picture) in [
            ("hooks-pod", "testdata/hooks-pod.yaml", "docs/timeline.svg"),
            ("pre-stop-too-long", "testdata/timeline/pre-stop-too-long.yaml", "docs/pictures/pre-stop-too-long.svg"),
            ("post-start-fails", "testdata/timeline/post-start-fails.yaml", "docs/pictures/post-start-fails.svg"),
            ("quit-in-pre-stop", "testdata/timeline/quit-in-pre-stop.yaml", "docs/pictures/quit-in-pre-stop.svg"),
            (
                "stop-during-post-start",
                "testdata/timeline/stop-during-post-start.yaml",
                "docs/pictures/stop-during-post-start.svg",
            ),
        ] {
            let records = repository.join("testdata/timeline").join(journal).with_extension("jsonl");
            let mut life = Life::of(&journal::read(&records).unwrap(), None).unwrap();
            let resolved = resolve(&Sources {
                pod: Some(&repository.join(pod)),
                container: None,
                lifecycle: None,
                annotations: &Default::default(),
                bundle: repository,
                id: journal,
                flags_are_global: false,
            });
            life.describe(&resolved.unwrap().plan);
            let (drawn, path) = (timeline::svg(&[life]), repository.join(picture));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &drawn).unwrap();
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(there == drawn, "{picture} is out of date: set BLESS=1 once");
        }
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let locale = |lc_all: &str, lang: &str| {
            let (lc_all, lang) = (lc_all.to_owned(), lang.to_owned());
            is_utf8(move |name| match name {
                "LC_ALL" => Some(lc_all.clone()),
                "LANG" => Some(lang.clone()),
                _ => None,
            })
        };
        assert!(locale("", "en_US.UTF-8") && locale("C.utf8", "C") && locale("", ""));
        assert!(!locale("C", "en_US.UTF-8") && !locale("", "POSIX"));
    }
}
