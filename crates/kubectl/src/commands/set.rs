//! `kubectl set`: fields of a pod template, a service's selector, a binding's subjects.
//!
//! Each sub-command is an edit of an object; what it changed is sent as a patch.
use super::{
    Command,
    set_env::{self, Env},
};
use crate::{
    Context, Error, Result,
    global::boolean,
    select::{self, Target, flag, text, words},
    write::{self, DryRun, Writer},
};
use apimachinery::quantity::Quantity;
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Set;

fn form(name: &'static str, about: &'static str) -> Words {
    write::flags(select::add(Words::new(name).about(about)))
        .arg(select::all_namespaces())
        .arg(
            boolean(Arg::new("all").long("all"))
                .default_value("false")
                .help("Select all resources, in the namespace of the specified resource types"),
        )
        .arg(
            boolean(Arg::new("local").long("local"))
                .default_value("false")
                .help("If true, set will NOT contact api-server but run locally."),
        )
}

fn containers_flag() -> Arg {
    Arg::new("containers")
        .short('c')
        .long("containers")
        .default_value("*")
        .help("The names of containers in the selected pod templates to change")
}

#[async_trait]
impl Command for Set {
    fn words(&self) -> Words {
        let value = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
        let many = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).action(ArgAction::Append).value_delimiter(',').help(help)
        };
        Words::new("set")
            .about("Set specific features on objects")
            .subcommand_required(true)
            .subcommand(form("image", "Update the image of a pod template"))
            .subcommand(
                set_env::flags(form("env", "Update environment variables on a pod template")).arg(containers_flag()),
            )
            .subcommand(
                form("resources", "Update resource requests/limits on objects with pod templates")
                    .arg(containers_flag())
                    .arg(value("limits", "The resource requirement limits for this container: cpu=100m,memory=256Mi."))
                    .arg(value("requests", "The resource requirement requests for this container.")),
            )
            .subcommand(form("selector", "Set the selector on a resource"))
            .subcommand(form("serviceaccount", "Update the service account of a resource").visible_alias("sa"))
            .subcommand(
                form("subject", "Update the user, group, or service account in a role binding or cluster role binding")
                    .arg(many("user", "Usernames to bind to the role"))
                    .arg(many("group", "Groups to bind to the role"))
                    .arg(many("serviceaccount", "Service accounts to bind to the role, <namespace>:<name>")),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some((name, inner)) = matches.subcommand() else { return Err(Error::Exit(1)) };
        if select::is_empty(inner) {
            return Err(Error::message(match name {
                "env" => "one or more resources must be specified as <resource> <name> or <resource>/<name>",
                _ => select::NOTHING_SELECTED,
            }));
        }
        let all = words(inner, "words");
        let only = text(inner, "containers");
        match name {
            "image" => {
                let (images, _) = write::pairs(&all.iter().filter(|w| w.contains('=')).cloned().collect::<Vec<_>>())?;
                if images.is_empty() {
                    return Err(Error::message("at least one image update is required"));
                }
                change(context, inner, &all, "image updated", |object, target| {
                    set_images(template(object, target)?, &images)
                })
                .await
            }
            "env" if all.is_empty() && !crate::manifests::given(inner) => {
                Err(Error::message("one or more resources must be specified as <resource> <name> or <resource>/<name>"))
            }
            "env" => {
                let env = Env::new(context, inner, &all).await?;
                if flag(inner, "list") {
                    return env.list(context, inner, &all).await;
                }
                change(context, inner, &all, "env updated", |object, target| env.set(template(object, target)?, target))
                    .await
            }
            "resources" => {
                let [limits, requests] = ["limits", "requests"].map(|name| quantities(&text(inner, name)));
                let (limits, requests) = (limits?, requests?);
                if limits.is_empty() && requests.is_empty() {
                    return Err(Error::message(
                        "you must specify an update to requests or limits (in the form of --requests/--limits)",
                    ));
                }
                change(context, inner, &all, "resource requirements updated", |object, target| {
                    let spec = template(object, target)?;
                    if only != "*" && !containers(spec).any(|c| c["name"] == *only) {
                        return Err(Error::message(format!("unable to find container named {only}")));
                    }
                    for container in containers(spec).filter(|c| only == "*" || c["name"] == *only) {
                        for (field, values) in [("limits", &limits), ("requests", &requests)] {
                            for (name, quantity) in values {
                                container["resources"][field][name] = json!(quantity);
                            }
                        }
                    }
                    Ok(())
                })
                .await
            }
            "serviceaccount" => {
                let Some((account, selecting)) = all.split_last() else { return Err(Error::Exit(1)) };
                change(context, inner, selecting, "serviceaccount updated", |object, target| {
                    template(object, target)?["serviceAccountName"] = json!(account);
                    Ok(())
                })
                .await
            }
            "selector" => {
                if let Some(set) = all.iter().find(|word| word.contains(" in (") || word.contains(" notin (")) {
                    return Err(Error::message(format!(
                        "match expression [{}] not supported on this object",
                        expression(set)
                    )));
                }
                let (pairs, _) = write::pairs(&all.iter().filter(|w| w.contains('=')).cloned().collect::<Vec<_>>())?;
                let selecting: Vec<String> = all.iter().filter(|w| !w.contains('=')).cloned().collect();
                let selecting =
                    if pairs.is_empty() { &selecting[..selecting.len().saturating_sub(1)] } else { &selecting };
                change(context, inner, selecting, "selector updated", |object, _| {
                    if object["kind"] != "Service" {
                        return Err(Error::message("setting a selector is only supported for Services"));
                    }
                    object["spec"]["selector"] = pairs.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
                    Ok(())
                })
                .await
            }
            _ => {
                let wanted = subjects(inner)?;
                change(context, inner, &all, "subjects updated", |object, target| {
                    if !["RoleBinding", "ClusterRoleBinding"].contains(&target.resource.kind.as_str()) {
                        let (plural, name) = (&target.resource.plural, target.name.as_deref().unwrap_or_default());
                        return Err(Error::message(format!(
                            "{plural}/{name} setting subjects is only supported for RoleBinding/ClusterRoleBinding"
                        )));
                    }
                    let mut present = object["subjects"].as_array().cloned().unwrap_or_default();
                    present.extend(wanted.iter().filter(|s| !present.contains(s)).cloned().collect::<Vec<_>>());
                    object["subjects"] = Value::Array(present);
                    Ok(())
                })
                .await
            }
        }
    }
}

