//! `kubectl config`.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    kubeconfig::{self, CLUSTERS, CONTEXTS, Section, USERS},
    printers::{Format, output_flag, tabwriter::TabWriter},
    select::{flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Map, Value, json};

pub struct Config;

fn named(name: &'static str, about: &'static str) -> Words {
    Words::new(name).about(about).arg(Arg::new("name").required(true))
}

#[async_trait]
impl Command for Config {
    fn words(&self) -> Words {
        let switch = |name: &'static str| boolean(Arg::new(name).long(name)).default_value("false");
        let one = |name: &'static str| Arg::new(name).long(name);
        let many = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
        Words::new("config")
            .about("Modify kubeconfig files")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(ignoring(Words::new("current-context").about("Display the current-context")))
            .subcommand(named("delete-cluster", "Delete the specified cluster from the kubeconfig"))
            .subcommand(named("delete-context", "Delete the specified context from the kubeconfig"))
            .subcommand(named("delete-user", "Delete the specified user from the kubeconfig"))
            .subcommand(ignoring(Words::new("get-clusters").about("Display clusters defined in the kubeconfig")))
            .subcommand(
                Words::new("get-contexts")
                    .about("Describe one or many contexts")
                    .arg(Arg::new("names").num_args(0..))
                    .arg(output_flag())
                    .arg(switch("no-headers")),
            )
            .subcommand(ignoring(Words::new("get-users").about("Display users defined in the kubeconfig")))
            .subcommand(
                named("rename-context", "Rename a context from the kubeconfig file")
                    .arg(Arg::new("new").required(true)),
            )
            .subcommand(
                named("set", "Set an individual value in a kubeconfig file")
                    .arg(Arg::new("value").required(true))
                    .arg(switch("set-raw-bytes")),
            )
            .subcommand(
                named("set-cluster", "Set a cluster entry in kubeconfig")
                    .arg(switch("embed-certs"))
                    .arg(one("proxy-url")),
            )
            .subcommand(
                Words::new("set-context")
                    .about("Set a context entry in kubeconfig")
                    .arg(Arg::new("name"))
                    .arg(switch("current")),
            )
            .subcommand(
                named("set-credentials", "Set a user entry in kubeconfig")
                    .arg(switch("embed-certs"))
                    .args(["username", "password", "exec-command", "exec-api-version", "auth-provider"].map(one))
                    .args(["exec-arg", "exec-env"].map(many)),
            )
            .subcommand(named("unset", "Unset an individual value in a kubeconfig file"))
            .subcommand(named("use-context", "Set the current-context in a kubeconfig file").visible_alias("use"))
            .subcommand(
                Words::new("view")
                    .about("Display merged kubeconfig settings or a specified kubeconfig file")
                    .arg(output_flag())
                    .args(["minify", "raw", "flatten"].map(switch)),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some((name, matches)) = matches.subcommand() else { return Err(Error::Exit(1)) };
        match name {
            "current-context" => current(context),
            "delete-cluster" => delete(context, matches, CLUSTERS),
            "delete-context" => delete(context, matches, CONTEXTS),
            "delete-user" => delete(context, matches, USERS),
            "get-clusters" => list(context, CLUSTERS),
            "get-users" => list(context, USERS),
            "get-contexts" => contexts(context, matches),
            "rename-context" => rename(context, matches),
            "set" => set(context, matches, true),
            "unset" => set(context, matches, false),
            "set-cluster" => set_cluster(context, matches),
            "set-context" => set_context(context, matches),
            "set-credentials" => set_credentials(context, matches),
            "use-context" => use_context(context, matches),
            _ => view(context, matches),
        }
    }
}

/// The official one does not look at arguments of these.
fn ignoring(words: Words) -> Words {
    words.arg(Arg::new("words").num_args(0..).hide(true))
}

fn current_name(context: &Context) -> Result<String> {
    let config = kubeconfig::merged(context)?;
    Ok(config["current-context"].as_str().unwrap_or_default().to_owned())
}

fn current(context: &Context) -> Result<()> {
    match context.global.context.clone().map_or_else(|| current_name(context), Ok)? {
        none if none.is_empty() => Err(Error::message("current-context is not set")),
        name => context.line(name),
    }
}

fn view(context: &Context, matches: &ArgMatches) -> Result<()> {
    let format = match text(matches, "output") {
        none if none.is_empty() => Format::Yaml,
        _ => Format::of(matches)?,
    };
    if !flag(matches, "merge") && context.global.kubeconfig.is_none() {
        return Err(Error::message("if merge==false a precise file must be specified"));
    }
    let mut config = kubeconfig::merged(context)?;
    if let Some(name) = &context.global.context {
        config["current-context"] = json!(name);
    }
    if flag(matches, "minify") {
        kubeconfig::minify(&mut config)?;
    }
    if flag(matches, "flatten") {
        kubeconfig::flatten(&mut config)?;
    } else if !flag(matches, "raw") {
        kubeconfig::redact(&mut config);
    }
    context.print(format.typed_object(&config, None)?)
}

fn list(context: &Context, section: Section) -> Result<()> {
    let config = kubeconfig::merged(context)?;
    context.line("NAME")?;
    for entry in config[section.plural].as_array().into_iter().flatten() {
        context.line(entry["name"].as_str().unwrap_or_default())?;
    }
    Ok(())
}

fn contexts(context: &Context, matches: &ArgMatches) -> Result<()> {
    let config = kubeconfig::merged(context)?;
    let names = words(matches, "names");
    let output = text(matches, "output");
    if !output.is_empty() && output != "name" {
        return Err(Error::message(format!(
            "--output {output} is not available in kubectl config get-contexts; resetting to default output format"
        )));
    }
    let mut errors = Vec::new();
    for name in &names {
        if kubeconfig::find(&config, CONTEXTS, name).is_none() {
            errors.push(Error::message(format!("context {name} not found")));
        }
    }
    let mut writer = TabWriter::new();
    if output.is_empty() && !flag(matches, "no-headers") {
        writer.line("CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE");
    }
    for entry in config["contexts"].as_array().into_iter().flatten() {
        let name = entry["name"].as_str().unwrap_or_default();
        if !names.is_empty() && !names.iter().any(|n| n == name) {
            continue;
        }
        let body = &entry["context"];
        let field = |field: &str| body[field].as_str().unwrap_or_default();
        let current = if config["current-context"] == name { "*" } else { "" };
        match output.as_str() {
            "name" => writer.line(name),
            _ => writer.row([current, name, field("cluster"), field("user"), field("namespace")]),
        }
    }
    context.print(writer.take())?;
    Error::collect(errors)
}

fn use_context(context: &Context, matches: &ArgMatches) -> Result<()> {
    let name = text(matches, "name");
    if kubeconfig::find(&kubeconfig::merged(context)?, CONTEXTS, &name).is_none() {
        return Err(Error::message(format!("no context exists with the name: \"{name}\"")));
    }
    let mut file = kubeconfig::file_of(context, |c| c["current-context"].as_str().is_some_and(|n| !n.is_empty()))?;
    file.content["current-context"] = json!(name);
    file.write()?;
    context.line(format!("Switched to context \"{name}\"."))
}

fn delete(context: &Context, matches: &ArgMatches, section: Section) -> Result<()> {
    let (name, kind) = (text(matches, "name"), section.singular);
    let mut file = kubeconfig::file_of(context, |c| kubeconfig::find(c, section, &name).is_some())?;
    if !file.remove(section, &name) {
        return Err(Error::message(format!("cannot delete {kind} {name}, not in {}", file.path.display())));
    }
    if section == CONTEXTS && current_name(context)? == name {
        eprintln!(
            "warning: this removed your active context, use \"kubectl config use-context\" to select a different one"
        );
    }
    file.write()?;
    context.line(format!("deleted {kind} {name} from {}", file.path.display()))
}

fn rename(context: &Context, matches: &ArgMatches) -> Result<()> {
    let (name, new) = (text(matches, "name"), text(matches, "new"));
    let config = kubeconfig::merged(context)?;
    let mut file = kubeconfig::file_of(context, |c| kubeconfig::find(c, CONTEXTS, &name).is_some())?;
    let Some(old) = kubeconfig::find(&config, CONTEXTS, &name) else {
        let path = file.path.display();
        return Err(Error::message(format!("cannot rename the context \"{name}\", it's not in {path}")));
    };
    if kubeconfig::find(&config, CONTEXTS, &new).is_some() {
        let path = file.path.display();
        return Err(Error::message(format!(
            "cannot rename the context \"{name}\", the context \"{new}\" already exists in {path}"
        )));
    }
    file.remove(CONTEXTS, &name);
    *file.entry(CONTEXTS, &new).0 = old["context"].as_object().cloned().unwrap_or_default();
    if file.content["current-context"] == name.as_str() {
        file.content["current-context"] = json!(new);
    }
    file.write()?;
    context.line(format!("Context \"{name}\" renamed to \"{new}\"."))
}

/// Set an entry's fields; an empty value takes the field away.
fn assign(body: &mut Map<String, Value>, field: &str, value: Option<String>) {
    match value {
        Some(value) if value.is_empty() => drop(body.remove(field)),
        Some(value) => drop(body.insert(field.into(), json!(value))),
        None => {}
    }
}

/// A file named by a flag: its path, or its content.
fn assign_file(
    body: &mut Map<String, Value>,
    field: &str,
    path: Option<&String>,
    embed: bool,
    file: &std::path::Path,
) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let data = format!("{field}-data");
    if embed {
        body.insert(data, json!(kubeconfig::embedded(path)?));
        body.remove(field);
    } else {
        let absolute = std::path::absolute(path)?;
        // Beside the kubeconfig, a path is written relative to it.
        let near = std::path::absolute(file)?;
        let near = near.parent().and_then(|folder| absolute.strip_prefix(folder).ok());
        body.insert(field.into(), json!(near.unwrap_or(&absolute).display().to_string()));
        body.remove(&data);
    }
    Ok(())
}

