//! `kubectl run`: one pod from an image.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    printers::Format,
    select::{flag, text, words},
    streams,
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::time::Duration;

pub struct Run;

/// How often a pod is looked at that is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[async_trait]
impl Command for Run {
    fn words(&self) -> Words {
        write::flags(Words::new("run").about("Run a particular image on the cluster"))
            .arg(Arg::new("name").required(true))
            .arg(Arg::new("args").num_args(0..).last(true))
            .arg(Arg::new("image").long("image").help("The image for the container to run."))
            .arg(
                Arg::new("image-pull-policy")
                    .long("image-pull-policy")
                    .help("The image pull policy for the container."),
            )
            .arg(Arg::new("restart").long("restart").default_value("Always").help("The restart policy for this Pod."))
            .arg(
                Arg::new("env")
                    .long("env")
                    .action(ArgAction::Append)
                    .help("Environment variables to set in the container."),
            )
            .arg(Arg::new("labels").short('l').long("labels").help("Comma separated labels to apply to the pod."))
            .arg(
                Arg::new("annotations")
                    .long("annotations")
                    .action(ArgAction::Append)
                    .help("Annotations to apply to the pod."),
            )
            .arg(
                Arg::new("port")
                    .long("port")
                    .value_parser(clap::value_parser!(u16))
                    .help("The port that this container exposes."),
            )
            .arg(Arg::new("overrides").long("overrides").help("An inline JSON override for the generated object."))
            .arg(
                Arg::new("override-type")
                    .long("override-type")
                    .default_value("merge")
                    .value_parser(["merge", "strategic", "json"])
                    .help("The method used to override the generated object."),
            )
            .arg(
                boolean(Arg::new("command").long("command"))
                    .default_value("false")
                    .help("If true and extra arguments are present, use them as the 'command' field in the container."),
            )
            .arg(
                boolean(Arg::new("expose").long("expose"))
                    .default_value("false")
                    .help("If true, create a ClusterIP service associated with the pod."),
            )
            .arg(
                boolean(Arg::new("privileged").long("privileged"))
                    .default_value("false")
                    .help("If true, run the container in privileged mode."),
            )
            .arg(
                Arg::new("stdin")
                    .short('i')
                    .long("stdin")
                    .action(ArgAction::SetTrue)
                    .help("Keep stdin open on the container in the pod."),
            )
            .arg(
                Arg::new("tty")
                    .short('t')
                    .long("tty")
                    .action(ArgAction::SetTrue)
                    .help("Allocate a TTY for the container in the pod."),
            )
            .arg(
                boolean(Arg::new("attach").long("attach"))
                    .help("If true, wait for the Pod to start running, and then attach to it."),
            )
            .arg(
                boolean(Arg::new("rm").long("rm"))
                    .default_value("false")
                    .help("If true, delete the pod after it exits."),
            )
            .arg(
                boolean(Arg::new("quiet").short('q').long("quiet"))
                    .default_value("false")
                    .help("If true, suppress prompt messages."),
            )
            .arg(crate::global::pod_running_timeout("1m0s"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-run")?;
        let image = text(matches, "image");
        if image.is_empty() {
            return Err(Error::message("required flag(s) \"image\" not set"));
        }
        if !crate::pods::is_image(&image) {
            return Err(Error::message(format!("invalid image name {image:?}: invalid reference format")));
        }
        let policy = text(matches, "image-pull-policy");
        if !["", "Always", "IfNotPresent", "Never"].contains(&policy.as_str()) {
            return Err(Error::message(format!(
                "invalid image pull policy: {policy}, valid values are: Always, IfNotPresent, Never"
            )));
        }
        let interactive = flag(matches, "stdin") || flag(matches, "tty");
        let attach = matches.get_one::<bool>("attach").copied().unwrap_or(interactive);
        if flag(matches, "rm") && !attach {
            return Err(Error::message("--rm should only be used for attached containers"));
        }
        if attach && writer.dry_run != DryRun::None {
            return Err(Error::message(
                "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)",
            ));
        }
        let restart = text(matches, "restart");
        if !["Always", "OnFailure", "Never"].contains(&restart.as_str()) {
            return Err(Error::message(format!(
                "invalid restart policy: {restart}, valid values are: Always, OnFailure, Never"
            )));
        }
        if flag(matches, "expose") && matches.get_one::<u16>("port").is_none() {
            return Err(Error::message("--port must be set when exposing a service"));
        }
        let pod = overridden(pod(matches, &image, attach)?, matches)?;
        let mut made = Vec::new();
        if flag(matches, "expose") {
            made.push(writer.create_generated(service(matches)?).await?);
            // Upstream ends the service's document here, and begins the pod's again.
            if matches!(writer.format, Format::Yaml) {
                context.print("---\n")?;
            }
        }
        if !attach {
            writer.create_generated(pod).await?;
            return Ok(());
        }
        // Who attaches sees the pod's output and nothing of ours.
        let (_, created) = writer.create_made(&pod).await?;
        made.insert(0, created.clone());
        let ended = match streams::attach_when_running(context, matches, &created).await {
            Ok(()) => ending(context, matches, &created).await,
            failed => failed,
        };
        if flag(matches, "rm") {
            for object in &made {
                remove(context, object, flag(matches, "quiet")).await?;
            }
        }
        ended
    }
}

/// How an attached pod ended; one that is started again for ever has no end.
async fn ending(context: &Context, matches: &ArgMatches, pod: &Value) -> Result<()> {
    let restart = text(matches, "restart");
    if restart == "Always" {
        return Ok(());
    }
    let patience = crate::global::patience(matches).map_err(|error| error.with_usage("run"))?;
    let target = crate::select::of_object(context, pod).await?;
    let api = context.api().await?;
    let end = async {
        loop {
            let pod = api.get(&target.path()).await?;
            match pod["status"]["phase"].as_str() {
                Some("Succeeded") => return Ok::<_, Error>(pod),
                // A failed pod that is to succeed is tried again.
                Some("Failed") if restart == "Never" => return Ok(pod),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    };
    let waited = tokio::time::timeout(patience, end).await;
    terminated(&waited.map_err(|_| Error::message("timed out waiting for the condition"))??)
}

/// The exit code of a failed pod's container is ours.
fn terminated(pod: &Value) -> Result<()> {
    if pod["status"]["phase"] != "Failed" {
        return Ok(());
    }
    let [namespace, name] = ["namespace", "name"].map(|f| pod["metadata"][f].as_str().unwrap_or_default());
    let end = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    let code = end["exitCode"].as_i64().and_then(|code| i32::try_from(code).ok()).filter(|code| *code != 0);
    let Some(code) = code else {
        return Err(Error::message(format!("pod {namespace}/{name} failed with unknown exit code")));
    };
    let [reason, message] = ["reason", "message"].map(|f| end[f].as_str().unwrap_or_default());
    Err(Error::Ended(format!("pod {namespace}/{name} terminated ({reason})\n{message}"), code))
}

/// `--rm`: delete what was made, and wait until it is gone.
async fn remove(context: &Context, object: &Value, quiet: bool) -> Result<()> {
    let target = crate::select::of_object(context, object).await?;
    let api = context.api().await?;
    api.delete(&target.path(), &json!({"propagationPolicy": "Background"})).await?;
    if !quiet {
        let kind = target.resource.object_name("");
        let (kind, name) = (kind.trim_end_matches('/'), target.name.as_deref().unwrap_or_default());
        let namespace = target.namespace.as_deref().unwrap_or_default();
        context.line(format!("{kind} \"{name}\" deleted from {namespace} namespace"))?;
    }
    loop {
        match api.get(&target.path()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            Ok(now) if now["metadata"]["uid"] != object["metadata"]["uid"] => return Ok(()),
            Ok(_) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}

fn labels(matches: &ArgMatches) -> Result<Value> {
    let given = text(matches, "labels");
    if given.is_empty() {
        return Ok(json!({"run": text(matches, "name")}));
    }
    let words: Vec<String> = given.split(',').map(str::to_owned).collect();
    if let Some(bad) = words.iter().find(|word| !word.contains('=') || word.starts_with('=')) {
        return Err(Error::message(format!("unexpected label spec: {bad}")));
    }
    let (set, _) = write::pairs(&words)?;
    Ok(set
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_iter()
        .map(|(k, v)| (k, Value::from(v)))
        .collect())
}

fn pod(matches: &ArgMatches, image: &str, attach: bool) -> Result<Value> {
    let name = text(matches, "name");
    let mut container = json!({"name": name, "image": image, "resources": {}});
    let arguments = words(matches, "args");
    if !arguments.is_empty() {
        container[if flag(matches, "command") { "command" } else { "args" }] = json!(arguments);
    }
    let policy = text(matches, "image-pull-policy");
    if !policy.is_empty() {
        container["imagePullPolicy"] = json!(policy);
    }
    let given = words(matches, "env");
    if let Some(bad) = given.iter().find(|word| !word.contains('=') || word.starts_with('=')) {
        return Err(Error::message(format!("invalid env: {bad}")));
    }
    let (env, _) = write::pairs(&given)?;
    if !env.is_empty() {
        container["env"] = env.into_iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
    }
    if let Some(port) = matches.get_one::<u16>("port") {
        container["ports"] = json!([{"containerPort": port}]);
    }
    if flag(matches, "privileged") {
        container["securityContext"] = json!({"privileged": true});
    }
    if flag(matches, "stdin") {
        container["stdin"] = json!(true);
        container["stdinOnce"] = json!(attach);
    }
    if flag(matches, "tty") {
        container["tty"] = json!(true);
    }
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels(matches)?},
        "spec": {"containers": [container], "restartPolicy": text(matches, "restart"), "dnsPolicy": "ClusterFirst"},
        "status": {},
    });
    let (annotations, _) = write::pairs(&words(matches, "annotations"))?;
    for (key, value) in annotations {
        pod["metadata"]["annotations"][key] = json!(value);
    }
    Ok(pod)
}

fn service(matches: &ArgMatches) -> Result<Value> {
    let Some(port) = matches.get_one::<u16>("port") else {
        return Err(Error::message("--port must be set when exposing a service"));
    };
    let labels = labels(matches)?;
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": text(matches, "name")},
        "spec": {"ports": [{"port": port, "protocol": "TCP", "targetPort": port}], "selector": labels},
        "status": {"loadBalancer": {}},
    });
    // The label that a pod gets by itself selects it, and stands on it alone.
    if !text(matches, "labels").is_empty() {
        service["metadata"]["labels"] = labels;
    }
    Ok(service)
}

fn overridden(mut object: Value, matches: &ArgMatches) -> Result<Value> {
    let text_of = text(matches, "overrides");
    if text_of.is_empty() {
        return Ok(object);
    }
    let refused = |e: &dyn std::fmt::Display| Error::message(format!("Invalid overrides: {e}"));
    match text(matches, "override-type").as_str() {
        "json" => apimachinery::patch::json_patch(&mut object, text_of.as_bytes()).map_err(|e| refused(&e))?,
        "strategic" => {
            let patch = serde_json::from_str(&text_of).map_err(|e| refused(&e))?;
            let schema =
                apimachinery::schema::of("", "v1", "Pod").ok_or_else(|| Error::message("no schema for Pod"))?;
            object = apimachinery::patch::strategic_merge_patch(object, patch, schema).map_err(|e| refused(&e))?;
        }
        _ => apimachinery::patch::merge_patch(&mut object, serde_json::from_str(&text_of).map_err(|e| refused(&e))?),
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pod_ends_us_with_its_code() {
        let pod = |phase: &str, end: Value| {
            json!({"metadata": {"namespace": "default", "name": "x"},
                "status": {"phase": phase, "containerStatuses": [{"state": {"terminated": end}}]}})
        };
        let cases = [
            (pod("Succeeded", json!({"exitCode": 0})), None),
            (pod("Failed", json!({"exitCode": 3, "reason": "Error"})), Some(("pod default/x terminated (Error)\n", 3))),
            (
                pod("Failed", json!({"exitCode": 137, "reason": "OOMKilled", "message": "m"})),
                Some(("pod default/x terminated (OOMKilled)\nm", 137)),
            ),
            (pod("Failed", json!({"exitCode": 0})), Some(("error: pod default/x failed with unknown exit code", 1))),
            (pod("Failed", Value::Null), Some(("error: pod default/x failed with unknown exit code", 1))),
        ];
        for (pod, want) in cases {
            let got = terminated(&pod).err().map(|error| (error.text(), error.code()));
            assert_eq!(got, want.map(|(text, code)| (text.to_owned(), code)), "{pod}");
        }
    }
}
