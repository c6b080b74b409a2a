//! Hostile input gets a clear error: too large, too deep, not JSON, not UTF-8, odd paths.
use crate::cluster::{Cluster, MAPS, map};
use http::Request;

async fn send(cluster: &Cluster, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> (u16, String) {
    let request =
        Request::builder().method(method).uri(path).header("content-type", content_type).body(body.into()).unwrap();
    let response = cluster.client.send(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn bodies() {
    let cluster = Cluster::start().await;
    let deep = [b"{\"data\":".repeat(100_000), b"1".to_vec(), b"}".repeat(100_000)].concat();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("application/json", b"".to_vec(), 400),
        ("application/json", b"{".to_vec(), 400),
        ("application/json", b"[1,2".to_vec(), 400),
        ("application/json", b"null".to_vec(), 422),
        ("application/json", b"{\"metadata\":{\"name\":\"\xff\xfe\"}}".to_vec(), 422),
        ("application/json", deep.clone(), 400),
        ("application/json", b"{\"metadata\":{\"name\":\"a\"},\"data\":{\"x\":1}}".to_vec(), 400),
        ("application/json", b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"}}".to_vec(), 400),
        (
            "application/json",
            b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v9\",\"metadata\":{\"name\":\"a\"}}".to_vec(),
            400,
        ),
        ("application/json", vec![b' '; 4 << 20], 413),
        ("application/yaml", b"a: [".to_vec(), 400),
        ("application/yaml", b"x: &x [1]\ny: [*x,*x,*x]\n? {}\n: 1".to_vec(), 400),
        ("application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff".to_vec(), 400),
        ("application/cbor", b"\xa0".to_vec(), 415),
        ("text/plain", b"x".to_vec(), 415),
    ];
    for (content_type, body, want) in cases {
        let shown = String::from_utf8_lossy(body.get(..body.len().min(40)).unwrap()).into_owned();
        let (status, text) = send(&cluster, "POST", MAPS, content_type, body).await;
        assert_eq!(status, want, "{content_type} {shown}: {}", text.get(..text.len().min(300)).unwrap());
        assert!(text.contains("\"kind\":\"Status\"") || want == 413, "{text}");
    }
    let (status, text) = send(&cluster, "POST", MAPS, "application/json", vec![b' '; 4 << 20]).await;
    assert_eq!(status, 413);
    assert!(text.contains("Request entity too large: limit is 3145728"), "{text}");
    let (status, _) = send(&cluster, "DELETE", &format!("{MAPS}/a"), "application/json", deep).await;
    assert!((400..500).contains(&status), "{status}");
}

#[tokio::test]
async fn plain_http_is_told_what_is_wrong() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = Cluster::start().await;
    let mut stream = tokio::net::TcpStream::connect(cluster.running.address).await.unwrap();
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
}

#[tokio::test]
async fn paths() {
    let cluster = Cluster::start().await;
    let cases = [
        ("GET", "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/%00", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/%ff%fe", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a/b/c/d", 404),
        ("GET", "//api//v1//pods", 404),
        ("POST", "/api/v1/configmaps", 405),
        ("POST", "/api/v1/namespaces/default/configmaps/a", 405),
        ("PUT", "/api/v1/namespaces/default/configmaps", 405),
        ("GET", "/api/v1/namespaces/default/namespaces/kube-system", 404),
        ("GET", "/api/v1/namespaces/default/status/a/b", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a/status/b", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/apis/apps", 404),
        ("POST", "/version", 405),
    ];
    for (method, path, want) in cases {
        let (status, text) = send(&cluster, method, path, "application/json", Vec::new()).await;
        let known_apps = path == "/apis/apps" && status == 200;
        assert!(status == want || known_apps, "{method} {path}: {status} {text}");
    }
    let long = format!("/api/v1/namespaces/default/configmaps/{}", "a".repeat(60_000));
    let (status, _) = send(&cluster, "GET", &long, "application/json", Vec::new()).await;
    assert!((400..500).contains(&status), "{status}");
    // And it still works.
    cluster.post(MAPS, map("a")).await.unwrap();
}

#[tokio::test]
async fn queries() {
    let cluster = Cluster::start().await;
    let cases = [
        ("limit=x", 400),
        ("limit=-1", 200),
        ("limit=99999999999999999999", 400),
        ("resourceVersion=-1", 500),
        ("continue=%00", 400),
        ("timeoutSeconds=x&watch=1", 400),
        ("labelSelector=%ff", 400),
        ("labelSelector=a%20in%20(", 400),
        ("fieldSelector=a", 400),
        ("nonsense=1&&&=&=x", 200),
    ];
    for (query, want) in cases {
        let (status, text) = send(&cluster, "GET", &format!("{MAPS}?{query}"), "application/json", Vec::new()).await;
        assert_eq!(status, want, "{query}: {text}");
    }
    let many = format!("{MAPS}?{}", "a=b&".repeat(5_000));
    assert_eq!(send(&cluster, "GET", &many, "application/json", Vec::new()).await.0, 200);
}

#[tokio::test]
async fn bodies_that_are_no_objects_are_answered_in_upstreams_words() {
    const PATH: &str = "/api/v1/namespaces/default/configmaps?dryRun=All";
    let cluster = Cluster::start().await;
    let unreadable = |why: &str| {
        format!(
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: {why}"
        )
    };
    let scheme = "in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"";
    let handled = |kind: &str, why: &str| format!("{kind} in version \"v1\" cannot be handled as a ConfigMap: {why}");
    for (body, want) in [
        ("", unreadable("unexpected end of JSON input (<empty>)")),
        ("{\"a\" 1}", unreadable("invalid character '1' after object key ({\"a\" 1})")),
        (
            "{\"kind\":5}",
            unreadable("json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":5})"),
        ),
        (
            "{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}",
            handled("Pod", "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        ),
        (
            "{\"kind\":\"Foo\",\"apiVersion\":\"v1\"}",
            handled("Foo", &format!("no kind \"Foo\" is registered for version \"v1\" {scheme}")),
        ),
        (
            "{\"apiVersion\":\"apps/v1\"}",
            handled("ConfigMap", &format!("no kind \"ConfigMap\" is registered for version \"apps/v1\" {scheme}")),
        ),
    ] {
        let (status, text) = send(&cluster, "POST", PATH, "application/json", body.as_bytes().to_vec()).await;
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, answer["message"].as_str()), (400, Some(want.as_str())), "{body}");
    }
    // Go's parser takes these, so ours does.
    for (kind, body) in [
        ("application/json", &b"{\"kind\":\"Foo\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}"[..]),
        ("application/json", b"{\"metadata\":{\"name\":\"a\"},\"data\":{\"a\":\"\xff\"}}"),
        ("application/yaml", b"metadata: {name: a}\ndata:\n  a: '1'\n  a: '2'\n"),
    ] {
        let (status, text) = send(&cluster, "POST", PATH, kind, body.to_vec()).await;
        assert_eq!(status, 201, "{text}");
    }
    let (status, text) = send(&cluster, "POST", "/foo", "application/json", b"{}".to_vec()).await;
    assert_eq!((status, text.as_str()), (404, "404 page not found\n"));
}