fn set_cluster(context: &Context, matches: &ArgMatches) -> Result<()> {
    let (name, global) = (text(matches, "name"), &context.global);
    let mut file = kubeconfig::file_of(context, |c| kubeconfig::find(c, CLUSTERS, &name).is_some())?;
    let path = file.path.clone();
    let (body, _) = file.entry(CLUSTERS, &name);
    assign(body, "server", global.server.clone());
    assign(body, "tls-server-name", global.tls_server_name.clone());
    assign(body, "proxy-url", matches.get_one::<String>("proxy-url").cloned());
    if global.insecure {
        body.insert("insecure-skip-tls-verify".into(), json!(true));
        body.remove("certificate-authority");
        body.remove("certificate-authority-data");
    }
    let authority = global.certificate_authority.as_ref();
    assign_file(body, "certificate-authority", authority, flag(matches, "embed-certs"), &path)?;
    file.write()?;
    context.line(format!("Cluster \"{name}\" set."))
}

fn set_context(context: &Context, matches: &ArgMatches) -> Result<()> {
    let (mut name, global) = (text(matches, "name"), &context.global);
    if flag(matches, "current") {
        if !name.is_empty() {
            return Err(Error::message("you cannot specify both a context name and --current"));
        }
        name = current_name(context)?;
        if name.is_empty() {
            return Err(Error::message("no current context is set"));
        }
    }
    if name.is_empty() {
        return Err(Error::message("you must specify a non-empty context name or --current"));
    }
    let mut file = kubeconfig::file_of(context, |c| kubeconfig::find(c, CONTEXTS, &name).is_some())?;
    let (body, existed) = file.entry(CONTEXTS, &name);
    // Every context names a cluster and a user, be they empty.
    for field in ["cluster", "user"] {
        body.entry(field).or_insert(json!(""));
    }
    for (field, value) in [("cluster", &global.cluster), ("user", &global.user)] {
        if let Some(value) = value {
            body.insert(field.into(), json!(value));
        }
    }
    assign(body, "namespace", global.namespace.clone());
    file.write()?;
    context.line(format!("Context \"{name}\" {}.", if existed { "modified" } else { "created" }))
}

