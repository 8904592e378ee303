//! Where a rehearsal takes place: a bundle that is made for it, above a root file system that stays as it was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::WithCode;
use super::super::args::{For, Global, LogFormat, Rootless, Test, run_args};
use super::command_line;
use super::image::{self, Unpacking};
use crate::container::bundle::Bundle;
use crate::container::id::ContainerId;
use crate::container::rootfs::path::{Root, link_to};
use crate::container::spec::template;
use crate::image::Image;
use crate::lifecycle::annotations::IMAGE_STOP_SIGNAL;
use crate::lifecycle::pod::{PodContainer, Role};
use crate::linux::fd;

/// Where a container's root file system and its ENTRYPOINT come from, as the command line says.
#[derive(Clone, Copy, Debug)]
pub enum Scenery<'a> {
    Bundle(&'a Path),
    Rootfs(&'a Path),
    /// The image of this container, or one that was given for all.
    Image {
        path: &'a Path,
        own: bool,
    },
}

impl<'a> Scenery<'a> {
    /// What was given for this container by its name, else what was given for all.
    pub fn of(args: &'a Test, container: &str) -> Result<Scenery<'a>> {
        Scenery::find(args, Some(container))?
            .map_or_else(|| Scenery::find(args, None), |found| Ok(Some(found)))?
            .context("say what to run: --bundle DIR, --rootfs DIR or --image PATH")
    }

    fn find(args: &'a Test, container: Option<&str>) -> Result<Option<Scenery<'a>>> {
        let pick = |given: &'a [For]| given.iter().rfind(|one| one.container.as_deref() == container);
        let image = |one: &'a For| Scenery::Image { path: &one.path, own: container.is_some() };
        let given = [
            pick(&args.bundle).map(|one| Scenery::Bundle(&one.path)),
            pick(&args.rootfs).map(|one| Scenery::Rootfs(&one.path)),
            pick(&args.image).map(image),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (_, Some(_)) => bail!("give one of --bundle, --rootfs and --image for a container, not several of them"),
            (found, None) => Ok(found),
        }
    }

    /// The containers that are named.
    pub fn names(args: &Test) -> impl Iterator<Item = &str> {
        [&args.bundle, &args.rootfs, &args.image].into_iter().flatten().filter_map(|one| one.container.as_deref())
    }
}

/// The configuration of the rehearsal, and the root file system that it is to see: read and checked, nothing is made yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scene {
    config: Value,
    ground: Ground,
    rootless: bool,
}

/// Where the root file system is.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ground {
    Directory(PathBuf),
    Image(Unpacking),
}

impl Scene {
    pub fn of(scenery: Scenery, pod: &PodContainer, role: Role, warnings: &mut Vec<String>) -> Result<Scene> {
        let rootless = !nix::unistd::geteuid().is_root();
        let is_its_image = matches!(scenery, Scenery::Image { own: true, .. });
        if role == Role::Init && pod.command.is_none() && pod.args.is_none() && !is_its_image {
            bail!(
                "init container {0:?} names no command, and the ENTRYPOINT that was given is not its image's: write `command` into the Pod, or give --image {0}=PATH",
                pod.name
            );
        }
        let (config, ground) = match scenery {
            Scenery::Bundle(bundle) => {
                let bundle = Bundle::load(bundle)?;
                let given: Value = serde_json::from_slice(&bundle.raw).context("parse config.json")?;
                let mut config = if rootless { adapt(&given) } else { given };
                let own: Vec<String> = serde_json::from_value(config["process"]["args"].clone()).unwrap_or_default();
                let (entrypoint, cmd) = own.split_at(own.len().min(1));
                cast(&mut config, pod, entrypoint, cmd);
                (config, Ground::Directory(directory(&bundle.rootfs())?))
            }
            Scenery::Rootfs(_) if pod.command.is_none() => bail!(
                "container {:?} names no command, and a root file system has no ENTRYPOINT: write `command` into the Pod, or give --bundle or --image",
                pod.name
            ),
            Scenery::Rootfs(rootfs) => {
                let mut config = template(rootless);
                cast(&mut config, pod, &[], &[]);
                (config, Ground::Directory(directory(rootfs)?))
            }
            Scenery::Image { path, .. } => {
                let image = Image::open(path)?;
                warnings.extend(image::warning(path, &image.config));
                let mut config = image::configuration(&image.config, rootless);
                cast(&mut config, pod, &image.config.entrypoint, &image.config.cmd);
                if config["process"]["args"].as_array().is_none_or(Vec::is_empty) {
                    bail!(
                        "container {:?} names no command, and image {} has neither ENTRYPOINT nor CMD: write `command` into the Pod",
                        pod.name,
                        path.display()
                    );
                }
                (config, Ground::Image(Unpacking::of(path, &image.config, pod)?))
            }
        };
        Ok(Scene { config, ground, rootless })
    }

    /// Those of the bundle; of the image the stop signal.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let given = self.config["annotations"].as_object().into_iter().flatten();
        given.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// The stop signal that comes with the image, as annotations say it.
    pub fn image_annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = self.annotations();
        annotations.retain(|key, _| key == IMAGE_STOP_SIGNAL);
        annotations
    }
}

