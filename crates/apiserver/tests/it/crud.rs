//! Create, read, update: names, conflicts, dry runs and field validation.
use crate::cluster::{Cluster, MAPS, map, version};
use serde_json::json;

#[tokio::test]
async fn an_object_lives() {
    let cluster = Cluster::start().await;
    let made = cluster.post(MAPS, map("a")).await.unwrap();
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["metadata"]["namespace"], "default");
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        assert!(made["metadata"][field].is_string(), "{field}");
    }
    let path = format!("{MAPS}/a");
    assert_eq!(cluster.get(&path).await.unwrap(), made);
    let (code, text) = cluster.post(MAPS, map("a")).await.unwrap_err();
    assert_eq!((code, text.as_str()), (409, "configmaps \"a\" already exists"));

    let mut changed = made.clone();
    changed["data"]["a"] = json!("2");
    let updated = cluster.put(&path, changed.clone()).await.unwrap();
    assert_ne!(version(&updated), version(&made));
    let (code, text) = cluster.put(&path, changed).await.unwrap_err();
    assert_eq!(code, 409);
    assert_eq!(
        text,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes \
         to the latest version and try again"
    );
    // The same content again is no write.
    let same = cluster.put(&path, updated.clone()).await.unwrap();
    assert_eq!(version(&same), version(&updated));
    // Without a version the update is unconditional.
    let mut free = updated.clone();
    free["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    free["data"]["a"] = json!("3");
    assert_eq!(cluster.put(&path, free).await.unwrap()["data"]["a"], "3");

    let status = cluster.delete(&path, json!({})).await.unwrap();
    assert_eq!(status["status"], "Success");
    assert_eq!(status["details"]["kind"], "configmaps");
    let (code, text) = cluster.get(&path).await.unwrap_err();
    assert_eq!((code, text.as_str()), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let cluster = Cluster::start().await;
    let body = json!({"metadata": {"generateName": "web-"}});
    let made = cluster.post(MAPS, body).await.unwrap();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_eq!(made["kind"], "ConfigMap");

    let (code, text) = cluster.post(MAPS, json!({"metadata": {}})).await.unwrap_err();
    assert_eq!(code, 422, "{text}");
    assert!(text.contains("name or generateName is required"), "{text}");
    let (code, text) = cluster.post(MAPS, json!({"metadata": {"name": "Not_Valid"}})).await.unwrap_err();
    assert_eq!(code, 422);
    assert!(
        text.starts_with("ConfigMap \"Not_Valid\" is invalid: metadata.name: Invalid value: \"Not_Valid\""),
        "{text}"
    );
    let (code, text) = cluster.post(MAPS, json!({"metadata": {"name": "a", "namespace": "other"}})).await.unwrap_err();
    assert_eq!(code, 400);
    assert_eq!(text, "the namespace of the provided object does not match the namespace sent on the request");
    let (code, text) =
        cluster.post(MAPS, json!({"metadata": {"name": "a", "resourceVersion": "7"}})).await.unwrap_err();
    assert_eq!((code, text.as_str()), (500, "resourceVersion should not be set on objects to be created"));
    cluster.post(MAPS, map("a")).await.unwrap();
    let (code, text) = cluster.put(&format!("{MAPS}/b"), map("a")).await.unwrap_err();
    assert_eq!(code, 400);
    assert_eq!(text, "the name of the object (a) does not match the name on the URL (b)");
}

#[tokio::test]
async fn dry_run_writes_nothing() {
    let cluster = Cluster::start().await;
    let made = cluster.post(&format!("{MAPS}?dryRun=All"), map("a")).await.unwrap();
    assert_eq!(made["metadata"]["name"], "a");
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.unwrap_err().0, 404);
    let real = cluster.post(MAPS, map("a")).await.unwrap();
    assert_eq!(cluster.post(&format!("{MAPS}?dryRun=All"), map("a")).await.unwrap_err().0, 409);
    cluster.delete(&format!("{MAPS}/a?dryRun=All"), json!({"dryRun": ["All"]})).await.unwrap();
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.unwrap(), real);
    let (code, text) = cluster.post(&format!("{MAPS}?dryRun=Some"), map("b")).await.unwrap_err();
    assert_eq!(code, 422);
    assert!(text.contains("dryRun: Unsupported value"), "{text}");
}

#[tokio::test]
async fn unknown_fields_by_field_validation() {
    let cluster = Cluster::start().await;
    let body = |name: &str| json!({"metadata": {"name": name}, "spec": {"foo": 1}});
    let (code, text) = cluster.post(&format!("{MAPS}?fieldValidation=Strict"), body("a")).await.unwrap_err();
    assert_eq!(code, 400);
    assert!(text.ends_with("strict decoding error: unknown field \"spec\""), "{text}");
    cluster.post(&format!("{MAPS}?fieldValidation=Ignore"), body("a")).await.unwrap();
    let request = http::Request::post(MAPS)
        .header("content-type", "application/json")
        .body(body("b").to_string().into_bytes().into())
        .unwrap();
    let response = cluster.client.send(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], "299 - \"unknown field \\\"spec\\\"\"");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let cluster = Cluster::start().await;
    let made = cluster.post(MAPS, map("a")).await.unwrap();
    let dir = cluster.stop().await;
    let cluster = Cluster::start_in(dir).await;
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.unwrap(), made);
}
