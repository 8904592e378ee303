//! What a container's life waits for at this moment, read from its journal: for who waits with it (interface.md 2.3).

use super::journal::Record;
use super::model::{Entry, Handler, Hook, Plan};
use super::step::FLOOR;
use super::time::Instant;

/// One thing that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `preStop exec /bin/drain`; a container may have written parts of it.
    pub what: String,
    pub since: Instant,
    /// When it ends at the latest.
    pub until: Option<Instant>,
}

/// None while the container only runs, or has stopped.
pub fn waiting(records: &[Record], plan: &Plan) -> Option<Waiting> {
    let mut told = Told::default();
    records.iter().for_each(|record| told.hear(record));
    told.hook(plan).or_else(|| told.exit())
}

#[derive(Default)]
struct Told {
    /// Attempts that were begun and have not ended: hook, entry, number, when.
    open: Vec<(Hook, usize, u32, Instant)>,
    /// T0 + G of a stop.
    budget_end: Option<Instant>,
    /// The signal that was sent to end the container, and when.
    signal: Option<(String, Instant)>,
    exited: bool,
}

impl Told {
    fn hear(&mut self, record: &Record) {
        let (notice, at) = (&record.notice, record.monotonic_ns);
        let grace = notice.grace_seconds.map(|seconds| at + std::time::Duration::from_secs(seconds));
        match (notice.reason.as_str(), notice.hook, notice.attempt) {
            ("HookStarted", Some(hook), Some(attempt)) => {
                self.open.push((hook, notice.entry.unwrap_or(0), attempt, at));
            }
            (_, Some(hook), _) if notice.outcome.is_some() => self.open.retain(|open| open.0 != hook),
            ("Killing", ..) => self.budget_end = grace,
            // S-18: it only ever gets shorter.
            ("StopRequested", ..) => {
                self.budget_end = self.budget_end.map(|end| grace.map_or(end, |grace| grace.min(end)))
            }
            ("SignalSent" | "SigkillSent", ..) if self.budget_end.is_some() => {
                self.signal = notice.signal.clone().map(|signal| (signal, at));
            }
            ("Exited", ..) => self.exited = true,
            _ => {}
        }
    }

    /// Of several the one that began last.
    fn hook(&self, plan: &Plan) -> Option<Waiting> {
        let (hook, at, attempt, since) = *self.open.last()?;
        let entry = plan.entries(hook).get(at)?;
        let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
        let limit = entry.policy.timeout.map(|limit| since + limit);
        let sleep = match entry.handler {
            Handler::Sleep { seconds } => Some(since + std::time::Duration::from_secs(seconds)),
            _ => None,
        };
        let budget = self.budget_end.filter(|_| hook == Hook::PreStop);
        let until = [limit, sleep, budget].into_iter().flatten().min();
        Some(Waiting { what: format!("{hook} {}{again}", subject(entry)), since, until })
    }

    fn exit(&self) -> Option<Waiting> {
        let (signal, since) = self.signal.as_ref().filter(|_| !self.exited)?;
        let until = if signal == "SIGKILL" { None } else { self.budget_end.map(|end| end.max(*since + FLOOR)) };
        Some(Waiting { what: format!("exit after {signal}"), since: *since, until })
    }
}

