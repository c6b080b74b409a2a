//! Delegated authentication and authorization: who asks a component something, and may he, as the API server says.
//!
//! What scheduler and controller manager do on their secure ports: client certificates of the cluster's authority, bearer
//! tokens by TokenReview, all else is `system:anonymous`; then a SubjectAccessReview of the path. What cannot be decided
//! is refused. Source: `k8s.io/apiserver/pkg/server/options` (delegating); texts as upstream's.
use http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::ConfigMap,
};
use kube::{Api, api::PostParams};
use pki::tls::ClientVerifier;
use rustls::pki_types::CertificateDer;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::watch;
use x509_parser::{prelude::FromDer, prelude::X509Certificate, x509::AttributeTypeAndValue};

const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
const AUTHENTICATED: &str = "system:authenticated";

/// A refusal: status and the JSON of a `Status`.
pub type Refusal = (StatusCode, String);

/// How to ask.
#[derive(Clone)]
pub struct Delegated {
    /// May create TokenReviews.
    pub authentication: kube::Client,
    /// May create SubjectAccessReviews.
    pub authorization: kube::Client,
    /// Knows the authority of client certificates, once that is known.
    pub clients: watch::Receiver<Option<ClientVerifier>>,
    /// Paths that need no authorization; a `*` at the end stands for anything.
    pub always_allow: Vec<String>,
}

/// Whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: Option<String>,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Whose bearer token this is, by TokenReview; `None`: nobody's.
///
/// # Errors
/// The API server does not answer in time, or refuses; the text says which.
pub async fn token_user(client: &kube::Client, token: &str) -> Result<Option<User>, String> {
    let spec = TokenReviewSpec { token: token.to_owned(), ..Default::default() };
    let review = TokenReview { spec, ..Default::default() };
    let (api, params) = (Api::<TokenReview>::all(client.clone()), PostParams::default());
    let asked = tokio::time::timeout(REVIEW_TIMEOUT, api.create(&params, &review)).await;
    let answer = asked.map_err(|_| "the token review timed out".to_owned())?.map_err(|error| error.to_string())?;
    let status = answer.status.unwrap_or_default();
    Ok(status.user.filter(|_| status.authenticated == Some(true)).map(|user| {
        let mut groups = user.groups.unwrap_or_default();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.into());
        }
        User { name: user.username.unwrap_or_default(), uid: user.uid, groups, extra: user.extra.unwrap_or_default() }
    }))
}

/// Whether the user may do what `asked`, a review without its user, names.
///
/// # Errors
/// As of [`token_user`].
pub async fn allowed(client: &kube::Client, user: &User, asked: SubjectAccessReviewSpec) -> Result<bool, String> {
    let spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: user.uid.clone(),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.clone()),
        ..asked
    };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let (api, params) = (Api::<SubjectAccessReview>::all(client.clone()), PostParams::default());
    let answer = tokio::time::timeout(REVIEW_TIMEOUT, api.create(&params, &review)).await;
    let answer = answer.map_err(|_| "the review timed out".to_owned())?.map_err(|error| error.to_string())?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}

/// Upstream's default of `--authorization-always-allow-paths`.
pub const ALWAYS_ALLOW: [&str; 3] = ["/healthz", "/readyz", "/livez"];

fn status(code: StatusCode, reason: &str, message: &str) -> Refusal {
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16()});
    (code, format!("{body}\n"))
}

fn unauthorized() -> Refusal {
    status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
}

