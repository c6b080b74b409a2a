//! Upstream's documented cases, and properties that hold for all objects.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::schema;
use proptest::prelude::*;
use serde_json::{Value, json};

fn pod() -> Schema {
    schema::of("", "v1", "Pod").unwrap()
}

fn deployment() -> Schema {
    schema::of("apps", "v1", "Deployment").unwrap()
}

fn spec(value: Value) -> Value {
    json!({ "spec": value })
}

#[test]
fn json_patches() {
    let cases = [
        (json!({"a": 1}), r#"[{"op":"add","path":"/b","value":2}]"#, Ok(json!({"a": 1, "b": 2}))),
        (json!({"a": [1, 3]}), r#"[{"op":"add","path":"/a/1","value":2}]"#, Ok(json!({"a": [1, 2, 3]}))),
        (json!({"a": [1]}), r#"[{"op":"add","path":"/a/-","value":2}]"#, Ok(json!({"a": [1, 2]}))),
        (json!({"a": [1, 2]}), r#"[{"op":"remove","path":"/a/-1"}]"#, Ok(json!({"a": [1]}))),
        (json!({"a~/b": 1}), r#"[{"op":"remove","path":"/a~0~1b"}]"#, Ok(json!({}))),
        (json!({"a": {"b": 1}}), r#"[{"op":"move","from":"/a/b","path":"/c"}]"#, Ok(json!({"a": {}, "c": 1}))),
        (json!({"a": 1}), r#"[{"op":"copy","from":"/a","path":"/b"}]"#, Ok(json!({"a": 1, "b": 1}))),
        (json!({"a": 1}), r#"[{"op":"test","path":"/a","value":1.0}]"#, Ok(json!({"a": 1}))),
        (json!({"a": 1}), r#"[{"op":"test","path":"/a","value":2}]"#, Err("testing value /a failed: test failed")),
        (json!({}), r#"[{"op":"test","path":"/a","value":null}]"#, Ok(json!({}))),
        (
            json!({}),
            r#"[{"op":"add","path":"/a/b","value":2}]"#,
            Err("add operation does not apply: doc is missing path: \"/a/b\": missing value"),
        ),
        (
            json!({}),
            r#"[{"op":"remove","path":"/a"}]"#,
            Err("error in remove for path: '/a': Unable to remove nonexistent key: a: missing value"),
        ),
        (json!({}), r#"[{"op":"replace","path":"/a","value":1}]"#, Ok(json!({"a": 1}))),
        (json!({}), r#"[{"op":"copy","from":"/a","path":"/b"}]"#, Ok(json!({"b": null}))),
        (
            json!({"a": []}),
            r#"[{"op":"replace","path":"/a/3","value":1}]"#,
            Err("replace operation does not apply: doc is missing key: /a/3: missing value"),
        ),
        (
            json!({"a": []}),
            r#"[{"op":"test","path":"/a/7","value":1}]"#,
            Err("error in test for path: '/a/7': Unable to access invalid index: 7: invalid index referenced"),
        ),
        (
            json!({"a": []}),
            r#"[{"op":"add","path":"/a/x","value":1}]"#,
            Err(
                "error in add for path: '/a/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax",
            ),
        ),
        (
            json!({"a": []}),
            r#"[{"op":"remove","path":"/a/-"}]"#,
            Err("error in remove for path: '/a/-': strconv.Atoi: parsing \"-\": invalid syntax"),
        ),
        (
            json!({}),
            r#"[{"op":"move","from":"/a","path":"/b"}]"#,
            Err("error in move for path: 'a': Unable to remove nonexistent key: a: missing value"),
        ),
        (
            json!({"a": {}}),
            r#"[{"op":"move","from":"/a","path":"/a/b"}]"#,
            Err("move operation does not apply: doc is missing destination path: /a/b: missing value"),
        ),
        (
            json!({}),
            r#"[{"op":"move","path":"/b"}]"#,
            Err("move operation failed to decode from: operation, missing from field: missing value"),
        ),
        (json!({}), r#"[{"op":"add"}]"#, Err("add operation failed to decode path: missing value")),
        (
            json!({}),
            "{}",
            Err("error decoding patch: json: cannot unmarshal object into Go value of type []interface {}"),
        ),
        (json!({}), "[1]", Err("json: cannot unmarshal number into Go value of type jsonpatch.Operation")),
        (json!({}), r#"[{"op":"foo","path":"/a"}]"#, Err("Unexpected kind: foo")),
    ];
    for (mut document, patch, want) in cases {
        let got = json_patch(&mut document, patch.as_bytes()).map(|()| document).map_err(|e| e.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{patch}");
    }
    let long = format!("[{}]", vec![r#"{"op":"test","path":"/a"}"#; 10_001].join(","));
    assert_eq!(json_patch(&mut json!({}), long.as_bytes()), Err(Error::TooManyOperations(10_001)));
}

#[test]
fn merge_patches() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        (json!([1]), json!({"a": 1}), json!({"a": 1})),
    ];
    for (mut document, patch, want) in cases {
        merge_patch(&mut document, patch);
        assert_eq!(document, want);
    }
}

#[test]
fn strategic_merges() {
    let containers = spec(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}));
    let cases = [
        // Lists with a merge key merge by it; new items come where the patch has them.
        (
            containers.clone(),
            spec(json!({"containers": [{"name": "c", "image": "2"}, {"name": "a", "image": "2"}]})),
            spec(
                json!({"containers": [{"name": "c", "image": "2"}, {"name": "a", "image": "2"}, {"name": "b", "image": "1"}]}),
            ),
        ),
        (
            containers.clone(),
            spec(json!({"containers": [{"name": "a", "$patch": "delete"}]})),
            spec(json!({"containers": [{"name": "b", "image": "1"}]})),
        ),
        (
            containers.clone(),
            spec(json!({"containers": [{"$patch": "replace"}, {"name": "z", "image": "1"}]})),
            spec(json!({"containers": [{"name": "z", "image": "1"}]})),
        ),
        (
            containers.clone(),
            spec(json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]})),
            spec(json!({"containers": [{"name": "b", "image": "1"}, {"name": "a", "image": "1"}]})),
        ),
        // Atomic lists are replaced.
        (
            spec(json!({"containers": [{"name": "a", "command": ["x", "y"]}]})),
            spec(json!({"containers": [{"name": "a", "command": ["z"]}]})),
            spec(json!({"containers": [{"name": "a", "command": ["z"]}]})),
        ),
        // Another volume source replaces the one there was.
        (
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
            spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}, "$retainKeys": ["name", "hostPath"]}]})),
            spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
        ),
        // Directives in what is added go no further.
        (
            spec(json!({})),
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}, "$retainKeys": ["name", "emptyDir"]}]})),
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}}),
            json!({"metadata": {"finalizers": ["c", "b"]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {
                "$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]
            }}),
            json!({"metadata": {"finalizers": ["c", "b"]}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"a": null, "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            json!({"metadata": {}}),
            json!({"metadata": {"labels": {"a": null, "b": "1"}}}),
            json!({"metadata": {"labels": {"b": "1"}}}),
        ),
    ];
    for (original, patch, want) in cases {
        let got = strategic_merge_patch(original, patch.clone(), pod()).unwrap();
        assert_eq!(got, want, "{patch}");
    }
}

