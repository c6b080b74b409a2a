//! Lifecycle hooks: exec, httpGet, sleep.
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::kubelet::Kubelet;
use crate::probes::http;

/// A hook without a limit of its own.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a hook to its end.
///
/// # Errors
/// What went wrong, for the event.
pub async fn run(
    kubelet: &Kubelet,
    id: &str,
    container: &Container,
    pod_ip: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let answer = kubelet.runtime.exec_sync(id, &command, Duration::ZERO).await.map_err(|e| e.to_string())?;
        return match answer.exit_code {
            0 => Ok(()),
            code => {
                let output = [answer.stdout, answer.stderr].concat();
                Err(format!("command '{}' exited with {code}: {}", command.join(" "), String::from_utf8_lossy(&output)))
            }
        };
    }
    if let Some(get) = &hook.http_get {
        return http::get(get, container, pod_ip, HTTP_TIMEOUT).await.map(|_| ());
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}
