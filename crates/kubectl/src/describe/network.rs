//! Services and ingresses.
use super::{
    Related,
    doc::{Doc, date, equalities, is_empty, items, joined, number, or_none, text},
};
use serde_json::Value;

/// More endpoints than that are only counted.
const SHOWN: usize = 3;

pub fn service(doc: &mut Doc, object: &Value, related: &Related) {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.field(0, "Namespace", text(&metadata["namespace"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.field(0, "Selector", equalities(&spec["selector"]));
    doc.field(0, "Type", text(&spec["type"]));
    doc.given(0, "IP Family Policy", &spec["ipFamilyPolicy"]);
    doc.field(0, "IP Families", or_none(joined(&spec["ipFamilies"], ",")));
    doc.field(0, "IP", text(&spec["clusterIP"]));
    doc.field(0, "IPs", or_none(joined(&spec["clusterIPs"], ",")));
    if !is_empty(&spec["externalIPs"]) {
        doc.field(0, "External IPs", joined(&spec["externalIPs"], ","));
    }
    doc.given(0, "Desired LoadBalancer IP", &spec["loadBalancerIP"]);
    doc.given(0, "External Name", &spec["externalName"]);
    let ingress = &object["status"]["loadBalancer"]["ingress"];
    if !is_empty(ingress) {
        let addresses = items(ingress).map(|i| match (is_empty(&i["ip"]), is_empty(&i["ipMode"])) {
            (false, false) => format!("{} ({})", text(&i["ip"]), text(&i["ipMode"])),
            (false, true) => text(&i["ip"]),
            _ => text(&i["hostname"]),
        });
        doc.field(0, "LoadBalancer Ingress", addresses.collect::<Vec<_>>().join(", "));
    }
    for port in items(&spec["ports"]) {
        let (name, protocol) = (text(&port["name"]), text(&port["protocol"]));
        let shown = if name.is_empty() { "<unset>" } else { &name };
        doc.field(0, "Port", format!("{shown}\t{}/{protocol}", number(&port["port"])));
        doc.field(0, "TargetPort", format!("{}/{protocol}", text(&port["targetPort"])));
        if number(&port["nodePort"]) != 0 {
            doc.field(0, "NodePort", format!("{shown}\t{}/{protocol}", number(&port["nodePort"])));
        }
        doc.given(0, "AppProtocol", &port["appProtocol"]);
        doc.field(0, "Endpoints", endpoints(related.slices.iter(), &name));
    }
    doc.field(0, "Session Affinity", text(&spec["sessionAffinity"]));
    doc.given(0, "External Traffic Policy", &spec["externalTrafficPolicy"]);
    doc.given(0, "Internal Traffic Policy", &spec["internalTrafficPolicy"]);
    doc.given(0, "Traffic Distribution", &spec["trafficDistribution"]);
    if number(&spec["healthCheckNodePort"]) != 0 {
        doc.field(0, "HealthCheck NodePort", number(&spec["healthCheckNodePort"]));
    }
    if !is_empty(&spec["loadBalancerSourceRanges"]) {
        doc.field(0, "LoadBalancer Source Ranges", joined(&spec["loadBalancerSourceRanges"], ","));
    }
}

pub fn service_cidr(doc: &mut Doc, object: &Value, _: &Related) {
    let metadata = &object["metadata"];
    doc.field(0, "Name", text(&metadata["name"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.field(0, "CIDRs", joined(&object["spec"]["cidrs"], ", "));
    if is_empty(&object["status"]["conditions"]) {
        return;
    }
    doc.line(0, "Status:");
    doc.line(0, "Conditions:");
    doc.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
    doc.line(1, "----\t------\t------------------\t------\t-------");
    for c in items(&object["status"]["conditions"]) {
        let [kind, status, reason, message] = ["type", "status", "reason", "message"].map(|field| text(&c[field]));
        doc.line(1, format!("{kind}\t{status}\t{}\t{reason}\t{message}", date(&c["lastTransitionTime"])));
    }
}

pub fn ip_address(doc: &mut Doc, object: &Value, _: &Related) {
    let metadata = &object["metadata"];
    doc.field(0, "Name", text(&metadata["name"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    let parent = &object["spec"]["parentRef"];
    if parent.is_object() {
        doc.line(0, "Parent Reference:");
        for (title, field) in
            [("Group", "group"), ("Resource", "resource"), ("Namespace", "namespace"), ("Name", "name")]
        {
            doc.field(1, title, text(&parent[field]));
        }
    }
}

pub fn ingress_class(doc: &mut Doc, object: &Value, _: &Related) {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.field(0, "Controller", text(&spec["controller"]));
    let parameters = &spec["parameters"];
    if parameters.is_object() {
        doc.line(0, "Parameters:");
        doc.given(1, "APIGroup", &parameters["apiGroup"]);
        doc.field(1, "Kind", text(&parameters["kind"]));
        doc.field(1, "Name", text(&parameters["name"]));
    }
}

fn head(doc: &mut Doc, object: &Value) {
    doc.field(0, "Name", text(&object["metadata"]["name"]));
    doc.field(0, "Namespace", text(&object["metadata"]["namespace"]));
    doc.labels("", "Labels", &object["metadata"]["labels"]);
    doc.annotations("Annotations", &object["metadata"]["annotations"]);
}

fn ports(doc: &mut Doc, level: usize, ports: &Value) {
    doc.line(level, "Name\tPort\tProtocol");
    doc.line(level, "----\t----\t--------");
    for port in items(ports) {
        let name = match text(&port["name"]) {
            empty if empty.is_empty() => "<unset>".to_owned(),
            name => name,
        };
        doc.line(level, format!("{name}\t{}\t{}", number(&port["port"]), text(&port["protocol"])));
    }
}

pub fn endpoints_object(doc: &mut Doc, object: &Value, _: &Related) {
    head(doc, object);
    doc.line(0, "Subsets:");
    for subset in items(&object["subsets"]) {
        for (title, field) in [("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")] {
            let addresses: Vec<String> = items(&subset[field]).map(|address| text(&address["ip"])).collect();
            doc.field(1, title, or_none(addresses.join(",")));
        }
        if !is_empty(&subset["ports"]) {
            doc.line(1, "Ports:");
            ports(doc, 2, &subset["ports"]);
        }
        doc.line(0, "");
    }
}

pub fn endpoint_slice(doc: &mut Doc, object: &Value, _: &Related) {
    head(doc, object);
    doc.field(0, "AddressType", text(&object["addressType"]));
    if is_empty(&object["ports"]) {
        doc.line(0, "Ports: <unset>");
    } else {
        doc.line(0, "Ports:");
        ports(doc, 1, &object["ports"]);
    }
    if is_empty(&object["endpoints"]) {
        return doc.line(0, "Endpoints: <none>");
    }
    doc.line(0, "Endpoints:");
    let or_unset = |value: &Value| match text(value) {
        empty if empty.is_empty() => "<unset>".to_owned(),
        value => value,
    };
    for endpoint in items(&object["endpoints"]) {
        doc.field(1, "- Addresses", joined(&endpoint["addresses"], ", "));
        doc.line(2, "Conditions:");
        let ready = &endpoint["conditions"]["ready"];
        doc.field(3, "Ready", or_unset(ready));
        doc.field(2, "Hostname", or_unset(&endpoint["hostname"]));
        if endpoint["targetRef"].is_object() {
            let target = &endpoint["targetRef"];
            doc.field(2, "TargetRef", format!("{}/{}", text(&target["kind"]), text(&target["name"])));
        }
        doc.field(2, "NodeName", or_unset(&endpoint["nodeName"]));
        doc.field(2, "Zone", or_unset(&endpoint["zone"]));
    }
}

/// The ready endpoints of one port.
fn endpoints<'a>(slices: impl Iterator<Item = &'a Value>, port: &str) -> String {
    let (mut found, mut has_slices) = (Vec::new(), false);
    for slice in slices {
        has_slices = true;
        for known in items(&slice["ports"]).filter(|p| text(&p["name"]) == port) {
            let number = number(&known["port"]);
            for endpoint in items(&slice["endpoints"]).filter(|e| e["conditions"]["ready"] != false) {
                found.extend(items(&endpoint["addresses"]).map(|address| match text(address) {
                    v6 if v6.contains(':') => format!("[{v6}]:{number}"),
                    v4 => format!("{v4}:{number}"),
                }));
            }
        }
    }
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    // Slices without the port, or without anything ready, leave an empty place.
    let shown = if has_slices { found.join(",") } else { "<none>".to_owned() };
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

/// The endpoints behind an ingress's backend.
fn behind(backend: &Value, related: &Related) -> String {
    let name = &backend["name"];
    let Some(service) = related.services.iter().find(|s| s["metadata"]["name"] == *name) else {
        return format!("<error: services {:?} not found>", text(name));
    };
    let wanted = &backend["port"];
    let port = items(&service["spec"]["ports"])
        .find(|p| (!is_empty(&wanted["name"]) && p["name"] == wanted["name"]) || p["port"] == wanted["number"]);
    let Some(port) = port else { return "<none>".into() };
    let slices = related.slices.iter().filter(|s| s["metadata"]["labels"]["kubernetes.io/service-name"] == *name);
    endpoints(slices, &text(&port["name"]))
}

pub fn ingress(doc: &mut Doc, object: &Value, related: &Related) {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.field(0, "Namespace", text(&metadata["namespace"]));
    let addresses = items(&object["status"]["loadBalancer"]["ingress"])
        .map(|i| if is_empty(&i["ip"]) { text(&i["hostname"]) } else { text(&i["ip"]) });
    doc.field(0, "Address", addresses.collect::<Vec<_>>().join(","));
    doc.field(0, "Ingress Class", or_none(text(&spec["ingressClassName"])));
    let backend = |b: &Value| {
        let service = &b["service"];
        if service.is_object() {
            let port = if is_empty(&service["port"]["name"]) { "number" } else { "name" };
            let at = format!("{}:{}", text(&service["name"]), text(&service["port"][port]));
            return format!("{at} ({})", behind(service, related));
        }
        let resource = &b["resource"];
        format!(
            "APIGroup: {}, Kind: {}, Name: {}",
            text(&resource["apiGroup"]),
            text(&resource["kind"]),
            text(&resource["name"])
        )
    };
    let default = match spec["defaultBackend"].is_object() {
        true => backend(&spec["defaultBackend"]),
        false => "<default>".to_owned(),
    };
    doc.field(0, "Default backend", default);
    if !is_empty(&spec["tls"]) {
        doc.line(0, "TLS:");
        for tls in items(&spec["tls"]) {
            let hosts = joined(&tls["hosts"], ",");
            match text(&tls["secretName"]) {
                none if none.is_empty() => doc.line(1, format!("SNI routes {hosts}")),
                secret => doc.line(1, format!("{secret} terminates {hosts}")),
            }
        }
    }
    doc.line(0, "Rules:");
    doc.line(1, "Host\tPath\tBackends");
    doc.line(1, "----\t----\t--------");
    for rule in items(&spec["rules"]) {
        let host = text(&rule["host"]);
        doc.line(1, format!("{}\t", if host.is_empty() { "*" } else { &host }));
        for path in items(&rule["http"]["paths"]) {
            let at = text(&path["path"]);
            doc.line(1, format!("\t{at} \t{}", backend(&path["backend"])));
        }
    }
    doc.annotations("Annotations", &metadata["annotations"]);
}
