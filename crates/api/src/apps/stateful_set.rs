//! StatefulSets.
use crate::{
    apps::workload::{self, Checked},
    cells,
    core::{
        pod::{defaults, warnings},
        volume_defaults,
    },
    kind::{Kind, spec_and_status},
    meta,
    resource::{Info, ScaleView, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::{
    api::{
        apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

const MAY_CHANGE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
    'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

impl Kind for StatefulSet {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Ready", "Number of the pod with ready state"),
        cells::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
    ];
    const GENERATION: bool = true;
    const NAME: meta::NameRule = meta::LABEL;

    spec_and_status!();

    fn info() -> Info {
        Info::new("apps", "v1", "StatefulSet", "statefulsets").short(&["sts"]).category("all").scale().status()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::template(&mut spec.template);
        spec.service_name.get_or_insert_default();
        defaults::text(&mut spec.pod_management_policy, "OrderedReady");
        let strategy = spec.update_strategy.get_or_insert_default();
        defaults::text(&mut strategy.type_, "RollingUpdate");
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.partition.get_or_insert(0);
            if let Some(IntOrString::String(text)) = &rolling.max_unavailable
                && text.is_empty()
            {
                rolling.max_unavailable = None;
            }
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        defaults::text(&mut retention.when_deleted, "Retain");
        defaults::text(&mut retention.when_scaled, "Retain");
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            volume_defaults::claim_spec(claim.spec.get_or_insert_default());
            defaults::text(&mut claim.status.get_or_insert_default().phase, "Pending");
        }
        self.status.get_or_insert_default().available_replicas.get_or_insert(0);
    }

    fn prepare_create(&mut self) {
        drop_max_unavailable(self, None);
        self.status.get_or_insert_default().available_replicas = Some(0);
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        if target == Target::Main {
            drop_max_unavailable(self, Some(old));
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        match spec.pod_management_policy.as_deref().unwrap_or_default() {
            "OrderedReady" | "Parallel" => {}
            "" => errors.push(Error::required(&path.child("podManagementPolicy"), "")),
            other => {
                let detail = "must be 'OrderedReady' or 'Parallel'";
                errors.push(Error::invalid(&path.child("podManagementPolicy"), other, detail));
            }
        }
        validate_strategy(spec, &path.child("updateStrategy"), errors);
        workload::optional_non_negative(spec.replicas, &path.child("replicas"), errors);
        workload::optional_non_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
        let ordinal = spec.ordinals.as_ref().and_then(|o| o.start);
        workload::optional_non_negative(ordinal, &path.child("ordinals").child("start"), errors);
        let checked = Checked {
            selector: &spec.selector,
            template: &spec.template,
            restart_policies: &["Always"],
            noun: "statefulset",
        };
        workload::validate(&checked, &path, errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        if target != Target::Main {
            return;
        }
        let (Some(new), Some(old)) = (&self.spec, &old.spec) else { return };
        let same = new.selector == old.selector
            && new.service_name == old.service_name
            && new.pod_management_policy == old.pod_management_policy
            && new.volume_claim_templates == old.volume_claim_templates;
        if !same {
            errors.push(Error::forbidden(&Path::new("spec"), MAY_CHANGE));
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        warnings::template(self.spec.as_ref().map(|s| &s.template), "spec.template")
    }

    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|spec| &spec.template)
    }

    fn pod_template_mut(&mut self) -> Option<&mut PodTemplateSpec> {
        self.spec.as_mut().map(|spec| &mut spec.template)
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let ready = self.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or_default();
        let mut row: Row = vec![
            cells::name(&self.metadata),
            format!("{ready}/{}", spec.and_then(|s| s.replicas).unwrap_or_default()).into(),
            cells::age(&self.metadata, now),
        ];
        row.extend(workload::wide_cells(spec.map(|s| &s.template), None));
        row
    }

    fn scale(&self) -> Option<ScaleView> {
        let spec = self.spec.as_ref()?;
        let current = self.status.as_ref().map(|s| s.replicas);
        Some(workload::scale_view(spec.replicas, current, &spec.selector))
    }

    fn set_scale(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

/// Its feature, `MaxUnavailableStatefulSet`, is off in v1.36: see [`disabled`](crate::core::pod::disabled).
fn drop_max_unavailable(new: &mut StatefulSet, old: Option<&StatefulSet>) {
    fn rolling(set: &StatefulSet) -> Option<&RollingUpdateStatefulSetStrategy> {
        set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()
    }
    if old.and_then(rolling).is_some_and(|rolling| rolling.max_unavailable.is_some()) {
        return;
    }
    let strategy = new.spec.as_mut().and_then(|spec| spec.update_strategy.as_mut());
    if let Some(rolling) = strategy.and_then(|strategy| strategy.rolling_update.as_mut()) {
        rolling.max_unavailable = None;
    }
}

fn validate_strategy(spec: &StatefulSetSpec, path: &Path, errors: &mut ErrorList) {
    let Some(strategy) = &spec.update_strategy else { return };
    let rolling = strategy.rolling_update.as_ref();
    match strategy.type_.as_deref().unwrap_or_default() {
        "" => errors.push(Error::required(path, "")),
        "OnDelete" => {
            if rolling.is_some() {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(Error::invalid(&path.child("rollingUpdate"), rolling, detail));
            }
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            workload::optional_non_negative(rolling.and_then(|r| r.partition), &path.child("partition"), errors);
            let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref());
            let path = path.child("maxUnavailable");
            workload::validate_int_or_percent(unavailable, &path, errors);
            if unavailable.is_some() && workload::int_or_percent(unavailable) == 0 {
                errors.push(Error::invalid(&path, unavailable, "cannot be 0"));
            }
            workload::not_more_than_hundred_percent(unavailable, &path, errors);
        }
        other => errors.push(Error::invalid(path, other, "must be 'RollingUpdate' or 'OnDelete'")),
    }
}
