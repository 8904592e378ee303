//! preStop hooks that end the process which they should wait for (S-12).

use super::Subject;
use super::shell::{Step, Word, base_name, steps};
use crate::foreign::quote;
use crate::lifecycle::model::Hook;
use crate::lifecycle::rule::{Rule, Severity};
use crate::lifecycle::signal::Signal;
use crate::lifecycle::tree::Node;
use crate::lifecycle::validate::Problems;

/// What a command does to PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// It signals PID 1, or what is surely PID 1, and does not wait.
    Signals,
    /// It tells the server to stop that PID 1 is, or waits for.
    StopsServer,
    /// SIGKILL from inside, which the kernel keeps away from PID 1.
    DoesNothing,
}

/// BE006.
pub fn is_ended_by_pre_stop(subject: &Subject, problems: &mut Problems) {
    // PID 1 is the Pod's pause, or the host's init.
    if subject.pod_has("shareProcessNamespace") || subject.pod_has("hostPID") {
        return;
    }
    for (hook, draft, command) in subject.commands().filter(|(hook, ..)| *hook == Hook::PreStop) {
        let steps = steps(command);
        let Some((step, blow)) = steps.iter().find_map(|step| Some((step, blow(step, subject)?))) else { continue };
        let shown = quote(&step.text());
        let (severity, why) = match blow {
            Blow::Signals if !subject.is_for_kubernetes(hook, draft) => (
                Severity::Info,
                "ends PID 1 while the hook runs: Interrupted here, FailedPreStopHook (137) on Kubernetes",
            ),
            Blow::Signals => (
                Severity::Warning,
                "ends PID 1: Kubernetes records FailedPreStopHook (137) if it exits before the hook, \
                 and sends the stop signal as soon as the hook returns if not",
            ),
            Blow::StopsServer => (
                Severity::Info,
                "stops the server itself: if PID 1 exits before the hook, Kubernetes records FailedPreStopHook (137)",
            ),
            Blow::DoesNothing => {
                (Severity::Warning, "does nothing: the kernel keeps SIGKILL from inside a container away from PID 1")
            }
        };
        problems.put(severity, draft.at, format!("{}: {shown} {why}", draft.path)).is(Rule::EndsPid1);
    }
}

fn blow(step: &Step, subject: &Subject) -> Option<Blow> {
    let (program, arguments) = step.program()?;
    let words: Vec<&str> = arguments.iter().map(|word| word.literal().unwrap_or_default()).collect();
    let follows = |flag: &str, values: &[&str]| {
        words.windows(2).any(|pair| pair[0] == flag && values.contains(&pair[1]))
            || words.iter().any(|word| word.strip_prefix(flag).is_some_and(|value| values.contains(&value)))
    };
    let has = |word: &str| words.contains(&word);
    match program {
        "kill" => match signalled(arguments)? {
            (signal, targets) if targets.contains(&"1") => of(signal),
            // Who leaves a pid file is the server, which in a container mostly is PID 1.
            (signal, _) if arguments.iter().any(|word| word.contents_of().is_some()) => {
                of(signal).filter(|blow| *blow == Blow::Signals).and(Some(Blow::StopsServer))
            }
            _ => None,
        },
        "pkill" | "killall" => signalled(arguments)
            .filter(|(_, targets)| targets.iter().any(|name| is_entrypoint(name, subject)))
            .and_then(|(signal, _)| of(signal))
            .filter(|blow| *blow != Blow::DoesNothing),
        "nginx" | "openresty" | "angie" => follows("-s", &["quit", "stop"]).then_some(Blow::Signals),
        "apachectl" | "apache2ctl" | "httpd" | "apache2" => {
            let stops = follows("-k", &["stop", "graceful-stop"]) || has("graceful-stop") || has("stop");
            stops.then_some(Blow::Signals)
        }
        "kafka-server-stop.sh" | "kafka-server-stop" => Some(Blow::StopsServer),
        "zkServer.sh" | "catalina.sh" | "pg_ctl" => has("stop").then_some(Blow::StopsServer),
        "redis-cli" | "valkey-cli" | "mysqladmin" | "mariadb-admin" | "supervisorctl" => {
            words.iter().any(|word| word.eq_ignore_ascii_case("shutdown")).then_some(Blow::StopsServer)
        }
        "rabbitmqctl" => (has("stop") || has("shutdown")).then_some(Blow::StopsServer),
        "consul" => has("leave").then_some(Blow::StopsServer),
        "nodetool" => has("stopdaemon").then_some(Blow::StopsServer),
        _ => None,
    }
}

