//! Virtual resources: access and token reviews, and bindings. They are created, answered, and never stored.
//!
//! Source: `authentication.k8s.io/v1` and `authorization.k8s.io/v1`.
mod checks;

use crate::{
    body::{self, Body, RequestBody},
    chain::Ctx,
    codec,
    discovery::ApiResource,
    handlers::method_not_allowed,
    negotiation::{self, Form},
    render,
};
use apimachinery::ApiError;
use auth::{Attributes, Decision, UserInfo};
use bytes::Bytes;
use checks::Checked;
use http::{Response, StatusCode};
use k8s_openapi::api::{
    authentication::v1::{
        SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewStatus, UserInfo as WireUser,
    },
    authorization::v1::{
        LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
        SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewStatus,
        SubjectRulesReviewStatus,
    },
};
use serde::{Serialize, de::DeserializeOwned};

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Group, plural, kind, namespaced.
const REVIEWS: &[(&str, &str, &str, bool)] = &[
    ("", "bindings", "Binding", true),
    (AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", false),
    (AUTHENTICATION, "tokenreviews", "TokenReview", false),
    (AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", true),
    (AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
    (AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
    (AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", false),
];

/// Their lines in discovery: group, version, resource.
pub fn discovered() -> impl Iterator<Item = (&'static str, &'static str, ApiResource)> {
    REVIEWS.iter().map(|(group, plural, kind, namespaced)| {
        let resource = ApiResource {
            name: (*plural).into(),
            singular_name: kind.to_ascii_lowercase(),
            namespaced: *namespaced,
            kind: (*kind).into(),
            verbs: vec!["create".into()],
            ..ApiResource::default()
        };
        (*group, "v1", resource)
    })
}

/// # Errors
/// 404 when the resource is none of these.
pub async fn dispatch(ctx: &mut Ctx<'_>, body: RequestBody) -> Result<Response<Body>, ApiError> {
    let info = &ctx.info;
    let known = REVIEWS.iter().find(|r| r.0 == info.group && r.1 == info.resource && info.version == "v1");
    let Some((_, plural, _, namespaced)) = known else { return Err(ApiError::no_such_path()) };
    if info.verb != "create" || *namespaced == info.namespace.is_empty() || !info.subresource.is_empty() {
        return Err(method_not_allowed());
    }
    if ctx.accept.form != Form::Object {
        // They have neither a table nor metadata to be shown alone.
        return Err(negotiation::not_acceptable(&negotiation::OBJECT_TYPES));
    }
    let body = codec::body_json(&ctx.parts.headers, body::read(body).await?)?;
    if *plural == "bindings" {
        return crate::subresources::binding::collection(ctx, body).await;
    }
    let answer = match *plural {
        "selfsubjectreviews" => self_review(ctx, &body)?,
        "tokenreviews" => token_review(ctx, &body)?,
        "localsubjectaccessreviews" => local_access(ctx, &body)?,
        "selfsubjectaccessreviews" => self_access(ctx, &body)?,
        "selfsubjectrulesreviews" => self_rules(ctx, &body)?,
        _ => access(ctx, &body)?,
    };
    Ok(render::encoded(ctx.accept, StatusCode::CREATED, answer))
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::bad_request(e.to_string()))
}

fn written(value: &impl Serialize) -> Result<Bytes, ApiError> {
    let mut out = serde_json::to_vec(value).map_err(ApiError::internal)?;
    out.push(b'\n');
    Ok(out.into())
}

fn wire_user(user: &UserInfo) -> WireUser {
    WireUser {
        username: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|u| !u.is_empty()),
        groups: Some(user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
    }
}

fn self_review(ctx: &Ctx<'_>, body: &Bytes) -> Result<Bytes, ApiError> {
    let mut review: SelfSubjectReview = parse(body)?;
    review.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(crate::handlers::create::whole_second()));
    review.status = Some(SelfSubjectReviewStatus { user_info: Some(wire_user(&ctx.user)) });
    written(&review)
}

fn token_review(ctx: &Ctx<'_>, body: &Bytes) -> Result<Bytes, ApiError> {
    let mut review: TokenReview = parse(body)?;
    let token = review.spec.token.clone();
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = review.spec.audiences.clone().unwrap_or_default();
    // The token itself is not sent back in what is logged, but upstream does return the spec as it came.
    review.status = Some(match ctx.app.authenticator.review_token(&token, &audiences) {
        Ok(reviewed) => TokenReviewStatus {
            authenticated: Some(true),
            user: Some(wire_user(&reviewed.user)),
            audiences: (!reviewed.audiences.is_empty()).then_some(reviewed.audiences),
            error: None,
        },
        Err(why) => TokenReviewStatus { error: Some(why.0), ..TokenReviewStatus::default() },
    });
    written(&review)
}

fn decide(
    ctx: &Ctx<'_>,
    user: &UserInfo,
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> SubjectAccessReviewStatus {
    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or_default()
    }
    let attributes = match (resource, path) {
        (Some(r), _) => Attributes {
            version: text(&r.version),
            subresource: text(&r.subresource),
            namespace: text(&r.namespace),
            name: text(&r.name),
            ..Attributes::resource(user, text(&r.verb), text(&r.group), text(&r.resource))
        },
        (None, Some(p)) => Attributes::path(user, text(&p.verb), text(&p.path)),
        (None, None) => Attributes::path(user, "", ""),
    };
    let (decision, reason) = ctx.app.authorizer.authorize(&attributes);
    SubjectAccessReviewStatus {
        allowed: decision == Decision::Allow,
        denied: (decision == Decision::Deny).then_some(true),
        reason: (!reason.is_empty()).then_some(reason),
        evaluation_error: None,
    }
}

fn self_access(ctx: &Ctx<'_>, body: &Bytes) -> Result<Bytes, ApiError> {
    let mut review: SelfSubjectAccessReview = parse(body)?;
    let spec = &review.spec;
    Checked::new("SelfSubjectAccessReview")
        .attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref())
        .metadata(&review.metadata)
        .done()?;
    let (resource, path) = (spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    review.status = Some(decide(ctx, &ctx.user, resource, path));
    written(&review)
}

fn reviewed_user(
    user: &Option<String>,
    groups: &Option<Vec<String>>,
    uid: &Option<String>,
    extra: &Option<std::collections::BTreeMap<String, Vec<String>>>,
) -> UserInfo {
    let extra = extra.iter().flatten().map(|(k, v)| (k.to_lowercase(), v.clone())).collect();
    UserInfo {
        name: user.clone().unwrap_or_default(),
        uid: uid.clone().unwrap_or_default(),
        groups: groups.clone().unwrap_or_default(),
        extra,
    }
}

fn access(ctx: &Ctx<'_>, body: &Bytes) -> Result<Bytes, ApiError> {
    let mut review: SubjectAccessReview = parse(body)?;
    let spec = &review.spec;
    Checked::new("SubjectAccessReview")
        .attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref())
        .subject(spec.user.as_deref(), spec.groups.as_deref())
        .metadata(&review.metadata)
        .done()?;
    let user = reviewed_user(&spec.user, &spec.groups, &spec.uid, &spec.extra);
    let (resource, path) = (spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    review.status = Some(decide(ctx, &user, resource, path));
    written(&review)
}

fn local_access(ctx: &Ctx<'_>, body: &Bytes) -> Result<Bytes, ApiError> {
    let mut review: LocalSubjectAccessReview = parse(body)?;
    let namespace = review.metadata.namespace.get_or_insert_default();
    if namespace.is_empty() {
        ctx.info.namespace.clone_into(namespace);
    }
    if namespace != ctx.info.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let spec = &review.spec;
    Checked::new("LocalSubjectAccessReview")
        .attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref())
        .subject(spec.user.as_deref(), spec.groups.as_deref())
        .local(&review.metadata, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref())
        .done()?;
    let user = reviewed_user(&spec.user, &spec.groups, &spec.uid, &spec.extra);
    let resource = spec.resource_attributes.as_ref();
    review.status = Some(decide(ctx, &user, resource, None));
    written(&review)
}

fn self_rules(ctx: &Ctx<'_>, body: &Bytes) -> Result<Bytes, ApiError> {
    let mut review: SelfSubjectRulesReview = parse(body)?;
    let namespace = review.spec.namespace.clone().unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let rules = ctx.app.rbac.rules_for(&ctx.user, &namespace);
    review.status = Some(SubjectRulesReviewStatus {
        incomplete: !rules.errors.is_empty(),
        evaluation_error: (!rules.errors.is_empty()).then(|| rules.errors.join(", ")),
        resource_rules: rules
            .resource
            .into_iter()
            .map(|r| ResourceRule {
                verbs: r.verbs,
                api_groups: r.api_groups,
                resources: r.resources,
                resource_names: r.resource_names,
            })
            .collect(),
        non_resource_rules: rules
            .non_resource
            .into_iter()
            .map(|r| NonResourceRule { verbs: r.verbs, non_resource_urls: r.non_resource_urls })
            .collect(),
    });
    written(&review)
}
