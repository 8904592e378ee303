//! Runs cases under each runtime and compares.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::case::{Case, Company, Wanted};
use super::common::{Output, Scratch, bookend, bundles, is_root};
use super::facts::{Facts, NOTHING, Place};
use super::probe;
use super::runtime::{self, Runtime};
use super::table;

/// Runs all cases, and fails with every difference that is not wanted. `every_case` says whether these show all the
/// differences that are wanted in every case.
pub fn all(cases: Vec<Case>, every_case: bool) {
    // One test at a time: each reaps whatever ends.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(|poison| poison.into_inner());
    // What `create` leaves behind is ours to reap, as it is a caller's.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let runtimes: &[Runtime] =
        if is_root() { &[Runtime::Bookend, Runtime::Runc, Runtime::Crun] } else { &[Runtime::Bookend, Runtime::Runc] };
    let scratch = Scratch::new();
    let base = base_config();
    for runtime in runtimes {
        let dir = scratch.path().join(format!("{runtime:?}"));
        fs::create_dir(&dir).unwrap();
        let copied = Command::new("cp").arg("-a").arg(bundles().join("busybox/rootfs")).arg(&dir).status().unwrap();
        assert!(copied.success());
    }
    let mut problems = Vec::new();
    let everywhere: Vec<(Wanted, Cell<bool>)> =
        table::in_every_case().into_iter().map(|w| (w, Cell::new(false))).collect();
    for (number, case) in cases.iter().enumerate() {
        let seen: Vec<Facts> = runtimes.iter().map(|runtime| run(*runtime, case, number, &base, &scratch)).collect();
        problems.extend(differences(case, &seen, &everywhere));
    }
    if every_case {
        let stale = everywhere.iter().filter(|(_, used)| !used.get());
        problems
            .extend(stale.map(|(wanted, _)| {
                format!("in every case: {} is as under runc by now: {}", wanted.key, wanted.reason)
            }));
    }
    problems.extend(left_behind());
    assert!(problems.is_empty(), "{} problems in {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
}

fn differences(case: &Case, seen: &[Facts], everywhere: &[(Wanted, Cell<bool>)]) -> Vec<String> {
    let (ours, runc, crun) = (&seen[0], &seen[1], seen.get(2));
    let mut keys: BTreeSet<&String> = seen.iter().flat_map(|facts| facts.0.keys()).collect();
    // Where only one of them has made a container there is nothing more to compare.
    if keys.iter().any(|key| key.ends_with(" exit") && ours.get(key) != runc.get(key)) {
        keys.retain(|key| key.ends_with(" exit") || key.ends_with(" error"));
    }
    let mut problems = Vec::new();
    let mut used = vec![false; case.wanted.len()];
    for key in keys {
        let [value, measure] = [ours.get(key), runc.get(key)];
        let second = crun.map(|facts| facts.get(key));
        if value == measure {
            continue;
        }
        let told = |what: &str| {
            let second = second.map(|value| format!("\n      crun:    {value}")).unwrap_or_default();
            format!("{}: {key}: {what}\n      bookend: {value}\n      runc:    {measure}{second}", case.name)
        };
        let of_case = case.wanted.iter().position(|wanted| wanted.covers(key));
        let wanted = match of_case {
            Some(at) => {
                used[at] = true;
                &case.wanted[at]
            }
            None => match everywhere.iter().find(|(wanted, _)| wanted.covers(key)) {
                Some((wanted, used)) => {
                    used.set(true);
                    wanted
                }
                None => {
                    problems.push(told("not as runc"));
                    continue;
                }
            },
        };
        let company = if second == Some(value) { Company::Crun } else { Company::Nobody };
        if second.is_some_and(|value| value != NOTHING) && company != wanted.company {
            problems.push(told(&format!("as {company:?}, expected as {:?}: {}", wanted.company, wanted.reason)));
        }
    }
    let stale = case.wanted.iter().zip(&used).filter(|(_, used)| !**used);
    problems.extend(stale.map(|(wanted, _)| {
        format!("{}: {} is as under runc by now, its reason is stale: {}", case.name, wanted.key, wanted.reason)
    }));
    problems
}

/// What `spec` writes, for a program that tells what it sees.
fn base_config() -> Value {
    let scratch = Scratch::new();
    let mut spec = Command::new(bookend());
    spec.args(["spec", "--bundle"]).arg(scratch.path()).args((!is_root()).then_some("--rootless"));
    assert!(spec.status().unwrap().success());
    let mut config: Value = serde_json::from_slice(&fs::read(scratch.path().join("config.json")).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/sh", "-c", probe::SCRIPT]);
    config["root"] = json!({ "path": "{R}" });
    config["hostname"] = json!("host");
    config
}

/// Begins the names of all containers of this test.
fn prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() & 0xff_ffff;
        format!("df-{time:06x}-{}-", std::process::id())
    })
}

