//! What a process is between clone and execve, the same for init and for `exec`: user, rights, directory, environment,
//! program.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::{AccessFlags, Uid, access, chdir, execve, fchown, geteuid};
use oci_spec::runtime::Process;

use super::capabilities::Wanted;
use super::link::{self, Failure, Message};
use super::nature::Nature;
use super::seccomp::{Filter, Moment};
use super::{limits, scheduling, user};
use crate::linux::{fd, process};

/// The umask of a process that says nothing of it, as in runc.
const UMASK: u32 = 0o022;

/// Everything but the program. Inside the root, with the terminal in place.
pub fn set_up(
    process: &Process,
    nature: &Nature,
    groups_denied: bool,
    filter: Option<&Filter>,
    link: BorrowedFd<'_>,
    room: u64,
) -> Result<()> {
    let wanted = Wanted::new(process.capabilities());
    umask(Mode::from_bits_truncate(process.user().umask().unwrap_or(UMASK)));
    limits::apply(process, room)?;
    scheduling::apply(process)?;
    nature.apply()?;
    give_stdio(fd::stdio(), process.user().uid())?;
    // As root, since the user may not get through the directories above it.
    let entered = chdir(process.cwd());
    let missing = wanted.limit_bounding()?;
    user::become_user(process.user(), groups_denied)?;
    filter_at(Moment::WithCapabilities, process, filter, link)?;
    if let Some(warning) = wanted.apply(missing)? {
        link::send(link, &Message::Warning(warning), None)?;
    }
    if entered.is_err() {
        // As the user, since root may not either (a directory of the user's own on a network file system).
        chdir(process.cwd()).map_err(|errno| anyhow!("chdir to cwd {}: {}", process.cwd().display(), words(errno)))?;
    }
    check_working_directory(process.cwd())?;
    if process.no_new_privileges().unwrap_or(false) {
        process::set_no_new_privs().context("set no_new_privs")?;
    }
    Ok(())
}

/// How many open files it needs until the program is executed, besides the `passed` ones. 0 where the limit cannot wait: a filter
/// would judge the call that sets it.
pub fn room(process: &Process, filter: Option<&Filter>, passed: u32) -> u64 {
    let no_new_privs = process.no_new_privileges().unwrap_or(false);
    match filter.is_none_or(|filter| filter.moment(no_new_privs) == Moment::Last) {
        true => limits::room(passed),
        false => 0,
    }
}

/// Puts the filter over us, if this is its moment. The verb at the other end of the link gets what the agent needs.
pub fn filter_at(moment: Moment, process: &Process, filter: Option<&Filter>, link: BorrowedFd<'_>) -> Result<()> {
    let no_new_privs = process.no_new_privileges().unwrap_or(false);
    let Some(filter) = filter.filter(|filter| filter.moment(no_new_privs) == moment) else { return Ok(()) };
    if moment == Moment::WithCapabilities {
        Wanted::raise_all()?;
    }
    match filter.install()? {
        Some(listener) => link::send(link, &Message::Seccomp, Some(listener.as_fd())),
        None => Ok(()),
    }
}

/// The working directory must lie under our root: not one of the host, reached through a descriptor or a link (S9).
fn check_working_directory(cwd: &Path) -> Result<()> {
    match std::env::current_dir() {
        Ok(dir) if dir.is_absolute() => Ok(()),
        // Removed meanwhile, or unreachable from the root; the C library and the kernel tell the second in two ways.
        Ok(_) => bail!("cwd {} is outside of the container's root", cwd.display()),
        Err(error) => Err(error).with_context(|| format!("cwd {} is outside of the container's root", cwd.display())),
    }
}

