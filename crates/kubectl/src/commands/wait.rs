//! `kubectl wait`: until objects are gone, exist, or fulfil a condition.
use super::Command;
use crate::{
    Context, Error, Result,
    http::with_query,
    jsonpath::{JsonPath, shown},
    select::{self, Target, flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub struct Wait;

/// The longest wait that "forever" means: a negative timeout.
const FOREVER: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often to look for objects that a watch cannot name yet.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Debug)]
enum Until {
    Deleted,
    Created,
    Condition { kind: String, status: String },
    Value { path: JsonPath, wanted: Option<String> },
}

impl Until {
    fn parse(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        if lower == "delete" {
            return Ok(Until::Deleted);
        }
        if lower == "create" {
            return Ok(Until::Created);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (kind, status) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(Until::Condition { kind: kind.to_lowercase(), status: status.to_lowercase() });
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            let rest = rest.trim_matches(|c| c == '\'' || c == '"');
            if rest.is_empty() {
                return Err(Error::message("jsonpath expression cannot be empty"));
            }
            let end = rest.rfind('}').map_or(0, |at| at + 1);
            let (path, wanted) = match rest[end..].split_once('=') {
                Some((tail, wanted)) => (format!("{}{tail}", &rest[..end]), Some(wanted.trim_matches(['\'', '"']))),
                None => (rest.to_owned(), None),
            };
            if wanted.is_some_and(str::is_empty) {
                return Err(Error::message(
                    "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3",
                ));
            }
            return Ok(Until::Value {
                path: JsonPath::parse_relaxed(path.trim_matches(['\'', '"']))?,
                wanted: wanted.map(str::to_owned),
            });
        }
        Err(Error::message(format!("unrecognized condition: \"{text}\"")))
    }

