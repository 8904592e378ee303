//! buildah: `run` and the RUN lines of a Dockerfile.

use crate::common::{Output, block, bookend, is_root, needs_tool, subordinate};
use crate::home::{Home, page};

struct Buildah {
    home: Home,
}

impl Buildah {
    /// With the image `localhost/busybox`, in a storage of its own.
    fn new() -> Buildah {
        let mut home = Home::new();
        home.set("CONTAINERS_STORAGE_CONF", home.storage());
        // A user's is "rootless" by itself, which is a container by a runtime too, without limits.
        home.set("BUILDAH_ISOLATION", if is_root() { "oci" } else { "rootless" });
        let buildah = Buildah { home };
        let image = format!("oci-archive:{}", buildah.home.image().display());
        buildah.call(&["pull", &image]).ok();
        buildah
    }

    fn call(&self, args: &[&str]) -> Output {
        self.home.call("buildah", args)
    }

    fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        let binary = bookend();
        let first = ["run", "--network=host", "--runtime", binary.to_str().unwrap()];
        self.call(&[&first[..], flags, &["work", "--"], command].concat())
    }
}

/// Without subordinate ids buildah runs nothing, whatever the runtime: it asks for supplementary groups.
fn may_run(test: &str) -> bool {
    needs_tool(test, "buildah") && (is_root() || subordinate("/etc/subuid").is_some())
}

#[test]
fn buildah_runs_commands_in_what_it_builds() {
    if !may_run("buildah_runs_commands_in_what_it_builds") {
        return;
    }
    let buildah = Buildah::new();
    buildah.call(&["from", "--name=work", "localhost/busybox"]).ok();
    let output = buildah.run(&[], &["sh", "-c", "grep Seccomp: /proc/self/status; echo kept > /word"]).ok();
    // As with runc, nothing is told of the ambient capabilities that buildah asks for in vain.
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("Seccomp:\t2\n", ""));
    assert_eq!(buildah.run(&[], &["cat", "/word"]).ok().stdout, "kept\n");
    assert_eq!(buildah.run(&["--user=7:8", "--workingdir=/usr"], &["sh", "-c", "id -u; pwd"]).ok().stdout, "7\n/usr\n");
    let output = buildah.run(&["--tty"], &["tty"]).ok().stdout;
    assert_eq!(output.trim_end(), "/dev/pts/0");
    buildah.run(&[], &["sh", "-c", "exit 9"]).fails(9);
    buildah
        .run(&[], &["/nonexistent"])
        .fails(1)
        .says("exec: \"/nonexistent\": stat /nonexistent: no such file or directory");
    buildah.run(&[], &["/etc/passwd"]).fails(1).says("permission denied");
}

#[test]
fn the_page_on_buildah_does_what_it_says() {
    if !may_run("the_page_on_buildah_does_what_it_says") {
        return;
    }
    let page = page("buildah.md");
    let buildah = Buildah::new();
    buildah.home.write("Dockerfile", block(&page, "## A build", "dockerfile"));
    buildah.home.follow(block(&page, "## A build", "sh")).ok().says("built by uid 0");
    buildah.home.follow(block(&page, "## One command", "sh")).ok().says("built by uid 0");
}
