//! ServiceAccounts.
use crate::{cells, kind::Kind, resource::Info};
use apimachinery::table::{Column, Row};
use k8s_openapi::api::core::v1::ServiceAccount;

impl Kind for ServiceAccount {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Secrets",
            "Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are allowed to use. Pods are only limited to this list if this service account has a \"kubernetes.io/enforce-mountable-secrets\" annotation set to \"true\". The \"kubernetes.io/enforce-mountable-secrets\" annotation is deprecated since v1.32. Prefer separate namespaces to isolate access to mounted secrets. This field should not be used to find auto-generated service account token secrets for use outside of pods. Instead, tokens can be requested directly using the TokenRequest API, or service account token secrets can be manually created. More info: https://kubernetes.io/docs/concepts/configuration/secret",
        ),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"]).sub(
            "token",
            ("authentication.k8s.io", "v1", "TokenRequest"),
            &["create"],
        )
    }

    fn row(&self, now: i64) -> Row {
        let secrets = self.secrets.as_ref().map_or(0, Vec::len);
        vec![
            cells::name(&self.metadata),
            i64::try_from(secrets).unwrap_or_default().into(),
            cells::age(&self.metadata, now),
        ]
    }
}
