//! `features`

use anyhow::Result;

use crate::cgroup::PROPERTY_PREFIX;
use crate::container::features::document;
use crate::lifecycle::annotations;

pub fn run() -> Result<u8> {
    // features.md: one that ends in a dot stands for all that begin with it.
    let unsafe_annotations: Vec<String> = annotations::keys().into_iter().chain([PROPERTY_PREFIX.to_owned()]).collect();
    println!("{:#}", document(&unsafe_annotations));
    Ok(0)
}