/// Gives our pipes and terminals to the container's user, who may open `/proc/1/fd/1` again (X-E17). Where its user
/// namespace does not know us, only the verb can, from outside.
pub fn give_stdio(stdio: [BorrowedFd<'_>; 3], uid: u32) -> Result<()> {
    for (number, stdio) in stdio.into_iter().enumerate() {
        let Ok(meta) = fstat(stdio) else { continue };
        let pipe = SFlag::from_bits_truncate(meta.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFIFO;
        let ours = meta.st_uid == geteuid().as_raw() && meta.st_uid != uid;
        if !ours || !(pipe || nix::unistd::isatty(stdio).unwrap_or(false)) {
            continue;
        }
        match fchown(stdio, Some(Uid::from_raw(uid)), None) {
            // Made by someone whom our user namespace does not know, or on a read-only mount: it stays theirs.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => {}
            Err(errno) => return Err(errno).with_context(|| format!("give descriptor {number} to uid {uid}")),
        }
    }
    Ok(())
}

/// The environment of a process: the configured one (of a name given twice the last), HOME, and what tells of passed sockets.
pub fn environment(process: &Process, passwd: impl FnOnce() -> String, listen_fds: u32) -> Vec<String> {
    let configured = process.env().as_deref().unwrap_or_default();
    let name = |variable: &str| variable.split('=').next().unwrap_or("").to_owned();
    let mut seen = std::collections::HashSet::new();
    let mut environment: Vec<String> =
        configured.iter().rev().filter(|variable| seen.insert(name(variable))).cloned().collect();
    environment.reverse();
    if !environment.iter().any(|variable| variable.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        let home = user::home(&passwd(), process.user().uid()).unwrap_or_else(|| "/".to_owned());
        environment.retain(|variable| name(variable) != "HOME");
        environment.push(format!("HOME={home}"));
    }
    if listen_fds > 0 {
        environment.retain(|variable| !["LISTEN_FDS", "LISTEN_PID"].contains(&name(variable).as_str()));
        environment.push(format!("LISTEN_FDS={listen_fds}"));
        // sd_listen_fds(3): the program checks that it is meant. It is what getpid tells us: execve keeps it.
        environment.push(format!("LISTEN_PID={}", std::process::id()));
    }
    environment
}

/// Finds the program as execvp would, with runc's words where it cannot (P-01, X-E10).
pub fn look_up(process: &Process, environment: &[String]) -> Result<PathBuf, Failure> {
    let name = process.args().as_ref().and_then(|args| args.first()).map_or("", String::as_str);
    let failure = |errno: Errno, what: String| Failure {
        message: format!("exec: {name:?}: {what}"),
        code: if errno == Errno::ENOENT { 127 } else { 126 },
    };
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(errno @ Errno::ENOENT) => Err(failure(errno, format!("stat {name}: {}", words(errno)))),
            Err(errno) => Err(failure(errno, words(errno))),
        };
    }
    let path = environment.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("");
    // A relative directory would find whatever lies in the working directory.
    let directories = path.split(':').map(Path::new).filter(|directory| directory.is_absolute());
    let found = directories.map(|directory| directory.join(name)).find(|file| executable(file).is_ok());
    found.ok_or_else(|| failure(Errno::ENOENT, "executable file not found in $PATH".to_owned()))
}

fn executable(file: &Path) -> Result<(), Errno> {
    let meta = nix::sys::stat::stat(file)?;
    match SFlag::from_bits_truncate(meta.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Err(Errno::EISDIR),
        SFlag::S_IFREG => access(file, AccessFlags::X_OK),
        _ => Err(Errno::EACCES),
    }
}

/// An errno in the words of runc, which callers match. podman and docker know a directory by what newer releases of Go do not say
/// of it any more.
fn words(errno: Errno) -> String {
    match errno {
        Errno::EISDIR => "permission denied: is a directory".to_owned(),
        _ => errno.desc().to_lowercase(),
    }
}

/// Becomes the program. Returns only if the kernel will not have it.
pub fn exec(program: &Path, process: &Process, environment: &[String]) -> Result<Infallible, Failure> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |errno: Errno| Failure {
        message: format!("exec {}: {}", program.display(), words(errno)),
        code: if errno == Errno::ENOENT { 127 } else { 126 },
    };
    let strings = |list: &[String]| -> Result<Vec<CString>, Failure> {
        let strings = list.iter().map(|text| CString::new(text.as_bytes()));
        strings.collect::<Result<_, _>>().map_err(|_| failed(Errno::EINVAL))
    };
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
    let args = strings(process.args().as_deref().unwrap_or_default())?;
    execve(&path, &args, &strings(environment)?).map_err(failed)
}

