//! Acting as a service account: for controllers that are limited to their task by RBAC.
//!
//! The account is created when it is missing; its token is asked for from the TokenRequest API and
//! renewed after four fifths of its life. The renewing task ends with the last clone of the client.
use crate::{Connection, Error, told::Unanswered};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api,
    api::PostParams,
    client::{Body, ClientBuilder},
    config::AuthInfo,
    core::ObjectMeta,
};
use parking_lot::RwLock;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tower::util::{MapErrLayer, MapRequestLayer};

const LIFETIME_S: i64 = 3600;
const RETRY: Duration = Duration::from_secs(30);

impl Connection {
    /// A client that acts as the service account `namespace`/`name`; `base` is this connection's own
    /// client, which must be allowed to create service accounts and their tokens.
    ///
    /// A [`Connection::Ready`] has one identity only: it gives `base` again.
    ///
    /// # Errors
    /// The account or a first token cannot be had.
    pub async fn service_account(
        &self,
        base: &kube::Client,
        namespace: &str,
        name: &str,
    ) -> Result<kube::Client, Error> {
        match self {
            Connection::Ready(_) => return Ok(base.clone()),
            Connection::InProcess { open, .. } => {
                return Ok(open(&format!("system:serviceaccount:{namespace}:{name}")));
            }
            Connection::Kubeconfig(_) | Connection::InCluster => {}
        }
        let mut config = self.config().await?;
        let naming = MapErrLayer::new(Unanswered::naming(&config.cluster_url));
        config.auth_info = AuthInfo::default();
        let accounts: Api<ServiceAccount> = Api::namespaced(base.clone(), namespace);
        ensure(&accounts, name).await.map_err(Error::Client)?;
        let first = request(&accounts, name).await.map_err(Error::Client)?;
        let token = Arc::new(RwLock::new(first));
        tokio::spawn(renew(accounts, name.to_owned(), Arc::downgrade(&token)));
        let bearer = MapRequestLayer::new(move |mut request: Request<Body>| {
            request.headers_mut().insert(AUTHORIZATION, token.read().clone());
            request
        });
        Ok(ClientBuilder::try_from(config).map_err(Error::Client)?.with_layer(&naming).with_layer(&bearer).build())
    }
}

async fn ensure(accounts: &Api<ServiceAccount>, name: &str) -> Result<(), kube::Error> {
    if accounts.get_metadata_opt(name).await?.is_some() {
        return Ok(());
    }
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
    match accounts.create(&PostParams::default(), &ServiceAccount { metadata, ..Default::default() }).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => created.map(drop),
    }
}

async fn request(accounts: &Api<ServiceAccount>, name: &str) -> Result<HeaderValue, kube::Error> {
    let spec = TokenRequestSpec { expiration_seconds: Some(LIFETIME_S), ..Default::default() };
    let wanted = TokenRequest { spec: Some(spec), ..Default::default() };
    let params = PostParams::default();
    let given: TokenRequest = accounts.create_subresource("token", name, &params, &wanted).await?;
    let token = given.status.and_then(|status| status.token).unwrap_or_default();
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| kube::Error::HttpError(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn renew(accounts: Api<ServiceAccount>, name: String, token: Weak<RwLock<HeaderValue>>) {
    let mut pause = Duration::from_secs(LIFETIME_S.unsigned_abs() * 4 / 5);
    loop {
        tokio::time::sleep(pause).await;
        let Some(token) = token.upgrade() else { return };
        pause = match request(&accounts, &name).await {
            Ok(new) => {
                *token.write() = new;
                Duration::from_secs(LIFETIME_S.unsigned_abs() * 4 / 5)
            }
            Err(error) => {
                tracing::warn!(name, error = crate::told(&error), "service account token not renewed");
                RETRY
            }
        };
    }
}