fn directory(rootfs: &Path) -> Result<PathBuf> {
    let rootfs = fs::canonicalize(rootfs).with_context(|| format!("find the root file system {}", rootfs.display()))?;
    if !rootfs.is_dir() {
        bail!("the root file system {} is no directory", rootfs.display());
    }
    Ok(rootfs)
}

/// A directory of our own with `bundle/`, `root/` for the state, and the layer that takes the writes.
pub struct Stage {
    dir: PathBuf,
    mounted: bool,
    rootless: bool,
}

/// What an error asks for: 125 where this machine is what fails, 2 where the input is.
pub fn code_of(error: &anyhow::Error, otherwise: u8) -> u8 {
    error.downcast_ref::<WithCode>().map_or(otherwise, |known| known.code)
}

impl Stage {
    /// With a network that is another container's too, where the configuration wants one of its own.
    pub fn set(scene: &Scene, network: Option<&Path>) -> Result<Stage> {
        let mut stage = Stage { dir: make_directory()?, mounted: false, rootless: scene.rootless };
        let bundle = stage.dir.join("bundle");
        let rootfs = bundle.join("rootfs");
        let mut config = scene.config.clone();
        let make = |mode: u32| fs::DirBuilder::new().mode(mode).create(&bundle);
        match &scene.ground {
            Ground::Directory(directory) => {
                make(0o755)?;
                stage.lay_over(directory, &rootfs)?;
            }
            Ground::Image(unpacking) => {
                // Nobody else of this host executes the set-id programs of an image.
                make(0o700)?;
                unpacking.unpack(&rootfs, &mut config, scene.rootless)?;
            }
        }
        if let Some(network) = network {
            share_network(&mut config, network);
        }
        fs::write(bundle.join("config.json"), config.to_string())?;
        Ok(stage)
    }

    pub fn bundle(&self) -> Result<Bundle> {
        Bundle::load(&self.dir.join("bundle"))
    }

    /// Whether the image has the shell that most hooks need.
    pub fn has_shell(&self) -> bool {
        self.open_inside("bin/sh", OFlags::PATH).is_some()
    }

