//! IPAddresses: a service's address, taken. The name is the address.
use crate::{
    cells,
    kind::Kind,
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::networking::v1::IPAddress;

fn parent(address: &IPAddress) -> String {
    let parent = &address.spec.parent_ref;
    let group = parent.group.as_deref().unwrap_or_default();
    let resource = if group.is_empty() { parent.resource.clone() } else { format!("{}.{group}", parent.resource) };
    match parent.namespace.as_deref().unwrap_or_default() {
        "" => format!("{resource}/{}", parent.name),
        namespace => format!("{resource}/{namespace}/{}", parent.name),
    }
}

impl Kind for IPAddress {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "ParentRef",
            "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
        ),
    ];
    const NAME: meta::NameRule = |name, _| validation::is_valid_ip(name);

    fn info() -> Info {
        Info::new("networking.k8s.io", "v1", "IPAddress", "ipaddresses")
            .cluster()
            .short(&["ip"])
            .selectable(&["spec.parentRef.name"])
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec").child("parentRef");
        let parent = &self.spec.parent_ref;
        for (value, field) in [(&parent.resource, "resource"), (&parent.name, "name")] {
            if value.is_empty() {
                errors.push(Error::required(&path.child(field), ""));
            }
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        let path = Path::new("spec").child("parentRef");
        meta::immutable(&path, &self.spec.parent_ref, &old.spec.parent_ref, errors);
    }

    fn field_values(&self) -> Vec<String> {
        vec![self.spec.parent_ref.name.clone()]
    }

    /// Upstream computes the age too, but has no column for it.
    fn row(&self, _now: i64) -> Row {
        vec![cells::name(&self.metadata), parent(self).into()]
    }
}
