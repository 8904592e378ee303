//! The one definition of the command line (interface.md section 2).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use super::test::expect::Expectation;
use super::test::fault::Fault;
use crate::container::id::ContainerId;
use crate::container::root::Root;
use crate::lifecycle::model::{Plan, PostStartStop};

/// What `--version` prints after the name; runc's form.
const VERSION: &str =
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("BOOKEND_COMMIT"), "\nspec: 1.3.0");

/// A container runtime that executes lifecycle hooks itself.
#[derive(Debug, Parser)]
#[command(name = "bookend", version = VERSION, disable_version_flag = true, args_override_self = true, subcommand_value_name = "VERB")]
pub struct Cli {
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// Reads a command line. As with runc's a flag may also say whether it is meant, as in `--detach=true`; help does not show that.
    pub fn read(arguments: &[OsString]) -> Result<Cli, clap::Error> {
        match Cli::try_parse_from(arguments) {
            Err(error) if gives_a_flag_a_value(&error) => {
                let mut whole = Cli::command();
                whole.build(); // else the verbs have no arguments yet
                Cli::from_arg_matches(&with_values(whole).try_get_matches_from(arguments)?)
            }
            read => read,
        }
    }
}

/// `--detach=true` has a value too many, and of `-d=true` the equals sign is taken for one more flag.
fn gives_a_flag_a_value(error: &clap::Error) -> bool {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::TooManyValues, _) => true,
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => flag == "-=",
        _ => false,
    }
}

fn with_values(command: clap::Command) -> clap::Command {
    let with_value = |arg: clap::Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(clap::value_parser!(bool)),
        _ => arg,
    };
    command.mut_args(with_value).mut_subcommands(with_values)
}

/// Flags that stand before the verb.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Where the state of containers is kept
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Also write messages to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How messages are written, to stderr and to --log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Say more
    #[arg(long)]
    pub debug: bool,
    /// Say nothing of what a long wait waits for
    #[arg(id = "no-progress", long = "quiet")]
    pub quiet: bool,
    /// Accepted as runc's: there is no checkpoint to make
    #[arg(long, hide = true)]
    pub criu: Option<PathBuf>,
    /// Manage control groups through systemd
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Whether the runtime is without root's rights
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    pub rootless: Rootless,
    #[command(flatten)]
    pub hooks: HookFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    Auto,
    #[value(aliases = ["1", "t", "T", "TRUE", "True"])]
    True,
    #[value(aliases = ["0", "f", "F", "FALSE", "False"])]
    False,
}

impl Global {
    pub fn root(&self) -> Result<Root> {
        match &self.root {
            Some(path) => Ok(Root::at(&std::path::absolute(path)?)),
            None => Root::of_caller(),
        }
    }

    pub fn is_rootless(&self) -> bool {
        match self.rootless {
            Rootless::Auto => !nix::unistd::geteuid().is_root() || !crate::container::root::in_initial_user_namespace(),
            Rootless::True => true,
            Rootless::False => false,
        }
    }
}

// Where a container's hooks come from (interface.md 2.2). (As documentation it would become the verb's.)
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct HookFlags {
    /// Take the hooks of a container from this Pod or workload ("-": standard input)
    #[arg(long, value_name = "FILE")]
    pub pod: Option<PathBuf>,
    /// The container of the Pod; may be left out when there is one
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Take the hooks from this lifecycle file
    #[arg(long, value_name = "FILE")]
    pub lifecycle: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    pub manner: Manner,
}

// How hooks are run and what is kept of them, wherever they come from. (As documentation it would become the verb's.)
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct Manner {
    /// Keep a copy of the hooks' output under DIR/ID
    #[arg(long, value_name = "DIR")]
    pub hook_log_dir: Option<PathBuf>,
    /// Keep nothing of the container's hooks after it is deleted
    #[arg(long)]
    pub no_history: bool,
    /// When a stop that is asked for during postStart begins [default: now]
    #[arg(long, value_name = "WHEN")]
    pub poststart_stop: Option<PostStartStop>,
    /// Fail where Kubernetes does though bookend need not: tcpSocket hooks
    #[arg(long)]
    pub strict_kubernetes: bool,
}