#[test]
fn strategic_refusals() {
    let cases = [
        (json!({"metadata": {"labels": {"$patch": "foo"}}}), "unknown patch type: foo in map"),
        (spec(json!({"containers": [{"image": "x"}]})), "map: map[image:x] does not contain declared merge key: name"),
        (
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}, "$retainKeys": ["name"]}]})),
            "invalid patch format of retainKeys",
        ),
    ];
    for (patch, want) in cases {
        let original =
            json!({"metadata": {"labels": {}}, "spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}});
        assert_eq!(strategic_merge_patch(original, patch, pod()).unwrap_err().to_string(), want);
    }
}

#[test]
fn two_way_differences() {
    let cases = [
        (
            spec(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]})),
            spec(json!({"containers": [{"name": "b", "image": "2"}]})),
            spec(json!({
                "$setElementOrder/containers": [{"name": "b"}],
                "containers": [{"name": "b", "image": "2"}, {"$patch": "delete", "name": "a"}]
            })),
        ),
        (
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
            spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
            spec(json!({
                "$setElementOrder/volumes": [{"name": "v"}],
                "volumes": [{"$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/"}, "name": "v"}]
            })),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            json!({"metadata": {
                "$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b", "c"], "finalizers": ["c"]
            }}),
        ),
        (spec(json!({"nodeName": "a"})), spec(json!({})), spec(json!({"nodeName": null}))),
        (spec(json!({"nodeName": "a"})), spec(json!({"nodeName": "a"})), json!({})),
    ];
    for (original, modified, want) in cases {
        let patch = two_way_strategic(&original, &modified, pod()).unwrap();
        assert_eq!(patch, want);
        assert_eq!(strategic_merge_patch(original, patch, pod()).unwrap(), modified);
    }
}

