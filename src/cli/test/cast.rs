//! Who plays in a rehearsal: the containers of the files, with all that they need, read and checked before anything is made.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, anyhow, bail};

use super::super::args::{Global, Manner, Test};
use super::expect::{Ending, Expectation};
use super::fault::{Fault, faults};
use super::stage::{Scene, Scenery};
use super::wire::Part;
use crate::foreign::legible;
use crate::lifecycle::fault::HandlerFault;
use crate::lifecycle::model::{Hook, Plan, PostStartStop};
use crate::lifecycle::pod::{self, Chosen, Pod, Role};
use crate::lifecycle::signal::Signal;
use crate::lifecycle::source::{self, Invalid};
use crate::lifecycle::validate::Problems;

/// The containers of one Pod, in the order in which they are started.
pub struct Troupe {
    pub players: Vec<Player>,
}

/// One container.
pub struct Player {
    /// How it is called in this run: by its name, and by its Pod's where that alone would not do.
    pub label: String,
    /// The name of its Pod, where it has one.
    pub pod: Option<String>,
    pub chosen: Chosen,
    pub part: Part,
    pub expectations: Vec<Expectation>,
}

/// The whole cast, and what there is to say about it. All that is wrong with the files is told at once.
pub fn of(global: &Global, args: &Test) -> Result<(Vec<Troupe>, Vec<String>)> {
    let pods = read(args)?;
    let mut manner = args.manner.or(&global.hooks.manner);
    manner.hook_log_dir = manner.hook_log_dir.map(std::path::absolute).transpose()?;
    let mut warnings = Vec::new();
    let mut problems = Vec::new();
    let mut troupes = Vec::new();
    for (file, pod) in pods {
        let mut players = Vec::new();
        for chosen in pod.containers {
            match player(args, &manner, &pod.name, chosen, &mut warnings) {
                Ok(player) => players.push(player),
                Err(error) => match error.downcast::<Invalid>() {
                    Ok(invalid) => problems.extend(invalid.problems),
                    Err(error) => return Err(error.context(file)),
                },
            }
        }
        troupes.push((file, Troupe { players }));
    }
    if !problems.is_empty() {
        bail!(Invalid { problems });
    }
    let mut troupes = with_hooks(troupes, &mut warnings)?;
    give_labels(&mut troupes);
    check_hooks(args, &troupes)?;
    check_names(args, &troupes)?;
    Ok((troupes, warnings))
}

/// The Pods of all files, with the containers that were chosen.
fn read(args: &Test) -> Result<Vec<(String, Pod)>> {
    if args.files.iter().filter(|file| *file == Path::new("-")).count() > 1 {
        bail!("standard input can be read once only: give \"-\" once");
    }
    let mut pods = Vec::new();
    let mut problems = Vec::new();
    for path in &args.files {
        let label = crate::lifecycle::file::label(path);
        let mut found = Problems::of(&label);
        pods.extend(pod::all(path, &mut found).into_iter().map(|pod| (label.clone(), pod)));
        problems.extend(found.errors.iter().map(ToString::to_string));
    }
    if !problems.is_empty() {
        bail!(Invalid { problems });
    }
    if let Some(name) = &args.container {
        let names: BTreeSet<String> =
            pods.iter().flat_map(|(_, pod)| &pod.containers).map(|c| c.name.clone()).collect();
        for (_, pod) in &mut pods {
            pod.containers.retain(|chosen| chosen.name == *name);
        }
        pods.retain(|(_, pod)| !pod.containers.is_empty());
        if pods.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            bail!("--container: there is no container {name:?}; there are {}", names.join(", "));
        }
    }
    Ok(pods)
}

fn player(
    args: &Test,
    manner: &Manner,
    pod: &Option<String>,
    chosen: Chosen,
    warnings: &mut Vec<String>,
) -> Result<Player> {
    let mut problems = Problems::default();
    let container = chosen.container(&mut problems);
    if !problems.errors.is_empty() {
        bail!(Invalid { problems: problems.errors.iter().map(ToString::to_string).collect() });
    }
    let scenery = Scenery::of(args, &chosen.name)?;
    let scene = Scene::of(scenery, &container, chosen.role, warnings)?;
    let resolved = match scenery {
        // What names no hook in the Pod may have them in its bundle, as under `run`; an init container has none.
        Scenery::Bundle(bundle) if chosen.role != Role::Init => {
            source::of_container(chosen.clone(), &scene.annotations(), Some(bundle))?
        }
        _ => source::of_container(chosen.clone(), &scene.image_annotations(), None)?,
    };
    warnings.extend(resolved.warnings);
    let mut plan = resolved.plan;
    manner.apply(&mut plan);
    // Beside the others' hooks a fault or an expectation is about the containers that the Pod is for.
    let is_meant = chosen.role == Role::Main || args.container.is_some();
    let meant_fault = |fault: &&Fault| match fault {
        Fault::Handler(hook, _) => !plan.entries(*hook).is_empty(),
        _ => is_meant,
    };
    let meant_expectation = |expectation: &&Expectation| match expectation {
        Expectation::Hook(hook, _) => !plan.entries(*hook).is_empty(),
        _ => is_meant,
    };
    let faults = faults(args.fault.iter().filter(meant_fault));
    if faults.stop_signal_ignored && plan.stop_signal == Signal::KILL {
        bail!(
            "--fault stop-signal=ignore: the stop signal of container {:?} is SIGKILL, which nobody can ignore",
            chosen.name
        );
    }
    for (hook, fault) in &faults.handlers {
        refuse_endless(*hook, *fault, &plan)?;
    }
    let expectations = args.expect.iter().filter(meant_expectation).cloned().collect();
    Ok(Player {
        label: chosen.name.clone(),
        pod: pod.clone(),
        part: Part {
            id: String::new(), // given with the label
            role: chosen.role,
            plan,
            faults,
            scene,
            grace: args.grace,
            run_for: args.run_for,
            hook_log_dir: manner.hook_log_dir.clone(),
            no_history: manner.no_history,
            exec: args.exec.clone(),
        },
        chosen,
        expectations,
    })
}

