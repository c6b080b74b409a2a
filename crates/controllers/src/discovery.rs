//! Which kinds the server has: for controllers that act on all of them.
use crate::runtime::Failure;
use kube::{
    Client,
    api::ApiResource,
    discovery::{ApiCapabilities, Discovery, Scope},
};

/// A kind in the group's preferred version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub resource: ApiResource,
    pub namespaced: bool,
    verbs: Vec<String>,
}

impl Kind {
    /// Whether all these verbs are served.
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|known| known == verb))
    }

    /// The path of its objects, in one namespace or in all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.resource.group.is_empty() { "/api" } else { "/apis" };
        let within = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        format!("{root}/{}{within}/{}", self.resource.api_version, self.resource.plural)
    }
}

fn kind((resource, capabilities): (ApiResource, ApiCapabilities)) -> Kind {
    Kind { resource, namespaced: capabilities.scope == Scope::Namespaced, verbs: capabilities.operations }
}

/// All kinds.
///
/// # Errors
/// The server cannot be asked; a single group that fails fails all, so that nothing is overlooked.
pub async fn kinds(client: &Client) -> Result<Vec<Kind>, Failure> {
    // Two requests; a server without aggregated discovery is asked group by group.
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    Ok(discovery.groups().flat_map(|group| group.recommended_resources()).map(kind).collect())
}
