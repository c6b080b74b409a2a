//! Tokens from request to user.
use super::*;
use crate::testing::Objects;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use serde_json::{Value, json};
use std::sync::Arc;
use storage::Lookup;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn objects() -> Arc<Objects> {
    let objects = Objects::default();
    let put =
        |prefix, namespace, name, value: Value| objects.put(prefix, namespace, name, value.to_string().as_bytes());
    put("serviceaccounts", "ns", "sa", json!({"metadata": {"uid": "sa-uid"}}));
    let pod = json!({"metadata": {"uid": "pod-uid"}, "spec": {"nodeName": "n1", "serviceAccountName": "sa"}});
    put("pods", "ns", "p", pod);
    put("minions", "", "n1", json!({"metadata": {"uid": "node-uid"}}));
    Arc::new(objects)
}

fn issuer(pem: &str) -> Issuer {
    let config = IssuerConfig {
        issuer: ISSUER.into(),
        api_audiences: vec![ISSUER.into()],
        max_expiration_seconds: 0,
        extend_expiration: true,
    };
    Issuer::new(pem, config).expect("issuer")
}

fn request(expiration_seconds: Option<i64>, bound: Option<(&str, &str, Option<&str>)>) -> TokenRequest {
    let bound_object_ref = bound.map(|(kind, name, uid)| BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some(kind.into()),
        name: Some(name.into()),
        uid: uid.map(Into::into),
    });
    let spec = TokenRequestSpec { audiences: None, bound_object_ref, expiration_seconds };
    TokenRequest { spec: Some(spec), ..TokenRequest::default() }
}

#[test]
fn every_kind_of_key_signs_and_verifies() {
    let objects = objects();
    let rsa = pki::PrivateKey::generate_rsa().expect("rsa");
    let ecdsa = pki::PrivateKey::generate().expect("ecdsa");
    let publics = vec![rsa.public_pem().expect("pem"), ecdsa.to_pem().to_owned()];
    let verifier = Verifier::new(&publics, vec![ISSUER.into()], Vec::new(), objects.clone()).expect("verifier");
    for key in [&rsa, &ecdsa] {
        let issued =
            issuer(key.to_pem()).token_request(&*objects, "ns", "sa", request(None, None), NOW).expect("token");
        let status = issued.status.expect("status");
        assert_eq!(status.expiration_timestamp.as_ref().expect("time").0.as_second(), NOW + 3600);
        let verified = verifier.verify(status.token.as_deref().expect("token"), NOW).expect("good");
        assert_eq!(verified.user.name, "system:serviceaccount:ns:sa");
        assert_eq!(verified.user.uid, "sa-uid");
        assert_eq!(
            verified.user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
        );
        assert_eq!(verified.audiences, [ISSUER]);
        assert!(verifier.is_ours(status.token.as_deref().expect("token")));
        assert!(verifier.verify(status.token.as_deref().expect("token"), NOW + 3600).is_err(), "expired");
        let tampered = status.token.as_deref().expect("token").replace('.', ".e");
        assert!(verifier.verify(&tampered, NOW).is_err());
    }
    let jwks: Value = serde_json::from_slice(&verifier.jwks()).expect("json");
    assert_eq!(jwks["keys"][0]["alg"], "RS256");
    assert_eq!(jwks["keys"][0]["e"], "AQAB");
    assert_eq!(jwks["keys"][1]["crv"], "P-256");
    let document: Value = serde_json::from_slice(&verifier.openid_configuration("https://x/jwks")).expect("json");
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256", "RS256"]));
}

