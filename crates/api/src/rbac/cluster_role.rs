//! ClusterRoles.
use crate::{cells, kind::Kind, meta, rbac::rules, resource::Info};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::rbac::v1::ClusterRole;

impl Kind for ClusterRole {
    const COLUMNS: &'static [Column] = &[cells::NAME, cells::CREATED_AT];
    const NAME: meta::NameRule = meta::PATH_SEGMENT;

    fn info() -> Info {
        Info::new("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles").cluster().created_on_update()
    }

    fn set_defaults(&mut self) {
        self.rules.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        rules::validate(self.rules.as_deref().unwrap_or_default(), false, errors);
        let Some(aggregation) = &self.aggregation_rule else { return };
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(Error::required(&path, detail));
        }
        for (i, selector) in selectors.iter().enumerate() {
            meta::validate_label_selector(selector, &path.index(i), errors);
        }
    }

    fn row(&self, _now: i64) -> Row {
        cells::default_row(&self.metadata)
    }
}
