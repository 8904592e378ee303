//! The configuration of an image: what a container of it runs when nobody says otherwise (image-spec, config.md).

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::digest::Digest;

/// What an image says of its containers. Its labels are not among it: they are never a source of hooks (threats.md S15).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    /// As it is written: a user, or a user and a group, by name or number.
    pub user: Option<String>,
    pub stop_signal: Option<String>,
    /// Operating system and architecture, as Go names them.
    pub platform: String,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    config: Option<Process>,
    rootfs: Rootfs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Option<Vec<String>>,
}

/// Reads it. With it come the digests of the layers' contents, the lowest layer first.
pub fn parse(json: &[u8]) -> Result<(ImageConfig, Vec<Digest>)> {
    let written: Written = serde_json::from_slice(json)?;
    if !matches!(written.os.as_str(), "linux" | "") {
        bail!("it is an image for {:?}: only Linux images can run here", written.os);
    }
    let process = written.config.unwrap_or_default();
    let env = process.env.unwrap_or_default();
    if let Some(wrong) = env.iter().find(|variable| !variable.contains('=')) {
        bail!("config.Env: {wrong:?} is not NAME=VALUE");
    }
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let config = ImageConfig {
        entrypoint: process.entrypoint.unwrap_or_default(),
        cmd: process.cmd.unwrap_or_default(),
        env,
        working_dir: given(process.working_dir),
        user: given(process.user),
        stop_signal: given(process.stop_signal),
        platform: format!("linux/{}", written.architecture),
    };
    let digest = |text: &String| text.parse().context("rootfs.diff_ids");
    let diff_ids = written.rootfs.diff_ids.iter().flatten().map(digest).collect::<Result<_>>()?;
    Ok((config, diff_ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LAYERS: &str = r#""rootfs":{"type":"layers","diff_ids":[]}"#;

    fn read(config: &str) -> Result<ImageConfig> {
        let json = format!(r#"{{"os":"linux","architecture":"arm64","config":{config},{NO_LAYERS}}}"#);
        Ok(parse(json.as_bytes())?.0)
    }

    #[test]
    fn what_is_not_said_is_empty() {
        let nothing = ImageConfig { platform: "linux/arm64".into(), ..Default::default() };
        for config in ["null", "{}", r#"{"Entrypoint":null,"Cmd":[],"User":"","WorkingDir":"","StopSignal":""}"#] {
            assert_eq!(read(config).unwrap(), nothing, "{config}");
        }
    }

    #[test]
    fn s15_labels_are_not_read() {
        let labelled = read(r#"{"Labels":{"bookend/pre-stop":"/bin/evil"},"Cmd":["x"]}"#).unwrap();
        assert_eq!(
            labelled,
            ImageConfig { cmd: vec!["x".into()], platform: "linux/arm64".into(), ..Default::default() }
        );
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_it() {
        let error = |json: &str| format!("{:#}", parse(json.as_bytes()).unwrap_err());
        assert!(error("[]").contains("invalid"), "{}", error("[]"));
        assert!(error(r#"{"os":"linux"}"#).contains("rootfs"));
        assert!(error(r#"{"os":"windows","rootfs":{}}"#).contains("\"windows\""));
        assert!(error(r#"{"config":{"Env":["X"]},"rootfs":{}}"#).contains("config.Env: \"X\""));
        assert!(error(r#"{"config":{"Cmd":"sh"},"rootfs":{}}"#).contains("invalid type"));
        assert!(error(r#"{"rootfs":{"diff_ids":["../x"]}}"#).contains("rootfs.diff_ids"));
    }
}