/// The user whom a client's certificates, leaf first, name; `None` when there are none or they name nobody.
///
/// # Errors
/// They are not signed by the verifier's authority; the text says why not.
pub fn holder(verifier: &ClientVerifier, shown: &[CertificateDer<'_>]) -> Result<Option<User>, String> {
    let Some(leaf) = shown.first() else { return Ok(None) };
    verifier(shown)?;
    Ok(subject(leaf))
}

/// The last common name and every organization, as in Go's `pkix.Name`.
fn subject(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let name = subject.iter_common_name().filter_map(text).last().filter(|name| !name.is_empty())?;
    let mut user = User { name, groups: subject.iter_organization().filter_map(text).collect(), ..User::default() };
    user.groups.push(AUTHENTICATED.into());
    Some(user)
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

impl Delegated {
    /// Lets a request in or says why not. `shown`: the certificates of which the client holds the key, leaf first.
    ///
    /// # Errors
    /// 401 for a token or certificate that is not good, 403 for who may not, 500 when the API server could not be asked.
    pub async fn admit(
        &self,
        shown: &[CertificateDer<'_>],
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<(), Refusal> {
        let user = self.authenticate(shown, headers).await?;
        let allowed = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == pattern,
        };
        if self.always_allow.iter().any(allowed) {
            return Ok(());
        }
        self.authorize(user, method, path).await
    }

    async fn authenticate(&self, shown: &[CertificateDer<'_>], headers: &HeaderMap) -> Result<User, Refusal> {
        let verifier = self.clients.borrow().clone();
        let by_certificate = verifier.map_or(Ok(None), |verifier| holder(&verifier, shown));
        match (by_certificate, bearer(headers)) {
            (Ok(Some(user)), _) => Ok(user),
            (_, Some(token)) => self.token(token).await,
            (Err(why), None) => {
                tracing::error!(why, "Unable to authenticate the request");
                Err(unauthorized())
            }
            (Ok(None), None) => {
                let groups = vec!["system:unauthenticated".to_owned()];
                Ok(User { name: "system:anonymous".into(), groups, ..User::default() })
            }
        }
    }

    async fn token(&self, token: &str) -> Result<User, Refusal> {
        let user = token_user(&self.authentication, token).await.map_err(|why| {
            tracing::error!(why, "Unable to authenticate the request");
            unauthorized()
        })?;
        user.ok_or_else(unauthorized)
    }

    async fn authorize(&self, user: User, method: &Method, path: &str) -> Result<(), Refusal> {
        let verb = method.as_str().to_ascii_lowercase();
        let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.clone()) };
        let asked = SubjectAccessReviewSpec { non_resource_attributes: Some(attributes), ..Default::default() };
        let allowed = allowed(&self.authorization, &user, asked).await.map_err(|why| {
            tracing::error!(user = user.name, path, why, "Unable to authorize the request");
            let message = format!("Internal Server Error: {path:?}: {why}");
            status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &message)
        })?;
        if allowed {
            return Ok(());
        }
        let message = format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name);
        Err(status(StatusCode::FORBIDDEN, "Forbidden", &message))
    }
}

/// The authority of client certificates, PEM, as the API server publishes it for whoever serves beside it.
///
/// # Errors
/// The ConfigMap cannot be read.
pub async fn client_ca(client: &kube::Client) -> Result<Option<String>, kube::Error> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
    let found = maps.get_opt("extension-apiserver-authentication").await?;
    Ok(found.and_then(|map| map.data?.remove("client-ca-file")))
}

/// Pause between two looks at the published authority.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The same before the first one is found: the API server may be about to start.
const LOOK_SOON: Duration = Duration::from_secs(2);

