//! `kubectl set image`, `set env` and `set serviceaccount`: fields of a pod template.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    select::{self, Target, flag, words},
    write::{self, DryRun, Writer},
};
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
                .help("If true, set image will NOT contact api-server but run locally."),
        )
}

#[async_trait]
impl Command for Set {
    fn words(&self) -> Words {
        Words::new("set")
            .about("Set specific features on objects")
            .subcommand_required(true)
            .subcommand(form("image", "Update existing container image(s) of resources"))
            .subcommand(
                form("env", "Update environment variables on a pod template")
                    .arg(
                        Arg::new("containers")
                            .short('c')
                            .long("containers")
                            .default_value("*")
                            .help("The names of containers in the selected pod templates to change"),
                    )
                    .arg(
                        Arg::new("env")
                            .short('e')
                            .long("env")
                            .action(ArgAction::Append)
                            .help("Specify a key-value pair for an environment variable to set into each container."),
                    ),
            )
            .subcommand(form("serviceaccount", "Update the service account of a resource").visible_alias("sa"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some((name, inner)) = matches.subcommand() else { return Err(Error::Exit(1)) };
        if flag(inner, "local") {
            return Err(Error::message(format!("set {name} --local is not implemented")));
        }
        let all = words(inner, "words");
        match name {
            "image" => {
                let (images, _) = write::pairs(&all.iter().filter(|w| w.contains('=')).cloned().collect::<Vec<_>>())?;
                if images.is_empty() {
                    return Err(Error::message("at least one image update is required"));
                }
                change(context, inner, "image updated", |spec| set_images(spec, &images)).await
            }
            "env" => {
                let pairs: Vec<String> = all
                    .into_iter()
                    .filter(|w| w.contains('=') || w.ends_with('-'))
                    .chain(words(inner, "env"))
                    .collect();
                let (set, removed) = write::pairs(&pairs)?;
                if set.is_empty() && removed.is_empty() {
                    return Err(Error::message("at least one environment variable must be provided"));
                }
                let only = select::text(inner, "containers");
                change(context, inner, "env updated", |spec| {
                    set_env(spec, &only, &set, &removed);
                    Ok(())
                })
                .await
            }
            _ => Err(Error::message(format!("set {name} is not implemented"))),
        }
    }
}

/// The pod spec inside of an object.
fn pod_spec(object: &mut Value) -> Option<&mut Value> {
    let path = match object["kind"].as_str()? {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    object.pointer_mut(path)
}

async fn change(
    context: &Context,
    matches: &ArgMatches,
    done: &str,
    edit: impl Fn(&mut Value) -> Result<()>,
) -> Result<()> {
    let writer = Writer::new(context, matches, "kubectl-set")?;
    for target in select::each(context, matches).await? {
        let before = context.api().await?.get(&target.path()).await?;
        let mut after = before.clone();
        let Some(spec) = pod_spec(&mut after) else {
            return Err(Error::message(format!("{} has no pod template", target.resource.kind)));
        };
        edit(spec)?;
        if after == before {
            continue;
        }
        let result =
            if writer.dry_run == DryRun::Client { after } else { send(&writer, &target, &before, &after).await? };
        writer.report(&target.resource, result, done)?;
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

fn containers(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
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

fn set_env(spec: &mut Value, only: &str, set: &[(String, String)], removed: &[String]) {
    for container in containers(spec).filter(|c| only == "*" || c["name"] == only) {
        let mut env = container["env"].as_array().cloned().unwrap_or_default();
        env.retain(|e| !removed.iter().any(|name| e["name"] == name.as_str()));
        for (name, value) in set {
            let new = json!({"name": name, "value": value});
            match env.iter_mut().find(|e| e["name"] == name.as_str()) {
                Some(old) => *old = new,
                None => env.push(new),
            }
        }
        container["env"] = Value::Array(env);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_variables() {
        let mut spec = json!({"containers": [{"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}]}]});
        set_images(&mut spec, &[("a".into(), "y".into())]).expect("there");
        assert!(set_images(&mut spec, &[("b".into(), "y".into())]).is_err());
        set_env(&mut spec, "*", &[("L".into(), "2".into())], &["K".into()]);
        assert_eq!(spec, json!({"containers": [{"name": "a", "image": "y", "env": [{"name": "L", "value": "2"}]}]}));
    }
}
