//! Takes Pods through their lives, several at a time: which container is started and stopped when (P-14).
//!
//! ```text
//!   a Pod   init containers, each to its end;   sidecars and containers, each when the one before is up
//!           all live together for --run-for, or until the last container has ended by itself
//!           the containers are stopped together, then the sidecars one by one, the last first
//! ```
//!
//! The director waits and gives orders. It never makes a container itself: for that each has an actor (`actor`).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::cast::{Player, Troupe};
use super::progress::{Progress, REDRAW};
use super::wire::{Act, Lines, Order, Word, tell};
use crate::lifecycle::pod::Role;
use crate::lifecycle::time::Instant;
use crate::linux::{clock, net, reexec};
use crate::supervisor::boot::take_signals;

/// What became of a container.
pub enum Fate {
    /// It was never made, since something before it failed.
    Unborn,
    Lived(Box<Act>),
    /// bookend's own failure, with the exit code that it asks for.
    Failed {
        code: u8,
        error: String,
    },
}

/// What became of all.
pub struct Outcome {
    pub fates: Vec<Fate>,
    /// A signal came, and the containers were killed.
    pub interrupted: bool,
}

/// One container under way.
struct Cue {
    actor: Option<Actor>,
    up: bool,
    fate: Option<Fate>,
}

struct Actor {
    child: Child,
    orders: File,
    words: Lines,
}

impl Actor {
    fn spawn(player: &Player, network: Option<&OwnedFd>) -> Result<Actor> {
        let mut command = reexec::command();
        command.arg("act").envs(std::env::var_os("TMPDIR").map(|dir| ("TMPDIR", dir)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // ^C is the director's to hear.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("start a process for the container")?;
        let orders = child.stdin.take().map(OwnedFd::from).context("its standard input")?;
        let words = child.stdout.take().map(OwnedFd::from).context("its standard output")?;
        let mut orders = File::from(orders);
        let network = network.map(|fd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
        tell(&mut orders, &(&player.part, network));
        Ok(Actor { child, orders, words: Lines::of(words)? })
    }

    fn order(&mut self, order: Order) {
        tell(&mut self.orders, &order);
    }

    fn kill(&mut self) {
        self.order(Order::Kill);
        // While it makes the container it hears nothing but signals.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM); // not reaped yet
    }
}

/// How far a Pod is.
enum Scene {
    Waiting,
    /// The container of this number is on its way up, or, an init container, to its end.
    Starting(usize),
    Running {
        until: Instant,
    },
    /// The containers, and then the sidecars before this number, are on their way down.
    Stopping {
        sidecars_before: usize,
    },
    Over,
}

struct Pod<'a> {
    players: &'a [Player],
    /// The number of its first container among all.
    first: usize,
    cues: Vec<Cue>,
    scene: Scene,
    /// What its containers share, where there are several of them (as in Kubernetes), and the rights to make it.
    network: Option<OwnedFd>,
}

pub struct Director<'a> {
    pods: Vec<Pod<'a>>,
    jobs: usize,
    run_for: std::time::Duration,
    progress: Progress,
    signals: SignalFd,
    interrupted: bool,
}

impl<'a> Director<'a> {
    pub fn new(
        troupes: &'a [Troupe],
        jobs: usize,
        run_for: std::time::Duration,
        progress: Progress,
    ) -> Result<Director<'a>> {
        let mut first = 0;
        let pods = troupes.iter().map(|troupe| {
            let players = &troupe.players;
            first += players.len();
            let cue = |_: &Player| Cue { actor: None, up: false, fate: None };
            let cues = players.iter().map(cue).collect();
            Pod { players, first: first - players.len(), cues, scene: Scene::Waiting, network: None }
        });
        // From here on ^C ends the rehearsal in order, with nothing left behind.
        let (pods, signals) = (pods.collect(), take_signals()?);
        Ok(Director { pods, jobs, run_for, progress, signals, interrupted: false })
    }

    /// Takes all Pods to their ends; the fates of the containers, in their order.
    pub fn direct(mut self) -> Result<Outcome> {
        loop {
            self.advance();
            if self.pods.iter().all(|pod| matches!(pod.scene, Scene::Over)) {
                break;
            }
            self.wait()?;
            self.hear_signals();
            for at in 0..self.pods.len() {
                self.hear(at);
            }
            self.progress.redraw();
        }
        let cues = self.pods.into_iter().flat_map(|pod| pod.cues);
        let fates = cues.map(|cue| cue.fate.unwrap_or(Fate::Unborn)).collect();
        Ok(Outcome { fates, interrupted: self.interrupted })
    }

    /// Moves every Pod on as far as it can go.
    fn advance(&mut self) {
        for at in 0..self.pods.len() {
            let busy = self.pods.iter().filter(|pod| !matches!(pod.scene, Scene::Waiting | Scene::Over)).count();
            let may_begin = busy < self.jobs;
            let pod = &mut self.pods[at];
            if matches!(pod.scene, Scene::Waiting) {
                match (self.interrupted, may_begin) {
                    (true, _) => pod.scene = Scene::Over,
                    (false, true) => {
                        if pod.players.len() > 1 && nix::unistd::geteuid().is_root() {
                            // Without it each container has its own, as when it is rehearsed alone.
                            pod.network = new_network().ok();
                        }
                        pod.start(0);
                    }
                    (false, false) => {}
                }
            }
            pod.advance(self.run_for, self.interrupted);
        }
    }

