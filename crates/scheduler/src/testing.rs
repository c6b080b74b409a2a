//! Pods and nodes for tests and benchmarks, built the way the API server would deliver them.
#![allow(clippy::expect_used)]
use crate::{
    objects::{Container, Image, Node, Pod, Port},
    pod::{Interner, PodInfo},
};
use std::sync::Arc;

/// Builds a pod in namespace `default` with one container.
pub struct PodBuilder(Pod);

/// Builds a node.
pub struct NodeBuilder(Node);

/// A pod of this name; its UID is the name too.
pub fn pod(name: &str) -> PodBuilder {
    let mut pod = Pod::default();
    pod.metadata.name = name.to_owned();
    pod.metadata.uid = name.to_owned();
    pod.metadata.namespace = "default".to_owned();
    pod.spec.containers.push(Container::default());
    PodBuilder(pod)
}

/// A node of this name, with its hostname label.
pub fn node(name: &str) -> NodeBuilder {
    let mut node = Node::default();
    node.metadata.name = name.to_owned();
    NodeBuilder(node).label("kubernetes.io/hostname", name)
}

impl PodBuilder {
    fn request(mut self, resource: &str, amount: &str) -> Self {
        self.0.spec.containers[0].resources.requests.insert(resource.to_owned(), amount.to_owned());
        self
    }

    pub fn cpu(self, amount: &str) -> Self {
        self.request("cpu", amount)
    }

    pub fn memory(self, amount: &str) -> Self {
        self.request("memory", amount)
    }

    pub fn resource(self, name: &str, amount: &str) -> Self {
        self.request(name, amount)
    }

    pub fn on(mut self, node: &str) -> Self {
        self.0.spec.node_name = node.to_owned();
        self
    }

    pub fn namespace(mut self, namespace: &str) -> Self {
        self.0.metadata.namespace = namespace.to_owned();
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn priority(mut self, priority: i32) -> Self {
        self.0.spec.priority = priority;
        self
    }

    pub fn image(mut self, image: &str) -> Self {
        self.0.spec.containers[0].image = image.to_owned();
        self
    }

    pub fn host_port(mut self, port: i32) -> Self {
        self.0.spec.containers[0].ports.push(Port { host_port: port, host_ip: String::new(), protocol: "TCP".into() });
        self
    }

    pub fn selector(mut self, key: &str, value: &str) -> Self {
        self.0.spec.node_selector.insert(key.to_owned(), value.to_owned());
        self
    }

    /// `spec` fields as YAML, put over what was built so far: `affinity`, `tolerations`, …
    pub fn spec(mut self, yaml: &str) -> Self {
        let over: crate::objects::PodSpec = serde_saphyr::from_str(yaml).expect("the test's YAML is a pod spec");
        if over.affinity.is_some() {
            self.0.spec.affinity = over.affinity;
        }
        if over.preemption_policy.is_some() {
            self.0.spec.preemption_policy = over.preemption_policy;
        }
        self.0.spec.tolerations.extend(over.tolerations);
        self.0.spec.topology_spread_constraints.extend(over.topology_spread_constraints);
        self.0.spec.volumes.extend(over.volumes);
        self.0.spec.scheduling_gates.extend(over.scheduling_gates);
        self.0.spec.resource_claims.extend(over.resource_claims);
        self
    }

    pub fn nominated(mut self, node: &str) -> Self {
        self.0.status.nominated_node_name = node.to_owned();
        self
    }

    pub fn started(mut self, time: &str) -> Self {
        self.0.status.start_time = time.to_owned();
        self
    }

    pub fn build(self) -> Pod {
        self.0
    }

    pub fn info(self) -> Arc<PodInfo> {
        Arc::new(Interner::default().pod(self.0, None))
    }
}

impl NodeBuilder {
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn allocatable(mut self, cpu: &str, memory: &str, pods: u32) -> Self {
        for (name, amount) in [("cpu", cpu), ("memory", memory), ("pods", &pods.to_string())] {
            self.0.status.allocatable.insert(name.to_owned(), amount.to_owned());
        }
        self
    }

    pub fn resource(mut self, name: &str, amount: &str) -> Self {
        self.0.status.allocatable.insert(name.to_owned(), amount.to_owned());
        self
    }

    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        self.0.spec.taints.push(k8s_openapi::api::core::v1::Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: effect.to_owned(),
            time_added: None,
        });
        self
    }

    pub fn unschedulable(mut self) -> Self {
        self.0.spec.unschedulable = true;
        self
    }

    pub fn image(mut self, name: &str, bytes: i64) -> Self {
        self.0.status.images.push(Image { names: vec![name.to_owned()], size_bytes: bytes });
        self
    }

    pub fn build(self) -> Node {
        self.0
    }
}
