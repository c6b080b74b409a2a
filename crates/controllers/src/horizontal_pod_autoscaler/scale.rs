//! The size of a target: its scale subresource, whatever its kind.
use crate::{
    discovery::{self, Kind},
    runtime::{Failure, Target},
};
use client::Key;
use http::Request;
use k8s_openapi::api::autoscaling::{v1::Scale as ApiScale, v2::CrossVersionObjectReference};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long the list of kinds is believed when it has what is asked for.
const KINDS_FOR: Duration = Duration::from_secs(30);

/// A target's size as the server gave it.
#[derive(Clone)]
pub struct Scale {
    pub target: Target,
    pub object: ApiScale,
}

impl Scale {
    /// Replicas that are to be there.
    pub fn wanted(&self) -> i32 {
        self.object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default()
    }

    /// Replicas that are there.
    pub fn running(&self) -> i32 {
        self.object.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// The selector of its pods as text; empty if the target has none.
    pub fn selector(&self) -> &str {
        self.object.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default()
    }
}

/// Finds targets by kind.
pub struct Scales {
    client: kube::Client,
    kinds: Mutex<Option<(Instant, Arc<Vec<Kind>>)>>,
}

impl Scales {
    pub fn new(client: kube::Client) -> Self {
        Self { client, kinds: Mutex::new(None) }
    }

    async fn kinds(&self) -> Result<Arc<Vec<Kind>>, Failure> {
        let mut known = self.kinds.lock().await;
        if let Some((at, kinds)) = &*known
            && at.elapsed() < KINDS_FOR
        {
            return Ok(kinds.clone());
        }
        let kinds = Arc::new(discovery::kinds(&self.client).await?);
        *known = Some((Instant::now(), kinds.clone()));
        Ok(kinds)
    }

    /// The kind of that name in a group.
    ///
    /// # Errors
    /// It is not served, or the server cannot be asked: the message.
    pub async fn kind(&self, group: &str, kind: &str) -> Result<Kind, String> {
        let kinds = self.kinds().await.map_err(|failure| failure.to_string())?;
        let found = kinds.iter().find(|k| k.resource.group == group && k.resource.kind == kind);
        found.cloned().ok_or_else(|| format!("no matches for kind {kind:?} in group {group:?}"))
    }

    /// The size of what `reference` names in `namespace`.
    ///
    /// # Errors
    /// Why it is not known, for an event and a condition.
    pub async fn of(&self, namespace: &str, reference: &CrossVersionObjectReference) -> Result<Scale, String> {
        let group = group_of(reference.api_version.as_deref().unwrap_or_default())?;
        let kind = self.kind(group, &reference.kind).await?;
        let path = format!("{}/{}/scale", kind.path(Some(namespace)), reference.name);
        let request = Request::get(&path).body(Vec::new()).map_err(|error| format!("{path}: {error}"))?;
        let object = self.client.request(request).await.map_err(|error| Failure::from(error).to_string())?;
        let key = Key::new(namespace, &reference.name);
        Ok(Scale { target: Target { collection: kind.path(None), kind: kind.resource.kind, key }, object })
    }
}

/// The group of an `apiVersion`.
fn group_of(api_version: &str) -> Result<&str, String> {
    match api_version.split('/').collect::<Vec<_>>()[..] {
        [_] => Ok(""),
        [group, _] => Ok(group),
        _ => Err(format!("unexpected GroupVersion string: {api_version}")),
    }
}
