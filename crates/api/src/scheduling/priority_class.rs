//! PriorityClasses.
use crate::{
    cells,
    kind::Kind,
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::scheduling::v1::PriorityClass;

/// Values above are the system's own.
const USER_MAX: i32 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
const SYSTEM: &[(&str, i32)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Kind for PriorityClass {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer(
            "Value",
            "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
        ),
        cells::boolean(
            "Global-Default",
            "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority.",
        ),
        cells::AGE,
        cells::text(
            "PreemptionPolicy",
            "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
        ),
    ];
    const GENERATION: bool = true;

    fn info() -> Info {
        Info::new("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").cluster().short(&["pc"])
    }

    fn set_defaults(&mut self) {
        // Upstream's field is no pointer: it is always written.
        self.value.get_or_insert(0);
        self.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".into());
    }

    fn validate(&self, errors: &mut ErrorList) {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let value = self.value.unwrap_or_default();
        let known = SYSTEM.iter().find(|(system, _)| *system == name);
        if name.starts_with(SYSTEM_PREFIX) && known.is_none_or(|(_, v)| *v != value) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: \
                unknown or changed system priority class";
            errors.push(Error::forbidden(&Path::new("metadata").child("name"), detail));
        } else if known.is_none() && value > USER_MAX {
            let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errors.push(Error::forbidden(&Path::new("value"), detail));
        }
        let policy = self.preemption_policy.as_deref().unwrap_or_default();
        if !matches!(policy, "Never" | "PreemptLowerPriority") {
            let known = ["Never", "PreemptLowerPriority"];
            errors.push(Error::not_supported(&Path::new("preemptionPolicy"), policy, &known));
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        if self.value != old.value {
            errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        meta::immutable(&Path::new("preemptionPolicy"), &self.preemption_policy, &old.preemption_policy, errors);
    }

    fn row(&self, now: i64) -> Row {
        vec![
            cells::name(&self.metadata),
            i64::from(self.value.unwrap_or_default()).into(),
            self.global_default.unwrap_or_default().into(),
            cells::age(&self.metadata, now),
            self.preemption_policy.as_deref().unwrap_or_default().into(),
        ]
    }
}
