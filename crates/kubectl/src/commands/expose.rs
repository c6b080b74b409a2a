//! `kubectl expose`: a service for a pod, service, deployment, replica set or replication controller.
use super::Command;
use crate::{
    Context, Error, Result,
    select::{self, text},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Expose;

#[async_trait]
impl Command for Expose {
    fn words(&self) -> Words {
        let one = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
        write::flags(Words::new("expose").about(
            "Take a replication controller, service, deployment or pod and expose it as a new Kubernetes service",
        ))
        .arg(Arg::new("words").num_args(0..).value_name("TYPE NAME"))
        .arg(crate::manifests::file_flag())
        .arg(one("port", "The port that the service should serve on."))
        .arg(one(
            "target-port",
            "Name or number for the port on the container that the service should direct traffic to.",
        ))
        .arg(one("name", "The name for the newly created object."))
        .arg(one("type", "Type for this service: ClusterIP, NodePort, LoadBalancer, or ExternalName."))
        .arg(one("protocol", "The network protocol for the service to be created."))
        .arg(one("selector", "A label selector to use for this service."))
        .arg(Arg::new("labels").short('l').long("labels").help("Labels to apply to the service created by this call."))
        .arg(one("cluster-ip", "ClusterIP to be assigned to the service."))
        .arg(one("external-ip", "Additional external IP address."))
        .arg(one("load-balancer-ip", "IP to assign to the LoadBalancer."))
        .arg(one(
            "session-affinity",
            "If non-empty, set the session affinity for the service to this; legal values: 'None', 'ClientIP'",
        ))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-expose")?;
        if select::is_empty(matches) {
            return Err(Error::message(select::NOTHING_SELECTED));
        }
        // What files say is enough; what is named is asked for.
        let mut from_files = crate::manifests::read(context, matches).await?.into_iter();
        for target in select::targets(context, matches).await? {
            if target.name.is_none() {
                return Err(Error::message("resource(s) were provided, but no name was specified"));
            }
            let object = match from_files.next() {
                Some(object) => object,
                None => context.api().await?.get(&target.path()).await?,
            };
            let mut service = service(&object, matches)?;
            // What is only printed names the namespace that was asked for by name.
            let shown = writer.dry_run != DryRun::Client || context.global.namespace.is_some();
            if let Some(namespace) = target.namespace.as_ref().filter(|_| shown) {
                service["metadata"]["namespace"] = json!(namespace);
            }
            if writer.dry_run == DryRun::Client {
                let resource = context.mapper().await?.resource("services")?.clone();
                writer.report_typed(&resource, service, "exposed")?;
                continue;
            }
            let made = select::of_object(context, &service).await?;
            let created = writer.create(&made, &service).await?;
            writer.report(&made.resource, created, "exposed")?;
        }
        Ok(())
    }
}

/// The labels that the object's pods have.
fn selector(object: &Value) -> Result<Value> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let labels = match kind {
        "Pod" => &object["metadata"]["labels"],
        "Service" | "ReplicationController" => &object["spec"]["selector"],
        "Deployment" | "ReplicaSet" => {
            if object["spec"]["selector"]["matchExpressions"].as_array().is_some_and(|e| !e.is_empty()) {
                return Err(Error::message(format!(
                    "couldn't convert expressions - \"{}\" to map-based selector format",
                    object["spec"]["selector"]["matchExpressions"]
                )));
            }
            &object["spec"]["selector"]["matchLabels"]
        }
        _ => return Err(Error::message(format!("cannot expose a {kind}"))),
    };
    if labels.as_object().is_none_or(serde_json::Map::is_empty) {
        let why = match kind {
            "Service" => "the service has no pod selector set".to_owned(),
            _ => format!("the {} \"{name}\" has no labels and cannot be exposed", kind.to_lowercase()),
        };
        return Err(Error::message(match kind {
            "Pod" => why,
            _ => format!("couldn't retrieve selectors via --selector flag or introspection: {why}"),
        }));
    }
    Ok(labels.clone())
}

/// (number, protocol) of every port that the object's containers, or the service, name.
fn ports(object: &Value) -> Vec<(u64, String)> {
    let listed = match object["kind"].as_str() {
        Some("Service") => object["spec"]["ports"].as_array().into_iter().flatten().collect::<Vec<_>>(),
        Some("Pod") => container_ports(&object["spec"]),
        _ => container_ports(&object["spec"]["template"]["spec"]),
    };
    let number = |p: &Value| p["containerPort"].as_u64().or(p["port"].as_u64());
    listed.into_iter().filter_map(|p| Some((number(p)?, p["protocol"].as_str().unwrap_or("TCP").to_owned()))).collect()
}

fn container_ports(spec: &Value) -> Vec<&Value> {
    let containers = spec["containers"].as_array().into_iter().flatten();
    containers.flat_map(|c| c["ports"].as_array().into_iter().flatten()).collect()
}

fn service(object: &Value, matches: &ArgMatches) -> Result<Value> {
    let given = |name: &str| Some(text(matches, name)).filter(|t| !t.is_empty());
    let map = |text: &str| -> Result<Value> {
        let words: Vec<String> = text.split(',').map(str::to_owned).collect();
        Ok(write::pairs(&words)?.0.into_iter().map(|(k, v)| (k, Value::from(v))).collect())
    };
    let known = ports(object);
    let wanted: Vec<u64> = match given("port") {
        Some(list) => list
            .split(',')
            .map(|p| p.parse().map_err(|_| Error::message(format!("strconv.Atoi: parsing {p:?}: invalid syntax"))))
            .collect::<Result<_>>()?,
        None => known.iter().map(|(port, _)| *port).collect(),
    };
    if wanted.is_empty() {
        return Err(Error::message("couldn't find port via --port flag or introspection"));
    }
    let target_port = given("target-port").map(|t| t.parse::<u16>().map_or_else(|_| json!(t), |n| json!(n)));
    let several = wanted.len() > 1;
    let protocol_of = |port: u64| known.iter().find(|(p, _)| *p == port).map(|(_, protocol)| protocol.clone());
    let entries = wanted.into_iter().enumerate().map(|(i, port)| {
        let protocol = given("protocol").or_else(|| protocol_of(port)).unwrap_or_else(|| "TCP".into());
        let mut entry =
            json!({"port": port, "protocol": protocol, "targetPort": target_port.clone().unwrap_or(json!(port))});
        if several {
            entry["name"] = json!(format!("port-{}", i + 1));
        }
        entry
    });
    let ports: Vec<Value> = entries.collect();
    let selector = match given("selector") {
        Some(text) => map(&text)?,
        None => selector(object)?,
    };
    let mut spec = json!({"ports": ports, "selector": selector});
    for (flag, field) in [
        ("type", "type"),
        ("cluster-ip", "clusterIP"),
        ("session-affinity", "sessionAffinity"),
        ("load-balancer-ip", "loadBalancerIP"),
    ] {
        if let Some(value) = given(flag) {
            spec[field] = json!(value);
        }
    }
    if let Some(address) = given("external-ip") {
        spec["externalIPs"] = json!([address]);
    }
    let name = given("name").or_else(|| object["metadata"]["name"].as_str().map(str::to_owned)).unwrap_or_default();
    let mut metadata = json!({"name": name});
    match given("labels") {
        Some(text) => metadata["labels"] = map(&text)?,
        None if object["metadata"]["labels"].is_object() => metadata["labels"] = object["metadata"]["labels"].clone(),
        None => {}
    }
    Ok(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}),
    )
}
