//! Services, pods and slices in, plans out.
use super::plan::{View, plan};
use crate::{
    fixtures::{object, objects},
    runtime::plan::{Step, Verb},
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

const SERVICE: &str = "metadata: {name: web, namespace: default, uid: s, labels: {tier: front}}\n\
    spec: {selector: {app: web}, ipFamilies: [IPv4], trafficDistribution: PreferClose, ports: [{port: 80, targetPort: 8080, protocol: TCP}]}";

fn pod(number: usize, ready: bool) -> String {
    format!(
        "metadata: {{name: p{number}, namespace: default, uid: p{number}, labels: {{app: web}}}}\n\
         spec: {{nodeName: n, containers: []}}\n\
         status: {{phase: Running, podIP: 10.0.0.{number}, conditions: [{{type: Ready, status: '{}'}}]}}\n---\n",
        if ready { "True" } else { "False" }
    )
}

fn view(pods: std::ops::Range<usize>, slices: Vec<Arc<EndpointSlice>>) -> View {
    let pods: String = pods.map(|number| pod(number, true)).collect();
    let zones = BTreeMap::from([("n".to_owned(), "z".to_owned())]);
    View { service: object(SERVICE), pods: objects(&pods), zones, slices, max_endpoints: 3 }
}

/// The slices after a plan is carried out.
fn carried_out(view: &View) -> (Vec<Arc<EndpointSlice>>, String) {
    let mut slices = view.slices.clone();
    let mut log = String::new();
    for step in plan(view).steps {
        let Step::Write(write) = step else { continue };
        let name = write.target.key.name.to_string();
        log += &format!("{} {name}\n", write.verb);
        let mut slice: EndpointSlice = serde_json::from_value(write.body.clone()).unwrap_or_default();
        match write.verb {
            Verb::Delete => slices.retain(|s| s.metadata.name.as_deref() != Some(&name)),
            Verb::Create => {
                slice.metadata.name = Some(format!("web-{}", slices.len()));
                slices.push(Arc::new(slice));
            }
            _ => {
                slices.retain(|s| s.metadata.name.as_deref() != Some(&name));
                slices.push(Arc::new(slice));
            }
        }
    }
    (slices, log)
}

fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
    let mut sizes: Vec<_> = slices.iter().map(|slice| super::pack::endpoints_of(slice).len()).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn slices_fill_up_and_are_reused() {
    let (slices, log) = carried_out(&view(1..8, Vec::new()));
    assert_eq!((sizes(&slices), log.as_str()), (vec![1, 3, 3], "create \ncreate \ncreate \n"));
    assert_eq!(carried_out(&view(1..8, slices.clone())).1, "", "nothing changed");
    let (slices, log) = carried_out(&view(1..9, slices));
    assert_eq!((sizes(&slices), log.lines().count()), (vec![2, 3, 3], 1), "one more goes where there is room");
    let (slices, _) = carried_out(&view(7..9, slices));
    assert_eq!(sizes(&slices), [2]);
    let (slices, log) = carried_out(&view(0..0, slices));
    assert_eq!((sizes(&slices), log.lines().count()), (vec![0], 1), "an empty slice stays");
    assert!(carried_out(&view(0..0, slices)).1.is_empty());
}

#[test]
fn an_endpoint_says_what_its_pod_is() {
    let Some(Step::Write(write)) = plan(&view(1..2, Vec::new())).steps.pop() else { panic!("a write") };
    let body: Value = write.body;
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).expect("JSON"), @r#"
    {
      "addressType": "IPv4",
      "apiVersion": "discovery.k8s.io/v1",
      "endpoints": [
        {
          "addresses": [
            "10.0.0.1"
          ],
          "conditions": {
            "ready": true,
            "serving": true,
            "terminating": false
          },
          "hints": {
            "forZones": [
              {
                "name": "z"
              }
            ]
          },
          "nodeName": "n",
          "targetRef": {
            "kind": "Pod",
            "name": "p1",
            "namespace": "default",
            "uid": "p1"
          },
          "zone": "z"
        }
      ],
      "kind": "EndpointSlice",
      "metadata": {
        "generateName": "web-",
        "labels": {
          "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
          "kubernetes.io/service-name": "web",
          "tier": "front"
        },
        "namespace": "default",
        "ownerReferences": [
          {
            "apiVersion": "v1",
            "blockOwnerDeletion": true,
            "controller": true,
            "kind": "Service",
            "name": "web",
            "uid": "s"
          }
        ]
      },
      "ports": [
        {
          "name": "",
          "port": 8080,
          "protocol": "TCP"
        }
      ]
    }
    "#);
}

#[test]
fn terminating_pods_still_serve() {
    let mut view = view(1..2, Vec::new());
    let pod = Arc::make_mut(&mut view.pods[0]);
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(crate::fixtures::now()));
    let (slices, _) = carried_out(&view);
    let conditions = super::pack::endpoints_of(&slices[0])[0].conditions.clone().expect("conditions");
    assert_eq!((conditions.ready, conditions.serving, conditions.terminating), (Some(false), Some(true), Some(true)));
}
