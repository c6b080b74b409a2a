//! Who gets in, and what each may do: certificates, tokens, anonymous requests, RBAC, impersonation.
use crate::cluster::{Cluster, JOE, MAPS, PODS, call, map, pod};
use auth::UserInfo;
use serde_json::json;

#[tokio::test]
async fn nobody_gets_more_than_they_were_given() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    let joe = cluster.as_user(Some(JOE));
    let cases = [
        (
            "GET",
            "/api/v1/namespaces/default/pods".to_owned(),
            "pods is forbidden: User \"joe\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "GET",
            format!("{MAPS}/a"),
            "configmaps \"a\" is forbidden: User \"joe\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "GET",
            "/api/v1/nodes".to_owned(),
            "nodes is forbidden: User \"joe\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ),
        ("GET", "/metrics".to_owned(), "forbidden: User \"joe\" cannot get path \"/metrics\""),
        // A resource nobody serves is not told apart from one that is.
        (
            "GET",
            "/apis/x.io/v1/things".to_owned(),
            "things.x.io is forbidden: User \"joe\" cannot list resource \"things\" in API group \"x.io\" at the cluster scope",
        ),
    ];
    for (method, path, want) in cases {
        let (code, text) = call(&joe, method, &path, None).await.unwrap_err();
        assert_eq!((code, text.as_str()), (403, want), "{path}");
    }
    let stranger = cluster.as_user(Some("wrong"));
    let (code, text) = call(&stranger, "GET", "/version", None).await.unwrap_err();
    assert_eq!((code, text.as_str()), (401, "Unauthorized"));
    let nobody = cluster.as_user(None);
    let (code, text) = call(&nobody, "GET", MAPS, None).await.unwrap_err();
    assert_eq!(code, 403);
    assert!(text.contains("User \"system:anonymous\" cannot list"), "{text}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_nobodys() {
    let cluster = Cluster::start().await;
    let admin = cluster.as_certificate("admin", "system:masters");
    call(&admin, "GET", MAPS, None).await.unwrap();
    let stranger = pki::Authority::generate("test").unwrap();
    // Not even anonymous, and told so by an answer: the handshake is no place for it.
    for path in [MAPS, "/version", "/livez"] {
        let foreign = cluster.with_certificate_of(&stranger, "admin", "system:masters", None);
        let (code, text) = call(&foreign, "GET", path, None).await.unwrap_err();
        assert_eq!((code, text.as_str()), (401, "Unauthorized"), "{path}");
    }
    // Nor does it spoil a token that is good.
    let joe = cluster.with_certificate_of(&stranger, "admin", "system:masters", Some(JOE));
    let (code, text) = call(&joe, "GET", MAPS, None).await.unwrap_err();
    assert_eq!(code, 403);
    assert!(text.contains("User \"joe\""), "{text}");
}

#[tokio::test]
async fn everything_in_one_namespace_is_nothing_outside_of_it() {
    let cluster = Cluster::start().await;
    let role =
        json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    cluster.post(&format!("{rbac}/roles"), role).await.unwrap();
    let binding = json!({
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
        "subjects": [{"kind": "User", "name": "joe"}],
    });
    cluster.post(&format!("{rbac}/rolebindings"), binding).await.unwrap();
    let joe = cluster.as_user(Some(JOE));
    call(&joe, "GET", MAPS, None).await.unwrap();
    call(&joe, "GET", "/api/v1/namespaces/default", None).await.unwrap();
    let made = json!({"metadata": {"name": "made"}});
    for (method, path, body) in [
        ("GET", "/api/v1/namespaces/default/namespaces", None),
        ("GET", "/api/v1/namespaces/default/namespaces/kube-system", None),
        ("GET", "/api/v1/namespaces/default/namespaces/kube-system/status", None),
        ("GET", "/api/v1/watch/namespaces/default/namespaces/kube-system", None),
        ("DELETE", "/api/v1/namespaces/default/namespaces/kube-public", None),
        ("POST", "/api/v1/namespaces/default/namespaces", Some(made)),
        ("GET", "/api/v1/namespaces/default/nodes", None),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles/admin", None),
    ] {
        let answer = call(&joe, method, path, body).await;
        assert_eq!(answer.as_ref().map_err(|e| e.0), Err(404), "{method} {path}: {answer:?}");
    }
    assert!(
        cluster.get("/api/v1/namespaces/kube-public").await.unwrap()["metadata"].get("deletionTimestamp").is_none()
    );
}

#[tokio::test]
async fn reading_is_not_enough_to_run_something() {
    let cluster = Cluster::start().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = json!({"apiGroups": [""], "resources": ["pods/exec", "pods/attach", "pods/portforward", "nodes/proxy"], "verbs": ["get", "list", "watch"]});
    cluster
        .post(&format!("{rbac}/clusterroles"), json!({"metadata": {"name": "read"}, "rules": [rule]}))
        .await
        .unwrap();
    let binding = json!({
        "metadata": {"name": "read"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "read"},
        "subjects": [{"kind": "User", "name": "joe"}],
    });
    cluster.post(&format!("{rbac}/clusterrolebindings"), binding).await.unwrap();
    let joe = cluster.as_user(Some(JOE));
    for subresource in ["exec", "attach", "portforward"] {
        let (code, text) = call(&joe, "GET", &format!("{PODS}/p/{subresource}"), None).await.unwrap_err();
        let want = format!(
            "pods \"p\" is forbidden: User \"joe\" cannot create resource \"pods/{subresource}\" in API group \"\" in the namespace \"default\""
        );
        assert_eq!((code, text), (403, want));
    }
    // Whatever the method, this path would have asked for no more than to watch.
    let (code, text) = call(&joe, "POST", "/api/v1/watch/nodes/n1/proxy/run", Some(json!({}))).await.unwrap_err();
    assert_eq!(code, 404, "{text}");
}

#[tokio::test]
async fn nothing_is_proxied_to_the_server_itself() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p")).await.unwrap();
    cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await.unwrap();
    for address in ["127.0.0.1", "169.254.169.254"] {
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        cluster.patch(&format!("{PODS}/p/status"), "merge-patch+json", status).await.unwrap();
        let (code, text) = cluster.get(&format!("{PODS}/p:80/proxy/")).await.unwrap_err();
        assert_eq!((code, text.as_str()), (400, "address not allowed"), "{address}");
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        cluster.patch("/api/v1/nodes/n1/status", "merge-patch+json", status).await.unwrap();
        let (code, text) = cluster.get("/api/v1/nodes/n1:80/proxy/healthz").await.unwrap_err();
        assert_eq!((code, text.as_str()), (400, "address not allowed"), "{address}");
    }
}

