//! X.509 client certificates: common name is the user, every organization is a group.
//!
//! The chain has been verified by TLS. What is left to check at each request is that the leaf is still valid and may be
//! used by clients. Source: "Authenticating", X.509 client certificates.
use crate::{Rejected, UserInfo, groups};
use foldhash::HashMap;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Identities remembered, so that a certificate is parsed once and not at every request.
const REMEMBERED: usize = 4096;
/// `credential-id` of a certificate user.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

#[derive(Clone)]
struct Identity {
    user: Arc<UserInfo>,
    not_before: i64,
    not_after: i64,
}

/// Reads users from certificates, with a bounded memory.
#[derive(Default)]
pub struct Certificates {
    known: Mutex<HashMap<Vec<u8>, Identity>>,
}

impl Certificates {
    /// The user `leaf` names; `None` when it names none. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// The certificate is outside its validity, not for clients, or malformed.
    pub fn user(&self, leaf: &CertificateDer<'_>, now: i64) -> Result<Option<Arc<UserInfo>>, Rejected> {
        let known = self.known.lock().get(leaf.as_ref()).cloned();
        let identity = match known {
            Some(identity) => identity,
            None => {
                let Some(identity) = read(leaf)? else { return Ok(None) };
                let mut all = self.known.lock();
                if all.len() >= REMEMBERED {
                    all.clear();
                }
                all.insert(leaf.as_ref().to_vec(), identity.clone());
                identity
            }
        };
        if now < identity.not_before || now > identity.not_after {
            return Err(Rejected("x509: certificate has expired or is not yet valid".into()));
        }
        Ok(Some(identity.user))
    }
}

fn read(der: &[u8]) -> Result<Option<Identity>, Rejected> {
    let malformed = |why: &dyn std::fmt::Display| Rejected(format!("x509: malformed client certificate: {why}"));
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| malformed(&e))?;
    let usage = certificate.extended_key_usage().map_err(|e| malformed(&e))?;
    if usage.is_some_and(|u| !u.value.client_auth && !u.value.any) {
        return Err(Rejected("x509: certificate specifies an incompatible key usage".into()));
    }
    let subject = certificate.subject();
    let texts = |values: Vec<_>| -> Vec<String> {
        let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
        values.into_iter().filter_map(text).collect()
    };
    // The last common name counts, as in Go's pkix.Name.
    let Some(name) = texts(subject.iter_common_name().collect()).pop().filter(|n| !n.is_empty()) else {
        return Ok(None);
    };
    let mut user = UserInfo::new(name, texts(subject.iter_organization().collect()));
    user.groups.push(groups::AUTHENTICATED.to_owned());
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={}", fingerprint(der))]);
    let validity = certificate.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Ok(Some(Identity { user: Arc::new(user), not_before, not_after }))
}

fn fingerprint(der: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(der).iter().fold(String::with_capacity(64), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(common_name: &str, organizations: &[&str], client: bool) -> CertificateDer<'static> {
        let authority = pki::Authority::generate("ca").expect("authority");
        let request = pki::Request {
            common_name: common_name.into(),
            organizations: organizations.iter().map(|o| (*o).to_owned()).collect(),
            dns: vec!["x".into()],
            ips: Vec::new(),
            usage: pki::Usage { server: !client, client },
            ..Default::default()
        };
        let pair = authority.issue(&request).expect("pair");
        let block = pem::parse(pair.cert_pem).expect("PEM");
        CertificateDer::from(block.contents().to_vec())
    }

    fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    #[test]
    fn name_and_every_organization() {
        let certificates = Certificates::default();
        let leaf = leaf("system:node:a", &["system:nodes", "extra"], true);
        for _ in 0..2 {
            let user = certificates.user(&leaf, now()).expect("valid").expect("a user");
            assert_eq!(user.name, "system:node:a");
            assert_eq!(user.groups, ["system:nodes", "extra", "system:authenticated"]);
            assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
        }
        assert_eq!(certificates.known.lock().len(), 1);
    }

    #[test]
    fn refused_when_not_for_clients_or_out_of_time() {
        let certificates = Certificates::default();
        assert!(certificates.user(&leaf("a", &[], false), now()).is_err());
        assert!(certificates.user(&leaf("a", &[], true), now() + 200 * 365 * 86400).is_err());
        assert!(certificates.user(&CertificateDer::from(vec![1, 2, 3]), now()).is_err());
    }
}
