//! Makes images, good ones and others, in every form that images have in files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// A member of a layer, whose name may be anything.
#[derive(Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: EntryType,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub device: (u32, u32),
    /// What the header says, where that is not the data's size.
    pub size: Option<u64>,
    pub records: Vec<(String, Vec<u8>)>,
}

impl Entry {
    pub fn new(kind: EntryType, name: impl AsRef<[u8]>) -> Entry {
        Entry {
            name: name.as_ref().to_vec(),
            kind,
            link: Vec::new(),
            data: Vec::new(),
            mode: 0o644,
            owner: (0, 0),
            mtime: 1_000_000_000,
            device: (0, 0),
            size: None,
            records: Vec::new(),
        }
    }

    pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Entry {
        Entry { data: data.as_ref().to_vec(), ..Entry::new(EntryType::Regular, name) }
    }

    pub fn dir(name: impl AsRef<[u8]>) -> Entry {
        Entry { mode: 0o755, ..Entry::new(EntryType::Directory, name) }
    }

    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
        Entry { link: target.as_ref().to_vec(), mode: 0o777, ..Entry::new(EntryType::Symlink, name) }
    }

    pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
        Entry { link: target.as_ref().to_vec(), ..Entry::new(EntryType::Link, name) }
    }

    pub fn device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Entry {
        Entry { device: (major, minor), mode: 0o666, ..Entry::new(EntryType::Char, name) }
    }

    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u64, gid: u64) -> Entry {
        self.owner = (uid, gid);
        self
    }

    pub fn sized(mut self, size: u64) -> Entry {
        self.size = Some(size);
        self
    }

    /// A record of an extended header in front of it.
    pub fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Entry {
        self.records.push((key.into(), value.as_ref().to_vec()));
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        if !self.records.is_empty() {
            let mut data = Vec::new();
            for (key, value) in &self.records {
                let rest = 1 + key.len() + 1 + value.len() + 1;
                let length = (1..).find(|length: &usize| length.to_string().len() + rest == *length).unwrap();
                data.extend(format!("{length} {key}=").into_bytes());
                data.extend(value);
                data.push(b'\n');
            }
            Entry { data, ..Entry::new(EntryType::XHeader, "records") }.write(out);
        }
        if self.name.len() > 100 {
            let data = [&self.name[..], b"\0"].concat();
            Entry { data, ..Entry::new(EntryType::GNULongName, "././@LongLink") }.write(out);
        }
        if self.link.len() > 100 {
            let data = [&self.link[..], b"\0"].concat();
            Entry { data, ..Entry::new(EntryType::GNULongLink, "././@LongLink") }.write(out);
        }
        let mut header = Header::new_gnu();
        let put = |field: &mut [u8], bytes: &[u8]| {
            field[..bytes.len().min(100)].copy_from_slice(&bytes[..bytes.len().min(100)])
        };
        put(&mut header.as_old_mut().name, &self.name);
        put(&mut header.as_old_mut().linkname, &self.link);
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime);
        header.set_size(self.size.unwrap_or(self.data.len() as u64));
        header.set_device_major(self.device.0).unwrap();
        header.set_device_minor(self.device.1).unwrap();
        header.set_cksum();
        out.extend(header.as_bytes());
        out.extend(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

/// The members as a tar.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut out));
    out.extend([0; 1024]);
    out
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Directory,
    LayoutTar,
    /// `docker save` before version 25, with the links that it writes for a layer that is there twice.
    OldDocker,
    /// `docker save` since then: both manifests.
    NewDocker,
}

pub const FORMS: [Form; 4] = [Form::Directory, Form::LayoutTar, Form::OldDocker, Form::NewDocker];

#[derive(Clone)]
pub struct Layer {
    /// As it lies in the image.
    pub packed: Vec<u8>,
    pub media_type: String,
    pub diff_id: String,
}

impl Layer {
    pub fn plain(tar: Vec<u8>) -> Layer {
        Layer::of(tar.clone(), "application/vnd.oci.image.layer.v1.tar", &tar)
    }

    pub fn gzip(tar: Vec<u8>) -> Layer {
        Layer::of(gzip(&tar), "application/vnd.oci.image.layer.v1.tar+gzip", &tar)
    }

