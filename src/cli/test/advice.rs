//! What most likely went wrong, and what to do about it: for who has the Pod before them and not this project.

use super::cast::Player;
use super::verdict::find;
use super::wire::{Act, Story};
use crate::foreign::{legible, quote};
use crate::lifecycle::fault::HandlerFault;
use crate::lifecycle::model::{Handler, Hook};
use crate::lifecycle::pod::Role;
use crate::lifecycle::status::{HookState, HookStatus};

/// The sentences that follow a hook's story, each on a line of its own.
pub fn of_hook(player: &Player, story: &Story, state: &HookStatus, act: &Act) -> String {
    let Some(entry) = player.part.plan.entries(story.hook).get(story.entry) else { return String::new() };
    if let Some(fault) = player.part.faults.handlers.get(&story.hook)
        && !matches!(fault, HandlerFault::Slow(_))
    {
        return line(&format!("asked for: --fault {}={fault}", story.hook));
    }
    let advice = match (state.state, &entry.handler) {
        (HookState::Interrupted, _) => interrupted(story.hook, act),
        (HookState::TimedOut, _) => timed_out(player, story.hook, entry.policy.timeout.is_some()),
        (_, Handler::Exec { command }) => exec(command, state, story, act),
        (_, Handler::HttpGet(get)) => connection(get.port, story.hook, state, act),
        (_, Handler::TcpSocket { port, .. }) => connection(*port, story.hook, state, act),
        (_, Handler::Sleep { .. }) => None,
    };
    let error = match (&entry.handler, &state.error) {
        // Of a program it is the exit code and stderr, which are told already.
        (Handler::Exec { .. }, _) | (_, None) => String::new(),
        (_, Some(error)) => format!("  {}\n", legible(error)),
    };
    error + &advice.map(|advice| line(&advice)).unwrap_or_default()
}

fn line(text: &str) -> String {
    format!("  => {text}\n")
}

/// The ENTRYPOINT ended while the hook ran.
fn interrupted(hook: Hook, act: &Act) -> Option<String> {
    match hook {
        Hook::PreStop if find(act, "SigkillSent").is_none() => Some(
            "the container ended while its preStop ran, most likely because the hook itself ended it (kill 1, nginx -s \
             quit). Nothing is lost by that, but Kubernetes reports FailedPreStopHook; let the stop signal do it \
             (stopSignal), or say --expect preStop=interrupted"
                .to_owned(),
        ),
        Hook::PostStart => Some(
            "the ENTRYPOINT ended before postStart was done: look at its own exit code and output first".to_owned(),
        ),
        _ => None,
    }
}

fn timed_out(player: &Player, hook: Hook, has_limit: bool) -> Option<String> {
    let grace = player.part.grace.unwrap_or(player.part.plan.grace_seconds);
    match (hook, has_limit) {
        (Hook::PreStop, false) => Some(format!(
            "preStop had not ended when the grace period was over, so the ENTRYPOINT got only 2s after its stop signal. \
             Make the hook end sooner, or raise terminationGracePeriodSeconds (now {grace}) above what hook and \
             ENTRYPOINT need together"
        )),
        (_, true) => {
            Some("its own time limit (timeoutSeconds) ended it: raise that, or make the hook faster".to_owned())
        }
        _ => None,
    }
}

fn exec(command: &[String], state: &HookStatus, story: &Story, act: &Act) -> Option<String> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let reason = state.reason.as_deref().unwrap_or_default();
    let said = |text: &str| story.stderr.iter().any(|line| line.contains(text));
    if state.exit_code.is_none() {
        return Some(not_started(program, reason, story, act));
    }
    if let [shell, flag, script, rest @ ..] = command
        && is_shell(shell)
        && flag == "-c"
        && !rest.is_empty()
        && !script.contains('$')
    {
        let whole = command[2..].join(" ");
        return Some(format!(
            "sh -c takes one word as its script, so only {} was run and the rest became $0, $1...: write [{}, \"-c\", {}]",
            quote(script),
            quote(shell),
            quote(&whole)
        ));
    }
    match state.exit_code {
        Some(127) => Some("a program that the shell was to run is not in the image (see stderr): name one that is, or add it".to_owned()),
        Some(126) => Some("a program that the shell was to run is there but cannot be executed: look at its mode and format".to_owned()),
        Some(2) if said("syntax error") || said("unterminated") || said("nexpected") => {
            Some("the shell cannot read the script: a quote or bracket is open, or YAML ate one; in YAML a block scalar (|) keeps a script as it stands".to_owned())
        }
        Some(137) => Some("it was killed (SIGKILL), by itself, by a limit, or for lack of memory".to_owned()),
        Some(_) if said("onnection refused") => listening(act),
        Some(_) => Some(
            "the program itself failed: try it in the running container, with --exec and a longer --run-for".to_owned(),
        ),
        None => None,
    }
}

