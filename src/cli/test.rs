//! `test`
use super::args::{Global, Test};
pub fn run(_global: &Global, _args: &Test) -> anyhow::Result<u8> {
    todo!()
}
