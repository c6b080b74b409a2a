//! What clients are told about bodies that are no objects of the kind.
use crate::support::{create, lines, resource};
use serde_json::{Value, json};

fn refused(body: &Value) -> String {
    let kind = json!({"apiVersion": "v1", "kind": "Pod"});
    resource(&kind).decode(body.to_string().as_bytes()).map(|_| ()).unwrap_err().message
}

#[test]
fn wrong_types_are_named() {
    let cases = [
        (
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": "x"}]}]}}),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field \
             ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            json!({"spec": {"hostNetwork": "yes"}}),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field \
             PodSpec.spec.hostNetwork of type bool",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field \
             ObjectMeta.metadata.labels of type string",
        ),
        (
            json!([]),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal array into Go value of type core.v1.Pod",
        ),
    ];
    for (body, want) in cases {
        assert_eq!(refused(&body), want);
    }
}

#[test]
fn unknown_and_repeated_fields_are_listed() {
    let kind = json!({"apiVersion": "v1", "kind": "Pod"});
    let body = r#"{"metadata":{"name":"a","name":"b"},"spec":{"containers":[{"name":"c","imagee":"x"}],"restartPolicyy":"Never"}}"#;
    let decoded = resource(&kind).decode(body.as_bytes()).unwrap();
    assert_eq!(decoded.unknown_fields, ["spec.containers[0].imagee", "spec.restartPolicyy"]);
    assert_eq!(decoded.duplicate_fields, ["metadata.name"]);
}

#[test]
fn quantities_that_are_none_are_invalid() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b"}, "spec": {"containers": [{
        "name": "a", "image": "b", "resources": {"limits": {"cpu": "lots"}}}]}});
    let errors = lines(&create(&pod).errors);
    assert!(
        errors.starts_with("spec.containers[0].resources.limits[cpu]: Invalid value: \"lots\": quantities must match"),
        "{errors}"
    );
}
