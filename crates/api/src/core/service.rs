//! Services. Addresses and ports are allocated by the API server, after defaulting and before validation.
use crate::{
    cells,
    core::{pod::defaults, service_validation},
    kind::Kind,
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::ErrorList,
    table::{Cell, Column, Row},
};
use k8s_openapi::{
    api::core::v1::{Service, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// Longer lists of external addresses are cut in the table.
const ADDRESS_WIDTH: usize = 16;
const CLIENT_IP_TIMEOUT_SECONDS: i32 = 10_800;

pub fn service_type(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().filter(|t| !t.is_empty()).unwrap_or("ClusterIP")
}

/// Traffic from outside the cluster reaches it.
fn is_external(spec: &ServiceSpec) -> bool {
    matches!(service_type(spec), "NodePort" | "LoadBalancer")
        || (service_type(spec) == "ClusterIP" && spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()))
}

fn load_balancer_addresses(service: &Service) -> String {
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let mut addresses: Vec<&str> = Vec::new();
    for ingress in status.iter().flat_map(|s| s.ingress.iter().flatten()) {
        let address = ingress.ip.as_deref().filter(|ip| !ip.is_empty()).or(ingress.hostname.as_deref());
        addresses.extend(address.filter(|a| !addresses.contains(a)));
    }
    addresses.sort_unstable();
    let joined = addresses.join(",");
    if joined.len() > ADDRESS_WIDTH {
        let cut: String = joined.chars().take(ADDRESS_WIDTH - 3).collect();
        return format!("{cut}...");
    }
    joined
}

fn external_address(service: &Service, spec: &ServiceSpec) -> String {
    let external = spec.external_ips.as_deref().unwrap_or_default().join(",");
    match service_type(spec) {
        "LoadBalancer" => {
            let balanced = load_balancer_addresses(service);
            match (balanced.is_empty(), external.is_empty()) {
                (true, true) => "<pending>".into(),
                (true, false) => external,
                (false, true) => balanced,
                (false, false) => format!("{balanced},{external}"),
            }
        }
        "ExternalName" => spec.external_name.clone().unwrap_or_default(),
        _ if external.is_empty() => cells::NONE.into(),
        _ => external,
    }
}

fn ports(spec: &ServiceSpec) -> String {
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() {
        return cells::NONE.into();
    }
    let shown: Vec<String> = ports
        .iter()
        .map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            match port.node_port.unwrap_or_default() {
                0 => format!("{}/{protocol}", port.port),
                node_port => format!("{}:{node_port}/{protocol}", port.port),
            }
        })
        .collect();
    shown.join(",")
}

impl Kind for Service {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Type",
            "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types",
        ),
        cells::text(
            "Cluster-IP",
            "clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified manually, is in-range (as per system configuration), and is not in use, it will be allocated to the service; otherwise creation of the service will fail. This field may not be changed through updates unless the type field is also being changed to ExternalName (which requires this field to be blank) or the type field is being changed from ExternalName (in which case this field may optionally be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when direct endpoint connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will fail. This field will be wiped when updating a Service to type ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
        ),
        cells::text(
            "External-IP",
            "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic arrives at a node with this IP.  A common example is external load-balancers that are not part of the Kubernetes system.",
        ),
        cells::text(
            "Port(s)",
            "The list of ports that are exposed by this service. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
        ),
        cells::AGE,
        cells::wide(
            "Selector",
            "Route service traffic to pods with label keys and values matching this selector. If empty or not present, the service is assumed to have an external process managing its endpoints, which Kubernetes will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/",
        ),
    ];
    const NAME: meta::NameRule = meta::LABEL_1035;

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn keep_status(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn clear_status(&mut self) {
        self.status = Some(empty_status());
    }

    fn info() -> Info {
        Info::new("", "v1", "Service", "services")
            .short(&["svc"])
            .category("all")
            .stored_at("services/specs")
            .sub("proxy", ("", "v1", "ServiceProxyOptions"), &["create", "delete", "get", "patch", "update"])
            .status()
            .selectable(&["spec.clusterIP", "spec.type"])
            .created_on_update()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::text(&mut spec.session_affinity, "None");
        match spec.session_affinity.as_deref() {
            Some("None") => spec.session_affinity_config = None,
            Some("ClientIP") => {
                let config = spec.session_affinity_config.get_or_insert_default();
                config.client_ip.get_or_insert_default().timeout_seconds.get_or_insert(CLIENT_IP_TIMEOUT_SECONDS);
            }
            _ => {}
        }
        defaults::text(&mut spec.type_, "ClusterIP");
        for port in spec.ports.iter_mut().flatten() {
            defaults::text(&mut port.protocol, "TCP");
            let unset = match &port.target_port {
                None | Some(IntOrString::Int(0)) => true,
                Some(IntOrString::String(text)) => text.is_empty(),
                Some(IntOrString::Int(_)) => false,
            };
            if unset {
                port.target_port = Some(IntOrString::Int(port.port));
            }
        }
        if is_external(spec) {
            defaults::text(&mut spec.external_traffic_policy, "Cluster");
        }
        if matches!(service_type(spec), "NodePort" | "LoadBalancer" | "ClusterIP") {
            defaults::text(&mut spec.internal_traffic_policy, "Cluster");
        }
        if service_type(spec) == "LoadBalancer" {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
        }
        let status = self.status.get_or_insert_with(empty_status);
        let balancer = status.load_balancer.get_or_insert_default();
        for ingress in balancer.ingress.iter_mut().flatten() {
            if ingress.ip.as_ref().is_some_and(|ip| !ip.is_empty()) {
                defaults::text(&mut ingress.ip_mode, "VIP");
            }
        }
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        if target != Target::Main {
            return;
        }
        let (Some(new), Some(before)) = (&mut self.spec, &old.spec) else { return };
        service_validation::carry_over(new, before);
        service_validation::drop_type_dependent(new, before);
        if service_type(before) == "LoadBalancer" && service_type(new) != "LoadBalancer" {
            self.status.get_or_insert_with(empty_status).load_balancer = Some(Default::default());
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        service_validation::validate(self, errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        match target {
            Target::Main => service_validation::validate_update(self, old, errors),
            Target::Status => service_validation::validate_status(self, errors),
            Target::Other(_) => {}
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        service_validation::warnings(self)
    }

    fn field_values(&self) -> Vec<String> {
        let spec = self.spec.as_ref();
        vec![
            spec.and_then(|s| s.cluster_ip.clone()).unwrap_or_default(),
            spec.and_then(|s| s.type_.clone()).unwrap_or_default(),
        ]
    }

    fn row(&self, now: i64) -> Row {
        let empty = ServiceSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let cluster_ip = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or(cells::NONE);
        vec![
            cells::name(&self.metadata),
            service_type(spec).into(),
            cluster_ip.into(),
            external_address(self, spec).into(),
            ports(spec).into(),
            cells::age(&self.metadata, now),
            Cell::Text(cells::labels(spec.selector.as_ref())),
        ]
    }
}

fn empty_status() -> k8s_openapi::api::core::v1::ServiceStatus {
    k8s_openapi::api::core::v1::ServiceStatus { load_balancer: Some(Default::default()), ..Default::default() }
}
