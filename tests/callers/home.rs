//! What every caller needs: a directory of its own, an environment that keeps it there, and an image without a registry.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::common::{Output, Running, Scratch, bookend, bundles, finish, is_root, limit, repository};

/// What the container says of its own limit, under either version of cgroups.
pub const MEMORY_LIMIT: &str =
    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
/// As the image's configuration has it.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the calls of one test are at home.
pub struct Home {
    scratch: Scratch,
    env: Vec<(OsString, OsString)>,
}

impl Home {
    /// In its PATH `bookend` is the binary under test, and `docker` Debian's.
    pub fn new() -> Home {
        let scratch = Scratch::new();
        let mut home = Home { scratch, env: Vec::new() };
        let bin = home.make_dir("bin", 0o755);
        symlink(bookend(), bin.join("bookend")).unwrap();
        if Path::new("/usr/bin/docker").exists() {
            symlink("/usr/bin/docker", bin.join("docker")).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
        home.set("PATH", path);
        home.set("HOME", home.dir());
        home.set("TMPDIR", home.make_dir("tmp", 0o700));
        if !is_root() {
            home.set("XDG_RUNTIME_DIR", home.make_dir("run", 0o700));
        }
        home
    }

    pub fn dir(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    pub fn make_dir(&self, name: &str, mode: u32) -> PathBuf {
        let dir = self.dir().join(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        dir
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The storage.conf of podman and buildah, with all that they keep in `graph`. Where that is an older release has a
    /// setting of its own for users, and a newer one warns where it finds both.
    pub fn storage(&self) -> PathBuf {
        let key = if is_root() { "graphroot" } else { "rootless_storage_path" };
        let dir = self.dir().display().to_string();
        let text = format!("[storage]\ndriver = \"vfs\"\n{key} = \"{dir}/graph\"\nrunroot = \"{dir}/runroot\"\n");
        self.write("storage.conf", &text)
    }

    /// Sets a variable of every call.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.env.push((name.into(), value.as_ref().to_owned()));
    }

    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).envs(self.env.iter().map(|(name, value)| (name, value))).current_dir(self.dir());
        command
    }

    pub fn call(&self, program: &str, args: &[&str]) -> Output {
        finish(self.command(program, args), &self.scratch)
    }

    pub fn bookend(&self, args: &[&str]) -> Output {
        self.call(bookend().to_str().unwrap(), args)
    }

    /// In the background of the test, with what it prints in a file.
    pub fn spawn(&self, name: &str, program: &str, args: &[&str]) -> Running {
        let out = self.dir().join(format!("out-{name}"));
        let file = fs::File::create(&out).unwrap();
        let mut command = self.command(program, args);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), out }
    }

    /// On a terminal of its own.
    pub fn on_terminal(&self, line: &str) -> Output {
        self.call("script", &["--quiet", "--return", "--command", line, "/dev/null"])
    }

    /// Lines of a page, as they stand but for the paths that only an installed bookend has.
    pub fn follow(&self, lines: &str) -> Output {
        let lines = lines.replace("/usr/local/bin/bookend", bookend().to_str().unwrap()).replace("IMAGE", "busybox");
        self.call("/bin/sh", &["-euxc", &lines])
    }

    /// The busybox root file system in a tar file, all of it root's: a user with a single id can unpack it.
    pub fn layer(&self) -> PathBuf {
        let layer = self.dir().join("layer.tar");
        let rootfs = bundles().join("busybox/rootfs");
        let (rootfs, to) = (rootfs.to_str().unwrap(), layer.to_str().unwrap());
        self.call("tar", &["--owner=0", "--group=0", "-C", rootfs, "-cf", to, "."]).ok();
        layer
    }

    /// The same as an OCI image in a tar file.
    pub fn image(&self) -> PathBuf {
        let mut archive = tar::Builder::new(fs::File::create(self.dir().join("image.tar")).unwrap());
        let mut add = |name: &str, data: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, data).unwrap();
        };
        let mut blob = |kind: &str, data: &[u8]| {
            let digest = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            add(&format!("blobs/sha256/{digest}"), data);
            let media_type = format!("application/vnd.oci.image.{kind}");
            json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": data.len()})
        };
        let layer = blob("layer.v1.tar", &fs::read(self.layer()).unwrap());
        let platform = json!({"architecture": std::env::consts::ARCH.replace("x86_64", "amd64"), "os": "linux"});
        let mut config = platform.clone();
        config["config"] = json!({"Cmd": ["/bin/entrypoint"], "Env": [format!("PATH={PATH}")]});
        config["rootfs"] = json!({"type": "layers", "diff_ids": [layer["digest"]]});
        let config = blob("config.v1+json", config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
        manifest["platform"] = platform;
        manifest["annotations"] = json!({"io.containerd.image.name": "localhost/busybox:latest"});
        add("index.json", json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().as_bytes());
        add("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
        archive.finish().unwrap();
        self.dir().join("image.tar")
    }

    /// What hooks have printed, once `word` is among it: callers return at the exit, which postStop comes after.
    #[track_caller]
    pub fn wait_for_logs(&self, id: &str, word: &str) -> String {
        wait_for(&format!("{word:?} in the logs of {id}"), || {
            let logs = self.bookend(&["logs", id]);
            (logs.code == 0 && logs.stdout.contains(word)).then_some(logs.stdout)
        })
    }
}

/// Whether a line ends with what bookend says: callers add nothing to it but a full stop, and an older containerd its
/// `unknown`.
#[track_caller]
pub fn ends_with(output: &Output, text: &str) {
    let all = format!("{}{}", output.stdout, output.stderr);
    let is_end = |line: &str| line.trim_end_matches(['.', '"']).trim_end_matches(": unknown").ends_with(text);
    assert!(all.lines().any(is_end), "expected {text:?} at the end of a line of:\n{all}");
}

/// Waits until the world holds something; polls, since the tests look from outside.
#[track_caller]
pub fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(begun.elapsed() < limit(), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The names of all processes below one, each with its distance.
pub fn tree_below(pid: i64) -> Vec<String> {
    fn add(pid: i64, depth: usize, found: &mut Vec<String>) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().map(|child| child.parse().unwrap()) {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            found.push(format!("{depth} {}", name.trim_end()));
            add(child, depth + 1, found);
        }
    }
    let mut found = Vec::new();
    add(pid, 1, &mut found);
    found
}

pub fn parent_of(pid: i64) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// Whether every version 1 hierarchy of control groups that is known to the kernel can be seen. One that was mounted for a
/// moment, as tests do, may stay without a mount, and then containerd measures nothing, whatever the runtime.
pub fn every_hierarchy_is_mounted() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let options: Vec<&str> =
        mounts.lines().filter_map(|line| line.split_once(" - cgroup ")?.1.split(' ').nth(1)).collect();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let hierarchies = own.lines().filter_map(|line| line.split(':').nth(1)).filter(|names| !names.is_empty());
    let is_mounted = |names: &str| {
        options.iter().any(|options| names.split(',').all(|name| options.split(',').any(|option| option == name)))
    };
    let missing: Vec<&str> = hierarchies.filter(|names| !is_mounted(names)).collect();
    if !missing.is_empty() {
        println!("metrics are not looked at: nothing of {missing:?} is mounted");
    }
    missing.is_empty()
}

/// A page of docs/.
pub fn page(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
}
