//! `kubectl scale`.
use super::Command;
use crate::{
    Context, Error, Result,
    http::Api,
    select::{self, text},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const AGAIN: Duration = Duration::from_secs(1);
/// How long writes that lose against others are made again.
const CONFLICTS: Duration = Duration::from_secs(300);

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
            crate::global::duration(Arg::new("timeout"))
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
        let wanted = Wanted {
            replicas,
            current: matches.get_one::<i32>("current-replicas").copied().filter(|replicas| *replicas != -1),
            version: text(matches, "resource-version"),
        };
        if wanted.current.is_some_and(|replicas| replicas < 0) {
            return Err(Error::message("The --current-replicas must specify an integer of -1 or greater"));
        }
        let patience = crate::global::span(matches, "timeout");
        let patience = (!patience.is_zero()).then(|| patience.length());
        let targets = select::each(context, matches).await?;
        if targets.is_empty() {
            return Err(Error::message("no objects passed to scale"));
        }
        let api = context.api().await?;
        for target in targets {
            let current = api.get(&target.path()).await?;
            if writer.dry_run != DryRun::Client {
                let path = format!("{}/scale", target.path());
                wanted.ask(&api, &path, &writer.path(&path)).await?;
                if let Some(patience) = patience.filter(|_| writer.dry_run == DryRun::None) {
                    let reached = tokio::time::timeout(patience, wanted.reached(&api, &path));
                    let timed_out = || {
                        format!("timed out waiting for \"{}\" to be synced", target.name.as_deref().unwrap_or_default())
                    };
                    reached.await.map_err(|_| Error::message(timed_out()))??;
                }
            }
            let object = if writer.format.is_table() { current } else { api.get(&target.path()).await? };
            writer.report(&target.resource, object, "scaled")?;
        }
        Ok(())
    }
}

struct Wanted {
    replicas: i32,
    /// What has to be, for anything to be done.
    current: Option<i32>,
    version: String,
}

impl Wanted {
    /// With conditions, written on top of what they were compared with, and again if another write came between.
    async fn ask(&self, api: &Api, path: &str, written: &str) -> Result<()> {
        if self.current.is_none() && self.version.is_empty() {
            let patch = json!({"spec": {"replicas": self.replicas}});
            api.patch(written, "application/merge-patch+json", &patch).await?;
            return Ok(());
        }
        let deadline = Instant::now() + CONFLICTS;
        loop {
            let mut scale = api.get(path).await?;
            self.check(&scale)?;
            scale["spec"]["replicas"] = self.replicas.into();
            match api.put(written, &scale).await {
                Err(error) if error.is_conflict() && Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
                other => return other.map(drop),
            }
        }
    }

    fn check(&self, scale: &Value) -> Result<()> {
        let is = replicas(scale, "spec");
        if let Some(wanted) = self.current.filter(|wanted| i64::from(*wanted) != is) {
            return Err(Error::message(format!("Expected replicas to be {wanted}, was {is}")));
        }
        let version = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !self.version.is_empty() && version != self.version {
            return Err(Error::message(format!("Expected resource version to be {}, was {version}", self.version)));
        }
        Ok(())
    }

    /// Until there are as many as wanted, or somebody wants another number.
    async fn reached(&self, api: &Api, path: &str) -> Result<()> {
        loop {
            let scale = api.get(path).await?;
            if replicas(&scale, "spec") != i64::from(self.replicas)
                || replicas(&scale, "status") == i64::from(self.replicas)
            {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn replicas(scale: &Value, side: &str) -> i64 {
    scale[side]["replicas"].as_i64().unwrap_or_default()
}
