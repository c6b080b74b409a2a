//! Nodes, with the pods on them and what those ask for.
use super::{
    Related,
    doc::{Doc, date, is_empty, items, joined, or_none, pairs, since, text},
};
use apimachinery::quantity::{Format, Quantity};
use serde_json::Value;

const ROLE: &str = "node-role.kubernetes.io/";

pub fn node(doc: &mut Doc, node: &Value, related: &Related) {
    let (metadata, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    doc.field(0, "Name", text(&metadata["name"]));
    let roles = pairs(&metadata["labels"]).filter_map(|(key, value)| {
        key.strip_prefix(ROLE).map(str::to_owned).or_else(|| (key == "kubernetes.io/role").then(|| text(value)))
    });
    doc.field(0, "Roles", or_none(roles.filter(|r| !r.is_empty()).collect::<Vec<_>>().join(",")));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.field(0, "CreationTimestamp", date(&metadata["creationTimestamp"]));
    let mut taints: Vec<&Value> = items(&spec["taints"]).collect();
    taints.sort_by_key(|t| (text(&t["effect"]), text(&t["key"])));
    doc.listed("", "Taints", taints.into_iter().map(taint).collect());
    doc.field(0, "Unschedulable", spec["unschedulable"] == true);
    lease(doc, &text(&metadata["name"]), related.lease.as_ref());
    if !is_empty(&status["conditions"]) {
        doc.line(0, "Conditions:");
        doc.line(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        doc.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
        for c in items(&status["conditions"]) {
            doc.line(
                1,
                format!(
                    "{} \t{} \t{} \t{} \t{} \t{}",
                    text(&c["type"]),
                    text(&c["status"]),
                    date(&c["lastHeartbeatTime"]),
                    date(&c["lastTransitionTime"]),
                    text(&c["reason"]),
                    text(&c["message"])
                ),
            );
        }
    }
    doc.line(0, "Addresses:");
    items(&status["addresses"]).for_each(|a| doc.field(1, &text(&a["type"]), text(&a["address"])));
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        if !is_empty(&status[field]) {
            doc.line(0, format!("{title}:"));
            pairs(&status[field]).for_each(|(name, quantity)| doc.field(1, name, text(quantity)));
        }
    }
    doc.line(0, "System Info:");
    let info = &status["nodeInfo"];
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        doc.field(1, title, text(&info[field]));
    }
    doc.given(0, "PodCIDR", &spec["podCIDR"]);
    if !is_empty(&spec["podCIDRs"]) {
        doc.field(0, "PodCIDRs", joined(&spec["podCIDRs"], ","));
    }
    doc.given(0, "ProviderID", &spec["providerID"]);
    let running = |p: &&Value| p["status"]["phase"] != "Succeeded" && p["status"]["phase"] != "Failed";
    usage(doc, node, &related.pods.iter().filter(running).collect::<Vec<_>>());
}

fn taint(taint: &Value) -> String {
    let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]));
    match (value.is_empty(), effect.is_empty()) {
        (true, true) => key,
        (true, false) => format!("{key}:{effect}"),
        (false, true) => format!("{key}={value}:"),
        (false, false) => format!("{key}={value}:{effect}"),
    }
}

fn lease(doc: &mut Doc, name: &str, lease: Option<&Value>) {
    let Some(spec) = lease.map(|lease| &lease["spec"]) else {
        return doc.field(0, "Lease", format!("Failed to get lease: leases.coordination.k8s.io \"{name}\" not found"));
    };
    doc.line(0, "Lease:");
    let unset = |field: &str| match is_empty(&spec[field]) {
        true => "<unset>".to_owned(),
        false if field == "holderIdentity" => text(&spec[field]),
        false => date(&spec[field]),
    };
    doc.field(1, "HolderIdentity", unset("holderIdentity"));
    doc.field(1, "AcquireTime", unset("acquireTime"));
    doc.field(1, "RenewTime", unset("renewTime"));
}

fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::parse(value.as_str()?).ok()
}

fn zero() -> Quantity {
    Quantity::from_value(0, Format::DecimalSi)
}

fn largest(one: Quantity, other: Quantity) -> Quantity {
    if other > one { other } else { one }
}

/// What a pod asks for: the sum of its containers and sidecars, or the most that a step of its start takes.
fn asked(pod: &Value, kind: &str, name: &str) -> Quantity {
    let spec = &pod["spec"];
    let of = |container: &Value| quantity(&container["resources"][kind][name]).unwrap_or_else(zero);
    let mut total = items(&spec["containers"]).map(of).fold(zero(), add);
    let (mut sidecars, mut most) = (zero(), zero());
    for container in items(&spec["initContainers"]) {
        if container["restartPolicy"] == "Always" {
            total = add(total, of(container));
            sidecars = add(sidecars, of(container));
            most = largest(most, sidecars);
        } else {
            most = largest(most, add(of(container), sidecars));
        }
    }
    total = largest(total, most);
    if let Some(whole) = quantity(&spec["resources"][kind][name]) {
        total = whole;
    }
    match quantity(&spec["overhead"][name]) {
        Some(overhead) if kind == "requests" || !total.is_zero() => add(total, overhead),
        _ => total,
    }
}

/// The sum; zero takes the form of the other.
fn add(one: Quantity, other: Quantity) -> Quantity {
    if one.is_zero() { other } else { one + other }
}

fn share(part: &Quantity, whole: Option<&Quantity>, milli: bool) -> i64 {
    let Some(whole) = whole.filter(|w| !w.is_zero()) else { return 0 };
    if milli {
        return (part.milli_value() as f64 / whole.milli_value() as f64 * 100.0) as i64;
    }
    (part.value() as f64 / whole.value() as f64 * 100.0) as i64
}

fn usage(doc: &mut Doc, node: &Value, pods: &[&Value]) {
    let status = &node["status"];
    let of = if is_empty(&status["allocatable"]) { &status["capacity"] } else { &status["allocatable"] };
    let shown = |q: &Quantity, name: &str| format!("{q} ({}%)", share(q, quantity(&of[name]).as_ref(), name == "cpu"));
    doc.line(0, format!("Non-terminated Pods:\t({} in total)", pods.len()));
    doc.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    doc.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    for pod in pods {
        let metadata = &pod["metadata"];
        let mut row = format!("{}\t{}\t", text(&metadata["namespace"]), text(&metadata["name"]));
        for name in ["cpu", "memory"] {
            for kind in ["requests", "limits"] {
                row.push_str(&format!("\t{}", shown(&asked(pod, kind, name), name)));
            }
        }
        doc.line(1, format!("{row}\t{}", since(&metadata["creationTimestamp"])));
    }
    doc.line(0, "Allocated resources:");
    doc.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    doc.line(1, "Resource\tRequests\tLimits");
    doc.line(1, "--------\t--------\t------");
    let sum = |kind: &str, name: &str| pods.iter().map(|p| asked(p, kind, name)).fold(zero(), add);
    let mut names = vec!["cpu".to_owned(), "memory".to_owned(), "ephemeral-storage".to_owned()];
    names.extend(pairs(of).map(|(name, _)| name.clone()).filter(|n| n.starts_with("hugepages-")));
    for name in &names {
        doc.line(1, format!("{name}\t{}\t{}", shown(&sum("requests", name), name), shown(&sum("limits", name), name)));
    }
    let extended = pairs(of).map(|(name, _)| name).filter(|n| n.contains('/'));
    for name in extended {
        doc.line(1, format!("{name}\t{}\t{}", sum("requests", name), sum("limits", name)));
    }
}
