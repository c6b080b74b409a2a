//! Pods.
pub mod defaults;
pub mod disabled;
mod print;
pub mod resources;
pub mod status;
mod update;
pub mod validate;
pub mod warnings;

pub use resources::{Amounts, effective_limits, effective_requests};
pub use status::{condition, is_ready, is_restartable_init, is_terminal, phase, qos_class};

use crate::{
    kind::{Kind, spec_and_status},
    resource::{Grace, Info, Target},
};
use apimachinery::{
    field::ErrorList,
    table::{Column, Row},
};
use k8s_openapi::api::core::v1::{Pod, PodIP};

const CONNECT: &[&str] = &["create", "get"];

impl Kind for Pod {
    const COLUMNS: &'static [Column] = print::COLUMNS;
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("", "v1", "Pod", "pods")
            .short(&["po"])
            .category("all")
            .sub("attach", ("", "v1", "PodAttachOptions"), CONNECT)
            .sub("binding", ("", "v1", "Binding"), &["create"])
            .sub_same("ephemeralcontainers")
            .sub("eviction", ("policy", "v1", "Eviction"), &["create"])
            .sub("exec", ("", "v1", "PodExecOptions"), CONNECT)
            .sub("log", ("", "v1", "Pod"), &["get"])
            .sub("portforward", ("", "v1", "PodPortForwardOptions"), CONNECT)
            .sub("proxy", ("", "v1", "PodProxyOptions"), &["create", "delete", "get", "patch", "update"])
            .sub_same("resize")
            .status()
            .selectable(&[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.podIPs",
                "status.nominatedNodeName",
            ])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::spec(spec);
        defaults::pod_only(spec);
        let status = self.status.get_or_insert_default();
        // One address, or the first of many: either says the other.
        let has_many = status.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty());
        match status.pod_ip.clone().filter(|ip| !ip.is_empty()) {
            Some(ip) if !has_many => status.pod_ips = Some(vec![PodIP { ip }]),
            None => status.pod_ip = status.pod_ips.iter().flatten().next().map(|first| first.ip.clone()),
            Some(_) => {}
        }
    }

    fn prepare_create(&mut self) {
        let spec = self.spec.get_or_insert_default();
        disabled::drop(spec, None);
        if spec.service_account != spec.service_account_name {
            spec.service_account.clone_from(&spec.service_account_name);
        }
        let qos = qos_class(spec).to_owned();
        let gated = spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty());
        let status = self.status.get_or_insert_default();
        status.phase = Some("Pending".into());
        status.qos_class = Some(qos);
        if gated {
            status.conditions = Some(vec![k8s_openapi::api::core::v1::PodCondition {
                type_: "PodScheduled".into(),
                status: "False".into(),
                reason: Some("SchedulingGated".into()),
                message: Some("Scheduling is blocked due to non-empty scheduling gates".into()),
                ..Default::default()
            }]);
        }
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        match target {
            Target::Main => disabled::drop(self.spec.get_or_insert_default(), old.spec.as_ref()),
            Target::Status => {
                self.metadata.owner_references.clone_from(&old.metadata.owner_references);
            }
            Target::Other("ephemeralcontainers") => {
                update::keep_all_but_ephemeral(self, old);
                disabled::drop(self.spec.get_or_insert_default(), old.spec.as_ref());
            }
            Target::Other("resize") => update::keep_all_but_resources(self, old),
            Target::Other(_) => {}
        }
        if target != Target::Status {
            // The quality of service never changes.
            let qos = old.status.as_ref().and_then(|s| s.qos_class.clone());
            self.status.get_or_insert_default().qos_class = qos;
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        validate::pod(self, errors);
    }

    fn validate_create(&self, errors: &mut ErrorList) {
        validate::pod_create(self, errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        match target {
            Target::Main => update::validate(self, old, errors),
            Target::Other("ephemeralcontainers") => {
                validate::pod(self, errors);
                update::validate_ephemeral(self, old, errors);
            }
            Target::Other("resize") => {
                validate::pod(self, errors);
                update::validate_resize(self, old, errors);
            }
            Target::Status | Target::Other(_) => {}
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        match (&self.spec, old) {
            (Some(spec), None) => {
                let mut warnings = warnings::spec(spec, "spec");
                warnings.extend(warnings::name(&self.metadata, "the Pod's hostname"));
                warnings
            }
            _ => Vec::new(),
        }
    }

    fn grace(&self, requested_seconds: Option<i64>) -> Grace {
        let spec = self.spec.as_ref();
        let own = spec.and_then(|s| s.termination_grace_period_seconds);
        let mut seconds = requested_seconds.or(own).unwrap_or_default();
        let scheduled = spec.and_then(|s| s.node_name.as_ref()).is_some_and(|n| !n.is_empty());
        if !scheduled || is_terminal(self) {
            seconds = 0;
        }
        if seconds < 0 {
            seconds = 1;
        }
        if seconds == 0 { Grace::Immediate } else { Grace::Seconds(seconds) }
    }

    fn field_values(&self) -> Vec<String> {
        let spec = self.spec.as_ref();
        let status = self.status.as_ref();
        let text = |t: Option<&String>| t.cloned().unwrap_or_default();
        let ips: Vec<&str> = status.iter().flat_map(|s| s.pod_ips.iter().flatten()).map(|ip| ip.ip.as_str()).collect();
        vec![
            text(spec.and_then(|s| s.node_name.as_ref())),
            text(spec.and_then(|s| s.restart_policy.as_ref())),
            text(spec.and_then(|s| s.scheduler_name.as_ref())),
            text(spec.and_then(|s| s.service_account_name.as_ref())),
            spec.and_then(|s| s.host_network).unwrap_or_default().to_string(),
            phase(self).to_owned(),
            status.and_then(|s| s.pod_ip.clone()).or_else(|| ips.first().map(|s| (*s).to_owned())).unwrap_or_default(),
            ips.join(","),
            text(status.and_then(|s| s.nominated_node_name.as_ref())),
        ]
    }

    fn row(&self, now: i64) -> Row {
        print::row(self, now)
    }
}
