//! What is left of containers that were deleted, and where containers outside of the default root are (interface.md
//! section 5).
//!
//! Callers delete a container milliseconds after its exit; whoever asks why it failed comes later. So journal, status, plan
//! and hook output of a life move to `HISTORY/ID/START`. Every directory here is opened without following a symlink and
//! must be ours.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::container::id::ContainerId;
use crate::container::root::{is_own, own_directory};
use crate::lifecycle::journal::{self, open_regular};

/// The history's name in the default root.
pub const DIR_NAME: &str = "history";
/// The name, in the default root, of the list of other roots.
pub const ROOTS_NAME: &str = "roots";

/// How much the history holds. The oldest lives go first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub all: u64,
    pub life: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { all: 64 << 20, life: 4 << 20 }
    }
}

/// What of a state directory is worth keeping, in this order while there is room.
const KEPT: [&str; 4] = [journal::FILE_NAME, "status.json", "plan.json", "hooks"];
const MAX_ROOTS: usize = 64;
const MAX_ROOTS_FILE: u64 = 1 << 20;

/// Moves what is kept of the state directory `state` to `history/ID/START`, and makes room for it. Returns where it is now;
/// None when there is no journal, as of a container without hooks: that leaves nothing.
///
/// Moving and not copying where both are on one file system, so that a deletion costs a few renames.
pub fn keep(history: &Path, id: &ContainerId, state: &Path, limits: Limits) -> Result<Option<PathBuf>> {
    let journal = state.join(journal::FILE_NAME);
    if !journal.symlink_metadata().is_ok_and(|found| found.is_file()) {
        return Ok(None);
    }
    let records = journal::read(&journal)?;
    let start = records.first().map_or_else(|| "unknown".to_owned(), |record| safe_name(&record.time));
    own_directory(history)?;
    let _lock = lock(&history.join(".lock"))?;
    let lives = history.join(id.as_str());
    own_directory(&lives)?;
    let life = make_life(&lives, &start)?;

    let mut left = limits.life;
    for name in KEPT {
        let from = state.join(name);
        let moved = if name == "hooks" {
            move_logs(&from, &life.join(name), &mut left)
        } else {
            move_file(&from, &life.join(name), &mut left)
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("move {} to {}", from.display(), life.display()));
            }
            _ => {}
        }
    }
    make_room(history, limits.all)?;
    Ok(Some(life))
}

/// A time as a file name that every file system takes: `20260102T030405.000000006Z`.
fn safe_name(time: &str) -> String {
    let name: String =
        time.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '.').take(64).collect();
    if name.trim_matches('.').is_empty() { "unknown".to_owned() } else { name }
}

/// Makes the directory of a life; a second one of the same name gets a number.
fn make_life(lives: &Path, start: &str) -> Result<PathBuf> {
    for number in 0..1000 {
        let life = lives.join(if number == 0 { start.to_owned() } else { format!("{start}-{number}") });
        match DirBuilder::new().mode(0o700).create(&life) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| life.clone()).with_context(|| format!("make {}", life.display())),
        }
    }
    bail!("make a life in {}: a thousand began at the same time", lives.display())
}

fn move_logs(from: &Path, to: &Path, left: &mut u64) -> io::Result<()> {
    let mut logs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            logs.push(entry.path());
        }
    }
    DirBuilder::new().mode(0o700).create(to)?;
    logs.sort();
    for log in logs {
        if let Some(name) = log.file_name() {
            move_file(&log, &to.join(name), left)?;
        }
    }
    Ok(())
}

/// Moves a regular file; one that no longer fits is cut off at what is left.
fn move_file(from: &Path, to: &Path, left: &mut u64) -> io::Result<()> {
    let mut file = open_regular(from)?;
    let size = file.metadata()?.len();
    if size > *left || fs::rename(from, to).is_err() {
        let mut copy =
            OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(to)?;
        io::copy(&mut (&mut file).take(*left), &mut copy)?;
        fs::remove_file(from)?;
    }
    *left = left.saturating_sub(size);
    Ok(())
}

struct Life {
    path: PathBuf,
    start: String,
    size: u64,
}