impl Manner {
    /// These flags, and where they say nothing those that stood before the verb.
    pub fn or(&self, before: &Manner) -> Manner {
        Manner {
            hook_log_dir: self.hook_log_dir.as_ref().or(before.hook_log_dir.as_ref()).cloned(),
            no_history: self.no_history || before.no_history,
            poststart_stop: self.poststart_stop.or(before.poststart_stop),
            strict_kubernetes: self.strict_kubernetes || before.strict_kubernetes,
        }
    }

    /// What they say of how hooks are run.
    pub fn apply(&self, plan: &mut Plan) {
        plan.post_start_stop = self.poststart_stop.unwrap_or_default();
        plan.strict_kubernetes = self.strict_kubernetes;
    }
}

#[derive(Debug, Subcommand)]
// The arguments of a verb are made when it is known to be the one: all of them took a quarter of the pages of a start.
#[command(defer = true)]
pub enum Verb {
    /// Create a container and start it
    Run(run_args::Run),
    /// Create a container; `start` executes its ENTRYPOINT
    Create(run_args::Create),
    /// Execute the ENTRYPOINT of a created container, then its postStart
    Start(Id),
    /// Print the state of a container
    State(Id),
    /// Send a signal; with hooks, SIGTERM begins the stop sequence
    Kill(Kill),
    /// Remove a stopped container
    Delete(Delete),
    /// Execute one more process in a container
    Exec(Exec),
    /// List the containers
    List(List),
    /// List the processes of a container
    Ps(Ps),
    /// Freeze a container
    Pause(Id),
    /// Let a paused container go on
    Resume(Id),
    /// Write a config.json to begin with
    Spec(Spec),
    /// Give a container other limits
    Update(Update),
    /// Print what a container uses, and when it is out of memory
    Events(Events),
    /// Print what this runtime can do, as JSON
    Features,
    /// Stop a container: preStop, stop signal, grace period, SIGKILL
    Stop(Stop),
    /// Stop a container that `run --detach` made, and start it again
    Restart(Id),
    /// Wait until a container is stopped, and exit with its code
    Wait(Id),
    /// Rehearse a container's whole life with its hooks
    Test(Test),
    /// Find what would go wrong with a manifest's hooks, running nothing
    Check(Check),
    /// Show the hooks of a container and what became of them
    Hooks(Hooks),
    /// Print the kept output of hooks
    Logs(Logs),
    /// Draw the life of a container
    Timeline(Timeline),
    /// Print the snippet that makes a tool use bookend
    Config(Config),
    /// Say whether containers can run here, and what is in the way
    Doctor(Doctor),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the man pages to a directory
    Man(Man),
}

impl Verb {
    /// The names of those that `enters_containers` tells of.
    pub const ENTER_CONTAINERS: [&str; 5] = ["run", "create", "exec", "test", "restart"];

    /// The exit code of bookend's own errors (interface.md 2.4).
    pub fn error_code(&self) -> u8 {
        match self {
            Verb::Run(_) | Verb::Exec(_) | Verb::Test(_) => 125,
            Verb::Wait(_) => 125,
            Verb::Check(_) => 2,
            _ => 1,
        }
    }

    /// Whether a process of ours comes within a container's reach (threats.md S1).
    pub fn enters_containers(&self) -> bool {
        matches!(self, Verb::Run(_) | Verb::Create(_) | Verb::Exec(_) | Verb::Test(_) | Verb::Restart(_))
    }
}

#[derive(Debug, Args)]
pub struct Id {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
}

pub mod run_args {
    use super::*;

    // What `create` and `run` have in common. (As documentation it would become the verb's.)
    #[derive(Clone, Debug, Args, Serialize, Deserialize)]
    pub struct Create {
        /// The name that the container gets
        #[arg(value_name = "ID")]
        pub id: ContainerId,
        /// The bundle: config.json and the root file system
        #[arg(short, long, value_name = "DIR", default_value = ".")]
        pub bundle: PathBuf,
        /// Send the master of the container's terminal to this socket
        #[arg(long, value_name = "SOCKET")]
        pub console_socket: Option<PathBuf>,
        /// Write init's pid to this file
        #[arg(long, value_name = "FILE")]
        pub pid_file: Option<PathBuf>,
        /// Send a pidfd of init to this socket
        #[arg(long, value_name = "SOCKET")]
        #[serde(default)]
        pub pidfd_socket: Option<PathBuf>,
        /// Pass N more descriptors, from 3 on
        #[arg(long, value_name = "N", default_value_t = 0)]
        pub preserve_fds: u32,
        /// Do not use pivot_root
        #[arg(long)]
        pub no_pivot: bool,
        /// Do not make a session keyring
        #[arg(long)]
        pub no_new_keyring: bool,
        #[command(flatten)]
        pub hooks: HookFlags,
    }

