//! MutatingWebhookConfigurations.
use super::{
    matching::{CATEGORY, GROUP},
    webhook::{self, Webhook},
};
use crate::{cells, core::pod::defaults::text, kind::Kind, resource::Info};
use apimachinery::{
    field::ErrorList,
    table::{Column, Row},
};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

impl Kind for MutatingWebhookConfiguration {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    fn same_spec(&self, old: &Self) -> bool {
        self.webhooks == old.webhooks
    }

    fn info() -> Info {
        Info::new(GROUP, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
            .cluster()
            .category(CATEGORY)
            .needs_resource_version()
    }

    fn set_defaults(&mut self) {
        for hook in self.webhooks.iter_mut().flatten() {
            text(&mut hook.failure_policy, "Fail");
            text(&mut hook.match_policy, "Equivalent");
            hook.namespace_selector.get_or_insert_default();
            hook.object_selector.get_or_insert_default();
            hook.timeout_seconds.get_or_insert(webhook::TIMEOUT_SECONDS);
            text(&mut hook.reinvocation_policy, "Never");
            webhook::default_client(&mut hook.client_config);
            webhook::default_rules(&mut hook.rules);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let hooks: Vec<Webhook<'_>> = self
            .webhooks
            .iter()
            .flatten()
            .map(|hook| Webhook {
                name: &hook.name,
                client: &hook.client_config,
                rules: hook.rules.as_deref().unwrap_or_default(),
                failure_policy: hook.failure_policy.as_deref(),
                match_policy: hook.match_policy.as_deref(),
                side_effects: &hook.side_effects,
                timeout_seconds: hook.timeout_seconds,
                review_versions: &hook.admission_review_versions,
                conditions: hook.match_conditions.as_deref().unwrap_or_default(),
                selectors: [
                    (hook.namespace_selector.as_ref(), "namespaceSelector"),
                    (hook.object_selector.as_ref(), "objectSelector"),
                ],
            })
            .collect();
        webhook::validate(&hooks, errors);
    }

    fn row(&self, now: i64) -> Row {
        let count = i64::try_from(self.webhooks.as_ref().map_or(0, Vec::len)).unwrap_or_default();
        vec![cells::name(&self.metadata), count.into(), cells::age(&self.metadata, now)]
    }
}