    pub fn zstd(tar: Vec<u8>) -> Layer {
        Layer::of(zstd(&tar), "application/vnd.oci.image.layer.v1.tar+zstd", &tar)
    }

    fn of(packed: Vec<u8>, media_type: &str, tar: &[u8]) -> Layer {
        Layer { packed, media_type: media_type.into(), diff_id: format!("sha256:{}", hex(tar)) }
    }
}

/// An image before it is written. Its JSON can be changed on the way.
#[derive(Clone)]
pub struct Builder {
    pub layers: Vec<Layer>,
    pub process: Value,
    pub name: String,
    pub change_config: fn(&mut Value),
    pub change_manifest: fn(&mut Value),
    pub change_index: fn(&mut Value),
}

impl Builder {
    pub fn new(layers: Vec<Layer>) -> Builder {
        Builder {
            layers,
            process: json!({}),
            name: "app:1".into(),
            change_config: |_| {},
            change_manifest: |_| {},
            change_index: |_| {},
        }
    }

    /// The files of an OCI image layout.
    pub fn layout(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let mut blob = |bytes: &[u8], media_type: &str| {
            let digest = hex(bytes);
            files.push((format!("blobs/sha256/{digest}"), bytes.to_vec()));
            json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
        };
        let config = blob(&self.config(), "application/vnd.oci.image.config.v1+json");
        let layers: Vec<Value> = self.layers.iter().map(|layer| blob(&layer.packed, &layer.media_type)).collect();
        let mut manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        (self.change_manifest)(&mut manifest);
        let mut descriptor = blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": self.name });
        let mut index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        (self.change_index)(&mut index);
        files.push(("index.json".into(), index.to_string().into_bytes()));
        files
    }

    fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let mut config = json!({
            "os": "linux",
            "architecture": "amd64",
            "config": self.process,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        (self.change_config)(&mut config);
        config.to_string().into_bytes()
    }

    /// What `docker save` wrote for one image before it wrote layouts: each layer in a directory of its own.
    fn old_docker(&self) -> Vec<Entry> {
        let config = self.config();
        let mut entries = vec![Entry::file(format!("{}.json", hex(&config)), &config)];
        let mut layers = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let name = format!("{at:064}/layer.tar");
            let first = self.layers.iter().position(|other| other.diff_id == layer.diff_id).unwrap();
            entries.push(Entry::dir(format!("{at:064}/")));
            entries.push(if first == at {
                Entry::file(&name, &layer.packed)
            } else {
                Entry::symlink(&name, format!("../{first:064}/layer.tar"))
            });
            layers.push(name);
        }
        let manifest =
            json!([{ "Config": format!("{}.json", hex(&config)), "RepoTags": [self.name], "Layers": layers }]);
        entries.push(Entry::file("manifest.json", manifest.to_string()));
        entries
    }

    /// The path of the image, which is written beside others in `directory`.
    pub fn write(&self, form: Form, directory: &Path) -> PathBuf {
        let path = directory.join(format!("{form:?}"));
        let layout = self.layout();
        let as_entries = |files: &[(String, Vec<u8>)]| -> Vec<Entry> {
            files.iter().map(|(name, bytes)| Entry::file(name, bytes)).collect()
        };
        let entries = match form {
            Form::Directory => {
                for (name, bytes) in &layout {
                    let file = path.join(name);
                    fs::create_dir_all(file.parent().unwrap()).unwrap();
                    fs::write(file, bytes).unwrap();
                }
                return path;
            }
            Form::LayoutTar => as_entries(&layout),
            Form::OldDocker => self.old_docker(),
            Form::NewDocker => {
                let blob = |bytes: &[u8]| format!("blobs/sha256/{}", hex(bytes));
                let layers: Vec<String> = self.layers.iter().map(|layer| blob(&layer.packed)).collect();
                let manifest = json!([{ "Config": blob(&self.config()), "RepoTags": [self.name], "Layers": layers }]);
                let mut entries = vec![Entry::dir("blobs/"), Entry::dir("blobs/sha256/")];
                entries.extend(as_entries(&layout));
                entries.push(Entry::file("manifest.json", manifest.to_string()));
                entries
            }
        };
        fs::write(&path, tar(&entries)).unwrap();
        path
    }
}
