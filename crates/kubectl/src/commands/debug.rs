//! `kubectl debug`: a container to look around with, in a running pod, in a copy of it, or on a node.
//!
//! Source: KEP-277, KEP-1441, and `k8s.io/kubectl/pkg/cmd/debug`.
use super::{Command, debug_options::Options, debug_profile::find};
use crate::{
    Context, Error, Result, manifests,
    select::{self, Target, words},
    streams::{self, Streams},
};
use apimachinery::{names::random_string, patch, schema};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Debug;

/// Random letters behind `node-debugger-`.
const SUFFIX_LENGTH: usize = 5;

const STRATEGIC: &str = "application/strategic-merge-patch+json";

const NON_ROOT: &str = "Warning: Non-root user is configured for the entire target Pod, and some capabilities granted by \
    debug profile may not work. Please consider using \"--custom\" with a custom profile that specifies \
    \"securityContext.runAsUser: 0\".";

#[async_trait]
impl Command for Debug {
    fn words(&self) -> Words {
        let pairs = |name: &'static str| {
            Arg::new(name).long(name).action(ArgAction::Append).value_delimiter(',').value_parser(key_value)
        };
        Words::new("debug")
            .about("Create debugging sessions for troubleshooting workloads and nodes")
            .arg(Arg::new("words").num_args(0..).value_name("POD | TYPE/NAME"))
            .arg(Arg::new("command").num_args(0..).last(true))
            .arg(manifests::file_flag())
            .arg(pairs("env"))
            .arg(pairs("set-image"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let options = Options::new(matches)?;
        options.check(context, matches)?;
        let names = words(matches, "words").into_iter().map(|word| match word.contains('/') {
            true => word,
            false => format!("pods/{word}"),
        });
        let mut targets = Vec::new();
        for object in manifests::read(context, matches).await? {
            targets.push(select::of_object(context, &object).await?);
        }
        let names: Vec<String> = names.collect();
        if !names.is_empty() {
            targets.extend(select::from_words(context, &names, false).await?);
        }
        for target in targets {
            let debugging = begin(context, &options, &target).await?;
            if let Some((pod, container)) = debugging.filter(|_| options.attach) {
                attach(context, &options, pod, &container).await?;
            }
        }
        Ok(())
    }
}

/// pflag's word for `--env=A`.
fn key_value(text: &str) -> std::result::Result<String, String> {
    match text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err(format!("{text} must be formatted as key=value")),
    }
}

/// Make the debugging container; the pod it is in, and its name.
async fn begin(context: &Context, options: &Options, target: &Target) -> Result<Option<(Value, String)>> {
    let api = context.api().await?;
    let object = api.get(&target.path()).await?;
    let mut random = rand::random::<u32>;
    match target.resource.kind.as_str() {
        "Node" => {
            let node = object["metadata"]["name"].as_str().unwrap_or_default();
            let container = if options.container.is_empty() { "debugger" } else { &options.container };
            let name = format!("node-debugger-{node}-{}", random_string(SUFFIX_LENGTH, random));
            if !options.quiet {
                context.line(format!("Creating debugging pod {name} with container {container} on node {node}."))?;
            }
            let pod = options.node_pod(node, &name, container)?;
            let created = create(context, &context.namespace().await?, &pod).await?;
            Ok(Some((created, container.to_owned())))
        }
        "Pod" if !options.copy_to.is_empty() => copy(context, options, &object, &mut random).await,
        "Pod" => {
            let mut pod = object.clone();
            let name = options.container_name(context, &mut pod, &mut random)?;
            let changed = options.with_ephemeral(&object, &name)?;
            warn_of_user(&changed, &name);
            let Some(schema) = schema::of("", "v1", "Pod") else { return Ok(None) };
            let patch = patch::two_way_strategic(&object, &changed, schema)
                .map_err(|e| Error::message(format!("error creating patch to add debug container: {e}")))?;
            let path = format!("{}/ephemeralcontainers", target.path());
            let patched = api.patch(&path, STRATEGIC, &patch).await.map_err(|error| match &error {
                Error::Server(status) if error.is_not_found() && status.body["details"]["name"].is_null() => {
                    Error::message(format!(
                        "ephemeral containers are disabled for this cluster (error from server: {:?})",
                        status.message
                    ))
                }
                _ => error,
            })?;
            Ok(Some((patched, name)))
        }
        kind => {
            let resource = &target.resource;
            Err(Error::message(format!(
                "\"{}/{}, Kind={kind}\" not supported by debug",
                resource.group, resource.version
            )))
        }
    }
}

