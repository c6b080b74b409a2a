//! Bodies as Go's encoder writes them, and bytes that nobody should send.
#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use serde_json::json;

/// A record of any kind, to build messages by hand.
fn bytes(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(content.len() as u64));
    out.extend(content);
    out
}

fn int(number: u32, value: i64) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3);
    out.extend(varint(value as u64));
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn body(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let meta = [bytes(1, api_version), bytes(2, kind)].concat();
    [MAGIC.to_vec(), bytes(1, meta), bytes(2, raw), bytes(3, ""), bytes(4, "")].concat()
}

#[test]
fn lists_are_repeated_records_whatever_their_tag_says() {
    let all = bytes(22, [bytes(1, ""), bytes(2, "Exists"), bytes(3, ""), bytes(4, "")].concat());
    let one = bytes(22, [bytes(1, "k"), bytes(2, "Equal"), bytes(3, "v"), bytes(4, "NoSchedule")].concat());
    let gate = bytes(38, bytes(1, "example.com/gate"));
    let raw = bytes(2, [all, one, gate].concat());
    let want = json!({"apiVersion": "v1", "kind": "Pod", "spec": {
        "tolerations": [{"operator": "Exists"}, {"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}],
        "schedulingGates": [{"name": "example.com/gate"}],
    }});
    let decoded = to_json(&body("v1", "Pod", raw)).unwrap();
    assert_eq!(decoded, want);
    // And out again: what Go reads is what it wrote.
    let encoded = from_json(decoded.as_object().unwrap()).unwrap();
    assert_eq!(to_json(&encoded).unwrap(), want);
    let raw = unknown(&encoded).unwrap().raw.to_vec();
    assert!(raw.windows(10).any(|w| w == [0xb2, 0x01, 0x08, 0x12, 0x06, b'E', b'x', b'i', b's', b't']), "{raw:x?}");
}

#[test]
fn a_lease_as_the_scheduler_renews_it() {
    let time = bytes(8, [int(1, 1_700_000_000), int(2, 0)].concat());
    let meta = [
        bytes(1, "kube-scheduler"),
        bytes(2, ""),
        bytes(3, "kube-system"),
        bytes(4, ""),
        bytes(5, ""),
        int(7, 0),
        time,
    ]
    .concat();
    let spec =
        [bytes(1, "host_1"), int(2, 15), bytes(4, [int(1, 1_700_000_001), int(2, 123_456_000)].concat()), int(5, 0)]
            .concat();
    let got = to_json(&body("coordination.k8s.io/v1", "Lease", [bytes(1, meta), bytes(2, spec)].concat())).unwrap();
    assert_eq!(
        got,
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "kube-scheduler", "namespace": "kube-system", "creationTimestamp": "2023-11-14T22:13:20Z"},
            "spec": {"holderIdentity": "host_1", "leaseDurationSeconds": 15, "renewTime": "2023-11-14T22:13:21.123456Z",
                     "leaseTransitions": 0}
        })
    );
}

#[test]
fn zero_values_go_where_go_would_leave_them_out() {
    let meta = bytes(1, [bytes(1, "web"), bytes(8, "")].concat());
    let container = [bytes(1, "c"), bytes(2, ""), bytes(8, ""), int(16, 0)].concat();
    let template = bytes(3, [bytes(1, ""), bytes(2, bytes(2, container))].concat());
    let spec = [int(1, 0), template, bytes(4, bytes(1, "")), int(5, 0), int(7, 0)].concat();
    let got = to_json(&body("apps/v1", "Deployment", [meta, bytes(2, spec), bytes(3, int(1, 0))].concat())).unwrap();
    assert_eq!(
        got,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 0, "strategy": {},
                     "template": {"metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]}}},
            "status": {}
        })
    );
}

#[test]
fn maps_quantities_and_inlined_messages() {
    let map = |key: &str, value: Vec<u8>| [bytes(1, key), bytes(2, value)].concat();
    let resources = bytes(8, bytes(1, map("cpu", bytes(1, "100m"))));
    let port = [bytes(1, "http"), int(2, 0), int(3, 80), bytes(4, "TCP"), bytes(5, "")].concat();
    let probe = bytes(
        10,
        [
            bytes(
                1,
                bytes(
                    2,
                    [
                        bytes(1, "/"),
                        bytes(2, [int(1, 1), int(2, 0), bytes(3, "http")].concat()),
                        bytes(3, ""),
                        bytes(4, ""),
                    ]
                    .concat(),
                ),
            ),
            int(2, 0),
            int(3, 1),
        ]
        .concat(),
    );
    let container = [bytes(1, "c"), resources, bytes(6, port), probe].concat();
    let volume = [bytes(1, "v"), bytes(2, bytes(6, bytes(1, "s")))].concat();
    let spec = [bytes(1, volume), bytes(2, container), bytes(7, map("disk", b"ssd".to_vec()))].concat();
    let got = to_json(&body("v1", "Pod", bytes(2, spec))).unwrap();
    assert_eq!(
        got["spec"],
        json!({
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            "containers": [{
                "name": "c", "resources": {"limits": {"cpu": "100m"}},
                "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": 1}
            }],
            "nodeSelector": {"disk": "ssd"}
        })
    );
}

