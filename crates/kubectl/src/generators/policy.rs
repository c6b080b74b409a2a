//! Ingresses, disruption budgets, and names that carry a hash of the content.
use super::{named, object, one};
use crate::{
    Error, Result,
    select::{text, words},
    write::pairs,
};
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Map, Value, json};

pub fn ingress_words() -> Words {
    let many = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
    named("ingress", "Create an ingress with the specified name")
        .visible_alias("ing")
        .args([many("rule"), many("annotation")])
        .args([one("class"), one("default-backend")])
}

/// `service:port`, the port by number or name.
fn backend(spec: &str) -> Result<Value> {
    let Some((name, port)) = spec.split_once(':') else {
        return Err(Error::message(format!("invalid backend {spec}, expected service:port")));
    };
    let port = port.parse::<i32>().map_or_else(|_| json!({"name": port}), |number| json!({"number": number}));
    Ok(json!({"service": {"name": name, "port": port}}))
}

pub fn ingress(matches: &ArgMatches) -> Result<Value> {
    let (rules, default) = (words(matches, "rule"), text(matches, "default-backend"));
    if rules.is_empty() && default.is_empty() {
        return Err(Error::message(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
        ));
    }
    let mut spec = json!({});
    if !text(matches, "class").is_empty() {
        spec["ingressClassName"] = json!(text(matches, "class"));
    }
    if !default.is_empty() {
        spec["defaultBackend"] = backend(&default)?;
    }
    let mut hosts: Vec<(String, Vec<Value>)> = Vec::new();
    let mut tls: Vec<Value> = Vec::new();
    for rule in &rules {
        let invalid = || {
            Error::message(format!(
                "rule {rule} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            ))
        };
        let (route, options) = rule.split_once(',').map_or((rule.as_str(), None), |(r, o)| (r, Some(o)));
        let (place, service) = route.split_once('=').ok_or_else(invalid)?;
        let (host, path) = place.split_once('/').ok_or_else(invalid)?;
        let (path, kind) = match path.strip_suffix('*') {
            Some(prefix) => (format!("/{prefix}"), "Prefix"),
            None => (format!("/{path}"), "Exact"),
        };
        let path = json!({"backend": backend(service).map_err(|_| invalid())?, "path": path, "pathType": kind});
        match hosts.iter_mut().find(|(known, _)| known == host) {
            Some((_, paths)) => paths.push(path),
            None => hosts.push((host.to_owned(), vec![path])),
        }
        match options.map(|o| o.split_once('=').unwrap_or((o, ""))) {
            Some(("tls", secret)) => {
                let mut entry = json!({});
                if !host.is_empty() {
                    entry["hosts"] = json!([host]);
                }
                if !secret.is_empty() {
                    entry["secretName"] = json!(secret);
                }
                tls.push(entry);
            }
            Some(_) => return Err(invalid()),
            None => {}
        }
    }
    if !hosts.is_empty() {
        let rules = hosts.into_iter().map(|(host, paths)| {
            let mut rule = json!({"http": {"paths": paths}});
            if !host.is_empty() {
                rule["host"] = json!(host);
            }
            rule
        });
        spec["rules"] = rules.collect();
    }
    if !tls.is_empty() {
        spec["tls"] = json!(tls);
    }
    let mut made =
        object("networking.k8s.io/v1", "Ingress", matches, json!({"spec": spec, "status": {"loadBalancer": {}}}));
    let (annotations, _) = pairs(&words(matches, "annotation"))?;
    if !annotations.is_empty() {
        made["metadata"]["annotations"] = annotations.into_iter().map(|(k, v)| (k, Value::from(v))).collect();
    }
    Ok(made)
}

pub fn budget_words() -> Words {
    named("poddisruptionbudget", "Create a pod disruption budget with the specified name").visible_alias("pdb").args([
        one("selector"),
        one("min-available"),
        one("max-unavailable"),
    ])
}

pub fn budget(matches: &ArgMatches) -> Result<Value> {
    if text(matches, "selector").is_empty() {
        return Err(Error::message("a selector must be specified"));
    }
    let typed = apimachinery::labels::Selector::parse(&text(matches, "selector"));
    typed.map_err(|e| Error::message(e.to_string()))?;
    let words: Vec<String> = text(matches, "selector").split(',').map(str::to_owned).collect();
    let (labels, _) = pairs(&words)?;
    let labels: Map<String, Value> = labels.into_iter().map(|(k, v)| (k, v.into())).collect();
    let number = |text: String| text.parse::<i32>().map_or_else(|_| json!(text), |n| json!(n));
    let mut spec = json!({"selector": {"matchLabels": labels}});
    match (text(matches, "min-available"), text(matches, "max-unavailable")) {
        (min, max) if min.is_empty() && max.is_empty() => {
            return Err(Error::message("one of min-available or max-unavailable must be specified"));
        }
        (min, max) if max.is_empty() => spec["minAvailable"] = number(min),
        (min, max) if min.is_empty() => spec["maxUnavailable"] = number(max),
        _ => return Err(Error::message("min-available and max-unavailable cannot be both specified")),
    }
    let status = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    Ok(object("policy/v1", "PodDisruptionBudget", matches, json!({"spec": spec, "status": status})))
}
