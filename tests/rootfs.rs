//! The root file system for real: as root, and as root of a user namespace that an unprivileged user made.
//!
//! Each test runs this same binary again below `unshare`, where the test `child` makes the root file system of a bundle,
//! enters it and runs a shell script in it. What the script prints is what the test sees. Nothing is mounted on the host.

mod common;

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use bookend::cgroup::Cgroup;
use bookend::container::bundle::Bundle;
use bookend::container::rootfs::{self, RootfsOptions, Sources};
use bookend::container::spec;
use common::{is_root, needs_root, skip};
use nix::fcntl::OFlag;
use serde_json::{Value, json};

const BEGIN: &str = "=== begin ===\n";
const END: &str = "=== end ===\n";
/// Somebody without rights.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, PartialEq)]
enum As {
    Root,
    User,
}

/// A bundle with busybox, in a directory that goes away.
struct Case {
    dir: tempfile::TempDir,
    config: Value,
    user: As,
    no_pivot: bool,
    /// A shell command around the program, which it calls RUN: what the host is like.
    host: String,
    owned: Cell<bool>,
    /// The path of a cgroup that exists and that a `cgroup` mount shows.
    cgroup: String,
}

impl Case {
    fn new(user: As) -> Case {
        let dir = tempfile::Builder::new().prefix("bookend-rootfs-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = spec::template(user == As::User);
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(false);
        let case = Case {
            dir,
            config,
            user,
            no_pivot: false,
            host: String::new(),
            owned: Cell::new(false),
            cgroup: String::new(),
        };
        fs::create_dir_all(case.rootfs().join("bin")).unwrap();
        fs::copy("/bin/busybox", case.rootfs().join("bin/busybox")).expect("busybox-static is installed");
        symlink("busybox", case.rootfs().join("bin/sh")).unwrap();
        case
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn mounts(&mut self) -> &mut Vec<Value> {
        self.config["mounts"].as_array_mut().unwrap()
    }

    fn mount(&mut self, destination: &str, kind: &str, source: &Path, options: &[&str]) {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.mounts().push(mount);
    }

    fn without_mount(&mut self, destination: &str) {
        self.mounts().retain(|mount| mount["destination"] != destination);
    }

    /// What `script` prints inside, or `ERROR: ` and why there is no inside.
    fn run(&self, script: &str) -> String {
        let user = self.user == As::User;
        fs::write(self.dir.path().join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
        // By descriptor: the unprivileged user may not be able to reach the build directory.
        let me = std::env::current_exe().unwrap();
        let mut command = Command::new("sh");
        if user && is_root() && !self.owned.replace(true) {
            let chown = format!("chown -R {NOBODY}:{NOBODY} {}", self.dir.path().display());
            assert!(Command::new("sh").args(["-c", &chown]).status().unwrap().success());
        }
        let drop = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups");
        let unshare = match (user, is_root()) {
            (false, _) => "unshare -mpfinu --propagation unchanged".to_owned(),
            (true, true) => format!("{drop} unshare -Urmpfiu --propagation unchanged"),
            (true, false) => "unshare -Urmpfiu --propagation unchanged".to_owned(),
        };
        let run = format!("{unshare} /proc/self/fd/8 --exact child --nocapture --test-threads=1");
        let host = if self.host.is_empty() { "RUN" } else { &self.host };
        let script_line = format!("exec 8<'{}'; {}", me.display(), host.replace("RUN", &run));
        let output = command
            .args(["-c", &script_line])
            .env("ROOTFS_TEST_BUNDLE", self.dir.path())
            .env("ROOTFS_TEST_SCRIPT", script)
            .env("ROOTFS_TEST_CGROUP", &self.cgroup)
            .env("ROOTFS_TEST_USER", if user { "yes" } else { "" })
            .env("ROOTFS_TEST_NO_PIVOT", if self.no_pivot { "yes" } else { "" })
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let inside = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(inside, _)| inside);
        match inside {
            Some(inside) => inside.to_owned(),
            None => panic!("no child: {text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    fn refused(&self) -> String {
        let output = self.run("echo ran");
        assert!(output.starts_with("ERROR: "), "it was not refused: {output}");
        output
    }
}

/// Root tests say so where there is no root; with root none is left out.
fn both() -> Vec<As> {
    if is_root() {
        return vec![As::Root, As::User];
    }
    eprintln!("not root: only the user namespace is tested");
    vec![As::User]
}

/// Not a test but the other half of all of them.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("ROOTFS_TEST_BUNDLE") else { return };
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let user = set("ROOTFS_TEST_USER");
    let options = RootfsOptions { no_pivot: set("ROOTFS_TEST_NO_PIVOT"), user_namespace: user, ..Default::default() };
    let made = Bundle::load(Path::new(&dir)).and_then(|bundle| {
        let sources = Sources::open(&bundle, None)?;
        let cgroup = match std::env::var("ROOTFS_TEST_CGROUP").unwrap() {
            none if none.is_empty() => Cgroup::none(),
            path => Cgroup::plan(Some(Path::new(&path)), "test", false)?,
        };
        rootfs::set_up(&bundle, sources, &cgroup.mounts_for_container(), &options)?;
        if bundle.config.process().as_ref().unwrap().terminal() == Some(true) {
            rootfs::console(terminal()?.as_fd())?;
        }
        rootfs::change_directory(bundle.config.process().as_ref().unwrap().cwd())?;
        Ok(bundle)
    });
    print!("\n{BEGIN}");
    match made {
        Err(error) => println!("ERROR: {error:#}"),
        Ok(bundle) => {
            let script = std::env::var("ROOTFS_TEST_SCRIPT").unwrap();
            if script.contains("FRESH_PROC") {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
                if let Err(error) = rootfs::fresh_proc(&bundle.config) {
                    println!("ERROR: {error:#}");
                }
            }
            // Not the /dev/null inside, which is no device where the bundle is on a file system with nodev.
            let output =
                Command::new("/bin/busybox").args(["sh", "-c", &script]).stdin(Stdio::inherit()).output().unwrap();
            print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
    }
    print!("{END}");
}

/// The container's side of a terminal of the container's own devpts. The master stays open as long as this process.
fn terminal() -> anyhow::Result<OwnedFd> {
    let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY)?;
    nix::pty::unlockpt(&master)?;
    let name = nix::pty::ptsname_r(&master)?;
    std::mem::forget(master);
    Ok(nix::fcntl::open(name.as_str(), OFlag::O_RDWR | OFlag::O_NOCTTY, nix::sys::stat::Mode::empty())?)
}

/// Options and superblock of the topmost mount at `place`, by `busybox` inside.
fn options_of(place: &str) -> String {
    format!("/bin/busybox awk '$2 == \"{place}\" {{o = $3 \" \" $4}} END {{print o}}' /proc/mounts")
}

#[test]
fn the_template_gives_a_root_file_system_with_everything_in_it() {
    for user in both() {
        let case = Case::new(user);
        let output = case.run(
            "cd /dev; for n in null zero full random urandom tty; do busybox stat -c '%n %F %t:%T %a' $n; done;
             for l in fd stdin stdout stderr ptmx; do echo $l $(busybox readlink $l); done;
             busybox ls -A /; busybox awk '{print $2, $3}' /proc/mounts; echo x > /dev/null && busybox head -c 3 /dev/zero | busybox wc -c",
        );
        for line in [
            "null character special file 1:3 666",
            "zero character special file 1:5 666",
            "full character special file 1:7 666",
            "random character special file 1:8 666",
            "urandom character special file 1:9 666",
            "tty character special file 5:0 666",
            "fd /proc/self/fd",
            "stdin /proc/self/fd/0",
            "ptmx pts/ptmx",
            "/proc proc",
            "/dev tmpfs",
            "/dev/pts devpts",
            "/dev/shm tmpfs",
            "/dev/mqueue mqueue",
            "/sys sysfs",
            "/sys/fs/cgroup tmpfs",
            "3",
        ] {
            assert!(output.lines().any(|found| found == line), "{line:?} is missing:\n{output}");
        }
        assert!(!output.contains("bookend-rootfs-"), "the host's mounts are gone:\n{output}");
    }
}

#[test]
fn masked_and_read_only_paths_hide_and_protect() {
    for user in both() {
        let mut case = Case::new(user);
        fs::create_dir(case.rootfs().join("secret")).unwrap();
        fs::write(case.rootfs().join("secret/file"), "marker").unwrap();
        fs::write(case.rootfs().join("plain"), "marker").unwrap();
        let masked = case.config["linux"]["maskedPaths"].as_array_mut().unwrap();
        masked
            .extend(["/secret", "/plain", "/plain", "/secret", "/not/there", "/proc/version"].map(|path| json!(path)));
        let output = case.run(
            "echo ran; echo x > /secret/y; echo core > /proc/sys/kernel/core_pattern; busybox cat /plain /proc/version;
             busybox ls /secret; busybox stat -c '%F %t:%T' /plain /proc/version",
        );
        assert!(output.starts_with("ran\ncharacter special file 1:3\ncharacter special file 1:3\n"), "{output}");
        assert!(!output.contains("marker") && !output.contains("file\n/") && !output.contains("Linux"), "{output}");
        assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    }
}

#[test]
fn a_read_only_root_is_read_only_and_its_tmpfs_are_not() {
    for user in both() {
        let mut case = Case::new(user);
        case.config["root"]["readonly"] = json!(true);
        fs::create_dir_all(case.rootfs().join("data")).unwrap();
        let output = case.run("echo x > /data/x || echo refused; echo x > /dev/shm/x && busybox cat /dev/shm/x");
        assert!(output.contains("Read-only") && output.contains("refused\nx\n"), "{output}");
    }
}

#[test]
fn a_read_only_dev_has_all_devices_and_refuses_more() {
    for user in both() {
        let mut case = Case::new(user);
        case.mounts()[1]["options"] = json!(["nosuid", "ro", "mode=755"]);
        let output = case.run("busybox stat -c %F /dev/tty /dev/pts; echo x > /dev/x");
        assert!(output.starts_with("character special file\ndirectory\n"), "{output}");
        assert!(output.contains("Read-only file system"), "{output}");
    }
}

#[test]
fn bind_mounts_have_their_options() {
    for user in both() {
        for (options, expected) in [
            (&["bind"][..], "rw"),
            (&["bind", "ro"], "ro"),
            (&["rbind", "nosuid", "nodev", "noexec"], "rw,nosuid,nodev,noexec"),
            (&["rbind", "rro"], "ro"),
            (&["rbind", "rnosuid", "rnoexec", "ro"], "ro,nosuid,noexec"),
            (&["bind", "nosymfollow"], "rw"),
        ] {
            let mut case = Case::new(user);
            let source = case.dir.path().join("source");
            fs::create_dir(&source).unwrap();
            fs::write(source.join("file"), "content\n").unwrap();
            case.mount("/made/for/it", "bind", &source, options);
            let output = case.run(&format!("busybox cat /made/for/it/file; {}", options_of("/made/for/it")));
            let (content, flags) = output.split_once('\n').unwrap();
            assert_eq!(content, "content", "{output}");
            let flags = flags.split(' ').nth(1).unwrap_or("");
            for flag in expected.split(',') {
                assert!(flags.split(',').any(|found| found == flag), "{options:?}: {output}");
            }
        }
    }
}

/// A host of our own in which SOURCE is a tmpfs with another one in `sub`.
fn nested_source(case: &mut Case) -> PathBuf {
    let source = case.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let mounts = "mount -t tmpfs tmpfs SOURCE && mkdir SOURCE/sub && mount -t tmpfs tmpfs SOURCE/sub";
    case.host = format!("unshare -m sh -c '{mounts} && RUN'").replace("SOURCE", source.to_str().unwrap());
    source
}

/// The flags of every mount, by mountinfo: `PLACE FLAGS`.
const MOUNT_FLAGS: &str = "busybox awk '{print $5, $6}' /proc/self/mountinfo";

#[test]
fn every_recursive_option_reaches_the_mounts_below_and_its_plain_form_does_not() {
    if !needs_root("every_recursive_option_reaches_the_mounts_below_and_its_plain_form_does_not") {
        return;
    }
    let restricting = [("ro", "ro"), ("nosuid", "nosuid"), ("nodev", "nodev"), ("noexec", "noexec")];
    // Access times of the host's mounts are locked in a user namespace.
    let more = [
        ("nosymfollow", "nosymfollow"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("relatime", "relatime"),
        ("strictatime", "rw"),
    ];
    for user in both() {
        let mut case = Case::new(user);
        let source = nested_source(&mut case);
        let table: Vec<_> = restricting.iter().chain(if user == As::Root { &more[..] } else { &[] }).collect();
        for (option, _) in &table {
            case.mount(&format!("/plain-{option}"), "bind", &source, &["rbind", option]);
            case.mount(&format!("/deep-{option}"), "bind", &source, &["rbind", &format!("r{option}")]);
        }
        let output = case.run(MOUNT_FLAGS);
        let flags = |place: String| {
            let line = output.lines().find_map(|line| line.strip_prefix(&format!("{place} ")));
            line.unwrap_or_else(|| panic!("{place} is missing:\n{output}")).split(',').collect::<Vec<_>>()
        };
        for (option, shown) in table {
            let has = |place: &str| flags(format!("{place}-{option}")).contains(shown);
            assert!(has("/plain") && has("/deep"), "{option}:\n{output}");
            let below = |place: &str| flags(format!("{place}-{option}/sub"));
            assert!(below("/deep").contains(shown), "r{option}:\n{output}");
            let is_default = ["relatime", "rw"].contains(shown);
            assert!(is_default || !below("/plain").contains(shown), "{option} went down:\n{output}");
            assert!(*option != "strictatime" || !below("/deep").contains(&"relatime"), "{output}");
        }
    }
}

#[test]
fn what_a_later_option_takes_back_is_off_for_the_mounts_below_too() {
    if !needs_root("what_a_later_option_takes_back_is_off_for_the_mounts_below_too") {
        return;
    }
    let mut case = Case::new(As::Root);
    let source = nested_source(&mut case);
    let set = "ro,nosuid,nodev,noexec,nodiratime,nosymfollow,noatime";
    case.host = case.host.replace(
        "&& RUN",
        &format!("&& for m in {0} {0}/sub; do mount -o remount,bind,{set} $m; done && RUN", source.display()),
    );
    let options = ["rbind", "rrw", "rsuid", "rdev", "rexec", "rdiratime", "rsymfollow", "rrelatime"];
    case.mount("/v", "bind", &source, &options);
    let output = case.run(MOUNT_FLAGS);
    for line in ["/v rw,relatime", "/v/sub rw,relatime"] {
        assert!(output.lines().any(|found| found == line), "{line} is missing:\n{output}");
    }
}

#[test]
fn options_of_the_superblock_are_the_file_systems() {
    for user in both() {
        let mut case = Case::new(user);
        let options = ["sync", "lazytime", "silent", "loud", "mand", "nomand", "size=64k", "nosymfollow", "rnoexec"];
        case.mount("/t", "tmpfs", Path::new("here"), &options);
        let line = case.run("busybox awk '$5 == \"/t\" {print $6, $(NF - 2), $(NF - 1), $NF}' /proc/self/mountinfo");
        let [mount, kind, source, superblock] = line.trim_end().split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!((kind, source), ("tmpfs", "here"));
        assert!(mount.contains("noexec") && mount.contains("nosymfollow"), "{line}");
        for option in ["sync", "lazytime", "size=64k"] {
            assert!(superblock.split(',').any(|found| found == option), "{option}: {line}");
        }
    }
}

#[test]
fn a_remount_changes_what_it_names_and_keeps_the_rest() {
    for user in both() {
        let mut case = Case::new(user);
        case.mount("/t", "tmpfs", Path::new("tmpfs"), &["nosuid", "noexec"]);
        case.mount("/t", "none", Path::new("none"), &["remount", "ro", "exec"]);
        let output = case.run("busybox awk '$5 == \"/t\" {print $6}' /proc/self/mountinfo; echo x > /t/x");
        assert!(output.starts_with("ro,nosuid,relatime\n") && output.contains("Read-only"), "{output}");
        let mut case = Case::new(user);
        fs::create_dir(case.rootfs().join("plain")).unwrap();
        case.mount("/plain", "none", Path::new("none"), &["remount", "ro"]);
        assert!(case.refused().contains("remount /plain: nothing is mounted there"), "{}", case.refused());
    }
}

#[test]
fn a_remount_with_a_recursive_option_reaches_what_is_mounted_below() {
    for user in both() {
        let mut case = Case::new(user);
        case.mount("/t", "tmpfs", Path::new("tmpfs"), &[]);
        case.mount("/t/below", "tmpfs", Path::new("tmpfs"), &[]);
        case.mount("/t", "none", Path::new("none"), &["remount", "rro"]);
        let output = case.run("echo x > /t/x; echo x > /t/below/x");
        assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    }
}

#[test]
fn a_tmpfs_can_begin_with_what_it_covers() {
    for user in both() {
        let mut case = Case::new(user);
        let dir = case.rootfs().join("data");
        fs::create_dir_all(dir.join("deep/er")).unwrap();
        fs::write(dir.join("deep/er/file"), "content\n").unwrap();
        fs::set_permissions(dir.join("deep/er/file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(dir.join("deep"), fs::Permissions::from_mode(0o2751)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o1770)).unwrap();
        symlink("/etc/passwd", dir.join("link")).unwrap();
        assert!(Command::new("mkfifo").arg(dir.join("fifo")).status().unwrap().success());
        assert!(Command::new("touch").args(["-d", "@86400"]).arg(dir.join("deep/er/file")).status().unwrap().success());
        rustix::fs::setxattr(dir.join("deep/er/file"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
        if user == As::Root {
            std::os::unix::fs::lchown(dir.join("deep/er/file"), Some(7), Some(8)).unwrap();
            std::os::unix::fs::lchown(dir.join("link"), Some(9), Some(9)).unwrap();
        }
        case.mount("/data", "tmpfs", Path::new("tmpfs"), &["tmpcopyup", "size=1m"]);
        let output = case.run(
            "cd /data; busybox cat deep/er/file; busybox stat -c '%n %F %a %u:%g' . deep deep/er/file fifo link; \
             busybox stat -c %Y deep/er/file; busybox readlink link; busybox stat -f -c %T .; echo new > new && echo written",
        );
        let (file, link) = if user == As::Root { ("7:8", "9:9") } else { ("0:0", "0:0") };
        let expected = format!(
            "content\n. directory 1770 0:0\ndeep directory 2751 0:0\ndeep/er/file regular file 640 {file}\n\
             fifo fifo 644 0:0\nlink symbolic link 777 {link}\n86400\n/etc/passwd\ntmpfs\nwritten\n"
        );
        assert_eq!(output, expected);
        assert!(!dir.join("new").exists(), "the image stays as it was");
    }
}

/// podman asks for `tmpcopyup` with each --tmpfs.
#[test]
fn a_tmpfs_that_is_copied_up_has_the_mode_and_owner_of_its_options() {
    for user in both() {
        let mut case = Case::new(user);
        fs::create_dir_all(case.rootfs().join("old")).unwrap();
        fs::set_permissions(case.rootfs().join("old"), fs::Permissions::from_mode(0o750)).unwrap();
        let places: [(&str, &[&str]); 5] = [
            ("/new", &["tmpcopyup"]),
            ("/narrow", &["tmpcopyup", "mode=700"]),
            ("/old", &["tmpcopyup"]),
            ("/old", &["tmpcopyup", "mode=1777"]),
            ("/old", &["tmpcopyup", "uid=0", "gid=0", "mode=711"]),
        ];
        let modes = places.map(|(place, options)| {
            case.mount(place, "tmpfs", Path::new("tmpfs"), options);
            case.run(&format!("busybox stat -c '%a %u:%g' {place}")).trim().to_owned()
        });
        assert_eq!(modes, ["1777 0:0", "700 0:0", "750 0:0", "1777 0:0", "711 0:0"]);
    }
}

#[test]
fn what_is_mounted_below_is_not_copied_up_whatever_file_system_it_is_of() {
    for user in both() {
        let mut case = Case::new(user);
        let data = case.rootfs().join("data");
        fs::create_dir_all(data.join("inner")).unwrap();
        fs::write(data.join("file"), "of the image\n").unwrap();
        fs::write(data.join("own"), "of the image\n").unwrap();
        // Of the same file system as the image.
        let volume = case.rootfs().parent().unwrap().join("volume");
        fs::create_dir_all(&volume).unwrap();
        fs::write(volume.join("secret"), "of a volume\n").unwrap();
        case.mount("/data/inner", "bind", &volume, &["bind"]);
        case.mount("/data/file", "bind", &volume.join("secret"), &["bind"]);
        case.mount("/data", "tmpfs", Path::new("tmpfs"), &["tmpcopyup", "size=1m"]);
        let output = case.run("cd /data; busybox ls -A inner; busybox cat file own; busybox ls -A");
        assert_eq!(output, "of the image\nfile\ninner\nown\n");
    }
}

#[test]
fn an_attribute_that_a_tmpfs_cannot_hold_is_left_out_of_its_copy() {
    for user in both() {
        let mut case = Case::new(user);
        let file = case.rootfs().join("data/file");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, "content\n").unwrap();
        // acl(5) as posix_acl_xattr.h writes it: rw for the owner, r for user 4711, who is not in the user namespace.
        let entry =
            |tag: u16, mode: u16, id: u32| [&tag.to_le_bytes()[..], &mode.to_le_bytes(), &id.to_le_bytes()].concat();
        let none = u32::MAX;
        let entries = [entry(1, 6, none), entry(2, 4, 4711), entry(4, 0, none), entry(16, 4, none), entry(32, 0, none)];
        let acl = [&2u32.to_le_bytes()[..], &entries.concat()].concat();
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(&file, "system.posix_acl_access", &acl, flags).is_err() {
            println!("this file system has no ACLs");
            return;
        }
        case.mount("/data", "tmpfs", Path::new("tmpfs"), &["tmpcopyup", "size=1m"]);
        // The group may do nothing, and without the ACL its bits must not be those of the mask.
        let mode = if user == As::Root { "640" } else { "600" };
        let output = case.run("cd /data; busybox cat file; busybox stat -f -c %T .; busybox stat -c %a file");
        assert_eq!(output, format!("content\ntmpfs\n{mode}\n"));
    }
}

#[test]
fn a_copy_that_does_not_fit_or_has_no_end_is_an_error() {
    for user in both() {
        let mut case = Case::new(user);
        fs::create_dir(case.rootfs().join("data")).unwrap();
        fs::write(case.rootfs().join("data/big"), vec![b'x'; 200_000]).unwrap();
        case.mount("/data", "tmpfs", Path::new("tmpfs"), &["tmpcopyup", "size=64k"]);
        let error = case.refused();
        assert!(error.contains("mount tmpfs on /data: tmpcopyup: copy \"big\": No space left"), "{error}");
        let mut case = Case::new(user);
        let mut deep = case.rootfs().join("data");
        (0..140).for_each(|_| deep.push("d"));
        fs::create_dir_all(&deep).unwrap();
        case.mount("/data", "tmpfs", Path::new("tmpfs"), &["tmpcopyup"]);
        assert!(case.refused().contains("nested more than 128 deep"), "{}", case.refused());
    }
}

#[test]
fn links_at_both_ends_of_a_bind_can_be_kept() {
    for user in both() {
        let mut case = Case::new(user);
        let source = case.dir.path().join("source");
        symlink("/bin/busybox", &source).unwrap();
        symlink("nowhere", case.rootfs().join("there")).unwrap();
        let file = case.dir.path().join("file");
        fs::write(&file, "content\n").unwrap();
        case.mount("/made/again", "bind", &source, &["bind", "copy-symlink"]);
        case.mount("/mounted", "bind", &source, &["bind", "src-nofollow"]);
        case.mount("/there", "bind", &file, &["bind", "dest-nofollow"]);
        case.mount("/also/followed", "bind", &file, &["bind", "copy-symlink", "dest-nofollow"]);
        let output = case.run("for l in /made/again /mounted; do busybox readlink $l; done; busybox cat /there /also/followed; busybox ls /");
        assert!(output.starts_with("/bin/busybox\n/bin/busybox\ncontent\ncontent\n"), "{output}");
        assert!(!output.contains("nowhere"), "{output}");
        // What is there already must be the same link.
        assert_eq!(case.run("echo ran"), "ran\n");
        fs::remove_file(&source).unwrap();
        symlink("/elsewhere", &source).unwrap();
        let error = case.refused();
        assert!(error.contains("something else than a link to /elsewhere is there"), "{error}");
    }
}

#[test]
fn missing_places_inherit_the_group_of_a_set_gid_directory() {
    let mut case = Case::new(As::User);
    let shared = case.rootfs().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
    case.mount("/shared/made/here", "tmpfs", Path::new("tmpfs"), &[]);
    assert_eq!(case.run("busybox stat -c %a /shared/made"), "2755\n");
}

#[test]
fn a_file_is_bound_on_a_file_that_is_made_for_it() {
    for user in both() {
        let mut case = Case::new(user);
        let source = case.dir.path().join("hosts");
        fs::write(&source, "127.0.0.1 me\n").unwrap();
        case.mount("/etc/hosts", "bind", &source, &["rbind", "ro"]);
        assert_eq!(case.run("busybox cat /etc/hosts"), "127.0.0.1 me\n");
    }
}

#[test]
fn a_missing_source_is_told_with_its_mount() {
    for user in both() {
        let mut case = Case::new(user);
        case.mount("/data", "bind", Path::new("/nonexistent"), &["rbind"]);
        let error = case.refused();
        assert!(error.contains("bind mount on /data: open /nonexistent: No such file"), "{error}");
        assert!(!case.rootfs().join("data").exists());
    }
}

#[test]
fn an_option_that_the_file_system_does_not_know_is_an_error_in_its_words() {
    for user in both() {
        let mut case = Case::new(user);
        case.mount("/t", "tmpfs", Path::new("tmpfs"), &["nosuidd"]);
        let error = case.refused();
        assert!(error.contains("mount tmpfs on /t") && error.contains("nosuidd"), "{error}");
    }
}

#[test]
fn a_tmpfs_takes_the_mode_of_what_it_covers() {
    for user in both() {
        let mut case = Case::new(user);
        fs::create_dir(case.rootfs().join("kept")).unwrap();
        fs::set_permissions(case.rootfs().join("kept"), fs::Permissions::from_mode(0o751)).unwrap();
        for (place, options) in [("/kept", &[][..]), ("/new", &[]), ("/given", &["mode=711"])] {
            case.mount(place, "tmpfs", Path::new("tmpfs"), options);
        }
        assert_eq!(case.run("busybox stat -c %a /kept /new /given"), "751\n1777\n711\n");
    }
}

#[test]
fn mounts_through_links_stay_inside_also_dangling_ones() {
    for user in both() {
        let mut case = Case::new(user);
        let outside = case.dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, case.rootfs().join("absolute")).unwrap();
        symlink("../../../../outside", case.rootfs().join("relative")).unwrap();
        fs::create_dir(case.rootfs().join("target")).unwrap();
        symlink("/target", case.rootfs().join("inside")).unwrap();
        for place in ["/absolute/a", "/relative/b", "/inside"] {
            case.mount(place, "tmpfs", Path::new("tmpfs"), &[]);
        }
        let output = case.run("busybox awk '$3 == \"tmpfs\" {print $2}' /proc/mounts");
        assert!(output.contains("/target\n") && output.contains("/outside/b\n"), "{output}");
        assert!(output.contains(&format!("{}/a\n", outside.display())), "{output}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

#[test]
fn s_02_a_proc_or_sys_that_is_a_link_is_refused() {
    for user in both() {
        for (name, target) in
            [("proc", "/real"), ("proc", "real"), ("proc", "/dangling"), ("sys", "/real"), ("sys", "chain")]
        {
            let case = Case::new(user);
            fs::create_dir(case.rootfs().join("real")).unwrap();
            symlink("real", case.rootfs().join("chain")).unwrap();
            symlink(target, case.rootfs().join(name)).unwrap();
            let error = case.refused();
            assert!(error.contains("symbolic link"), "{name} -> {target}: {error}");
            assert!(!case.rootfs().join("dangling").exists());
        }
    }
}

#[test]
fn s_02_nothing_may_cover_proc() {
    for user in both() {
        for (place, kind) in [
            ("/proc", "tmpfs"),
            ("/proc/self/attr", "tmpfs"),
            ("/proc/sys/kernel", "bind"),
            ("/proc/missing", "bind"),
            ("/", "tmpfs"),
            ("/p", "tmpfs"),
        ] {
            let mut case = Case::new(user);
            symlink("/proc", case.rootfs().join("p")).unwrap();
            let source = case.dir.path().to_owned();
            case.mount(place, kind, if kind == "bind" { &source } else { Path::new(kind) }, &[]);
            let error = case.refused();
            assert!(error.contains("refused"), "{place}: {error}");
        }
    }
}

#[test]
fn the_root_at_another_place_is_a_place_like_others() {
    if !needs_root("the_root_at_another_place_is_a_place_like_others") {
        return;
    }
    let mut case = Case::new(As::Root);
    let rootfs = case.rootfs();
    case.mount("/self", "bind", &rootfs, &["rbind"]);
    case.mount("/self/below", "tmpfs", Path::new("tmpfs"), &[]);
    case.config["linux"]["readonlyPaths"] = json!(["/self"]);
    // Without mount_setattr what is mounted below stays as it is.
    let output = case.run("echo x > /self/x");
    assert!(output.contains("Read-only file system"), "{output}");
    case.config["linux"]["maskedPaths"] = json!(["/self"]);
    assert_eq!(case.run("busybox ls -A /self"), "");
}

/// What is mounted upon the root is not where processes begin.
#[test]
fn the_root_can_be_among_the_read_only_paths_and_not_among_the_masked_ones() {
    for user in both() {
        for path in ["/", "/bin/.."] {
            let mut case = Case::new(user);
            case.config["linux"]["readonlyPaths"] = json!([path]);
            let output = case.run("echo x > /x; echo x > /dev/shm/x && echo below");
            assert!(output.contains("/x: Read-only file system") && output.contains("below"), "{output}");
            let mut case = Case::new(user);
            case.config["linux"]["maskedPaths"] = json!([path]);
            assert!(
                case.refused().contains(&format!("mask {path}: it is the root itself; refused")),
                "{}",
                case.refused()
            );
        }
    }
}

#[test]
fn files_of_proc_that_only_inform_may_be_covered() {
    for user in both() {
        let mut case = Case::new(user);
        let source = case.dir.path().join("cpuinfo");
        fs::write(&source, "one\n").unwrap();
        case.mount("/proc/cpuinfo", "bind", &source, &["bind", "ro"]);
        assert_eq!(case.run("busybox cat /proc/cpuinfo"), "one\n");
    }
}

#[test]
fn s_06_a_dev_that_is_a_link_leads_nowhere_outside() {
    for user in both() {
        for place in ["dev", "dev/pts", "dev/shm", "dev/mqueue", "dev/fd"] {
            let mut case = Case::new(user);
            let outside = case.dir.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("ptmx"), "marker").unwrap();
            for mount in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                case.without_mount(mount);
            }
            let link = case.rootfs().join(place);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&outside, link).unwrap();
            let output = case.run("echo ran");
            assert!(output.contains("ran"), "{place}: {output}");
            let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["ptmx"], "{place}");
            assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "marker");
        }
    }
}

#[test]
fn s_07_a_false_null_of_the_image_masks_nothing_and_is_refused() {
    for user in both() {
        let mut case = Case::new(user);
        for mount in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            case.without_mount(mount);
        }
        fs::create_dir(case.rootfs().join("dev")).unwrap();
        fs::write(case.rootfs().join("dev/null"), "marker").unwrap();
        fs::write(case.rootfs().join("secret"), "known").unwrap();
        case.config["linux"]["maskedPaths"] = json!(["/secret"]);
        let output = case.run("echo ran; busybox cat /secret /dev/null; busybox stat -c '%F %t:%T' /dev/null");
        assert!(!output.contains("known") && !output.contains("marker"), "{output}");
        // Root makes nodes and finds something else; in a user namespace the host's is bound over it.
        match user {
            As::Root => assert!(output.starts_with("ERROR: device /dev/null: what is there is"), "{output}"),
            As::User => assert_eq!(output, "ran\ncharacter special file 1:3\n"),
        }
    }
}

/// Exchanges `one` and `other` until dropped.
struct Racer(std::sync::Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Racer {
    fn start(one: PathBuf, other: PathBuf) -> Racer {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut rounds = 0;
            while !told.load(Ordering::Relaxed) {
                let (one, other) = (&one, &other);
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                if rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, exchange).is_ok() {
                    rounds += 1;
                }
            }
            rounds
        });
        Racer(stop, Some(thread))
    }

    fn stop(mut self) -> u64 {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

#[test]
fn s_04_s_05_a_volume_that_is_swapped_for_a_link_leads_nowhere_outside() {
    for user in both() {
        let mut case = Case::new(user);
        let outside = case.dir.path().join("outside");
        let volume = case.dir.path().join("volume");
        fs::create_dir(&outside).unwrap();
        fs::create_dir_all(volume.join("x")).unwrap();
        // Up and out, far enough from wherever the volume is mounted.
        symlink(format!("../../../../../..{}", outside.display()), volume.join("link")).unwrap();
        case.mount("/vol", "bind", &volume, &["rbind"]);
        case.mount("/vol/x/y", "tmpfs", Path::new("tmpfs"), &[]);
        case.mount("/vol/x/z/deep", "tmpfs", Path::new("tmpfs"), &[]);
        case.run("echo ran");
        let racer = Racer::start(volume.join("x"), volume.join("link"));
        let mut ran = 0;
        for _ in 0..25 {
            let output = case.run("echo ran; busybox ls /vol/x/y");
            ran += usize::from(output.starts_with("ran"));
            assert!(!output.contains("rootfs"), "the host is visible: {output}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        }
        assert!(racer.stop() > 100 && ran > 0, "the race took place: {ran} containers ran");
    }
}

#[test]
fn s_26_the_hosts_mount_table_is_as_before_whatever_is_shared() {
    if !needs_root("s_26_the_hosts_mount_table_is_as_before_whatever_is_shared") {
        return;
    }
    for propagation in ["", "rslave", "rshared", "rprivate", "unbindable"] {
        let mut case = Case::new(As::Root);
        case.config["linux"]["rootfsPropagation"] = json!(propagation);
        // A host of our own, where everything is shared.
        case.host = "unshare -m --propagation shared sh -c 'cat /proc/self/mountinfo | cut -d\" \" -f 3-6 > TABLE.before; RUN;
                     cat /proc/self/mountinfo | cut -d\" \" -f 3-6 > TABLE.after; cmp TABLE.before TABLE.after || cat TABLE.after'"
            .replace("TABLE", case.dir.path().join("table").to_str().unwrap());
        let output = case.run("echo ran; busybox awk '$5 == \"/\" {print $0}' /proc/self/mountinfo");
        assert!(output.starts_with("ran\n"), "{propagation}: {output}");
        assert_eq!(output.contains("shared:"), propagation == "rshared", "{propagation}: {output}");
        // config-linux.md "Rootfs Mount Propagation": then the host's later mounts are received.
        assert_eq!(output.contains("master:"), propagation == "rslave", "{propagation}: {output}");
        let table = |name: &str| fs::read_to_string(case.dir.path().join(name)).unwrap();
        assert!(!table("table.before").is_empty());
        assert_eq!(table("table.before"), table("table.after"), "{propagation}");
    }
}

#[test]
fn s_21_flags_of_the_source_are_kept() {
    if !needs_root("s_21_flags_of_the_source_are_kept") {
        return;
    }
    for user in both() {
        let flags = ["ro", "nosuid", "nodev", "noexec"];
        for bits in 0..16 {
            let given: Vec<&str> = (0..4).filter(|bit| bits & (1 << bit) != 0).map(|bit| flags[bit]).collect();
            let mut case = Case::new(user);
            let source = case.dir.path().join("source");
            fs::create_dir(&source).unwrap();
            let options = if given.is_empty() { "rw".to_owned() } else { given.join(",") };
            case.host = format!("unshare -m sh -c 'mount -t tmpfs -o {options} tmpfs {} && RUN'", source.display());
            case.mount("/v", "bind", &source, &["bind", "nosuid"]);
            let output = case.run(&options_of("/v"));
            for flag in given {
                assert!(output.contains(flag), "{options}: {output}");
            }
        }
    }
}

#[test]
fn without_pivot_root_the_hosts_proc_is_out_of_sight() {
    for user in both() {
        let mut case = Case::new(user);
        case.no_pivot = true;
        let output = case.run("busybox ls -d /proc/self /bin/busybox; busybox ls /");
        assert!(output.starts_with("/bin/busybox\n/proc/self\n") || output.starts_with("/proc/self\n"), "{output}");
        assert!(!output.contains("usr\n"), "{output}");
    }
}

#[test]
fn o_03_s_27_a_fresh_proc_is_masked_as_the_old_one() {
    for user in both() {
        let mut case = Case::new(user);
        case.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/proc/version"));
        let output = case.run(
            "echo FRESH_PROC; busybox grep -c ' /proc proc' /proc/mounts; busybox stat -c '%F %t:%T' /proc/version;
             echo x > /proc/sys/kernel/core_pattern;
             for f in $(busybox find /proc/sys -type f); do (echo x > $f) 2>/dev/null && echo WRITTEN $f; done; true",
        );
        assert!(output.starts_with("FRESH_PROC\n2\ncharacter special file 1:3\n"), "{output}");
        assert_eq!(output.matches("Read-only file system").count(), 1, "{output}");
        assert!(!output.contains("WRITTEN"), "{output}");
    }
}

#[test]
fn linux_5_10_without_mount_setattr_and_openat2_is_enough() {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("linux_5_10_without_mount_setattr_and_openat2_is_enough", "needs strace");
        return;
    }
    for user in both() {
        let mut case = Case::new(user);
        case.host =
            "strace -f -o /dev/null -e trace=mount_setattr,openat2 -e inject=mount_setattr,openat2:error=ENOSYS RUN"
                .into();
        case.config["root"]["readonly"] = json!(true);
        let source = case.dir.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::create_dir_all(case.rootfs().join("v")).unwrap();
        case.mount("/v", "bind", &source, &["rbind", "rprivate", "ro", "nosuid"]);
        let output = case.run(&format!(
            "{}; {}; echo x > /proc/sys/kernel/core_pattern; echo x > /x",
            options_of("/v"),
            options_of("/proc/sys")
        ));
        // A place that is missing can be made, since the root becomes read-only last.
        assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
        let mut lines = output.lines();
        let flags = lines.next().unwrap();
        assert!(flags.contains("ro") && flags.contains("nosuid"), "{output}");
        assert!(lines.next().unwrap().starts_with("proc ro"), "{output}");
    }
}

#[test]
fn devices_of_the_configuration_are_made_with_mode_and_owner() {
    if !needs_root("devices_of_the_configuration_are_made_with_mode_and_owner") {
        return;
    }
    let mut case = Case::new(As::Root);
    case.config["linux"]["devices"] = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
        {"path": "/dev/deep/er/fifo", "type": "p", "fileMode": 0o622},
        {"path": "/dev/loop-like", "type": "b", "major": 7, "minor": 9}
    ]);
    let output =
        case.run("busybox stat -c '%n %F %t:%T %a %u:%g' /dev/mine /dev/null /dev/deep/er/fifo /dev/loop-like");
    assert_eq!(
        output,
        "/dev/mine character special file 1:5 640 7:8\n/dev/null character special file 1:3 600 0:0\n\
         /dev/deep/er/fifo fifo 0:0 622 0:0\n/dev/loop-like block special file 7:9 666 0:0\n"
    );
}

/// A file of the host's that is bound at the place of a device is not the container's to give away.
#[test]
fn a_node_that_is_there_already_keeps_its_mode_and_owner() {
    if !needs_root("a_node_that_is_there_already_keeps_its_mode_and_owner") {
        return;
    }
    let mut case = Case::new(As::Root);
    let node = case.rootfs().parent().unwrap().join("fuse");
    let made = Command::new("mknod").args(["-m", "600"]).arg(&node).args(["c", "10", "229"]).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::chown(&node, Some(7), Some(8)).unwrap();
    case.mount("/dev/fuse", "bind", &node, &["bind"]);
    case.config["linux"]["devices"] = json!([
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]);
    assert_eq!(case.run("busybox stat -c '%a %u:%g' /dev/fuse"), "600 7:8\n");
    let meta = fs::metadata(&node).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o600, 7, 8));
    // It may also be on a read-only mount, as podman's `-v /dev/null:/dev/null:ro`.
    case.mount("/dev/null", "bind", Path::new("/dev/null"), &["bind", "ro"]);
    assert_eq!(case.run("echo ran > /dev/null && echo ran"), "ran\n");
}

