//! A container runtime in memory: containers run until a test ends them.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cri::{Code, Error, EventStream, HintStream, Runtime, v1};
use parking_lot::Mutex;

#[derive(Default)]
pub struct FakeRuntime {
    pub sandboxes: Mutex<BTreeMap<String, v1::PodSandbox>>,
    pub containers: Mutex<BTreeMap<String, (v1::Container, v1::ContainerStatus)>>,
    /// The calls that change something, in order.
    pub calls: Mutex<Vec<String>>,
    /// The grace periods that containers were stopped with, in order.
    pub graces: Mutex<Vec<i64>>,
    number: AtomicI64,
}

fn error(code: Code, message: &str) -> Error {
    Error::Rpc { method: "Fake", code, message: message.to_owned() }
}

fn not_found() -> Error {
    error(Code::NotFound, "not found")
}

fn unimplemented<T>() -> Result<T, Error> {
    Err(error(Code::Unimplemented, "unknown method"))
}

fn selected(
    labels: &std::collections::HashMap<String, String>,
    selector: &std::collections::HashMap<String, String>,
) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl FakeRuntime {
    fn note(&self, call: String) {
        self.calls.lock().push(call);
    }

    fn now(&self) -> i64 {
        let step = self.number.fetch_add(1, Ordering::Relaxed);
        i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0) + step
    }

    /// Ends the running container of that name.
    pub fn exit(&self, name: &str, code: i32) {
        let now = self.now();
        for (container, status) in self.containers.lock().values_mut() {
            let same = status.metadata.as_ref().is_some_and(|m| m.name == name);
            if same && status.state() == v1::ContainerState::ContainerRunning {
                status.set_state(v1::ContainerState::ContainerExited);
                container.set_state(v1::ContainerState::ContainerExited);
                status.exit_code = code;
                status.finished_at = now;
            }
        }
    }

    /// Containers of that name that were made so far and still exist.
    pub fn runs(&self, name: &str) -> Vec<v1::ContainerStatus> {
        let all = self.containers.lock();
        let mut runs: Vec<_> = all
            .values()
            .map(|(_, s)| s.clone())
            .filter(|s| s.metadata.as_ref().is_some_and(|m| m.name == name))
            .collect();
        runs.sort_by_key(|status| status.created_at);
        runs
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<v1::VersionResponse, Error> {
        Ok(v1::VersionResponse::default())
    }

    async fn status(&self, _: bool) -> Result<v1::StatusResponse, Error> {
        Ok(v1::StatusResponse::default())
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, Error> {
        unimplemented()
    }

    async fn update_runtime_config(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, _: &str) -> Result<String, Error> {
        let metadata = config.metadata.clone().unwrap_or_default();
        let id = format!("sandbox-{}", metadata.attempt);
        self.note(format!("run {id}"));
        let sandbox = v1::PodSandbox {
            id: id.clone(),
            created_at: self.now(),
            metadata: config.metadata,
            labels: config.labels,
            annotations: config.annotations,
            ..Default::default()
        };
        self.sandboxes.lock().insert(id.clone(), sandbox);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), Error> {
        self.note(format!("stop {id}"));
        if let Some(sandbox) = self.sandboxes.lock().get_mut(id) {
            sandbox.set_state(v1::PodSandboxState::SandboxNotready);
        }
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), Error> {
        self.note(format!("remove {id}"));
        self.sandboxes.lock().remove(id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str, _: bool) -> Result<v1::PodSandboxStatusResponse, Error> {
        let sandbox = self.sandboxes.lock().get(id).cloned().ok_or_else(not_found)?;
        let status = v1::PodSandboxStatus {
            id: sandbox.id,
            state: sandbox.state,
            network: Some(v1::PodSandboxNetworkStatus { ip: "10.0.0.7".into(), additional_ips: vec![] }),
            ..Default::default()
        };
        Ok(v1::PodSandboxStatusResponse { status: Some(status), ..Default::default() })
    }

    async fn list_pod_sandbox(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>, Error> {
        let all = self.sandboxes.lock();
        Ok(all.values().filter(|s| selected(&s.labels, &filter.label_selector)).cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        _: v1::PodSandboxConfig,
    ) -> Result<String, Error> {
        let metadata = config.metadata.clone().unwrap_or_default();
        let id = format!("{}-{}", metadata.name, metadata.attempt);
        self.note(format!("create {id}"));
        let created_at = self.now();
        let container = v1::Container {
            id: id.clone(),
            pod_sandbox_id: sandbox.to_owned(),
            metadata: config.metadata.clone(),
            created_at,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..Default::default()
        };
        let status = v1::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata,
            created_at,
            image: config.image,
            labels: config.labels,
            annotations: config.annotations,
            mounts: config.mounts,
            ..Default::default()
        };
        self.containers.lock().insert(id.clone(), (container, status));
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<(), Error> {
        self.note(format!("start {id}"));
        let now = self.now();
        let mut all = self.containers.lock();
        let (container, status) = all.get_mut(id).ok_or_else(not_found)?;
        container.set_state(v1::ContainerState::ContainerRunning);
        status.set_state(v1::ContainerState::ContainerRunning);
        status.started_at = now;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace_s: i64) -> Result<(), Error> {
        self.note(format!("stop {id}"));
        self.graces.lock().push(grace_s);
        let name = id.rsplit_once('-').map_or(id, |(name, _)| name).to_owned();
        self.exit(&name, 137);
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), Error> {
        self.note(format!("remove {id}"));
        self.containers.lock().remove(id);
        Ok(())
    }

    async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>, Error> {
        let all = self.containers.lock();
        Ok(all.values().map(|(c, _)| c).filter(|c| selected(&c.labels, &filter.label_selector)).cloned().collect())
    }

    async fn container_status(&self, id: &str, _: bool) -> Result<v1::ContainerStatusResponse, Error> {
        let status = self.containers.lock().get(id).map(|(_, status)| status.clone()).ok_or_else(not_found)?;
        Ok(v1::ContainerStatusResponse { status: Some(status), ..Default::default() })
    }

    async fn update_container_resources(&self, id: &str, linux: v1::LinuxContainerResources) -> Result<(), Error> {
        self.note(format!("update {id} {}", linux.cpu_quota));
        Ok(())
    }

    async fn reopen_container_log(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn checkpoint_container(&self, _: &str, _: &str, _: i64) -> Result<(), Error> {
        unimplemented()
    }

    async fn exec_sync(&self, id: &str, cmd: &[String], _: Duration) -> Result<v1::ExecSyncResponse, Error> {
        self.note(format!("exec {id} {}", cmd.join(" ")));
        Ok(v1::ExecSyncResponse {
            exit_code: i32::from(cmd.first().is_some_and(|c| c == "false")),
            ..Default::default()
        })
    }

    async fn exec(&self, _: v1::ExecRequest) -> Result<String, Error> {
        unimplemented()
    }

    async fn attach(&self, _: v1::AttachRequest) -> Result<String, Error> {
        unimplemented()
    }

    async fn port_forward(&self, _: &str, _: &[i32]) -> Result<String, Error> {
        unimplemented()
    }

    async fn list_container_stats(&self, _: v1::ContainerStatsFilter) -> Result<Vec<v1::ContainerStats>, Error> {
        unimplemented()
    }

    async fn list_pod_sandbox_stats(&self, _: v1::PodSandboxStatsFilter) -> Result<Vec<v1::PodSandboxStats>, Error> {
        unimplemented()
    }

    async fn container_events(&self) -> Result<EventStream, Error> {
        unimplemented()
    }

    async fn container_hints(&self) -> Result<HintStream, Error> {
        unimplemented()
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>, Error> {
        Ok(Vec::new())
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>, Error> {
        let here = v1::Image { id: image.to_owned(), ..Default::default() };
        Ok((!image.contains("absent")).then_some(here))
    }

    async fn pull_image(
        &self,
        image: &str,
        _: Option<v1::AuthConfig>,
        _: Option<v1::PodSandboxConfig>,
    ) -> Result<String, Error> {
        self.note(format!("pull {image}"));
        Err(error(Code::Unknown, "no such image"))
    }

    async fn remove_image(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, Error> {
        unimplemented()
    }
}
