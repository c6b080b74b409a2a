//! Taints of nodes and tolerations of pods.
use crate::meta;
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{Taint, Toleration};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn validate_effect(effect: &str, path: &Path, errors: &mut ErrorList) {
    if !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(path, effect, EFFECTS));
    }
}

pub fn validate(taints: &[Taint], path: &Path, errors: &mut ErrorList) {
    for (i, taint) in taints.iter().enumerate() {
        let at = path.index(i);
        meta::validate_label_name(&taint.key, &at.child("key"), errors);
        for violation in validation::is_valid_label_value(taint.value.as_deref().unwrap_or_default()) {
            errors.push(Error::invalid(&at.child("value"), taint.value.as_deref().unwrap_or_default(), violation));
        }
        if taint.effect.is_empty() {
            errors.push(Error::required(&at.child("effect"), ""));
        } else {
            validate_effect(&taint.effect, &at.child("effect"), errors);
        }
        let twice = taints.iter().take(i).any(|t| t.key == taint.key && t.effect == taint.effect);
        if twice {
            let mut error = Error::duplicate(&at, taint);
            error.detail = "taints must be unique by key and effect pair".into();
            errors.push(error);
        }
    }
}

pub fn validate_tolerations(tolerations: &[Toleration], path: &Path, errors: &mut ErrorList) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let at = path.index(i);
        let key = toleration.key.as_deref().unwrap_or_default();
        let operator = toleration.operator.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        if !key.is_empty() {
            meta::validate_label_name(key, &at.child("key"), errors);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(&at.child("operator"), operator, detail));
        }
        if toleration.toleration_seconds.is_some() && toleration.effect.as_deref() != Some("NoExecute") {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            let effect = toleration.effect.as_deref().unwrap_or_default();
            errors.push(Error::invalid(&at.child("effect"), effect, detail));
        }
        match operator {
            "" | "Equal" => {
                for violation in validation::is_valid_label_value(value) {
                    errors.push(Error::invalid(&at.child("operator"), value, violation));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.push(Error::invalid(&at.child("operator"), toleration, detail));
                }
            }
            // `Lt` and `Gt` too: their feature is off in v1.36 (`TaintTolerationComparisonOperators`).
            other => {
                errors.push(Error::not_supported(&at.child("operator"), other, &["Equal", "Exists"]));
            }
        }
        if let Some(effect) = toleration.effect.as_deref().filter(|e| !e.is_empty()) {
            validate_effect(effect, &at.child("effect"), errors);
        }
    }
}
