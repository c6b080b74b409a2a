//! Brings a pod's status to the API: one task a pod, always the newest status, tried again until it is there.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::patch;

const RETRY: Duration = Duration::from_secs(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// Whose status is written: for static pods, the mirror's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

#[derive(Clone)]
struct Job {
    number: u64,
    target: Target,
    status: Arc<PodStatus>,
}

/// The writer of one pod's status. Its task ends when this is dropped.
pub struct Writer {
    jobs: watch::Sender<Option<Job>>,
    done: watch::Receiver<u64>,
    /// What the API has, as far as we know.
    base: Arc<Mutex<Option<PodStatus>>>,
}

impl Writer {
    /// Starts the task; without a client statuses go nowhere.
    pub fn start(client: Option<kube::Client>, shutdown: CancellationToken) -> Writer {
        let (jobs, receiver) = watch::channel(None);
        let (written, done) = watch::channel(0);
        let base = Arc::new(Mutex::new(None));
        if let Some(client) = client {
            tokio::spawn(run(client, receiver, written, base.clone(), shutdown));
        }
        Writer { jobs, done, base }
    }

    /// The API's status, when nothing was written yet or somebody else may have changed it.
    pub fn rebase(&self, status: Option<PodStatus>) {
        *self.base.lock() = status;
    }

    /// Have `status` written soon; returns its number for [`Writer::written`].
    pub fn write(&self, target: Target, status: PodStatus) -> u64 {
        let mut number = 0;
        self.jobs.send_modify(|job| {
            number = job.as_ref().map_or(0, |job| job.number) + 1;
            *job = Some(Job { number, target, status: Arc::new(status) });
        });
        number
    }

    /// Waits until the status with that number, or a later one, is written or no longer can be.
    pub async fn written(&self, number: u64) {
        let _ = self.done.clone().wait_for(|done| *done >= number).await;
    }
}

async fn run(
    client: kube::Client,
    mut jobs: watch::Receiver<Option<Job>>,
    done: watch::Sender<u64>,
    base: Arc<Mutex<Option<PodStatus>>>,
    shutdown: CancellationToken,
) {
    loop {
        let changed = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = jobs.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        loop {
            let Some(job) = jobs.borrow_and_update().clone() else { break };
            let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, send(&client, &job, &base)).await;
            let error = match attempt {
                Ok(Ok(())) => {
                    done.send_replace(job.number);
                    break;
                }
                Ok(Err(error)) => client::told(&error),
                Err(_) => "timed out".to_owned(),
            };
            tracing::warn!(namespace = %job.target.namespace, pod = %job.target.name, %error, "pod status not written; trying again");
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = jobs.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

async fn send(client: &kube::Client, job: &Job, base: &Mutex<Option<PodStatus>>) -> Result<(), kube::Error> {
    let old = base.lock().clone();
    let Some(patch) = patch::patch(&job.target.uid, old.as_ref(), &job.status) else { return Ok(()) };
    let api = Api::<Pod>::namespaced(client.clone(), &job.target.namespace);
    match api.patch_status(&job.target.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => {
            *base.lock() = Some((*job.status).clone());
            Ok(())
        }
        // Gone, or another pod of that name: nobody asks any more.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}
