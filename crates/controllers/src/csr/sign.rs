//! Signing approved certificate requests with the cluster's authority.
use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, has, is_approved, is_issued, request};
use crate::flags;
use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{sync::Arc, time::Duration};

const SIGNERS: [&str; 4] = [KUBELET_CLIENT, KUBELET_SERVING, CLIENT, "kubernetes.io/legacy-unknown"];
const DAY_S: u64 = 86_400;

struct Signing {
    requests: Cache<CertificateSigningRequest>,
    authority: pki::Authority,
    longest: Duration,
}

/// Start the signing controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let given = setup.flags.clone();
    let (Some(certificate), Some(key)) = (&given.cluster_signing_cert_file, &given.cluster_signing_key_file) else {
        return Err("it needs --cluster-signing-cert-file and --cluster-signing-key-file".to_owned());
    };
    let certificate = flags::file("cluster-signing-cert-file", certificate)?;
    let key = flags::file("cluster-signing-key-file", key)?;
    let authority =
        pki::Authority::load(&certificate, &key).map_err(|error| format!("--cluster-signing-cert-file: {error}"))?;
    Ok(Arc::new(Signing { requests: setup.watch(), authority, longest: given.cluster_signing_duration }))
}

impl Signing {
    fn sign(&self, csr: &CertificateSigningRequest) -> Result<String, String> {
        request::check(&csr.spec)?;
        let has = |usage: &str| csr.spec.usages.iter().flatten().any(|known| known == usage);
        let usage = pki::Usage { server: has("server auth"), client: has("client auth") };
        let wanted = csr.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let seconds = wanted.unwrap_or(u64::MAX).min(self.longest.as_secs());
        let days = u32::try_from(seconds.div_ceil(DAY_S)).unwrap_or(u32::MAX).max(1);
        let pem = std::str::from_utf8(&csr.spec.request.0).map_err(|error| error.to_string())?;
        self.authority.sign_csr(pem, usage, days).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Controller for Signing {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let mut plan = Plan::nothing();
        let Some(csr) = self.requests.at(key) else { return Ok(plan) };
        let ours = SIGNERS.contains(&csr.spec.signer_name.as_str());
        if !ours || !is_approved(&csr) || is_issued(&csr) || has(&csr, "Failed") {
            return Ok(plan);
        }
        let mut signed = (*csr).clone();
        let status = signed.status.get_or_insert_default();
        match self.sign(&csr) {
            Ok(certificate) => status.certificate = Some(ByteString(certificate.into_bytes())),
            Err(why) => status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                type_: "Failed".to_owned(),
                status: "True".to_owned(),
                reason: Some("SignerValidationFailure".to_owned()),
                message: Some(why),
                last_update_time: Some(Time(now)),
                last_transition_time: None,
            }),
        }
        plan.write(Write::replace_status(&signed).or_gone());
        Ok(plan)
    }
}