#[test]
fn foreign_keys_and_the_none_algorithm_are_refused() {
    let objects = objects();
    let key = pki::PrivateKey::generate().expect("key");
    let other = pki::PrivateKey::generate().expect("key");
    let publics = vec![other.public_pem().expect("pem")];
    let verifier = Verifier::new(&publics, vec![ISSUER.into()], Vec::new(), objects.clone()).expect("verifier");
    let issued = issuer(key.to_pem()).token_request(&*objects, "ns", "sa", request(None, None), NOW).expect("token");
    let token = issued.status.and_then(|s| s.token).expect("token");
    assert!(verifier.verify(&token, NOW).is_err());
    let payload = token.split('.').nth(1).expect("payload");
    // {"alg":"none"}
    assert!(verifier.verify(&format!("eyJhbGciOiJub25lIn0.{payload}."), NOW).is_err());
    for junk in ["", ".", "..", "a.b.c", "a.b.c.d"] {
        assert!(verifier.verify(junk, NOW).is_err());
    }
}

#[test]
fn a_pod_token_says_pod_and_node_and_dies_with_the_pod() {
    let objects = objects();
    let key = pki::PrivateKey::generate().expect("key");
    let publics = vec![key.to_pem().to_owned()];
    let verifier = Verifier::new(&publics, vec![ISSUER.into()], Vec::new(), objects.clone()).expect("verifier");
    let asked = request(Some(3607), Some(("Pod", "p", Some("pod-uid"))));
    let issued = issuer(key.to_pem()).token_request(&*objects, "ns", "sa", asked, NOW).expect("token");
    let status = issued.status.expect("status");
    assert_eq!(status.expiration_timestamp.as_ref().expect("time").0.as_second(), NOW + 3607);
    let verified = verifier.verify(status.token.as_deref().expect("token"), NOW + 4000).expect("extended");
    assert!(verified.stale);
    let extra = |key: &str| verified.user.extra.get(key).and_then(|v| v.first()).cloned().unwrap_or_default();
    assert_eq!([extra(extra::POD_NAME), extra(extra::POD_UID)], ["p", "pod-uid"]);
    assert_eq!([extra(extra::NODE_NAME), extra(extra::NODE_UID)], ["n1", "node-uid"]);
    assert!(extra(extra::CREDENTIAL_ID).starts_with("JTI="));
    let recreated = json!({"metadata": {"uid": "other"}, "spec": {"nodeName": "n1", "serviceAccountName": "sa"}});
    objects.put("pods", "ns", "p", recreated.to_string().as_bytes());
    assert!(verifier.verify(status.token.as_deref().expect("token"), NOW).is_err());
    objects.remove("pods", "ns", "p");
    assert!(verifier.verify(status.token.as_deref().expect("token"), NOW).is_err());
}

#[test]
fn requests_that_make_no_sense() {
    let objects = objects();
    let issuer = issuer(pki::PrivateKey::generate().expect("key").to_pem());
    let lookup: &dyn Lookup = &*objects;
    let error = |r| issuer.token_request(lookup, "ns", "sa", r, NOW).expect_err("refused");
    let e = error(request(Some(10), None));
    assert_eq!(
        (e.code, e.message.as_str()),
        (
            422,
            "TokenRequest.authentication.k8s.io \"sa\" is invalid: spec.expirationSeconds: Invalid value: 10: may not \
             specify a duration less than 10 minutes"
        )
    );
    assert_eq!(error(request(None, Some(("Pod", "none", None)))).message, "pods \"none\" not found");
    assert_eq!(error(request(None, Some(("Pod", "p", Some("other"))))).code, 409);
    assert_eq!(error(request(None, Some(("Service", "p", None)))).code, 400);
    let e = issuer.token_request(lookup, "ns", "none", request(None, None), NOW).expect_err("refused");
    assert_eq!(e.message, "serviceaccounts \"none\" not found");
    objects.put("serviceaccounts", "ns", "other", br#"{"metadata":{"uid":"x"}}"#);
    let bound = request(None, Some(("Pod", "p", None)));
    let e = issuer.token_request(lookup, "ns", "other", bound, NOW).expect_err("refused");
    assert!(e.message.contains("different serviceaccount name"), "{}", e.message);
}
