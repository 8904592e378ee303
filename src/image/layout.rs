//! An OCI image layout: `oci-layout`, `index.json` and blobs that are named by their digests (image-spec, image-layout.md).

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::digest::Digest;
use super::files::{Files, Part};
use super::{Contents, PackedLayer, is_name};

pub const INDEX: &str = "index.json";

/// An index may have others in it. Nobody's are deeper.
const MAX_DEPTH: usize = 4;

/// Where builders write what an image is called.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Finds the image that is meant, or the one that there is.
pub fn contents(files: &Files, reference: Option<&str>) -> Result<Contents> {
    let layout: Layout = serde_json::from_slice(&files.read("oci-layout")?).context("parse \"oci-layout\"")?;
    if !layout.image_layout_version.starts_with("1.") {
        bail!("its image layout has the version {:?}: 1.0.0 is read", layout.image_layout_version);
    }
    let index: Index = serde_json::from_slice(&files.read(INDEX)?).context("parse \"index.json\"")?;
    let mut chosen = match reference {
        None => choose(&index.manifests)?,
        Some(reference) => choose(&named(&index.manifests, reference)?)?,
    };
    for _ in 0..MAX_DEPTH {
        if !chosen.is_index() {
            return manifest(files, &chosen).with_context(|| format!("manifest {}", chosen.digest));
        }
        let inner = || -> Result<Descriptor> {
            let index: Index = serde_json::from_slice(&chosen.read(files)?)?;
            choose(&index.manifests)
        };
        chosen = inner().with_context(|| format!("index {}", chosen.digest))?;
    }
    bail!("there are more than {MAX_DEPTH} indexes, one in the other")
}

fn manifest(files: &Files, chosen: &Descriptor) -> Result<Contents> {
    let manifest: Manifest = serde_json::from_slice(&chosen.read(files)?)?;
    match manifest.config.media_type.as_str() {
        "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json" => {}
        other => bail!("it is no image: its configuration is of type {other:?}"),
    }
    let config = manifest.config.read(files).context("configuration")?;
    let layer = |layer: &Descriptor| {
        let part = || -> Result<Part> {
            layer.refuse_unreadable()?;
            layer.part(files)
        };
        let part = part().with_context(|| format!("layer {}", layer.digest))?;
        Ok(PackedLayer { name: layer.digest.clone(), part, digest: Some(layer.digest.parse()?) })
    };
    Ok(Contents { config, layers: manifest.layers.iter().map(layer).collect::<Result<_>>()? })
}

impl Descriptor {
    fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
        )
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let annotations = self.annotations.as_ref();
        NAMES.iter().filter_map(move |key| Some(annotations?.get(*key)?.as_str()))
    }

    fn part(&self, files: &Files) -> Result<Part> {
        let digest: Digest = self.digest.parse()?;
        let part = files.find(&digest.blob())?.with_context(|| match &self.urls {
            Some(urls) if !urls.is_empty() => format!("{digest} is not in it, but elsewhere ({})", urls.join(", ")),
            _ => format!("there is no file {:?} in it: the image is not complete, fetch it again", digest.blob()),
        })?;
        if part.left() != self.size {
            bail!(
                "{:?} has {} bytes, the manifest says {}: fetch the image again",
                digest.blob(),
                part.left(),
                self.size
            );
        }
        Ok(part)
    }

    fn read(&self, files: &Files) -> Result<Vec<u8>> {
        let bytes = self.part(files)?.read_json().context(self.digest.clone())?;
        let expected: Digest = self.digest.parse()?;
        let digest = expected.of(&bytes);
        if digest != expected {
            bail!(
                "the digest of {:?} is {digest}: it is damaged or was changed, fetch the image again",
                expected.blob()
            );
        }
        Ok(bytes)
    }

    fn refuse_unreadable(&self) -> Result<()> {
        let kind = self.media_type.as_str();
        if kind.ends_with("+encrypted") {
            bail!("it is encrypted: decrypt it, as `skopeo copy --decryption-key` does");
        }
        let known = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
        if !known.iter().any(|known| kind.starts_with(known)) {
            bail!("it is no layer of files: its type is {kind:?}");
        }
        Ok(())
    }

    /// How well the platform fits this machine; `None`: not at all. Attestations have the platform unknown/unknown.
    fn fitness(&self) -> Option<u32> {
        let platform = self.platform.as_ref()?;
        let (architecture, variants) = machine();
        if platform.os != "linux" || platform.architecture != architecture {
            return None;
        }
        let variant = platform.variant.as_deref().unwrap_or("");
        Some(variants.iter().position(|known| *known == variant).map_or(u32::MAX, |place| place as u32))
    }

    fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    fn shown(&self) -> String {
        let platform = self.platform.as_ref().map(|platform| {
            let variant = platform.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
            format!(" ({}/{}{variant})", platform.os, platform.architecture)
        });
        let name = self.names().next().map_or_else(|| self.digest.clone(), str::to_owned);
        format!("{:?}{}", name, platform.unwrap_or_default())
    }
}