#[test]
fn nothing_is_made_in_a_dev_that_is_bound() {
    for user in both() {
        let mut case = Case::new(user);
        let dev = case.dir.path().join("dev");
        fs::create_dir(&dev).unwrap();
        case.mounts().retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        case.mount("/dev", "bind", &dev, &["rbind"]);
        case.config["linux"]["devices"] =
            json!([{"path": "/dev/of-the-config", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]);
        assert_eq!(case.run("ls -A /dev && echo is empty"), "is empty\n");
        assert_eq!(fs::read_dir(&dev).unwrap().count(), 0);
    }
}

#[test]
fn a_sysfs_that_cannot_be_mounted_comes_with_a_cure() {
    let mut case = Case::new(As::User);
    case.without_mount("/sys");
    case.mounts().insert(2, json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}));
    let error = case.refused();
    assert!(error.contains("mount sysfs on /sys: Operation not permitted") && error.contains("bind /sys"), "{error}");
}

#[test]
fn what_was_made_in_the_image_belongs_to_its_root() {
    let mut case = Case::new(As::User);
    case.mount("/made/here", "tmpfs", Path::new("tmpfs"), &[]);
    assert_eq!(case.run("echo ran"), "ran\n");
    let owner = fs::metadata(case.rootfs().join("made/here")).unwrap().uid();
    assert_eq!(owner, if is_root() { NOBODY } else { nix::unistd::geteuid().as_raw() });
}