#[test]
fn reviews_secrets_and_options() {
    let extra = bytes(5, [bytes(1, "scopes"), bytes(2, [bytes(1, "a"), bytes(1, "b")].concat())].concat());
    let spec = bytes(
        2,
        [bytes(1, [bytes(1, "ns"), bytes(2, "get")].concat()), bytes(3, "jane"), bytes(4, "dev"), extra].concat(),
    );
    let got = to_json(&body("authorization.k8s.io/v1", "SubjectAccessReview", spec)).unwrap();
    assert_eq!(
        got["spec"],
        json!({"resourceAttributes": {"namespace": "ns", "verb": "get"}, "user": "jane", "groups": ["dev"],
               "extra": {"scopes": ["a", "b"]}})
    );
    let secret = bytes(2, [bytes(1, "k"), bytes(2, [0xff, 0])].concat());
    assert_eq!(to_json(&body("v1", "Secret", secret)).unwrap()["data"], json!({"k": "/wA="}));
    let options = [int(1, 0), bytes(2, bytes(1, "uid-1")), bytes(4, "Background")].concat();
    let got = to_json(&body("v1", "DeleteOptions", options)).unwrap();
    assert_eq!(
        got,
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
               "preconditions": {"uid": "uid-1"}, "propagationPolicy": "Background"})
    );
}

#[test]
fn encoding_then_decoding_changes_nothing() {
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "labels": {"a": "b"}, "creationTimestamp": "2023-11-14T22:13:20Z",
                         "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
            "spec": {
                "containers": [{
                    "name": "c", "resources": {"limits": {"cpu": "100m"}}, "args": ["-v", ""],
                    "livenessProbe": {"httpGet": {"port": "http"}, "initialDelaySeconds": 3},
                    "readinessProbe": {"tcpSocket": {"port": 80}},
                    "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": false}}}]
                }],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "w", "hostPath": {"path": "/"}}],
                "terminationGracePeriodSeconds": 0, "priority": -5,
                "securityContext": {"runAsUser": 0, "supplementalGroups": [1, 2]}
            }
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
                     "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
                     "template": {"metadata": {}, "spec": {"containers": []}}}
        }),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"},
            "spec": {"group": "g", "names": {"plural": "p", "kind": "K"}, "scope": "Namespaced", "versions": [{
                "name": "v1", "served": true, "storage": false,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"a": {"type": "array", "items": {"type": "string", "maxLength": 5, "default": "x"}},
                                   "b": {"additionalProperties": false}, "c": {"additionalProperties": {"type": "integer"}}}
                }}
            }]}
        }),
        json!({
            "apiVersion": "v1", "kind": "List", "metadata": {},
            "items": [{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}]
        }),
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {"user": "u", "extra": {"a": ["b", "c"]}}, "status": {"allowed": false}
        }),
    ];
    for object in objects {
        let body = from_json(object.as_object().unwrap()).unwrap();
        let mut want = object.clone();
        // An empty list cannot be told from none.
        if let Some(pod) = want.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) {
            pod.remove("containers");
        }
        assert_eq!(to_json(&body).unwrap(), want);
    }
    let wrong = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"priority": "high"}});
    assert_eq!(from_json(wrong.as_object().unwrap()), Err(Error::Value("priority".into())));
}

#[test]
fn malformed_bodies_are_refused() {
    let deep = (0..200).fold(Vec::new(), |inner, _| bytes(25, inner));
    let crd = bytes(2, bytes(7, bytes(4, bytes(1, deep))));
    let cases = [
        (b"{}".to_vec(), Error::NoMagic),
        (b"k8s\0\x0a\x7f".to_vec(), Error::Truncated),
        (body("v1", "Nope", vec![]), Error::UnknownKind { api_version: "v1".into(), kind: "Nope".into() }),
        (body("v1", "Pod", int(2, 1)), Error::WireType { field: "spec".into(), wire: 0 }),
        (body("v1", "Pod", bytes(1, bytes(1, [0xff]))), Error::Utf8("name".into())),
        (body("v1", "Pod", [varint(5 << 3), vec![0xff; 11]].concat()), Error::Overlong),
        (body("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd), Error::Depth),
    ];
    for (body, want) in cases {
        assert_eq!(to_json(&body).unwrap_err(), want);
    }
}

#[test]
fn every_kind_takes_an_empty_message() {
    for schema in crate::schema::all() {
        assert_eq!(message_to_json(schema, &[]).unwrap(), json!({}), "{schema:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
        let (api_version, kind) = [("v1", "Pod"), ("v1", "Node"), ("apps/v1", "Deployment"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition")][kind];
        let _ = to_json(&body(api_version, kind, raw.clone()));
        let _ = to_json(&[MAGIC.to_vec(), raw].concat());
    }
}
