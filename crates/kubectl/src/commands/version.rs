//! `kubectl version`.
use super::Command;
use crate::{
    Context, Error, Result,
    context::VERSION,
    printers,
    select::{flag, text},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Version;

/// The order of what is known of versions.
const ORDER: &[&str] = &[
    "clientVersion",
    "kustomizeVersion",
    "serverVersion",
    "major",
    "minor",
    "emulationMajor",
    "emulationMinor",
    "minCompatibilityMajor",
    "minCompatibilityMinor",
    "gitVersion",
    "gitCommit",
    "gitTreeState",
    "buildDate",
    "goVersion",
    "compiler",
    "platform",
];

#[async_trait]
impl Command for Version {
    fn words(&self) -> Words {
        Words::new("version")
            .about("Print the client and server version information")
            .arg(
                crate::global::boolean(Arg::new("client").long("client"))
                    .default_value("false")
                    .help("If true, shows client version only (no server required)."),
            )
            .arg(Arg::new("output").short('o').long("output").help("One of 'yaml' or 'json'."))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let output = text(matches, "output");
        let mut versions = json!({
            "clientVersion": {"major": "1", "minor": "36", "gitVersion": VERSION, "platform": platform()},
            "kustomizeVersion": "not included",
        });
        let asked = match flag(matches, "client") {
            true => Ok(()),
            false => match context.api().await?.get("/version").await {
                Ok(server) => {
                    versions["serverVersion"] = server;
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        match output.as_str() {
            "" => context.print(plain(&versions))?,
            "json" => context.print(printers::json_ordered(&versions, ORDER).replace("    ", "  "))?,
            "yaml" => context.print(format!("{}\n", apimachinery::codec::yaml::to_string(&versions)))?,
            _ => return Err(Error::message("--output must be 'yaml' or 'json'")),
        }
        asked
    }
}

fn platform() -> String {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    format!("linux/{architecture}")
}

fn plain(versions: &Value) -> String {
    let mut out = format!("Client Version: {VERSION}\nKustomize Version: not included\n");
    if let Some(server) = versions["serverVersion"]["gitVersion"].as_str() {
        out.push_str(&format!("Server Version: {server}\n"));
    }
    out
}
