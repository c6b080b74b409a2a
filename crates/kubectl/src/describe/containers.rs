//! Containers, as pods and pod templates list them.
use super::doc::{Doc, date, is_empty, items, number, or_none, pairs, text};
use serde_json::Value;

/// A group of containers; `pod` is absent for templates. `space` stands before the title.
pub fn list(doc: &mut Doc, title: &str, containers: &Value, statuses: &Value, pod: Option<&Value>, space: &str) {
    let none = if is_empty(containers) { " <none>" } else { "" };
    doc.line(0, format!("{space}{title}:{none}"));
    let indent = if space.is_empty() { "" } else { " " };
    for container in items(containers) {
        let status = items(statuses).find(|s| s["name"] == container["name"]);
        doc.line(1, format!("{indent}{}:", text(&container["name"])));
        basics(doc, container, status);
        for (title, field) in [("Command", "command"), ("Args", "args")] {
            if !is_empty(&container[field]) {
                doc.line(2, format!("{title}:"));
                for word in items(&container[field]) {
                    text(word).split('\n').for_each(|part| doc.line(3, part));
                }
            }
        }
        if let Some(status) = status {
            state(doc, "State", &status["state"]);
            if status["lastState"]["terminated"].is_object() {
                state(doc, "Last State", &status["lastState"]);
            }
            doc.field(2, "Ready", if status["ready"] == true { "True" } else { "False" });
            doc.field(2, "Restart Count", number(&status["restartCount"]));
        }
        resources(doc, 2, &container["resources"]);
        for (title, field) in
            [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
        {
            if container[field].is_object() {
                doc.field(2, title, probe(&container[field]));
            }
        }
        environment(doc, container, pod);
        mounts(doc, container);
    }
}

fn basics(doc: &mut Doc, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        doc.field(2, "Container ID", text(&status["containerID"]));
    }
    doc.field(2, "Image", text(&container["image"]));
    if let Some(status) = status {
        doc.field(2, "Image ID", text(&status["imageID"]));
    }
    let ports = |number: &str| {
        let ports = items(&container["ports"]).map(|p| {
            let name = text(&p["name"]);
            let name = if name.is_empty() { name } else { format!(" ({name})") };
            let port = p[number].as_i64().unwrap_or(0);
            format!("{port}/{}{name}", p["protocol"].as_str().unwrap_or("TCP"))
        });
        ports.collect::<Vec<_>>().join(", ")
    };
    for (title, ports) in [("Port", ports("containerPort")), ("Host Port", ports("hostPort"))] {
        let plural = if ports.contains(',') { "s" } else { "" };
        doc.field(2, &format!("{title}{plural}"), or_none(ports));
    }
    seccomp(doc, 2, &container["securityContext"]["seccompProfile"]);
}

/// The seccomp profile of a pod or a container.
pub fn seccomp(doc: &mut Doc, level: usize, profile: &Value) {
    if profile.is_object() {
        doc.field(level, "SeccompProfile", text(&profile["type"]));
        if profile["type"] == "Localhost" {
            doc.field(level, "LocalhostProfile", text(&profile["localhostProfile"]));
        }
    }
}

fn state(doc: &mut Doc, title: &str, state: &Value) {
    if state["running"].is_object() {
        doc.field(2, title, "Running");
        doc.field(3, "Started", date(&state["running"]["startedAt"]));
    } else if state["terminated"].is_object() {
        let ended = &state["terminated"];
        doc.field(2, title, "Terminated");
        doc.given(3, "Reason", &ended["reason"]);
        doc.given(3, "Message", &ended["message"]);
        doc.field(3, "Exit Code", number(&ended["exitCode"]));
        if number(&ended["signal"]) > 0 {
            doc.field(3, "Signal", number(&ended["signal"]));
        }
        doc.field(3, "Started", date(&ended["startedAt"]));
        doc.field(3, "Finished", date(&ended["finishedAt"]));
    } else {
        doc.field(2, title, "Waiting");
        doc.given(3, "Reason", &state["waiting"]["reason"]);
    }
}

/// Limits and requests.
pub fn resources(doc: &mut Doc, level: usize, resources: &Value) {
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        if !is_empty(&resources[field]) {
            doc.line(level, format!("{title}:"));
            pairs(&resources[field]).for_each(|(name, quantity)| doc.field(level + 1, name, text(quantity)));
        }
    }
}

