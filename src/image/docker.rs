//! What `docker save` writes: `manifest.json`, which names a configuration and layers in the same tar.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::digest::Digest;
use super::files::Files;
use super::{Contents, PackedLayer, is_name};

pub const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Finds the image that is meant, or the one that there is.
pub fn contents(files: &Files, reference: Option<&str>) -> Result<Contents> {
    let saved: Vec<Saved> = serde_json::from_slice(&files.read(MANIFEST)?).context("parse \"manifest.json\"")?;
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    let is_it = |one: &&Saved| reference.is_none_or(|name| tags(one).iter().any(|tag| is_name(tag, name)));
    let found: Vec<&Saved> = saved.iter().filter(is_it).collect();
    let all: Vec<String> = saved.iter().flat_map(tags).take(20).map(|tag| format!("{tag:?}")).collect();
    let all = if all.is_empty() { "images without a name".into() } else { all.join(", ") };
    match (&found[..], reference) {
        ([only], _) => read(files, only),
        ([], Some(reference)) => bail!("it has no image {reference:?}: it has {all}"),
        ([], None) => bail!("it has no image"),
        (_, _) => bail!("it has several images: add the name of one to the path, after a colon: {all}"),
    }
}

fn read(files: &Files, saved: &Saved) -> Result<Contents> {
    let config = files.read(&saved.config).context("configuration")?;
    // The configuration is named by its digest: HEX.json, or blobs/sha256/HEX.
    let stem = saved.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Ok(expected) = format!("sha256:{stem}").parse::<Digest>() {
        let digest = expected.of(&config);
        if digest != expected {
            bail!("the digest of {:?} is {digest}: it is damaged or was changed, save the image again", saved.config);
        }
    }
    let layer = |name: &String| {
        let part = files.find(name)?.with_context(|| format!("layer {name:?} is not in it: save the image again"))?;
        Ok(PackedLayer { name: format!("{name:?}"), part, digest: None })
    };
    Ok(Contents { config, layers: saved.layers.iter().map(layer).collect::<Result<_>>()? })
}
