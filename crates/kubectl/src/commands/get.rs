//! `kubectl get`: tables from the server, or objects in any format; and watches of both.
use super::Command;
use crate::{
    Context, Error, Result,
    http::{self, Api, TABLE, with_query},
    jsonpath::JsonPath,
    printers::{
        self, Format,
        table::{self, Options, TablePrinter},
    },
    select::{self, Target, flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::cmp::Ordering;

pub struct Get;

fn switch(name: &'static str, help: &'static str) -> Arg {
    crate::global::boolean(Arg::new(name).long(name)).default_value("false").help(help)
}

#[async_trait]
impl Command for Get {
    fn words(&self) -> Words {
        select::add(Words::new("get").about("Display one or many resources"))
            .arg(printers::output_flag())
            .arg(select::all_namespaces())
            .arg(select::field_selector())
            .arg(
                Arg::new("watch")
                    .short('w')
                    .long("watch")
                    .action(ArgAction::SetTrue)
                    .help("After listing/getting the requested object, watch for changes."),
            )
            .arg(switch("watch-only", "Watch for changes to the requested object(s), without listing/getting first."))
            .arg(switch("output-watch-events", "Output watch event objects when --watch or --watch-only is used."))
            .arg(switch("no-headers", "When using the default or custom-column output format, don't print headers."))
            .arg(switch("show-labels", "When printing, show all labels as the last column."))
            .arg(switch("show-kind", "If present, list the resource type for the requested object(s)."))
            .arg(switch(
                "show-managed-fields",
                "If true, keep the managedFields when printing objects in JSON or YAML format.",
            ))
            .arg(switch(
                "ignore-not-found",
                "If the requested object does not exist the command will return exit code 0.",
            ))
            .arg(
                Arg::new("label-columns")
                    .short('L')
                    .long("label-columns")
                    .action(ArgAction::Append)
                    .value_delimiter(',')
                    .help("Accepts a comma separated list of labels that are going to be presented as columns."),
            )
            .arg(
                Arg::new("sort-by")
                    .long("sort-by")
                    .help("If non-empty, sort list types using this field specification."),
            )
            .arg(
                Arg::new("chunk-size")
                    .long("chunk-size")
                    .value_parser(clap::value_parser!(i64))
                    .allow_negative_numbers(true)
                    .default_value("500")
                    .help("Return large lists in chunks rather than all at once."),
            )
            .arg(Arg::new("raw").long("raw").help("Raw URI to request from the server."))
            .arg(
                Arg::new("template")
                    .long("template")
                    .help("Template string or path to template file to use when -o=go-template, -o=go-template-file."),
            )
            .arg(
                Arg::new("subresource")
                    .long("subresource")
                    .help("If specified, gets the subresource of the requested object."),
            )
            .arg(
                crate::global::boolean(Arg::new("server-print").long("server-print"))
                    .default_value("true")
                    .help("If true, have the server return the appropriate table output."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let raw = text(matches, "raw");
        if !raw.is_empty() {
            if !words(matches, "words").is_empty() {
                return Err(Error::message("arguments may not be passed when --raw is specified"));
            }
            if !raw.starts_with('/') && !raw.contains("://") {
                return Err(Error::message(format!(
                    "--raw must be a valid URL path: parse \"{raw}\": invalid URI for request"
                )));
            }
            let body = context.api().await?.get_raw(&raw).await?;
            return context.print(body);
        }
        let watching = flag(matches, "watch") || flag(matches, "watch-only");
        if flag(matches, "output-watch-events") && !watching {
            return Err(Error::message("--output-watch-events option can only be used with --watch or --watch-only"));
        }
        let output = text(matches, "output");
        if flag(matches, "show-labels") && !["", "wide"].contains(&output.as_str()) {
            return Err(Error::message(format!("--show-labels option cannot be used with {output} printer")));
        }
        let format = Format::of_get(matches)?;
        let sort_by = text(matches, "sort-by");
        let sort_by = if sort_by.is_empty() { None } else { Some(JsonPath::parse_relaxed(&sort_by)?) };
        let mut targets = select::targets(context, matches).await?;
        let selects = ["selector", "field-selector"].iter().any(|name| !text(matches, name).is_empty());
        if selects && !crate::manifests::given(matches) && targets.iter().any(|target| target.name.is_some()) {
            return Err(Error::message("name cannot be provided when a selector is specified"));
        }
        let subresource = text(matches, "subresource");
        if !subresource.is_empty() {
            if targets.iter().any(|target| target.name.is_none()) {
                return Err(Error::message("subresource cannot be used when bulk resources are specified"));
            }
            for target in &mut targets {
                target.name = target.name.take().map(|name| format!("{name}/{subresource}"));
            }
        }
        let call = Call { context, matches, api: context.api().await?, format, sort_by, targets };
        if watching {
            return call.watch().await;
        }
        if call.format.is_table() { call.tables().await } else { call.objects().await }
    }
}

/// One invocation.
struct Call<'a> {
    context: &'a Context,
    matches: &'a ArgMatches,
    api: Api,
    format: Format,
    sort_by: Option<JsonPath>,
    targets: Vec<Target>,
}

impl Call<'_> {
    fn flag(&self, name: &str) -> bool {
        flag(self.matches, name)
    }

    fn path(&self, target: &Target, extra: &[(&str, &str)]) -> String {
        let (labels, fields) = (text(self.matches, "selector"), text(self.matches, "field-selector"));
        let mut query = extra.to_vec();
        if target.name.is_none() {
            query.extend([("labelSelector", labels.as_str()), ("fieldSelector", fields.as_str())]);
        }
        with_query(&target.path(), &query)
    }

    /// A list in chunks, or a single object, in the representation that `accept` asks for.
    async fn fetch(&self, target: &Target, accept: &str, extra: &[(&str, &str)]) -> Result<Value> {
        let get = async |query: &[(&str, &str)]| {
            let path = self.path(target, query);
            self.api.json(::http::Method::GET, &path, http::JSON, accept, None).await
        };
        if target.name.is_some() {
            return get(extra).await;
        }
        let limit = self.matches.get_one::<i64>("chunk-size").copied().unwrap_or(500);
        let limit = if limit <= 0 { String::new() } else { limit.to_string() };
        let mut query = extra.to_vec();
        query.push(("limit", limit.as_str()));
        let mut whole = get(&query).await.map_err(|error| self.unselected(error, target))?;
        loop {
            let token = whole["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                return Ok(whole);
            }
            let mut query = query.clone();
            query.push(("continue", token.as_str()));
            let mut next = get(&query).await?;
            for field in ["items", "rows"] {
                if let (Some(all), Some(more)) = (whole[field].as_array_mut(), next[field].as_array_mut()) {
                    all.append(more);
                }
            }
            whole["metadata"] = next["metadata"].take();
        }
    }

    /// Selectors that the server does not take are named in its refusal.
    fn unselected(&self, error: Error, target: &Target) -> Error {
        let (labels, fields) = (text(self.matches, "selector"), text(self.matches, "field-selector"));
        let refused = matches!(&error, Error::Server(status) if status.reason == "BadRequest");
        if !refused || (labels.is_empty() && fields.is_empty()) {
            return error;
        }
        let resource = &target.resource;
        let version =
            if resource.group.is_empty() { format!("/{}", resource.version) } else { resource.group_version() };
        error.prefixed(&format!(
            "Unable to find \"{version}, Resource={}\" that match label selector \"{labels}\", field selector \
             \"{fields}\": ",
            resource.plural
        ))
    }

    /// Not found is no error when that was asked for.
    fn tolerate(&self, error: Error) -> Result<()> {
        if self.flag("ignore-not-found") && error.is_not_found() { Ok(()) } else { Err(error) }
    }

    fn options(&self, target: &Target, several: bool) -> Options {
        let kind = (several || self.flag("show-kind")).then(|| {
            let name = target.resource.object_name("");
            name.trim_end_matches('/').to_owned()
        });
        Options {
            wide: matches!(self.format, Format::Table { wide: true }),
            no_headers: self.flag("no-headers"),
            with_namespace: self.flag("all-namespaces") && target.resource.namespaced,
            kind,
            show_labels: self.flag("show-labels"),
            label_columns: words(self.matches, "label-columns"),
        }
    }

    async fn table(&self, target: &Target) -> Result<Value> {
        let include = if self.sort_by.is_some() { [("includeObject", "Object")] } else { [("", "")] };
        let accept = if self.flag("server-print") { TABLE } else { http::JSON };
        let mut table = self.fetch(target, accept, &include).await?;
        if table["kind"] != "Table" {
            let now = jiff::Timestamp::now().as_second();
            let items = match table["items"].as_array() {
                Some(items) => items.clone(),
                None => vec![table],
            };
            table = table::fallback(&items, now);
        }
        if let (Some(path), Some(rows)) = (&self.sort_by, table["rows"].as_array_mut()) {
            // As the official one does it: a field that no object has leaves nothing to show.
            if !rows.is_empty() && rows.iter().all(|row| first_value(path, &row["object"]).is_none()) {
                rows.clear();
            }
            sort(rows, path, |row| &row["object"]);
        }
        Ok(table)
    }

    async fn tables(&self) -> Result<()> {
        if let (Some(_), true, Some(path)) =
            (&self.sort_by, self.targets.len() > 1, self.matches.get_one::<String>("sort-by"))
        {
            let path = crate::printers::relaxed_path(path);
            return Err(Error::message(format!("couldn't find any field with path \"{path}\" in the list of objects")));
        }
        let (mut tables, mut errors) = (Vec::new(), Vec::new());
        for target in &self.targets {
            match self.table(target).await {
                Ok(table) => tables.push((target, table)),
                Err(error) => errors.extend(self.tolerate(error).err()),
            }
        }
        // Names carry their type when objects of several types were found or asked for.
        let mut kinds: Vec<&str> = tables.iter().map(|(target, _)| target.resource.plural.as_str()).collect();
        kinds.dedup();
        let several = kinds.len() > 1;
        let mut printed = String::new();
        let mut printer: Option<(String, TablePrinter)> = None;
        for (target, table) in tables {
            if table["rows"].as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            let kind = format!("{}/{}", target.resource.group_version(), target.resource.plural);
            match &mut printer {
                Some((current, printer)) if *current == kind => printed.push_str(&printer.print(&table)),
                _ => {
                    if printer.is_some() && !self.flag("no-headers") {
                        printed.push('\n');
                    }
                    let mut fresh = TablePrinter::new(self.options(target, several));
                    printed.push_str(&fresh.print(&table));
                    printer = Some((kind, fresh));
                }
            }
        }
        self.context.print(&printed)?;
        if printer.is_none() && errors.is_empty() && !self.flag("ignore-not-found") {
            self.nothing_found().await?;
        }
        Error::collect(errors)
    }

    async fn nothing_found(&self) -> Result<()> {
        let namespaced = self.targets.iter().any(|t| t.resource.namespaced);
        if namespaced && !self.flag("all-namespaces") {
            eprintln!("No resources found in {} namespace.", self.context.namespace().await?);
        } else {
            eprintln!("No resources found");
        }
        Ok(())
    }

    async fn objects(&self) -> Result<()> {
        let single = self.targets.len() == 1 && self.targets.iter().all(|t| t.name.is_some());
        let mut found: Vec<(Value, &Target)> = Vec::new();
        let mut errors = Vec::new();
        for target in &self.targets {
            match self.fetch(target, http::JSON, &[]).await {
                Ok(mut answer) => match answer.get_mut("items").map(Value::take) {
                    Some(Value::Array(items)) if target.name.is_none() => {
                        found.extend(items.into_iter().map(|item| (typed(item, target), target)));
                    }
                    _ => found.push((answer, target)),
                },
                Err(error) => errors.extend(self.tolerate(error).err()),
            }
        }
        if let Some(path) = &self.sort_by {
            sort(&mut found, path, |(object, _)| object);
        }
        if !self.flag("show-managed-fields") {
            found.iter_mut().for_each(|(object, _)| printers::strip_managed_fields(object));
        }
        self.print_objects(found, single)?;
        Error::collect(errors)
    }

    fn print_objects(&self, found: Vec<(Value, &Target)>, single: bool) -> Result<()> {
        if matches!(self.format, Format::Name) {
            for (object, target) in &found {
                self.context.print(self.format.object(object, Some(&target.resource))?)?;
            }
            return Ok(());
        }
        if single {
            return match found.first() {
                Some((object, target)) => self.context.print(self.format.object(object, Some(&target.resource))?),
                None => Ok(()),
            };
        }
        let items: Vec<Value> = found.into_iter().map(|(object, _)| object).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items});
        self.context.print(self.format.object(&list, None)?)
    }

    async fn watch(&self) -> Result<()> {
        let [target] = self.targets.as_slice() else {
            return Err(Error::message("you may only specify a single resource type"));
        };
        let accept = if self.format.is_table() { TABLE } else { http::JSON };
        let mut printer = TablePrinter::new(self.options(target, false));
        // An object is watched as the one element of its collection.
        let collection = Target { name: None, ..target.clone() };
        let only = target.name.as_ref().map(|name| format!("metadata.name={name}")).unwrap_or_default();
        let listed = self.fetch(target, accept, &[]).await?;
        let version = listed["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        if !self.flag("watch-only") {
            self.show(&mut printer, "ADDED", listed, target)?;
        }
        let version = if target.name.is_some() && version.is_empty() { "0" } else { version.as_str() };
        let mut query = vec![("watch", "true"), ("resourceVersion", version)];
        if !only.is_empty() {
            query.push(("fieldSelector", only.as_str()));
        }
        let mut events = self.api.stream(&self.path(&collection, &query), accept).await?;
        loop {
            let mut event = match events.event().await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                // A watch lasts as long as a request may take.
                Err(_) if self.context.has_request_timeout() => return Ok(()),
                Err(error) => return Err(error),
            };
            match event["type"].as_str().unwrap_or_default() {
                "BOOKMARK" => {}
                "ERROR" => {
                    let message = event["object"]["message"].as_str().unwrap_or("watch failed");
                    return Err(Error::message(message));
                }
                kind => {
                    let (kind, object) = (kind.to_owned(), event["object"].take());
                    self.show(&mut printer, &kind, object, target)?;
                }
            }
        }
    }

    fn show(&self, printer: &mut TablePrinter, event: &str, object: Value, target: &Target) -> Result<()> {
        if object["kind"] == "Table" {
            let print = if self.flag("output-watch-events") {
                printer.print_event(event, &object)
            } else {
                printer.print(&object)
            };
            return self.context.print(print);
        }
        let items = match object["items"].as_array() {
            Some(items) if target.name.is_none() => items.clone(),
            _ => vec![object],
        };
        for item in items {
            let mut item = typed(item, target);
            if self.format.is_table() {
                let table = table::fallback(&[item], jiff::Timestamp::now().as_second());
                self.context.print(printer.print(&table))?;
                continue;
            }
            if !self.flag("show-managed-fields") {
                printers::strip_managed_fields(&mut item);
            }
            if self.flag("output-watch-events") && matches!(self.format, Format::Json) {
                self.context.print(printers::json_event(event, &item))?;
                continue;
            }
            let shown = match self.flag("output-watch-events") {
                true => json!({"type": event, "object": item}),
                false => item,
            };
            self.context.print(self.format.object(&shown, Some(&target.resource))?)?;
        }
        Ok(())
    }
}

