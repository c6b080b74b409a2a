//! Asks the authorizer about a request as [`RequestInfo`] read it.
use crate::{App, query::Query, request_info::RequestInfo};
use apimachinery::ApiError;
use auth::{Attributes, UserInfo};

/// # Errors
/// 403 in upstream's words.
pub(super) fn request(app: &App, info: &RequestInfo<'_>, query: &Query<'_>, user: &UserInfo) -> Result<(), ApiError> {
    let collection = matches!(info.verb, "list" | "watch" | "deletecollection");
    let field_selector = if collection { query.text("fieldSelector") } else { "" };
    // A list of one object by its name counts as naming it, so that rules with resourceNames apply.
    let selected_name = if collection && info.name.is_empty() { exact_name(field_selector) } else { None };
    app.authorizer.require(&Attributes {
        user,
        verb: info.verb,
        group: info.group,
        version: info.version,
        resource: info.resource,
        subresource: info.subresource,
        namespace: info.namespace,
        name: selected_name.as_deref().unwrap_or(info.name),
        path: info.path,
        is_resource: info.resource_request,
        field_selector,
        label_selector: if collection { query.text("labelSelector") } else { "" },
    })
}

fn exact_name(field_selector: &str) -> Option<String> {
    if !field_selector.contains("metadata.name") {
        return None;
    }
    let parsed = apimachinery::fields::Selector::parse(field_selector).ok()?;
    parsed.require_exact("metadata.name").map(str::to_owned)
}