    /// The first line of a script of the image's, at this path; an empty one of any other file, None where there is none.
    pub fn first_line(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix('/')?;
        // A FIFO is not waited for.
        let file = File::from(self.open_inside(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        let mut bytes = Vec::new();
        if file.metadata().ok()?.is_file() {
            file.take(256).read_to_end(&mut bytes).ok()?;
        }
        let line = bytes.split(|byte| *byte == b'\n').next().filter(|line| line.starts_with(b"#!"));
        Some(line.map(|line| String::from_utf8_lossy(line).into_owned()).unwrap_or_default())
    }

    /// No link leads out of the root file system.
    fn open_inside(&self, path: &str, flags: OFlags) -> Option<OwnedFd> {
        let root = Root::new(fd::open_path(&self.dir.join("bundle/rootfs")).ok()?);
        let found = root.find(Path::new(path)).ok()??;
        rustix::fs::openat(CWD, link_to(&found), flags | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// The flags in front of the verb, with the stage's state root.
    pub fn global(&self) -> Global {
        Global {
            root: Some(self.dir.join("root")),
            log: None,
            log_format: LogFormat::Text,
            debug: false,
            quiet: true,
            criu: None,
            systemd_cgroup: false,
            rootless: if self.rootless { Rootless::True } else { Rootless::Auto },
            hooks: Default::default(),
        }
    }

    pub fn create_args(&self, id: &ContainerId) -> run_args::Create {
        run_args::Create {
            id: id.clone(),
            bundle: self.dir.join("bundle"),
            console_socket: None,
            pid_file: None,
            pidfd_socket: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            hooks: Default::default(),
        }
    }

    /// A writable view of `rootfs`: an overlay in a mount namespace of ours, or a copy where that cannot be.
    fn lay_over(&mut self, rootfs: &Path, target: &Path) -> Result<()> {
        fs::create_dir(target)?;
        if !self.rootless && self.overlay(rootfs, target).is_ok() {
            return Ok(());
        }
        self.unmount();
        copy(rootfs, target)
    }

    fn overlay(&mut self, rootfs: &Path, target: &Path) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
            .context("detach from the host's mounts")?;
        let layer = self.dir.join("layer");
        fs::create_dir(&layer)?;
        mount(Some("tmpfs"), &layer, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
            .context("mount a tmpfs for the writes")?;
        self.mounted = true;
        let (upper, work) = (layer.join("upper"), layer.join("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        fs::set_permissions(&upper, fs::metadata(rootfs)?.permissions())?;
        let overlay = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        // A colon separates lower layers, so one in a name is escaped (overlayfs.rst).
        let lower = rootfs.to_str().context("the path is no text")?.replace('\\', "\\\\").replace(':', "\\:");
        rustix::mount::fsconfig_set_string(&overlay, "lowerdir", lower)?;
        rustix::mount::fsconfig_set_string(&overlay, "upperdir", &upper)?;
        rustix::mount::fsconfig_set_string(&overlay, "workdir", &work)?;
        rustix::mount::fsconfig_create(&overlay)?;
        let made = rustix::mount::fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        rustix::mount::move_mount(&made, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(())
    }

    fn unmount(&mut self) {
        if self.mounted {
            // Whatever is left goes with our mount namespace.
            let _ = umount2(&self.dir.join("bundle/rootfs"), MntFlags::MNT_DETACH);
            let _ = umount2(&self.dir.join("layer"), MntFlags::MNT_DETACH);
            self.mounted = false;
        }
    }
}

/// A user namespace of the container's own has no rights to a network of somebody else's: then each keeps its own.
fn share_network(config: &mut Value, network: &Path) {
    let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() else { return };
    if namespaces.iter().any(|namespace| namespace["type"] == "user") {
        return;
    }
    let own = |namespace: &&mut Value| namespace["type"] == "network" && namespace["path"].is_null();
    namespaces.iter_mut().filter(own).for_each(|namespace| namespace["path"] = json!(network));
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.unmount();
        if let Err(error) = crate::image::remove(&self.dir) {
            eprintln!("bookend: warning: remove {}: {error}", self.dir.display());
        }
    }
}

fn make_directory() -> Result<PathBuf> {
    let dir =
        std::env::temp_dir().join(format!("bookend-test-{}-{}", std::process::id(), crate::linux::clock::now().0));
    fs::DirBuilder::new().mode(0o711).create(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(fs::canonicalize(dir)?)
}

/// A bundle's process in the surroundings that an unprivileged user can have, whatever namespaces the bundle names.
fn adapt(given: &Value) -> Value {
    let mut config = template(true);
    config["process"]["args"] = given["process"]["args"].clone();
    for key in ["env", "cwd", "capabilities", "noNewPrivileges"] {
        if !given["process"][key].is_null() {
            config["process"][key] = given["process"][key].clone();
        }
    }
    config["hostname"] = given["hostname"].as_str().unwrap_or("bookend").into();
    config["annotations"] = given.get("annotations").cloned().unwrap_or_else(|| json!({}));
    config
}

/// Gives the ENTRYPOINT what the Pod says of it.
fn cast(config: &mut Value, pod: &PodContainer, entrypoint: &[String], cmd: &[String]) {
    let process = &mut config["process"];
    process["terminal"] = json!(false);
    process["args"] = json!(command_line(entrypoint, cmd, pod.command.as_ref(), pod.args.as_ref()));
    if let Some(dir) = &pod.working_dir {
        process["cwd"] = json!(dir);
    }
    let env = process["env"].as_array().cloned().unwrap_or_default().into_iter();
    let own_env = pod.env.iter().map(|(name, value)| json!(format!("{name}={value}")));
    process["env"] = env.chain(own_env).collect();
    let user = &mut process["user"];
    if user.is_null() {
        *user = json!({ "uid": 0, "gid": 0 });
    }
    if let Some(uid) = pod.run_as_user {
        user["uid"] = json!(uid);
    }
    if let Some(gid) = pod.run_as_group {
        user["gid"] = json!(gid);
    }
    if !pod.supplemental_groups.is_empty() {
        user["additionalGids"] = json!(pod.supplemental_groups);
    }
    config["root"] = json!({ "path": "rootfs", "readonly": pod.read_only_root_filesystem });
}

/// A copy of directories, files and links with their modes; devices and sockets are left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        let what = || format!("copy {}", source.display());
        if kind.is_dir() {
            fs::create_dir(&target).with_context(what)?;
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target).with_context(what)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).with_context(what)?;
        }
    }
    let mode = fs::metadata(from)?.permissions().mode();
    // Ours must stay usable for us, who remove it at the end.
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o700))
        .with_context(|| format!("chmod {}", to.display()))?;
    Ok(())
}
