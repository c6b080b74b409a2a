//! IngressClasses.
use crate::{
    cells,
    kind::{Kind, spec_only},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::networking::v1::IngressClass;

const CONTROLLER_MAX: usize = 250;

impl Kind for IngressClass {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Controller", "Controller that is responsible for handling this class"),
        cells::text("Parameters", "A reference to a resource with additional parameters"),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new("networking.k8s.io", "v1", "IngressClass", "ingressclasses").cluster()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        if let Some(parameters) = &mut spec.parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        let controller = spec.controller.as_deref().unwrap_or_default();
        if controller.len() > CONTROLLER_MAX {
            errors.push(Error::too_long(&path.child("controller"), CONTROLLER_MAX));
        }
        for violation in validation::is_domain_prefixed_path(controller) {
            errors.push(Error::invalid(&path.child("controller"), controller, violation));
        }
        if let Some(parameters) = &spec.parameters {
            let path = path.child("parameters");
            for (value, field) in [(&parameters.kind, "kind"), (&parameters.name, "name")] {
                if value.is_empty() {
                    errors.push(Error::required(&path.child(field), format!("{field} is required")));
                }
            }
            let namespace = parameters.namespace.as_deref();
            match parameters.scope.as_deref() {
                Some("Namespace") if namespace.is_none_or(str::is_empty) => {
                    let detail = "`parameters.scope` is set to 'Namespace'";
                    errors.push(Error::required(&path.child("namespace"), detail));
                }
                Some("Cluster") if namespace.is_some() => {
                    let detail = "`parameters.scope` is set to 'Cluster'";
                    errors.push(Error::forbidden(&path.child("namespace"), detail));
                }
                Some("Namespace" | "Cluster") => {}
                None => errors.push(Error::required(&path.child("scope"), "")),
                Some(other) => {
                    errors.push(Error::not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]));
                }
            }
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        let controller = |c: &Self| c.spec.as_ref().and_then(|s| s.controller.clone());
        meta::immutable(&Path::new("spec").child("controller"), controller(self), controller(old), errors);
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let parameters = spec.and_then(|s| s.parameters.as_ref()).map(|p| match p.api_group.as_deref() {
            Some(group) if !group.is_empty() => format!("{}.{group}/{}", p.kind, p.name),
            _ => format!("{}/{}", p.kind, p.name),
        });
        vec![
            cells::name(&self.metadata),
            spec.and_then(|s| s.controller.as_deref()).unwrap_or_default().into(),
            parameters.unwrap_or_else(|| cells::NONE.into()).into(),
            cells::age(&self.metadata, now),
        ]
    }
}