    #[derive(Debug, Args)]
    pub struct Run {
        #[command(flatten)]
        pub create: Create,
        /// Return once the container is running
        #[arg(short, long)]
        pub detach: bool,
        /// Do not remove the container at its end
        #[arg(long)]
        pub keep: bool,
        /// Accepted as runc's: bookend is a subreaper only where it supervises hooks
        #[arg(long, hide = true)]
        pub no_subreaper: bool,
    }
}

#[derive(Debug, Args)]
pub struct Kill {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// A name with or without SIG, or a number
    #[arg(value_name = "SIGNAL", allow_hyphen_values = true)]
    pub signal: Option<String>,
    /// To every process of the container
    #[arg(short, long)]
    pub all: bool,
    /// Send the plain signal and never touch a hook
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// Kill what still runs; a container that is gone is no error
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// What is executed, with its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
    /// Take the process from this JSON file
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Return once it runs
    #[arg(short, long)]
    pub detach: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Send the master of its terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Write its pid to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Send a pidfd of it to this socket
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Its working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// NAME=VALUE, added to the container's environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Its user and group, by number
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// One more group, by number
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// One more capability
    #[arg(short, long, value_name = "CAP_NAME")]
    pub cap: Vec<String>,
    /// Whether it can gain no rights by executing set-uid programs
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", require_equals = true)]
    pub no_new_privs: Option<bool>,
    /// Pass N more descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Also in a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// Its AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Its SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// A cgroup below the container's; on v1 also CONTROLLER[,CONTROLLER]:PATH
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub struct List {
    /// How the list is printed
    #[arg(short, long, default_value = "table")]
    pub format: TableFormat,
    /// Only the ids
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// How the list is printed; json has the pids alone
    #[arg(short, long, default_value = "table")]
    pub format: TableFormat,
    /// Options for ps(1), -ef unless given
    #[arg(value_name = "PS-OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Update {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// Take the limits from this file, as linux.resources of a config.json ("-": standard input)
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// The most bytes of memory: 512m, 2g, -1 (no limit)
    #[arg(long, value_name = "BYTES", value_parser = super::update::bytes, allow_negative_numbers = true)]
    pub memory: Option<i64>,
    /// What is left to it when memory is short, in bytes
    #[arg(long, value_name = "BYTES", value_parser = super::update::bytes, allow_negative_numbers = true)]
    pub memory_reservation: Option<i64>,
    /// The most bytes of memory and swap together
    #[arg(long, value_name = "BYTES", value_parser = super::update::bytes, allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,
    /// Accepted as runc's, which obsoleted it: current kernels have no such limit
    #[arg(long, hide = true, allow_negative_numbers = true)]
    pub kernel_memory: Option<String>,
    /// The same
    #[arg(long, hide = true, allow_negative_numbers = true)]
    pub kernel_memory_tcp: Option<String>,
    /// The most processes
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// The span in which --cpu-quota counts, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// The most CPU time in a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// How much unused CPU time it may save up, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_burst: Option<u64>,
    /// Its share of the CPU among others, 1024 being usual
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<u64>,
    /// 1: it runs only when nothing else does
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    /// The span in which --cpu-rt-runtime counts, in microseconds (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    /// The most time of realtime processes in a period, in microseconds (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// The CPUs that it may use: 0-3,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that it may use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Its share of block devices among others, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// Its share of the caches, as resctrl writes it: L3:0=7f0
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Its share of the memory bandwidth: MB:0=20
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
}

#[derive(Debug, Args)]
pub struct Events {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// Print what it uses once, and end
    #[arg(long)]
    pub stats: bool,
    /// How often it is printed: 500ms, 2s, 1m
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub interval: std::time::Duration,
}

#[derive(Debug, Args)]
pub struct Spec {
    /// Where config.json is written
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// For a user without root's rights
    #[arg(long)]
    pub rootless: bool,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// The grace period of this stop, in whole seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_grace)]
    pub grace: Option<u64>,
    /// Print nothing
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Test {
    /// Pods or workloads ("-": standard input)
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Rehearse only this container; without it all containers of each Pod that has hooks
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Take root file system and ENTRYPOINT from this bundle, for all containers or for one
    #[arg(long, value_name = "[NAME=]DIR", value_parser = For::parser())]
    pub bundle: Vec<For>,
    /// Take the root file system from this directory, for all containers or for one
    #[arg(long, value_name = "[NAME=]DIR", value_parser = For::parser())]
    pub rootfs: Vec<For>,
    /// Take root file system, ENTRYPOINT, CMD, env, user and stop signal from this image: an OCI image layout (directory
    /// or tar) or the tar of `docker save`; of several in it the one called TAG
    #[arg(long, value_name = "[NAME=]PATH[:TAG]", value_parser = For::parser())]
    pub image: Vec<For>,
    /// The grace period of the stop, in whole seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_grace)]
    pub grace: Option<u64>,
    /// How long the containers run before they are stopped: 2s, 500ms, 1m30s
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub run_for: std::time::Duration,
    /// Once a container is running, execute this in it by /bin/sh and show what it prints
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// Let something go wrong: HOOK=hang|fail|slow:DURATION|flood, stop-signal=ignore, entrypoint=exit:CODE@DURATION,
    /// entrypoint=oom@DURATION, supervisor=kill@DURATION
    #[arg(long, value_name = "SPEC")]
    pub fault: Vec<Fault>,
    /// What is to happen: exit=CODE, reason=REASON, grace=kept|exceeded, stopped-within=DURATION, HOOK=STATE (succeeded,
    /// failed, timed-out, interrupted, skipped)
    #[arg(long, value_name = "SPEC")]
    pub expect: Vec<Expectation>,
    /// Write a JUnit report to this file
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the picture to this file; its ending says how
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// How many Pods are rehearsed at once; without it as many as there are processors
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// How the verdict is printed
    #[arg(long, default_value = "text")]
    pub format: TestFormat,
    /// Print the verdict only
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub manner: Manner,
}

/// A directory for all containers, or for the one that is named before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct For {
    pub container: Option<String>,
    pub path: PathBuf,
}

impl For {
    fn parser() -> impl clap::builder::TypedValueParser<Value = For> {
        use clap::builder::TypedValueParser;
        clap::builder::OsStringValueParser::new().map(For::of)
    }

