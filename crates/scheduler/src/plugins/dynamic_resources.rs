//! Resource claims. Allocation of devices is not implemented: a pod that has claims is held back and told so.
//!
//! For all other pods the plugin speaks only when they fit nowhere, with the words upstream's plugin has there.
use super::Args;
use crate::{
    config::Error,
    cycle::Attempt,
    framework::{Context, Event, Plugin, Point, PostFilter, PreFilter, Rejection},
    pod::PodInfo,
};
use std::sync::Arc;

pub const NAME: &str = "DynamicResources";

struct DynamicResources;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(DynamicResources))
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::PostFilter]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        if context.pod.template.spec.resource_claims.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Reject(Rejection::unresolvable("pod has resource claims, which this scheduler does not support yet"))
    }

    fn post_filter(&self, attempt: &Attempt<'_>) -> PostFilter {
        match attempt.filters {
            // Upstream looks for what its own PreFilter left, which never ran: the text is that lookup's.
            None => PostFilter::Error("not found".into()),
            Some(_) => PostFilter::Unschedulable("no new claims to deallocate".into()),
        }
    }

    fn queueing_hint(&self, _: &PodInfo, _: &Event<'_>) -> bool {
        false
    }
}
