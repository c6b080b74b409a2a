//! The seam between the kubelet and a container runtime: one method per CRI call, with plain arguments.
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Error, v1};

/// Container events as they happen. Ends, or yields an error, when the runtime goes away.
pub type EventStream = BoxStream<'static, Result<v1::ContainerEventResponse, Error>>;

/// One item whenever some container may have started, ended or gone. Ends as [`EventStream`] does.
pub type HintStream = BoxStream<'static, Result<(), Error>>;

/// A CRI v1 runtime with its image service.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<v1::VersionResponse, Error>;
    /// Whether runtime and network are ready.
    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse, Error>;
    /// The runtime's cgroup driver; containerd before 2.0 does not know the call.
    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, Error>;
    /// Tells the runtime the node's pod range.
    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<(), Error>;

    /// Creates and starts a sandbox; returns its id.
    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String, Error>;
    /// Stops everything in a sandbox and releases its network. Idempotent.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), Error>;
    /// Removes a sandbox and its containers. Idempotent.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), Error>;
    /// A sandbox's addresses and namespaces; with `verbose`, the runtime's own details in `info`.
    async fn pod_sandbox_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse, Error>;
    /// The sandboxes that match.
    async fn list_pod_sandbox(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>, Error>;

    /// Creates a container in a sandbox; returns its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String, Error>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<(), Error>;
    /// Sends the stop signal, and KILL after `timeout_s`.
    async fn stop_container(&self, id: &str, timeout_s: i64) -> Result<(), Error>;
    /// Removes a container. Idempotent.
    async fn remove_container(&self, id: &str) -> Result<(), Error>;
    /// The containers that match.
    async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>, Error>;
    /// One container's state; with `verbose`, the runtime's own details in `info`.
    async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse, Error>;
    /// Changes the cgroup limits of a running container.
    async fn update_container_resources(&self, id: &str, linux: v1::LinuxContainerResources) -> Result<(), Error>;
    /// Makes the runtime open the log file anew, after it was renamed.
    async fn reopen_container_log(&self, id: &str) -> Result<(), Error>;
    /// Writes a checkpoint of a container to `location`.
    async fn checkpoint_container(&self, id: &str, location: &str, timeout_s: i64) -> Result<(), Error>;

    /// Runs a command and collects its output; `timeout` zero means the runtime's own limit.
    async fn exec_sync(&self, id: &str, cmd: &[String], timeout: Duration) -> Result<v1::ExecSyncResponse, Error>;
    /// The URL of a stream on which to run a command.
    async fn exec(&self, request: v1::ExecRequest) -> Result<String, Error>;
    /// The URL of a stream to a running container's main process.
    async fn attach(&self, request: v1::AttachRequest) -> Result<String, Error>;
    /// The URL of a stream to ports of a sandbox.
    async fn port_forward(&self, sandbox_id: &str, ports: &[i32]) -> Result<String, Error>;

    /// Usage of the containers that match.
    async fn list_container_stats(&self, filter: v1::ContainerStatsFilter) -> Result<Vec<v1::ContainerStats>, Error>;
    /// Usage of the sandboxes that match.
    async fn list_pod_sandbox_stats(
        &self,
        filter: v1::PodSandboxStatsFilter,
    ) -> Result<Vec<v1::PodSandboxStats>, Error>;
    /// Events from now on; containerd before 1.7 does not know the call.
    async fn container_events(&self) -> Result<EventStream, Error>;
    /// Word, from now on, that something happened: containerd's own events, which are not part of CRI and which every
    /// version of it has. They may come before the change shows in CRI's answers. Other runtimes do not know the call.
    async fn container_hints(&self) -> Result<HintStream, Error>;

    /// All images.
    async fn list_images(&self) -> Result<Vec<v1::Image>, Error>;
    /// One image, if present.
    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>, Error>;
    /// Pulls an image; returns its reference.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String, Error>;
    /// Removes an image. Idempotent.
    async fn remove_image(&self, image: &str) -> Result<(), Error>;
    /// Where images lie and how much they take.
    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, Error>;
}
