//! CertificateSigningRequests. Who asks is set by the server, on creation, and never changes.
use crate::{
    cells,
    kind::Kind,
    resource::{Info, Target},
};
use apimachinery::{
    duration,
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

const EXPIRATION_MIN_SECONDS: i32 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// `Approved,Issued` and such.
fn condition(csr: &CertificateSigningRequest) -> String {
    let has = |type_: &str| csr.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|c| c.type_ == type_);
    let mut text = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if csr.status.as_ref().and_then(|s| s.certificate.as_ref()).is_some_and(|c| !c.0.is_empty()) {
        text.push_str(",Issued");
    }
    text
}

impl Kind for CertificateSigningRequest {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::AGE,
        cells::text(
            "SignerName",
            "signerName indicates the requested signer, and is a qualified name. List/watch requests for CertificateSigningRequests can filter on this field using a \"spec.signerName=NAME\" fieldSelector.",
        ),
        cells::text(
            "Requestor",
            "username contains the name of the user that created the CertificateSigningRequest. Populated by the API server on creation and immutable.",
        ),
        cells::text(
            "RequestedDuration",
            "expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration so a client must check the delta between the notBefore and and notAfter fields in the issued certificate to determine the actual duration.",
        ),
        cells::text("Condition", "Current lifecycle stage of CSR."),
    ];

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn keep_status(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
    }

    fn clear_status(&mut self) {
        self.status = Some(Default::default());
    }

    fn info() -> Info {
        Info::new("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests")
            .cluster()
            .short(&["csr"])
            .sub_same("approval")
            .status()
            .selectable(&["spec.signerName"])
    }

    fn set_defaults(&mut self) {
        self.status.get_or_insert_default();
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        match target {
            Target::Main => {}
            // Approval changes the verdict only, everything else goes through the status endpoint.
            Target::Other(_) => {
                self.spec.clone_from(&old.spec);
                let conditions = self.status.take().and_then(|s| s.conditions);
                self.status.clone_from(&old.status);
                self.status.get_or_insert_default().conditions = conditions;
            }
            Target::Status => {
                let is_verdict = |type_: &str| matches!(type_, "Approved" | "Denied");
                let verdicts: Vec<_> = old
                    .status
                    .iter()
                    .flat_map(|s| s.conditions.iter().flatten())
                    .filter(|c| is_verdict(&c.type_))
                    .cloned()
                    .collect();
                let status = self.status.get_or_insert_default();
                let others = status.conditions.take().unwrap_or_default();
                let all: Vec<_> =
                    verdicts.into_iter().chain(others.into_iter().filter(|c| !is_verdict(&c.type_))).collect();
                status.conditions = Some(all).filter(|c| !c.is_empty());
            }
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let spec = &self.spec;
        let request = String::from_utf8_lossy(&spec.request.0);
        if !request.contains("-----BEGIN CERTIFICATE REQUEST-----") {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            errors.push(Error::invalid(&path.child("request"), &spec.request, detail));
        }
        let usages = spec.usages.as_deref().unwrap_or_default();
        if usages.is_empty() {
            errors.push(Error::required(&path.child("usages"), ""));
        }
        for (i, usage) in usages.iter().enumerate() {
            let at = path.child("usages").index(i);
            if !USAGES.contains(&usage.as_str()) {
                errors.push(Error::not_supported(&at, usage, USAGES));
            }
            if usages.iter().take(i).any(|u| u == usage) {
                errors.push(Error::duplicate(&at, usage));
            }
        }
        let at = path.child("signerName");
        if spec.signer_name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !spec
            .signer_name
            .split_once('/')
            .is_some_and(|(domain, path)| domain.contains('.') && !path.is_empty())
        {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(Error::invalid(&at, &spec.signer_name, detail));
        }
        if let Some(seconds) = spec.expiration_seconds.filter(|s| *s < EXPIRATION_MIN_SECONDS) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, detail));
        }
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        let path = Path::new("status").child("conditions");
        let conditions = |csr: &Self| csr.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        let (after, before) = (conditions(self), conditions(old));
        let has = |type_: &str| after.iter().any(|c| c.type_ == type_);
        if has("Approved") && has("Denied") {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(Error::invalid(&path, "Denied", detail));
        }
        if target == Target::Main {
            return;
        }
        for type_ in ["Approved", "Denied", "Failed"] {
            if before.iter().any(|c| c.type_ == type_) && !has(type_) {
                let detail = format!("updates may not remove a condition of type {type_:?}");
                errors.push(Error::forbidden(&path, detail));
            }
        }
    }

    fn field_values(&self) -> Vec<String> {
        vec![self.spec.signer_name.clone()]
    }

    fn row(&self, now: i64) -> Row {
        let requested = self.spec.expiration_seconds.map(|s| duration::human(i64::from(s)));
        vec![
            cells::name(&self.metadata),
            cells::age(&self.metadata, now),
            self.spec.signer_name.as_str().into(),
            self.spec.username.as_deref().unwrap_or_default().into(),
            requested.unwrap_or_else(|| cells::NONE.into()).into(),
            condition(self).into(),
        ]
    }
}