/// A preStop ends with its grace period and a start with the stop; nothing else would end a postStop.
fn refuse_endless(hook: Hook, fault: HandlerFault, plan: &Plan) -> Result<()> {
    let endless = matches!(fault, HandlerFault::Hang | HandlerFault::Flood);
    if hook == Hook::PostStop && endless && plan.post_stop.iter().any(|entry| entry.policy.timeout.is_none()) {
        bail!(
            "--fault {hook}={fault}: this postStop has no time limit, so the rehearsal would never end: set its timeout"
        );
    }
    let waits = plan.post_start_stop == PostStartStop::Wait;
    if hook == Hook::PostStart && endless && waits && plan.post_start.iter().any(|entry| entry.policy.timeout.is_none())
    {
        bail!(
            "--fault {hook}={fault} with --poststart-stop wait: this postStart has no time limit, so the stop would wait for \
             ever, as in Kubernetes: set its timeout, or let it be slow:DURATION"
        );
    }
    Ok(())
}

/// Pods without a hook are left out, and told.
fn with_hooks(troupes: Vec<(String, Troupe)>, warnings: &mut Vec<String>) -> Result<Vec<Troupe>> {
    let has_hooks = |troupe: &Troupe| troupe.players.iter().any(|player| player.part.plan.has_hooks());
    let (rehearsed, left_out): (Vec<_>, Vec<_>) = troupes.into_iter().partition(|(_, troupe)| has_hooks(troupe));
    let words = |file: &str, troupe: &Troupe| {
        let names: Vec<String> = troupe.players.iter().map(|player| format!("{:?}", player.chosen.name)).collect();
        match names.as_slice() {
            [name] => format!("{file}: container {name} has no hooks: there is nothing to rehearse"),
            names => {
                format!("{file}: none of the containers {} has hooks: there is nothing to rehearse", names.join(", "))
            }
        }
    };
    if rehearsed.is_empty() {
        let lines: Vec<String> = left_out.iter().map(|(file, troupe)| words(file, troupe)).collect();
        bail!(Invalid { problems: lines });
    }
    warnings.extend(left_out.iter().map(|(file, troupe)| words(file, troupe)));
    Ok(rehearsed.into_iter().map(|(_, troupe)| troupe).collect())
}

/// Names that are nobody else's in this run, for people and for the runtime.
fn give_labels(troupes: &mut [Troupe]) {
    let names: Vec<String> = players(troupes).map(|player| player.chosen.name.clone()).collect();
    let is_alone = |name: &String| names.iter().filter(|known| *known == name).count() == 1;
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (number, player) in troupes.iter_mut().flat_map(|troupe| &mut troupe.players).enumerate() {
        let name = &player.chosen.name;
        // Lines that begin with it are read by terminals and by the runners of CIs.
        let label = legible(&match &player.pod {
            _ if is_alone(name) => name.clone(),
            Some(pod) => format!("{pod}/{name}"),
            None => format!("{}:{name}", player.chosen.file()),
        });
        let again = |n: &usize| format!("{label} ({n})");
        player.label = match taken.contains(&label) {
            false => label,
            true => (2..).map(|n| again(&n)).find(|label| !taken.contains(label)).unwrap_or(label),
        };
        taken.insert(player.label.clone());
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(100).collect();
        player.part.id = match number {
            0 => format!("test-{plain}-{}", std::process::id()),
            number => format!("test-{plain}-{}-{number}", std::process::id()),
        };
    }
}

fn players(troupes: &[Troupe]) -> impl Iterator<Item = &Player> {
    troupes.iter().flat_map(|troupe| &troupe.players)
}

/// A fault or an expectation for a hook that nobody has would say nothing.
fn check_hooks(args: &Test, troupes: &[Troupe]) -> Result<()> {
    let has = |hook: &Hook| players(troupes).any(|player| !player.part.plan.entries(*hook).is_empty());
    let there: Vec<&str> = Hook::ALL.into_iter().filter(has).map(Hook::name).collect();
    let faults = args.fault.iter().filter_map(|fault| match fault {
        Fault::Handler(hook, _) => Some(("--fault", *hook, fault.to_string())),
        _ => None,
    });
    let expectations = args.expect.iter().filter_map(|expectation| match expectation {
        Expectation::Hook(hook, ending) if *ending != Ending::Skipped => {
            Some(("--expect", *hook, expectation.to_string()))
        }
        _ => None,
    });
    match faults.chain(expectations).find(|(_, hook, _)| !has(hook)) {
        None => Ok(()),
        Some((flag, hook, spec)) => {
            Err(anyhow!("{flag} {spec}: there is no {hook} hook here; there are {}", there.join(", ")))
        }
    }
}

fn check_names(args: &Test, troupes: &[Troupe]) -> Result<()> {
    let known = |name: &str| players(troupes).any(|player| player.chosen.name == name);
    match Scenery::names(args).find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => {
            let names: BTreeSet<&str> = players(troupes).map(|player| player.chosen.name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            bail!("there is no container {name:?} to give a root file system to; there are {}", names.join(", "))
        }
    }
}
