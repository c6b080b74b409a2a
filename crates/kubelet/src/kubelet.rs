//! What all parts of one kubelet share.
use std::sync::Arc;

use client::Cache;
use client::events::{EventType, Recorder, reference};
use cri::Runtime;
use k8s_openapi::api::core::v1::{Node, Pod, Service};

use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::counts::Counts;
use crate::disk_usage::DiskUsage;
use crate::eviction::Pressure;
use crate::images::Images;
use crate::objects::Objects;
use crate::pods::Pods;
use crate::probes::results::Results;
use crate::resources::Amounts;
use crate::spec::{self, Kind};

/// One kubelet.
pub struct Kubelet {
    pub config: Arc<Config>,
    pub runtime: Arc<dyn Runtime>,
    /// Absent when the kubelet runs static pods only.
    pub client: Option<kube::Client>,
    pub recorder: Option<Recorder>,
    pub objects: Objects,
    pub images: Images,
    pub cgroups: Cgroups,
    pub results: Results,
    pub services: Option<Cache<Service>>,
    pub node: Option<Cache<Node>>,
    pub host_ips: Vec<String>,
    /// What the machine has.
    pub capacity: Amounts,
    /// What of it is for pods.
    pub allocatable: Amounts,
    /// What of the disk is for pods.
    pub allocatable_disk_bytes: i64,
    /// The lowest OOM score containers may be given.
    pub oom_floor: i64,
    pub pods: Pods,
    /// What the node is short of.
    pub pressure: Arc<Pressure>,
    pub images_seen: crate::image_gc::Seen,
    pub disk_usage: DiskUsage,
    pub counts: Arc<Counts>,
}

impl Kubelet {
    /// Records an event about a pod.
    pub fn pod_event(&self, pod: &Pod, warning: bool, reason: &str, message: &str) {
        self.event(pod, None, warning, reason, message);
    }

    /// Records an event about one container of a pod.
    pub fn container_event(&self, pod: &Pod, kind: Kind, name: &str, warning: bool, reason: &str, message: &str) {
        self.event(pod, Some(format!("spec.{}{{{name}}}", kind.field())), warning, reason, message);
    }

    /// Records an event about the node.
    pub fn node_event(&self, warning: bool, reason: &str, message: &str) {
        let Some(recorder) = &self.recorder else { return };
        let kind = if warning { EventType::Warning } else { EventType::Normal };
        recorder.event(&crate::node::object::event_reference(&self.config.node_name), kind, reason, message);
    }

    fn event(&self, pod: &Pod, field: Option<String>, warning: bool, reason: &str, message: &str) {
        let Some(recorder) = &self.recorder else { return };
        let mut object = reference(pod);
        object.field_path = field;
        if spec::is_static(pod) {
            // Seen with the mirror, which is what the API knows.
            object.uid = self.pods.mirror(pod).and_then(|mirror| mirror.metadata.uid.clone()).or(object.uid);
        }
        let kind = if warning { EventType::Warning } else { EventType::Normal };
        recorder.event(&object, kind, reason, message);
    }
}
