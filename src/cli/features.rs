//! `features`

use anyhow::Result;

use crate::container::features::document;
use crate::lifecycle::annotations;

pub fn run() -> Result<u8> {
    println!("{:#}", document(&annotations::keys()));
    Ok(0)
}
