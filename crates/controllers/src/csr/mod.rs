//! Certificate signing requests: kubelets' own are approved, approved ones signed, old ones deleted.
//!
//! Three controllers over one kind. What a kubelet asks for is checked against the certificate request
//! itself and against what its user may do.
mod approve;
mod clean;
mod request;
mod sign;

pub use approve::start as start_approving;
pub use clean::start as start_cleaning;
pub use sign::start as start_signing;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

/// Signer of kubelets' client certificates.
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of kubelets' serving certificates.
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signer of other client certificates.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn has(csr: &CertificateSigningRequest, kind: &str) -> bool {
    csr.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|condition| condition.type_ == kind)
}

fn is_approved(csr: &CertificateSigningRequest) -> bool {
    has(csr, "Approved") && !has(csr, "Denied")
}

fn is_decided(csr: &CertificateSigningRequest) -> bool {
    has(csr, "Approved") || has(csr, "Denied")
}

fn is_issued(csr: &CertificateSigningRequest) -> bool {
    csr.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|bytes| !bytes.0.is_empty())
}