fn is_shell(program: &str) -> bool {
    matches!(program.rsplit('/').next(), Some("sh" | "bash" | "ash" | "dash"))
}

/// The program was never executed.
fn not_started(program: &str, reason: &str, story: &Story, act: &Act) -> String {
    let name = quote(program);
    if program.contains(char::is_whitespace) {
        let words: Vec<String> = program.split_whitespace().map(quote).collect();
        return format!(
            "{name} is one word, so it is taken for the name of a program: write [{}], or [\"/bin/sh\", \"-c\", {name}]",
            words.join(", ")
        );
    }
    let is_missing = reason.contains("not found") || reason.to_lowercase().contains("no such file");
    if let (true, Some(first)) = (is_missing, &story.program) {
        return match first.trim_start_matches("#!").trim() {
            "" => format!("{name} is there, but what it needs to be loaded is not: it was built for another C library"),
            _ if first.ends_with('\r') => {
                format!("{name} has Windows line ends, so its interpreter is not found: write it with plain ones")
            }
            interpreter => format!("{name} is there, but its interpreter is not in the image: {}", quote(interpreter)),
        };
    }
    if !is_missing {
        return format!(
            "{name} is there but cannot be executed: it has to be a program for this machine, with the mode x for the container's user"
        );
    }
    match (program.rsplit('/').next(), act.has_shell) {
        (Some("sleep"), _) => {
            "the image has no sleep: use the sleep handler, `sleep: {seconds: N}`, which needs nothing in the image"
                .to_owned()
        }
        (_, false) => format!(
            "the image has no {name}, and no shell either (distroless?): httpGet and sleep handlers need nothing in the image"
        ),
        (Some("sh" | "bash"), true) => format!("the image has no {name}; it has /bin/sh"),
        _ => {
            format!("the image has no {name}: name a program that is in it (--exec 'ls -l /bin' shows them), or add it")
        }
    }
}

/// A request that got no answer.
fn connection(port: u16, hook: Hook, state: &HookStatus, act: &Act) -> Option<String> {
    let reason = state.reason.as_deref().unwrap_or_default();
    if !reason.contains("connection failed") {
        return None;
    }
    let mut advice = format!("nothing answered at port {port}");
    if let Some(listening) = listening(act) {
        advice += &format!(": {listening}");
    }
    if hook == Hook::PostStart {
        advice += "; postStart may come before the ENTRYPOINT listens, and Kubernetes does not retry";
    }
    Some(advice)
}

fn listening(act: &Act) -> Option<String> {
    Some(match act.listening.as_ref()?.as_slice() {
        [] => "just before the stop nothing listened at any port in the container".to_owned(),
        ports => format!("just before the stop something listened at {}", ports.join(", ")),
    })
}

/// Why the ENTRYPOINT of this container is a failed verdict.
pub fn of_entrypoint(player: &Player, act: &Act) -> String {
    let name = &player.label;
    let what = match (player.part.role, act.exit_code) {
        (Role::Init, Some(code)) => {
            format!("init container {name} ended with exit code {code}, so its Pod does not start")
        }
        (Role::Init, None) => format!("init container {name} did not succeed, so its Pod does not start"),
        _ => format!("the ENTRYPOINT of {name} was never executed"),
    };
    let failed = find(act, "Failed").map(|record| format!("  {}\n", record.notice.message)).unwrap_or_default();
    let output: String = act.output.iter().map(|line| format!("    | {line}\n")).collect();
    let said = if output.is_empty() { String::new() } else { format!("  its last output:\n{output}") };
    format!("bookend: {what}\n{failed}{said}")
}

/// What fails nothing and is worth a sentence.
pub fn notes(player: &Player, act: &Act) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(exit) = &act.status.exit else { return notes };
    let plan = &player.part.plan;
    let sent = find(act, "SignalSent").is_some();
    if exit.killed_after_grace && sent && !player.part.faults.stop_signal_ignored {
        notes.push(format!(
            "the ENTRYPOINT did not end by {} and was killed: PID 1 ignores a signal that it has no handler for; handle it \
             (trap, exec the real program, an init), or name the right stopSignal",
            plan.stop_signal
        ));
    }
    let stopped = find(act, "StopRequested").is_some();
    if let (false, "Error", Some(last)) =
        (stopped || player.part.role == Role::Init, exit.reason.as_str(), act.output.last())
    {
        notes.push(format!("the last line of its output: {last}"));
    }
    // A wrong path is a success in Kubernetes, so nothing else would show it.
    let told = act
        .records
        .iter()
        .filter(|record| ["LifecycleHTTPStatus", "LifecycleHTTPFallback"].contains(&record.notice.reason.as_str()));
    notes.extend(told.map(|record| record.notice.message.clone()));
    notes
}