/// `a in (b,c)` as Go prints the structure.
fn expression(text: &str) -> String {
    let (key, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (operator, values) = rest.split_once(" (").unwrap_or((rest, ""));
    let operator = if operator == "in" { "In" } else { "NotIn" };
    let values: Vec<&str> = values.trim_end_matches(')').split(',').map(str::trim).collect();
    format!("{{{key} {operator} [{}]}}", values.join(" "))
}

/// `cpu=100m,memory=1Gi`.
fn quantities(given: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for word in given.split(',').filter(|word| !word.is_empty()) {
        let Some((name, quantity)) = word.split_once('=') else {
            return Err(Error::message(format!("invalid argument syntax {word}, expected <resource>=<value>")));
        };
        let parsed = Quantity::parse(quantity).map_err(|e| Error::message(e.to_string()))?;
        found.push((name.to_owned(), parsed.to_string()));
    }
    Ok(found)
}

fn subjects(matches: &ArgMatches) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        found.extend(
            words(matches, flag)
                .into_iter()
                .map(|name| json!({"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name})),
        );
    }
    for account in words(matches, "serviceaccount") {
        let Some((namespace, name)) = account.split_once(':').filter(|(_, name)| !name.contains(':')) else {
            return Err(Error::message("serviceaccount must be <namespace>:<name>"));
        };
        found.push(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}));
    }
    if found.is_empty() {
        return Err(Error::message("you must specify at least one value of user, group or serviceaccount"));
    }
    Ok(found)
}

/// The pod spec inside of an object.
///
/// # Errors
/// It has none.
pub(super) fn template<'a>(object: &'a mut Value, target: &Target) -> Result<&'a mut Value> {
    let path = match object["kind"].as_str() {
        Some("Pod") => "/spec",
        Some("CronJob") => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    object.pointer_mut(path).ok_or_else(|| {
        let resource = &target.resource;
        let name = target.name.as_deref().unwrap_or_default();
        Error::message(format!(
            "{}/{name} the object is not a pod or does not have a pod template: *{}.{}",
            resource.plural, resource.version, resource.kind
        ))
    })
}

/// The objects that words (without what is to be set) and files select.
pub(super) async fn selected(context: &Context, matches: &ArgMatches, selecting: &[String]) -> Result<Vec<Target>> {
    if crate::manifests::given(matches) {
        return select::targets(context, matches).await;
    }
    let is_target = |word: &&String| !word.contains('=') && !word.ends_with('-');
    let selecting: Vec<String> = selecting.iter().filter(is_target).cloned().collect();
    if selecting.is_empty() {
        return Err(Error::message(select::NOTHING_SELECTED));
    }
    let targets = select::from_words(context, &selecting, flag(matches, "all-namespaces")).await?;
    select::each_of(context, matches, targets).await
}

