//! The image that a container is rehearsed with: what it says of the process, and how it comes onto the stage.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::with_code;
use crate::container::spec::template;
use crate::image::{Ids, Image, ImageConfig, Ownership, Users, machine};
use crate::lifecycle::annotations::IMAGE_STOP_SIGNAL;
use crate::lifecycle::pod::PodContainer;

/// What containerd and docker give a container that asks for nothing.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The configuration of a container of the image, before the Pod has its say; without the user, whose name is in files of
/// the image.
pub fn configuration(image: &ImageConfig, rootless: bool) -> Value {
    let mut config = template(rootless);
    let process = &mut config["process"];
    process["env"]
        .as_array_mut()
        .expect("the template has env")
        .extend(image.env.iter().map(|variable| json!(variable)));
    if let Some(dir) = &image.working_dir {
        process["cwd"] = json!(Path::new("/").join(dir));
    }
    for set in ["bounding", "effective", "permitted"] {
        process["capabilities"][set] = json!(CAPABILITIES);
    }
    process["noNewPrivileges"] = json!(false);
    // Images expect the limits that they find, not those of the template.
    process["rlimits"] = json!([]);
    if let Some(signal) = &image.stop_signal {
        config["annotations"][IMAGE_STOP_SIGNAL] = json!(signal);
    }
    config
}

/// What to tell before the image of another machine is tried, which works where an emulator is set up.
pub fn warning(path: &Path, image: &ImageConfig) -> Option<String> {
    let own = format!("linux/{}", machine().0);
    let known = !image.platform.ends_with('/');
    (known && image.platform != own)
        .then(|| format!("image {} is for {}, this machine is {own}", path.display(), image.platform))
}

/// An image that was read and checked, and whom its process is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpacking {
    path: PathBuf,
    user: Option<String>,
    run_as_user: Option<u32>,
    run_as_group: Option<u32>,
    supplemental_groups: Vec<u32>,
}

impl Unpacking {
    pub fn of(path: &Path, image: &ImageConfig, pod: &PodContainer) -> Result<Unpacking> {
        Ok(Unpacking {
            path: std::path::absolute(path)?,
            user: image.user.clone(),
            run_as_user: pod.run_as_user,
            run_as_group: pod.run_as_group,
            supplemental_groups: pod.supplemental_groups.clone(),
        })
    }

    /// Unpacks the image into the new directory `rootfs`, and puts its user into the configuration.
    pub fn unpack(&self, rootfs: &Path, config: &mut Value, rootless: bool) -> Result<()> {
        let image = Image::open(&self.path).map_err(|error| with_code(2, error))?;
        image.unpack(rootfs, Ownership::of_caller())?;
        let ids = self.ids(rootfs).with_context(|| format!("image {}: user", self.path.display()));
        let mut ids = ids.map_err(|error| with_code(2, error))?;
        if rootless {
            // The caller's own ids are all that can be mapped, so they are the container's user, whoever that is.
            config["linux"]["uidMappings"][0]["containerID"] = json!(ids.uid);
            config["linux"]["gidMappings"][0]["containerID"] = json!(ids.gid);
            ids.groups.clear();
        }
        ids.groups.extend(&self.supplemental_groups);
        config["process"]["user"] = json!({ "uid": ids.uid, "gid": ids.gid });
        if !ids.groups.is_empty() {
            config["process"]["user"]["additionalGids"] = json!(ids.groups);
        }
        Ok(())
    }

    /// The Pod's user, else the image's; a user of the Pod has the group of its entry in the image, if it has one.
    fn ids(&self, rootfs: &Path) -> Result<Ids> {
        let users = Users::of(rootfs)?;
        let mut ids = match (self.run_as_user, &self.user) {
            (Some(uid), _) => users.of_uid(uid),
            (None, Some(user)) => users.find(user)?,
            (None, None) => users.of_uid(0),
        };
        if let Some(gid) = self.run_as_group {
            ids.gid = gid;
        }
        Ok(ids)
    }
}