    /// Whether an object that exists is what is waited for.
    fn is_met(&self, object: &Value) -> Result<bool> {
        Ok(match self {
            Until::Deleted => false,
            Until::Created => true,
            Until::Condition { kind, status } => {
                let generation = object["metadata"]["generation"].as_i64();
                let lower = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
                let found = object["status"]["conditions"].as_array().into_iter().flatten();
                let found = found.into_iter().find(|c| lower(&c["type"]) == *kind);
                // A condition about an older generation says nothing.
                found.is_some_and(|c| {
                    let observed = c["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
                    observed.zip(generation).is_none_or(|(seen, is)| seen >= is) && lower(&c["status"]) == *status
                })
            }
            Until::Value { path, wanted } => {
                let values = path.values_or_none(object)?;
                match (values.as_slice(), wanted) {
                    ([], _) => false,
                    (_, None) => true,
                    ([Value::Object(_) | Value::Array(_)], _) => {
                        return Err(Error::message("jsonpath leads to a nested object or list which is not supported"));
                    }
                    ([one], Some(wanted)) => shown(one) == *wanted,
                    _ => return Err(Error::message("given jsonpath expression matches more than one value")),
                }
            }
        })
    }
}

#[async_trait]
impl Command for Wait {
    fn words(&self) -> Words {
        let about = "Experimental: Wait for a specific condition on one or many resources";
        select::add(Words::new("wait").about(about))
            .arg(select::all_namespaces())
            .arg(select::field_selector())
            .arg(
                crate::global::boolean(Arg::new("all").long("all"))
                    .default_value("false")
                    .help("Select all resources in the namespace of the specified resource types"),
            )
            .arg(Arg::new("for").long("for").action(ArgAction::Append).help(
                "The condition to wait on: [create|delete|condition=condition-name[=condition-value]|jsonpath='{JSONPath expression}'=[JSONPath value]].",
            ))
            .arg(
                crate::global::duration(Arg::new("timeout"))
                    .long("timeout")
                    .default_value("30s")
                    .help("The length of time to wait before giving up. Zero means check once and don't wait, negative means wait for a week."),
            )
            .arg(crate::printers::output_flag())
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let conditions = words(matches, "for");
        if conditions.is_empty() {
            return Err(Error::message("unrecognized condition: []"));
        }
        if select::is_empty(matches) {
            return Err(Error::message(select::NOTHING_SELECTED));
        }
        let format = crate::printers::Format::of(matches)?;
        let patience = crate::global::span(matches, "timeout");
        let patience = if patience.is_below_zero() { FOREVER } else { patience.length() };
        let deadline = Instant::now() + patience;
        for condition in &conditions {
            let until = Until::parse(condition)?;
            let mut targets = select(context, matches).await?;
            while targets.is_empty() && matches!(until, Until::Created) && Instant::now() < deadline {
                tokio::time::sleep(LOOK_AGAIN).await;
                targets = select(context, matches).await?;
            }
            if targets.is_empty() && matches!(until, Until::Deleted) {
                continue;
            }
            if targets.is_empty() {
                return Err(Error::message("no matching resources found"));
            }
            let mut errors = Vec::new();
            for target in targets {
                if matches!(until, Until::Deleted)
                    && context.api().await?.get(&target.path()).await.is_err_and(|e| e.is_not_found())
                {
                    continue;
                }
                match wait(context, &target, &until, deadline, patience.is_zero()).await {
                    Ok(object) => {
                        let met = "condition met";
                        match object {
                            Some(object) => {
                                crate::printers::changed(context, &format, &target.resource, &object, met)?;
                            }
                            None => context.line(format!("{} {met}", name(&target)))?,
                        }
                    }
                    Err(error) => errors.push(error),
                }
            }
            Error::collect(errors)?;
        }
        Ok(())
    }
}

/// As [`select::each`]; names that do not exist are left to the wait.
async fn select(context: &Context, matches: &ArgMatches) -> Result<Vec<Target>> {
    if !flag(matches, "all") && text(matches, "selector").is_empty() && text(matches, "field-selector").is_empty() {
        let targets = select::targets(context, matches).await?;
        if targets.iter().any(|t| t.name.is_none()) {
            return Err(Error::message("resource(s) were provided, but no name was specified"));
        }
        return Ok(targets);
    }
    select::each(context, matches).await
}

fn name(target: &Target) -> String {
    target.resource.object_name(target.name.as_deref().unwrap_or_default())
}

/// Follow one object; the object that met the condition, none when that means it is gone. `check_once`: nothing is
/// waited for.
async fn wait(
    context: &Context,
    target: &Target,
    until: &Until,
    deadline: Instant,
    check_once: bool,
) -> Result<Option<Value>> {
    let api = context.api().await?;
    let timed_out = || Error::message(format!("timed out waiting for the condition on {}", described(target)));
    // The time is that of all objects together: later ones may get none at all.
    if Instant::now() >= deadline && !check_once {
        return Err(timed_out());
    }
    let mut first_uid = None;
    loop {
        let object = match api.get(&target.path()).await {
            Err(error) if error.is_not_found() => match until {
                Until::Deleted => return Ok(None),
                Until::Created => {
                    if Instant::now() + LOOK_AGAIN > deadline {
                        return Err(Error::message("timed out waiting for the condition"));
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
                _ => return Err(error),
            },
            other => other?,
        };
        let uid = object["metadata"]["uid"].as_str().map(str::to_owned);
        let known = first_uid.get_or_insert_with(|| uid.clone());
        if matches!(until, Until::Deleted) && *known != uid {
            return Ok(None);
        }
        if until.is_met(&object)? {
            return Ok(Some(object));
        }
        let only = format!("metadata.name={}", target.name.as_deref().unwrap_or_default());
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let collection = target.resource.collection(target.namespace.as_deref());
        let query = [("watch", "true"), ("fieldSelector", only.as_str()), ("resourceVersion", version)];
        let follow = async {
            let mut events = api.stream(&with_query(&collection, &query), crate::http::JSON).await?;
            while let Some(mut event) = events.event().await? {
                match event["type"].as_str() {
                    Some("DELETED") | Some("ERROR") => return Ok(None),
                    _ => {
                        let object = event["object"].take();
                        if until.is_met(&object)? {
                            return Ok(Some(object));
                        }
                    }
                }
            }
            Ok::<_, Error>(None)
        };
        match timeout_at(deadline, follow).await {
            Ok(Ok(Some(object))) => return Ok(Some(object)),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if check_once => {
                return Err(Error::message(format!("condition not met for {}", described(target))));
            }
            Err(_) => return Err(timed_out()),
        }
    }
}

fn described(target: &Target) -> String {
    format!("{}/{}", target.resource.plural, target.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions() {
        let pod = json!({"metadata": {"generation": 2}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1}]}});
        let cases = [
            ("condition=Ready", true),
            ("condition=ready=True", true),
            ("condition=Ready=false", false),
            ("condition=Old", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Pending", false),
            ("jsonpath=.status.phase=Running", true),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.nothing}", false),
            ("delete", false),
            ("create", true),
        ];
        for (text, want) in cases {
            assert_eq!(Until::parse(text).expect(text).is_met(&pod).expect(text), want, "{text}");
        }
        assert_eq!(Until::parse("x").expect_err("unknown").text(), "error: unrecognized condition: \"x\"");
    }
}
