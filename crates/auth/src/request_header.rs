//! The authenticating proxy in front of the API server: it shows a certificate of an authority of its own, and names the
//! user in headers.
//!
//! Headers count only behind such a certificate. Source: "Authenticating Proxy"; flags `--requestheader-*`.
use crate::{Rejected, UserInfo, groups};
use foldhash::HashMap;
use http::HeaderMap;
use parking_lot::Mutex;
use pki::tls::ClientVerifier;
use rustls_pki_types::CertificateDer;
use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whom to believe, and which headers to read, in order.
#[derive(Clone)]
pub struct RequestHeader {
    /// Knows the proxies' authority.
    pub verifier: ClientVerifier,
    /// Common names; empty: any.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

/// Answers remembered, of a verifier that is asked at each request of everybody with a certificate.
const REMEMBERED: usize = 4096;
/// Seconds; a certificate may expire meanwhile.
const REMEMBERED_FOR: u64 = 60;

type Answers = Mutex<HashMap<Vec<u8>, (Instant, Result<(), String>)>>;

/// The same verifier, asked about each chain once a while.
pub fn remembering(verifier: ClientVerifier) -> ClientVerifier {
    let known = Answers::default();
    Arc::new(move |chain| {
        // DER says where it ends, so that no two chains look alike.
        let key: Cow<'_, [u8]> = match chain {
            [leaf] => Cow::Borrowed(leaf),
            _ => chain.iter().flat_map(|der| der.iter().copied()).collect::<Vec<u8>>().into(),
        };
        let now = Instant::now();
        if let Some((until, answer)) = known.lock().get(&*key)
            && now < *until
        {
            return answer.clone();
        }
        let answer = verifier(chain);
        let mut all = known.lock();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(key.into_owned(), (now + Duration::from_secs(REMEMBERED_FOR), answer.clone()));
        answer
    })
}

/// `%2f` and the like of a header's name, which is how keys with other letters travel.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

impl RequestHeader {
    /// The user the headers name; `None` when the peer shows no certificate, or names nobody.
    ///
    /// # Errors
    /// The peer shows a certificate of another authority, or one in a name that is not allowed.
    pub fn user(&self, peer: &[CertificateDer<'_>], headers: &HeaderMap) -> Result<Option<Arc<UserInfo>>, Rejected> {
        let Some(leaf) = peer.first() else { return Ok(None) };
        (self.verifier)(peer).map_err(Rejected)?;
        if !self.allowed_names.is_empty() {
            let (_, certificate) = X509Certificate::from_der(leaf)
                .map_err(|error| Rejected(format!("x509: malformed client certificate: {error}")))?;
            let names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            let name = names.last().unwrap_or_default();
            if !self.allowed_names.iter().any(|allowed| allowed == name) {
                return Err(Rejected(format!("x509: subject with cn={name} is not in the allowed list")));
            }
        }
        let values = |name: &String| -> Vec<String> {
            headers.get_all(name.as_str()).iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect()
        };
        let first = |names: &[String]| names.iter().flat_map(values).find(|value| !value.is_empty());
        let Some(name) = first(&self.username_headers) else { return Ok(None) };
        let mut user = UserInfo::new(name, self.group_headers.iter().flat_map(values).collect::<Vec<_>>());
        user.uid = first(&self.uid_headers).unwrap_or_default();
        for prefix in &self.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for header in headers.keys() {
                if let Some(key) = header.as_str().strip_prefix(&prefix) {
                    let held = user.extra.entry(unescaped(key)).or_default();
                    held.extend(values(&header.as_str().to_owned()));
                }
            }
        }
        if !user.groups.iter().any(|group| group == groups::AUTHENTICATED || group == groups::UNAUTHENTICATED) {
            user.groups.push(groups::AUTHENTICATED.to_owned());
        }
        Ok(Some(Arc::new(user)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn leaf(name: &str) -> CertificateDer<'static> {
        let authority = pki::Authority::generate("front-proxy-ca").unwrap();
        let request = pki::Request {
            common_name: name.into(),
            usage: pki::Usage { server: false, client: true },
            ..pki::Request::default()
        };
        pki::tls::certificates(&authority.issue(&request).unwrap().cert_pem).unwrap().remove(0)
    }

    fn proxy(signed: bool, allowed: &[&str]) -> RequestHeader {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        RequestHeader {
            verifier: Arc::new(move |_| if signed { Ok(()) } else { Err("x509: not signed".into()) }),
            allowed_names: own(allowed),
            username_headers: own(&["X-Remote-User"]),
            uid_headers: own(&["X-Remote-Uid"]),
            group_headers: own(&["X-Remote-Group"]),
            extra_prefixes: own(&["X-Remote-Extra-"]),
        }
    }

    #[test]
    fn a_verifier_is_asked_once_about_a_chain() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let verifier = remembering(Arc::new(move |chain| {
            count.fetch_add(1, Ordering::Relaxed);
            if chain.len() == 2 { Ok(()) } else { Err("not signed".into()) }
        }));
        let (a, b) = (leaf("a"), leaf("b"));
        for _ in 0..3 {
            assert_eq!(verifier(std::slice::from_ref(&a)), Err("not signed".into()));
            assert_eq!(verifier(&[a.clone(), b.clone()]), Ok(()));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn headers_count_behind_the_right_certificate_only() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "alice"),
            ("x-remote-group", "a"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-acme.com%2fproject", "p1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        headers.append("x-remote-group", "b".parse().unwrap());
        let peer = [leaf("front-proxy-client")];
        let user = proxy(true, &["front-proxy-client"]).user(&peer, &headers).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("alice", "7"));
        assert_eq!(user.groups, ["a", "b", groups::AUTHENTICATED]);
        assert_eq!(user.extra.get("acme.com/project"), Some(&vec!["p1".to_owned()]));
        assert_eq!(proxy(true, &[]).user(&peer, &headers).unwrap().unwrap().name, "alice");
        assert_eq!(proxy(false, &[]).user(&peer, &headers).unwrap_err().0, "x509: not signed");
        assert_eq!(proxy(true, &[]).user(&[], &headers), Ok(None));
        assert_eq!(proxy(true, &[]).user(&peer, &HeaderMap::new()), Ok(None));
        let refused = proxy(true, &["other"]).user(&peer, &headers).unwrap_err();
        assert_eq!(refused.0, "x509: subject with cn=front-proxy-client is not in the allowed list");
    }
}
