//! Where a container's hooks come from, and which source wins (interface.md section 2.2).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::annotations::{self, Annotation};
use super::file;
use super::model::{Entry, Hook, Plan};
use super::pod::{self, Chosen, PodContainer};
use super::rule::Rule;
use super::signal::Signal;
use super::validate::{Problem, Problems, Set, Wishes, settle};

/// Kubernetes' grace period where nobody names one.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// All places that hooks can be given in.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `--pod FILE`.
    pub pod: Option<&'a Path>,
    /// `--container NAME`.
    pub container: Option<&'a str>,
    /// `--lifecycle FILE`.
    pub lifecycle: Option<&'a Path>,
    /// The annotations of `config.json`.
    pub annotations: &'a BTreeMap<String, String>,
    /// The bundle's directory, where a lifecycle file may be.
    pub bundle: &'a Path,
    /// The container's id, its name where there is no better one (L-07).
    pub id: &'a str,
    /// `--pod` and `--lifecycle` were given before the verb, so a container's own annotations go before them.
    pub flags_are_global: bool,
}

/// A checked plan, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub plan: Plan,
    /// What is odd but allowed, one line each.
    pub warnings: Vec<String>,
    /// Where the hooks are from, for people: `pod.yaml, container "web"`.
    pub origin: String,
    /// The container of `--pod`, for `test`.
    pub pod: Option<Chosen>,
}

/// All that is wrong with the input, one line each, without a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub problems: Vec<String>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for Invalid {}

