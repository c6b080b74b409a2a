//! The node's conditions, worded as upstream's. Pure.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, NodeCondition, NodeFeatures, NodeRuntimeHandler};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How the node is right now.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Why it is not ready.
    pub problem: Option<String>,
    pub memory_pressure: bool,
    pub disk_pressure: bool,
    pub pid_pressure: bool,
    pub images: Vec<ContainerImage>,
    /// What the runtime says it can do; absent from runtimes that say nothing.
    pub features: Option<NodeFeatures>,
    pub handlers: Vec<NodeRuntimeHandler>,
}

/// All conditions; the time of transition stays while the status does.
pub fn all(health: &Health, old: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let pressure = |type_: &str, on: bool, yes: [&str; 2], no: [&str; 2]| {
        let [reason, message] = if on { yes } else { no };
        (type_.to_owned(), on, reason.to_owned(), message.to_owned())
    };
    let ready = match &health.problem {
        None => ("Ready".to_owned(), true, "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned()),
        Some(problem) => ("Ready".to_owned(), false, "KubeletNotReady".to_owned(), problem.clone()),
    };
    let wanted = [
        pressure(
            "MemoryPressure",
            health.memory_pressure,
            ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
            ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
        ),
        pressure(
            "DiskPressure",
            health.disk_pressure,
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
        ),
        pressure(
            "PIDPressure",
            health.pid_pressure,
            ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
            ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
        ),
        ready,
    ];
    let time = Some(Time(crate::status::whole_seconds(now)));
    let mut out: Vec<NodeCondition> = old.iter().filter(|c| !wanted.iter().any(|w| w.0 == c.type_)).cloned().collect();
    for (type_, on, reason, message) in wanted {
        let status = if on { "True" } else { "False" };
        let before = old.iter().find(|c| c.type_ == type_ && c.status == status);
        out.push(NodeCondition {
            last_heartbeat_time: time.clone(),
            last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or_else(|| time.clone()),
            message: Some(message),
            reason: Some(reason),
            status: status.to_owned(),
            type_,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_is_timed_once() {
        let at = |s| Timestamp::from_second(s).expect("in range");
        let first = all(&Health { problem: Some("no network".into()), ..Health::default() }, &[], at(1));
        let second = all(&Health::default(), &first, at(2));
        let third = all(&Health::default(), &second, at(3));
        let ready = |list: &[NodeCondition]| {
            let c = list.iter().find(|c| c.type_ == "Ready").expect("it is there").clone();
            (
                c.status,
                c.reason.unwrap_or_default(),
                c.last_transition_time.map(|t| t.0),
                c.last_heartbeat_time.map(|t| t.0),
            )
        };
        assert_eq!(ready(&first), ("False".into(), "KubeletNotReady".into(), Some(at(1)), Some(at(1))));
        assert_eq!(ready(&second), ("True".into(), "KubeletReady".into(), Some(at(2)), Some(at(2))));
        assert_eq!(ready(&third), ("True".into(), "KubeletReady".into(), Some(at(2)), Some(at(3))));
    }
}
