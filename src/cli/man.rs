//! `man`

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Command;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::Man;
use super::examples::{Example, FIRST, page};
use super::help;

/// Begins every page of ours; a file without it is somebody else's.
const MARK: &str = ".\\\" Written by `bookend man`.\n";

/// The name of a file, and what is in it.
type Page = (String, Vec<u8>);

pub fn run(args: &Man) -> Result<u8> {
    let dir = &args.dir;
    let pages = pages().context("render the man pages")?;
    prepare(dir)?;
    for (name, _) in &pages {
        refuse_foreign(&dir.join(name))?;
    }
    for page in &pages {
        write(dir, page)?;
    }
    println!("{} man pages in {}; try: man -l {}", pages.len(), dir.display(), dir.join("bookend.1").display());
    Ok(0)
}

/// bookend.1 and one page a verb.
fn pages() -> Result<Vec<Page>> {
    let mut command = help::described().disable_help_subcommand(true);
    command.build();
    let verbs: Vec<Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    std::iter::once(&command).chain(&verbs).map(render).collect()
}

fn render(command: &Command) -> Result<Page> {
    let version = concat!("bookend ", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.clone()).source(version).manual("bookend");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    let page = page(command.get_name());
    examples(page.map_or(FIRST, |page| page.examples)).to_writer(&mut text)?;
    man.render_options_section(&mut text)?;
    match page {
        Some(page) => exit_status(page.exit_codes).to_writer(&mut text)?,
        None => man.render_subcommands_section(&mut text)?,
    }
    see_also(page.is_some()).to_writer(&mut text)?;
    // Each section comes with a definition of what an apostrophe is.
    let text = String::from_utf8(text)?;
    let (define, rest) = text.split_at(text.find(".TH").context("a page without a title")?);
    Ok((man.get_filename(), format!("{MARK}{define}{}", rest.replace(define, "")).into_bytes()))
}

fn examples(examples: &[Example]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for Example(line, what) in examples {
        roff.control("TP", []).text([bold(*line)]).text([roman(*what)]);
    }
    roff
}

fn exit_status(codes: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for code in help::exit_codes(codes) {
        roff.text([roman(code)]).control("br", []);
    }
    roff
}

fn see_also(of_verb: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let pages = if of_verb { "bookend(1)" } else { "runc(8), podman(1), docker(1), ctr(8)" };
    roff.text([roman(pages)]);
    roff
}

/// Makes the directory where only it is missing: with more of the path missing, it is more likely misspelt.
fn prepare(dir: &Path) -> Result<()> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => bail!("{} is no directory: give the one that the pages belong in", dir.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir(dir)
            .with_context(|| format!("create {} (a missing parent is not made: mkdir -p it)", dir.display())),
        Err(error) => Err(error).with_context(|| format!("look at {}", dir.display())),
    }
}

/// What is there may be a page that `man` wrote before, and nothing else.
fn refuse_foreign(path: &Path) -> Result<()> {
    let foreign =
        || format!("{} is not a page that bookend wrote, and is not replaced: remove it first", path.display());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
        Ok(found) if !found.is_file() => bail!(foreign()),
        Ok(_) => {}
    }
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MARK.len() as u64).read_to_end(&mut begin));
    read.with_context(|| format!("read {}", path.display()))?;
    if begin != MARK.as_bytes() {
        bail!(foreign());
    }
    Ok(())
}

/// By rename: a page is there in whole or not at all.
fn write(dir: &Path, (name, text): &Page) -> Result<()> {
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&temporary);
    let mut file = file.with_context(|| format!("write a page to {}", dir.display()))?;
    let written = file.write_all(text).and_then(|()| fs::rename(&temporary, dir.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // the error of the writing is the one to tell
    }
    written.with_context(|| format!("write {}", dir.join(name).display()))
}
