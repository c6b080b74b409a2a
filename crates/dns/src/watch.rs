//! Keeps the index: watches of services, endpoint slices and namespaces.
use crate::index::Index;
use futures::StreamExt;
use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;

/// How the index takes in one kind.
struct Fold<K> {
    apply: fn(&mut Index, &K),
    delete: fn(&mut Index, &K),
    clear: fn(&mut Index),
}

/// Follow all three for ever; a broken watch is opened again with back-off.
pub(crate) async fn keep(client: Client, index: &RwLock<Index>) {
    let services = Fold { apply: Index::apply_service, delete: Index::delete_service, clear: Index::clear_services };
    let slices = Fold { apply: Index::apply_slice, delete: Index::delete_slice, clear: Index::clear_slices };
    let namespaces: Fold<Namespace> = Fold {
        apply: |index, namespace| {
            index.namespaces.extend(namespace.metadata.name.clone());
        },
        delete: |index, namespace| {
            if let Some(name) = &namespace.metadata.name {
                index.namespaces.remove(name);
            }
        },
        clear: |index| index.namespaces.clear(),
    };
    tokio::join!(
        follow::<Service>(Api::all(client.clone()), index, services),
        follow::<EndpointSlice>(Api::all(client.clone()), index, slices),
        follow::<Namespace>(Api::all(client), index, namespaces),
    );
}

async fn follow<K>(api: Api<K>, index: &RwLock<Index>, fold: Fold<K>)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    // A new list replaces the old state in one step: no question sees half of it.
    let mut listed: Vec<K> = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object)) => (fold.apply)(&mut index.write(), &object),
            Ok(Event::Delete(object)) => (fold.delete)(&mut index.write(), &object),
            Ok(Event::Init) => listed = Vec::new(),
            Ok(Event::InitApply(object)) => listed.push(object),
            Ok(Event::InitDone) => {
                let mut index = index.write();
                (fold.clear)(&mut index);
                std::mem::take(&mut listed).iter().for_each(|object| (fold.apply)(&mut index, object));
            }
            Err(error) => tracing::warn!(%error, "watching for DNS"),
        }
    }
}
