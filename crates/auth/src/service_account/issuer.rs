//! Tokens on request: the `token` subresource of service accounts.
use super::{
    claims::{Claims, Kubernetes, Reference, Stored},
    jwt,
    keys::PrivateKey,
};
use crate::{Error, users};
use apimachinery::{ApiError, field, status::On};
use k8s_openapi::{
    api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use storage::Lookup;

const MIN_EXPIRATION_SECONDS: i64 = 600;
const MAX_EXPIRATION_SECONDS: i64 = 1 << 32;
const DEFAULT_EXPIRATION_SECONDS: i64 = 3600;
/// What kubelets ask for; only these tokens are extended.
const WARN_ONLY_BOUND_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 86_400;

/// Limits and defaults of issued tokens.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The first `--service-account-issuer`.
    pub issuer: String,
    /// `--api-audiences`; used when a request names none.
    pub api_audiences: Vec<String>,
    /// `--service-account-max-token-expiration`; 0 is no limit.
    pub max_expiration_seconds: i64,
    /// `--service-account-extend-token-expiration`: tokens that kubelets ask for (3607 s) live a year, with a warning
    /// time in them.
    pub extend_expiration: bool,
}

/// Signs tokens (`--service-account-signing-key-file`).
pub struct Issuer {
    key: PrivateKey,
    algorithm: &'static str,
    key_id: String,
    config: IssuerConfig,
}

/// What a token is bound to.
#[derive(Default)]
struct Bound {
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

fn core(resource: &str) -> On<'_> {
    On { group: "", resource }
}

impl Issuer {
    /// `signing_key_pem`: PKCS #1, PKCS #8 or SEC 1; RSA or ECDSA.
    ///
    /// # Errors
    /// The key cannot be read or cannot sign.
    pub fn new(signing_key_pem: &str, config: IssuerConfig) -> Result<Self, Error> {
        let key = PrivateKey::from_pem(signing_key_pem)?;
        let public = key.public()?;
        Ok(Issuer { key, algorithm: public.algorithm, key_id: public.id, config })
    }

    /// The `token` subresource of service account `namespace`/`name`: checks the request and fills in its status.
    /// `now`: seconds since the epoch.
    ///
    /// # Errors
    /// `NotFound` (account or bound object), `Conflict` (uid), `Invalid`, `BadRequest` as upstream.
    pub fn token_request(
        &self,
        lookup: &dyn Lookup,
        namespace: &str,
        name: &str,
        mut request: TokenRequest,
        now: i64,
    ) -> Result<TokenRequest, ApiError> {
        let account = Stored::read(lookup, "serviceaccounts", namespace, name)
            .ok_or_else(|| ApiError::not_found(core("serviceaccounts"), name))?;
        check_identity(&request, namespace, name)?;
        request.metadata.name = Some(name.to_owned());
        request.metadata.namespace = Some(namespace.to_owned());
        request.metadata.creation_timestamp.get_or_insert_with(|| Time(seconds(now)));

        let spec = request.spec.get_or_insert_default();
        let audiences = match spec.audiences.take() {
            Some(named) if !named.is_empty() => named,
            _ => self.config.api_audiences.clone(),
        };
        spec.audiences = Some(audiences.clone());
        let asked = *spec.expiration_seconds.get_or_insert(DEFAULT_EXPIRATION_SECONDS);
        check_expiration(asked, name)?;
        let bound = match &spec.bound_object_ref {
            Some(reference) => bind(lookup, namespace, name, reference)?,
            None => Bound::default(),
        };
        let max = self.config.max_expiration_seconds;
        let granted = if max > 0 { asked.min(max) } else { asked };
        let (mut lifetime, mut warn_after) = (granted, None);
        if self.config.extend_expiration
            && asked == WARN_ONLY_BOUND_SECONDS
            && bound.pod.is_some()
            && audiences.iter().any(|a| self.config.api_audiences.contains(a))
        {
            lifetime = if max > 0 { EXTENDED_SECONDS.min(max) } else { EXTENDED_SECONDS };
            warn_after = Some(now + granted);
        }
        spec.expiration_seconds = Some(granted);
        let claims = Claims {
            aud: audiences,
            exp: now + lifetime,
            iat: now,
            iss: self.config.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Kubernetes {
                namespace: namespace.to_owned(),
                node: bound.node,
                pod: bound.pod,
                secret: bound.secret,
                serviceaccount: Reference { name: name.to_owned(), uid: account.metadata.uid },
                warnafter: warn_after,
            },
            nbf: now,
            sub: format!("{}{namespace}:{name}", users::SERVICE_ACCOUNT_PREFIX),
        };
        let token = jwt::sign(&self.key, self.algorithm, &self.key_id, &claims)
            .map_err(|e| ApiError::internal(format!("failed to generate token: {e}")))?;
        // Clients are told the time they asked for, so that they renew before it.
        let expiration_timestamp = Some(Time(seconds(now + granted)));
        request.status = Some(TokenRequestStatus { expiration_timestamp, token: Some(token) });
        Ok(request)
    }
}

