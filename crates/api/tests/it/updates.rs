//! What may change in objects that exist.
use crate::support::update;
use api::Target;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, generation: 1}
spec: {containers: [{name: web, image: 'nginx:1'}], tolerations: [{key: a, operator: Exists}]}
status: {phase: Running, qosClass: BestEffort}
";

#[test]
fn images_of_pods_may_change() {
    let (errors, stored) = update(POD, &POD.replace("nginx:1", "nginx:2"), Target::Main);
    assert_eq!(errors, "");
    assert_eq!(stored["metadata"]["generation"], 2);
    assert_eq!(stored["status"]["phase"], "Running");
}

#[test]
fn other_fields_of_pods_may_not() {
    let (errors, _) = update(POD, &POD.replace("name: web, image", "name: web, tty: true, image"), Target::Main);
    insta::assert_snapshot!(errors, @r#"
    spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
    + 	containers[0].tty: true
    "#);
    let (errors, _) = update(POD, &POD.replace("key: a", "key: b"), Target::Main);
    assert_eq!(
        errors,
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    );
    let two = POD.replace("'nginx:1'}", "'nginx:1'}, {name: b, image: b}");
    let (errors, _) = update(POD, &two, Target::Main);
    assert_eq!(errors, "spec.containers: Forbidden: pod updates may not add or remove containers");
}

#[test]
fn status_updates_touch_the_status_only() {
    let changed = POD.replace("nginx:1", "nginx:2").replace("Running", "Failed");
    let (errors, stored) = update(POD, &changed, Target::Status);
    assert_eq!(errors, "");
    assert_eq!(stored["spec"]["containers"][0]["image"], "nginx:1");
    assert_eq!(stored["status"]["phase"], "Failed");
    assert_eq!(stored["metadata"]["generation"], 1);
}

#[test]
fn ephemeral_containers_are_only_added() {
    let with = POD.replace("spec: {", "spec: {ephemeralContainers: [{name: debug, image: 'busybox:1'}], ");
    let (errors, stored) = update(POD, &with, Target::Other("ephemeralcontainers"));
    assert_eq!(errors, "");
    assert_eq!(stored["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
    assert_eq!(stored["status"]["phase"], "Running");
    let (errors, _) = update(&with, POD, Target::Other("ephemeralcontainers"));
    assert!(errors.contains("existing ephemeral containers \"debug\" may not be removed"), "{errors}");
}

#[test]
fn resizing_changes_resources_only() {
    let pod = POD.replace("image: 'nginx:1'", "image: 'nginx:1', resources: {requests: {cpu: 100m}}");
    let bigger = pod.replace("100m", "200m").replace("nginx:1", "nginx:2");
    let (errors, stored) = update(&pod, &bigger, Target::Other("resize"));
    assert_eq!(errors, "");
    assert_eq!(stored["spec"]["containers"][0]["resources"]["requests"]["cpu"], "200m");
    assert_eq!(stored["spec"]["containers"][0]["image"], "nginx:1");
}

#[test]
fn selectors_of_deployments_stay() {
    let old = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default, generation: 3}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web, tier: a}}, spec: {containers: [{name: web, image: 'nginx:1'}]}}
";
    let (errors, stored) = update(old, &old.replace("matchLabels: {app: web}", "matchLabels: {tier: a}"), Target::Main);
    assert_eq!(errors, "spec.selector: Invalid value: {\"matchLabels\":{\"tier\":\"a\"}}: field is immutable");
    assert_eq!(stored["metadata"]["generation"], 4);
    let (errors, stored) =
        update(old, &old.replace("metadata: {name: web,", "metadata: {name: web, labels: {a: b},"), Target::Main);
    assert_eq!((errors.as_str(), &stored["metadata"]["generation"]), ("", &serde_json::json!(3)));
}

#[test]
fn services_keep_what_was_allocated() {
    let old = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: NodePort, clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{port: 80, nodePort: 30080}]}
";
    let new = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: NodePort, ports: [{port: 80}, {port: 81, name: b}]}
";
    let (errors, stored) = update(old, new, Target::Main);
    assert_eq!(errors, "spec.ports[0].name: Required value");
    assert_eq!(stored["spec"]["clusterIP"], "10.96.0.5");
    assert_eq!(stored["spec"]["ports"][0]["nodePort"], 30080);
    let (errors, _) = update(old, &old.replace("10.96.0.5", "10.96.0.6"), Target::Main);
    assert_eq!(errors, "spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set");
}

