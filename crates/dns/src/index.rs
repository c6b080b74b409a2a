//! What the answers are made of: services, their endpoints, and whose each address is.
//!
//! Only what DNS needs is kept of an object. The reverse map is kept with the entries: an address that
//! no entry has any more is nobody's.
use foldhash::{HashMap, HashMapExt, HashSet};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use std::net::IpAddr;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// The label that says which service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Lower case; empty for the only port of a service.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Virtual addresses, and the service's own ports.
    ClusterIp {
        addresses: Vec<IpAddr>,
        ports: Vec<Port>,
    },
    /// Names lead to the endpoints.
    Headless,
    ExternalName(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub address: IpAddr,
    /// The pod's `hostname`, or its address with dashes.
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<Port>,
}

/// Everything that can be asked for.
#[derive(Default)]
pub(crate) struct Index {
    pub services: HashMap<Key, Kind>,
    /// Slices by their own key, of each service.
    slices: HashMap<Key, HashMap<Key, Slice>>,
    service_of_slice: HashMap<Key, Key>,
    pub namespaces: HashSet<String>,
    /// Services by address; of headless services the endpoints.
    reverse: HashMap<IpAddr, Vec<Owner>>,
}

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub service: Key,
    /// The endpoint's name; none for a virtual address.
    pub endpoint: Option<String>,
}

fn port(name: Option<&str>, protocol: Option<&str>, number: i32) -> Option<Port> {
    Some(Port {
        name: name.unwrap_or_default().to_ascii_lowercase(),
        protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
        port: u16::try_from(number).ok()?,
    })
}

fn kind_of(service: &Service) -> Option<Kind> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return Some(Kind::ExternalName(spec.external_name.clone()?));
    }
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    if first == "None" {
        return Some(Kind::Headless);
    }
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let texts: Vec<&str> = if all.is_empty() { vec![first] } else { all.iter().map(String::as_str).collect() };
    let addresses: Vec<IpAddr> = texts.into_iter().filter_map(|text| text.parse().ok()).collect();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let ports = ports.iter().filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port)).collect();
    // Not allocated yet: no address to give.
    (!addresses.is_empty()).then_some(Kind::ClusterIp { addresses, ports })
}

/// An address as a label: `10-244-0-7`, `fd00--7`.
pub(crate) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn slice_of(slice: &EndpointSlice) -> Slice {
    let mut endpoints = Vec::new();
    for endpoint in slice.endpoints.iter().flatten() {
        // Unset means ready; `publishNotReadyAddresses` is already in the condition.
        if endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(false) {
            continue;
        }
        for address in endpoint.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()) {
            let name = endpoint.hostname.clone().unwrap_or_else(|| dashed(address));
            endpoints.push(Endpoint { address, name: name.to_ascii_lowercase() });
        }
    }
    let ports = slice.ports.as_deref().unwrap_or_default();
    let ports = ports.iter().filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port?)).collect();
    Slice { endpoints, ports }
}

fn key(namespace: Option<&String>, name: Option<&String>) -> Key {
    (namespace.cloned().unwrap_or_default(), name.cloned().unwrap_or_default())
}

impl Index {
    pub fn apply_service(&mut self, service: &Service) {
        let key = key(service.metadata.namespace.as_ref(), service.metadata.name.as_ref());
        self.change(&key, |index| match kind_of(service) {
            Some(kind) => drop(index.services.insert(key.clone(), kind)),
            None => drop(index.services.remove(&key)),
        });
    }

    pub fn delete_service(&mut self, service: &Service) {
        let key = key(service.metadata.namespace.as_ref(), service.metadata.name.as_ref());
        self.change(&key, |index| drop(index.services.remove(&key)));
    }

    pub fn apply_slice(&mut self, slice: &EndpointSlice) {
        self.delete_slice(slice);
        let own = key(slice.metadata.namespace.as_ref(), slice.metadata.name.as_ref());
        let Some(name) = slice.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME)) else { return };
        let service = (own.0.clone(), name.clone());
        self.service_of_slice.insert(own.clone(), service.clone());
        self.change(&service, |index| {
            index.slices.entry(service.clone()).or_default().insert(own, slice_of(slice));
        });
    }

    pub fn delete_slice(&mut self, slice: &EndpointSlice) {
        let own = key(slice.metadata.namespace.as_ref(), slice.metadata.name.as_ref());
        let Some(service) = self.service_of_slice.remove(&own) else { return };
        self.change(&service, |index| {
            if let Some(slices) = index.slices.get_mut(&service) {
                slices.remove(&own);
                if slices.is_empty() {
                    index.slices.remove(&service);
                }
            }
        });
    }

    /// Forget all services, for a new list of them.
    pub fn clear_services(&mut self) {
        self.services = HashMap::new();
        self.reverse = HashMap::new();
    }

    /// Forget all slices, for a new list of them.
    pub fn clear_slices(&mut self) {
        self.slices = HashMap::new();
        self.service_of_slice = HashMap::new();
        self.reverse.retain(|_, owners| {
            owners.retain(|owner| owner.endpoint.is_none());
            !owners.is_empty()
        });
    }

    pub fn slices(&self, service: &Key) -> impl Iterator<Item = &Slice> {
        self.slices.get(service).into_iter().flat_map(|slices| slices.values())
    }

    pub fn owners(&self, address: IpAddr) -> &[Owner] {
        self.reverse.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Carry out a change of one service and keep the reverse map in step.
    fn change(&mut self, service: &Key, change: impl FnOnce(&mut Self)) {
        for (address, owner) in self.owned(service) {
            if let Some(owners) = self.reverse.get_mut(&address) {
                owners.retain(|o| *o != owner);
                if owners.is_empty() {
                    self.reverse.remove(&address);
                }
            }
        }
        change(self);
        for (address, owner) in self.owned(service) {
            let owners = self.reverse.entry(address).or_default();
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
    }

    fn owned(&self, service: &Key) -> Vec<(IpAddr, Owner)> {
        let owner = |endpoint| Owner { service: service.clone(), endpoint };
        match self.services.get(service) {
            Some(Kind::ClusterIp { addresses, .. }) => addresses.iter().map(|&a| (a, owner(None))).collect(),
            Some(Kind::Headless) => {
                let endpoints = self.slices(service).flat_map(|slice| &slice.endpoints);
                endpoints.map(|e| (e.address, owner(Some(e.name.clone())))).collect()
            }
            _ => Vec::new(),
        }
    }
}
