//! The objects that `kubectl create <kind>` makes from flags. Pure: flags in, object out.
mod hashed;
mod policy;
mod rbac;

pub use hashed::suffix as hash_suffix;
pub use rbac::{needs_mapper, role, unusual_verbs};

use crate::{
    Error, Result,
    mapper::Mapper,
    select::{flag, text, words},
    write::pairs,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// One kind that can be made.
pub struct Generator {
    pub words: fn() -> Words,
    pub make: fn(&ArgMatches) -> Result<Value>,
}

/// Every kind, in the order that help lists them.
pub const ALL: &[Generator] = &[
    // What a role is about is asked of the server: `create` makes these with a mapper.
    Generator { words: rbac::cluster_role_words, make: |m| role(m, "ClusterRole", &Mapper::default()) },
    Generator {
        words: || binding_words("clusterrolebinding", "Create a cluster role binding for a particular cluster role"),
        make: |m| binding(m, "ClusterRoleBinding"),
    },
    Generator {
        words: || {
            data_words(
                named("configmap", "Create a config map from a local file, directory or literal value")
                    .visible_alias("cm"),
            )
        },
        make: config_map,
    },
    Generator {
        words: || {
            job_words(named("cronjob", "Create a cron job with the specified name").visible_alias("cj"))
                .arg(one("schedule"))
                .arg(one("restart").default_value("OnFailure"))
        },
        make: cron_job,
    },
    Generator { words: deployment_words, make: deployment },
    Generator { words: policy::ingress_words, make: policy::ingress },
    Generator { words: || job_words(named("job", "Create a job with the specified name")).arg(one("from")), make: job },
    Generator {
        words: || named("namespace", "Create a namespace with the specified name").visible_alias("ns"),
        make: |m| Ok(object("v1", "Namespace", m, json!({"spec": {}, "status": {}}))),
    },
    Generator { words: policy::budget_words, make: policy::budget },
    Generator {
        words: || {
            named("priorityclass", "Create a priority class with the specified name")
                .visible_alias("pc")
                .arg(one("value").allow_negative_numbers(true))
                .arg(switch("global-default"))
                .arg(one("description"))
                .arg(one("preemption-policy").default_value("PreemptLowerPriority"))
        },
        make: priority_class,
    },
    Generator {
        words: || {
            named("quota", "Create a quota with the specified name")
                .visible_alias("resourcequota")
                .arg(one("hard"))
                .arg(one("scopes"))
        },
        make: quota,
    },
    Generator { words: rbac::role_words, make: |m| role(m, "Role", &Mapper::default()) },
    Generator {
        words: || {
            binding_words("rolebinding", "Create a role binding for a particular role or cluster role").arg(one("role"))
        },
        make: |m| binding(m, "RoleBinding"),
    },
    Generator { words: secret_words, make: secret },
    Generator { words: service_words, make: service },
    Generator {
        words: || named("serviceaccount", "Create a service account with the specified name").visible_alias("sa"),
        make: |m| Ok(object("v1", "ServiceAccount", m, json!({}))),
    },
];

pub fn find(name: &str) -> Option<&'static Generator> {
    ALL.iter().find(|generator| (generator.words)().get_name() == name)
}

fn one(name: &'static str) -> Arg {
    Arg::new(name).long(name)
}

fn repeated(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::Append).value_delimiter(',')
}

fn switch(name: &'static str) -> Arg {
    crate::global::boolean(Arg::new(name).long(name)).default_value("false")
}

fn named(kind: &'static str, about: &'static str) -> Words {
    Words::new(kind).about(about).arg(Arg::new("name").required(true))
}