/// This machine's architecture as Go calls it, and its variants, the best first.
pub fn machine() -> (&'static str, &'static [&'static str]) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", &["", "v1"]),
        "aarch64" => ("arm64", &["v8", ""]),
        "arm" => ("arm", &["v7", "v6", "", "v5"]),
        "x86" => ("386", &[""]),
        "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", &[""]),
        "loongarch64" => ("loong64", &[""]),
        other => (other, &[""]),
    }
}

fn named(manifests: &[Descriptor], reference: &str) -> Result<Vec<Descriptor>> {
    let is_it =
        |manifest: &&Descriptor| manifest.digest == reference || manifest.names().any(|name| is_name(name, reference));
    let found: Vec<Descriptor> = manifests.iter().filter(is_it).cloned().collect();
    if found.is_empty() {
        bail!("it has no image {reference:?}: it has {}", list(manifests));
    }
    Ok(found)
}

/// The manifest for this machine, or the only one.
fn choose(manifests: &[Descriptor]) -> Result<Descriptor> {
    let mut left: Vec<&Descriptor> = Vec::new();
    for manifest in manifests.iter().filter(|manifest| !manifest.is_attestation()) {
        // One image may have several names.
        if !left.iter().any(|other| other.digest == manifest.digest) {
            left.push(manifest);
        }
    }
    if let [only] = left[..] {
        return Ok(only.clone());
    }
    let best = left.iter().filter_map(|manifest| manifest.fitness()).min();
    let fitting: Vec<&&Descriptor> =
        left.iter().filter(|manifest| best.is_some() && manifest.fitness() == best).collect();
    match (&fitting[..], left.is_empty()) {
        ([only], _) => Ok((**only).clone()),
        (_, true) => bail!("it has no image"),
        ([], _) if left.iter().any(|manifest| manifest.platform.is_some()) => {
            let (architecture, _) = machine();
            Err(anyhow!("it has no image for linux/{architecture}: it has {}", list(manifests)))
        }
        _ => bail!("it has several images: add the name of one to the path, after a colon: {}", list(manifests)),
    }
}

fn list(manifests: &[Descriptor]) -> String {
    let shown: Vec<String> =
        manifests.iter().filter(|one| !one.is_attestation()).take(20).map(Descriptor::shown).collect();
    if shown.is_empty() { "none".into() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(digit: char, platform: Option<(&str, &str)>, name: Option<&str>) -> Descriptor {
        Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: format!("sha256:{}", digit.to_string().repeat(64)),
            size: 1,
            platform: platform.map(|(architecture, variant)| Platform {
                os: if architecture == "unknown" { "unknown" } else { "linux" }.into(),
                architecture: architecture.into(),
                variant: Some(variant.to_owned()).filter(|variant| !variant.is_empty()),
            }),
            annotations: name.map(|name| BTreeMap::from([(NAMES[0].to_owned(), name.to_owned())])),
            urls: None,
        }
    }

    fn chosen(manifests: &[Descriptor]) -> Result<char> {
        Ok(choose(manifests)?.digest.chars().last().unwrap())
    }

    #[test]
    fn the_manifest_for_this_machine_is_chosen_or_the_only_one() {
        let (own, variants) = machine();
        let other = if own == "s390x" { "amd64" } else { "s390x" };
        assert_eq!(chosen(&[manifest('1', Some((other, "")), None)]).unwrap(), '1');
        let both = [manifest('1', Some((other, "")), None), manifest('2', Some((own, variants[0])), None)];
        assert_eq!(chosen(&both).unwrap(), '2');
        let attested = [manifest('1', Some((other, "")), None), manifest('2', Some(("unknown", "unknown")), None)];
        assert_eq!(chosen(&attested).unwrap(), '1');
        let same = [manifest('1', None, Some("one")), manifest('1', None, Some("two"))];
        assert_eq!(chosen(&same).unwrap(), '1');
        let strange = [
            manifest('1', Some((own, "strange")), None),
            manifest('2', Some((own, variants[1 % variants.len()])), None),
        ];
        assert_eq!(chosen(&strange).unwrap(), '2');
    }

    #[test]
    fn of_several_images_none_is_guessed() {
        let several = [manifest('1', None, Some("app:1")), manifest('2', None, Some("app:2"))];
        let error = chosen(&several).unwrap_err().to_string();
        assert!(error.contains("several images") && error.contains("\"app:1\", \"app:2\""), "{error}");
        assert_eq!(chosen(&named(&several, "app:2").unwrap()).unwrap(), '2');
        assert_eq!(chosen(&named(&several, "1").unwrap()).unwrap(), '1');
        assert!(named(&several, "3").unwrap_err().to_string().contains("no image \"3\""));
        let (own, _) = machine();
        let other = if own == "s390x" { "amd64" } else { "s390x" };
        let foreign = [manifest('1', Some((other, "")), None), manifest('2', Some(("riscv64x", "")), None)];
        assert!(chosen(&foreign).unwrap_err().to_string().contains(&format!("no image for linux/{own}")));
        assert!(chosen(&[]).unwrap_err().to_string().contains("no image"));
    }
}
