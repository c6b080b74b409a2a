//! Whole commands against a server that knows a handful of objects, compared with what the official kubectl 1.36 does.
use crate::Sink;
use serde_json::{Value, json};
use std::{ffi::OsString, sync::Arc, sync::Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What was asked, but for discovery: `GET /api/v1/pods`.
type Asked = Arc<Mutex<Vec<String>>>;

fn resource(name: &str, kind: &str, short: &str, namespaced: bool) -> Value {
    json!({"name": name, "singularName": kind.to_lowercase(), "kind": kind, "shortNames": [short],
        "namespaced": namespaced, "verbs": ["get", "list", "patch"]})
}

fn list(group_version: &str, resources: &[Value]) -> Value {
    json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources})
}

/// The answer for a path without its query; nothing for what is not there.
fn answer(path: &str) -> Option<Value> {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default",
        "resourceVersion": "5"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"ports": [{"port": 443}]}});
    Some(match path {
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "groups": [{"name": "apps", "preferredVersion": {"version": "v1"},
            "versions": [{"version": "v1"}]}]}),
        "/api/v1" => list(
            "v1",
            &[
                resource("namespaces", "Namespace", "ns", false),
                resource("pods", "Pod", "po", true),
                resource("services", "Service", "svc", true),
            ],
        ),
        "/apis/apps/v1" => list("apps/v1", &[resource("deployments", "Deployment", "deploy", true)]),
        "/api/v1/namespaces" => json!({"apiVersion": "v1", "kind": "NamespaceList", "metadata": {},
            "items": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}]}),
        "/apis/apps/v1/namespaces/default/deployments" => {
            json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {}, "items": []})
        }
        "/apis/apps/v1/namespaces/default/deployments/web" => deployment,
        "/api/v1/namespaces/default/pods" => {
            json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []})
        }
        "/apis/apps/v1/namespaces/default/deployments/web/scale" => {
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "resourceVersion": "5"},
                "spec": {"replicas": 4}, "status": {"replicas": 1}})
        }
        "/api/v1/namespaces/default/services/kubernetes" => service,
        _ => return None,
    })
}

async fn serve(mut connection: TcpStream, asked: Asked) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    connection.read_exact(&mut vec![0; length.unwrap_or(0)]).await?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let put = format!("PUT {path}");
    let first_put = method == "PUT" && !asked.lock().unwrap().contains(&put);
    if path.matches('/').count() > 3 {
        asked.lock().unwrap().push(format!("{method} {path}"));
    }
    let (status, body) = match answer(path) {
        Some(_) if first_put => {
            ("409 Conflict", json!({"kind": "Status", "reason": "Conflict", "message": "modified", "code": 409}))
        }
        // A dry run: another object, of the same version.
        Some(mut object) if method == "PATCH" => {
            object["spec"]["replicas"] = json!(3);
            ("200 OK", object)
        }
        Some(object) => ("200 OK", object),
        None => ("404 Not Found", json!({"kind": "Status", "reason": "NotFound", "message": "not found", "code": 404})),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    connection.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await?;
    connection.shutdown().await
}

/// The exit code of a command, its output, and what it asked the server.
async fn run(line: &str) -> (i32, String, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("--server=http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let served = tokio::spawn({
        let asked = asked.clone();
        async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, asked.clone()));
            }
        }
    });
    let words = ["--kubeconfig=/dev/null", server.as_str()].into_iter().chain(line.split(' '));
    let sink = Sink::default();
    let code = kubectl::run(words.map(OsString::from).collect(), Box::new(sink.clone())).await;
    served.abort();
    let output = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let asked = asked.lock().unwrap().clone();
    (code, output, asked)
}

