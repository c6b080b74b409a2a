//! Lists: versions, selectors, limits and continue tokens.
use crate::cluster::{Cluster, MAPS, labelled, map, version};
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn selectors() {
    let cluster = Cluster::start().await;
    for (name, app) in [("a", "web"), ("b", "web"), ("c", "db")] {
        cluster.post(MAPS, labelled(name, app)).await.unwrap();
    }
    let cases = [
        ("labelSelector=app%3Dweb", vec!["a", "b"]),
        ("labelSelector=app+in+(db)", vec!["c"]),
        ("labelSelector=!app", vec![]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=metadata.name!%3Db", vec!["a", "c"]),
        ("fieldSelector=metadata.name%3Dc&labelSelector=app%3Dweb", vec![]),
        ("", vec!["a", "b", "c"]),
    ];
    for (query, want) in cases {
        let list = cluster.get(&format!("{MAPS}?{query}")).await.unwrap();
        assert_eq!(list["kind"], "ConfigMapList");
        assert_eq!(names(&list), want, "{query}");
    }
    let all = cluster.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddefault").await.unwrap();
    assert_eq!(names(&all), ["a", "b", "c"]);
    let (code, text) = cluster.get("/api/v1/pods?fieldSelector=spec.foo%3Dx").await.unwrap_err();
    assert_eq!((code, text.as_str()), (400, "field label not supported: spec.foo"));
    assert_eq!(cluster.get(&format!("{MAPS}?labelSelector=a%3D%3D%3Db")).await.unwrap_err().0, 400);
}

#[tokio::test]
async fn pages_show_one_state() {
    let cluster = Cluster::start().await;
    for i in 0..7 {
        cluster.post(MAPS, map(&format!("m{i}"))).await.unwrap();
    }
    let first = cluster.get(&format!("{MAPS}?limit=3")).await.unwrap();
    assert_eq!(names(&first), ["m0", "m1", "m2"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    cluster.delete(&format!("{MAPS}/m4"), json!({})).await.unwrap();
    cluster.post(MAPS, map("m9")).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{MAPS}?limit=3&continue={token}")).await.unwrap();
    assert_eq!(names(&second), ["m3", "m4", "m5"]);
    assert_eq!(version(&second), version(&first));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = cluster.get(&format!("{MAPS}?limit=3&continue={token}")).await.unwrap();
    assert_eq!(names(&last), ["m6"]);
    assert!(last["metadata"].get("continue").is_none());
    assert!(last["metadata"].get("remainingItemCount").is_none());
    assert_eq!(cluster.get(&format!("{MAPS}?continue=rubbish")).await.unwrap_err().0, 400);
    let both = format!("{MAPS}?continue={token}&resourceVersion=3");
    let (code, text) = cluster.get(&both).await.unwrap_err();
    assert_eq!((code, text.as_str()), (400, "specifying resource version is not allowed when using continue"));
}

#[tokio::test]
async fn resource_versions() {
    let cluster = Cluster::start().await;
    let first = cluster.post(MAPS, map("a")).await.unwrap();
    cluster.post(MAPS, map("b")).await.unwrap();
    let rv = version(&first);
    let exact = cluster.get(&format!("{MAPS}?resourceVersion={rv}&resourceVersionMatch=Exact")).await.unwrap();
    assert_eq!(names(&exact), ["a"]);
    assert_eq!(version(&exact), rv);
    for query in [format!("resourceVersion={rv}&resourceVersionMatch=NotOlderThan"), "resourceVersion=0".into()] {
        assert_eq!(names(&cluster.get(&format!("{MAPS}?{query}")).await.unwrap()), ["a", "b"], "{query}");
    }
    let refused = [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=0&resourceVersionMatch=Exact", "is forbidden for resourceVersion \"0\""),
        ("resourceVersion=5&resourceVersionMatch=Some", "Unsupported value: \"Some\""),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
    ];
    for (query, want) in refused {
        let (code, text) = cluster.get(&format!("{MAPS}?{query}")).await.unwrap_err();
        assert_eq!(code, 422, "{query}: {text}");
        assert!(text.contains(want), "{query}: {text}");
    }
    // The client of the other tests would try again and again.
    let masters = cluster.running.client(auth::UserInfo::new("me", [auth::groups::MASTERS]));
    // What storage cannot parse, nobody upstream turns into an error of the client.
    let (code, text) = cluster.get(&format!("{MAPS}?resourceVersion=x")).await.unwrap_err();
    let want = "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax";
    assert_eq!((code, text.as_str()), (500, want));
    let path = format!("{MAPS}?resourceVersion=999999");
    let (code, text) = crate::cluster::call(&masters, "GET", &path, None).await.unwrap_err();
    assert_eq!(code, 504);
    assert!(text.starts_with("Too large resource version: 999999, current: "), "{text}");
}

#[tokio::test]
async fn a_large_list_is_streamed_whole() {
    let cluster = Cluster::start().await;
    let body = |i: usize| json!({"metadata": {"name": format!("big{i:03}")}, "data": {"d": "x".repeat(20_000)}});
    for i in 0..40 {
        cluster.post(MAPS, body(i)).await.unwrap();
    }
    let list = cluster.get(MAPS).await.unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 40);
    let (status, _, text) = cluster.accepting(MAPS, "application/json").await;
    assert_eq!(status, 200);
    assert!(text.len() > 800_000 && text.ends_with("]}\n"));
}
