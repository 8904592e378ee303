//! The definition of the command line as people read it: an example before the usage, exit codes at the end, the verbs in
//! groups. Help, man pages and completions come from this; parsing alone does without.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::args::Cli;
use super::examples::{Example, FIRST, Group, PAGES, page};

/// Columns of a help text.
const WIDTH: usize = 80;

const VERB_TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Flags before the verb that only the long help of `bookend` shows: they are for runtime callers' configuration.
const ONLY_LONG: &[&str] =
    &["pod", "container", "lifecycle", "hook_log_dir", "no_history", "poststart_stop", "strict_kubernetes"];

/// The whole command, for its help.
pub fn command() -> Command {
    let mut command = described();
    for flag in ONLY_LONG {
        command = command.mut_arg(flag, |flag| flag.hide_short_help(true));
    }
    let template = top_template(&command);
    command.help_template(template)
}

/// The whole command with what is told of each verb.
pub fn described() -> Command {
    let verbs: Vec<String> = Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let mut command = Cli::command().term_width(WIDTH);
    for verb in verbs {
        command = command.mut_subcommand(verb, describe);
    }
    command
}

fn describe(verb: Command) -> Command {
    let Some(page) = page(verb.get_name()) else { return verb };
    verb.help_template(VERB_TEMPLATE)
        .term_width(WIDTH)
        .before_help(examples("Example:", &page.examples[..1]))
        .before_long_help(examples(if page.examples.len() == 1 { "Example:" } else { "Examples:" }, page.examples))
        .after_long_help(format!("Exit codes:\n{}", list(page.exit_codes)))
}

fn examples(heading: &str, examples: &[Example]) -> String {
    let lines = examples.iter().map(|Example(line, what)| format!("\n  # {what}\n  {line}"));
    format!("{heading}{}", lines.collect::<String>())
}

/// Exit codes, a line each.
fn list(sentences: &str) -> String {
    let lines = exit_codes(sentences).map(|line| format!("  {line}\n"));
    lines.collect::<String>().trim_end().to_owned()
}

/// The exit codes of a page, one by one.
pub fn exit_codes(sentences: &str) -> impl Iterator<Item = &str> {
    sentences.split(". ").map(|line| line.trim_end_matches('.'))
}

fn top_template(command: &Command) -> String {
    let mut text =
        format!("{{about-with-newline}}\n{}\n\n{{usage-heading}} {{usage}}\n", examples("To begin with:", FIRST));
    for group in Group::ALL {
        let _ = writeln!(text, "\n{}:", group.heading()); // a String takes everything
        for page in PAGES.iter().filter(|page| page.group == group) {
            let Some(verb) = command.find_subcommand(page.verb) else { continue };
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:<12} {about}", page.verb); // see above
        }
    }
    text + "\nOptions, before the verb:\n{options}\n\n`bookend VERB --help` has examples, all flags and the exit codes of a verb."
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn verbs() -> Vec<Command> {
        command().get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect()
    }

    #[test]
    fn every_verb_has_an_example_and_its_exit_codes() {
        for verb in verbs() {
            let page =
                page(verb.get_name()).unwrap_or_else(|| panic!("cli/examples.rs has no page {}", verb.get_name()));
            assert!(!page.examples.is_empty() && page.examples.len() <= 3, "{}", page.verb);
        }
    }

    #[test]
    fn every_example_is_a_command_line_of_its_verb() {
        let known: Vec<String> = verbs().iter().map(|verb| verb.get_name().to_owned()).collect();
        let pages = PAGES.iter().filter(|page| known.contains(&page.verb.to_owned()));
        let of_verbs = pages.flat_map(|page| page.examples.iter().map(|example| (Some(page.verb), example)));
        for (verb, Example(line, _)) in of_verbs.chain(FIRST.iter().map(|example| (None, example))) {
            let words = shlex::split(line).unwrap();
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(verb.is_none_or(|verb| words[1] == verb), "{line}");
        }
    }

    #[test]
    fn every_flag_and_argument_says_what_it_is() {
        for verb in verbs().iter().chain([&command()]) {
            for flag in verb.get_arguments().filter(|flag| !flag.is_hide_set()) {
                assert!(flag.get_help().is_some(), "bookend {}: {} has no help", verb.get_name(), flag.get_id());
            }
        }
    }

    #[test]
    fn help_fits_80_columns_and_has_the_example_before_the_usage() {
        let mut all = command();
        let mut texts = vec![all.render_help().to_string(), all.render_long_help().to_string()];
        for mut verb in verbs() {
            let long = verb.render_long_help().to_string();
            assert!(long.find("Example").unwrap() < long.find("Usage:").unwrap(), "{long}");
            assert!(long.contains("Exit codes:"), "{long}");
            texts.extend([verb.render_help().to_string(), long]);
        }
        for line in texts.iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn the_help_of_bookend_names_every_verb_once() {
        let help = command().render_help().to_string();
        for verb in verbs() {
            let lines = help.lines().filter(|line| line.starts_with(&format!("  {} ", verb.get_name())));
            assert_eq!(lines.count(), 1, "{}", verb.get_name());
        }
    }
}