fn set_credentials(context: &Context, matches: &ArgMatches) -> Result<()> {
    let (name, global) = (text(matches, "name"), &context.global);
    if !text(matches, "auth-provider").is_empty() {
        return Err(Error::message("--auth-provider is not implemented"));
    }
    let given = |name: &str| matches.get_one::<String>(name).cloned();
    if global.token.is_some() && given("username").is_some() {
        return Err(Error::message(
            "you cannot specify more than one authentication method at the same time: --token, --username/--password",
        ));
    }
    let mut file = kubeconfig::file_of(context, |c| kubeconfig::find(c, USERS, &name).is_some())?;
    let path = file.path.clone();
    let (body, _) = file.entry(USERS, &name);
    assign(body, "token", global.token.clone());
    assign(body, "username", given("username"));
    assign(body, "password", given("password"));
    let embed = flag(matches, "embed-certs");
    assign_file(body, "client-certificate", global.client_certificate.as_ref(), embed, &path)?;
    assign_file(body, "client-key", global.client_key.as_ref(), embed, &path)?;
    if let Some(command) = given("exec-command") {
        let env: Vec<Value> = words(matches, "exec-env")
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let version = given("exec-api-version").unwrap_or_else(|| "client.authentication.k8s.io/v1".into());
        let arguments = words(matches, "exec-arg");
        body.insert(
            "exec".into(),
            json!({"command": command, "apiVersion": version, "provideClusterInfo": false,
                "args": if arguments.is_empty() { Value::Null } else { json!(arguments) },
                "env": if env.is_empty() { Value::Null } else { json!(env) }}),
        );
    }
    file.write()?;
    context.line(format!("User \"{name}\" set."))
}

