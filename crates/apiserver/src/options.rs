//! The options of a request: CreateOptions, UpdateOptions, PatchOptions, DeleteOptions, ListOptions.
//!
//! Source: `metav1` types and their validation; errors are worded as upstream's.
use crate::{query::Query, registry::Endpoint, store::ResourceStore};
use apimachinery::{ApiError, field, fields, labels, status::On};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use storage::cache::{Entry, Filter};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
}

fn invalid_options(kind: &str, errors: field::ErrorList) -> ApiError {
    ApiError::invalid(On { group: "meta.k8s.io", resource: kind }, "", &errors)
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut field::ErrorList) -> bool {
    let mut all = false;
    for value in values {
        match value {
            "All" => all = true,
            _ => errors.push(field::Error::not_supported(&field::Path::new("dryRun"), [value], &["All"])),
        }
    }
    all
}

/// It is recorded nowhere yet, but what upstream refuses must not pass.
fn check_field_manager(manager: &str, errors: &mut field::ErrorList) {
    const MAX: usize = 128;
    let path = field::Path::new("fieldManager");
    if manager.len() > MAX {
        errors.push(field::Error::too_long(&path, MAX));
    }
    if manager.chars().any(char::is_control) {
        errors.push(field::Error::invalid(&path, manager, "should only contain printable characters"));
    }
}

impl WriteOptions {
    /// `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`, for the error.
    ///
    /// # Errors
    /// `Invalid` for values outside the sets.
    pub fn parse(query: &Query<'_>, kind: &str) -> Result<Self, ApiError> {
        let mut errors = field::ErrorList::default();
        if kind == "PatchOptions" && query.get("force").is_some() {
            let path = field::Path::new("force");
            errors.push(field::Error::forbidden(&path, "may not be specified for non-apply patch"));
        }
        check_field_manager(query.text("fieldManager"), &mut errors);
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let path = field::Path::new("fieldValidation");
                errors.push(field::Error::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        if errors.is_empty() {
            Ok(WriteOptions { dry_run, field_validation })
        } else {
            Err(invalid_options(kind, errors))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<Propagation>,
    /// `orphanDependents: false` was asked for, which changes the status code of the answer.
    pub old_cascade: bool,
    pub dry_run: bool,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireDeleteOptions {
    kind: Option<String>,
    grace_period_seconds: Option<i64>,
    preconditions: Option<WirePreconditions>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    dry_run: Option<Vec<String>>,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WirePreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body (JSON) when there is one, else from the query.
    ///
    /// # Errors
    /// `BadRequest` for what is not DeleteOptions, `Invalid` for contradicting values.
    pub fn parse(body: &Bytes, query: &Query<'_>) -> Result<Self, ApiError> {
        let wire = if body.is_empty() {
            WireDeleteOptions {
                kind: None,
                grace_period_seconds: query.integer("gracePeriodSeconds")?,
                preconditions: None,
                propagation_policy: query.get("propagationPolicy").map(str::to_owned),
                orphan_dependents: query.optional_flag("orphanDependents"),
                dry_run: Some(query.all("dryRun").map(str::to_owned).collect()),
            }
        } else {
            serde_json::from_slice(body).map_err(|e| ApiError::bad_request(format!("decoding DeleteOptions: {e}")))?
        };
        if let Some(kind) = wire.kind.as_deref().filter(|k| !k.is_empty() && *k != "DeleteOptions") {
            return Err(ApiError::bad_request(format!("decoded object cannot be converted to DeleteOptions: {kind}")));
        }
        let mut errors = field::ErrorList::default();
        let path = field::Path::new("propagationPolicy");
        if wire.orphan_dependents.is_some() && wire.propagation_policy.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(field::Error::invalid(&path, wire.propagation_policy.as_deref(), why));
        }
        let propagation = match (wire.propagation_policy.as_deref(), wire.orphan_dependents) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some(other), _) => {
                let supported = ["Background", "Foreground", "Orphan", "nil"];
                errors.push(field::Error::not_supported(&path, other, &supported));
                None
            }
            (None, None) => None,
        };
        let dry_run = dry_run(wire.dry_run.iter().flatten().map(String::as_str), &mut errors);
        if !errors.is_empty() {
            return Err(invalid_options("DeleteOptions", errors));
        }
        let preconditions = wire.preconditions.unwrap_or_default();
        Ok(DeleteOptions {
            grace_seconds: wire.grace_period_seconds,
            uid: preconditions.uid,
            resource_version: preconditions.resource_version,
            propagation,
            old_cascade: wire.orphan_dependents == Some(false),
            dry_run,
        })
    }
}

/// Which state a list shows ("API concepts: resource versions").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest, linearizably.
    Newest,
    /// Whatever the cache has.
    Any,
    NotOlderThan(u64),
    Exact(u64),
    /// From a continue token: after this key, at this revision (`None`: wherever we are now).
    Continue {
        after: String,
        revision: Option<u64>,
    },
}