async fn create(context: &Context, namespace: &str, pod: &Value) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{}/pods", crate::http::escape(namespace));
    context.api().await?.post(&path, pod).await
}

/// Start a copy of the pod, and end the original if that is asked for.
async fn copy(
    context: &Context,
    options: &Options,
    pod: &Value,
    random: &mut (dyn FnMut() -> u32 + Send),
) -> Result<Option<(Value, String)>> {
    let mut copied = options.bare_copy(pod);
    let existing = find(&mut copied, &options.container).is_some();
    let name = match (existing, options.image.is_empty()) {
        (true, _) => options.container.clone(),
        (false, true) if !options.set_images.is_empty() => String::new(),
        (false, true) => return Err(Error::message("you must specify image when creating new container")),
        (false, false) => options.container_name(context, &mut copied, random)?,
    };
    if !name.is_empty() {
        options.change_copy(&mut copied, &name)?;
        warn_of_user(&copied, &name);
    }
    let metadata = &pod["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let created = create(context, namespace, &copied).await?;
    if options.replace {
        let original = metadata["name"].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{original}");
        context.api().await?.delete(&path, &json!({"gracePeriodSeconds": 0})).await?;
    }
    Ok(Some((created, name)).filter(|(_, name)| !name.is_empty()))
}

/// Capabilities are of little use to a user who is not root.
fn warn_of_user(pod: &Value, container: &str) {
    let mut pod = pod.clone();
    let is_root = |context: &Value| context["runAsUser"].as_i64().map(|user| user == 0);
    if is_root(&pod["spec"]["securityContext"]) != Some(false) {
        return;
    }
    let Some(container) = find(&mut pod, container) else { return };
    let context = &container["securityContext"];
    let has_more = context["capabilities"]["add"].as_array().is_some_and(|all| !all.is_empty());
    if is_root(context) != Some(true) && (context["privileged"] == true || has_more) {
        eprintln!("{NON_ROOT}");
    }
}

/// The state of a container of any kind.
fn state<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let mut all = lists.iter().flat_map(|list| pod["status"][*list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == container).map(|status| &status["state"])
}

/// Attach once the container runs; the log of one that has ended says what it did.
async fn attach(context: &Context, options: &Options, pod: Value, container: &str) -> Result<()> {
    let pod = started(context, options, pod, container).await?;
    let target = select::of_object(context, &pod).await?;
    let log = async || {
        let path = crate::http::with_query(&format!("{}/log", target.path()), &[("container", container)]);
        context.print(context.api().await?.get_raw(&path).await?)
    };
    if state(&pod, container).is_some_and(|state| state["terminated"].is_object()) {
        return log().await;
    }
    let streams = Streams { stdin: options.stdin, tty: options.tty };
    match streams::attach_to(context, &pod, container, streams, options.quiet).await {
        Err(error @ (Error::Message(_) | Error::Server(_))) => {
            let name = target.name.as_deref().unwrap_or_default();
            eprintln!("warning: couldn't attach to pod/{name}, falling back to streaming logs: {}", error.bare());
            log().await
        }
        done => done,
    }
}

/// Wait until the container has started; why it waits is told.
async fn started(context: &Context, options: &Options, mut pod: Value, container: &str) -> Result<Value> {
    let target = select::of_object(context, &pod).await?;
    let (api, collection) = (context.api().await?, Target { name: None, ..target.clone() });
    let fields = format!("metadata.name={}", target.name.as_deref().unwrap_or_default());
    loop {
        let version = pod["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let query = [("watch", "true"), ("fieldSelector", fields.as_str()), ("resourceVersion", version.as_str())];
        let mut events = api.stream(&crate::http::with_query(&collection.path(), &query), crate::http::JSON).await?;
        loop {
            if let Some(state) = state(&pod, container) {
                if state["running"].is_object() || state["terminated"].is_object() {
                    return Ok(pod);
                }
                if let Some(why) = state["waiting"]["message"].as_str().filter(|why| !why.is_empty() && !options.quiet)
                {
                    eprintln!("Warning: container {container}: {why}");
                }
            }
            let Some(mut event) = events.event().await? else { break };
            match event["type"].as_str() {
                Some("DELETED") => return Err(Error::Server(Box::new(gone()))),
                Some("ERROR") => break,
                _ => pod = event["object"].take(),
            }
        }
        // The watch ended or is too old: from where the pod is now.
        pod = api.get(&target.path()).await?;
    }
}

/// What is said when the pod goes away while it is waited for.
fn gone() -> crate::error::Status {
    crate::error::Status {
        code: 404,
        reason: "NotFound".into(),
        message: "pods \"\" not found".into(),
        body: Value::Null,
    }
}
