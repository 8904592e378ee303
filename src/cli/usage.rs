//! A command line that is none: what is said, where, and with which exit code.

use std::error::Error as _;
use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::help;
use super::log::Log;

/// What people type who come from runc, docker or podman, and the verb that they mean.
const HABITS: &[(&str, &str)] = &[
    ("completion", "completions"),
    ("info", "doctor"),
    ("inspect", "state"),
    ("lint", "check"),
    ("ls", "list"),
    ("remove", "delete"),
    ("rm", "delete"),
    ("top", "ps"),
    ("unpause", "resume"),
    ("validate", "check"),
    ("version", "--version"),
];

/// Prints help, the version, or what is wrong. The exit code is 2 for that (interface.md 2.4), but where a runtime's
/// caller would see an error of the verb.
pub fn answer(arguments: &[OsString], error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        return show_help(arguments);
    }
    if !error.use_stderr() {
        // There is nobody left to tell when this cannot be printed.
        let _ = error.print();
        return 0;
    }
    let log = Log::of_arguments(arguments);
    if let Some(text) = bad_id(error) {
        log.error(&anyhow::anyhow!(text));
        return if is_of_a_process(arguments) { 125 } else { 1 };
    }
    if let Some(text) = unbuilt(error) {
        log.error(&anyhow::anyhow!(text));
        return 1;
    }
    if let Some(text) = habit(error) {
        log.error(&anyhow::anyhow!(text));
        return 2;
    }
    let _ = error.print();
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    log.file_error(text.strip_prefix("error: ").unwrap_or(text));
    2
}

/// The same command line once more, by the definition that has examples. Help that was not asked for is an error.
fn show_help(arguments: &[OsString]) -> u8 {
    let Err(help) = help::command().try_get_matches_from(arguments) else { return 2 };
    // There is nobody left to tell when this cannot be printed.
    let _ = help.print();
    if help.use_stderr() { 2 } else { 0 }
}

fn habit(error: &clap::Error) -> Option<String> {
    let typed = context(error, ContextKind::InvalidSubcommand)?;
    let (_, verb) = HABITS.iter().find(|(habit, _)| *habit == typed)?;
    Some(format!("there is no verb {typed}: it is `bookend {verb}` here; `bookend --help` lists all"))
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// An id is no flag: callers take what is wrong with it as the error of the verb.
fn bad_id(error: &clap::Error) -> Option<String> {
    let is_id = context(error, ContextKind::InvalidArg)? == "<ID>";
    error.source().filter(|_| is_id).map(ToString::to_string)
}

/// runc's verbs that are not here.
fn unbuilt(error: &clap::Error) -> Option<String> {
    let verb = context(error, ContextKind::InvalidSubcommand)?;
    match verb {
        "checkpoint" | "restore" => Some(format!("{verb}: saving a container to disk is not offered by bookend")),
        _ => None,
    }
}

/// Whether the verb's exit code is a process's, so that our own errors are 125.
fn is_of_a_process(arguments: &[OsString]) -> bool {
    let cli = Cli::command();
    let verb = arguments.iter().skip(1).find_map(|word| cli.find_subcommand(word));
    verb.is_some_and(|verb| ["run", "exec", "wait"].contains(&verb.get_name()))
}
