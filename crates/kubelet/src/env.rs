//! Environment variables of a container, and the fields and resources they may refer to.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::objects::Objects;
use crate::resources::{self, Amounts};
use crate::spec;

/// Variables in the order in which they are set.
pub type Vars = Vec<(String, String)>;

/// What variables may refer to.
pub struct Source<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub objects: &'a Objects,
    pub services: &'a [std::sync::Arc<Service>],
    pub pod_ips: &'a [String],
    pub host_ips: &'a [String],
    pub node_name: &'a str,
    pub allocatable: Amounts,
    pub allocatable_disk_bytes: i64,
}

/// All variables of a container.
///
/// # Errors
/// The message of `CreateContainerConfigError`.
pub async fn variables(source: &Source<'_>) -> Result<Vars, String> {
    let links = spec::spec(source.pod).enable_service_links.unwrap_or(true);
    let service_vars = service_variables(source.services, spec::namespace(source.pod), links);
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut set = |known: &mut BTreeMap<String, String>, name: String, value: String| {
        if known.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    };
    for (name, value) in from_sources(source).await? {
        set(&mut known, name, value);
    }
    for var in source.container.env.iter().flatten() {
        let value = match &var.value {
            Some(value) if !value.is_empty() => {
                expand(value, |name| known.get(name).or_else(|| service_vars.get(name)).cloned())
            }
            _ => match referred(source, var).await? {
                Some(value) => value,
                None => continue,
            },
        };
        set(&mut known, var.name.clone(), value);
    }
    let mut all: Vars = order.into_iter().filter_map(|name| known.remove_entry(&name)).collect();
    let given: std::collections::HashSet<String> = all.iter().map(|(name, _)| name.clone()).collect();
    all.extend(service_vars.into_iter().filter(|(name, _)| !given.contains(name)));
    Ok(all)
}

async fn from_sources(source: &Source<'_>) -> Result<Vars, String> {
    let namespace = spec::namespace(source.pod);
    let mut all = Vars::new();
    for from in source.container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match source.objects.config_map(namespace, &reference.name).await {
                Ok(map) => {
                    all.extend(map.data.unwrap_or_default().into_iter().map(|(k, v)| (format!("{prefix}{k}"), v)))
                }
                Err(error) if error.not_found && reference.optional == Some(true) => {}
                Err(error) => return Err(error.message),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match source.objects.secret(namespace, &reference.name).await {
                Ok(secret) => {
                    let data = secret.data.unwrap_or_default().into_iter();
                    all.extend(data.map(|(k, v)| (format!("{prefix}{k}"), String::from_utf8_lossy(&v.0).into_owned())));
                }
                Err(error) if error.not_found && reference.optional == Some(true) => {}
                Err(error) => return Err(error.message),
            }
        }
    }
    Ok(all)
}

/// The value of a variable without one of its own; `None`: an optional reference to nothing.
async fn referred(source: &Source<'_>, var: &EnvVar) -> Result<Option<String>, String> {
    let Some(from) = &var.value_from else { return Ok(Some(String::new())) };
    let namespace = spec::namespace(source.pod);
    if let Some(reference) = &from.field_ref {
        return field(source.pod, &reference.field_path, Some(source)).map(Some);
    }
    if let Some(reference) = &from.resource_field_ref {
        let named =
            reference.container_name.as_deref().filter(|n| !n.is_empty()).and_then(|n| spec::find(source.pod, n));
        let container = named.as_ref().map_or(source.container, |(_, c)| c);
        return {
            let node = NodeHas { amounts: source.allocatable, disk_bytes: source.allocatable_disk_bytes };
            resource_field(container, &reference.resource, reference.divisor.as_ref(), node).map(Some)
        };
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let data = match source.objects.config_map(namespace, &reference.name).await {
            Ok(map) => map.data.unwrap_or_default(),
            Err(error) if error.not_found && optional => return Ok(None),
            Err(error) => return Err(error.message),
        };
        return match data.get(&reference.key) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {namespace}/{}", reference.key, reference.name)),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let optional = reference.optional == Some(true);
        let data = match source.objects.secret(namespace, &reference.name).await {
            Ok(secret) => secret.data.unwrap_or_default(),
            Err(error) if error.not_found && optional => return Ok(None),
            Err(error) => return Err(error.message),
        };
        return match data.get(&reference.key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name)),
        };
    }
    Err(format!("the source of variable {} is not yet supported by this kubelet", var.name))
}