fn probe(probe: &Value) -> String {
    let or = |field: &str, default: i64| probe[field].as_i64().unwrap_or(default);
    let attributes = format!(
        "delay={}s timeout={}s period={}s successThreshold={} failureThreshold={}",
        or("initialDelaySeconds", 0),
        or("timeoutSeconds", 0),
        or("periodSeconds", 0),
        or("successThreshold", 0),
        or("failureThreshold", 0)
    );
    if probe["exec"].is_object() {
        return format!("exec {} {attributes}", text(&probe["exec"]["command"]));
    }
    let http = &probe["httpGet"];
    if http.is_object() {
        let scheme = http["scheme"].as_str().unwrap_or("").to_lowercase();
        let scheme = if scheme.is_empty() { scheme } else { format!("{scheme}:") };
        let path = text(&http["path"]);
        let path = if path.starts_with('/') || path.is_empty() { path } else { format!("/{path}") };
        return format!("http-get {scheme}//{}:{}{path} {attributes}", text(&http["host"]), text(&http["port"]));
    }
    let tcp = &probe["tcpSocket"];
    if tcp.is_object() {
        return format!("tcp-socket {}:{} {attributes}", text(&tcp["host"]), text(&tcp["port"]));
    }
    if probe["grpc"].is_object() {
        return format!("grpc <pod>:{} {} {attributes}", text(&probe["grpc"]["port"]), text(&probe["grpc"]["service"]));
    }
    format!("unknown {attributes}")
}

fn environment(doc: &mut Doc, container: &Value, pod: Option<&Value>) {
    if !is_empty(&container["envFrom"]) {
        doc.line(2, "Environment Variables from:");
        for from in items(&container["envFrom"]) {
            let (kind, source) = match from["configMapRef"].is_object() {
                true => ("ConfigMap", &from["configMapRef"]),
                false => ("Secret", &from["secretRef"]),
            };
            let prefix = text(&from["prefix"]);
            let prefix = if prefix.is_empty() { prefix } else { format!(" with prefix '{prefix}'") };
            let optional = source["optional"] == true;
            doc.line(3, format!("{}\t{kind}{prefix}\tOptional: {optional}", text(&source["name"])));
        }
    }
    doc.line(2, if is_empty(&container["env"]) { "Environment:\t<none>" } else { "Environment:" });
    for variable in items(&container["env"]) {
        let (name, from) = (text(&variable["name"]), &variable["valueFrom"]);
        let source = |kind: &str| Some(&from[kind]).filter(|s| s.is_object());
        if let Some(field) = source("fieldRef") {
            let path = text(&field["fieldPath"]);
            let value = pod.map(|pod| downward(pod, &path)).unwrap_or_default();
            doc.field(3, &name, format!("{value} ({}:{path})", field["apiVersion"].as_str().unwrap_or("v1")));
        } else if let Some(field) = source("resourceFieldRef") {
            let resource = text(&field["resource"]);
            doc.field(3, &name, format!("{} ({resource})", resource_value(container, field)));
        } else if let Some(key) = source("secretKeyRef") {
            let optional = key["optional"] == true;
            let (key, of) = (text(&key["key"]), text(&key["name"]));
            doc.field(3, &name, format!("<set to the key '{key}' in secret '{of}'>\tOptional: {optional}"));
        } else if let Some(key) = source("configMapKeyRef") {
            let optional = key["optional"] == true;
            let (key, of) = (text(&key["key"]), text(&key["name"]));
            doc.field(3, &name, format!("<set to the key '{key}' of config map '{of}'>\tOptional: {optional}"));
        } else {
            for (i, line) in text(&variable["value"]).split('\n').enumerate() {
                doc.line(3, if i == 0 { format!("{name}:\t{line}") } else { format!("\t{line}") });
            }
        }
    }
}

/// What a container sees of its pod: the official one knows the name and the namespace.
fn downward(pod: &Value, path: &str) -> String {
    match path {
        "metadata.name" | "metadata.namespace" => text(&pod["metadata"][path.trim_start_matches("metadata.")]),
        _ => String::new(),
    }
}

/// A limit or request in units of its divisor.
fn resource_value(container: &Value, field: &Value) -> String {
    use apimachinery::quantity::Quantity;
    let resource = text(&field["resource"]);
    let value = resource.split_once('.').map_or(&Value::Null, |(kind, name)| &container["resources"][kind][name]);
    let Some(value) = value.as_str().and_then(|v| Quantity::parse(v).ok()) else {
        return if resource.starts_with("limits.cpu") || resource.starts_with("limits.memory") {
            "node allocatable".into()
        } else {
            "0".into()
        };
    };
    let divisor = field["divisor"].as_str().and_then(|d| Quantity::parse(d).ok()).filter(|d| !d.is_zero());
    let divisor = divisor.map_or(1.0, |d| d.as_f64());
    format!("{}", (value.as_f64() / divisor).ceil() as i64)
}

fn mounts(doc: &mut Doc, container: &Value) {
    let mut mounts: Vec<&Value> = items(&container["volumeMounts"]).collect();
    mounts.sort_by_key(|m| text(&m["mountPath"]));
    doc.line(2, if mounts.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    for mount in mounts {
        let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
        let path = text(&mount["subPath"]);
        let path = if path.is_empty() { path } else { format!(",path={path:?}") };
        doc.line(3, format!("{} from {} ({mode}{path})", text(&mount["mountPath"]), text(&mount["name"])));
    }
    if !is_empty(&container["volumeDevices"]) {
        doc.line(2, "Devices:");
        for device in items(&container["volumeDevices"]) {
            doc.line(3, format!("{} from {}", text(&device["devicePath"]), text(&device["name"])));
        }
    }
}