fn object(api_version: &str, kind: &str, matches: &ArgMatches, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": text(matches, "name")}});
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

fn required(matches: &ArgMatches, name: &str) -> Result<String> {
    let value = text(matches, name);
    if value.is_empty() { Err(Error::message(format!("required flag(s) \"{name}\" not set"))) } else { Ok(value) }
}

fn data_words(words: Words) -> Words {
    words
        .arg(Arg::new("from-literal").long("from-literal").action(ArgAction::Append))
        .arg(Arg::new("from-file").long("from-file").action(ArgAction::Append))
        .arg(Arg::new("from-env-file").long("from-env-file").action(ArgAction::Append))
        .arg(switch("append-hash"))
}

/// Keys and contents of `--from-literal`, `--from-file` and `--from-env-file`.
fn data(matches: &ArgMatches) -> Result<Vec<(String, Vec<u8>)>> {
    let from_files = !words(matches, "from-file").is_empty() || !words(matches, "from-literal").is_empty();
    if from_files && !words(matches, "from-env-file").is_empty() {
        return Err(Error::message("from-env-file cannot be combined with from-file or from-literal"));
    }
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for literal in words(matches, "from-literal") {
        let Some((key, value)) = literal.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Error::message(format!("invalid literal source {literal}, expected key=value")));
        };
        let value = value.trim_matches(|c| c == '"' || c == '\'');
        found.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    for source in words(matches, "from-file") {
        let (key, path) = file_source(&source)?;
        from_path(key, Path::new(&path), &mut found)?;
    }
    for path in words(matches, "from-env-file") {
        let content = read(Path::new(&path))?;
        for line in String::from_utf8_lossy(&content).lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once('=')
                .map_or_else(|| (line, std::env::var(line).unwrap_or_default()), |(k, v)| (k, v.to_owned()));
            found.push((key.to_owned(), value.into_bytes()));
        }
    }
    let mut keys: Vec<&String> = found.iter().map(|(key, _)| key).collect();
    keys.sort();
    if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        let (key, name) = (twice[0], text(matches, "name"));
        return Err(Error::message(match matches.try_contains_id("type").unwrap_or(false) {
            true => format!("cannot add key {key}, another key by that name already exists"),
            false => format!(
                "cannot add key {key:?}, another key by that name already exists in Data for ConfigMap {name:?}"
            ),
        }));
    }
    if let Some((key, why)) =
        found.iter().find_map(|(key, _)| Some((key, apimachinery::validation::is_config_map_key(key).pop()?)))
    {
        return Err(Error::message(format!("\"{key}\" is not a valid key name: {why}")));
    }
    Ok(found)
}