/// Replaces `$(NAME)` by its value; `$$` stands for `$`; an unknown name stays as it is.
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if let Some((name, next)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = next;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// A field of a pod, as `fieldRef` names it. Addresses and the node are known only with `source`.
///
/// # Errors
/// There is no such field.
pub fn field(pod: &Pod, path: &str, source: Option<&Source<'_>>) -> Result<String, String> {
    let meta = &pod.metadata;
    let map = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|m| m.get(key)).cloned();
    if let Some((kind, key)) = path.split_once("['").and_then(|(kind, rest)| Some((kind, rest.strip_suffix("']")?))) {
        return match kind {
            "metadata.labels" => Ok(map(&meta.labels, key).unwrap_or_default()),
            "metadata.annotations" => Ok(map(&meta.annotations, key).unwrap_or_default()),
            _ => Err(format!("unsupported fieldPath: {path}")),
        };
    }
    let status = pod.status.as_ref();
    Ok(match path {
        "metadata.name" => spec::name(pod).to_owned(),
        "metadata.namespace" => spec::namespace(pod).to_owned(),
        "metadata.uid" => spec::uid(pod).to_owned(),
        "metadata.labels" => lines(&meta.labels),
        "metadata.annotations" => lines(&meta.annotations),
        "spec.nodeName" => match source {
            Some(source) => source.node_name.to_owned(),
            None => spec::spec(pod).node_name.clone().unwrap_or_default(),
        },
        "spec.serviceAccountName" => spec::spec(pod).service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => match source {
            Some(source) => source.host_ips.first().cloned().unwrap_or_default(),
            None => status.and_then(|s| s.host_ip.clone()).unwrap_or_default(),
        },
        "status.hostIPs" => source.map(|s| s.host_ips.join(",")).unwrap_or_default(),
        "status.podIP" => match source {
            Some(source) => source.pod_ips.first().cloned().unwrap_or_default(),
            None => status.and_then(|s| s.pod_ip.clone()).unwrap_or_default(),
        },
        "status.podIPs" => source.map(|s| s.pod_ips.join(",")).unwrap_or_default(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `key="value"` lines, as the downward API writes maps.
fn lines(map: &Option<BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
    map.iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// What stands for the limit of a container that has none.
#[derive(Debug, Clone, Copy)]
pub struct NodeHas {
    pub amounts: Amounts,
    pub disk_bytes: i64,
}

/// A request or limit, as `resourceFieldRef` names it, divided and rounded up. Without a limit, what the node has.
///
/// # Errors
/// There is no such resource.
pub fn resource_field(
    container: &Container,
    resource: &str,
    divisor: Option<&Quantity>,
    node: NodeHas,
) -> Result<String, String> {
    let (kind, name) =
        resource.split_once('.').ok_or_else(|| format!("unsupported container resource : {resource}"))?;
    let milli = name == "cpu";
    let wanted = container.resources.as_ref();
    let amount = match (kind, name) {
        ("limits", _) => resources::limit(wanted, name, milli).or(match name {
            "cpu" => Some(node.amounts.cpu_milli),
            "memory" => Some(node.amounts.memory_bytes),
            "ephemeral-storage" => Some(node.disk_bytes),
            _ => None,
        }),
        ("requests", _) => resources::request(wanted, name, milli),
        _ => return Err(format!("unsupported container resource : {resource}")),
    };
    let amount = amount.unwrap_or(0);
    let divisor = divisor.and_then(|d| apimachinery::quantity::of(d).ok()).filter(|d| !d.is_zero());
    let unit = match (divisor, milli) {
        (Some(divisor), true) => divisor.milli_value(),
        (Some(divisor), false) => divisor.value(),
        (None, true) => 1000,
        (None, false) => 1,
    }
    .max(1);
    Ok((amount.saturating_add(unit - 1) / unit).to_string())
}

/// Upstream's variables for services: those of the pod's namespace, and always the API server's.
fn service_variables(services: &[std::sync::Arc<Service>], namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for service in services {
        let (name, ns) = (service.metadata.name.as_deref().unwrap_or_default(), service.metadata.namespace.as_deref());
        let master = ns == Some("default") && name == "kubernetes";
        if !(master || links && ns == Some(namespace)) {
            continue;
        }
        // A service of this namespace called kubernetes would win over the API server's.
        if master && all.contains_key("KUBERNETES_SERVICE_HOST") {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first().filter(|_| !ip.is_empty() && ip != "None") else { continue };
        let prefix = name.to_uppercase().replace('-', "_");
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        all.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
        all.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        let protocol = first.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        all.insert(format!("{prefix}_PORT"), format!("{protocol}://{host}:{}", first.port));
        for port in ports {
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                let port_name = port_name.to_uppercase().replace('-', "_");
                all.insert(format!("{prefix}_SERVICE_PORT_{port_name}"), port.port.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let stem = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
            all.insert(stem.clone(), format!("{}://{host}:{}", protocol.to_lowercase(), port.port));
            all.insert(format!("{stem}_PROTO"), protocol.to_lowercase());
            all.insert(format!("{stem}_PORT"), port.port.to_string());
            all.insert(format!("{stem}_ADDR"), ip.to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let value = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, want) in [
            ("$(A)", "1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("a$", "a$"),
            ("$(A", "$(A"),
            ("x$(A)y$(A)", "x1y1"),
            ("$A", "$A"),
        ] {
            assert_eq!(expand(text, value), want, "{text}");
        }
    }

    #[test]
    fn resources_round_up() {
        let node = NodeHas { amounts: Amounts { cpu_milli: 1500, memory_bytes: 1000 }, disk_bytes: 7 };
        let one = Quantity("1".into());
        let container = Container::default();
        assert_eq!(resource_field(&container, "limits.cpu", Some(&one), node), Ok("2".into()));
        assert_eq!(resource_field(&container, "limits.memory", None, node), Ok("1000".into()));
        assert_eq!(resource_field(&container, "requests.cpu", Some(&one), node), Ok("0".into()));
        assert_eq!(resource_field(&container, "limits.ephemeral-storage", None, node), Ok("7".into()));
        assert!(resource_field(&container, "cpu", None, node).is_err());
    }

    #[test]
    fn fields() {
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "labels": {"a": "b", "c": "d"}}}))
                .expect("a pod");
        assert_eq!(field(&pod, "metadata.labels", None), Ok("a=\"b\"\nc=\"d\"".into()));
        assert_eq!(field(&pod, "metadata.labels['c']", None), Ok("d".into()));
        assert!(field(&pod, "spec.nope", None).is_err());
    }
}
