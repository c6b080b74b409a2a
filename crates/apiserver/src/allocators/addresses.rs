//! Cluster IPs as `IPAddress` objects: the name is the address, so creating one is taking it.
use super::AddressRange;
use crate::{
    handlers::create::whole_second,
    registry::Registry,
    store::{Put, ResourceStore},
};
use apimachinery::ApiError;
use k8s_openapi::{
    api::networking::v1::{IPAddress, IPAddressSpec, ParentReference, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use std::{collections::HashSet, net::IpAddr, sync::Arc};
use storage::Expect;

pub const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
pub const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
pub const MANAGER: &str = "ipallocator.k8s.io";

/// A service by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub namespace: String,
    pub name: String,
}

pub struct Addresses {
    pub store: Arc<ResourceStore>,
    cidrs: Arc<ResourceStore>,
    /// Of the flags: what families there are, and the ranges until a `ServiceCIDR` exists.
    pub configured: Vec<AddressRange>,
}

/// `IPv4` or `IPv6`.
pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

/// Whether that service has this address, according to the object.
pub fn belongs_to(address: &IPAddress, owner: &Owner) -> bool {
    let parent = &address.spec.parent_ref;
    parent.group.as_deref().unwrap_or_default().is_empty()
        && parent.resource == "services"
        && parent.namespace.as_deref() == Some(&owner.namespace)
        && parent.name == owner.name
}

fn object(owner: &Owner, address: IpAddr) -> IPAddress {
    let labels = [(FAMILY_LABEL, family(address)), (MANAGED_BY_LABEL, MANAGER)];
    IPAddress {
        metadata: ObjectMeta {
            name: Some(address.to_string()),
            uid: Some(uuid::Uuid::new_v4().to_string()),
            creation_timestamp: Some(Time(whole_second())),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: Some(String::new()),
                resource: "services".to_owned(),
                namespace: Some(owner.namespace.clone()),
                name: owner.name.clone(),
            },
        },
    }
}

impl Addresses {
    pub fn new(registry: &Registry, configured: Vec<AddressRange>) -> Result<Self, crate::Error> {
        let store = |prefix: &str| {
            let missing = || crate::Error::Store(format!("{prefix} are not served"));
            registry.store(prefix).cloned().ok_or_else(missing)
        };
        Ok(Addresses { store: store("ipaddresses")?, cidrs: store("servicecidrs")?, configured })
    }

    /// Where addresses may come from now: every ready `ServiceCIDR` that is not being deleted.
    pub fn ranges(&self) -> Vec<AddressRange> {
        let snapshot = self.cidrs.cache.snapshot();
        let mut entries = snapshot.iter(self.cidrs.prefix()).peekable();
        if entries.peek().is_none() {
            return self.configured.clone();
        }
        let all = entries.filter_map(|entry| serde_json::from_slice::<ServiceCIDR>(&entry.json).ok());
        let mut ranges: Vec<AddressRange> = Vec::new();
        for cidr in all.filter(|c| c.metadata.deletion_timestamp.is_none() && is_ready(c)) {
            let texts = cidr.spec.and_then(|s| s.cidrs).unwrap_or_default();
            for range in texts.iter().filter_map(|t| AddressRange::parse(t).ok()) {
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        ranges
    }

    /// Whether nobody seems to have it.
    pub fn seems_free(&self, address: IpAddr) -> bool {
        self.store.cache.get(&self.key(address)).is_none()
    }

    fn key(&self, address: IpAddr) -> String {
        self.store.key("", &address.to_string())
    }

    /// `false`: somebody has it.
    ///
    /// # Errors
    /// The store's.
    pub async fn take(&self, owner: &Owner, address: IpAddr) -> Result<bool, ApiError> {
        match self.store.put(&self.key(address), Expect::Absent, &mut object(owner, address)).await? {
            Put::Done(_) => Ok(true),
            Put::Conflict(_) => Ok(false),
        }
    }

    /// An address nobody had; `None` when all are taken.
    ///
    /// # Errors
    /// The store's.
    pub async fn take_any(&self, owner: &Owner, v6: bool, dry_run: bool) -> Result<Option<IpAddr>, ApiError> {
        for range in self.ranges().iter().filter(|r| r.is_v6() == v6) {
            // Taken by another server a moment ago, and not in this cache yet.
            let mut lost: HashSet<IpAddr> = HashSet::new();
            while let Some(address) = range.choose(rand::random(), |a| lost.contains(&a) || !self.seems_free(a)) {
                if dry_run || self.take(owner, address).await? {
                    return Ok(Some(address));
                }
                lost.insert(address);
            }
        }
        Ok(None)
    }

    /// Gives an address back, if it is this service's.
    ///
    /// # Errors
    /// The store's.
    pub async fn release(&self, owner: &Owner, address: IpAddr) -> Result<(), ApiError> {
        let Some(entry) = self.store.read("", &address.to_string()).await? else { return Ok(()) };
        let stored: IPAddress = serde_json::from_slice(&entry.json).map_err(ApiError::internal)?;
        if belongs_to(&stored, owner) && stored.metadata.finalizers.as_ref().is_none_or(Vec::is_empty) {
            // A lost race: somebody else changed or removed it, and knows better.
            let _ = self.store.remove(&entry).await?;
        }
        Ok(())
    }
}

/// Ready unless it says otherwise: nobody may be there to say so.
fn is_ready(cidr: &ServiceCIDR) -> bool {
    let conditions = cidr.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|c| c.type_ == "Ready").is_none_or(|c| c.status == "True")
}