/// What `--local` without files is told.
const NO_FILES: &str = "you must specify resources by --filename when --local is set.\n\
    Example resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'";

async fn change(
    context: &Context,
    matches: &ArgMatches,
    selecting: &[String],
    done: &str,
    edit: impl Fn(&mut Value, &Target) -> Result<()>,
) -> Result<()> {
    let writer = Writer::new(context, matches, "kubectl-set")?;
    if flag(matches, "local") {
        if !crate::manifests::given(matches) {
            return Err(Error::message(if done.starts_with("env") { select::NOTHING_SELECTED } else { NO_FILES }));
        }
        return local(&writer, matches, done, edit).await;
    }
    let mut errors = Vec::new();
    for target in selected(context, matches, selecting).await? {
        let before = match context.api().await?.get(&target.path()).await {
            Ok(object) => object,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let mut after = before.clone();
        if let Err(error) = edit(&mut after, &target) {
            errors.push(error);
            continue;
        }
        // These two tell of what is as it was, too.
        let always = done.starts_with("serviceaccount") || done.starts_with("selector");
        if after == before && !always {
            continue;
        }
        let result = match writer.dry_run {
            DryRun::Client => after,
            _ => send(&writer, &target, &before, &after).await.map_err(|error| match error {
                Error::Server(status) if done.starts_with("resource") => {
                    Error::message(format!("failed to patch resources update to pod template {}", status.message))
                }
                other => other,
            })?,
        };
        writer.report_typed(&target.resource, result, done)?;
    }
    Error::collect(errors)
}

/// `--local`: what files say, changed and printed; no server is asked.
async fn local(
    writer: &Writer<'_>,
    matches: &ArgMatches,
    done: &str,
    edit: impl Fn(&mut Value, &Target) -> Result<()>,
) -> Result<()> {
    for mut object in crate::manifests::read(writer.context, matches).await? {
        let (api_version, kind) = crate::manifests::type_of(&object)?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let plural = format!("{}s", kind.to_lowercase());
        let (group, version) = (group.to_owned(), version.to_owned());
        let resource = crate::mapper::Resource { group, version, kind, plural, ..Default::default() };
        let name = object["metadata"]["name"].as_str().map(str::to_owned);
        edit(&mut object, &Target { resource: resource.clone(), name, namespace: None })?;
        crate::printers::fill(&mut object);
        writer.report_typed(&resource, object, done)?;
    }
    Ok(())
}

async fn send(writer: &Writer<'_>, target: &Target, before: &Value, after: &Value) -> Result<Value> {
    let resource = &target.resource;
    let (kind, patch) = match apimachinery::schema::of(&resource.group, &resource.version, &resource.kind) {
        Some(schema) => {
            let patch = apimachinery::patch::two_way_strategic(before, after, schema);
            ("application/strategic-merge-patch+json", patch.map_err(|e| Error::message(e.to_string()))?)
        }
        None => ("application/merge-patch+json", apimachinery::patch::merge_diff(before, after)),
    };
    writer.patch(target, kind, &patch).await
}

/// Containers and init containers of a pod spec.
pub(super) fn containers(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let Value::Object(map) = spec else { return Vec::new().into_iter() };
    let lists = map.iter_mut().filter(|(key, _)| *key == "containers" || *key == "initContainers");
    lists.flat_map(|(_, list)| list.as_array_mut().into_iter().flatten()).collect::<Vec<_>>().into_iter()
}

fn set_images(spec: &mut Value, images: &[(String, String)]) -> Result<()> {
    for (name, image) in images {
        let mut found = false;
        for container in containers(spec).filter(|c| name == "*" || c["name"] == name.as_str()) {
            container["image"] = json!(image);
            found = true;
        }
        if !found {
            return Err(Error::message(format!("unable to find container named \"{name}\"")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_quantities() {
        let mut spec = json!({"containers": [{"name": "a", "image": "x"}]});
        set_images(&mut spec, &[("a".into(), "y".into())]).expect("there");
        assert!(set_images(&mut spec, &[("b".into(), "y".into())]).is_err());
        assert_eq!(spec, json!({"containers": [{"name": "a", "image": "y"}]}));
        assert_eq!(quantities("cpu=200m,memory=1Gi").expect("good").len(), 2);
        assert!(quantities("cpu=xx").is_err());
    }
}