#[test]
fn s_08_the_console_is_the_containers_own_terminal() {
    for user in both() {
        let mut case = Case::new(user);
        case.config["process"]["terminal"] = json!(true);
        case.config["root"]["readonly"] = json!(true);
        let output = case.run(
            "busybox stat -c '%F %t:%T' /dev/console /dev/pts/0; busybox grep -c ' /dev/console devpts' /proc/mounts",
        );
        let terminal = "character special file 88:0\n";
        assert_eq!(output, format!("{terminal}{terminal}1\n"));
    }
}

#[test]
fn s_08_a_console_that_is_a_link_is_refused() {
    for user in both() {
        let mut case = Case::new(user);
        case.config["process"]["terminal"] = json!(true);
        for mount in ["/dev", "/dev/shm", "/dev/mqueue"] {
            case.without_mount(mount);
        }
        fs::create_dir_all(case.rootfs().join("dev")).unwrap();
        symlink("/victim", case.rootfs().join("dev/console")).unwrap();
        let error = case.refused();
        assert!(error.contains("/dev/console: it is a symbolic link"), "{error}");
        assert!(!case.rootfs().join("victim").exists());
    }
}

#[test]
fn s_09_a_working_directory_outside_is_refused() {
    for user in both() {
        let mut case = Case::new(user);
        // The root file system's own parent, through a descriptor that the caller left open.
        case.host = "exec 9</; RUN".into();
        case.config["process"]["cwd"] = json!("/proc/self/fd/9");
        let error = case.refused();
        assert!(error.contains("outside of the container") || error.contains("Permission denied"), "{error}");
        case.config["process"]["cwd"] = json!("/made/for/it");
        assert_eq!(case.run("busybox pwd"), "/made/for/it\n");
    }
}