/// `exec /bin/drain`, `httpGet :8080/warm`: without arguments, which may be secret, and long.
fn subject(entry: &Entry) -> String {
    let host = |host: &Option<String>| host.clone().unwrap_or_default();
    match &entry.handler {
        Handler::Exec { command } => format!("exec {}", command.first().map_or("", String::as_str)),
        Handler::HttpGet(get) => {
            let path = get.path.split('?').next().unwrap_or_default();
            let slash = if path.starts_with('/') { "" } else { "/" };
            format!("httpGet {}:{}{slash}{path}", host(&get.host), get.port)
        }
        Handler::TcpSocket { host: name, port } => format!("tcpSocket {}:{port}", host(name)),
        Handler::Sleep { .. } => "sleep".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lifecycle::journal::stamp;
    use crate::lifecycle::model::{HttpGet, Policy, Scheme};
    use crate::lifecycle::notice::Notice;

    fn plan() -> Plan {
        let entry = |hook, handler| Entry { handler, policy: Policy::default_of(hook), source: "test".into() };
        let command = vec!["/bin/drain".into(), "--token=secret".into()];
        let get =
            HttpGet { scheme: Scheme::Http, host: None, port: 8080, path: "warm?secret".into(), headers: Vec::new() };
        Plan {
            pre_start: vec![entry(Hook::PreStart, Handler::Sleep { seconds: 5 })],
            post_start: Some(entry(Hook::PostStart, Handler::HttpGet(get))),
            pre_stop: Some(entry(Hook::PreStop, Handler::Exec { command })),
            ..Plan::empty("web")
        }
    }

    fn second(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn at(seconds: u64, notice: Notice) -> Record {
        stamp(notice, "web", second(seconds), "boot")
    }

    fn started(hook: Hook, attempt: u32) -> Notice {
        Notice { hook: Some(hook), attempt: Some(attempt), ..Notice::normal("HookStarted", "") }
    }

    fn ended(hook: Hook) -> Notice {
        Notice { hook: Some(hook), outcome: Some("Succeeded".into()), ..Notice::normal("HookSucceeded", "") }
    }

    fn grace(reason: &str, seconds: u64) -> Notice {
        Notice { grace_seconds: Some(seconds), ..Notice::normal(reason, "") }
    }

    fn signal(reason: &str, name: &str) -> Notice {
        Notice { signal: Some(name.into()), ..Notice::normal(reason, "") }
    }

    fn what(records: &[Record]) -> Option<(String, u64, Option<u64>)> {
        let seconds = |instant: Instant| (instant - Instant(0)).as_secs();
        waiting(records, &plan()).map(|found| (found.what, seconds(found.since), found.until.map(seconds)))
    }

    #[test]
    fn a_life_waits_for_its_hooks_and_for_its_exit() {
        let mut records = vec![at(1, Notice::normal("Created", ""))];
        let mut then = |seconds: u64, notice: Notice| {
            records.push(at(seconds, notice));
            what(&records)
        };
        assert_eq!(then(2, started(Hook::PreStart, 1)), Some(("preStart sleep".into(), 2, Some(7))));
        assert_eq!(then(7, ended(Hook::PreStart)), None);
        assert_eq!(then(8, started(Hook::PostStart, 1)), Some(("postStart httpGet :8080/warm".into(), 8, None)));
        assert_eq!(then(9, ended(Hook::PostStart)), None);
        then(9, started(Hook::PostStart, 2));
        assert_eq!(then(9, grace("StopRequested", 30)).unwrap().0, "postStart httpGet :8080/warm (attempt 2)");
        then(10, grace("Killing", 30));
        let drain = "preStop exec /bin/drain".to_owned();
        assert_eq!(then(10, started(Hook::PreStop, 1)), Some((drain.clone(), 10, Some(40))));
        assert_eq!(then(12, grace("StopRequested", 5)), Some((drain.clone(), 10, Some(17))));
        assert_eq!(then(13, grace("StopRequested", 30)), Some((drain, 10, Some(17))));
        then(16, ended(Hook::PreStop));
        then(16, ended(Hook::PostStart));
        assert_eq!(then(16, signal("SignalSent", "SIGTERM")), Some(("exit after SIGTERM".into(), 16, Some(18))));
        assert_eq!(then(18, signal("SigkillSent", "SIGKILL")), Some(("exit after SIGKILL".into(), 18, None)));
        assert_eq!(then(19, Notice::normal("Exited", "")), None);
    }

    #[test]
    fn the_limit_of_an_attempt_counts_where_it_is_the_first() {
        let mut plan = plan();
        plan.pre_stop.as_mut().unwrap().policy.timeout = Some(Duration::from_secs(3));
        let records = [at(1, grace("Killing", 30)), at(1, started(Hook::PreStop, 1))];
        assert_eq!(waiting(&records, &plan).unwrap().until, Some(second(4)));
    }
}