/// `key=path`, or a path alone.
fn file_source(source: &str) -> Result<(Option<String>, String)> {
    match source.split('=').collect::<Vec<_>>().as_slice() {
        [path] => Ok((None, (*path).to_owned())),
        ["", path] => Err(Error::message(format!("key name for file path {path} missing"))),
        [key, ""] => Err(Error::message(format!("file path for key name {key} missing"))),
        [key, path] => Ok((Some((*key).to_owned()), (*path).to_owned())),
        _ => Err(Error::message("key names or file paths cannot contain '='")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path)
        .map_err(|e| Error::message(format!("error reading {}: {}", path.display(), crate::printers::go_text(&e))))
}

fn from_path(key: Option<String>, path: &Path, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !path.is_dir() {
        found.push((key.unwrap_or_else(|| name(path)), read(path)?));
        return Ok(());
    }
    if key.is_some() {
        return Err(Error::message("cannot give a key name for a directory path"));
    }
    let mut entries: Vec<_> = fs::read_dir(path)?.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
    entries.sort();
    for entry in entries {
        found.push((name(&entry), read(&entry)?));
    }
    Ok(())
}

fn config_map(matches: &ArgMatches) -> Result<Value> {
    let (mut plain, mut binary) = (Map::new(), Map::new());
    for (key, content) in data(matches)? {
        match String::from_utf8(content) {
            Ok(text) => drop(plain.insert(key, text.into())),
            Err(bytes) => drop(binary.insert(key, STANDARD.encode(bytes.as_bytes()).into())),
        }
    }
    let mut map = object("v1", "ConfigMap", matches, json!({}));
    for (field, content) in [("data", plain), ("binaryData", binary)] {
        if !content.is_empty() {
            map[field] = Value::Object(content);
        }
    }
    Ok(hashed(map, matches))
}

/// With a hash of its content in its name, when that is wanted.
fn hashed(mut object: Value, matches: &ArgMatches) -> Value {
    if flag(matches, "append-hash") {
        object["metadata"]["name"] = json!(format!("{}-{}", text(matches, "name"), hashed::suffix(&object)));
    }
    object
}

fn secret_words() -> Words {
    let registry = named("docker-registry", "Create a secret for use with a Docker registry")
        .arg(one("docker-server").default_value("https://index.docker.io/v1/"))
        .args(["docker-username", "docker-password", "docker-email"].map(one))
        .arg(Arg::new("from-file").long("from-file").action(ArgAction::Append));
    Words::new("secret")
        .about("Create a secret using a specified subcommand")
        .subcommand_required(true)
        .subcommand(crate::write::flags(registry))
        .subcommand(crate::write::flags(
            data_words(named("generic", "Create a secret from a local file, directory, or literal value"))
                .arg(one("type")),
        ))
        .subcommand(crate::write::flags(named("tls", "Create a TLS secret").arg(one("cert")).arg(one("key"))))
}

fn secret(matches: &ArgMatches) -> Result<Value> {
    let Some((form, inner)) = matches.subcommand() else { return Err(Error::message("a secret type is needed")) };
    let (kind, content) = match form {
        "docker-registry" => {
            let (user, password) = (text(inner, "docker-username"), text(inner, "docker-password"));
            if user.is_empty() || password.is_empty() || text(inner, "docker-server").is_empty() {
                return Err(Error::message(
                    "either --from-file or the combination of --docker-username, --docker-password and --docker-server is \
                     required",
                ));
            }
            // The order is that of the official one's structure: the bytes become part of a secret.
            let email = text(inner, "docker-email");
            let email = if email.is_empty() { String::new() } else { format!(",\"email\":{}", json!(email)) };
            let auth = STANDARD.encode(format!("{user}:{password}"));
            let (server, user, password) = (json!(text(inner, "docker-server")), json!(user), json!(password));
            let login = format!("{{\"username\":{user},\"password\":{password}{email},\"auth\":\"{auth}\"}}");
            let auths = format!("{{\"auths\":{{{server}:{login}}}}}");
            ("kubernetes.io/dockerconfigjson".to_owned(), vec![(".dockerconfigjson".to_owned(), auths.into_bytes())])
        }
        "tls" => {
            if text(inner, "cert").is_empty() || text(inner, "key").is_empty() {
                return Err(Error::message("key and cert must be specified"));
            }
            let content = |flag: &str| {
                let path = text(inner, flag);
                let why = |e: &std::io::Error| crate::printers::go_text(e);
                fs::read(&path)
                    .map_err(|e| Error::message(format!("Cannot read file {path}, open {path}: {}", why(&e))))
            };
            if !String::from_utf8_lossy(&content("cert")?).contains("-----BEGIN") {
                return Err(Error::message("tls: failed to find any PEM data in certificate input"));
            }
            let pair = vec![("tls.crt".to_owned(), content("cert")?), ("tls.key".to_owned(), content("key")?)];
            ("kubernetes.io/tls".to_owned(), pair)
        }
        _ => (text(inner, "type"), data(inner)?),
    };
    let mut secret = object("v1", "Secret", inner, json!({}));
    if !content.is_empty() {
        secret["data"] = content.into_iter().map(|(key, bytes)| (key, Value::from(STANDARD.encode(bytes)))).collect();
    }
    if !kind.is_empty() {
        secret["type"] = json!(kind);
    }
    Ok(hashed(secret, inner))
}

fn deployment_words() -> Words {
    named("deployment", "Create a deployment with the specified name")
        .visible_alias("deploy")
        .arg(repeated("image"))
        .arg(one("replicas").short('r').default_value("1").value_parser(clap::value_parser!(i32)))
        .arg(one("port").value_parser(clap::value_parser!(u16)))
        .arg(Arg::new("command").num_args(0..).last(true))
}

/// `registry/team/web:1` is a container called `web`.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last).replace(['_', '.'], "-")
}

fn deployment(matches: &ArgMatches) -> Result<Value> {
    let images = words(matches, "image");
    if images.is_empty() {
        return Err(Error::message("required flag(s) \"image\" not set"));
    }
    let command = words(matches, "command");
    if images.len() > 1 && !command.is_empty() {
        return Err(Error::message("cannot specify multiple --image options and command"));
    }
    let mut containers: Vec<Value> =
        images.iter().map(|image| json!({"name": container_name(image), "image": image, "resources": {}})).collect();
    if let Some(first) = containers.first_mut() {
        if !command.is_empty() {
            first["command"] = json!(command);
        }
        if let Some(port) = matches.get_one::<u16>("port") {
            first["ports"] = json!([{"containerPort": port}]);
        }
    }
    let labels = json!({"app": text(matches, "name")});
    let mut deployment = object("apps/v1", "Deployment", matches, json!({}));
    deployment["metadata"]["labels"] = labels.clone();
    deployment["spec"] = json!({
        "replicas": matches.get_one::<i32>("replicas"),
        "selector": {"matchLabels": labels},
        "strategy": {},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    });
    deployment["status"] = json!({});
    Ok(deployment)
}

fn job_words(words: Words) -> Words {
    words.arg(one("image")).arg(Arg::new("command").num_args(0..).last(true))
}