#[test]
fn s_13_a_cgroup_mount_shows_the_containers_own_cgroup_and_cannot_be_written() {
    if !needs_root("s_13_a_cgroup_mount_shows_the_containers_own_cgroup_and_cannot_be_written") {
        return;
    }
    for (options, writable) in [(&["nosuid", "noexec", "nodev", "relatime", "ro"][..], false), (&["nosuid"], true)] {
        let mut case = Case::new(As::Root);
        case.cgroup = format!("/rootfs-test-{}-{writable}", std::process::id());
        let cgroup = Cgroup::plan(Some(Path::new(&case.cgroup)), "test", false).unwrap();
        cgroup.create().unwrap();
        fs::create_dir(cgroup.paths()[0].join("marker")).unwrap();
        case.mounts().last_mut().unwrap()["options"] = json!(options);
        let output = case.run(
            "cd /sys/fs/cgroup; busybox find . -name marker; busybox find . -name release_agent;
             for d in $(busybox find . -mindepth 1 -maxdepth 1 -type d); do mkdir $d/new 2>/dev/null && echo MADE && rmdir $d/new; done; true",
        );
        fs::remove_dir(cgroup.paths()[0].join("marker")).unwrap();
        cgroup.delete().unwrap();
        assert!(output.contains("marker"), "{output}");
        assert!(!output.contains("release_agent"), "that is a file of the hierarchy's top: {output}");
        assert_eq!(output.contains("MADE"), writable, "{output}");
    }
}

