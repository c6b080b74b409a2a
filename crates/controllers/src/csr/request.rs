//! What a certificate request asks for, and whether that is what a kubelet may ask for.
use super::{KUBELET_CLIENT, KUBELET_SERVING};
use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::parse_x509_pem,
    prelude::FromDer,
};

/// The names in a certificate request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_or_ips: usize,
    pub others: usize,
}

/// Read a PKCS #10 request in PEM.
pub fn names(pem: &[u8]) -> Result<Names, String> {
    let (_, block) = parse_x509_pem(pem).map_err(|error| error.to_string())?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    let text =
        |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().map(str::to_owned).unwrap_or_default();
    let mut names = Names {
        common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        ..Names::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension else { continue };
        for name in &alternative.general_names {
            match name {
                GeneralName::DNSName(_) | GeneralName::IPAddress(_) => names.dns_or_ips += 1,
                _ => names.others += 1,
            }
        }
    }
    Ok(names)
}

/// Whether `spec` asks for what its signer gives; the error says what is wrong.
pub fn check(spec: &CertificateSigningRequestSpec) -> Result<Names, String> {
    let names = names(&spec.request.0)?;
    let usages: Vec<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
    let only = |wanted: &str| {
        let allowed = ["digital signature", "key encipherment", wanted];
        usages.iter().all(|usage| allowed.contains(usage))
            && usages.contains(&wanted)
            && usages.contains(&"digital signature")
    };
    let is_node = names.common_name.starts_with("system:node:") && names.organizations == ["system:nodes"];
    let fine = match spec.signer_name.as_str() {
        KUBELET_CLIENT => is_node && names.dns_or_ips + names.others == 0 && only("client auth"),
        KUBELET_SERVING => is_node && names.dns_or_ips > 0 && names.others == 0 && only("server auth"),
        super::CLIENT => !usages.contains(&"server auth"),
        _ => true,
    };
    if fine { Ok(names) } else { Err(format!("the request does not fit signer {}", spec.signer_name)) }
}