#[test]
fn immutable_data_stays() {
    let old = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}, data: {a: b}, immutable: true}";
    let (errors, _) = update(old, &old.replace("a: b}, imm", "a: c}, imm"), Target::Main);
    assert_eq!(errors, "data: Forbidden: field is immutable when `immutable` is set");
    let (errors, _) = update(old, &old.replace("immutable: true", "immutable: false"), Target::Main);
    assert_eq!(errors, "immutable: Forbidden: field is immutable when `immutable` is set");
}

#[test]
fn claims_may_only_grow() {
    let old = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: default}
spec: {accessModes: [ReadWriteOnce], volumeName: pv, storageClassName: fast, resources: {requests: {storage: 1Gi}}}
status: {phase: Bound}
";
    assert_eq!(update(old, &old.replace("1Gi", "2Gi"), Target::Main).0, "");
    let (errors, _) = update(old, &old.replace("1Gi", "512Mi"), Target::Main);
    assert_eq!(errors, "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity");
    let (errors, _) = update(old, &old.replace("fast", "slow"), Target::Main);
    assert!(
        errors.starts_with("spec: Forbidden: spec is immutable after creation except resources.requests"),
        "{errors}"
    );
}

#[test]
fn metadata_is_guarded() {
    let old = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b, uid: u, deletionTimestamp: '2026-01-01T00:00:00Z'}}";
    let (errors, _) = update(old, &old.replace("uid: u,", "uid: v, finalizers: [x/y],"), Target::Main);
    insta::assert_snapshot!(errors, @r#"
    metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"x/y"}
    metadata.uid: Invalid value: "v": field is immutable
    "#);
}

#[test]
fn services_lose_what_belongs_to_the_old_type() {
    let old = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: NodePort, clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{port: 80, nodePort: 30080}]}
";
    let (errors, stored) =
        update(old, &old.replace("NodePort", "ExternalName, externalName: a.example.com"), Target::Main);
    assert_eq!(errors, "");
    assert_eq!(stored["spec"].get("clusterIP"), None);
    assert_eq!(stored["spec"]["ports"][0].get("nodePort"), None);
    let (errors, stored) = update(old, &old.replace("NodePort", "ClusterIP"), Target::Main);
    assert_eq!(errors, "");
    assert_eq!(stored["spec"]["clusterIP"], "10.96.0.5");
    assert_eq!(stored["spec"].get("externalTrafficPolicy"), None);
}

#[test]
fn template_changes_of_daemon_sets_are_counted() {
    let old = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: a, namespace: b, annotations: {deprecated.daemonset.template.generation: '3'}}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: 'a:1'}]}}}
";
    let counted = |new: &str| update(old, new, Target::Main).1["metadata"]["annotations"].to_string();
    assert_eq!(counted(&old.replace("a:1", "a:2")), r#"{"deprecated.daemonset.template.generation":"4"}"#);
    assert_eq!(counted(old), r#"{"deprecated.daemonset.template.generation":"3"}"#);
}

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: j, namespace: default, generation: 1}
spec:
  suspend: true
  completions: 1
  parallelism: 1
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {restartPolicy: Never, containers: [{name: c, image: 'i:1', resources: {requests: {cpu: '1'}}}]}
status: {}
";

#[test]
fn an_idle_job_may_be_placed_anew() {
    let changed = JOB
        .replace("labels: {a: b}", "labels: {a: b, c: d}")
        .replace("spec: {restart", "spec: {nodeSelector: {zone: z}, restart")
        .replace("cpu: '1'", "cpu: '2'");
    let change = |status: &str| {
        let with = |job: &str| job.replace("status: {}", &format!("status: {{{status}}}"));
        update(&with(JOB), &with(&changed), Target::Main).0
    };
    assert_eq!(change(""), "");
    let suspended = "conditions: [{type: Suspended, status: 'True'}]";
    assert_eq!(change(&format!("startTime: '2026-01-01T00:00:00Z', {suspended}")), "");
    assert!(change("startTime: '2026-01-01T00:00:00Z'").contains("spec.template: Invalid value"));
    assert!(change(&format!("active: 1, {suspended}")).contains("field is immutable"));
    let (errors, _) = update(JOB, &JOB.replace("i:1", "i:2"), Target::Main);
    assert!(errors.contains("field is immutable"), "the image is none of that: {errors}");
    let running = |job: &str| job.replace("suspend: true", "suspend: false");
    let (errors, _) = update(&running(JOB), &running(&changed), Target::Main);
    assert!(errors.contains("field is immutable"), "{errors}");
}