/// What a signal does to PID 1; others (SIGHUP, SIGUSR1, 0) are messages.
fn of(signal: Option<Signal>) -> Option<Blow> {
    match signal? {
        Signal::TERM | Signal::INT | Signal::QUIT => Some(Blow::Signals),
        Signal::KILL => Some(Blow::DoesNothing),
        _ => None,
    }
}

/// The signal and the targets of kill(1) and its like; a signal that cannot be told is None.
fn signalled(arguments: &[Word]) -> Option<(Option<Signal>, Vec<&str>)> {
    let mut signal = Some(Signal::TERM);
    let mut targets = Vec::new();
    let mut words = arguments.iter();
    let mut is_first = true;
    while let Some(word) = words.next() {
        let Some(word) = word.literal() else { continue };
        match word.strip_prefix('-') {
            Some("s" | "n" | "-signal") => signal = Signal::parse(words.next()?.literal()?),
            // It lists the names of signals.
            Some("l" | "L") => return None,
            Some("-") => {}
            Some("0") if is_first => signal = None,
            Some(flag) if is_first && Signal::parse(flag).is_some() => signal = Signal::parse(flag),
            Some(flag) => {
                if let Some(name) = flag.strip_prefix("-signal=") {
                    signal = Signal::parse(name);
                }
            }
            None => targets.push(word),
        }
        is_first = false;
    }
    Some((signal, targets))
}

/// Whether a program's name is that of the container's ENTRYPOINT, by its command or, without one, by its image's name.
fn is_entrypoint(name: &str, subject: &Subject) -> bool {
    let command = subject.field("command").and_then(Node::list).and_then(|words| words.first()?.text()).map(base_name);
    let image = subject.field("image").and_then(Node::text).map(|image| {
        let last = base_name(image);
        last.split(['@', ':']).next().unwrap_or(last)
    });
    command.or(image) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::super::shell::read;
    use super::*;
    use crate::lifecycle::source::judge;
    use crate::lifecycle::validate::Wishes;

    #[test]
    fn what_ends_pid_1_is_told_from_messages() {
        let wishes = Wishes::default();
        let judged = judge(&[], &mut Problems::default());
        let subject = Subject { chosen: None, wishes: &wishes, judged: &judged, image: None };
        let signals = Some(Blow::Signals);
        for (script, expected) in [
            ("kill 1", signals),
            ("kill -TERM 1", signals),
            ("kill -s SIGQUIT 1", signals),
            ("kill -15 1", signals),
            ("kill -- 1", signals),
            ("kill -9 1", Some(Blow::DoesNothing)),
            ("kill -HUP 1", None),
            ("kill -0 1", None),
            ("kill -l 1", None),
            ("kill -USR1 1", None),
            ("kill 12", None),
            ("kill $(cat /run/nginx.pid)", Some(Blow::StopsServer)),
            ("kill -QUIT \"$(cat /run/nginx.pid)\"", Some(Blow::StopsServer)),
            ("kill -HUP $(cat /run/nginx.pid)", None),
            ("kill -9 $(cat /run/nginx.pid)", None),
            ("kill $PID", None),
            ("/usr/sbin/nginx -s quit", signals),
            ("nginx -c /etc/nginx.conf -s stop", signals),
            ("nginx -s reload", None),
            ("apachectl -k graceful-stop", signals),
            ("apachectl graceful", None),
            ("redis-cli -a $PASSWORD shutdown nosave", Some(Blow::StopsServer)),
            ("redis-cli ping", None),
            ("consul leave", Some(Blow::StopsServer)),
            ("pkill nginx", None),
        ] {
            assert_eq!(read(script).iter().find_map(|step| blow(step, &subject)), expected, "{script}");
        }
    }
}
