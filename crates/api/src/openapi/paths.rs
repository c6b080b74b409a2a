//! Paths and operations of a resource: what clients look up by `x-kubernetes-action` and
//! `x-kubernetes-group-version-kind`.
use super::{
    Dialect, ServedResource,
    schemas::{Names, reference},
};
use crate::Str;
use serde_json::{Map, Value, json};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const BODIES: [&str; 4] =
    ["application/json", "application/yaml", "application/cbor", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// One kind of request: its verb in discovery, HTTP method, `x-kubernetes-action` and name in operation ids.
#[derive(Clone, Copy)]
struct Action {
    verb: &'static str,
    method: &'static str,
    action: &'static str,
    id: &'static str,
    description: &'static str,
}

const LIST: Action =
    Action { verb: "list", method: "get", action: "list", id: "list", description: "list or watch objects of kind" };
const CREATE: Action = Action { verb: "create", method: "post", action: "post", id: "create", description: "create" };
const DELETE_COLLECTION: Action = Action {
    verb: "deletecollection",
    method: "delete",
    action: "deletecollection",
    id: "deleteCollection",
    description: "delete collection of",
};
const GET: Action = Action { verb: "get", method: "get", action: "get", id: "read", description: "read the specified" };
const UPDATE: Action =
    Action { verb: "update", method: "put", action: "put", id: "replace", description: "replace the specified" };
const PATCH: Action = Action {
    verb: "patch",
    method: "patch",
    action: "patch",
    id: "patch",
    description: "partially update the specified",
};
const DELETE: Action =
    Action { verb: "delete", method: "delete", action: "delete", id: "delete", description: "delete a" };

/// What the operations of one path speak of.
struct Subject<'a> {
    resource: &'a ServedResource,
    names: &'a Names<'a>,
    dialect: Dialect,
    /// Of the bodies: group, version, kind.
    body: (&'a str, &'a str, &'a str),
    /// `NamespacedPodLog`, …
    id: String,
    parameters: Vec<Value>,
}

/// All paths of a resource in one version.
pub fn of(resource: &ServedResource, dialect: Dialect, names: &Names<'_>) -> Vec<(String, Value)> {
    let base = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let plural = &resource.resource;
    let body = (resource.group.as_ref(), resource.version.as_ref(), resource.kind.as_ref());
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let subject = |body, id: String, named: bool| {
        let mut parameters = Vec::new();
        if resource.namespaced {
            parameters.push(path_parameter(
                dialect,
                "namespace",
                "object name and auth scope, such as for teams and projects",
            ));
        }
        if named {
            parameters.push(path_parameter(dialect, "name", &format!("name of the {}", resource.kind)));
        }
        Subject { resource, names, dialect, body, id, parameters }
    };
    let collection = if resource.namespaced {
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    let verbs = resource.verbs.as_slice();
    let kind = &resource.kind;
    let mut out = Vec::new();
    let all = subject(body, format!("{scope}{kind}"), false);
    out.push((collection.clone(), all.item(&[LIST, CREATE, DELETE_COLLECTION], verbs)));
    if resource.namespaced {
        let mut everywhere = subject(body, format!("{kind}ForAllNamespaces"), false);
        everywhere.parameters.clear();
        out.push((format!("{base}/{plural}"), everywhere.item(&[LIST], verbs)));
    }
    let one = subject(body, format!("{scope}{kind}"), true);
    out.push((format!("{collection}/{{name}}"), one.item(&[GET, UPDATE, PATCH, DELETE], verbs)));
    for sub in &resource.subresources {
        let body = (sub.group.as_ref(), sub.version.as_ref(), sub.kind.as_ref());
        let subject = subject(body, format!("{scope}{kind}{}", capital(&sub.name)), true);
        let item = subject.item(&[GET, CREATE, UPDATE, PATCH, DELETE], &sub.verbs);
        out.push((format!("{collection}/{{name}}/{}", sub.name), item));
    }
    out.retain(|(_, item)| item.as_object().is_some_and(|i| i.keys().any(|k| k != "parameters")));
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `Core`, `Apps`, `RbacAuthorization`
fn group_id(group: &str) -> String {
    if group.is_empty() {
        return "Core".to_owned();
    }
    group.trim_end_matches(".k8s.io").split('.').map(capital).collect()
}

impl Subject<'_> {
    fn item(&self, actions: &[Action], verbs: &[Str]) -> Value {
        let mut item = Map::new();
        for action in actions {
            if verbs.iter().any(|verb| verb == action.verb) {
                item.insert(action.method.to_owned(), self.operation(*action));
            }
        }
        if !self.parameters.is_empty() {
            item.insert("parameters".to_owned(), Value::Array(self.parameters.clone()));
        }
        Value::Object(item)
    }

    fn operation(&self, action: Action) -> Value {
        let (group, version, kind) = self.body;
        let resource = self.resource;
        let id = match action.id {
            "deleteCollection" => {
                format!("delete{}{}Collection{}", group_id(&resource.group), capital(&resource.version), self.id)
            }
            id => format!("{id}{}{}{}", group_id(&resource.group), capital(&resource.version), self.id),
        };
        let tag_group = group_id(&resource.group);
        let tag = tag_group.chars().take(1).flat_map(char::to_lowercase).chain(tag_group.chars().skip(1));
        let mut parameters: Vec<Value> = query_parameters(action.action)
            .iter()
            .map(|(name, type_, description)| query_parameter(self.dialect, name, type_, description))
            .collect();
        let mut out = json!({
            "description": format!("{} {}", action.description, resource.kind),
            "operationId": id,
            "tags": [format!("{}_{}", tag.collect::<String>(), resource.version)],
            "responses": self.responses(action),
            "x-kubernetes-action": action.action,
            "x-kubernetes-group-version-kind": { "group": group, "version": version, "kind": kind },
        });
        let body = self.body_schema(action);
        let custom = self.names.is_custom(group, version, kind);
        let types: Vec<&str> = match action.action {
            "patch" => PATCHES.iter().copied().filter(|t| !custom || !t.contains("strategic")).collect(),
            _ if self.dialect == Dialect::V2 => vec!["*/*"],
            _ => vec!["*/*"],
        };
        if let Value::Object(map) = &mut out {
            match (self.dialect, body) {
                (Dialect::V2, body) => {
                    if let Some(body) = body {
                        let required = action.action != "delete" && action.action != "deletecollection";
                        parameters.push(json!({ "name": "body", "in": "body", "required": required, "schema": body }));
                    }
                    map.insert("consumes".to_owned(), json!(types));
                    let streams: &[&str] = if action.action == "list" { &STREAMS } else { &[] };
                    let produces: Vec<&str> = BODIES.iter().chain(streams).copied().collect();
                    map.insert("produces".to_owned(), json!(produces));
                    map.insert("schemes".to_owned(), json!(["https"]));
                }
                (Dialect::V3, Some(body)) => {
                    let content: Map<String, Value> =
                        types.iter().map(|t| ((*t).to_owned(), json!({ "schema": body }))).collect();
                    map.insert("requestBody".to_owned(), json!({ "content": content }));
                }
                (Dialect::V3, None) => {}
            }
            map.insert("parameters".to_owned(), Value::Array(parameters));
        }
        out
    }

    fn named(&self, kind: &str) -> Value {
        let (group, version, _) = self.body;
        match self.names.of(group, version, kind) {
            Some(name) => reference(self.dialect, &name),
            None => json!({ "type": "string" }),
        }
    }

    fn body_schema(&self, action: Action) -> Option<Value> {
        match action.action {
            "post" | "put" => Some(self.named(self.body.2)),
            "patch" => Some(reference(self.dialect, &format!("{META}Patch"))),
            "delete" | "deletecollection" => Some(reference(self.dialect, &format!("{META}DeleteOptions"))),
            _ => None,
        }
    }

    fn responses(&self, action: Action) -> Value {
        let schema = match action.action {
            "list" => self.named(&format!("{}List", self.body.2)),
            "deletecollection" | "delete" => reference(self.dialect, &format!("{META}Status")),
            _ => self.named(self.body.2),
        };
        let codes: &[(&str, &str)] = match action.action {
            "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
            "put" | "patch" => &[("200", "OK"), ("201", "Created")],
            "delete" => &[("200", "OK"), ("202", "Accepted")],
            _ => &[("200", "OK")],
        };
        let mut out = Map::new();
        for (code, description) in codes {
            let response = match self.dialect {
                Dialect::V2 => json!({ "description": description, "schema": schema }),
                Dialect::V3 => {
                    let streams: &[&str] = if action.action == "list" { &STREAMS } else { &[] };
                    let content: Map<String, Value> =
                        BODIES.iter().chain(streams).map(|t| ((*t).to_owned(), json!({ "schema": schema }))).collect();
                    json!({ "description": description, "content": content })
                }
            };
            out.insert((*code).to_owned(), response);
        }
        out.insert("401".to_owned(), json!({ "description": "Unauthorized" }));
        Value::Object(out)
    }
}

fn path_parameter(dialect: Dialect, name: &str, description: &str) -> Value {
    let mut out = json!({ "name": name, "in": "path", "required": true, "description": description });
    typed(&mut out, dialect, "string");
    out
}

fn query_parameter(dialect: Dialect, name: &str, type_: &str, description: &str) -> Value {
    let mut out = json!({ "name": name, "in": "query", "description": description });
    typed(&mut out, dialect, type_);
    out
}

fn typed(parameter: &mut Value, dialect: Dialect, type_: &str) {
    if let Value::Object(map) = parameter {
        map.insert("uniqueItems".to_owned(), true.into());
        match dialect {
            Dialect::V2 => map.insert("type".to_owned(), type_.into()),
            Dialect::V3 => map.insert("schema".to_owned(), json!({ "type": type_, "uniqueItems": true })),
        };
    }
}

type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', then the output is pretty printed.");
const DRY_RUN: Parameter =
    ("dryRun", "string", "When present, indicates that modifications should not be persisted. Valid values are: All");
const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "The name of the actor or entity that is making these changes, of at most 128 characters.",
);
const FIELD_VALIDATION: Parameter =
    ("fieldValidation", "string", "How to treat unknown and duplicate fields: Ignore, Warn (the default) or Strict.");
const LIST_PARAMETERS: [Parameter; 10] = [
    PRETTY,
    ("allowWatchBookmarks", "boolean", "Requests watch events with type \"BOOKMARK\"."),
    ("continue", "string", "The token of the next page, from the previous one."),
    ("fieldSelector", "string", "Restricts the returned objects by their fields. Defaults to everything."),
    ("labelSelector", "string", "Restricts the returned objects by their labels. Defaults to everything."),
    ("limit", "integer", "The maximum number of objects of one page."),
    ("resourceVersion", "string", "Constrains which resource versions a request may be served from."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to list calls."),
    ("sendInitialEvents", "boolean", "Begin the watch with synthetic events of the present state."),
    ("timeoutSeconds", "integer", "Timeout for the call, regardless of activity."),
];

fn query_parameters(action: &str) -> Vec<Parameter> {
    let delete = [
        DRY_RUN,
        ("gracePeriodSeconds", "integer", "Seconds before the object should be deleted; zero means at once."),
        ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
        ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ];
    match action {
        "list" => LIST_PARAMETERS
            .into_iter()
            .chain([("watch", "boolean", "Watch for changes and return them as a stream.")])
            .collect(),
        "post" | "put" => vec![PRETTY, DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
        "patch" => vec![
            PRETTY,
            DRY_RUN,
            FIELD_MANAGER,
            FIELD_VALIDATION,
            ("force", "boolean", "Acquire fields that other managers own; for apply requests."),
        ],
        "delete" => [PRETTY].into_iter().chain(delete).collect(),
        "deletecollection" => LIST_PARAMETERS.into_iter().chain(delete).collect(),
        _ => vec![PRETTY],
    }
}
