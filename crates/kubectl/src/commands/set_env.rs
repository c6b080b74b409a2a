//! `kubectl set env`: variables given one by one, or taken from a config map or a secret.
use super::set::{containers, selected, template};
use crate::{
    Context, Error, Result,
    global::boolean,
    select::{Target, flag, text, words},
    write,
};
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::io::Read;

pub fn flags(command: Words) -> Words {
    let switch = |name: &'static str, default: &'static str, help: &'static str| {
        boolean(Arg::new(name).long(name)).default_value(default).help(help)
    };
    command
        .arg(
            Arg::new("env")
                .short('e')
                .long("env")
                .action(ArgAction::Append)
                .help("Specify a key-value pair for an environment variable to set into each container."),
        )
        .arg(Arg::new("from").long("from").help("The name of a resource from which to inject environment variables"))
        .arg(Arg::new("prefix").long("prefix").default_value("").help("Prefix to append to variable names"))
        .arg(
            Arg::new("keys")
                .long("keys")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Comma-separated list of keys to import from specified resource"),
        )
        .arg(switch("list", "false", "If true, display the environment and any changes in the standard format."))
        .arg(switch("overwrite", "true", "If true, allow environment to be overwritten"))
}

/// Larger input is no list of variables.
const MAX_INPUT_BYTES: u64 = 1024 * 1024;

/// What is to be set and removed, and in which containers.
#[derive(Debug, Default)]
pub struct Env {
    set: Vec<Value>,
    removed: Vec<String>,
    only: String,
    overwrite: bool,
}

/// `config.key-a` is `CONFIG_KEY_A`.
fn variable(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_uppercase() } else { '_' }).collect()
}

impl Env {
    /// # Errors
    /// A word is no pair, or the source is no config map or secret of this namespace.
    pub async fn new(context: &Context, matches: &ArgMatches, all: &[String]) -> Result<Env> {
        let pairs = all.iter().filter(|w| w.contains('=') || w.ends_with('-')).cloned().chain(words(matches, "env"));
        let mut pairs: Vec<String> = pairs.collect();
        // A dash alone: variables come on standard input, one a line.
        if pairs.iter().any(|word| word == "-") {
            let mut input = String::new();
            std::io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut input)?;
            pairs.retain(|word| word != "-");
            pairs.extend(input.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned));
        }
        let (set, removed) = write::pairs(&pairs)?;
        let mut set: Vec<Value> = set.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let from = text(matches, "from");
        if !from.is_empty() {
            set.extend(imported(context, matches, &from).await?);
        }
        Ok(Env { set, removed, only: text(matches, "containers"), overwrite: flag(matches, "overwrite") })
    }

    fn is_meant(&self, container: &Value) -> bool {
        self.only == "*" || container["name"] == *self.only
    }

    /// Change a pod spec.
    ///
    /// # Errors
    /// A variable has another value, and must not be overwritten.
    pub fn set(&self, spec: &mut Value, target: &Target) -> Result<()> {
        if self.only != "*" && !containers(spec).any(|c| self.is_meant(c)) {
            eprintln!(
                "Warning: {}/{} does not have any containers matching {:?}",
                target.resource.kind,
                target.name.as_deref().unwrap_or_default(),
                self.only
            );
        }
        for container in containers(spec).filter(|c| self.is_meant(c)) {
            let mut env = container["env"].as_array().cloned().unwrap_or_default();
            if env.is_empty() && self.set.is_empty() {
                continue;
            }
            env.retain(|e| !self.removed.iter().any(|name| e["name"] == name.as_str()));
            for new in &self.set {
                match env.iter_mut().find(|e| e["name"] == new["name"]) {
                    Some(old) if !self.overwrite => {
                        return Err(Error::message(format!(
                            "{}/{} '{}' already has a value ({}), and --overwrite is false",
                            target.resource.plural,
                            target.name.as_deref().unwrap_or_default(),
                            new["name"].as_str().unwrap_or_default(),
                            old["value"].as_str().unwrap_or_default()
                        )));
                    }
                    Some(old) => *old = new.clone(),
                    None => env.push(new.clone()),
                }
            }
            match container.as_object_mut() {
                Some(fields) if env.is_empty() => drop(fields.remove("env")),
                _ => container["env"] = Value::Array(env),
            }
        }
        Ok(())
    }

    /// `--list`: the variables as they would be.
    ///
    /// # Errors
    /// The server refuses, or an object has no pod template.
    pub async fn list(&self, context: &Context, matches: &ArgMatches, all: &[String]) -> Result<()> {
        for target in selected(context, matches, all).await? {
            let mut object = context.api().await?.get(&target.path()).await?;
            let kind = target.resource.kind.clone();
            let spec = template(&mut object, &target)?;
            self.set(spec, &target)?;
            for container in containers(spec).filter(|c| self.is_meant(c)) {
                let name = target.name.as_deref().unwrap_or_default();
                context
                    .line(format!("# {kind} {name}, container {}", container["name"].as_str().unwrap_or_default()))?;
                for variable in container["env"].as_array().into_iter().flatten() {
                    context.line(shown(variable))?;
                }
            }
        }
        Ok(())
    }
}

