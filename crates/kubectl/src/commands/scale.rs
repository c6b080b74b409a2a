//! `kubectl scale`.
use super::Command;
use crate::{
    Context, Error, Result,
    select::{self, text},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::json;

pub struct Scale;

#[async_trait]
impl Command for Scale {
    fn words(&self) -> Words {
        write::flags(select::add(
            Words::new("scale").about("Set a new size for a deployment, replica set, or replication controller"),
        ))
        .arg(select::all_namespaces())
        .arg(
            Arg::new("replicas")
                .long("replicas")
                .value_parser(clap::value_parser!(i32))
                .help("The new desired number of replicas. Required."),
        )
        .arg(
            Arg::new("current-replicas")
                .long("current-replicas")
                .allow_negative_numbers(true)
                .value_parser(clap::value_parser!(i32))
                .default_value("-1")
                .help("Precondition for current size."),
        )
        .arg(Arg::new("resource-version").long("resource-version").help("Precondition for resource version."))
        .arg(
            crate::global::boolean(Arg::new("all").long("all"))
                .default_value("false")
                .help("Select all resources in the namespace of the specified resource types"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .default_value("0s")
                .help("The length of time to wait before giving up on a scale operation"),
        )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some(replicas) = matches.get_one::<i32>("replicas").copied() else {
            return Err(Error::message("required flag(s) \"replicas\" not set"));
        };
        if replicas < 0 {
            return Err(Error::message(
                "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0",
            ));
        }
        if select::is_empty(matches) {
            return Err(Error::message(select::NOTHING_SELECTED));
        }
        let writer = Writer::new(context, matches, "kubectl")?;
        let wanted = matches.get_one::<i32>("current-replicas").copied().unwrap_or(-1);
        let version = text(matches, "resource-version");
        let targets = select::each(context, matches).await?;
        if targets.is_empty() {
            return Err(Error::message("no objects passed to scale"));
        }
        for target in targets {
            let path = format!("{}/scale", target.path());
            let api = context.api().await?;
            let current = api.get(&path).await?;
            let is = current["spec"]["replicas"].as_i64().unwrap_or(0);
            if wanted >= 0 && is != i64::from(wanted) {
                return Err(Error::message(format!("Expected replicas to be {wanted}, was {is}")));
            }
            if !version.is_empty() && current["metadata"]["resourceVersion"] != version.as_str() {
                return Err(Error::message(format!(
                    "Expected resource version to be {version}, was {}",
                    current["metadata"]["resourceVersion"].as_str().unwrap_or_default()
                )));
            }
            if writer.dry_run != DryRun::Client {
                let patch = json!({"spec": {"replicas": replicas}});
                api.patch(&writer.path(&path), "application/merge-patch+json", &patch).await?;
            }
            let object = if writer.format.is_table() { current } else { api.get(&target.path()).await? };
            writer.report(&target.resource, object, "scaled")?;
        }
        Ok(())
    }
}
