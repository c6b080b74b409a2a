//! An API server reduced to lists, watches, and a memory of all other requests.
//!
//! Bindings take effect and deletions are immediate; everything else is only remembered.
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    version: u64,
    /// By the last part of the path, then by name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    watchers: Vec<(String, mpsc::UnboundedSender<Bytes>)>,
    /// `METHOD path` and body.
    requests: Vec<(String, String)>,
}

#[derive(Clone, Default)]
pub struct Server {
    state: Arc<Mutex<State>>,
    told: Arc<Notify>,
}

impl State {
    fn tell(&mut self, kind: &str, event: &str, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({"type": event, "object": object})));
        self.watchers.retain(|(watched, sender)| watched != kind || sender.send(line.clone()).is_ok());
    }

    fn put(&mut self, kind: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.tell(kind, "MODIFIED", &object);
        self.objects.entry(kind.to_owned()).or_default().insert(name, object);
    }

    fn remove(&mut self, kind: &str, name: &str) {
        self.version += 1;
        if let Some(mut object) = self.objects.get_mut(kind).and_then(|objects| objects.remove(name)) {
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.tell(kind, "DELETED", &object);
        }
    }
}

impl Server {
    pub fn new() -> Self {
        Server::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panics while it holds this")
    }

    pub fn put(&self, kind: &str, object: Value) {
        self.state().put(kind, object);
    }

    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        client::in_process(tower::service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        }))
    }

    /// Until a request of this method and path has come whose body holds all of the texts.
    pub async fn wait_for(&self, request: &str, texts: &[&str]) {
        let wait = async {
            loop {
                let told = self.told.notified();
                let matches =
                    |(line, body): &(String, String)| line == request && texts.iter().all(|t| body.contains(t));
                if self.state().requests.iter().any(matches) {
                    return;
                }
                told.await;
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("no {request} with {texts:?} among {:#?}", self.state().requests);
        }
    }

    async fn answer(&self, request: Request<Body>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        if parts.method == Method::GET {
            let watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
            return if watch { self.watch(&last) } else { self.list(&last) };
        }
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        let mut state = self.state();
        let names: Vec<&str> = path.split('/').collect();
        if last == "binding" {
            let name = names[names.len() - 2];
            let binding: Value = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(mut pod) = state.objects.get("pods").and_then(|pods| pods.get(name)).cloned() {
                pod["spec"]["nodeName"] = binding["target"]["name"].clone();
                state.put("pods", pod);
            }
        } else if parts.method == Method::DELETE {
            state.remove("pods", &last);
        }
        state.requests.push((format!("{} {path}", parts.method), text));
        drop(state);
        self.told.notify_waiters();
        respond(Full::new(Bytes::from_static(b"{}")).boxed_unsync())
    }

    fn list(&self, kind: &str) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let state = self.state();
        let items: Vec<_> = state.objects.get(kind).into_iter().flat_map(BTreeMap::values).collect();
        let list = json!({"metadata": {"resourceVersion": state.version.to_string()}, "items": items});
        respond(Full::new(Bytes::from(list.to_string())).boxed_unsync())
    }

    fn watch(&self, kind: &str) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // What came between list and watch comes twice, which must not matter.
        let mut state = self.state();
        for object in state.objects.get(kind).into_iter().flat_map(BTreeMap::values) {
            let _ = sender.send(Bytes::from(format!("{}\n", json!({"type": "ADDED", "object": object}))));
        }
        state.watchers.push((kind.to_owned(), sender));
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            let data = receiver.recv().await?;
            Some((Ok::<_, Infallible>(http_body::Frame::data(data)), receiver))
        });
        respond(StreamBody::new(stream).boxed_unsync())
    }
}

fn respond(body: UnsyncBoxBody<Bytes, Infallible>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response
}