/// Tells `changed` of the published authority, now and whenever it is another one, until `shutdown`.
pub async fn keep_client_ca(
    client: kube::Client,
    shutdown: tokio_util::sync::CancellationToken,
    changed: impl Fn(String) + Send,
) {
    let mut known = None;
    loop {
        match client_ca(&client).await {
            Ok(Some(ca)) if known.as_ref() != Some(&ca) => {
                known = Some(ca.clone());
                changed(ca);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = client::told(&error),
                "Unable to get configmap/extension-apiserver-authentication in kube-system. Usually fixed by \
                 'kubectl create rolebinding -n kube-system ROLEBINDING_NAME \
                 --role=extension-apiserver-authentication-reader --serviceaccount=YOUR_NS:YOUR_SA'"
            ),
        }
        let pause = if known.is_some() { LOOK_AGAIN } else { LOOK_SOON };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use http::{Request, Response};
    use kube::client::Body;
    use std::convert::Infallible;

    /// Knows the token `good` as `alice`, who may get `/metrics`.
    async fn answer(request: Request<Body>) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
        use http_body_util::BodyExt;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut review: serde_json::Value = serde_json::from_slice(&body).unwrap();
        review["status"] = match review["kind"].as_str().unwrap() {
            "TokenReview" if review["spec"]["token"] == "good" => {
                serde_json::json!({"authenticated": true, "user": {"username": "alice", "groups": ["g"]}})
            }
            "TokenReview" => serde_json::json!({"authenticated": false}),
            _ => {
                let path = &review["spec"]["nonResourceAttributes"];
                let known = review["spec"]["groups"] == serde_json::json!(["g", AUTHENTICATED]);
                let allowed = review["spec"]["user"] == "alice" && known && path["path"] == "/metrics";
                serde_json::json!({"allowed": allowed && path["verb"] == "get"})
            }
        };
        Ok(Response::new(http_body_util::Full::new(Bytes::from(review.to_string()))))
    }

    #[tokio::test]
    async fn tokens_are_reviewed_and_paths_authorized() {
        let client = kube::Client::new(tower::service_fn(answer), "default");
        let always_allow = ALWAYS_ALLOW.map(str::to_owned).to_vec();
        let ca = pki::Authority::generate("ca").unwrap();
        let (_sender, clients) = watch::channel(Some(pki::tls::client_verifier(ca.cert_pem()).unwrap()));
        let delegated = Delegated { authentication: client.clone(), authorization: client, clients, always_allow };
        let ask_as = async |shown: &[CertificateDer<'_>], token: Option<&str>, path: &str| {
            let mut headers = HeaderMap::new();
            if let Some(token) = token {
                headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            }
            delegated.admit(shown, &headers, &Method::GET, path).await.err().map(|(code, text)| (code.as_u16(), text))
        };
        let ask = async |token, path| ask_as(&[], token, path).await;
        assert_eq!(ask(None, "/healthz").await, None);
        assert_eq!(ask(Some("good"), "/metrics").await, None);
        assert_eq!(ask(Some("bad"), "/metrics").await.unwrap().0, 401);
        let (code, text) = ask(None, "/metrics").await.unwrap();
        assert_eq!(code, 403);
        assert!(text.contains(r#"forbidden: User \"system:anonymous\" cannot get path \"/metrics\""#), "{text}");
        assert_eq!(ask(Some("good"), "/configz").await.unwrap().0, 403);
        assert_eq!(ask(None, "/healthz/ping").await.unwrap().0, 403, "single checks are not for everybody");

        let own = [issue(&ca, "alice")];
        assert_eq!(ask_as(&own, None, "/metrics").await.unwrap().0, 403, "alice without her group");
        // A certificate of another authority: nobody, and not even anonymous, but it does not spoil a good token.
        let foreign = [issue(&pki::Authority::generate("other").unwrap(), "alice")];
        assert_eq!(ask_as(&foreign, None, "/healthz").await.unwrap().0, 401);
        assert_eq!(ask_as(&foreign, Some("good"), "/metrics").await, None);
    }

    fn issue(authority: &pki::Authority, name: &str) -> CertificateDer<'static> {
        let request = pki::Request {
            common_name: name.into(),
            organizations: vec!["system:masters".into()],
            usage: pki::Usage { server: false, client: true },
            ..pki::Request::default()
        };
        pki::tls::certificates(&authority.issue(&request).unwrap().cert_pem).unwrap().remove(0)
    }

    #[test]
    fn a_certificate_names_its_holder() {
        let ca = pki::Authority::generate("ca").unwrap();
        let verifier = pki::tls::client_verifier(ca.cert_pem()).unwrap();
        let user = holder(&verifier, &[issue(&ca, "kube-apiserver")]).unwrap().unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.join(" ").as_str()),
            ("kube-apiserver", "system:masters system:authenticated")
        );
        assert_eq!(holder(&verifier, &[]), Ok(None));
        let foreign = issue(&pki::Authority::generate("other").unwrap(), "kube-apiserver");
        assert_eq!(holder(&verifier, &[foreign]).unwrap_err(), "x509: certificate signed by unknown authority");
        assert_eq!(subject(b"no certificate"), None);
    }
}