    /// What can be no container's name (RFC 1123) is part of the path.
    fn of(text: std::ffi::OsString) -> For {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.to_str().and_then(|text| text.split_once('=')) {
            Some((name, path)) if is_name(name) => For { container: Some(name.to_owned()), path: path.into() },
            _ => For { container: None, path: text.into() },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TestFormat {
    Text,
    Json,
    Tap,
    Github,
}

#[derive(Debug, Args)]
pub struct Hooks {
    /// A container; with --resolve a Pod or lifecycle file
    #[arg(value_name = "ID|FILE")]
    pub subject: Option<String>,
    /// Print what the sources say, without a container
    #[arg(long)]
    pub resolve: bool,
    /// With --resolve: the bundle whose sources are read
    #[arg(long, value_name = "DIR", requires = "resolve")]
    pub bundle: Option<PathBuf>,
    /// With --resolve: the container of the Pod
    #[arg(long, value_name = "NAME", requires = "resolve")]
    pub container: Option<String>,
    /// Of the life before the latest one; given twice, of the one before that
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "resolve")]
    pub previous: u8,
    /// How the hooks are printed
    #[arg(short, long, default_value = "table")]
    pub format: TableFormat,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// Only of this hook
    #[arg(long, value_name = "NAME")]
    pub hook: Option<String>,
    /// Only of this attempt
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Go on until the container is stopped
    #[arg(short, long)]
    pub follow: bool,
    /// Of the life before the latest one; given twice, of the one before that
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub previous: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PictureFormat {
    Text,
    Json,
    Svg,
    Html,
}

#[derive(Debug, Args)]
pub struct Timeline {
    /// The container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
    /// How it is drawn
    #[arg(short, long, default_value = "text")]
    pub format: PictureFormat,
    /// Of the life before the latest one; given twice, of the one before that
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub previous: u8,
}

#[derive(Debug, Args)]
pub struct Config {
    /// The tool that is to use bookend
    #[arg(value_name = "TOOL")]
    pub tool: Tool,
    /// Only what this containerd reads: 1.7, 2.1
    #[arg(long, value_name = "VERSION")]
    pub containerd_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    Containerd,
    Docker,
    Podman,
    Crio,
    Runtimeclass,
    Systemd,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// How the findings are printed
    #[arg(short, long, default_value = "text")]
    pub format: TextFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell that is to read them
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Where bookend.1 and a page for each verb are written; made if it is missing
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Pods, workloads or lifecycle files; a directory stands for all *.yaml, *.yml and *.json below it, "-" for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Look for the hooks' programs in this root file system
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// Check only the containers of this name
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// How the findings are printed
    #[arg(long, default_value = "text")]
    pub format: CheckFormat,
    /// Print the findings only, and no summary
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    Text,
    Json,
    Sarif,
    Github,
}

/// V-36
fn parse_grace(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no grace period: write whole seconds, 0 or more"))
}

/// `5`, `1.5s`, `500ms`, `1m30s`, `2h`
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let bad = || format!("{text:?} is no duration: write seconds (5) or units (500ms, 2s, 1m30s)");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(std::time::Duration::from_secs(seconds));
    }
    let mut total = std::time::Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
        let unit = match &rest[digits..digits + letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        total += std::time::Duration::try_from_secs_f64(number * unit).map_err(|_| bad())?;
        rest = &rest[digits + letters..];
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

/// The path of a flag as the user's shell means it, for who changes directory.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_is_told_of_a_verb_is_its_own_and_not_that_of_the_arguments_it_shares() {
        let (short, mut whole) = (Cli::command(), Cli::command());
        whole.build();
        for verb in short.get_subcommands() {
            let about = whole.find_subcommand(verb.get_name()).and_then(clap::Command::get_about);
            assert_eq!(
                about.map(ToString::to_string),
                verb.get_about().map(ToString::to_string),
                "{}",
                verb.get_name()
            );
        }
    }

