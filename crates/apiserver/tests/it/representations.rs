//! Tables, metadata only, YAML, discovery and OpenAPI.
use crate::cluster::{Cluster, MAPS, PODS, map, pod};
use apimachinery::codec::protobuf;
use serde_json::{Value, json};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn tables() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p")).await.unwrap();
    let (_, _, text) = cluster.accepting(PODS, TABLE).await;
    let table: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "p");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "p");
    let (_, _, text) = cluster.accepting(&format!("{PODS}/p?includeObject=Object"), TABLE).await;
    let table: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(table["rows"][0]["object"]["spec"]["containers"][0]["name"], "c");
    let (status, _, _) = cluster.accepting(&format!("{PODS}/p?includeObject=Some"), TABLE).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn metadata_alone() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    let (_, _, text) = cluster.accepting(&format!("{MAPS}/a"), METADATA).await;
    let partial: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert_eq!(partial["metadata"]["name"], "a");
    assert!(partial.get("data").is_none());
    let (_, _, text) = cluster.accepting(MAPS, METADATA_LIST).await;
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
}

#[tokio::test]
async fn protobuf_for_who_takes_nothing_else() {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p")).await.unwrap();
    let parsed = |body: &[u8]| protobuf::to_json(body).unwrap();
    let path = format!("{PODS}/p");
    let (status, kind, body) = cluster.accepting_bytes(&path, PROTOBUF).await;
    assert_eq!((status, kind.as_str()), (200, PROTOBUF));
    assert_eq!(parsed(&body), cluster.get(&path).await.unwrap());
    let (status, kind, body) = cluster.accepting_bytes(&format!("{PODS}/q"), PROTOBUF).await;
    assert_eq!((status, kind.as_str()), (404, PROTOBUF));
    assert_eq!(parsed(&body)["message"], "pods \"q\" not found");
    let (_, kind, _) = cluster.accepting_bytes(&path, &format!("{PROTOBUF},application/json")).await;
    assert_eq!(kind, "application/json");

    let (_, _, body) = cluster.accepting_bytes(PODS, PROTOBUF).await;
    let list = parsed(&body);
    let wanted = cluster.get(PODS).await.unwrap();
    assert_eq!((&list["kind"], &list["metadata"]), (&json!("PodList"), &wanted["metadata"]));
    assert_eq!(list["items"], wanted["items"]);
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let list = parsed(&cluster.accepting_bytes(PODS, &metadata).await.2);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"], wanted["items"][0]["metadata"]);

    // The stream: a length in four bytes, then the event, whose object is a whole body.
    let watch = format!("{PODS}?watch=true&resourceVersion=0&timeoutSeconds=1");
    let (status, kind, body) = cluster.accepting_bytes(&watch, PROTOBUF).await;
    assert_eq!((status, kind), (200, format!("{PROTOBUF};stream=watch")));
    let length = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
    assert_eq!(body.len(), 4 + length);
    let start = body.windows(4).position(|w| w == protobuf::MAGIC).unwrap();
    assert_eq!(&body[4..11], b"\n\x05ADDED");
    assert_eq!(parsed(&body[start..])["metadata"]["name"], "p");
    let (status, ..) = cluster.accepting(&watch, "application/yaml").await;
    assert_eq!(status, 406);
}

#[tokio::test]
async fn formats() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    let (status, kind, text) = cluster.accepting(&format!("{MAPS}/a"), "application/yaml").await;
    assert_eq!((status, kind.as_str()), (200, "application/yaml"));
    assert!(text.contains("name: a\n"), "{text}");
    let (status, ..) = cluster.accepting(&format!("{MAPS}/a"), "text/html").await;
    assert_eq!(status, 406);
    let (_, _, text) = cluster.accepting(&format!("{MAPS}/a?pretty=true"), "*/*").await;
    assert!(text.contains("\n  \"metadata\": {"), "{text}");
    let request = http::Request::post(MAPS)
        .header("content-type", "application/yaml")
        .body(b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-yaml\ndata:\n  k: v\n".to_vec())
        .unwrap();
    let made: Value = cluster.client.request(request).await.unwrap();
    assert_eq!(made["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn discovery_agrees_with_itself() {
    let cluster = Cluster::start().await;
    let list = cluster.get("/api/v1").await.unwrap();
    assert_eq!(list["kind"], "APIResourceList");
    let pods = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods").unwrap();
    assert_eq!(pods["namespaced"], true);
    assert_eq!(pods["kind"], "Pod");
    assert_eq!(cluster.get("/api").await.unwrap()["versions"], json!(["v1"]));
    let groups = cluster.get("/apis").await.unwrap();
    for group in groups["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        assert_eq!(cluster.get(&format!("/apis/{name}")).await.unwrap()["name"], name);
        for version in group["versions"].as_array().unwrap() {
            let path = format!("/apis/{}", version["groupVersion"].as_str().unwrap());
            assert_eq!(cluster.get(&path).await.unwrap()["groupVersion"], version["groupVersion"]);
        }
    }
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, kind, text) = cluster.accepting("/apis", accept).await;
    assert_eq!(kind, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let aggregated: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(aggregated["kind"], "APIGroupDiscoveryList");
    assert_eq!(aggregated["items"].as_array().unwrap().len(), groups["groups"].as_array().unwrap().len());
    assert_eq!(cluster.get("/apis/nothing").await.unwrap_err().0, 404);
    assert_eq!(cluster.get("/apis/nothing/v1/things").await.unwrap_err().0, 404);
}

#[tokio::test]
async fn plain_paths() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get("/version").await.unwrap()["minor"], "36");
    for path in ["/healthz", "/livez", "/readyz", "/readyz/etcd", "/livez/ping"] {
        let (status, _, text) = cluster.accepting(path, "*/*").await;
        assert_eq!((status, text.as_str()), (200, "ok"), "{path}");
    }
    let (_, _, text) = cluster.accepting("/readyz?verbose", "*/*").await;
    assert!(text.contains("[+]etcd ok\n") && text.ends_with("readyz check passed\n"), "{text}");
    let (_, _, text) = cluster.accepting("/metrics", "*/*").await;
    assert!(text.contains("# TYPE apiserver_request_total counter\n") && !text.contains("# EOF"), "{text}");
    assert!(text.contains("apiserver_request_total{verb=\"GET\""), "{text}");
    assert_eq!(cluster.get("/nothing").await.unwrap_err().0, 404);
}
