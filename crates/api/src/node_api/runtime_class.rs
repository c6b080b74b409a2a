//! RuntimeClasses.
use crate::{
    amounts, cells,
    kind::Kind,
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::node::v1::RuntimeClass;

impl Kind for RuntimeClass {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Handler",
            "handler specifies the underlying runtime and configuration that the CRI implementation will use to handle pods of this class. The possible values are specific to the node & CRI configuration.  It is assumed that all handlers are available on every node, and handlers of the same name are equivalent on every node. For example, a handler called \"runc\" might specify that the runc OCI runtime (using native Linux containers) will be used to run the containers in a pod. The Handler must be lowercase, conform to the DNS Label (RFC 1123) requirements, and is immutable.",
        ),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses").cluster().needs_resource_version()
    }

    fn set_defaults(&mut self) {
        if let Some(overhead) = &mut self.overhead {
            amounts::canonicalize(&mut overhead.pod_fixed);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        for violation in validation::is_dns1123_label(&self.handler) {
            errors.push(Error::invalid(&Path::new("handler"), &self.handler, violation));
        }
        let overhead = self.overhead.iter().flat_map(|o| o.pod_fixed.iter().flatten());
        for (name, amount) in overhead {
            let at = Path::new("overhead").child("podFixed").key(name);
            amounts::validate_non_negative(amount, &at, errors);
        }
        if let Some(selector) = self.scheduling.as_ref().and_then(|s| s.node_selector.as_ref()) {
            meta::validate_labels(selector, &Path::new("scheduling").child("nodeSelector"), errors);
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        meta::immutable(&Path::new("handler"), &self.handler, &old.handler, errors);
    }

    fn row(&self, now: i64) -> Row {
        vec![cells::name(&self.metadata), self.handler.as_str().into(), cells::age(&self.metadata, now)]
    }
}
