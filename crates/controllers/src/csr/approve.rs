//! Approving the client certificates of kubelets that may have them.
use super::{KUBELET_CLIENT, is_decided, request};
use crate::runtime::{
    Controller, Failure, Plan, Setup, Write,
    plan::{Target, Verb},
};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        certificates::v1::{
            CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, api::PostParams};
use std::sync::Arc;

struct Approving {
    requests: Cache<CertificateSigningRequest>,
    client: kube::Client,
}

/// Start the approving controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    Ok(Arc::new(Approving { requests: setup.watch(), client: setup.client.clone() }))
}

impl Approving {
    async fn may(&self, spec: &CertificateSigningRequestSpec, subresource: &str) -> Result<bool, Failure> {
        let attributes = ResourceAttributes {
            group: Some("certificates.k8s.io".to_owned()),
            resource: Some("certificatesigningrequests".to_owned()),
            verb: Some("create".to_owned()),
            subresource: Some(subresource.to_owned()),
            ..Default::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(attributes),
            ..Default::default()
        };
        let review = SubjectAccessReview { spec, ..Default::default() };
        let reviewed = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        Ok(reviewed.status.is_some_and(|status| status.allowed))
    }
}

fn approve(csr: &CertificateSigningRequest, message: &str, now: Timestamp) -> Write {
    let mut csr = csr.clone();
    csr.status.get_or_insert_default().conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: None,
    });
    let body = serde_json::to_value(&csr).unwrap_or_default();
    Write::raw(Verb::Replace, Target::of::<CertificateSigningRequest>(Key::of(&csr)), body).at("approval").or_gone()
}

#[async_trait]
impl Controller for Approving {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let mut plan = Plan::nothing();
        let Some(csr) = self.requests.at(key).filter(|csr| !is_decided(csr)) else { return Ok(plan) };
        let spec = &csr.spec;
        if spec.signer_name != KUBELET_CLIENT {
            return Ok(plan);
        }
        let Ok(names) = request::check(spec) else { return Ok(plan) };
        let is_self = spec.username.as_deref() == Some(&names.common_name);
        let ways = [
            (is_self, "selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
            (true, "nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
        ];
        for (_, subresource, message) in ways.into_iter().filter(|(applies, _, _)| *applies) {
            if self.may(spec, subresource).await? {
                plan.write(approve(&csr, message, now));
                return Ok(plan);
            }
        }
        // Who may not have it now may be allowed later; an administrator can approve it as well.
        Err(Failure::Stale(format!("recognized csr {:?} but subject access review was not approved", &*key.name)))
    }
}
