//! A CRI client over a unix socket.
//!
//! The connection is made on first use and again after the runtime restarted; a call during the gap fails
//! with `Unavailable` instead of waiting. Message sizes are bounded by [`MAX_MESSAGE_BYTES`].
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use crate::containerd::{Envelope, SubscribeRequest, TaskExit, events_client::EventsClient};
use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;
use crate::{Error, EventStream, HintStream, Runtime, v1};

/// As upstream's kubelet: large nodes list many containers in one message.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Deadline of calls that only look (upstream's `--runtime-request-timeout`).
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Sandboxes run CNI plugins, which may wait for their network.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);
/// Pulls of large images on slow lines; the runtime itself gives up a pull without progress earlier.
const PULL_TIMEOUT: Duration = Duration::from_secs(3600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a container runtime. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    events: EventsClient<Channel>,
}

impl Client {
    /// A client for `unix:///path` or a bare path; nothing is dialled yet.
    ///
    /// # Errors
    /// The endpoint is not a unix socket.
    pub fn new(endpoint: &str) -> Result<Client, Error> {
        Self::with_image_endpoint(endpoint, endpoint)
    }

    /// As [`Client::new`], with the image service at its own endpoint.
    ///
    /// # Errors
    /// An endpoint is not a unix socket.
    pub fn with_image_endpoint(endpoint: &str, image_endpoint: &str) -> Result<Client, Error> {
        let own = channel(&socket_path(endpoint)?);
        let images = if image_endpoint == endpoint { own.clone() } else { channel(&socket_path(image_endpoint)?) };
        let (events, images) = (EventsClient::new(own.clone()), image_service(images));
        Ok(Client { runtime: runtime_service(own), images, events })
    }
}

fn runtime_service(channel: Channel) -> RuntimeServiceClient<Channel> {
    RuntimeServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn image_service(channel: Channel) -> ImageServiceClient<Channel> {
    ImageServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// The path of `unix:///path`, `unix:/path` or `/path`.
fn socket_path(endpoint: &str) -> Result<PathBuf, Error> {
    let path = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    match path.starts_with('/') {
        true => Ok(PathBuf::from(path)),
        false => Err(Error::Endpoint(endpoint.to_owned())),
    }
}

fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    // The URI only becomes the `:authority` header; the connector ignores it.
    Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT).connect_with_connector_lazy(
        tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        }),
    )
}

fn request<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

/// One unary call: `call!(client.method("Method", timeout, message))`.
macro_rules! call {
    ($client:expr, $method:ident, $name:literal, $timeout:expr, $message:expr) => {{
        let timeout: Duration = $timeout;
        let mut client = $client.clone();
        match tokio::time::timeout(timeout, client.$method(request($message, timeout))).await {
            Ok(result) => result.map(tonic::Response::into_inner).map_err(|status| Error::rpc($name, status)),
            Err(_) => Err(Error::rpc($name, tonic::Status::deadline_exceeded("context deadline exceeded"))),
        }
    }};
}

/// The events of containerd's that concern containers of pods.
fn subscription() -> SubscribeRequest {
    let topic = |topic| format!(r#"namespace==k8s.io,topic=="{topic}""#);
    SubscribeRequest { filters: ["/tasks/start", "/tasks/exit", "/containers/delete"].map(topic).to_vec() }
}

/// Not the end of a process that merely ran in a container.
fn concerns_a_container(envelope: &Envelope) -> bool {
    let exit = envelope.event.as_ref().filter(|_| envelope.topic == "/tasks/exit");
    let exit = exit.and_then(|event| <TaskExit as prost::Message>::decode(event.value.as_slice()).ok());
    exit.is_none_or(|exit| exit.id.is_empty() || exit.id == exit.container_id)
}

/// "Not there" is what removal wants.
fn absent_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn image_spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), ..Default::default() }
}