fn run(runtime: Runtime, case: &Case, number: usize, base: &Value, scratch: &Scratch) -> Facts {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let home = scratch.path().join(format!("{runtime:?}"));
    let place = Place {
        id: format!("{}{unique}{}", prefix(), &format!("{runtime:?}").to_lowercase()[..1]),
        dir: home.join(number.to_string()),
        rootfs: home.join("rootfs"),
        state: home.join("state"),
    };
    fs::create_dir_all(place.bundle()).unwrap();
    let mut config = base.clone();
    (case.change)(&mut config);
    fs::write(place.bundle().join("config.json"), place.fill(&config.to_string())).unwrap();
    if !case.prepare.is_empty() {
        sh(case.prepare, &place).ok();
    }
    let mut facts = Facts::default();
    for line in &case.lines {
        match line.strip_prefix('@') {
            Some(line) => step(line, &place, &mut facts),
            None => call(line, runtime, &place, &mut facts),
        }
    }
    clean_up(runtime, &place);
    facts
}

fn invoke(runtime: Runtime, words: &[String], place: &Place) -> Output {
    let mut command = runtime.command(&place.state);
    command.args(words).env("XDG_RUNTIME_DIR", &place.dir);
    finish(command, place)
}

/// Runs a command to its end, its output in files since containers keep it open.
#[allow(clippy::zombie_processes, reason = "`reap` waits for it")]
fn finish(mut command: Command, place: &Place) -> Output {
    // Of this call alone: a container goes on writing where its `create` did.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = |name: &str| place.dir.join(format!("{name}-{number}"));
    // Not /dev/null: crun gives its standard input to the container's user, and then the whole host's is changed.
    fs::write(path("in"), "").unwrap();
    command.current_dir(&place.dir).stdin(fs::File::open(path("in")).unwrap());
    command.stdout(fs::File::create(path("out")).unwrap()).stderr(fs::File::create(path("err")).unwrap());
    let child = command.spawn().unwrap();
    let code = match reap(Pid::from_raw(child.id() as i32)) {
        Some(WaitStatus::Exited(_, code)) => code,
        Some(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
        other => panic!("{command:?}: {other:?}"),
    };
    let read = |name: &str| String::from_utf8_lossy(&fs::read(path(name)).unwrap()).into_owned();
    Output { code, stdout: read("out"), stderr: read("err") }
}

/// A command line of the runtime's.
fn call(line: &str, runtime: Runtime, place: &Place, facts: &mut Facts) {
    let words = shlex::split(line).unwrap_or_else(|| panic!("{line}"));
    let verb = words.iter().find(|word| !word.starts_with('-')).cloned().unwrap_or_default();
    let words: Vec<String> = words.iter().map(|word| place.fill(&word.replace("{PROBE}", probe::SCRIPT))).collect();
    let output = invoke(runtime, &words, place);
    let complained = output.code != 0 && runtime::complained(runtime, &output.stderr);
    let kind = if complained { runtime::kind(&output.stderr) } else { "none" };
    if complained && runtime == Runtime::Bookend {
        assert!(code_fits(&verb, output.code), "{line}: exit code {} for {}", output.code, output.stderr);
    }
    facts.add(&format!("{verb} exit"), if complained { "error".to_owned() } else { output.code.to_string() });
    facts.add(&format!("{verb} error"), kind.to_owned());
    if complained && std::env::var_os("DF_SHOW").is_some() {
        eprintln!("{runtime:?}: {line}: {} [{kind}] {}", output.code, place.normal(output.stderr.trim()));
    }
    if complained {
        return; // how a tool is called is told in its own words
    }
    let text = output.stdout.trim();
    if text.contains("== environ\n") {
        probe::read(text, place, facts);
    } else if let Ok(json) = serde_json::from_str::<Value>(text)
        && !json.is_number()
    {
        facts.add_json(&verb, &json, place);
    } else {
        let words: Vec<&str> = text.split_whitespace().collect();
        facts.add(&format!("{verb} output"), place.normal(&words.join(" ")));
    }
}

/// interface.md 2.4: what runc answers with 1 or 255 has codes of its own in bookend. This difference is wanted
/// everywhere, so the codes of errors are checked here and not compared.
fn code_fits(verb: &str, code: i32) -> bool {
    match verb {
        "run" | "exec" => [2, 125, 126, 127].contains(&code),
        _ => [1, 2].contains(&code),
    }
}

/// What the test does between command lines.
fn step(line: &str, place: &Place, facts: &mut Facts) {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    match name {
        // The end of init, and how it came.
        "wait" => {
            let end = match pid(place).and_then(reap) {
                Some(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
                Some(WaitStatus::Signaled(_, signal, _)) => format!("{signal}"),
                other => format!("{other:?}"),
            };
            facts.add("init's end", end);
        }
        // The limits of its control groups, from outside.
        "cgroup" => match pid(place) {
            Some(pid) => control_groups(pid, place, facts),
            None => facts.add("cgroup", "no init".to_owned()),
        },
        "sh" => {
            let output = sh(rest, place);
            facts.add("sh", format!("{} {}", output.code, place.normal(output.stdout.trim())));
        }
        other => panic!("@{other} is no step"),
    }
}

fn sh(script: &str, place: &Place) -> Output {
    let mut command = Command::new("sh");
    command.args(["-uc", &place.fill(script)]);
    finish(command, place)
}

/// Init's, from the pid file that the case's lines ask for; none where no container came of them.
fn pid(place: &Place) -> Option<Pid> {
    let text = fs::read_to_string(place.dir.join("pid")).ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

/// How the processes ended that were reaped so far.
static ENDED: Mutex<BTreeMap<i32, WaitStatus>> = Mutex::new(BTreeMap::new());

/// Waits for the end of one of our children, and reaps all that end meanwhile: a member of a pid namespace that has become
/// our child keeps its init from ending until it is reaped.
fn reap(child: Pid) -> Option<WaitStatus> {
    let mut ended = ENDED.lock().unwrap();
    while !ended.contains_key(&child.as_raw()) {
        let status = waitpid(None, None).ok()?; // an error: no children are left
        ended.insert(status.pid()?.as_raw(), status);
    }
    ended.get(&child.as_raw()).copied()
}

const LIMIT_FILES: [&str; 19] = [
    "memory.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.swappiness",
    "memory.oom_control",
    "memory.use_hierarchy",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.cfs_burst_us",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "devices.list",
    "freezer.state",
    "notify_on_release",
    "blkio.bfq.weight",
    "blkio.throttle.read_bps_device",
];

fn control_groups(pid: Pid, place: &Place, facts: &mut Facts) {
    for line in fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().lines() {
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{line}") };
        facts.add(&format!("cgroup path {controllers}"), place.normal(path));
        let mount = controllers.split(',').next().unwrap_or_default().trim_start_matches("name=");
        for file in LIMIT_FILES {
            let path = Path::new("/sys/fs/cgroup").join(mount).join(path.trim_start_matches('/')).join(file);
            if let (false, Ok(text)) = (mount.is_empty(), fs::read_to_string(path)) {
                let mut lines: Vec<&str> = text.trim().lines().collect();
                lines.sort_unstable();
                facts.add(&format!("cgroup {controllers} {file}"), lines.join("; "));
            }
        }
    }
}

fn clean_up(runtime: Runtime, place: &Place) {
    let there = fs::read_dir(&place.state).into_iter().flatten().flatten();
    let there = there.map(|entry| entry.file_name().into_string().expect("an id is text"));
    // crun makes containers of ids that the others refuse, too.
    for id in there.filter(|id| *id == place.id || runtime == Runtime::Crun) {
        let output = invoke(runtime, &["delete".to_owned(), "--force".to_owned(), id], place);
        assert!(output.code == 0 || runtime != Runtime::Bookend, "delete --force: {}", output.stderr);
    }
    if let Some(pid) = pid(place) {
        // A runtime that has crashed has left it.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        reap(pid);
    }
}

/// Control groups of this test's containers. Other runtimes leave some, and all leave those above; they are removed.
fn left_behind() -> Vec<String> {
    let name = format!("{}*", prefix());
    let output =
        Command::new("find").args(["/sys/fs/cgroup", "-depth", "-type", "d", "-name", &name]).output().unwrap();
    let mut problems = Vec::new();
    for path in String::from_utf8_lossy(&output.stdout).lines() {
        if path.ends_with('b') {
            problems.push(format!("bookend has left {path}"));
        }
        let _ = fs::remove_dir(path); // what holds processes is another's, still running
    }
    let parents = Command::new("find").args(["/sys/fs/cgroup", "-depth", "-type", "d", "-name", "df-parent"]).output();
    for path in String::from_utf8_lossy(&parents.unwrap().stdout).lines() {
        let _ = fs::remove_dir(path); // not while another case is in it
    }
    problems
}
