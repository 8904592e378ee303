//! Files that the result goes to. They are opened before anything runs, so that no rehearsal is for nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::super::args::PictureFormat;
use super::super::timeline::Terminal;

/// How a picture is drawn, by the ending of its file's name.
pub fn picture_format(path: &Path) -> Result<PictureFormat> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => Ok(PictureFormat::Svg),
        Some("html") => Ok(PictureFormat::Html),
        Some("json") => Ok(PictureFormat::Json),
        Some("txt") => Ok(PictureFormat::Text),
        _ => bail!(
            "--timeline {}: the name has to end in .svg, .html, .json or .txt, which says how it is drawn",
            path.display()
        ),
    }
}

/// What a text file can hold.
pub const TERMINAL: Terminal = Terminal { columns: 100, color: false, unicode: true };

/// A file that will be written at the end. One that it had to make is removed again if that never comes.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Target {
    pub fn open(flag: &str, path: &Path) -> Result<Target> {
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            // A FIFO that nobody reads is an error at once.
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .with_context(|| format!("{flag} {}: open it for writing", path.display()))?;
        Ok(Target { path: path.to_owned(), file, is_new })
    }

    pub fn write(mut self, text: &str) -> Result<()> {
        let write = |file: &mut File| -> std::io::Result<()> {
            if file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            file.write_all(text.as_bytes())
        };
        write(&mut self.file).with_context(|| format!("write {}", self.path.display()))?;
        self.is_new = false;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_new {
            // It was made a moment ago, and nobody was told of it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_never_written_leaves_things_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old.xml"), dir.path().join("new.xml"));
        std::fs::write(&old, "before").unwrap();
        drop((Target::open("--junit", &old).unwrap(), Target::open("--junit", &new).unwrap()));
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "before");
        assert!(!new.exists());
        Target::open("--junit", &old).unwrap().write("now").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "now");
        assert!(Target::open("--junit", dir.path()).is_err());
        assert!(Target::open("--junit", &dir.path().join("no/such")).is_err());
    }

    #[test]
    fn the_ending_of_the_name_says_how_the_picture_is_drawn() {
        assert_eq!(picture_format(Path::new("a.txt")).unwrap(), PictureFormat::Text);
        assert_eq!(picture_format(Path::new("a.b.svg")).unwrap(), PictureFormat::Svg);
        let error = picture_format(Path::new("a.png")).unwrap_err().to_string();
        assert!(error.contains(".svg, .html, .json or .txt"), "{error}");
        assert!(picture_format(Path::new("txt")).is_err());
    }
}