#[tokio::test]
async fn commands_end_as_the_official_ones_do() {
    let exposed = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: 80\n    protocol: TCP\n    \
                   targetPort: 80\n  selector:\n    app: web\nstatus:\n  loadBalancer: {}\n";
    let in_namespace = exposed.replace("  name: web\n", "  name: web\n  namespace: default\n");
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: a\nrules:\n- apiGroups:\n  - apps\n  \
                resources:\n  - deployments\n  verbs:\n  - get\n";
    let cases = [
        ("-o name get ns", 0, "namespace/default\n"),
        ("-A get pods", 1, ""),
        ("scale deploy --all --replicas=1", 1, ""),
        ("scale deploy -l a=b --replicas=1", 1, ""),
        ("rollout restart deploy -l a=b", 0, ""),
        ("rollout status deploy", 0, ""),
        ("set image --local deploy/web web=x", 1, ""),
        ("set env --local deploy/web A=b", 1, ""),
        ("expose deploy web --port=80 --dry-run=client -o yaml", 0, exposed),
        ("expose deploy web --port=80 --dry-run=client -o yaml -n default", 0, in_namespace.as_str()),
        ("expose svc kubernetes --dry-run=client", 1, ""),
        ("create role a --verb=get --resource=deploy --dry-run=client -o yaml", 0, role),
        ("create role a --verb=get --resource=nothing --dry-run=client -o yaml", 1, ""),
        (
            "patch deploy web --type=merge -p {\"spec\":{\"replicas\":3}} --dry-run=server",
            0,
            "deployment.apps/web patched\n",
        ),
        ("explain pods --api-version=v2", 1, ""),
    ];
    for (line, code, want) in cases {
        let (got, output, asked) = run(line).await;
        assert_eq!((got, output.as_str()), (code, want), "{line}: {asked:?}");
    }
    // Nothing is asked of objects that files were to describe.
    assert_eq!(run("set image --local deploy/web web=x").await.2, Vec::<String>::new());
}

#[tokio::test]
async fn scaling_holds_to_its_conditions_and_waits() {
    let web = "/apis/apps/v1/namespaces/default/deployments/web";
    let cases = [
        ("--replicas=2", 0, vec!["PATCH"]),
        ("--replicas=2 --current-replicas=3", 1, vec!["GET"]),
        ("--replicas=2 --resource-version=4", 1, vec!["GET"]),
        // The first write loses against another one.
        ("--replicas=2 --current-replicas=4 --resource-version=5", 0, vec!["GET", "PUT", "GET", "PUT"]),
        ("--replicas=4 --timeout=10ms", 1, vec!["PATCH", "GET"]),
        // Somebody wants another number by now.
        ("--replicas=2 --timeout=1m", 0, vec!["PATCH", "GET"]),
        ("--replicas=4 --timeout=1m --dry-run=server", 0, vec!["PATCH"]),
        ("--replicas=4 --current-replicas=-2", 1, vec![]),
    ];
    for (flags, code, want) in cases {
        let (got, output, asked) = run(&format!("scale deploy web {flags}")).await;
        assert_eq!((got, output.is_empty()), (code, code != 0), "{flags}: {output}");
        let scale = format!(" {web}/scale");
        let methods: Vec<&str> = asked.iter().filter_map(|line| line.strip_suffix(&scale)).collect();
        assert_eq!(methods, want, "{flags}");
    }
}

#[tokio::test]
async fn a_workload_without_pods_is_waited_for() {
    for command in ["logs deploy/web", "attach deploy/web", "exec deploy/web -- ls", "port-forward deploy/web 0:80"] {
        let (verb, rest) = command.split_once(' ').unwrap();
        let (code, output, asked) = run(&format!("{verb} --pod-running-timeout=700ms {rest}")).await;
        let lists = asked.iter().filter(|line| line.ends_with("/pods")).count();
        assert_eq!((code, output.as_str()), (1, ""), "{command}");
        assert!((2..=4).contains(&lists), "{command}: {asked:?}");
        for none in ["0s", "-1s"] {
            let (code, _, asked) = run(&format!("{verb} --pod-running-timeout={none} {rest}")).await;
            assert_eq!((code, asked), (1, vec![]), "{command}");
        }
    }
}

#[tokio::test]
async fn a_token_is_not_asked_for_with_flags_that_do_not_fit() {
    let cases = ["--duration=-1s", "--duration=1500ms", "--audience=", "--bound-object-name=a", "--bound-object-uid=b"];
    for flags in cases {
        let (code, output, asked) = run(&format!("create token web {flags}")).await;
        assert_eq!((code, output.as_str(), asked), (1, "", vec![]), "{flags}");
    }
    let (code, _, asked) = run("create token web --duration=1h").await;
    assert_eq!((code, asked), (1, vec!["POST /api/v1/namespaces/default/serviceaccounts/web/token".to_owned()]));
}
