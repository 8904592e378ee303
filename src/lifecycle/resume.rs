//! How a life goes on under a new supervisor, when the one before was killed (S-27, S-28).
//!
//! A supervisor writes its `Life` down before it does what follows from it. So a successor knows all that was decided, but not
//! how much of the last turn was done:
//!
//! ```text
//!   a hook was to be begun     it may have run, so it is never begun again: without a process it counts as failed
//!   Execute                    is asked for again; init knows whether it was told before
//!   the stop signal            is not sent a second time (S-17): the deadline of SIGKILL stands
//!   SIGKILL                    is sent again
//!   an answer                  whoever waited asks again
//! ```

use super::life::{Course, Life, Phase, Stage};
use super::model::{Handler, Hook, Plan};
use super::notice::Notice;
use super::outcome::{Exit, Failure, Outcome};
use super::signal::Signal;
use super::step::{Action, Event, exited, step};
use super::time::Instant;

/// What a successor finds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The ENTRYPOINT's end, where that came before the successor.
    pub exit: Option<Exit>,
    /// Whether the ENTRYPOINT's end is in the journal.
    pub exit_told: bool,
    /// The attempts whose processes were written down, and whose ends will be heard.
    pub attempts: Vec<(Hook, usize, u32)>,
    /// It was a `run` in the foreground: nobody is left to own its terminal and its exit code.
    pub forsaken: bool,
}

/// The life of a container under a new supervisor, and what that does first.
pub fn resume(plan: &Plan, life: Life, found: &Found, now: Instant) -> (Life, Vec<Action>) {
    let lost: Vec<Hook> = Hook::ALL.into_iter().filter(|hook| is_lost(plan, &life, found, *hook)).collect();
    let mut resumed = Resumed { plan, now, actions: vec![Action::Tell(taken_over(&life))], life };
    match (resumed.life.exit, found.exit) {
        (Some(exit), _) if !found.exit_told => resumed.actions.push(Action::Tell(exited(&exit))),
        (Some(_), _) => {}
        // Before anything else: what it cut off is interrupted, and not failed (X-E11).
        (None, Some(exit)) => resumed.take(Event::InitExited(exit)),
        (None, None) => {
            resumed.do_again();
            if found.forsaken {
                resumed.take(Event::Kill { request: None, signal: Signal::KILL, all: false, raw: true });
            }
        }
    }
    for hook in lost {
        resumed.actions.push(Action::Cancel(hook)); // whatever is left of it
        resumed.take(Event::HookDone { hook, outcome: Outcome::Failed(supervisor_lost()) });
    }
    (resumed.life, resumed.actions)
}

struct Resumed<'a> {
    plan: &'a Plan,
    life: Life,
    now: Instant,
    actions: Vec<Action>,
}

impl Resumed<'_> {
    fn take(&mut self, event: Event) {
        let (life, actions) = step(self.plan, self.life.clone(), event, self.now);
        self.life = life;
        self.actions.extend(actions);
    }

    /// What the turn that was cut short may not have come to, and may be done twice.
    fn do_again(&mut self) {
        let kill = Action::Signal { signal: Signal::KILL, all: false };
        match &self.life.phase {
            Phase::Executing => self.actions.push(Action::Execute),
            Phase::Stopping(stopping) => {
                if matches!(stopping.stage, Stage::Killed { .. } | Stage::KilledIn(_)) {
                    self.actions.push(kill);
                }
                self.actions.push(Action::Thaw);
            }
            Phase::Doomed(_) => self.actions.extend([kill, Action::Thaw]),
            Phase::Created | Phase::PreStart(_) | Phase::Starting | Phase::Running => {}
            Phase::PostStop(_) | Phase::Stopped => {}
        }
    }
}

/// Whether a hook was begun whose end nobody will ever hear. A sleep goes on in whoever supervises.
fn is_lost(plan: &Plan, life: &Life, found: &Found, hook: Hook) -> bool {
    let Course::Trying { entry, attempt, .. } = *life.course(hook) else { return false };
    let sleeps = matches!(plan.entries(hook).get(entry).map(|entry| &entry.handler), Some(Handler::Sleep { .. }));
    !sleeps && !found.attempts.contains(&(hook, entry, attempt))
}

/// Of a hook's attempt that is gone without a word of how it ended.
pub fn supervisor_lost() -> Failure {
    Failure {
        class: "supervisor lost".into(),
        error: "the supervisor was killed while the hook ran, so how the hook ended is not known".into(),
        ..Failure::default()
    }
}

fn taken_over(life: &Life) -> Notice {
    let phase = life.phase_name();
    Notice::warning("SupervisorLost", format!("the supervisor was lost in phase {phase}; another one has taken over"))
}
