//! `kubectl kustomize`: what a kustomization makes.
use super::Command;
use crate::{
    Context, Error, Result, kustomize,
    select::{text, words},
};
use apimachinery::codec::yaml;
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use std::path::Path;

pub struct Kustomize;

/// `apply -k` says what is wrong and no more; this command says that it is an error.
fn as_error(error: Error) -> Error {
    match error {
        Error::Plain(text) if !text.starts_with("error: ") => Error::Message(text),
        other => other,
    }
}

#[async_trait]
impl Command for Kustomize {
    fn words(&self) -> Words {
        Words::new("kustomize")
            .about("Build a kustomization target from a directory or URL")
            .arg(Arg::new("words").num_args(0..).value_name("DIR"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let folder = match words(matches, "words").as_slice() {
            [] => ".".to_owned(),
            [one] => one.clone(),
            _ => {
                return Err(Error::usage("kustomize", "specify one path to kustomization.yaml"));
            }
        };
        let restrict = match text(matches, "load-restrictor").as_str() {
            "LoadRestrictionsRootOnly" => true,
            "LoadRestrictionsNone" => false,
            other => {
                return Err(Error::message(format!(
                    "illegal flag value --load-restrictor {other}; legal values: [LoadRestrictionsRootOnly LoadRestrictionsNone]"
                )));
            }
        };
        let objects = kustomize::build(Path::new(&folder), restrict, true).map_err(as_error)?;
        let output = text(matches, "output");
        if !output.is_empty() && Path::new(&output).is_dir() {
            for object in objects {
                let part =
                    |text: &serde_json::Value| text.as_str().unwrap_or_default().to_lowercase().replace('/', "_");
                let name = format!(
                    "{}_{}_{}.yaml",
                    part(&object["apiVersion"]),
                    part(&object["kind"]),
                    part(&object["metadata"]["name"])
                );
                std::fs::write(Path::new(&output).join(name), yaml::to_string(&object))?;
            }
            return Ok(());
        }
        let whole = objects.iter().map(yaml::to_string).collect::<Vec<_>>().join("---\n");
        if output.is_empty() { context.print(whole) } else { Ok(std::fs::write(output, whole)?) }
    }
}
