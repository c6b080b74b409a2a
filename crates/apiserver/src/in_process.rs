//! Clients in this process: the same chain, handlers and authorization, without TCP and TLS.
use crate::{
    App,
    body::{Body, RequestBody},
    server::Peer,
};
use auth::UserInfo;
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A tower service with a fixed identity.
#[derive(Clone)]
pub struct InProcess {
    app: Arc<App>,
    peer: Arc<Peer>,
}

impl InProcess {
    /// As with a bearer token, the user is in `system:authenticated`.
    pub fn new(app: Arc<App>, mut user: UserInfo) -> Self {
        let authenticated = auth::groups::AUTHENTICATED;
        if !user.in_group(authenticated) && !user.in_group(auth::groups::UNAUTHENTICATED) {
            user.groups.push(authenticated.to_owned());
        }
        let peer = Peer { address: None, certificates: Vec::new(), identity: Some(Arc::new(user)) };
        InProcess { app, peer: Arc::new(peer) }
    }

    pub fn client(self) -> kube::Client {
        kube::Client::new(self, "default")
    }
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (app, peer) = (self.app.clone(), self.peer.clone());
        Box::pin(async move { Ok(app.call(request.map(RequestBody::InProcess), peer).await) })
    }
}