fn job_template(matches: &ArgMatches, restart: &str) -> Result<Value> {
    let mut container = json!({"name": text(matches, "name"), "image": required(matches, "image")?, "resources": {}});
    let command = words(matches, "command");
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    Ok(json!({"template": {"metadata": {}, "spec": {"containers": [container], "restartPolicy": restart}}}))
}

fn job(matches: &ArgMatches) -> Result<Value> {
    if text(matches, "image").is_empty() {
        return Err(Error::message("either --image or --from must be specified"));
    }
    Ok(object("batch/v1", "Job", matches, json!({"spec": job_template(matches, "Never")?, "status": {}})))
}

/// The job that a cron job would make, made by hand: its template, owned by it.
///
/// # Errors
/// An image or a command beside it, or what was found is no cron job.
pub fn job_of(matches: &ArgMatches, cron_job: &Value) -> Result<Value> {
    if !text(matches, "image").is_empty() {
        return Err(Error::message("either --image or --from must be specified"));
    }
    if !words(matches, "command").is_empty() {
        return Err(Error::message("cannot specify --from and command"));
    }
    if cron_job["kind"] != "CronJob" {
        let version = cron_job["apiVersion"].as_str().and_then(|v| v.rsplit('/').next()).unwrap_or_default();
        let kind = cron_job["kind"].as_str().unwrap_or_default();
        return Err(Error::message(format!("unknown object type *{version}.{kind}")));
    }
    let template = &cron_job["spec"]["jobTemplate"];
    let mut job = object("batch/v1", "Job", matches, json!({"spec": template["spec"], "status": {}}));
    let mut annotations = json!({"cronjob.kubernetes.io/instantiate": "manual"});
    if let (Some(annotations), Some(more)) =
        (annotations.as_object_mut(), template["metadata"]["annotations"].as_object())
    {
        annotations.extend(more.clone());
    }
    job["metadata"]["annotations"] = annotations;
    if template["metadata"]["labels"].is_object() {
        job["metadata"]["labels"] = template["metadata"]["labels"].clone();
    }
    let (name, uid) = (&cron_job["metadata"]["name"], &cron_job["metadata"]["uid"]);
    job["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": uid, "controller": true}]);
    Ok(job)
}

fn cron_job(matches: &ArgMatches) -> Result<Value> {
    let template = job_template(matches, &text(matches, "restart"))?;
    let spec = json!({
        "jobTemplate": {"metadata": {"name": text(matches, "name")}, "spec": template},
        "schedule": required(matches, "schedule")?,
    });
    Ok(object("batch/v1", "CronJob", matches, json!({"spec": spec, "status": {}})))
}

fn priority_class(matches: &ArgMatches) -> Result<Value> {
    let value: i32 = text(matches, "value").parse().or_else(|e| {
        if text(matches, "value").is_empty() { Ok(0) } else { Err(Error::message(format!("--value: {e}"))) }
    })?;
    let mut class = object(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        matches,
        json!({"value": value, "preemptionPolicy": text(matches, "preemption-policy")}),
    );
    if flag(matches, "global-default") {
        class["globalDefault"] = json!(true);
    }
    if !text(matches, "description").is_empty() {
        class["description"] = json!(text(matches, "description"));
    }
    Ok(class)
}

fn quota(matches: &ArgMatches) -> Result<Value> {
    let list =
        |name: &str| text(matches, name).split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let hard = list("hard");
    if let Some(bad) = hard.iter().find(|word| !word.contains('=')) {
        return Err(Error::message(format!("Invalid argument syntax {bad}, expected <resource>=<value>")));
    }
    let (hard, _) = pairs(&hard)?;
    let mut spec = json!({});
    if !hard.is_empty() {
        spec["hard"] = hard.into_iter().map(|(k, v)| (k, Value::from(v))).collect();
    }
    let scopes = list("scopes");
    if !scopes.is_empty() {
        spec["scopes"] = json!(scopes);
    }
    Ok(object("v1", "ResourceQuota", matches, json!({"spec": spec, "status": {}})))
}

fn binding_words(kind: &'static str, about: &'static str) -> Words {
    named(kind, about).arg(one("clusterrole")).args([repeated("user"), repeated("group"), repeated("serviceaccount")])
}