#[async_trait]
impl Runtime for Client {
    async fn version(&self) -> Result<v1::VersionResponse, Error> {
        call!(self.runtime, version, "Version", CALL_TIMEOUT, v1::VersionRequest { version: "0.1.0".into() })
    }

    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse, Error> {
        call!(self.runtime, status, "Status", CALL_TIMEOUT, v1::StatusRequest { verbose })
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, Error> {
        call!(self.runtime, runtime_config, "RuntimeConfig", CALL_TIMEOUT, v1::RuntimeConfigRequest {})
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<(), Error> {
        let network = v1::NetworkConfig { pod_cidr: pod_cidr.to_owned() };
        let config = v1::RuntimeConfig { network_config: Some(network) };
        let message = v1::UpdateRuntimeConfigRequest { runtime_config: Some(config) };
        call!(self.runtime, update_runtime_config, "UpdateRuntimeConfig", CALL_TIMEOUT, message).map(|_| ())
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String, Error> {
        let message = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let answer = call!(self.runtime, run_pod_sandbox, "RunPodSandbox", SANDBOX_TIMEOUT, message)?;
        match answer.pod_sandbox_id.is_empty() {
            true => Err(Error::Malformed { method: "RunPodSandbox", missing: "sandbox id" }),
            false => Ok(answer.pod_sandbox_id),
        }
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), Error> {
        let message = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let result = call!(self.runtime, stop_pod_sandbox, "StopPodSandbox", SANDBOX_TIMEOUT, message);
        absent_is_fine(result.map(|_| ()))
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), Error> {
        let message = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let result = call!(self.runtime, remove_pod_sandbox, "RemovePodSandbox", CALL_TIMEOUT, message);
        absent_is_fine(result.map(|_| ()))
    }

    async fn pod_sandbox_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse, Error> {
        let message = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose };
        call!(self.runtime, pod_sandbox_status, "PodSandboxStatus", CALL_TIMEOUT, message)
    }

    async fn list_pod_sandbox(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>, Error> {
        let message = v1::ListPodSandboxRequest { filter: Some(filter) };
        Ok(call!(self.runtime, list_pod_sandbox, "ListPodSandbox", CALL_TIMEOUT, message)?.items)
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String, Error> {
        let message = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(call!(self.runtime, create_container, "CreateContainer", CALL_TIMEOUT, message)?.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), Error> {
        let message = v1::StartContainerRequest { container_id: id.to_owned() };
        call!(self.runtime, start_container, "StartContainer", CALL_TIMEOUT, message).map(|_| ())
    }

    async fn stop_container(&self, id: &str, timeout_s: i64) -> Result<(), Error> {
        // The call lasts as long as the container takes to end.
        let deadline = CALL_TIMEOUT + Duration::from_secs(u64::try_from(timeout_s).unwrap_or(0));
        let message = v1::StopContainerRequest { container_id: id.to_owned(), timeout: timeout_s };
        let result = call!(self.runtime, stop_container, "StopContainer", deadline, message);
        absent_is_fine(result.map(|_| ()))
    }

    async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let message = v1::RemoveContainerRequest { container_id: id.to_owned() };
        let result = call!(self.runtime, remove_container, "RemoveContainer", CALL_TIMEOUT, message);
        absent_is_fine(result.map(|_| ()))
    }

    async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>, Error> {
        let message = v1::ListContainersRequest { filter: Some(filter) };
        Ok(call!(self.runtime, list_containers, "ListContainers", CALL_TIMEOUT, message)?.containers)
    }

    async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse, Error> {
        let message = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose };
        call!(self.runtime, container_status, "ContainerStatus", CALL_TIMEOUT, message)
    }

    async fn update_container_resources(&self, id: &str, linux: v1::LinuxContainerResources) -> Result<(), Error> {
        let message = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(linux),
            ..Default::default()
        };
        call!(self.runtime, update_container_resources, "UpdateContainerResources", CALL_TIMEOUT, message).map(|_| ())
    }

    async fn reopen_container_log(&self, id: &str) -> Result<(), Error> {
        let message = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        call!(self.runtime, reopen_container_log, "ReopenContainerLog", CALL_TIMEOUT, message).map(|_| ())
    }

    async fn checkpoint_container(&self, id: &str, location: &str, timeout_s: i64) -> Result<(), Error> {
        let message = v1::CheckpointContainerRequest {
            container_id: id.to_owned(),
            location: location.to_owned(),
            timeout: timeout_s,
        };
        call!(self.runtime, checkpoint_container, "CheckpointContainer", CALL_TIMEOUT, message).map(|_| ())
    }

    async fn exec_sync(&self, id: &str, cmd: &[String], timeout: Duration) -> Result<v1::ExecSyncResponse, Error> {
        // The protocol counts whole seconds, and zero would mean no limit.
        let timeout_s = if timeout.is_zero() { 0 } else { i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX) };
        let message = v1::ExecSyncRequest { container_id: id.to_owned(), cmd: cmd.to_vec(), timeout: timeout_s };
        call!(self.runtime, exec_sync, "ExecSync", CALL_TIMEOUT + timeout, message)
    }

    async fn exec(&self, message: v1::ExecRequest) -> Result<String, Error> {
        Ok(call!(self.runtime, exec, "Exec", CALL_TIMEOUT, message)?.url)
    }

    async fn attach(&self, message: v1::AttachRequest) -> Result<String, Error> {
        Ok(call!(self.runtime, attach, "Attach", CALL_TIMEOUT, message)?.url)
    }

    async fn port_forward(&self, sandbox_id: &str, ports: &[i32]) -> Result<String, Error> {
        let message = v1::PortForwardRequest { pod_sandbox_id: sandbox_id.to_owned(), port: ports.to_vec() };
        Ok(call!(self.runtime, port_forward, "PortForward", CALL_TIMEOUT, message)?.url)
    }

    async fn list_container_stats(&self, filter: v1::ContainerStatsFilter) -> Result<Vec<v1::ContainerStats>, Error> {
        let message = v1::ListContainerStatsRequest { filter: Some(filter) };
        Ok(call!(self.runtime, list_container_stats, "ListContainerStats", CALL_TIMEOUT, message)?.stats)
    }

    async fn list_pod_sandbox_stats(
        &self,
        filter: v1::PodSandboxStatsFilter,
    ) -> Result<Vec<v1::PodSandboxStats>, Error> {
        let message = v1::ListPodSandboxStatsRequest { filter: Some(filter) };
        Ok(call!(self.runtime, list_pod_sandbox_stats, "ListPodSandboxStats", CALL_TIMEOUT, message)?.stats)
    }

    async fn container_events(&self) -> Result<EventStream, Error> {
        const METHOD: &str = "GetContainerEvents";
        // No deadline: the stream lives as long as the runtime.
        let answer = self.runtime.clone().get_container_events(v1::GetEventsRequest {}).await;
        let stream = answer.map_err(|status| Error::rpc(METHOD, status))?.into_inner();
        Ok(stream.map_err(|status| Error::rpc(METHOD, status)).boxed())
    }

    async fn container_hints(&self) -> Result<HintStream, Error> {
        const METHOD: &str = "Subscribe";
        let answer = self.events.clone().subscribe(subscription()).await;
        let stream = answer.map_err(|status| Error::rpc(METHOD, status))?.into_inner();
        let hint = |envelope: Result<Envelope, tonic::Status>| {
            let hint = match envelope {
                Ok(envelope) => concerns_a_container(&envelope).then_some(Ok(())),
                Err(status) => Some(Err(Error::rpc(METHOD, status))),
            };
            std::future::ready(hint)
        };
        Ok(stream.filter_map(hint).boxed())
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>, Error> {
        let message = v1::ListImagesRequest { filter: None };
        Ok(call!(self.images, list_images, "ListImages", CALL_TIMEOUT, message)?.images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>, Error> {
        let message = v1::ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        Ok(call!(self.images, image_status, "ImageStatus", CALL_TIMEOUT, message)?.image)
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String, Error> {
        let message = v1::PullImageRequest { image: Some(image_spec(image)), auth, sandbox_config };
        Ok(call!(self.images, pull_image, "PullImage", PULL_TIMEOUT, message)?.image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        let message = v1::RemoveImageRequest { image: Some(image_spec(image)) };
        absent_is_fine(call!(self.images, remove_image, "RemoveImage", CALL_TIMEOUT, message).map(|_| ()))
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, Error> {
        call!(self.images, image_fs_info, "ImageFsInfo", CALL_TIMEOUT, v1::ImageFsInfoRequest {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (endpoint, want) in [
            ("unix:///run/containerd/containerd.sock", Some("/run/containerd/containerd.sock")),
            ("unix:/run/a.sock", Some("/run/a.sock")),
            ("/run/a.sock", Some("/run/a.sock")),
            ("tcp://127.0.0.1:1", None),
            ("", None),
        ] {
            assert_eq!(socket_path(endpoint).ok().as_deref(), want.map(Path::new), "{endpoint}");
        }
    }

    #[test]
    fn the_end_of_an_exec_is_no_containers() {
        use prost::Message;
        let exit = |container_id: &str, id: &str| {
            let value = TaskExit { container_id: container_id.into(), id: id.into() }.encode_to_vec();
            let event = Some(crate::containerd::Any { type_url: "containerd.events.TaskExit".into(), value });
            Envelope { namespace: "k8s.io".into(), topic: "/tasks/exit".into(), event }
        };
        assert!(concerns_a_container(&exit("a", "a")));
        assert!(!concerns_a_container(&exit("a", "probe")));
        assert!(concerns_a_container(&Envelope { topic: "/tasks/start".into(), ..exit("a", "probe") }));
    }

    #[tokio::test]
    async fn an_absent_runtime_is_unavailable() {
        let dir = std::env::temp_dir().join("cri-absent.sock");
        let client = Client::new(&dir.to_string_lossy()).expect("a path");
        let error = client.version().await.expect_err("nobody listens");
        assert!(error.is_unavailable(), "{error}");
    }
}