/// `A=1`, or where it comes from.
fn shown(variable: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, from) = (text(&variable["name"]), &variable["valueFrom"]);
    if !from.is_object() {
        return format!("{name}={}", text(&variable["value"]));
    }
    let key_of = |what: &str, source: &Value| format!("{what} {}, key {}", text(&source["name"]), text(&source["key"]));
    let source = if from["configMapKeyRef"].is_object() {
        key_of("configmap", &from["configMapKeyRef"])
    } else if from["secretKeyRef"].is_object() {
        key_of("secret", &from["secretKeyRef"])
    } else if from["fieldRef"].is_object() {
        format!("field path {}", text(&from["fieldRef"]["fieldPath"]))
    } else if from["resourceFieldRef"].is_object() {
        let container = text(&from["resourceFieldRef"]["containerName"]);
        let container = if container.is_empty() { container } else { format!("{container}/") };
        format!("resource field {container}{}", text(&from["resourceFieldRef"]["resource"]))
    } else {
        "invalid valueFrom".into()
    };
    format!("# {name} from {source}")
}

/// One variable for each key of a config map or a secret.
async fn imported(context: &Context, matches: &ArgMatches, from: &str) -> Result<Vec<Value>> {
    let targets = crate::select::from_words(context, &[from.to_owned()], false).await?;
    let Some(target) = targets.first() else { return Ok(Vec::new()) };
    let reference = match target.resource.kind.as_str() {
        "ConfigMap" => "configMapKeyRef",
        "Secret" => "secretKeyRef",
        _ => return Err(Error::message(format!("unsupported resource specified in --from: {from}"))),
    };
    let object = context.api().await?.get(&target.path()).await?;
    let (prefix, only) = (text(matches, "prefix"), words(matches, "keys"));
    let mut found = Vec::new();
    for key in object["data"].as_object().into_iter().flatten().map(|(key, _)| key) {
        if !only.is_empty() && !only.contains(key) {
            continue;
        }
        let name = variable(key);
        if name != *key {
            eprintln!("Warning: key {key} transferred to {name}");
        }
        let source = json!({reference: {"name": target.name, "key": key}});
        found.push(json!({"name": format!("{prefix}{name}"), "valueFrom": source}));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_removed_and_shown() {
        let mut spec = json!({"containers": [{"name": "a", "env": [{"name": "K", "value": "1"}]}, {"name": "b"}]});
        let target = Target { resource: Default::default(), name: Some("x".into()), namespace: None };
        let set = vec![json!({"name": "L", "value": "2"})];
        let mut env = Env { set, removed: vec!["K".into()], only: "a".into(), overwrite: true };
        env.set(&mut spec, &target).expect("set");
        assert_eq!(spec, json!({"containers": [{"name": "a", "env": [{"name": "L", "value": "2"}]}, {"name": "b"}]}));
        env.overwrite = false;
        let error = env.set(&mut spec, &target).expect_err("kept").text();
        assert!(error.ends_with("'L' already has a value (2), and --overwrite is false"), "{error}");
        assert_eq!(variable("config.key-a"), "CONFIG_KEY_A");
        let from = |source: Value| shown(&json!({"name": "N", "valueFrom": source}));
        assert_eq!(from(json!({"configMapKeyRef": {"name": "c", "key": "k"}})), "# N from configmap c, key k");
        assert_eq!(from(json!({"fieldRef": {"fieldPath": "metadata.name"}})), "# N from field path metadata.name");
    }
}
