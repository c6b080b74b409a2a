//! `kubectl events`: the events of a namespace or about an object, the oldest first.
use super::Command;
use crate::{
    Context, Error, Result,
    describe::since,
    http::{escape, with_query},
    printers::{self, Format, tabwriter::TabWriter},
    select::{self, flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Events;

#[async_trait]
impl Command for Events {
    fn words(&self) -> Words {
        Words::new("events")
            .about("List events")
            .arg(Arg::new("words").num_args(0..).hide(true))
            .arg(select::all_namespaces())
            .arg(Arg::new("for").long("for").help("Filter events to only those pertaining to the specified resource."))
            .arg(
                Arg::new("types")
                    .long("types")
                    .value_delimiter(',')
                    .action(ArgAction::Append)
                    .help("Output only events of given types."),
            )
            .arg(
                crate::global::boolean(Arg::new("no-headers").long("no-headers"))
                    .default_value("false")
                    .help("When using the default output format, don't print headers."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let types = words(matches, "types");
        if types.iter().any(|t| !["normal", "warning"].contains(&t.to_lowercase().as_str())) {
            return Err(Error::message("valid --types are Normal or Warning"));
        }
        let format = Format::of(matches)?;
        let all = flag(matches, "all-namespaces");
        let place = if all { None } else { Some(context.namespace().await?) };
        let path = match &place {
            Some(namespace) => format!("/api/v1/namespaces/{}/events", escape(namespace)),
            None => "/api/v1/events".to_owned(),
        };
        let about = about(context, &text(matches, "for")).await?;
        if flag(matches, "watch") {
            return watch(context, &path, &about, &types, all, !flag(matches, "no-headers")).await;
        }
        let mut list = context.api().await?.get(&with_query(&path, &[("fieldSelector", &about)])).await?;
        let mut found = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        found.retain(|event| is_of(event, &types));
        found.sort_by_key(|event| last(event).as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok()));
        if found.is_empty() {
            match place {
                Some(namespace) => eprintln!("No events found in {namespace} namespace."),
                None => eprintln!("No events found."),
            }
            return Ok(());
        }
        match format {
            Format::Table { .. } => context.print(table(&found, all, !flag(matches, "no-headers"))),
            // The official one has no names to print here.
            Format::Name => Ok(()),
            format => {
                for event in &mut found {
                    event["apiVersion"] = json!("v1");
                    event["kind"] = json!("Event");
                }
                let mut list = json!({"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": found});
                printers::fill(&mut list);
                if !flag(matches, "show-managed-fields") {
                    printers::strip_managed_fields(&mut list);
                }
                context.print(format.typed_object(&list, None)?)
            }
        }
    }
}

fn is_of(event: &Value, types: &[String]) -> bool {
    let kind = event["type"].as_str().unwrap_or_default();
    types.is_empty() || types.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind))
}

/// `--watch`: those that there are, and every one that comes, a row each.
async fn watch(
    context: &Context,
    path: &str,
    about: &str,
    types: &[String],
    with_namespace: bool,
    headed: bool,
) -> Result<()> {
    let path = with_query(path, &[("watch", "true"), ("fieldSelector", about)]);
    let mut events = context.api().await?.stream(&path, crate::http::JSON).await?;
    let mut writer = TabWriter::new();
    if headed {
        head(&mut writer, with_namespace);
    }
    loop {
        let event = match events.event().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            // A watch lasts as long as a request may take.
            Err(_) if context.has_request_timeout() => return Ok(()),
            Err(error) => return Err(error),
        };
        match event["type"].as_str() {
            Some("ERROR") => {
                return Err(Error::message(event["object"]["message"].as_str().unwrap_or("watch failed")));
            }
            Some("ADDED" | "MODIFIED") if is_of(&event["object"], types) => {
                row(&mut writer, &event["object"], with_namespace);
                context.print(writer.take())?;
            }
            _ => {}
        }
    }
}

/// The field selector for events about an object, given as `TYPE/NAME`; empty for all.
async fn about(context: &Context, word: &str) -> Result<String> {
    if word.is_empty() {
        return Ok(String::new());
    }
    if !word.contains('/') {
        return Err(Error::message("--for must be in resource/name form"));
    }
    let targets = select::from_words(context, &[word.to_owned()], false).await.map_err(|error| match error {
        Error::Message(text) if text.starts_with("the server doesn't have") => Error::Plain(text),
        other => other,
    })?;
    Ok(targets.first().map_or_else(String::new, |target| {
        let name = target.name.as_deref().unwrap_or_default();
        format!("involvedObject.kind={},involvedObject.name={name}", target.resource.kind)
    }))
}

/// When it happened last.
fn last(event: &Value) -> &Value {
    let series = &event["series"]["lastObservedTime"];
    match (series.is_string(), event["lastTimestamp"].is_string()) {
        (true, _) => series,
        (_, true) => &event["lastTimestamp"],
        _ => &event["eventTime"],
    }
}

fn table(events: &[Value], with_namespace: bool, headed: bool) -> String {
    let mut writer = TabWriter::new();
    if headed {
        head(&mut writer, with_namespace);
    }
    events.iter().for_each(|event| row(&mut writer, event, with_namespace));
    writer.take()
}

fn head(writer: &mut TabWriter, with_namespace: bool) {
    let first = if with_namespace { "NAMESPACE\t" } else { "" };
    writer.line(&format!("{first}LAST SEEN\tTYPE\tREASON\tOBJECT\tMESSAGE"));
}

fn row(writer: &mut TabWriter, event: &Value, with_namespace: bool) {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let namespace = if with_namespace { format!("{}\t", text(&event["metadata"]["namespace"])) } else { String::new() };
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(0);
    let first = if event["firstTimestamp"].is_string() { &event["firstTimestamp"] } else { &event["eventTime"] };
    let seen = match count > 1 {
        true => format!("{} (x{count} over {})", since(last(event)), since(first)),
        false => since(last(event)),
    };
    let (kind, reason, object) = (text(&event["type"]), text(&event["reason"]), &event["involvedObject"]);
    let object = format!("{}/{}", text(&object["kind"]), text(&object["name"]));
    writer.line(&format!("{namespace}{seen}\t{kind}\t{reason}\t{object}\t{}", text(&event["message"])));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_is_the_series_then_the_old_field_then_the_new_one() {
        let event = |value: Value| last(&value).clone();
        assert_eq!(event(json!({"series": {"lastObservedTime": "s"}, "lastTimestamp": "l"})), "s");
        assert_eq!(event(json!({"lastTimestamp": "l", "eventTime": "e"})), "l");
        assert_eq!(event(json!({"lastTimestamp": null, "eventTime": "e"})), "e");
    }

    #[test]
    fn tables_count() {
        let event = json!({"type": "Warning", "reason": "BackOff", "count": 1, "message": " m\n",
            "involvedObject": {"kind": "Pod", "name": "web"}, "metadata": {"namespace": "n"}});
        assert_eq!(
            table(&[event], true, true),
            "NAMESPACE   LAST SEEN   TYPE      REASON    OBJECT    MESSAGE\nn           <unknown>   Warning   BackOff   Pod/web   m\n"
        );
    }
}