    #[test]
    fn every_flag_of_every_verb_takes_a_value_as_with_runc_short_or_long() {
        let mut whole = Cli::command();
        whole.build();
        let mut seen = 0;
        for verb in whole.get_subcommands() {
            for flag in verb.get_arguments().filter(|flag| matches!(flag.get_action(), ArgAction::SetTrue)) {
                let long = flag.get_long().map(|long| format!("--{long}"));
                for name in flag.get_short().map(|short| format!("-{short}")).into_iter().chain(long) {
                    for value in ["true", "false"] {
                        let line = ["bookend", verb.get_name(), &format!("{name}={value}")].map(OsString::from);
                        // What else the verb needs is missing.
                        let missing = Cli::read(&line).err().map(|error| error.kind());
                        assert!(
                            matches!(missing, None | Some(ErrorKind::MissingRequiredArgument)),
                            "{line:?}: {missing:?}"
                        );
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn s1_the_verbs_that_enter_containers_are_known_by_their_names() {
        let command = Cli::command();
        for name in command.get_subcommands().map(|verb| verb.get_name()) {
            let lines: [&[&str]; 5] = [&[], &["x"], &["x", "y"], &["podman"], &["bash"]];
            let parse = |words: &&[&str]| Cli::try_parse_from(["bookend", name].iter().chain(*words)).ok();
            let cli = lines.iter().find_map(parse).unwrap_or_else(|| panic!("{name} takes other words"));
            assert_eq!(cli.verb.enters_containers(), Verb::ENTER_CONTAINERS.contains(&name), "{name}");
        }
        let is_verb = |name: &&str| command.find_subcommand(name).is_some();
        assert!(Verb::ENTER_CONTAINERS.iter().all(is_verb));
    }
}
