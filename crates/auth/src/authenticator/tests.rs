//! Which credential counts, and what an invalid one leads to.
use super::*;
use crate::testing::Objects;
use http::HeaderValue;

fn union(anonymous: bool) -> Union {
    let static_tokens = static_token::Tokens::parse("secret,alice,1,dev\n").expect("tokens");
    let bootstrap_tokens = bootstrap_token::Tokens::new(Arc::new(Objects::default()));
    Union::new(Config {
        anonymous,
        client_certificates: Some(Certificates::new(Arc::new(|_| Ok(())))),
        static_tokens: Some(static_tokens),
        bootstrap_tokens: Some(bootstrap_tokens),
        api_audiences: vec!["api".into()],
        ..Config::default()
    })
}

async fn ask(union: &Union, header: Option<(&'static str, &'static str)>) -> Result<String, Rejected> {
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = header {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let credentials = Credentials { headers: &headers, peer_certificates: &[] };
    union.authenticate(&credentials).await.map(|user| user.expect("a user").name.clone())
}

#[tokio::test]
async fn an_invalid_token_is_never_anonymous() {
    let open = union(true);
    assert_eq!(ask(&open, None).await.expect("anonymous"), "system:anonymous");
    assert_eq!(ask(&open, Some(("authorization", "Bearer secret"))).await.expect("alice"), "alice");
    assert_eq!(ask(&open, Some(("authorization", "bearer  secret "))).await.expect("alice"), "alice");
    for value in ["Bearer wrong", "Bearer abcdef.0123456789abcdef", "Bearer a.b.c"] {
        for _ in 0..2 {
            assert!(ask(&open, Some(("authorization", value))).await.is_err(), "{value}");
        }
    }
    assert_eq!(ask(&open, Some(("authorization", "Basic eDp5"))).await.expect("anonymous"), "system:anonymous");
    // base64url of "secret"
    let protocol = ("sec-websocket-protocol", "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0");
    assert_eq!(ask(&open, Some(protocol)).await.expect("alice"), "alice");
    assert!(ask(&union(false), None).await.is_err());
}

#[test]
fn reviews_intersect_audiences() {
    let union = union(true);
    assert_eq!(union.review_token("secret", &[]).expect("own").audiences, ["api"]);
    let asked = ["x".to_owned(), "api".to_owned()];
    assert_eq!(union.review_token("secret", &asked).expect("one of two").audiences, ["api"]);
    assert!(union.review_token("secret", &["x".to_owned()]).is_err());
}

#[test]
fn accepted_tokens_are_kept_for_ten_seconds() {
    let union = union(true);
    union.review_token_at("secret", &[], 100).expect("good");
    assert!(union.cache.get("secret", 109).is_some());
    assert!(union.cache.get("secret", 110).is_none());
    assert!(union.cache.get("secret", 99).is_none(), "the clock went back");
    union.review_token_at("wrong", &[], 100).expect_err("bad");
    assert!(union.cache.get("wrong", 100).is_none());
}

/// A certificate that only the proxies' authority has signed names nobody by itself, whatever it says.
#[tokio::test]
async fn a_proxys_certificate_is_no_clients() {
    let authority = pki::Authority::generate("front-proxy-ca").expect("an authority");
    let request = pki::Request {
        common_name: "admin".into(),
        organizations: vec!["system:masters".into()],
        usage: pki::Usage { server: false, client: true },
        ..pki::Request::default()
    };
    let pair = authority.issue(&request).expect("a certificate");
    let peer = pki::tls::certificates(&pair.cert_pem).expect("PEM");
    let clients = pki::Authority::generate("ca").expect("an authority");
    let clients = pki::tls::client_verifier(clients.cert_pem()).expect("an authority");
    let header = RequestHeader {
        verifier: pki::tls::client_verifier(authority.cert_pem()).expect("an authority"),
        allowed_names: Vec::new(),
        username_headers: vec!["X-Remote-User".into()],
        uid_headers: Vec::new(),
        group_headers: vec!["X-Remote-Group".into()],
        extra_prefixes: Vec::new(),
    };
    let union = Union::new(Config {
        anonymous: true,
        client_certificates: Some(Certificates::new(clients)),
        request_header: Some(header),
        ..Config::default()
    });
    let ask = async |headers: HeaderMap| {
        let credentials = Credentials { headers: &headers, peer_certificates: &peer };
        union.authenticate(&credentials).await.map(|user| user.expect("somebody").name.clone())
    };
    let refused = ask(HeaderMap::new()).await.expect_err("neither a client nor anonymous");
    assert_eq!(refused.0, "x509: certificate signed by unknown authority");
    let headers = HeaderMap::from_iter([("x-remote-user".parse().expect("a name"), HeaderValue::from_static("alice"))]);
    assert_eq!(ask(headers).await.as_deref(), Ok("alice"));
}
