//! `kubectl cluster-info dump`: nodes, and per namespace what runs there with its logs, for whoever looks for a fault.
use crate::{
    Context, Error, Result,
    http::{escape, with_query},
    printers::{self, Format},
    select::{flag, text, words},
};
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is dumped of a namespace: the file's name and the API path's parts.
const PARTS: [(&str, &str, &str); 7] = [
    ("events", "/api/v1", "events"),
    ("replication-controllers", "/api/v1", "replicationcontrollers"),
    ("services", "/api/v1", "services"),
    ("daemonsets", "/apis/apps/v1", "daemonsets"),
    ("deployments", "/apis/apps/v1", "deployments"),
    ("replicasets", "/apis/apps/v1", "replicasets"),
    ("pods", "/api/v1", "pods"),
];

/// The words of the command.
pub fn subcommand() -> Words {
    Words::new("dump")
        .about("Dump relevant information for debugging and diagnosis")
        .arg(printers::output_flag().default_value("json"))
        .arg(Arg::new("words").num_args(0..).hide(true))
}

/// Where the pieces go: standard output, or files in a folder.
struct Sink<'a> {
    context: &'a Context,
    folder: Option<PathBuf>,
    format: Format,
    extension: &'static str,
    show_managed_fields: bool,
}

impl Sink<'_> {
    /// One piece of text; `path` is relative to the folder and has its extension.
    fn write(&self, path: &Path, text: &[u8]) -> Result<()> {
        let Some(folder) = &self.folder else { return self.context.print(text) };
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let failed = |e| Error::message(format!("open {}: {}", path.display(), printers::go_text(&e)));
        fs::write(&path, text).map_err(failed)
    }

    fn list(&self, path: &Path, mut list: Value) -> Result<Value> {
        printers::fill(&mut list);
        if !self.show_managed_fields {
            printers::strip_managed_fields(&mut list);
        }
        let text = self.format.typed_object(&list, None)?;
        let lead =
            if self.folder.is_none() && matches!(self.format, Format::Yaml) { self.context.separator() } else { "" };
        self.write(&path.with_extension(self.extension), format!("{lead}{text}").as_bytes())?;
        Ok(list)
    }
}

/// # Errors
/// The server refuses a list, or a file cannot be written. Logs that cannot be had are told of where they would stand.
pub async fn run(context: &Context, matches: &ArgMatches) -> Result<()> {
    let output = text(matches, "output");
    let directory = text(matches, "output-directory");
    if output == "name" {
        return Err(Error::message("list types are not supported by name printing: *v1.NodeList"));
    }
    let sink = Sink {
        context,
        folder: Some(&directory).filter(|path| !path.is_empty() && *path != "-").map(PathBuf::from),
        format: Format::of(matches)?,
        extension: match output.as_str() {
            "json" => "json",
            "yaml" => "yaml",
            _ => "txt",
        },
        show_managed_fields: flag(matches, "show-managed-fields"),
    };
    let api = context.api().await?;
    sink.list(Path::new("nodes"), api.get("/api/v1/nodes").await?)?;
    for namespace in namespaces(context, matches).await? {
        let place = Path::new(&namespace);
        let mut pods = Value::Null;
        for (file, root, resource) in PARTS {
            let path = match namespace.is_empty() {
                true => format!("{root}/{resource}"),
                false => format!("{root}/namespaces/{}/{resource}", escape(&namespace)),
            };
            pods = sink.list(&place.join(file), api.get(&path).await?)?;
        }
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            sink.write(&place.join(name).join("logs.txt"), &logs(context, pod).await?)?;
        }
    }
    match &sink.folder {
        Some(_) => context.line(format!("Cluster info dumped to {directory}")),
        None => Ok(()),
    }
}

async fn namespaces(context: &Context, matches: &ArgMatches) -> Result<Vec<String>> {
    if flag(matches, "all-namespaces") {
        let list = context.api().await?.get("/api/v1/namespaces").await?;
        let names = list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str());
        return Ok(names.map(str::to_owned).collect());
    }
    let asked = words(matches, "namespaces");
    if asked.is_empty() { Ok(vec!["kube-system".into(), context.namespace().await?]) } else { Ok(asked) }
}

/// The logs of all init and plain containers of a pod, each between two lines that name it.
async fn logs(context: &Context, pod: &Value) -> Result<Vec<u8>> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let lists = ["initContainers", "containers"];
    let containers = lists.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten());
    let api = context.api().await?;
    let mut out = Vec::new();
    for container in containers.filter_map(|container| container["name"].as_str()) {
        let about = format!("logs for container {container} of pod {namespace}/{name} ====\n");
        out.extend(format!("==== START {about}").bytes());
        let path = format!("/api/v1/namespaces/{}/pods/{}/log", escape(namespace), escape(name));
        match api.get_raw(&with_query(&path, &[("container", container)])).await {
            Ok(log) => out.extend(log),
            Err(error) => out.extend(format!("Request log error: {}\n", error.bare()).bytes()),
        }
        out.extend(format!("==== END {about}").bytes());
    }
    Ok(out)
}
