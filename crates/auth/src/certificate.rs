//! X.509 client certificates: common name is the user, every organization is a group.
//!
//! TLS has made sure that the peer holds the key, and nothing else: the chain is verified here, once for a while, and at
//! each request that the leaf is valid. Source: "Authenticating", X.509 client certificates.
use crate::{Rejected, UserInfo, groups};
use foldhash::HashMap;
use parking_lot::Mutex;
use pki::tls::ClientVerifier;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Identities remembered, so that a certificate is parsed once and not at every request.
const REMEMBERED: usize = 4096;
/// Seconds after which a chain is verified again: another certificate in it may have expired.
const VERIFIED_FOR: i64 = 60;
/// `credential-id` of a certificate user.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

#[derive(Clone)]
struct Identity {
    user: Arc<UserInfo>,
    not_before: i64,
    not_after: i64,
    verified_until: i64,
}

/// Reads users from the certificates of one authority, with a bounded memory.
pub struct Certificates {
    verifier: ClientVerifier,
    known: Mutex<HashMap<Vec<u8>, Identity>>,
}

impl Certificates {
    pub fn new(verifier: ClientVerifier) -> Self {
        Certificates { verifier, known: Mutex::default() }
    }

    /// The user whom a peer's chain, leaf first, names; `None` when there is no chain or it names nobody. `now`: seconds
    /// since the epoch.
    ///
    /// # Errors
    /// The chain is not signed by the authority, or the leaf is outside its validity, not for clients, or malformed.
    pub fn user(&self, chain: &[CertificateDer<'_>], now: i64) -> Result<Option<Arc<UserInfo>>, Rejected> {
        let Some(leaf) = chain.first() else { return Ok(None) };
        let known = self.known.lock().get(leaf.as_ref()).filter(|known| now < known.verified_until).cloned();
        let identity = match known {
            Some(identity) => identity,
            None => {
                (self.verifier)(chain).map_err(Rejected)?;
                let Some(identity) = read(leaf, now + VERIFIED_FOR)? else { return Ok(None) };
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

fn read(der: &[u8], verified_until: i64) -> Result<Option<Identity>, Rejected> {
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
    Ok(Some(Identity { user: Arc::new(user), not_before, not_after, verified_until }))
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

    fn issue(
        authority: &pki::Authority,
        common_name: &str,
        organizations: &[&str],
        client: bool,
    ) -> [CertificateDer<'static>; 1] {
        let request = pki::Request {
            common_name: common_name.into(),
            organizations: organizations.iter().map(|o| (*o).to_owned()).collect(),
            dns: vec!["x".into()],
            ips: Vec::new(),
            usage: pki::Usage { server: !client, client },
            ..Default::default()
        };
        let pair = authority.issue(&request).expect("pair");
        [pki::tls::certificates(&pair.cert_pem).expect("PEM").remove(0)]
    }

    fn setup() -> (pki::Authority, Certificates) {
        let authority = pki::Authority::generate("ca").expect("authority");
        let verifier = pki::tls::client_verifier(authority.cert_pem()).expect("verifier");
        (authority, Certificates::new(verifier))
    }

    fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    #[test]
    fn name_and_every_organization() {
        let (authority, certificates) = setup();
        let chain = issue(&authority, "system:node:a", &["system:nodes", "extra"], true);
        for _ in 0..2 {
            let user = certificates.user(&chain, now()).expect("valid").expect("a user");
            assert_eq!(user.name, "system:node:a");
            assert_eq!(user.groups, ["system:nodes", "extra", "system:authenticated"]);
            assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
        }
        assert_eq!(certificates.known.lock().len(), 1);
        assert_eq!(certificates.user(&[], now()), Ok(None));
    }

    #[test]
    fn refused_when_not_for_clients_or_out_of_time_or_signed_by_another() {
        let (authority, certificates) = setup();
        let refused = |chain: &[CertificateDer<'_>], at| certificates.user(chain, at).expect_err("refused").0;
        let server = issue(&authority, "a", &[], false);
        assert_eq!(refused(&server, now()), "x509: certificate specifies an incompatible key usage");
        let client = issue(&authority, "a", &[], true);
        let expired = "x509: certificate has expired or is not yet valid";
        assert_eq!(refused(&client, now() + 200 * 365 * 86400), expired);
        // Also when its chain was found good before.
        assert!(certificates.user(&client, now()).is_ok());
        assert_eq!(refused(&client, 0), expired);
        let (other, _) = setup();
        let foreign = issue(&other, "admin", &["system:masters"], true);
        for _ in 0..2 {
            assert_eq!(refused(&foreign, now()), "x509: certificate signed by unknown authority");
        }
        assert!(refused(&[CertificateDer::from(vec![1, 2, 3])], now()).starts_with("x509: "));
    }

    #[test]
    fn a_chain_is_verified_anew_after_a_while() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let certificates = Certificates::new(Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        let chain = issue(&pki::Authority::generate("ca").expect("authority"), "a", &[], true);
        for at in [now(), now() + VERIFIED_FOR - 2, now() + VERIFIED_FOR + 1] {
            assert!(certificates.user(&chain, at).is_ok());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
