//! Tokens in, signatures and deletions out.
use super::{clean, sign, signature};
use crate::{
    fixtures::{now, object},
    runtime::plan::Step,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use std::{collections::BTreeMap, sync::Arc};

fn token(id: &str, rest: &[(&str, &str)]) -> Arc<Secret> {
    let mut fields =
        BTreeMap::from([("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")]);
    fields.extend(rest.iter().copied());
    let lines: Vec<String> = fields.iter().map(|(k, v)| format!("  {k}: {v:?}")).collect();
    let secret: Secret = object(&format!("metadata: {{name: bootstrap-token-{id}, namespace: kube-system, uid: u}}"));
    let data: BTreeMap<String, String> = object(&lines.join("\n"));
    let data = data.into_iter().map(|(k, v)| (k, k8s_openapi::ByteString(v.into_bytes()))).collect();
    Arc::new(Secret { data: Some(data), ..secret })
}

/// The keys of the new `cluster-info`; none when it stays.
fn signed(data: &str, tokens: &[Arc<Secret>]) -> Vec<String> {
    let info: ConfigMap =
        object(&format!("metadata: {{name: cluster-info, namespace: kube-public}}\ndata: {{{data}}}"));
    let Some(Step::Write(write)) = sign(&info, tokens, now()).steps.pop() else { return Vec::new() };
    write.body["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// Made with Python: `hmac.new(b"0123456789abcdef", header + b"." + payload, "sha256")`.
#[test]
fn a_signature_leaves_the_content_out() {
    assert_eq!(
        signature::detached(b"hello", "abcdef", "0123456789abcdef"),
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..MxsnbCjBaYzcbNIFa06F-wuF9LX26rhMlrL4zA1511s"
    );
}

#[test]
fn tokens_that_may_sign_do() {
    let tokens = [
        token("abcdef", &[]),
        token("ghijkl", &[("expiration", "2026-01-01T01:00:00Z")]),
        token("expire", &[("expiration", "2025-12-31T23:59:59Z")]),
        token("nodate", &[("expiration", "tomorrow")]),
        token("unused", &[("usage-bootstrap-signing", "false")]),
        token("other1", &[("token-id", "other2")]),
    ];
    let want = ["jws-kubeconfig-abcdef", "jws-kubeconfig-ghijkl", "kubeconfig"];
    assert_eq!(signed("kubeconfig: x, jws-kubeconfig-gone00: y", &tokens), want);
    assert!(signed("other: x", &tokens).is_empty(), "nothing to sign");
    let done = signature::detached(b"x", "abcdef", "0123456789abcdef");
    assert!(signed(&format!("kubeconfig: x, jws-kubeconfig-abcdef: {done}"), &tokens[..1]).is_empty());
    assert_eq!(signed(&format!("kubeconfig: x, jws-kubeconfig-abcdef: {done}"), &[]), ["kubeconfig"]);
}

#[test]
fn tokens_go_when_their_time_is_over() {
    let planned = |rest: &[(&str, &str)]| clean(&token("abcdef", rest), now()).to_string();
    assert_eq!(planned(&[]), "");
    assert_eq!(planned(&[("expiration", "2026-01-01T00:01:00Z")]), "again in 1m0s\n");
    assert_eq!(
        planned(&[("expiration", "2026-01-01T00:00:00Z")]),
        "delete Secret kube-system/bootstrap-token-abcdef\n"
    );
    assert_eq!(planned(&[("expiration", "soon")]), "delete Secret kube-system/bootstrap-token-abcdef\n");
}
