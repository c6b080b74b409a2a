//! `kubectl autoscale`: a horizontal pod autoscaler for a workload.
use super::Command;
use crate::{
    Context, Error, Result,
    select::{self, text},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words, parser::ValueSource};
use serde_json::{Value, json};

pub struct Autoscale;

#[async_trait]
impl Command for Autoscale {
    fn words(&self) -> Words {
        let number = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).allow_negative_numbers(true).value_parser(clap::value_parser!(i32)).help(help)
        };
        write::flags(select::add(
            Words::new("autoscale")
                .about("Auto-scale a deployment, replica set, stateful set, or replication controller"),
        ))
        .arg(number("min", "The lower limit for the number of pods that can be set by the autoscaler."))
        .arg(number("max", "The upper limit for the number of pods that can be set by the autoscaler. Required."))
        .arg(Arg::new("cpu").long("cpu").help("Target CPU utilization over all the pods: a percentage or a quantity."))
        .arg(
            Arg::new("memory")
                .long("memory")
                .help("Target memory utilization over all the pods: a percentage or a quantity."),
        )
        .arg(number(
            "cpu-percent",
            "The target average CPU utilization over all the pods, in percent of what they request.",
        ))
        .arg(Arg::new("name").long("name").help("The name for the newly created object."))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-autoscale")?;
        let Some(max) = matches.get_one::<i32>("max").copied() else {
            return Err(Error::message("required flag(s) \"max\" not set"));
        };
        if matches.value_source("cpu-percent") == Some(ValueSource::CommandLine) {
            eprintln!(
                "Flag --cpu-percent has been deprecated, Use --cpu with percentage or resource quantity format (e.g., '70%' for \
                 utilization or '500m' for milliCPU)."
            );
        }
        let min = matches.get_one::<i32>("min").copied().unwrap_or(-1);
        if max < 1 {
            return Err(Error::message(format!("--max=MAXPODS is required and must be at least 1, max: {max}")));
        }
        if max < min {
            return Err(Error::message(format!(
                "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {max}, min: {min}"
            )));
        }
        for target in select::targets(context, matches).await? {
            let Some(name) = target.name.as_deref() else {
                return Err(Error::message("resource(s) were provided, but no name was specified"));
            };
            let object = context.api().await?.get(&target.path()).await?;
            if !target.resource.subresources.iter().any(|s| s == "scale") {
                let resource = &target.resource;
                return Err(Error::message(format!(
                    "cannot autoscale a {}: could not find scale subresource for {}/{}, Resource={} in discovery information",
                    resource.kind, resource.group, resource.version, resource.plural
                )));
            }
            let given = text(matches, "name");
            let metadata = json!({"name": if given.is_empty() { name } else { &given }});
            let reference = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "name": name});
            let mut spec = json!({"maxReplicas": max, "scaleTargetRef": reference});
            if min > 0 {
                spec["minReplicas"] = json!(min);
            }
            let metrics = metrics(matches)?;
            if !metrics.is_empty() {
                spec["metrics"] = json!(metrics);
            }
            let mut scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata,
                "spec": spec, "status": {"currentMetrics": null, "desiredReplicas": 0}});
            let resource = context.mapper().await?.kind("autoscaling/v2", "HorizontalPodAutoscaler")?.clone();
            scaler["metadata"]["namespace"] = json!(target.namespace);
            if writer.dry_run == DryRun::Client {
                writer.report_typed(&resource, scaler, "autoscaled")?;
                continue;
            }
            let made = select::of_object(context, &scaler).await?;
            let created = writer.create(&made, &scaler).await;
            let mut created = created.map_err(|error| match error.is_already_exists() && spec_has_no_metrics(&scaler) {
                // What the official one makes of its second try, with the older version.
                true => Error::message(
                    "failed to create autoscaling/v2 HPA and the configuration is incompatible with autoscaling/v1: empty input",
                ),
                false => error,
            })?;
            // Written even when there are none.
            if let Some(status) = created["status"].as_object_mut() {
                status.entry("currentMetrics").or_insert(Value::Null);
            }
            writer.report_typed(&made.resource, created, "autoscaled")?;
        }
        Ok(())
    }
}

fn spec_has_no_metrics(scaler: &Value) -> bool {
    scaler["spec"]["metrics"].is_null()
}

fn metrics(matches: &ArgMatches) -> Result<Vec<Value>> {
    let percent = matches.get_one::<i32>("cpu-percent").copied().filter(|p| *p >= 0).map(|p| format!("{p}%"));
    let mut found = Vec::new();
    for (name, given) in [("cpu", text(matches, "cpu")), ("memory", text(matches, "memory"))] {
        let given = if given.is_empty() && name == "cpu" { percent.clone().unwrap_or_default() } else { given };
        if given.is_empty() {
            continue;
        }
        let target = match given.strip_suffix('%') {
            Some(percent) => {
                let percent: i32 =
                    percent.parse().map_err(|_| Error::message(format!("invalid {name} percentage: {given}")))?;
                json!({"type": "Utilization", "averageUtilization": percent})
            }
            None => {
                let quantity = apimachinery::quantity::Quantity::parse(&given)
                    .map_err(|_| Error::message(format!("invalid resource {name} value: {given}")))?;
                json!({"type": "AverageValue", "averageValue": quantity.to_string()})
            }
        };
        found.push(json!({"type": "Resource", "resource": {"name": name, "target": target}}));
    }
    Ok(found)
}
