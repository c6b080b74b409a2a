//! What was found in, plans out.
use super::{content::Found, plan::plan};
use crate::fixtures::{now, object};
use k8s_openapi::api::core::v1::Namespace;
use std::sync::Arc;

fn namespace() -> Arc<Namespace> {
    object(
        "metadata: {name: shop, deletionTimestamp: '2025-12-31T00:00:00Z'}\nspec: {finalizers: [kubernetes, other]}\nstatus: {phase: Terminating}",
    )
}

#[test]
fn an_empty_namespace_is_finalized() {
    assert_eq!(plan(&namespace(), &Found::default(), now()).to_string(), "replace Namespace shop/finalize\n");
}

#[test]
fn what_is_left_is_named() {
    let found = Found {
        remaining: [("pods.".to_owned(), 2), ("widgets.example.com".to_owned(), 1)].into(),
        finalizers: [("example.com/keep".to_owned(), 1)].into(),
        estimate_s: 30,
        ..Found::default()
    };
    let text = plan(&namespace(), &found, now()).to_string();
    assert!(
        text.contains(
            "Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances"
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances"
        )
    );
    assert!(text.ends_with("again in 16s\n"), "{text}");
}

#[test]
fn failures_keep_the_namespace() {
    let found = Found { discovery: Some("refused".to_owned()), ..Found::default() };
    let text = plan(&namespace(), &found, now()).to_string();
    assert!(text.contains("DiscoveryFailed") && !text.contains("/finalize"), "{text}");
}
