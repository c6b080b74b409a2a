//! `kubectl top`, from the metrics API when the cluster has one; and `kubectl completion`.
use super::Command;
use crate::{
    Context, Error, Result,
    http::with_query,
    printers::tabwriter::TabWriter,
    select::{self, flag, text},
};
use apimachinery::quantity::Quantity;
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;

pub struct Top;
pub struct Completion;

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";
const MEBI: i64 = 1024 * 1024;

#[async_trait]
impl Command for Top {
    fn words(&self) -> Words {
        let switch = |name: &'static str| crate::global::boolean(Arg::new(name).long(name)).default_value("false");
        let common = |words: Words| {
            words
                .arg(Arg::new("name"))
                .arg(select::selector())
                .arg(switch("no-headers"))
                .arg(Arg::new("sort-by").long("sort-by"))
        };
        Words::new("top")
            .about("Display resource (CPU/memory) usage")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(common(
                Words::new("node")
                    .about("Display resource (CPU/memory) usage of nodes")
                    .visible_aliases(["nodes", "no"]),
            ))
            .subcommand(
                common(
                    Words::new("pod")
                        .about("Display resource (CPU/memory) usage of pods")
                        .visible_aliases(["pods", "po"]),
                )
                .arg(select::all_namespaces())
                .arg(select::field_selector())
                .arg(switch("containers")),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some((kind, matches)) = matches.subcommand() else { return Err(Error::Exit(1)) };
        if !["", "cpu", "memory"].contains(&text(matches, "sort-by").as_str()) {
            return Err(Error::message("--sort-by accepts only cpu or memory"));
        }
        if !context.mapper().await?.all().iter().any(|r| r.group == "metrics.k8s.io") {
            return Err(Error::message("Metrics API not available"));
        }
        if kind == "node" { nodes(context, matches).await } else { pods(context, matches).await }
    }
}

/// Milli-cores and bytes.
fn usage(value: &Value) -> (i64, i64) {
    let parse = |name: &str| value[name].as_str().and_then(|q| Quantity::parse(q).ok());
    (parse("cpu").map_or(0, |q| q.milli_value()), parse("memory").map_or(0, |q| q.value()))
}

async fn items(context: &Context, path: &str, matches: &ArgMatches) -> Result<Vec<Value>> {
    let name = text(matches, "name");
    let api = context.api().await?;
    if !name.is_empty() {
        return Ok(vec![api.get(&format!("{path}/{}", crate::http::escape(&name))).await?]);
    }
    let (labels, fields) = (text(matches, "selector"), text(matches, "field-selector"));
    let query = [("labelSelector", labels.as_str()), ("fieldSelector", fields.as_str())];
    let mut list = api.get(&with_query(path, &query)).await?;
    let mut found = match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    let total = |item: &Value| {
        let containers = item["containers"].as_array().into_iter().flatten().map(|c| usage(&c["usage"]));
        containers.fold(usage(&item["usage"]), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    match text(matches, "sort-by").as_str() {
        "cpu" => found.sort_by_key(|item| std::cmp::Reverse(total(item).0)),
        "memory" => found.sort_by_key(|item| std::cmp::Reverse(total(item).1)),
        "" => found.sort_by_key(|i| {
            [&i["metadata"]["namespace"], &i["metadata"]["name"]].map(|v| v.as_str().unwrap_or_default().to_owned())
        }),
        _ => return Err(Error::message("--sort-by accepts only cpu or memory")),
    }
    Ok(found)
}

async fn nodes(context: &Context, matches: &ArgMatches) -> Result<()> {
    let list = context.api().await?.get("/api/v1/nodes").await?;
    let mut writer = TabWriter::new();
    if !flag(matches, "no-headers") {
        writer.line("NAME\tCPU(cores)\tCPU(%)\tMEMORY(bytes)\tMEMORY(%)");
    }
    for item in items(context, &format!("{METRICS}/nodes"), matches).await? {
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        let (cpu, memory) = usage(&item["usage"]);
        let node = list["items"].as_array().into_iter().flatten().find(|n| n["metadata"]["name"] == name);
        let whole = node.map_or((0, 0), |n| usage(&n["status"]["allocatable"]));
        let share = |part: i64, whole: i64| {
            if whole > 0 { format!("{}%", part * 100 / whole) } else { "<unknown>".into() }
        };
        writer.row([
            name.to_owned(),
            format!("{cpu}m"),
            share(cpu, whole.0),
            format!("{}Mi", memory / MEBI),
            share(memory, whole.1),
        ]);
    }
    context.print(writer.take())
}

async fn pods(context: &Context, matches: &ArgMatches) -> Result<()> {
    let all = flag(matches, "all-namespaces");
    let path = match all {
        true => format!("{METRICS}/pods"),
        false => format!("{METRICS}/namespaces/{}/pods", crate::http::escape(&context.namespace().await?)),
    };
    let each = flag(matches, "containers");
    let mut writer = TabWriter::new();
    let columns = |namespace: &str, pod: &str, container: &str, cpu: String, memory: String| {
        let mut row = Vec::new();
        if all {
            row.push(namespace.to_owned());
        }
        row.push(pod.to_owned());
        if each {
            row.push(container.to_owned());
        }
        row.extend([cpu, memory]);
        row
    };
    if !flag(matches, "no-headers") {
        let pod = if each { "POD" } else { "NAME" };
        writer.row(columns("NAMESPACE", pod, "NAME", "CPU(cores)".into(), "MEMORY(bytes)".into()));
    }
    let found = items(context, &path, matches).await?;
    if found.is_empty() {
        match all {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {} namespace.", context.namespace().await?),
        }
        return Ok(());
    }
    for item in found {
        let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default();
        let mut total = (0, 0);
        for container in item["containers"].as_array().into_iter().flatten() {
            let (cpu, memory) = usage(&container["usage"]);
            total = (total.0 + cpu, total.1 + memory);
            if each {
                let name = container["name"].as_str().unwrap_or_default();
                let memory = format!("{}Mi", memory / MEBI);
                writer.row(columns(text("namespace"), text("name"), name, format!("{cpu}m"), memory));
            }
        }
        if !each {
            let memory = format!("{}Mi", total.1 / MEBI);
            writer.row(columns(text("namespace"), text("name"), "", format!("{}m", total.0), memory));
        }
    }
    context.print(writer.take())
}

#[async_trait]
impl Command for Completion {
    fn words(&self) -> Words {
        Words::new("completion")
            .about("Output shell completion code for the specified shell (bash, zsh, fish, or powershell)")
            .arg(Arg::new("shell").value_name("SHELL"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        use clap_complete::Shell;
        let shell = match text(matches, "shell").as_str() {
            "bash" => Shell::Bash,
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            "powershell" => Shell::PowerShell,
            "" => {
                return Err(Error::usage("completion", "Shell not specified."));
            }
            other => {
                return Err(Error::usage("completion", format!("Unsupported shell type \"{other}\".")));
            }
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut super::command(), "kubectl", &mut script);
        context.print(script)
    }
}
