//! `kubectl version`.
use super::Command;
use crate::{
    Context, Error, Result, printers,
    select::{flag, text},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Version;

/// The version of the API that this kubectl was written for.
const CLIENT: &str = concat!("v1.36.2+ferrokube.", env!("CARGO_PKG_VERSION"));

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
            "clientVersion": {"major": "1", "minor": "36", "gitVersion": CLIENT, "platform": platform()},
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
            "json" => context.print(printers::json_string(&versions).replace("    ", "  "))?,
            "yaml" => context.print(apimachinery::codec::yaml::to_string(&versions))?,
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
    let mut out = format!("Client Version: {CLIENT}\nKustomize Version: not included\n");
    if let Some(server) = versions["serverVersion"]["gitVersion"].as_str() {
        out.push_str(&format!("Server Version: {server}\n"));
    }
    out
}
