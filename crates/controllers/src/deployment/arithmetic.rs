//! The numbers of a rollout: surge, unavailability, proportions. Counts are pods.
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet},
    apimachinery::pkg::util::intstr::IntOrString,
};

pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// `spec.replicas`; the server defaults it to 1.
pub fn wanted(spec: &DeploymentSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

pub fn is_rolling(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// A number, or a percentage of `total` rounded up or down; nonsense counts as 0.
pub fn scaled(value: Option<&IntOrString>, total: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or(0);
            let product = percent.saturating_mul(total.into());
            let rounded = if up { product.saturating_add(99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// Surge and unavailability; never both zero, or nothing could move.
fn fenceposts(spec: &DeploymentSpec) -> (i32, i32) {
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), wanted(spec), true);
    let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), wanted(spec), false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// How many pods there may be above what is wanted.
pub fn max_surge(spec: &DeploymentSpec) -> i32 {
    if is_rolling(spec) { fenceposts(spec).0 } else { 0 }
}

/// How many of the wanted pods may be unavailable.
pub fn max_unavailable(spec: &DeploymentSpec) -> i32 {
    if !is_rolling(spec) || wanted(spec) == 0 { 0 } else { fenceposts(spec).1.min(wanted(spec)) }
}

/// How many pods a set is to have.
pub fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many pods a set has.
pub fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

/// A number in one of the set's annotations.
pub fn annotated(set: &ReplicaSet, name: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(name)?.parse().ok()
}

/// To how many pods the new set may grow now; `total` is what all sets are to have together.
pub fn new_size(spec: &DeploymentSpec, total: i32, current: i32) -> i32 {
    if !is_rolling(spec) {
        return wanted(spec);
    }
    let room = wanted(spec) + max_surge(spec) - total;
    if room <= 0 { current } else { current + room.min(wanted(spec) - current) }
}

/// The part of `to_add` (negative to remove) that falls to `set`, of which `added` is given out.
pub fn proportion(deployment: &Deployment, spec: &DeploymentSpec, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if size(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let (share, allowed) = (share(deployment, spec, set), to_add - added);
    // Neither more than is left nor, when removing, fewer.
    if to_add > 0 { share.min(allowed) } else { share.max(allowed) }
}

fn share(deployment: &Deployment, spec: &DeploymentSpec, set: &ReplicaSet) -> i32 {
    if wanted(spec) == 0 {
        return -size(set);
    }
    let status = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let before = annotated(set, MAX).filter(|max| *max != 0).unwrap_or(status);
    if before == 0 {
        return 0;
    }
    let after = i64::from(size(set)) * i64::from(wanted(spec) + max_surge(spec));
    let rounded = (after as f64 / f64::from(before)).round();
    rounded as i32 - size(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(replicas: i32, surge: &str, unavailable: &str) -> DeploymentSpec {
        let text = format!(
            "{{replicas: {replicas}, selector: {{}}, strategy: {{type: RollingUpdate, rollingUpdate: \
             {{maxSurge: {surge}, maxUnavailable: {unavailable}}}}}}}"
        );
        crate::fixtures::object(&text)
    }

    #[test]
    fn surge_rounds_up_and_unavailability_down() {
        let limits = |spec: &DeploymentSpec| (max_surge(spec), max_unavailable(spec));
        assert_eq!(limits(&spec(10, "25%", "25%")), (3, 2));
        assert_eq!(limits(&spec(3, "25%", "25%")), (1, 0));
        assert_eq!(limits(&spec(3, "0", "0")), (0, 1));
        assert_eq!(limits(&spec(1, "0", "25%")), (0, 1));
        assert_eq!(limits(&spec(2, "1", "5")), (1, 2));
        assert_eq!(limits(&spec(0, "0", "1")), (0, 0));
    }

    #[test]
    fn the_new_set_grows_into_the_surge() {
        assert_eq!(new_size(&spec(10, "3", "2"), 10, 0), 3);
        assert_eq!(new_size(&spec(10, "3", "2"), 13, 3), 3);
        assert_eq!(new_size(&spec(3, "5", "0"), 3, 0), 3);
    }
}
