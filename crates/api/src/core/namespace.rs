//! Namespaces: born active, held by the `kubernetes` finalizer until their contents are gone.
use crate::{
    cells,
    kind::{Kind, spec_and_status},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::core::v1::Namespace;

const FINALIZER: &str = "kubernetes";
/// Selects a namespace by its name; every namespace has it.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn phase(namespace: &Namespace) -> &str {
    namespace.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

impl Kind for Namespace {
    const COLUMNS: &'static [Column] = &[cells::NAME, cells::text("Status", "The status of the namespace"), cells::AGE];
    const NAME: meta::NameRule = meta::LABEL;

    spec_and_status!();

    fn info() -> Info {
        Info::new("", "v1", "Namespace", "namespaces")
            .cluster()
            .short(&["ns"])
            .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
            .sub("finalize", ("", "v1", "Namespace"), &["update"])
            .status()
            .selectable(&["status.phase"])
    }

    fn set_defaults(&mut self) {
        if phase(self).is_empty() {
            self.status.get_or_insert_default().phase = Some("Active".into());
        }
        self.spec.get_or_insert_default();
        if let Some(name) = self.metadata.name.as_ref().filter(|n| !n.is_empty()) {
            let labels = self.metadata.labels.get_or_insert_default();
            if labels.get(NAME_LABEL) != Some(name) {
                labels.insert(NAME_LABEL.into(), name.clone());
            }
        }
    }

    fn prepare_create(&mut self) {
        self.status.get_or_insert_default().phase = Some("Active".into());
        let finalizers = self.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        if let Some(name) = self.metadata.name.clone() {
            self.metadata.labels.get_or_insert_default().insert(NAME_LABEL.into(), name);
        }
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        match target {
            Target::Main => self.spec.clone_from(&old.spec),
            Target::Other("finalize") => self.status.clone_from(&old.status),
            _ => {}
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec").child("finalizers");
        for finalizer in self.spec.iter().flat_map(|s| s.finalizers.iter().flatten()) {
            if finalizer != FINALIZER && !finalizer.contains('/') {
                let detail = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(Error::invalid(&path, finalizer, detail));
            }
        }
    }

    fn validate_update(&self, target: Target, _old: &Self, errors: &mut ErrorList) {
        if target != Target::Status {
            return;
        }
        let deleted = self.metadata.deletion_timestamp.is_some();
        let path = Path::new("status").child("Phase");
        match (deleted, phase(self)) {
            (false, phase) if phase != "Active" => {
                let detail = "may only be 'Active' if `deletionTimestamp` is empty";
                errors.push(Error::invalid(&path, phase, detail));
            }
            (true, phase) if phase != "Terminating" => {
                let detail = "may only be 'Terminating' if `deletionTimestamp` is not empty";
                errors.push(Error::invalid(&path, phase, detail));
            }
            _ => {}
        }
    }

    fn field_values(&self) -> Vec<String> {
        vec![phase(self).to_owned()]
    }

    fn row(&self, now: i64) -> Row {
        vec![cells::name(&self.metadata), phase(self).into(), cells::age(&self.metadata, now)]
    }
}