#[tokio::test]
async fn clients_in_this_process_are_authorized_too() {
    let cluster = Cluster::start().await;
    let nobody = cluster.running.client(UserInfo::new("system:nobody", Vec::<String>::new()));
    assert_eq!(call(&nobody, "GET", MAPS, None).await.unwrap_err().0, 403);
    let masters = cluster.running.client(UserInfo::new("me", [auth::groups::MASTERS]));
    let made = call(&masters, "POST", MAPS, Some(map("a"))).await.unwrap();
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.unwrap(), made);
}

#[tokio::test]
async fn reviews() {
    let cluster = Cluster::start().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let review = |groups: &[&str]| json!({"spec": {"user": "x", "groups": groups, "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(cluster.post(path, review(&["system:masters"])).await.unwrap()["status"]["allowed"], true);
    assert_eq!(cluster.post(path, review(&["dev"])).await.unwrap()["status"]["allowed"], false);
    let token = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = cluster.post(token, json!({"spec": {"token": JOE}})).await.unwrap();
    assert_eq!(answer["status"]["user"]["username"], "joe");
    assert_eq!(answer["status"]["authenticated"], true);
    let answer = cluster.post(token, json!({"spec": {"token": "x"}})).await.unwrap();
    assert!(answer["status"].get("authenticated").is_none());
    let me = cluster.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await.unwrap();
    assert_eq!(me["status"]["userInfo"]["username"], "admin");
}

#[tokio::test]
async fn a_certificate_names_user_and_groups() {
    let cluster = Cluster::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let node = cluster.as_certificate("system:node:n1", "system:nodes");
    let me = call(&node, "POST", path, Some(json!({}))).await.unwrap();
    assert_eq!(me["status"]["userInfo"]["username"], "system:node:n1");
    let groups = me["status"]["userInfo"]["groups"].as_array().unwrap();
    assert!(groups.contains(&json!("system:nodes")) && groups.contains(&json!("system:authenticated")));
    assert_eq!(call(&node, "GET", "/api/v1/secrets", None).await.unwrap_err().0, 403);
    let admin = cluster.as_certificate("root", "system:masters");
    call(&admin, "GET", "/api/v1/secrets", None).await.unwrap();
}

#[tokio::test]
async fn impersonation_needs_permission() {
    let cluster = Cluster::start().await;
    let as_joe = |client: kube::Client| async move {
        let request = http::Request::get(MAPS).header("impersonate-user", "joe").body(Vec::new()).unwrap();
        client.request_text(request).await.unwrap_err().to_string()
    };
    let text = as_joe(cluster.client.clone()).await;
    assert!(text.contains("User \"joe\" cannot list resource \"configmaps\""), "{text}");
    let text = as_joe(cluster.as_user(Some(JOE))).await;
    assert!(text.contains("cannot impersonate resource \"users\""), "{text}");
}

#[tokio::test]
async fn an_open_watch_does_not_hold_up_the_end() {
    let cluster = Cluster::start().await;
    let request = http::Request::get(format!("{MAPS}?watch=1")).body(Vec::new()).unwrap();
    let _watch = cluster.client.request_stream(request).await.unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(4), cluster.stop()).await;
    assert!(ended.is_ok());
}