fn seconds(at: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::MAX)
}

fn check_identity(request: &TokenRequest, namespace: &str, name: &str) -> Result<(), ApiError> {
    if request.metadata.name.as_deref().is_some_and(|n| !n.is_empty() && n != name) {
        return Err(ApiError::bad_request("name in the token request does not match the name in the request"));
    }
    if request.metadata.namespace.as_deref().is_some_and(|n| !n.is_empty() && n != namespace) {
        return Err(ApiError::bad_request(
            "namespace in the token request does not match the namespace in the request",
        ));
    }
    Ok(())
}

fn check_expiration(asked: i64, name: &str) -> Result<(), ApiError> {
    let path = field::Path::new("spec").child("expirationSeconds");
    let mut errors = field::ErrorList::default();
    if asked < MIN_EXPIRATION_SECONDS {
        errors.push(field::Error::invalid(&path, asked, "may not specify a duration less than 10 minutes"));
    }
    if asked > MAX_EXPIRATION_SECONDS {
        errors.push(field::Error::invalid(&path, asked, "may not specify a duration larger than 2^32 seconds"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(On { group: "authentication.k8s.io", resource: "TokenRequest" }, name, &errors))
}

fn bind(
    lookup: &dyn Lookup,
    namespace: &str,
    account: &str,
    reference: &BoundObjectReference,
) -> Result<Bound, ApiError> {
    let name = reference.name.as_deref().unwrap_or_default();
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or_default();
    let (prefix, resource, space) = match (api_version, kind) {
        ("v1", "Pod") => ("pods", "pods", namespace),
        ("v1", "Secret") => ("secrets", "secrets", namespace),
        ("v1", "Node") => ("minions", "nodes", ""),
        _ => {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(why));
        }
    };
    let object = Stored::read(lookup, prefix, space, name).ok_or_else(|| ApiError::not_found(core(resource), name))?;
    if let Some(wanted) = reference.uid.as_deref().filter(|u| !u.is_empty() && *u != object.metadata.uid) {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(ApiError::conflict(core(resource), name, &why));
    }
    let itself = Some(Reference { name: name.to_owned(), uid: object.metadata.uid });
    Ok(match kind {
        "Pod" => {
            let of_pod = &object.spec.service_account_name;
            if of_pod != account {
                let why = format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                );
                return Err(ApiError::bad_request(why));
            }
            // The node is not required to exist: it may just have been deleted.
            let node = Some(object.spec.node_name).filter(|n| !n.is_empty()).map(|name| {
                let uid = Stored::read(lookup, "minions", "", &name).map(|n| n.metadata.uid).unwrap_or_default();
                Reference { name, uid }
            });
            Bound { pod: itself, node, ..Bound::default() }
        }
        "Secret" => Bound { secret: itself, ..Bound::default() },
        _ => Bound { node: itself, ..Bound::default() },
    })
}
