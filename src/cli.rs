//! The command line: one file a verb. Each parses, makes one call, and prints.

#[macro_use]
mod print;

pub mod args;
pub mod check;
pub mod completions;
pub mod config;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod events;
mod examples;
pub mod exec;
pub mod features;
pub mod handle;
mod help;
pub mod hooks;
pub mod kill;
pub mod list;
pub mod log;
pub mod logs;
pub mod lookup;
pub mod man;
pub mod pause;
mod progress;
pub mod ps;
pub mod restart;
pub mod run;
pub mod spec;
mod spelling;
pub mod start;
pub mod state;
pub mod stop;
pub mod test;
pub mod timeline;
pub mod update;
mod usage;
pub mod wait;

use std::ffi::OsString;
use std::fmt;

use args::{Cli, Verb};

use crate::container::interrupt::Interrupted;
use crate::container::link::Failure;
use crate::container::start::StartError;

/// An error with the exit code that it asks for (interface.md 2.4).
#[derive(Debug)]
pub struct WithCode {
    pub code: u8,
    pub error: anyhow::Error,
}

impl fmt::Display for WithCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for WithCode {}

/// Gives an error the exit code that a verb's table asks for.
pub fn with_code(code: u8, error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(WithCode { code, error: error.into() })
}

/// The codes of a program that was not found or cannot be executed (interface.md 2.4).
const NO_PROGRAM: [i32; 2] = [126, 127];
/// runc's words before the reason of such a one.
const NOT_STARTED: &str = "unable to start container process";

/// Runs one command line and returns its exit code. Errors are printed here, once, and nowhere else.
pub fn main(arguments: Vec<OsString>) -> u8 {
    if arguments.iter().any(|argument| Verb::ENTER_CONTAINERS.iter().any(|name| argument == name)) {
        // Sooner than it must be, so that the command line is parsed once. A failure is told when it is.
        let _ = crate::linux::reexec::protect();
    }
    let arguments = spelling::ours(&arguments);
    let cli = match Cli::read(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&arguments, &error),
    };
    let mut log = log::Log::new(&cli.global);
    match log.open().and_then(|()| run_verb(&cli)) {
        Ok(code) => code,
        Err(error) => {
            log.error(&error);
            exit_code(&cli.verb, &error)
        }
    }
}

/// What an error asks for, or what the verb's table says. A program that cannot be executed ends `run` as it would have
/// ended itself.
fn exit_code(verb: &Verb, error: &anyhow::Error) -> u8 {
    let of_program = || {
        let code = error.downcast_ref::<Failure>().map(|failure| failure.code);
        code.or(error.downcast_ref::<StartError>().map(|error| error.code)).and_then(|code| u8::try_from(code).ok())
    };
    // As if the signal had ended us at once: what a shell sees of it.
    if let Some(Interrupted(signal)) = error.downcast_ref() {
        return 128 + *signal as u8;
    }
    match (error.downcast_ref::<WithCode>(), verb) {
        (Some(known), _) => known.code,
        (None, Verb::Run(_)) => of_program().unwrap_or(verb.error_code()),
        (None, _) => verb.error_code(),
    }
}

fn run_verb(cli: &Cli) -> anyhow::Result<u8> {
    if cli.verb.enters_containers() {
        crate::linux::reexec::protect()?;
    }
    let global = &cli.global;
    match &cli.verb {
        Verb::Create(args) => create::run(global, args),
        Verb::Run(args) => run::run(global, args),
        Verb::Start(args) => start::run(global, args),
        Verb::State(args) => state::run(global, args),
        Verb::Kill(args) => kill::run(global, args),
        Verb::Delete(args) => delete::run(global, args),
        Verb::Exec(args) => exec::run(global, args),
        Verb::List(args) => list::run(global, args),
        Verb::Ps(args) => ps::run(global, args),
        Verb::Pause(args) => pause::pause(global, args),
        Verb::Resume(args) => pause::resume(global, args),
        Verb::Spec(args) => spec::run(global, args),
        Verb::Features => features::run(),
        Verb::Update(args) => update::run(global, args),
        Verb::Events(args) => events::run(global, args),
        Verb::Stop(args) => stop::run(global, args),
        Verb::Restart(args) => restart::run(global, args),
        Verb::Wait(args) => wait::run(global, args),
        Verb::Test(args) => test::run(global, args),
        Verb::Check(args) => check::run(global, args),
        Verb::Hooks(args) => hooks::run(global, args),
        Verb::Logs(args) => logs::run(global, args),
        Verb::Timeline(args) => timeline::run(global, args),
        Verb::Config(args) => config::run(args),
        Verb::Doctor(args) => doctor::run(global, args),
        Verb::Completions(args) => completions::run(args),
        Verb::Man(args) => man::run(args),
    }
}