/// `config set` and `config unset`: `current-context`, `clusters.NAME.FIELD`; names may contain dots.
fn set(context: &Context, matches: &ArgMatches, setting: bool) -> Result<()> {
    let property = text(matches, "name");
    let value = setting.then(|| text(matches, "value"));
    let (first, rest) = property.split_once('.').unwrap_or((&property, ""));
    let section = kubeconfig::SECTIONS.into_iter().find(|s| s.plural == first);
    let mut file = match section {
        Some(section) => kubeconfig::file_of(context, |c| {
            c[section.plural].as_array().into_iter().flatten().any(|entry| {
                entry["name"].as_str().is_some_and(|name| rest == name || rest.starts_with(&format!("{name}.")))
            })
        })?,
        None => kubeconfig::file_of(context, |_| false)?,
    };
    match (section, first) {
        (Some(section), _) => entry(&mut file, section, rest, value.as_ref())?,
        (None, "current-context") if rest.is_empty() => {
            file.content["current-context"] = json!(value.clone().unwrap_or_default());
        }
        (None, "preferences") => {
            if !file.content["preferences"].is_object() {
                file.content["preferences"] = json!({});
            }
            match &value {
                Some(value) => file.content["preferences"][rest] = typed(rest, value),
                None => file.content["preferences"][rest] = Value::Null,
            }
        }
        _ => return Err(Error::message(format!("unable to parse {property} after [] at api.Config"))),
    }
    file.write()?;
    context.line(format!("Property \"{property}\" {}.", if setting { "set" } else { "unset" }))
}

fn typed(field: &str, value: &str) -> Value {
    match (field, value) {
        ("insecure-skip-tls-verify" | "disable-compression" | "colors", "true") => json!(true),
        ("insecure-skip-tls-verify" | "disable-compression" | "colors", "false") => json!(false),
        _ => json!(value),
    }
}

fn entry(file: &mut kubeconfig::File, section: Section, rest: &str, value: Option<&String>) -> Result<()> {
    let known = file.content[section.plural].as_array().into_iter().flatten().filter_map(|e| e["name"].as_str());
    let known = known.filter(|n| rest == *n || rest.starts_with(&format!("{n}."))).max_by_key(|n| n.len());
    let (name, field) = match known {
        Some(name) => (name.to_owned(), rest[name.len()..].trim_start_matches('.').to_owned()),
        None => match rest.rsplit_once('.') {
            Some((name, field)) => (name.to_owned(), field.to_owned()),
            None => (rest.to_owned(), String::new()),
        },
    };
    match (value, field.is_empty()) {
        (None, true) => drop(file.remove(section, &name)),
        (None, false) => drop(file.entry(section, &name).0.remove(&field)),
        (Some(value), false) => drop(file.entry(section, &name).0.insert(field.clone(), typed(&field, value))),
        (Some(_), true) => return Err(Error::message("unable to set a map to a value: expected a field")),
    }
    Ok(())
}