/// Removes the oldest lives until the history is within its bound.
fn make_room(history: &Path, bound: u64) -> Result<()> {
    let mut lives = Vec::new();
    for id in directories(history)? {
        for path in directories(&id)? {
            let start = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            lives.push(Life { size: size_of(&path)?, path, start });
        }
    }
    // The names begin with the time, so their order is that of the lives.
    lives.sort_by(|a, b| a.start.cmp(&b.start));
    let mut total: u64 = lives.iter().map(|life| life.size).sum();
    for life in &lives {
        if total <= bound {
            break;
        }
        fs::remove_dir_all(&life.path).with_context(|| format!("remove {}", life.path.display()))?;
        // Only an empty one goes; others of the same id may be left.
        let _ = life.path.parent().map(fs::remove_dir);
        total -= life.size;
    }
    Ok(())
}

fn directories(path: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        Ok(found)
    };
    read().with_context(|| format!("read {}", path.display()))
}

/// What a life takes: its files, and a page each for its directories, so that empty ones do not pile up unseen.
fn size_of(life: &Path) -> Result<u64> {
    let mut size = 4096;
    for entry in fs::read_dir(life).with_context(|| format!("read {}", life.display()))? {
        let entry = entry?;
        size += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(size)
}

/// The lives of an id that the history has, the latest first.
pub fn find(history: &Path, id: &ContainerId) -> Result<Vec<PathBuf>> {
    let of_id = history.join(id.as_str());
    if !is_own(history)? || !is_own(&of_id)? {
        return Ok(Vec::new());
    }
    let mut lives = directories(&of_id)?;
    lives.retain(|life| life.join(journal::FILE_NAME).is_file());
    lives.sort_unstable_by(|one, other| other.cmp(one));
    Ok(lives)
}

/// Where the journals of an id are, the latest first: in the root that was given, else in the default root, else in the
/// roots that are recorded there; then in the history (interface.md section 5).
pub fn lives(id: &ContainerId, root: Option<&Path>, default_root: &Path) -> Result<Vec<PathBuf>> {
    let present = present(id, root, default_root)?;
    Ok(present.into_iter().chain(find(&default_root.join(DIR_NAME), id)?).collect())
}

/// The directory of a container with hooks that exists, in this root, the default one or another that was recorded.
pub fn present(id: &ContainerId, root: Option<&Path>, default_root: &Path) -> Result<Option<PathBuf>> {
    let recorded = recorded_roots(default_root)?;
    let roots = root.into_iter().chain([default_root]).chain(recorded.iter().map(PathBuf::as_path));
    for root in roots {
        let dir = root.join(id.as_str());
        // Another root of ours may be anywhere, and anyone's by now; what is not ours is passed over.
        if is_own(&dir).unwrap_or(false)
            && dir.join(journal::FILE_NAME).symlink_metadata().is_ok_and(|file| file.is_file())
        {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

/// Remembers a root other than the default one. The list holds each once, and the latest 64.
pub fn record_root(default_root: &Path, root: &Path) -> Result<()> {
    let root = fs::canonicalize(root).with_context(|| format!("find {}", root.display()))?;
    own_directory(default_root)?;
    if fs::canonicalize(default_root).is_ok_and(|default| default == root)
        || root.as_os_str().as_bytes().contains(&b'\n')
    {
        return Ok(());
    }
    let _lock = lock(&default_root.join(".roots.lock"))?;
    let mut roots = recorded_roots(default_root)?;
    if roots.last() == Some(&root) {
        return Ok(());
    }
    // What is gone will not come back with our containers.
    roots.retain(|known| *known != root && known.is_dir());
    roots.push(root);
    let kept = &roots[roots.len().saturating_sub(MAX_ROOTS)..];
    let text: Vec<u8> = kept.iter().flat_map(|root| [root.as_os_str().as_bytes(), b"\n"].concat()).collect();
    replace(default_root, ROOTS_NAME, &text).with_context(|| format!("write {}/{ROOTS_NAME}", default_root.display()))
}

/// The roots that were recorded, the latest last.
pub fn recorded_roots(default_root: &Path) -> Result<Vec<PathBuf>> {
    let path = default_root.join(ROOTS_NAME);
    let mut text = Vec::new();
    match open_regular(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.and_then(|file| file.take(MAX_ROOTS_FILE).read_to_end(&mut text)),
    }
    .with_context(|| format!("read {}", path.display()))?;
    let lines = text.split(|byte| *byte == b'\n').map(|line| PathBuf::from(std::ffi::OsStr::from_bytes(line)));
    Ok(lines.filter(|root| root.is_absolute()).collect())
}

fn replace(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text)?;
    fs::rename(&temporary, dir.join(name))
}

/// Held until it is dropped, so that two deletions do not remove each other's lives.
fn lock(path: &Path) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("lock {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::lifecycle::journal::{Journal, Record};
    use crate::lifecycle::notice::Notice;
    use crate::lifecycle::time::Instant;

    fn id(name: &str) -> ContainerId {
        name.parse().unwrap()
    }

    /// A state directory with a journal that began in the given second and one log.
    fn state(root: &Path, name: &str, second: u32, log: usize) -> PathBuf {
        let dir = root.join(name);
        fs::create_dir_all(dir.join("hooks")).unwrap();
        let record = Record {
            time: format!("2026-01-02T03:04:{second:02}.000000000Z"),
            monotonic_ns: Instant(1),
            boot_id: "boot".into(),
            container: name.into(),
            notice: Notice::normal("Created", ""),
        };
        Journal::create(&dir).unwrap().append(&record).unwrap();
        fs::write(dir.join("status.json"), "{}").unwrap();
        fs::write(dir.join("plan.json"), "{}").unwrap();
        fs::write(dir.join("state.json"), "{}").unwrap();
        fs::write(dir.join("hooks/preStop-1.log"), vec![b'x'; log]).unwrap();
        dir
    }

    #[test]
    fn a_life_moves_to_the_history_and_is_found_there() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("default/history");
        let from = state(dir.path(), "web", 5, 10);
        let life = keep(&history, &id("web"), &from, Limits::default()).unwrap().unwrap();
        assert_eq!(life, history.join("web/20260102T030405.000000000Z"));
        for name in ["journal.jsonl", "status.json", "plan.json", "hooks/preStop-1.log"] {
            assert!(life.join(name).is_file() && !from.join(name).exists(), "{name}");
        }
        assert!(!life.join("state.json").exists());
        for dir in [&history, &history.join("web"), &life, &life.join("hooks")] {
            assert_eq!(fs::metadata(dir).unwrap().mode() & 0o7777, 0o700);
        }
        assert_eq!(find(&history, &id("web")).unwrap(), [life]);
        assert_eq!(find(&history, &id("other")).unwrap(), [] as [PathBuf; 0]);
    }

    #[test]
    fn the_lives_of_an_id_are_found_the_latest_first_even_if_two_began_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history");
        let lives: Vec<PathBuf> = [7, 5, 7]
            .into_iter()
            .map(|second| {
                keep(&history, &id("web"), &state(dir.path(), "web", second, 1), Limits::default()).unwrap().unwrap()
            })
            .collect();
        assert_eq!(find(&history, &id("web")).unwrap(), [2, 0, 1].map(|at: usize| lives[at].clone()));
    }

    #[test]
    fn a_container_without_a_journal_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history");
        assert_eq!(keep(&history, &id("web"), dir.path(), Limits::default()).unwrap(), None);
        assert!(!history.exists());
    }

    #[test]
    fn the_oldest_lives_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history");
        let limits = Limits { all: 100_000, life: 50_000 };
        for (second, name) in [(9, "young"), (1, "old"), (5, "middle"), (8, "last")] {
            keep(&history, &id(name), &state(dir.path(), name, second, 20_000), limits).unwrap();
        }
        let mut left: Vec<_> = fs::read_dir(&history).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".lock", "last", "middle", "young"]);
    }

    #[test]
    fn a_life_is_cut_at_its_bound_and_its_journal_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history");
        let limits = Limits { life: 5000, ..Limits::default() };
        let life = keep(&history, &id("web"), &state(dir.path(), "web", 1, 100_000), limits).unwrap().unwrap();
        assert_eq!(journal::read(&life.join("journal.jsonl")).unwrap().len(), 1);
        let size: u64 = KEPT[..3].iter().map(|name| fs::metadata(life.join(name)).unwrap().len()).sum();
        assert_eq!(size + fs::metadata(life.join("hooks/preStop-1.log")).unwrap().len(), 5000);
    }

    #[test]
    fn a_life_keeps_4_mib_and_all_of_them_64() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history");
        let keep_one = |second: u32, log: u64| {
            let from = state(dir.path(), "web", second, 0);
            File::options().write(true).open(from.join("hooks/preStop-1.log")).unwrap().set_len(log).unwrap();
            keep(&history, &id("web"), &from, Limits::default()).unwrap().unwrap()
        };
        let all = |life: &Path| size_of(life).unwrap() - 2 * 4096;
        assert_eq!(all(&keep_one(0, 5 << 20)), 4 << 20);
        // Files with holes, so that nothing much is written.
        let lives: Vec<PathBuf> = (1..=17).map(|second| keep_one(second, (4 << 20) - 16_384)).collect();
        assert_eq!(find(&history, &id("web")).unwrap().len(), 16);
        assert!(!lives[0].exists() && lives[1].exists() && lives[16].exists());
    }

    #[test]
    fn deletions_at_once_all_leave_their_lives() {
        let dir = tempfile::tempdir().unwrap();
        let history = dir.path().join("history");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (history, root) = (&history, dir.path());
                scope.spawn(move || {
                    let name = format!("web{number}");
                    let limits = Limits { all: 1 << 20, life: 1 << 20 };
                    keep(history, &id(&name), &state(root, &name, number, 100), limits).unwrap().unwrap();
                });
            }
        });
        assert_eq!(directories(&history).unwrap().len(), 8);
    }

    #[test]
    fn s18_a_symlink_in_the_historys_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let history = dir.path().join("history");
        symlink(&elsewhere, &history).unwrap();
        let from = state(dir.path(), "web", 1, 1);
        assert!(keep(&history, &id("web"), &from, Limits::default()).is_err());
        assert!(find(&history, &id("web")).is_err());
        fs::remove_file(&history).unwrap();
        fs::create_dir(&history).unwrap();
        symlink(&elsewhere, history.join("web")).unwrap();
        assert!(keep(&history, &id("web"), &from, Limits::default()).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        // A log that is a symlink is not followed either.
        let from = state(dir.path(), "other", 1, 1);
        symlink("/etc/hostname", from.join("hooks/postStart-1.log")).unwrap();
        let life = keep(&history, &id("other"), &from, Limits::default()).unwrap().unwrap();
        assert!(!life.join("hooks/postStart-1.log").exists());
    }

    #[test]
    fn an_id_is_looked_up_in_the_given_root_the_default_one_the_recorded_ones_and_the_history() {
        let dir = tempfile::tempdir().unwrap();
        let [given, default, other] = ["given", "default", "other"].map(|name| dir.path().join(name));
        fs::create_dir(&other).unwrap();
        record_root(&default, &other).unwrap();
        let web = id("web");
        let look = || lives(&web, Some(&given), &default).unwrap();
        assert_eq!(look(), [] as [PathBuf; 0]);
        let kept = keep(&default.join(DIR_NAME), &web, &state(dir.path(), "web", 1, 1), Limits::default()).unwrap();
        let kept = kept.unwrap();
        assert_eq!(look(), std::slice::from_ref(&kept));
        for root in [&other, &default, &given] {
            let at = state(root, "web", 1, 1);
            assert_eq!(look(), [at, kept.clone()]);
        }
        assert_eq!(lives(&web, None, &default).unwrap(), [default.join("web"), kept]);
    }

    #[test]
    fn roots_are_recorded_once_each_and_the_list_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let default = dir.path().join("default");
        let roots: Vec<PathBuf> = (0..70).map(|number| dir.path().join(format!("root{number}"))).collect();
        for root in &roots {
            fs::create_dir(root).unwrap();
            record_root(&default, root).unwrap();
            record_root(&default, root).unwrap();
        }
        record_root(&default, &default).unwrap();
        record_root(&default, &roots[20]).unwrap();
        let recorded = recorded_roots(&default).unwrap();
        assert_eq!(recorded.len(), MAX_ROOTS);
        assert_eq!(recorded.last(), Some(&roots[20]));
        assert_eq!(recorded.iter().filter(|root| **root == roots[20]).count(), 1);
        assert_eq!(fs::metadata(default.join(ROOTS_NAME)).unwrap().mode() & 0o7777, 0o600);
    }
}
