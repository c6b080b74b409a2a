//! Fitting endpoints into slices with few writes: endpoints stay where they are, gaps are filled
//! before slices are made, slices left empty are reused or deleted.
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::sync::Arc;

/// What becomes of the slices of one address family and one set of ports.
#[derive(Default)]
pub struct Packed {
    /// Slices with new content.
    pub changed: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)>,
    /// Contents of slices to be made.
    pub made: Vec<Vec<Endpoint>>,
    /// Slices that hold nothing any more.
    pub empty: Vec<Arc<EndpointSlice>>,
    /// Slices that are right as they are.
    pub kept: Vec<Arc<EndpointSlice>>,
}

/// What a slice holds.
pub fn endpoints_of(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

/// Whether two endpoints are the same pod at the same address.
fn same(a: &Endpoint, b: &Endpoint) -> bool {
    let uid = |endpoint: &Endpoint| endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    a.addresses == b.addresses && uid(a) == uid(b)
}

/// Fit `wanted` into `slices`; `stale` says that a slice must be written anyway.
pub fn pack(
    slices: &[Arc<EndpointSlice>],
    mut wanted: Vec<Endpoint>,
    max: usize,
    stale: impl Fn(&EndpointSlice) -> bool,
) -> Packed {
    let mut packed = Packed::default();
    for slice in slices {
        let mut content = Vec::with_capacity(endpoints_of(slice).len());
        for known in endpoints_of(slice) {
            if content.len() < max
                && let Some(at) = wanted.iter().position(|endpoint| same(endpoint, known))
            {
                content.push(wanted.remove(at));
            }
        }
        if content.is_empty() {
            packed.empty.push(slice.clone());
        } else if content != endpoints_of(slice) || stale(slice) {
            packed.changed.push((slice.clone(), content));
        } else {
            packed.kept.push(slice.clone());
        }
    }
    // The fullest first, so that few slices are written and they get full.
    packed.changed.sort_by_key(|(_, content)| std::cmp::Reverse(content.len()));
    for (_, content) in &mut packed.changed {
        let room = max.saturating_sub(content.len()).min(wanted.len());
        content.extend(wanted.drain(..room));
    }
    if !wanted.is_empty() && wanted.len() < max {
        // All that is left fits into one slice that would not have to be written otherwise.
        let fits = |slice: &&Arc<EndpointSlice>| endpoints_of(slice).len() + wanted.len() <= max;
        let fullest = packed.kept.iter().filter(fits).max_by_key(|slice| endpoints_of(slice).len()).cloned();
        if let Some(slice) = fullest {
            packed.kept.retain(|kept| !Arc::ptr_eq(kept, &slice));
            let content = endpoints_of(&slice).iter().cloned().chain(wanted.drain(..)).collect();
            packed.changed.push((slice, content));
        }
    }
    while !wanted.is_empty() {
        let content: Vec<_> = wanted.drain(..max.min(wanted.len())).collect();
        match packed.empty.pop() {
            Some(slice) => packed.changed.push((slice, content)),
            None => packed.made.push(content),
        }
    }
    packed
}