    fn wait(&mut self) -> Result<()> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let actors = self.pods.iter().flat_map(|pod| &pod.cues).filter_map(|cue| cue.actor.as_ref());
        fds.extend(actors.filter_map(|actor| actor.words.descriptor()).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let running = self.pods.iter().filter_map(|pod| match pod.scene {
            Scene::Running { until } => Some(until - clock::now()),
            _ => None,
        });
        let redraw = self.progress.is_moving().then_some(REDRAW);
        let timeout = running.chain(redraw).min().map_or(PollTimeout::NONE, |left| {
            PollTimeout::from(u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX))
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error).context("poll"),
        }
    }

    /// A signal kills the containers, and their lives go on to the ends.
    fn hear_signals(&mut self) {
        let mut asked = false;
        while let Ok(Some(info)) = self.signals.read_signal() {
            asked |= [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].contains(&(info.ssi_signo as i32));
        }
        if asked {
            self.interrupted = true;
            let actors = self.pods.iter_mut().flat_map(|pod| &mut pod.cues).filter_map(|cue| cue.actor.as_mut());
            actors.for_each(Actor::kill);
        }
    }

    fn hear(&mut self, at: usize) {
        let pod = &mut self.pods[at];
        for (number, cue) in pod.cues.iter_mut().enumerate() {
            let Some(actor) = &mut cue.actor else { continue };
            let label = &pod.players[number].label;
            for word in actor.words.words::<Word>() {
                match word {
                    Word::Doing(text) => self.progress.doing(pod.first + number, label, &text),
                    Word::Said(text) => self.progress.said(label, &text),
                    Word::Up => {
                        cue.up = true;
                        self.progress.goes_on(pod.first + number, label, "running");
                    }
                    Word::Over(act) => cue.fate = Some(Fate::Lived(act)),
                    Word::Failed { code, error } => cue.fate = Some(Fate::Failed { code, error }),
                }
            }
            if actor.words.descriptor().is_none() {
                let lost = || Fate::Failed {
                    code: 125,
                    error: "the process of its rehearsal ended before it was over".into(),
                };
                cue.fate.get_or_insert_with(lost);
                // Its last word is what counts.
                let _ = actor.child.wait();
                cue.actor = None;
                self.progress.over(pod.first + number);
            }
        }
    }
}

/// A network namespace with its loopback device, in which we are only for that moment.
fn new_network() -> Result<OwnedFd> {
    let open = || Ok::<_, anyhow::Error>(OwnedFd::from(File::open("/proc/self/ns/net")?));
    let ours = open()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let made = net::bring_up_loopback().map_err(anyhow::Error::from).and_then(|()| open());
    setns(&ours, CloneFlags::CLONE_NEWNET).context("return to our network")?;
    made
}

impl Pod<'_> {
    fn role(&self, at: usize) -> Role {
        self.players[at].part.role
    }

    fn start(&mut self, at: usize) {
        match Actor::spawn(&self.players[at], self.network.as_ref()) {
            Ok(actor) => self.cues[at].actor = Some(actor),
            Err(error) => self.cues[at].fate = Some(Fate::Failed { code: 125, error: format!("{error:#}") }),
        }
        self.scene = Scene::Starting(at);
    }

    fn advance(&mut self, run_for: std::time::Duration, interrupted: bool) {
        if let Scene::Starting(at) = self.scene {
            let cue = &self.cues[at];
            let is_over = cue.fate.is_some() && cue.actor.is_none();
            let is_fatal = match (&cue.fate, self.role(at)) {
                (Some(Fate::Failed { .. }), _) => true,
                (Some(Fate::Lived(act)), Role::Init) => act.exit_code != Some(0),
                _ => false,
            };
            let is_through = is_over || (cue.up && self.role(at) != Role::Init);
            match (is_through, at + 1 < self.players.len()) {
                (true, _) if is_fatal || interrupted => self.stop(),
                (true, true) => self.start(at + 1),
                (true, false) => self.scene = Scene::Running { until: clock::now() + run_for },
                (false, _) => {}
            }
        }
        if let Scene::Running { until } = self.scene
            && (until <= clock::now()
                || !(0..self.cues.len()).any(|at| self.cues[at].actor.is_some() && self.is_main(at)))
        {
            self.stop();
        }
        if let Scene::Stopping { sidecars_before } = self.scene {
            self.stop_next(sidecars_before);
        }
    }

    /// A sidecar that is rehearsed alone is what its Pod is for.
    fn is_main(&self, at: usize) -> bool {
        self.role(at) == Role::Main || self.players.len() == 1
    }

    fn stop(&mut self) {
        for at in (0..self.cues.len()).filter(|at| self.is_main(*at)).collect::<Vec<_>>() {
            self.order_stop(at);
        }
        self.scene = Scene::Stopping { sidecars_before: self.cues.len() };
    }

    /// The next sidecar, when everything after it is gone.
    fn stop_next(&mut self, before: usize) {
        let later = (0..self.cues.len())
            .any(|at| self.cues[at].actor.is_some() && (self.role(at) != Role::Sidecar || at >= before));
        if later {
            return;
        }
        match (0..before).rfind(|at| self.cues[*at].actor.is_some()) {
            Some(at) => {
                self.order_stop(at);
                self.scene = Scene::Stopping { sidecars_before: at };
            }
            None => self.scene = Scene::Over,
        }
    }

    fn order_stop(&mut self, at: usize) {
        self.cues[at].actor.iter_mut().for_each(|actor| actor.order(Order::Stop));
    }
}
