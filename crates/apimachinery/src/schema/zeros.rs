//! Zero values that Go leaves out of JSON: `tty: false`, `args: []`, `nodeSelector: {}`.
//!
//! Upstream reads a body into a Go struct, so that `false` in a field that is no pointer is the same as nothing, and
//! is never stored or shown. A client in Go therefore cannot send it back; if it were kept, its next update would
//! look like a change. Pointers, structs, and fields without `omitempty` keep what they are given.
use super::{Field, Schema, Type};
use serde_json::Value;

/// Objects nested deeper are left alone; serde_json refuses them anyway.
const DEPTH_MAX: usize = 128;

/// Whether Go would leave out this field if it held its zero value.
pub(super) fn may_be_left_out(field: Field) -> bool {
    !field.is_pointer()
        && !field.is_always_written()
        && matches!(
            field.type_(),
            Type::String
                | Type::Bytes
                | Type::Bool
                | Type::Int32
                | Type::Int64
                | Type::Double
                | Type::List(_)
                | Type::Map(_)
        )
}

/// Whether JSON text without surrounding blanks is a zero value.
pub(super) fn is_zero_text(json: &[u8]) -> bool {
    match json.first() {
        Some(b'f') => true,
        Some(b'"') => json.len() == 2,
        Some(open @ (b'[' | b'{')) => {
            let close = if *open == b'[' { b']' } else { b'}' };
            json.get(1..).is_some_and(|rest| rest.trim_ascii() == [close])
        }
        Some(b'0' | b'-') => std::str::from_utf8(json).is_ok_and(|text| text.parse() == Ok(0.0)),
        _ => false,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Whether the table says which fields of this type are pointers: custom resource definitions and API services are
/// no types of the client that it is made from.
fn knows_pointers(schema: Schema) -> bool {
    !["apiextensions-apiserver.", "kube-aggregator."].iter().any(|package| schema.short_name().starts_with(package))
}

/// Takes out of an object of this schema what Go would leave out.
pub fn leave_out_zeros(schema: Schema, object: &mut Value) {
    visit(Type::Object(schema), object, 0);
}

fn visit(type_: Type, value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match (type_, value) {
        (Type::Object(schema), Value::Object(members)) if !schema.is_any() && knows_pointers(schema) => {
            members.retain(|name, member| {
                let Some(field) = schema.field(name) else { return true };
                visit(field.type_(), member, depth + 1);
                !(may_be_left_out(field) && is_zero(member))
            });
        }
        (Type::List(items), Value::Array(list)) => {
            list.iter_mut().for_each(|item| visit(items.get(), item, depth + 1));
        }
        (Type::Map(values), Value::Object(members)) => {
            members.values_mut().for_each(|member| visit(values.get(), member, depth + 1));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{check_fields, of};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_go_leaves_out_and_what_it_keeps() {
        let cases = [
            (
                "Pod",
                json!({"spec": {"hostNetwork": false, "nodeSelector": {}, "priority": 0}}),
                json!({"spec": {"priority": 0}}),
            ),
            (
                "Pod",
                json!({"spec": {"containers": [{"name": "", "args": [], "tty": false, "resources": {},
                    "env": [{"name": "a", "value": ""}], "livenessProbe": {"initialDelaySeconds": 0},
                    "volumeMounts": [{"name": "v", "mountPath": "", "readOnly": false}]}]}}),
                json!({"spec": {"containers": [{"name": "", "resources": {}, "env": [{"name": "a"}],
                    "livenessProbe": {}, "volumeMounts": [{"name": "v", "mountPath": ""}]}]}}),
            ),
            (
                "Pod",
                json!({"spec": {"containers": [], "automountServiceAccountToken": false, "volumes": [
                    {"name": "v", "emptyDir": {"medium": ""}}, {"name": "s", "secret": {"optional": false}}]}}),
                json!({"spec": {"containers": [], "automountServiceAccountToken": false, "volumes": [
                    {"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"optional": false}}]}}),
            ),
            (
                "ConfigMap",
                json!({"metadata": {"labels": {"a": ""}, "finalizers": []}, "data": {"k": ""}, "immutable": false}),
                json!({"metadata": {"labels": {"a": ""}}, "data": {"k": ""}, "immutable": false}),
            ),
            ("Node", json!({"spec": {"unschedulable": false, "taints": [ ]}}), json!({"spec": {}})),
            ("Event", json!({"count": 0, "reportingComponent": "", "action": ""}), json!({"reportingComponent": ""})),
            (
                "Pod",
                json!({"spec": {"hostNetwork": true, "nodeName": "n"}}),
                json!({"spec": {"hostNetwork": true, "nodeName": "n"}}),
            ),
        ];
        for (kind, mut object, wanted) in cases {
            let schema = of("", "v1", kind).unwrap();
            let found = check_fields(schema, serde_json::to_string_pretty(&object).unwrap().as_bytes());
            assert_eq!(found.zeros, object != wanted, "{object}");
            leave_out_zeros(schema, &mut object);
            assert_eq!(object, wanted);
        }
    }

    #[test]
    fn zero_is_a_value_of_its_own_in_these() {
        let kept = [
            (
                "apps",
                "Deployment",
                json!({"spec": {"replicas": 0, "progressDeadlineSeconds": 0, "revisionHistoryLimit": 0}}),
            ),
            ("apps", "StatefulSet", json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})),
            (
                "batch",
                "Job",
                json!({"spec": {"backoffLimit": 0, "completions": 0, "parallelism": 0, "suspend": false,
                "ttlSecondsAfterFinished": 0, "manualSelector": false}}),
            ),
            ("batch", "CronJob", json!({"spec": {"suspend": false, "successfulJobsHistoryLimit": 0}})),
            (
                "",
                "PersistentVolumeClaim",
                json!({"spec": {"storageClassName": "", "volumeAttributesClassName": "",
                "dataSource": {"apiGroup": "", "kind": "", "name": ""}}}),
            ),
            (
                "",
                "Service",
                json!({"spec": {"allocateLoadBalancerNodePorts": false,
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}}),
            ),
            ("", "ServiceAccount", json!({"automountServiceAccountToken": false})),
            ("", "Secret", json!({"immutable": false, "data": {"empty": ""}})),
            (
                "",
                "Pod",
                json!({"spec": {
                "automountServiceAccountToken": false, "enableServiceLinks": false, "shareProcessNamespace": false,
                "hostUsers": false, "setHostnameAsFQDN": false, "terminationGracePeriodSeconds": 0,
                "activeDeadlineSeconds": 0, "priority": 0, "runtimeClassName": "",
                "tolerations": [{"tolerationSeconds": 0}],
                "securityContext": {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false, "fsGroup": 0},
                "containers": [{"name": "", "securityContext": {"privileged": false, "runAsUser": 0,
                    "readOnlyRootFilesystem": false, "allowPrivilegeEscalation": false},
                    "livenessProbe": {"terminationGracePeriodSeconds": 0},
                    "envFrom": [{"configMapRef": {"optional": false}}],
                    "lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}],
                "volumes": [{"name": "", "configMap": {"defaultMode": 0, "optional": false,
                    "items": [{"key": "", "path": "", "mode": 0}]}}]}}),
            ),
            (
                "",
                "Node",
                json!({"metadata": {"deletionGracePeriodSeconds": 0,
                "ownerReferences": [{"apiVersion": "", "kind": "", "name": "", "uid": "", "controller": false,
                    "blockOwnerDeletion": false}]}}),
            ),
            ("autoscaling", "HorizontalPodAutoscaler", json!({"spec": {"minReplicas": 0}})),
            (
                "storage.k8s.io",
                "CSIDriver",
                json!({"spec": {"attachRequired": false, "podInfoOnMount": false,
                "storageCapacity": false, "requiresRepublish": false, "seLinuxMount": false}}),
            ),
            ("storage.k8s.io", "StorageClass", json!({"allowVolumeExpansion": false})),
            ("coordination.k8s.io", "Lease", json!({"spec": {"holderIdentity": "", "leaseTransitions": 0}})),
            (
                "discovery.k8s.io",
                "EndpointSlice",
                json!({"addressType": "", "ports": [{"name": "", "port": 0, "protocol": ""}],
                "endpoints": [{"addresses": [], "conditions": {"ready": false, "serving": false, "terminating": false}}]}),
            ),
            ("scheduling.k8s.io", "PriorityClass", json!({"value": 0})),
            (
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                json!({"spec": {"versions": [
                {"served": false, "schema": {"openAPIV3Schema": {"minLength": 0, "minimum": 0.0}}}]}}),
            ),
        ];
        for (group, kind, object) in kept {
            let schema = ["v1", "v2"].iter().find_map(|version| of(group, version, kind)).unwrap();
            let mut after = object.clone();
            leave_out_zeros(schema, &mut after);
            assert_eq!(after, object);
        }
    }

    #[test]
    fn zero_texts() {
        for text in ["false", "\"\"", "0", "-0", "0.0", "[]", "[ ]", "{\n}"] {
            assert!(is_zero_text(text.as_bytes()), "{text}");
        }
        for text in ["", "true", "null", "\"0\"", "1", "0.1", "-1", "[0]", "{\"a\":0}", "[", "-"] {
            assert!(!is_zero_text(text.as_bytes()), "{text}");
        }
    }
}
