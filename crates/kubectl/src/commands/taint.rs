//! `kubectl taint`: nodes' taints.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    printers,
    select::{self, Target, flag, text, words},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Taint;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `key=value:effect`, `key:effect`; an empty effect (only for removal) means all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    key: String,
    value: String,
    effect: String,
}

impl Spec {
    fn shown(&self) -> String {
        format!("{}:{}", self.key, self.effect)
    }

    fn is_of(&self, taint: &Value) -> bool {
        taint["key"] == self.key.as_str() && (self.effect.is_empty() || taint["effect"] == self.effect.as_str())
    }
}

#[async_trait]
impl Command for Taint {
    fn words(&self) -> Words {
        write::flags(Words::new("taint").about("Update the taints on one or more nodes"))
            .arg(Arg::new("words").num_args(0..).value_name("NODE NAME KEY_1=VAL_1:TAINT_EFFECT_1"))
            .arg(select::selector())
            .arg(boolean(Arg::new("all").long("all")).default_value("false").help("Select all nodes in the cluster"))
            .arg(
                boolean(Arg::new("overwrite").long("overwrite"))
                    .default_value("false")
                    .help("If true, allow taints to be overwritten, otherwise reject taint updates that overwrite existing taints."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-taint")?;
        let given = words(matches, "words");
        let is_taint = |word: &&String| word.contains('=') || word.contains(':') || word.ends_with('-');
        let (set, removed) = parse(given.iter().filter(is_taint))?;
        if set.is_empty() && removed.is_empty() {
            return Err(Error::message("at least one taint update is required"));
        }
        let selecting: Vec<String> = given.iter().filter(|w| !is_taint(w)).cloned().collect();
        for target in nodes(context, matches, &selecting).await? {
            let node = context.api().await?.get(&target.path()).await?;
            let (taints, what) = change(&node, &set, &removed, flag(matches, "overwrite"))?;
            let patch = json!({"spec": {"taints": taints}});
            let done = match writer.dry_run {
                DryRun::Client => node,
                _ => writer.patch(&target, "application/merge-patch+json", &patch).await?,
            };
            // Nothing here says that it was a dry run.
            printers::changed(context, &writer.format, &target.resource, &done, what)?;
        }
        Ok(())
    }
}

async fn nodes(context: &Context, matches: &ArgMatches, words: &[String]) -> Result<Vec<Target>> {
    let mut found = Vec::new();
    for target in select::from_words(context, words, false).await? {
        if target.resource.kind != "Node" {
            return Err(Error::message(format!(
                "invalid resource type {}, only node types are supported",
                target.resource.plural
            )));
        }
        if target.name.is_some() {
            found.push(target);
            continue;
        }
        let labels = text(matches, "selector");
        if labels.is_empty() && !flag(matches, "all") {
            return Err(Error::message(
                "at least one resource name must be specified since '--all' parameter is not set",
            ));
        }
        let path = crate::http::with_query(&target.path(), &[("labelSelector", labels.as_str())]);
        let list = context.api().await?.get(&path).await?;
        for item in list["items"].as_array().into_iter().flatten() {
            found.push(Target { name: item["metadata"]["name"].as_str().map(str::to_owned), ..target.clone() });
        }
    }
    Ok(found)
}

fn parse<'a>(words: impl Iterator<Item = &'a String>) -> Result<(Vec<Spec>, Vec<Spec>)> {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for word in words {
        let (plain, remove) = word.strip_suffix('-').map_or((word.as_str(), false), |plain| (plain, true));
        let (pair, effect) = plain.split_once(':').unwrap_or((plain, ""));
        // Without an effect, all of it is the key.
        let (key, value) = match effect.is_empty() {
            true => (plain, ""),
            false => pair.split_once('=').unwrap_or((pair, "")),
        };
        if let Some(why) = apimachinery::validation::is_qualified_name(key).pop() {
            return Err(mistake(format!("invalid taint spec: {word}, {why}")));
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            return Err(mistake(format!("invalid taint effect: {effect}, unsupported taint effect")));
        }
        let spec = Spec { key: key.into(), value: value.into(), effect: effect.into() };
        if remove {
            removed.push(spec);
        } else if effect.is_empty() {
            return Err(mistake(format!("invalid taint spec: {word}")));
        } else if set.iter().any(|known: &Spec| known.key == spec.key && known.effect == spec.effect) {
            let Spec { key, value, effect } = spec;
            return Err(mistake(format!(
                "duplicated taints with the same key and effect: {{{key} {value} {effect} <nil>}}"
            )));
        } else {
            set.push(spec);
        }
    }
    let both = removed.iter().filter(|removed| {
        set.iter().any(|spec| spec.key == removed.key && (removed.effect.is_empty() || spec.effect == removed.effect))
    });
    let both: Vec<String> = both.map(|spec| format!("{}={}", spec.key, spec.effect)).collect();
    if !both.is_empty() {
        return Err(Error::message(format!(
            "can not both modify and remove the following taint(s) in the same command: {}",
            both.join(", ")
        )));
    }
    Ok((set, removed))
}

/// A word that is no taint.
fn mistake(text: String) -> Error {
    Error::usage("taint", text)
}

/// The new taints, and what to call the change.
fn change(node: &Value, set: &[Spec], removed: &[Spec], overwrite: bool) -> Result<(Vec<Value>, &'static str)> {
    let old: Vec<Value> = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let known = set.iter().filter(|spec| old.iter().any(|t| spec.is_of(t)));
    let known: Vec<&str> = known.map(|spec| spec.key.as_str()).collect();
    if !overwrite && !known.is_empty() {
        return Err(Error::message(format!(
            "node {name} already has {} taint(s) with same effect(s) and --overwrite is false",
            known.join(",")
        )));
    }
    for spec in removed {
        if !old.iter().any(|t| spec.is_of(t)) {
            let shown = if spec.effect.is_empty() { spec.key.clone() } else { spec.shown() };
            return Err(Error::message(format!("taint \"{shown}\" not found")));
        }
    }
    let mut taints: Vec<Value> = set
        .iter()
        .map(|spec| {
            let mut taint = json!({"key": spec.key, "effect": spec.effect});
            if !spec.value.is_empty() {
                taint["value"] = json!(spec.value);
            }
            taint
        })
        .collect();
    taints.extend(old.into_iter().filter(|t| !set.iter().chain(removed).any(|spec| spec.is_of(t))));
    let what = match (set.is_empty(), removed.is_empty()) {
        _ if overwrite => "modified",
        (true, _) => "untainted",
        (_, true) => "tainted",
        _ => "modified",
    };
    Ok((taints, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_come_and_go() {
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "value": "1", "effect": "NoSchedule"}]}});
        let words = |text: &str| parse(text.split(' ').map(str::to_owned).collect::<Vec<_>>().iter()).expect("taints");
        let (set, removed) = words("b=2:NoExecute a-");
        let (taints, what) = change(&node, &set, &removed, false).expect("changed");
        assert_eq!((json!(taints), what), (json!([{"key": "b", "value": "2", "effect": "NoExecute"}]), "modified"));
        let (set, removed) = words("a=2:NoSchedule");
        let error = change(&node, &set, &removed, false).expect_err("exists").text();
        assert_eq!(error, "error: node n already has a taint(s) with same effect(s) and --overwrite is false");
        let (set, removed) = words("x-");
        assert_eq!(change(&node, &set, &removed, false).expect_err("none").text(), "error: taint \"x\" not found");
    }
}
