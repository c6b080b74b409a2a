//! Who each controller is to the API server.
//!
//! Each has its own client with its own budget of requests. With `--use-service-account-credentials`
//! each acts as its service account in `kube-system`, so that RBAC limits it to its task.
use client::{Connection, throttle::Throttle};

/// Makes the clients of controllers.
pub struct Identities {
    connection: Connection,
    base: kube::Client,
    service_accounts: bool,
    qps: f64,
    burst: u32,
}

impl Identities {
    /// `base` is the component's own client over `connection`; a rate of zero or below is no limit.
    pub fn new(connection: Connection, base: kube::Client, service_accounts: bool, qps: f64, burst: u32) -> Self {
        Self { connection, base, service_accounts, qps, burst }
    }

    /// The client of the controller whose service account is `name`; `""` is the component's own identity.
    ///
    /// # Errors
    /// Its service account or token cannot be had.
    pub async fn client(&self, name: &str) -> Result<kube::Client, client::Error> {
        let client = if self.service_accounts && !name.is_empty() {
            self.connection.service_account(&self.base, "kube-system", name).await?
        } else {
            self.base.clone()
        };
        Ok(match Throttle::new(self.qps, self.burst) {
            Some(throttle) => throttle.wrap(&client),
            None => client,
        })
    }
}