/// What `inspect` found: a plan that may only be used without errors.
#[derive(Debug)]
pub struct Inspected {
    pub resolved: Resolved,
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// One source that was given, as it was read.
pub struct Given {
    pub origin: String,
    /// `Problem::source` of what is found later.
    pub source: String,
    pub wishes: Wishes,
}

/// Reads every source and makes the plan of the first that names a hook.
pub fn resolve(sources: &Sources) -> Result<Resolved, Invalid> {
    let inspected = inspect(sources);
    if inspected.errors.is_empty() {
        return Ok(inspected.resolved);
    }
    Err(Invalid { problems: lines(&inspected.errors) })
}

/// As `resolve`, with the place of each finding (`check` shows them).
pub fn inspect(sources: &Sources) -> Inspected {
    let mut problems = Problems::of("config.json");
    let image_signal = annotations::image_stop_signal(sources.annotations, &mut problems);
    if annotations::is_sandbox(sources.annotations) {
        let mut plan = Plan::empty(annotations::container_name(sources.annotations).unwrap_or(sources.id));
        plan.stop_signal = image_signal.unwrap_or(plan.stop_signal);
        return finish(plan, "none: a Pod's sandbox has no hooks".to_owned(), None, problems);
    }

    if sources.pod == Some(Path::new("-")) && sources.lifecycle == sources.pod {
        problems.error(None, "--lifecycle", "Forbidden: standard input is read by --pod already");
        return finish(Plan::empty(sources.id), "none".to_owned(), None, problems);
    }
    let pod = sources.pod.and_then(|path| {
        let mut found = Problems::of(file::label(path));
        let pod = pod::find(path, sources.container, &mut found);
        problems.append(found);
        pod
    });
    decide(sources, pod, image_signal, problems)
}

/// The plan of one container of a Pod that is read already, for who takes several of them. What the Pod does not say a
/// bundle may, by the annotations of its configuration and the file beside that; an image says its stop signal, likewise
/// by an annotation, and nothing else.
pub fn of_container(
    chosen: Chosen,
    annotations: &BTreeMap<String, String>,
    bundle: Option<&Path>,
) -> Result<Resolved, Invalid> {
    let mut problems = Problems::default();
    let image_signal = annotations::image_stop_signal(annotations, &mut problems);
    let name = chosen.name.clone();
    let sources = Sources {
        pod: None,
        container: None,
        lifecycle: None,
        annotations,
        bundle: bundle.unwrap_or(Path::new("/nonexistent")),
        id: &name,
        flags_are_global: false,
    };
    let inspected = decide(&sources, Some(chosen), image_signal, problems);
    match inspected.errors.is_empty() {
        true => Ok(inspected.resolved),
        false => Err(Invalid { problems: lines(&inspected.errors) }),
    }
}

fn decide(sources: &Sources, pod: Option<Chosen>, image_signal: Option<Signal>, mut problems: Problems) -> Inspected {
    let name = pod.as_ref().map(|pod| pod.name.as_str());
    let name = name.or(annotations::container_name(sources.annotations)).or(sources.container);
    let given = read(sources, pod.as_ref(), name, &mut problems);

    let mut judged = judge(&given, &mut problems);
    let mut plan = Plan::empty(name.unwrap_or(sources.id));
    plan.stop_signal = judged.stop_signal.or(image_signal).unwrap_or(plan.stop_signal);
    // V-19: a negative one counts as 1.
    plan.grace_seconds = u64::try_from(judged.grace).unwrap_or(1);
    let mut take = |hook| judged.hooks.remove(&hook).unwrap_or_default();
    plan.pre_start = take(Hook::PreStart);
    plan.post_start = take(Hook::PostStart).pop();
    plan.pre_stop = take(Hook::PreStop).pop();
    plan.post_stop = take(Hook::PostStop);
    finish(plan, judged.origin, pod, problems)
}

/// What the sources of one container say together.
pub struct Judged {
    /// As written, 30 where nobody says.
    pub grace: i64,
    pub stop_signal: Option<Signal>,
    pub hooks: BTreeMap<Hook, Vec<Entry>>,
    origin: String,
}

/// Checks sources, the nearest first, as a whole: the first that names a hook gives them all.
pub fn judge(given: &[Given], problems: &mut Problems) -> Judged {
    let grace = given.iter().find_map(|given| Some((given, given.wishes.grace.as_ref()?)));
    let signal = given.iter().find_map(|given| Some((given, given.wishes.stop_signal.as_ref()?)));
    if let Some((given, signal)) = signal {
        warn_of_signal(given, signal, problems);
    }
    let written = grace.map_or(DEFAULT_GRACE_SECONDS, |(_, grace)| grace.value);
    if let Some((given, grace)) = grace {
        warn_of_grace(given, grace, problems);
    }
    let stop_signal = signal.map(|(_, signal)| signal.value);
    let mut judged = Judged { grace: written, stop_signal, hooks: BTreeMap::new(), origin: "none".to_owned() };
    if let Some(given) = given.iter().find(|given| given.wishes.names_a_hook()) {
        judged.origin.clone_from(&given.origin);
        let mut found = Problems::of(&given.source);
        judged.hooks = settle(&given.wishes, written, &mut found);
        problems.append(found);
    }
    // A policy without its hook is a mistake in whichever source it is (V-28), also in one that names no hook at all.
    for given in given.iter().filter(|given| !given.wishes.names_a_hook()) {
        let mut found = Problems::of(&given.source);
        settle(&given.wishes, written, &mut found);
        problems.append(found);
    }
    judged
}

/// Every source that was given, nearest first.
fn read(sources: &Sources, pod: Option<&Chosen>, name: Option<&str>, problems: &mut Problems) -> Vec<Given> {
    let mut flags = Vec::new();
    if let Some(pod) = pod {
        let label = pod.file().to_owned();
        let mut found = Problems::of(&label);
        let wishes = pod.wishes(&mut found);
        problems.append(found);
        flags.push(Given { origin: format!("{label}, container {:?}", pod.name), source: label, wishes });
    }
    if let Some(path) = sources.lifecycle {
        flags.push(read_file(path, problems));
    }

    let mut found = Problems::of("config.json");
    let values = sources.annotations.iter().map(|(key, value)| Annotation { key, value, at: None });
    let mut wishes = annotations::read(values, name, None, &mut found);
    if wishes.grace.is_none() {
        wishes.grace = annotations::pod_grace(sources.annotations, &mut found);
    }
    problems.append(found);
    let annotated = Given { origin: "annotations of config.json".to_owned(), source: "config.json".to_owned(), wishes };

    let mut given = Vec::new();
    if sources.flags_are_global && annotated.wishes.names_a_hook() {
        given.push(annotated);
        given.append(&mut flags);
    } else {
        given.append(&mut flags);
        given.push(annotated);
    }
    if let Some(path) = file::beside(sources.bundle, problems) {
        given.push(read_file(&path, problems));
    }
    given
}

fn read_file(path: &Path, problems: &mut Problems) -> Given {
    let label = file::label(path);
    let mut found = Problems::of(&label);
    let wishes = file::lifecycle(path, &mut found);
    problems.append(found);
    Given { origin: label.clone(), source: label, wishes }
}

/// S-26.
fn warn_of_signal(given: &Given, signal: &Set<Signal>, problems: &mut Problems) {
    if signal.value.spares_by_default() {
        let mut found = Problems::of(&given.source);
        let text = format!("{} does not end a process by itself; SIGKILL follows after the grace period", signal.value);
        found.warning(signal.at, &signal.path, text).is(Rule::SignalSpares);
        problems.append(found);
    }
}

/// V-19.
fn warn_of_grace(given: &Given, grace: &Set<i64>, problems: &mut Problems) {
    if grace.value < 0 {
        let mut found = Problems::of(&given.source);
        let text = "must be >= 0; negative values are invalid and will be treated as 1";
        found.warning(grace.at, &grace.path, text).is(Rule::NegativeGrace);
        problems.append(found);
    }
}

fn finish(plan: Plan, origin: String, pod: Option<Chosen>, problems: Problems) -> Inspected {
    let warnings = lines(&problems.warnings);
    let resolved = Resolved { plan, warnings, origin, pod };
    Inspected { resolved, errors: problems.errors, warnings: problems.warnings }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

impl Resolved {
    /// What `test` runs of the Pod's container; None without `--pod`.
    pub fn pod_container(&self) -> Option<Result<PodContainer, Invalid>> {
        let mut problems = Problems::default();
        let container = self.pod.as_ref()?.container(&mut problems);
        let problems = lines(&problems.errors);
        Some(if problems.is_empty() { Ok(container) } else { Err(Invalid { problems }) })
    }
}

/// Resolving single sources, for the tests of all modules here.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    pub fn from_lifecycle(text: &str) -> Result<Resolved, Invalid> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.yaml");
        std::fs::write(&path, text).unwrap();
        let annotations = BTreeMap::new();
        let result = resolve(&Sources { lifecycle: Some(&path), ..nothing(&annotations, dir.path()) });
        without(dir.path(), result)
    }