/// Checks that the descriptors which our caller said it passes are there, before anything is made.
pub fn check_passed(count: u32) -> Result<()> {
    match (3..3 + count as i32).find(|number| !fd::is_inherited(*number)) {
        None => Ok(()),
        Some(number) => bail!("descriptor {number} is to be preserved but is not open"),
    }
}

/// How many sockets systemd-style activation passes on to a container (sd_listen_fds(3)), as runc does in create and run.
/// Those of another process are not ours to pass on.
pub fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u32>().ok());
    // podman names 1 where conmon does not name us.
    let ours = number("LISTEN_PID").is_some_and(|pid| pid == std::process::id() || pid == 1);
    number("LISTEN_FDS").filter(|count| ours && *count < 4096).unwrap_or(0)
}

/// Puts given descriptors in place of the standard ones.
pub fn place_stdio(stdio: Option<&[OwnedFd; 3]>) -> Result<()> {
    let Some(stdio) = stdio else { return Ok(()) };
    for (number, given) in stdio.iter().enumerate() {
        fd::put_at(given.as_fd(), number as i32).with_context(|| format!("put a descriptor at {number}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn process(args: serde_json::Value, env: serde_json::Value, uid: u32) -> Process {
        let user = json!({"uid": uid, "gid": 0});
        serde_json::from_value(json!({"args": args, "env": env, "cwd": "/", "user": user})).unwrap()
    }

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nweb:x:7:7::/srv/web:/bin/sh\n";

    fn env(env: serde_json::Value, uid: u32) -> Vec<String> {
        environment(&process(json!(["x"]), env, uid), || PASSWD.to_owned(), 0)
    }

    #[test]
    fn home_is_filled_in_where_it_is_unset_or_empty() {
        assert_eq!(env(json!(["A=1"]), 7), ["A=1", "HOME=/srv/web"]);
        assert_eq!(env(json!(["HOME=", "A=1"]), 0), ["A=1", "HOME=/root"]);
        assert_eq!(env(json!([]), 9), ["HOME=/"]);
        assert_eq!(env(json!(["HOME=/mine"]), 7), ["HOME=/mine"]);
    }

    #[test]
    fn of_a_variable_given_twice_the_last_counts_and_newlines_stay() {
        assert_eq!(env(json!(["A=1", "HOME=/", "B=x\ny=z", "A=2"]), 0), ["HOME=/", "B=x\ny=z", "A=2"]);
    }

    #[test]
    fn passed_sockets_are_told_to_the_program_itself() {
        let process = process(json!(["x"]), json!(["LISTEN_FDS=9", "HOME=/"]), 0);
        let pid = format!("LISTEN_PID={}", std::process::id());
        assert_eq!(environment(&process, String::new, 2), ["HOME=/", "LISTEN_FDS=2", pid.as_str()]);
        assert_eq!(environment(&process, String::new, 0), ["LISTEN_FDS=9", "HOME=/"]);
    }

    #[test]
    fn p_01_a_program_that_cannot_be_executed_is_told_in_the_words_of_runc() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (name, mode) in [("good", 0o755), ("bad", 0o644)] {
            std::fs::write(at(name), "").unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let look = |name: &str| {
            let env = [format!("PATH=/nonexistent:.:{}", dir.path().display())];
            look_up(&process(json!([name]), json!([]), 0), &env).map_err(|failure| (failure.message, failure.code))
        };
        assert_eq!(look("good").unwrap(), dir.path().join("good"));
        assert_eq!(look(&at("good")).unwrap(), dir.path().join("good"));
        let missing = |name: &str| (format!("exec: \"{name}\": executable file not found in $PATH"), 127);
        assert_eq!(look("nosuch").unwrap_err(), missing("nosuch"));
        assert_eq!(look("bad").unwrap_err(), missing("bad"));
        let no = at("no");
        assert_eq!(look(&no).unwrap_err(), (format!("exec: \"{no}\": stat {no}: no such file or directory"), 127));
        assert_eq!(look(&at("bad")).unwrap_err(), (format!("exec: \"{}\": permission denied", at("bad")), 126));
        assert_eq!(look("/tmp").unwrap_err(), ("exec: \"/tmp\": permission denied: is a directory".to_owned(), 126));
    }
}