fn binding(matches: &ArgMatches, kind: &str) -> Result<Value> {
    let cluster_role = text(matches, "clusterrole");
    let role = if kind == "RoleBinding" { text(matches, "role") } else { String::new() };
    let (role_kind, name) = match (cluster_role.is_empty(), role.is_empty()) {
        (false, true) => ("ClusterRole", cluster_role),
        (true, false) => ("Role", role),
        _ if kind == "RoleBinding" => {
            return Err(Error::message("exactly one of clusterrole or role must be specified"));
        }
        _ => return Err(Error::message("required flag(s) \"clusterrole\" not set")),
    };
    const GROUP: &str = "rbac.authorization.k8s.io";
    let mut subjects = Vec::new();
    for (flag, subject) in [("user", "User"), ("group", "Group")] {
        subjects.extend(
            words(matches, flag).into_iter().map(|name| json!({"kind": subject, "apiGroup": GROUP, "name": name})),
        );
    }
    for account in words(matches, "serviceaccount") {
        let Some((namespace, name)) = account.split_once(':') else {
            return Err(Error::message("serviceaccount must be <namespace>:<name>"));
        };
        subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    let mut made = object(
        "rbac.authorization.k8s.io/v1",
        kind,
        matches,
        json!({"roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": name}}),
    );
    if !subjects.is_empty() {
        made["subjects"] = json!(subjects);
    }
    Ok(made)
}

fn service_words() -> Words {
    let form = |name: &'static str, about: &'static str| crate::write::flags(named(name, about).arg(repeated("tcp")));
    Words::new("service")
        .visible_alias("svc")
        .about("Create a service using a specified subcommand")
        .subcommand_required(true)
        .subcommand(form("clusterip", "Create a ClusterIP service").arg(one("clusterip")))
        .subcommand(
            form("nodeport", "Create a NodePort service").arg(one("node-port").value_parser(clap::value_parser!(u16))),
        )
        .subcommand(form("loadbalancer", "Create a LoadBalancer service"))
        .subcommand(form("externalname", "Create an ExternalName service").arg(one("external-name")))
}

fn service(matches: &ArgMatches) -> Result<Value> {
    let Some((form, inner)) = matches.subcommand() else { return Err(Error::message("a service type is needed")) };
    let mut ports = Vec::new();
    for spec in words(inner, "tcp") {
        let (port, target) = spec.split_once(':').unwrap_or((&spec, &spec));
        let number: u16 =
            port.parse().map_err(|_| Error::message(format!("strconv.ParseUint: parsing {port:?}: invalid syntax")))?;
        let target_port = target.parse::<u16>().map_or_else(|_| json!(target), |n| json!(n));
        ports.push(
            json!({"name": spec.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target_port}),
        );
    }
    let kind = match form {
        "nodeport" => "NodePort",
        "loadbalancer" => "LoadBalancer",
        "externalname" => "ExternalName",
        _ => "ClusterIP",
    };
    let cluster_ip = if form == "clusterip" { text(inner, "clusterip") } else { String::new() };
    if ports.is_empty() && form != "externalname" && cluster_ip != "None" {
        return Err(Error::message("at least one tcp port specifier must be provided"));
    }
    let labels = json!({"app": text(inner, "name")});
    let mut spec = json!({"selector": labels, "type": kind});
    if !ports.is_empty() {
        spec["ports"] = json!(ports);
    }
    if !cluster_ip.is_empty() {
        spec["clusterIP"] = json!(cluster_ip);
    }
    if form == "externalname" {
        let name = required(inner, "external-name")?;
        if !apimachinery::validation::is_dns1123_subdomain(name.trim_end_matches('.')).is_empty() {
            return Err(Error::message(format!("invalid service external name {name}")));
        }
        spec["externalName"] = json!(name);
    }
    if let (true, Some(port)) = (form == "nodeport", inner.try_get_one::<u16>("node-port").ok().flatten()) {
        spec["ports"][0]["nodePort"] = json!(port);
    }
    let mut made = object("v1", "Service", inner, json!({"spec": spec, "status": {"loadBalancer": {}}}));
    made["metadata"]["labels"] = labels;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_and_without_a_key() {
        let cases = [
            ("a", Ok((None, "a"))),
            ("k=a", Ok((Some("k"), "a"))),
            ("=a", Err("error: key name for file path a missing")),
            ("k=", Err("error: file path for key name k missing")),
            ("k=a=b", Err("error: key names or file paths cannot contain '='")),
        ];
        for (source, want) in cases {
            let got = file_source(source).map_err(|error| error.text());
            let want = want.map(|(key, path): (Option<&str>, &str)| (key.map(str::to_owned), path.to_owned()));
            assert_eq!(got, want.map_err(str::to_owned), "{source}");
        }
    }
}
