//! `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`: who may approve and sign requests
//! of a signer, and that nobody gets a superuser's certificate.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use auth::{Attributes, Authorizer, Decision, UserInfo};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::sync::Arc;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Permission for the signer by its name, or for all signers of its domain.
fn may(authorizer: &dyn Authorizer, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let ask = |name: &str| {
        let attributes = Attributes { version: "*", name, ..Attributes::resource(user, verb, GROUP, "signers") };
        authorizer.authorize(&attributes).0 == Decision::Allow
    };
    ask(signer) || signer.split_once('/').is_some_and(|(domain, _)| ask(&format!("{domain}/*")))
}

/// A request says who made it, whatever it said itself: approvers go by that. Not a plugin, so that it cannot be
/// turned off.
pub(crate) fn name_requestor(request: &mut Request<'_>) {
    if request.operation != Operation::Create || !request.is(GROUP, RESOURCE) || !request.subresource.is_empty() {
        return;
    }
    let user = request.user.clone();
    let Some(made) = request.typed_mut::<CertificateSigningRequest>() else { return };
    made.spec.username = Some(user.name);
    made.spec.uid = Some(user.uid).filter(|uid| !uid.is_empty());
    made.spec.groups = Some(user.groups).filter(|groups| !groups.is_empty());
    made.spec.extra = Some(user.extra).filter(|extra| !extra.is_empty());
}

fn signer<'a>(request: &'a Request<'_>) -> Option<&'a str> {
    // The stored request counts: an update cannot talk its way to another signer.
    Some(&request.typed_old::<CertificateSigningRequest>()?.spec.signer_name)
}

pub(crate) struct Approval {
    authorizer: Arc<dyn Authorizer>,
}

impl Approval {
    pub fn new(config: &Config) -> Self {
        Approval { authorizer: Arc::clone(&config.authorizer) }
    }
}

#[async_trait]
impl Plugin for Approval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is(GROUP, RESOURCE) && request.subresource == "approval"
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let signer = signer(request).unwrap_or_default();
        if may(&*self.authorizer, request.user, "approve", signer) {
            return Ok(());
        }
        Err(request.forbidden(format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

pub(crate) struct Signing {
    authorizer: Arc<dyn Authorizer>,
}

impl Signing {
    pub fn new(config: &Config) -> Self {
        Signing { authorizer: Arc::clone(&config.authorizer) }
    }
}

#[async_trait]
impl Plugin for Signing {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is(GROUP, RESOURCE) && request.subresource == "status"
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let certificate =
            |csr: Option<&CertificateSigningRequest>| csr.and_then(|c| c.status.as_ref()?.certificate.clone());
        let failed = |csr: Option<&CertificateSigningRequest>| {
            let conditions = csr.and_then(|c| c.status.as_ref()?.conditions.as_ref());
            conditions.into_iter().flatten().any(|c| c.type_ == "Failed")
        };
        let (new, old) = (request.typed(), request.typed_old());
        if certificate(new) == certificate(old) && failed(new) == failed(old) {
            return Ok(());
        }
        let signer = signer(request).unwrap_or_default();
        if may(&*self.authorizer, request.user, "sign", signer) {
            return Ok(());
        }
        Err(request.forbidden(format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

pub(crate) struct SubjectRestriction;

/// The organizations of a PEM certificate request.
fn organizations(pem: &[u8]) -> Option<Vec<String>> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let (_, csr) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let subject = &csr.certification_request_info.subject;
    Some(subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect())
}

#[async_trait]
impl Plugin for SubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is(GROUP, RESOURCE) && request.subresource.is_empty()
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(csr) = request.typed::<CertificateSigningRequest>().filter(|c| c.spec.signer_name == CLIENT_SIGNER)
        else {
            return Ok(());
        };
        let Some(organizations) = organizations(&csr.spec.request.0) else {
            return Err(request.forbidden("failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"));
        };
        if organizations.iter().any(|o| o == auth::groups::MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed");
            return Err(request.forbidden(why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::{Value, json};

    fn csr(certificate: Option<&str>) -> Value {
        json!({"metadata": {"name": "c"}, "spec": {"signerName": "example.com/x", "request": ""},
            "status": {"certificate": certificate}})
    }

    /// What the chain does of its own accord, in a plugin's place.
    struct Naming;

    #[async_trait]
    impl Plugin for Naming {
        fn name(&self) -> &'static str {
            "Naming"
        }

        fn handles(&self, _: Operation) -> bool {
            true
        }

        async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
            name_requestor(request);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_request_says_who_made_it() {
        let mut forged = csr(None);
        forged["spec"]["username"] = json!("system:admin");
        forged["spec"]["groups"] = json!(["system:masters"]);
        let made = Ask::<CertificateSigningRequest>::create(GROUP, RESOURCE, forged).result(&Naming).await;
        let spec = made.expect("made").spec;
        assert_eq!(spec.username.as_deref(), Some("u"));
        assert_eq!(spec.groups, Some(vec!["system:authenticated".to_owned()]));
    }

    #[tokio::test]
    async fn approving_and_signing_need_permission() {
        let update = |on: &'static str| {
            Ask::<CertificateSigningRequest>::update(GROUP, RESOURCE, csr(None), csr(Some("Yw=="))).on(on)
        };
        let nobody = Cluster::default().config();
        assert_eq!(
            update("approval").refusal(&Approval::new(&nobody)).await,
            "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to approve requests \
             with signerName \"example.com/x\""
        );
        assert!(update("status").refusal(&Signing::new(&nobody)).await.contains("not permitted to sign"));
        let unchanged = Ask::<CertificateSigningRequest>::update(GROUP, RESOURCE, csr(None), csr(None));
        unchanged.on("status").run(&Signing::new(&nobody)).await.expect("nothing signed");
        let one =
            Cluster::default().allow("approve signers example.com/x").allow("sign signers example.com/*").config();
        update("approval").run(&Approval::new(&one)).await.expect("named");
        update("status").run(&Signing::new(&one)).await.expect("by domain");
    }

    #[tokio::test]
    async fn no_superusers_by_request() {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let ask = |organization: &str| {
            let key = pki::PrivateKey::generate().expect("key");
            let organizations = vec![organization.to_owned()];
            let request = pki::Request { common_name: "jane".into(), organizations, ..pki::Request::default() };
            let pem = pki::certificate_request(&request, &key).expect("request");
            let spec = json!({"signerName": CLIENT_SIGNER, "request": BASE64_STANDARD.encode(pem)});
            Ask::<CertificateSigningRequest>::create(GROUP, RESOURCE, json!({"metadata": {"name": "c"}, "spec": spec}))
        };
        ask("dev").run(&SubjectRestriction).await.expect("allowed");
        assert!(
            ask("system:masters").refusal(&SubjectRestriction).await.ends_with(
                "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
            )
        );
    }
}
