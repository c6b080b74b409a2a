//! Hashes as go-spew, `encoding/json` and Kubernetes' own 1.36 types give them for the same templates.
use super::*;
use serde_json::{Value, json};

fn template(value: &Value) -> PodTemplateSpec {
    serde_json::from_value(value.clone()).expect("a template")
}

/// `kubectl create deployment nginx --image=nginx:1.14.2 --port=80`, with the server's defaults.
fn nginx() -> PodTemplateSpec {
    template(&json!({
        "metadata": { "labels": { "app": "nginx" } },
        "spec": {
            "containers": [{
                "name": "nginx", "image": "nginx:1.14.2", "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                "resources": {}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler"
        }
    }))
}

/// Volumes of each sort, probes, quantities, affinity and what else prints in a way of its own.
fn rich() -> PodTemplateSpec {
    template(&serde_json::from_str(include_str!("template.json")).expect("JSON"))
}

#[test]
fn published_test_vectors() {
    assert_eq!(fnv1a(OFFSET_BASIS, b"foobar"), 0xbf9c_f968);
    assert_eq!(fnv1(OFFSET_BASIS, b"foobar"), 0x31f0_b262);
}

#[test]
fn templates_have_the_hashes_of_upstream() {
    assert_eq!(of_template(&nginx(), None), "8547d5584f");
    assert_eq!(of_template(&rich(), None), "9dc598bc7");
    assert_ne!(of_template(&nginx(), Some(0)), of_template(&nginx(), None), "a count of 0 is written as well");
}

#[test]
fn what_is_absent_and_what_is_empty_are_the_same() {
    let mut sparse = nginx();
    let spec = sparse.spec.as_mut().expect("a spec");
    spec.volumes = Some(Vec::new());
    spec.containers[0].resources = None;
    assert_eq!(of_template(&sparse, None), of_template(&nginx(), None));
    assert_eq!(patch::of(&sparse), patch::of(&nginx()));
}

#[test]
fn the_data_of_a_revision_is_written_as_go_writes_it() {
    assert_eq!(patch::text(&patch::of(&rich())), include_str!("template.patch"));
    assert_eq!(of_patch(&patch::text(&patch::of(&rich())), 0), "df468cf7c");
    assert_eq!(of_patch(&patch::text(&patch::of(&nginx())), 0), "6fc8c9d6d6");
}

#[test]
fn quantities_print_as_they_are_held() {
    let print = |text: &str| {
        let print = quantity::print(text);
        print.replace("(resource.", "(").replace("i:(int64Amount)", "").replace("d:(infDecAmount)", "")
    };
    let fast = |value: i64, scale: i32, kept: &str, format: &str| {
        format!(
            "{{{{value:(int64){value} scale:(Scale){scale}}} {{Dec:(*inf.Dec)<nil>}} s:(string){kept} Format:(Format){format}}}"
        )
    };
    assert_eq!(print("0"), fast(0, 0, "0", "DecimalSI"));
    assert_eq!(print("100m"), fast(100, -3, "100m", "DecimalSI"));
    assert_eq!(print("0.5"), fast(500, -3, "500m", "DecimalSI"), "the server stores it so");
    assert_eq!(print("2k"), fast(2, 3, "2k", "DecimalSI"));
    assert_eq!(print("129Mi"), fast(129 << 20, 0, "129Mi", "BinarySI"));
    assert_eq!(print("128Mi"), fast(128 << 20, 0, "", "BinarySI"), "may not be canonical, so its text is not kept");
    assert!(print("100Ti").contains("abs:(big.nat)[8568098291072368640 5960]} scale:(inf.Scale)9"));
}