#[test]
fn three_way_differences() {
    // Last applied: two containers; now one is dropped and one changed; the server scaled and defaulted meanwhile.
    let template = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let original = template(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let modified = template(json!([{"name": "a", "image": "2"}]));
    let mut current = template(json!([
        {"name": "a", "image": "1", "imagePullPolicy": "Always"}, {"name": "b", "image": "1"}, {"name": "injected", "image": "9"}
    ]));
    current["spec"]["replicas"] = json!(5);
    let patch = three_way_strategic(&original, &modified, &current, deployment()).unwrap();
    assert_eq!(
        patch,
        template(json!([{"name": "a", "image": "2"}, {"$patch": "delete", "name": "b"}])).pipe(|mut p| {
            p["spec"]["template"]["spec"]["$setElementOrder/containers"] = json!([{"name": "a"}]);
            p
        })
    );
    let mut want = template(json!([
        {"name": "a", "image": "2", "imagePullPolicy": "Always"}, {"name": "injected", "image": "9"}
    ]));
    want["spec"]["replicas"] = json!(5);
    assert_eq!(strategic_merge_patch(current, patch, deployment()).unwrap(), want);

    // Changing the strategy's type clears the other one's settings, also those the server defaulted.
    let original = json!({"spec": {}});
    let modified = json!({"spec": {"strategy": {"type": "Recreate"}}});
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}}});
    let patch = three_way_strategic(&original, &modified, &current, deployment()).unwrap();
    assert_eq!(patch, json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}));
    assert_eq!(strategic_merge_patch(current, patch, deployment()).unwrap(), modified);
}

/// What the official kubectl 1.37 sent for `apply`, and what its strategic merge made of it.
#[test]
fn patches_are_what_kubectl_sends() {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        last_applied: Value,
        wanted: Value,
        live: Value,
        patch: Value,
        merged: Value,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("kubectl.json")).unwrap();
    for case in cases {
        let patch = three_way_strategic(&case.last_applied, &case.wanted, &case.live, pod()).unwrap();
        assert_eq!(patch, case.patch);
        assert_eq!(strategic_merge_patch(case.live, patch, pod()).unwrap(), case.merged);
    }
}

trait Pipe: Sized {
    fn pipe<T>(self, f: impl FnOnce(Self) -> T) -> T {
        f(self)
    }
}

impl Pipe for Value {}

#[test]
fn three_way_merges() {
    let cases = [
        (json!({"a": 1, "b": 1}), json!({"a": 2}), json!({"a": 1, "b": 1, "c": 1}), json!({"a": 2, "b": null})),
        (json!({}), json!({"a": {"b": {}}}), json!({"a": {"c": 1}}), json!({"a": {"b": {}}})),
        (json!({"a": {"b": 1}}), json!({"a": {}}), json!({"a": {"b": 1, "c": 1}}), json!({"a": {"b": null}})),
        (json!({"a": 1}), json!({"a": 1}), json!({"a": 1, "z": 2}), json!({})),
    ];
    for (original, modified, current, want) in cases {
        assert_eq!(three_way_merge(&original, &modified, &current), want);
    }
}

fn names() -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4)
        .prop_shuffle()
        .prop_map(|v| v.into_iter().map(str::to_owned).collect())
}

fn any_container(name: String) -> impl Strategy<Value = Value> {
    let ports = proptest::sample::subsequence(vec![80, 81, 82], 0..=3).prop_shuffle();
    (0..3u8, ports, proptest::option::of(names())).prop_map(move |(image, ports, command)| {
        let ports: Vec<Value> = ports.into_iter().map(|p| json!({"containerPort": p, "protocol": "TCP"})).collect();
        let mut container = json!({"name": name, "image": image.to_string(), "ports": ports});
        if let Some(command) = command {
            container["command"] = json!(command);
        }
        container
    })
}

prop_compose! {
    fn any_pod()(containers in names().prop_flat_map(|n| n.into_iter().map(any_container).collect::<Vec<_>>()),
                 finalizers in names(), labels in names(), volume in 0..3u8, node in proptest::option::of("[a-b]")) -> Value {
        let labels: serde_json::Map<String, Value> = labels.into_iter().map(|l| (l.clone(), json!(l))).collect();
        let volume = match volume {
            0 => json!({"name": "v", "emptyDir": {}}),
            1 => json!({"name": "v", "hostPath": {"path": "/"}}),
            _ => json!({"name": "w", "secret": {"secretName": "s"}}),
        };
        let mut pod = json!({"metadata": {"finalizers": finalizers, "labels": labels},
                             "spec": {"containers": containers, "volumes": [volume]}});
        if let Some(node) = node {
            pod["spec"]["nodeName"] = json!(node);
        }
        pod
    }
}

proptest! {
    #[test]
    fn applying_the_difference_gives_the_other(a in any_pod(), b in any_pod()) {
        let patch = two_way_strategic(&a, &b, pod()).unwrap();
        prop_assert_eq!(strategic_merge_patch(a.clone(), patch, pod()).unwrap(), b.clone());
        let patch = merge_diff(&a, &b);
        let mut merged = a;
        merge_patch(&mut merged, patch);
        prop_assert_eq!(merged, b);
    }

    #[test]
    fn applying_twice_changes_nothing_more(last in any_pod(), wanted in any_pod(), live in any_pod()) {
        let patch = three_way_strategic(&last, &wanted, &live, pod()).unwrap();
        let once = strategic_merge_patch(live, patch, pod()).unwrap();
        let again = three_way_strategic(&wanted, &wanted, &once, pod()).unwrap();
        prop_assert_eq!(strategic_merge_patch(once.clone(), again, pod()).unwrap(), once);
    }
}