#[test]
fn s_21_a_user_namespace_cannot_take_off_what_the_source_has() {
    if !needs_root("s_21_a_user_namespace_cannot_take_off_what_the_source_has") {
        return;
    }
    for (flag, opposite) in [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")] {
        let mut case = Case::new(As::User);
        let source = case.dir.path().join("source");
        fs::create_dir(&source).unwrap();
        case.host = format!("unshare -m sh -c 'mount -t tmpfs -o {flag} tmpfs {} && RUN'", source.display());
        case.mount("/v", "bind", &source, &["bind", opposite]);
        let error = case.refused();
        assert!(error.contains("Operation not permitted") && error.contains("cannot take off"), "{flag}: {error}");
    }
}

#[test]
fn a_root_on_tmpfs_or_overlay_works() {
    if !needs_root("a_root_on_tmpfs_or_overlay_works") {
        return;
    }
    for kind in ["tmpfs", "overlay"] {
        let mut case = Case::new(As::Root);
        let dir = case.dir.path().display();
        let mount = match kind {
            "tmpfs" => format!("mount -t tmpfs tmpfs {dir}/rootfs && cp -a {dir}/lower/. {dir}/rootfs/"),
            // An overlay on an overlay is refused by some kernels: the upper side is a tmpfs.
            _ => format!(
                "mount -t tmpfs tmpfs {dir}/upper && mkdir {dir}/upper/u {dir}/upper/w && \
                 mount -t overlay -o lowerdir={dir}/lower,upperdir={dir}/upper/u,workdir={dir}/upper/w overlay {dir}/rootfs"
            ),
        };
        case.host = format!("unshare -m sh -c '{mount} && RUN'");
        fs::rename(case.rootfs(), case.dir.path().join("lower")).unwrap();
        fs::create_dir(case.rootfs()).unwrap();
        fs::create_dir(case.dir.path().join("upper")).unwrap();
        assert_eq!(case.run("busybox awk '$2 == \"/\" {print $3}' /proc/mounts"), format!("{kind}\n"));
    }
}

#[test]
fn a_shared_volume_shares_only_where_the_root_says_shared_too() {
    if !needs_root("a_shared_volume_shares_only_where_the_root_says_shared_too") {
        return;
    }
    for (root, volume, shares) in [("rshared", "rshared", true), ("", "rshared", false), ("rshared", "rprivate", false)]
    {
        let mut case = Case::new(As::Root);
        let source = case.dir.path().join("source");
        fs::create_dir_all(source.join("inner")).unwrap();
        case.config["linux"]["rootfsPropagation"] = json!(root);
        case.mount("/v", "bind", &source, &["rbind", volume]);
        // Shared with nothing of the machine's own, where systemd makes everything shared.
        case.host = format!(
            "unshare -m --propagation private sh -c 'mount --bind {0} {0}; mount --make-shared {0}; RUN; \
             grep -c {0}/inner /proc/self/mountinfo > {0}/count'",
            source.display()
        );
        let output = case.run("busybox mount -t tmpfs tmpfs /v/inner; echo ran");
        assert_eq!(output, "ran\n");
        let count = fs::read_to_string(source.join("count")).unwrap();
        assert_eq!(count.trim() != "0", shares, "root {root:?}, volume {volume}: {count:?}");
    }
}