    pub fn from_pod(text: &str, container: Option<&str>) -> Result<Resolved, Invalid> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.yaml");
        std::fs::write(&path, text).unwrap();
        let annotations = BTreeMap::new();
        let result = resolve(&Sources { pod: Some(&path), container, ..nothing(&annotations, dir.path()) });
        without(dir.path(), result)
    }

    pub fn from_annotations(pairs: &[(&str, &str)]) -> Result<Resolved, Invalid> {
        let dir = tempfile::tempdir().unwrap();
        let annotations = map(pairs);
        resolve(&nothing(&annotations, dir.path()))
    }

    pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    pub fn nothing<'a>(annotations: &'a BTreeMap<String, String>, bundle: &'a Path) -> Sources<'a> {
        Sources { pod: None, container: None, lifecycle: None, annotations, bundle, id: "c1", flags_are_global: false }
    }

    /// The temporary directory's name taken out of what is said.
    fn without(dir: &Path, result: Result<Resolved, Invalid>) -> Result<Resolved, Invalid> {
        let prefix = format!("{}/", dir.display());
        result.map_err(|invalid| Invalid {
            problems: invalid.problems.iter().map(|line| line.replace(&prefix, "")).collect(),
        })
    }

    pub fn problems(result: Result<Resolved, Invalid>) -> Vec<String> {
        result.map(|resolved| format!("{:?}", resolved.plan)).expect_err("must be refused").problems
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Handler;
    use super::fixture::{map, nothing, problems};
    use super::*;

    /// A bundle's directory with these files in it.
    fn bundle(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn stop_of(resolved: &Resolved) -> &Handler {
        &resolved.plan.pre_stop.as_ref().unwrap().handler
    }

    fn sleep(seconds: u64) -> String {
        format!("lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}")
    }

    #[test]
    fn the_first_source_that_names_a_hook_is_used_alone() {
        let pod = "kind: Pod\nspec: {containers: [{name: web, lifecycle: {preStop: {sleep: {seconds: 1}}}}]}";
        let dir = bundle(&[
            ("pod.yaml", pod),
            ("own.yaml", &sleep(2)),
            ("lifecycle.yaml", "lifecycle: {preStop: {sleep: {seconds: 4}}, postStart: {sleep: {}}}"),
        ]);
        let (pod, own) = (dir.path().join("pod.yaml"), dir.path().join("own.yaml"));
        let annotations = map(&[("bookend/pre-stop.sleep", "3")]);
        let none = BTreeMap::new();
        let all = Sources { pod: Some(&pod), lifecycle: Some(&own), ..nothing(&annotations, dir.path()) };
        for (sources, seconds, origin) in [
            (all, 1, "pod.yaml, container \"web\""),
            (Sources { pod: None, ..all }, 2, "own.yaml"),
            (Sources { pod: None, lifecycle: None, ..all }, 3, "annotations of config.json"),
            (Sources { pod: None, lifecycle: None, annotations: &none, ..all }, 4, "lifecycle.yaml"),
            (Sources { flags_are_global: true, ..all }, 3, "annotations of config.json"),
            (Sources { flags_are_global: true, annotations: &none, ..all }, 1, "pod.yaml, container \"web\""),
        ] {
            let resolved = resolve(&sources).unwrap();
            assert_eq!(stop_of(&resolved), &Handler::Sleep { seconds });
            assert!(resolved.origin.ends_with(origin), "{}", resolved.origin);
            assert_eq!(resolved.plan.post_start.is_some(), seconds == 4);
        }
    }

    #[test]
    fn s_23_stop_signal_and_grace_fall_through_to_the_next_that_has_them() {
        let dir = bundle(&[
            ("own.yaml", &sleep(40)),
            ("lifecycle.yml", "terminationGracePeriodSeconds: 50\nlifecycle: {stopSignal: SIGHUP}"),
        ]);
        let own = dir.path().join("own.yaml");
        let image = map(&[("org.opencontainers.image.stopSignal", "SIGINT")]);
        let sources = Sources { lifecycle: Some(&own), ..nothing(&image, dir.path()) };
        let plan = resolve(&sources).unwrap().plan;
        assert_eq!((plan.grace_seconds, plan.stop_signal), (50, Signal::HUP));
        let nearer = map(&[("bookend/grace-period", "45"), ("bookend/stop-signal", "SIGQUIT")]);
        let plan = resolve(&Sources { annotations: &nearer, ..sources }).unwrap().plan;
        assert_eq!((plan.grace_seconds, plan.stop_signal), (45, Signal::QUIT));
        // V-17 is judged by the grace period that counts.
        let short = map(&[("bookend/grace-period", "20")]);
        let found = problems(resolve(&Sources { annotations: &short, ..sources }));
        assert!(found.len() == 1 && found[0].ends_with("terminationGracePeriodSeconds (20)"), "{found:?}");
    }

    #[test]
    fn problems_of_every_source_are_told_together() {
        let dir =
            bundle(&[("own.yaml", "lifecycle: {preStop: {}}"), ("lifecycle.json", "{\"x\": 1, \"preStop\": {}}")]);
        let own = dir.path().join("own.yaml");
        let annotations = map(&[("bookend/prestop", "a")]);
        let found = problems(resolve(&Sources { lifecycle: Some(&own), ..nothing(&annotations, dir.path()) }));
        assert_eq!(
            found,
            [
                "lifecycle.preStop: Required value: must specify a handler type",
                "bookend/prestop: Unknown annotation; did you mean \"bookend/pre-stop\"?",
                "x: Unknown field; known are terminationGracePeriodSeconds, ports, lifecycle, extensions",
                "preStop: Unknown field; put it under \"lifecycle\"",
            ]
        );
    }

    #[test]
    fn two_lifecycle_files_in_a_bundle_are_an_error() {
        let dir = bundle(&[("lifecycle.yaml", ""), ("lifecycle.json", "{}")]);
        assert_eq!(
            problems(resolve(&nothing(&BTreeMap::new(), dir.path()))),
            ["lifecycle.json: Forbidden: lifecycle.yaml is there too; keep one of them"]
        );
    }

    #[test]
    fn standard_input_is_read_for_one_source_only() {
        let (dir, none) = (bundle(&[]), BTreeMap::new());
        let input = Some(Path::new("-"));
        let found = problems(resolve(&Sources { pod: input, lifecycle: input, ..nothing(&none, dir.path()) }));
        assert_eq!(found, ["--lifecycle: Forbidden: standard input is read by --pod already"]);
    }

    #[test]
    fn nothing_given_is_a_plain_container_named_by_its_id() {
        let dir = bundle(&[]);
        let resolved = resolve(&nothing(&BTreeMap::new(), dir.path())).unwrap();
        assert_eq!(resolved.plan, Plan::empty("c1"));
        assert_eq!(resolved.origin, "none");
        assert!(resolved.pod_container().is_none());
    }
}
