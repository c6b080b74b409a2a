//! `kubectl auth`: what may I do, and who am I.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    printers::{Format, output_flag, tabwriter::TabWriter},
    select::{flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Auth;

/// What `can-i` knows as verbs.
const VERBS: [&str; 23] = [
    "*",
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "use",
    "bind",
    "impersonate",
    "escalate",
    "approve",
    "sign",
    "attest",
    "request-serviceaccounts-token-audience",
    "put",
    "post",
    "head",
    "options",
    "connect",
    "trace",
];

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";

#[async_trait]
impl Command for Auth {
    fn words(&self) -> Words {
        Words::new("auth")
            .about("Inspect authorization")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                Words::new("can-i")
                    .about("Check whether an action is allowed")
                    .arg(Arg::new("words").num_args(0..).value_name("VERB TYPE[/NAME]"))
                    .arg(crate::select::all_namespaces())
                    .arg(
                        Arg::new("subresource")
                            .long("subresource")
                            .help("SubResource such as pod/log or deployment/scale"),
                    )
                    .arg(
                        boolean(Arg::new("quiet").short('q').long("quiet"))
                            .default_value("false")
                            .help("If true, suppress output and just return the exit code."),
                    )
                    .arg(
                        boolean(Arg::new("list").long("list"))
                            .default_value("false")
                            .help("If true, prints all allowed actions."),
                    )
                    .arg(
                        boolean(Arg::new("no-headers").long("no-headers"))
                            .default_value("false")
                            .help("If true, prints allowed actions without headers"),
                    ),
            )
            .subcommand(
                Words::new("whoami")
                    .about("Experimental: Check self subject attributes")
                    .arg(output_flag())
                    .arg(Arg::new("words").num_args(0..).hide(true)),
            )
            .subcommand(super::reconcile::words())
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        match matches.subcommand() {
            Some(("can-i", inner)) if flag(inner, "list") => list(context, inner).await,
            Some(("can-i", inner)) => can_i(context, inner).await,
            Some(("whoami", inner)) => whoami(context, inner).await,
            Some(("reconcile", inner)) => super::reconcile::run(context, inner).await,
            _ => Err(Error::Exit(1)),
        }
    }
}

async fn can_i(context: &Context, matches: &ArgMatches) -> Result<()> {
    let given = words(matches, "words");
    let [verb, what] = given.as_slice() else {
        return Err(Error::message(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for \
             help and examples.",
        ));
    };
    if what.starts_with('/') && !text(matches, "subresource").is_empty() {
        return Err(Error::message("--subresource can not be used with NonResourceURL"));
    }
    if !VERBS.contains(&verb.as_str()) {
        eprintln!("Warning: verb '{verb}' is not a known verb\n");
    }
    let spec = if what.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": verb, "path": what}})
    } else {
        let (kind, named) = what.split_once('/').unwrap_or((what, ""));
        let all = flag(matches, "all-namespaces");
        let namespace = if all { String::new() } else { context.namespace().await? };
        let known = context.mapper().await?.resource(kind).ok();
        let (group, resource) = match known {
            Some(known) => (known.group.clone(), known.plural.clone()),
            None if kind == "*" => (String::from("*"), String::from("*")),
            None => {
                let (resource, group) = kind.split_once('.').unwrap_or((kind, ""));
                let of = if group.is_empty() { String::new() } else { format!(" in group '{group}'") };
                eprintln!("Warning: the server doesn't have a resource type '{resource}'{of}\n");
                (group.to_owned(), resource.to_owned())
            }
        };
        let scope = known.is_none_or(|k| k.namespaced);
        if !scope {
            let of = if group.is_empty() { String::new() } else { format!(" in group '{group}'") };
            eprintln!("Warning: resource '{resource}' is not namespace scoped{of}\n");
        }
        let attributes = json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource,
            "subresource": text(matches, "subresource"), "name": named});
        json!({"resourceAttributes": attributes})
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer = context.api().await?.post(&format!("{AUTHORIZATION}/selfsubjectaccessreviews"), &review).await?;
    let status = &answer["status"];
    let allowed = status["allowed"] == true;
    if !flag(matches, "quiet") {
        let mut line = String::from(if allowed { "yes" } else { "no" });
        for (field, lead) in [("reason", ""), ("evaluationError", "")] {
            if let Some(text) = status[field].as_str().filter(|t| !t.is_empty() && !allowed) {
                line.push_str(&format!(" - {lead}{text}"));
            }
        }
        context.line(line)?;
    }
    if allowed { Ok(()) } else { Err(Error::Exit(1)) }
}

async fn list(context: &Context, matches: &ArgMatches) -> Result<()> {
    if !words(matches, "words").is_empty() {
        return Err(Error::message("list option must be specified with no arguments"));
    }
    let namespace = context.namespace().await?;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}});
    let answer = context.api().await?.post(&format!("{AUTHORIZATION}/selfsubjectrulesreviews"), &review).await?;
    if answer["status"]["incomplete"] == true
        && let Some(why) = answer["status"]["evaluationError"].as_str().filter(|why| !why.is_empty())
    {
        eprintln!("Warning: the list may be incomplete: {why}");
    }
    let rules = ["resourceRules", "nonResourceRules"].map(|field| answer["status"][field].as_array());
    let rows = crate::describe::rule_rows(rules.into_iter().flatten().flatten());
    let mut writer = TabWriter::new();
    if !flag(matches, "no-headers") {
        writer.row(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
    }
    rows.into_iter().for_each(|row| writer.row(row));
    context.print(writer.take())
}

async fn whoami(context: &Context, matches: &ArgMatches) -> Result<()> {
    let format = Format::of(matches)?;
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}, "status": {}});
    let answer = context.api().await?.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    if matches!(format, Format::Name) {
        // The object has no name.
        return context.line("selfsubjectreview.authentication.k8s.io/<unknown>");
    }
    if !format.is_table() {
        return context.print(format.typed_object(&answer, None)?);
    }
    let user = &answer["status"]["userInfo"];
    let mut writer = TabWriter::new();
    writer.row(["ATTRIBUTE", "VALUE"]);
    let listed = |value: &Value| {
        let words: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("[{}]", words.join(" "))
    };
    if let Some(name) = user["username"].as_str().filter(|n| !n.is_empty()) {
        writer.row(["Username", name]);
    }
    if let Some(uid) = user["uid"].as_str().filter(|u| !u.is_empty()) {
        writer.row(["UID", uid]);
    }
    if user["groups"].as_array().is_some_and(|g| !g.is_empty()) {
        writer.row(["Groups".to_owned(), listed(&user["groups"])]);
    }
    let mut extra: Vec<_> = user["extra"].as_object().into_iter().flatten().collect();
    extra.sort_by_key(|(key, _)| *key);
    for (key, value) in extra {
        writer.row([format!("Extra: {key}"), listed(value)]);
    }
    context.print(writer.take())
}
