//! Services and pods in, Endpoints out.
use super::plan::{View, plan};
use crate::{
    fixtures::{object, objects},
    runtime::plan::Step,
};
use serde_json::Value;

const SERVICE: &str = "metadata: {name: web, namespace: default, uid: s}\n\
    spec: {selector: {app: web}, ipFamilies: [IPv4], ports: [{name: http, port: 80, targetPort: http, protocol: TCP}]}";

fn pod(name: &str, ip: &str, port: i32, ready: bool) -> String {
    format!(
        "metadata: {{name: {name}, namespace: default, uid: {name}, labels: {{app: web}}}}\n\
         spec: {{nodeName: n, containers: [{{name: c, ports: [{{name: http, containerPort: {port}}}]}}]}}\n\
         status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: '{}'}}]}}\n---\n",
        if ready { "True" } else { "False" }
    )
}

fn written(pods: &str) -> Value {
    let view = View { service: Some(object(SERVICE)), pods: objects(pods), endpoints: None };
    match plan(&view).steps.pop() {
        Some(Step::Write(write)) => write.body,
        _ => Value::Null,
    }
}

#[test]
fn addresses_are_grouped_by_ports_and_readiness() {
    let pods = [pod("b", "10.0.0.2", 8080, true), pod("a", "10.0.0.1", 8080, false), pod("c", "10.0.0.3", 9090, true)];
    insta::assert_snapshot!(serde_json::to_string_pretty(&written(&pods.concat())["subsets"]).expect("JSON"), @r#"
    [
      {
        "addresses": [
          {
            "ip": "10.0.0.2",
            "nodeName": "n",
            "targetRef": {
              "kind": "Pod",
              "name": "b",
              "namespace": "default",
              "uid": "b"
            }
          }
        ],
        "notReadyAddresses": [
          {
            "ip": "10.0.0.1",
            "nodeName": "n",
            "targetRef": {
              "kind": "Pod",
              "name": "a",
              "namespace": "default",
              "uid": "a"
            }
          }
        ],
        "ports": [
          {
            "name": "http",
            "port": 8080,
            "protocol": "TCP"
          }
        ]
      },
      {
        "addresses": [
          {
            "ip": "10.0.0.3",
            "nodeName": "n",
            "targetRef": {
              "kind": "Pod",
              "name": "c",
              "namespace": "default",
              "uid": "c"
            }
          }
        ],
        "ports": [
          {
            "name": "http",
            "port": 9090,
            "protocol": "TCP"
          }
        ]
      }
    ]
    "#);
}

#[test]
fn a_service_without_pods_has_empty_endpoints() {
    let body = written("");
    assert_eq!(body["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"], "endpoint-controller");
    assert!(body.get("subsets").is_none());
}

#[test]
fn pods_without_the_named_port_are_left_out() {
    let pod = pod("a", "10.0.0.1", 8080, true).replace("name: http, ", "name: other, ");
    assert!(written(&pod).get("subsets").is_none());
}

#[test]
fn endpoints_of_others_are_left_alone() {
    let view =
        View { service: None, pods: Vec::new(), endpoints: Some(object("metadata: {name: web, namespace: default}")) };
    assert!(plan(&view).is_empty());
    let service = Some(object("metadata: {name: web, namespace: default}\nspec: {ports: [{port: 80}]}"));
    assert!(plan(&View { service, pods: Vec::new(), endpoints: None }).is_empty());
}