/// Items of a list may come without their type.
fn typed(mut item: Value, target: &Target) -> Value {
    if let Some(map) = item.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| target.resource.group_version().into());
        map.entry("kind").or_insert_with(|| target.resource.kind.clone().into());
    }
    item
}

fn first_value(path: &JsonPath, value: &Value) -> Option<Value> {
    path.values_or_none(value).ok().and_then(|values| values.into_iter().next())
}

/// Sort as the official one does, which takes what lacks the field for less than anything, and so turns it around.
fn sort<T>(items: &mut [T], path: &JsonPath, object: impl Fn(&T) -> &Value) {
    items.sort_by(|a, b| in_order(path, object(a), object(b)));
    let lacking = items.iter().take_while(|item| first_value(path, object(item)).is_none()).count();
    if let Some(lacking) = items.get_mut(..lacking) {
        lacking.reverse();
    }
}

/// Order by a path: what lacks the field comes first; quantities by what they amount to.
fn in_order(path: &JsonPath, a: &Value, b: &Value) -> Ordering {
    match (first_value(path, a), first_value(path, b)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(Value::String(a)), Some(Value::String(b))) => {
            use apimachinery::quantity::Quantity;
            match (Quantity::parse(&a), Quantity::parse(&b)) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => a.cmp(&b),
            }
        }
        (Some(a), Some(b)) => crate::jsonpath::eval::compare(&a, &b).unwrap_or(Ordering::Equal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorting_knows_quantities_and_names() {
        let path = JsonPath::parse_relaxed(".v").expect("a path");
        let order = |a: Value, b: Value| in_order(&path, &json!({"v": a}), &json!({"v": b}));
        assert_eq!(order(json!("900Mi"), json!("1Gi")), Ordering::Less);
        assert_eq!(order(json!("p-9"), json!("p-10")), Ordering::Greater);
        assert_eq!(order(json!(2), json!(10)), Ordering::Less);
        assert_eq!(in_order(&path, &json!({}), &json!({"v": 1})), Ordering::Less);
    }
}