#[derive(Clone, Debug)]
pub struct ListOptions {
    pub selector: Selector,
    pub at: At,
    /// 0 is no limit.
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub struct WatchOptions {
    pub selector: Selector,
    /// `None`: begin with the newest state. 0: with any. Otherwise after that revision.
    pub from: Option<u64>,
    /// `None` when `sendInitialEvents` was not given.
    pub initial_events: Option<bool>,
    pub bookmarks: bool,
    pub timeout: Option<Duration>,
}

/// Label and field selectors, compiled for one resource.
#[derive(Clone, Debug)]
pub struct Selector {
    labels: Option<Arc<labels::Selector>>,
    fields: Option<Arc<fields::Selector>>,
    /// From `metadata.name=x`.
    pub name: Option<String>,
    /// From `metadata.namespace=x`.
    pub namespace: Option<String>,
    /// Position and value, when an indexed field is selected exactly.
    pub index: Option<(usize, String)>,
    positions: &'static [&'static str],
    /// From the path.
    only: Option<Arc<str>>,
}

impl Selector {
    /// # Errors
    /// `BadRequest` for what does not parse and for fields the resource cannot select on.
    pub fn parse(query: &Query<'_>, endpoint: &Endpoint) -> Result<Self, ApiError> {
        let positions = endpoint.info().selectable_fields;
        let mut selector =
            Selector { labels: None, fields: None, name: None, namespace: None, index: None, positions, only: None };
        if let Some(text) = query.get("labelSelector").filter(|t| !t.is_empty()) {
            let parsed = labels::Selector::parse(text).map_err(|e| ApiError::bad_request(e.to_string()))?;
            selector.labels = (!parsed.is_everything()).then(|| Arc::new(parsed));
        }
        if let Some(text) = query.get("fieldSelector").filter(|t| !t.is_empty()) {
            let parsed = fields::Selector::parse(text).map_err(|e| ApiError::bad_request(e.to_string()))?;
            for requirement in parsed.requirements() {
                let field = requirement.field.as_str();
                if !matches!(field, "metadata.name" | "metadata.namespace") && !positions.contains(&field) {
                    return Err(ApiError::bad_request(unsupported_field(endpoint, field)));
                }
            }
            selector.name = parsed.require_exact("metadata.name").map(str::to_owned);
            selector.namespace = parsed.require_exact("metadata.namespace").map(str::to_owned);
            selector.index =
                positions.iter().enumerate().filter(|(_, f)| ResourceStore::is_indexed(f)).find_map(
                    |(position, field)| parsed.require_exact(field).map(|value| (position, value.to_owned())),
                );
            selector.fields = Some(Arc::new(parsed));
        }
        Ok(selector)
    }

    /// Only the object of this name, on top of what is selected already.
    pub fn with_name(mut self, name: &str) -> Self {
        let other = self.name.as_deref().is_some_and(|n| n != name);
        if !other {
            self.name = Some(name.to_owned());
        }
        self.only = Some(name.into());
        self
    }

    pub fn is_everything(&self) -> bool {
        self.only.is_none() && self.labels.is_none() && self.fields.is_none()
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        let field = |name: &str| match name {
            "metadata.name" => Some(entry.name()),
            "metadata.namespace" => Some(entry.namespace()),
            _ => self.positions.iter().position(|f| *f == name).map(|p| entry.field(p)),
        };
        self.only.as_deref().is_none_or(|only| entry.name() == only)
            && self.labels.as_ref().is_none_or(|s| s.matches_with(|key| entry.labels().get(key)))
            && self.fields.as_ref().is_none_or(|s| s.matches(field))
    }

    /// For a watch of this resource in `namespace` (empty: all).
    pub fn filter(&self, store: &ResourceStore, namespace: &str) -> Filter {
        let namespace = match (&self.namespace, namespace) {
            (Some(selected), "") => selected.as_str(),
            _ => namespace,
        };
        let by_name = self.name.as_deref().filter(|_| !namespace.is_empty() || store.prefix_is_flat());
        let mut filter = match by_name {
            Some(name) => Filter::key(&store.key(namespace, name)),
            None => Filter::prefix(&store.range_prefix(namespace)),
        };
        if let Some((position, value)) = &self.index {
            filter = filter.index(*position, value);
        }
        let rest = self.beyond(by_name);
        if rest.is_everything() {
            return filter;
        }
        filter.matching(rest.text(), move |entry| rest.matches(entry))
    }

    /// What is left to check of an object that has the indexed value and, if given, this name.
    fn beyond(&self, name: Option<&str>) -> Selector {
        let only = self.only.clone().filter(|only| name != Some(only));
        let indexed = self.index.as_ref().and_then(|(at, value)| Some((*self.positions.get(*at)?, value.as_str())));
        let known = name.map(|name| ("metadata.name", name)).into_iter().chain(indexed);
        let fields = self.fields.as_ref().map(|fields| {
            fields.without(|requirement| known.clone().any(|(field, value)| requirement.is_exactly(field, value)))
        });
        Selector { only, fields: fields.filter(|fields| !fields.is_everything()).map(Arc::new), ..self.clone() }
    }

    /// All that [`Selector::matches`] depends on, of one resource. Quoted: whatever is in a part, it stays in it.
    fn text(&self) -> String {
        let labels = self.labels.as_ref().map(ToString::to_string);
        let fields = self.fields.as_ref().map(ToString::to_string);
        format!("{:?}", (labels, fields, &self.only))
    }
}

/// Upstream words this differently for kinds with their own list of fields.
fn unsupported_field(endpoint: &Endpoint, field: &str) -> String {
    if endpoint.info().selectable_fields.is_empty() {
        format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {field}")
    }
}

/// # Errors
/// As upstream's storage words it, which nobody there turns into an error of the client.
pub fn parse_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let what = if digits { "value out of range" } else { "invalid syntax" };
        let path = field::Path::new("resourceVersion");
        let error = field::Error::invalid(&path, text, format!("strconv.ParseUint: parsing {text:?}: {what}"));
        ApiError::new(500, "", error.to_string())
    })
}

fn forbidden(name: &str, why: &str) -> ApiError {
    invalid_options("ListOptions", [field::Error::forbidden(&field::Path::new(name), why)].into_iter().collect())
}

const MATCH: &str = "resourceVersionMatch";

impl ListOptions {
    /// # Errors
    /// Everything upstream's `ValidateListOptions` refuses.
    pub fn parse(query: &Query<'_>, endpoint: &Endpoint, prefix: &str) -> Result<Self, ApiError> {
        let selector = Selector::parse(query, endpoint)?;
        let (version, matching, token) = (query.text("resourceVersion"), query.text(MATCH), query.text("continue"));
        if query.get("sendInitialEvents").is_some() {
            return Err(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        if !matching.is_empty() {
            if version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                return Err(forbidden(MATCH, why));
            }
            if !token.is_empty() {
                return Err(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
            }
            if matching == "Exact" && version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                return Err(forbidden(MATCH, why));
            }
            if !matches!(matching, "Exact" | "NotOlderThan") {
                let path = field::Path::new(MATCH);
                let error = field::Error::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]);
                return Err(invalid_options("ListOptions", [error].into_iter().collect()));
            }
        }
        let mut limit = usize::try_from(query.integer("limit")?.unwrap_or_default().max(0)).unwrap_or(0);
        let at = if !token.is_empty() {
            if !version.is_empty() && version != "0" {
                return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
            }
            crate::handlers::continue_token::decode(token, prefix)?
        } else {
            match (version, matching) {
                ("", _) => At::Newest,
                ("0", _) => At::Any,
                (version, "Exact") => At::Exact(parse_version(version)?),
                // With a limit and no match, upstream's documented legacy meaning is Exact.
                (version, "") if limit > 0 => At::Exact(parse_version(version)?),
                (version, _) => At::NotOlderThan(parse_version(version)?),
            }
        };
        if at == At::Any {
            limit = 0;
        }
        Ok(ListOptions { selector, at, limit })
    }
}

impl WatchOptions {
    /// # Errors
    /// Everything upstream's `ValidateListOptions` refuses for a watch.
    pub fn parse(query: &Query<'_>, endpoint: &Endpoint) -> Result<Self, ApiError> {
        let selector = Selector::parse(query, endpoint)?;
        let initial_events = query.optional_flag("sendInitialEvents");
        let matching = query.text(MATCH);
        match (initial_events, matching) {
            (None, "") => {}
            (None, _) => {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                return Err(forbidden(MATCH, why));
            }
            (Some(_), "NotOlderThan") => {}
            (Some(_), "") => {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return Err(forbidden(MATCH, why));
            }
            (Some(_), other) => {
                let error = field::Error::not_supported(&field::Path::new(MATCH), other, &["NotOlderThan"]);
                return Err(invalid_options("ListOptions", [error].into_iter().collect()));
            }
        }
        if !query.text("continue").is_empty() {
            return Err(forbidden("continue", "continue is forbidden for watch"));
        }
        let bookmarks = query.flag("allowWatchBookmarks");
        let from = match query.text("resourceVersion") {
            "" => None,
            version => Some(parse_version(version)?),
        };
        let seconds = query.integer("timeoutSeconds")?.filter(|s| *s > 0);
        let timeout = seconds.map(|s| Duration::from_secs(s.unsigned_abs()));
        Ok(WatchOptions { selector, from, initial_events, bookmarks, timeout })
    }
}
