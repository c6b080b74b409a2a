//! The embedded store against a model that keeps every state there ever was: commits, compactions
//! and restarts in any order, over files so small that they are rotated and removed all the time.
use crate::contract::{done, put};
use futures::StreamExt;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::embedded::{Options, Store};
use storage::{Backend, Error, Event, Expect, Op, RangeRequest, Revision, WatchMessage, prefix_end};

const HISTORY: usize = 20;

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u8,
        size: usize,
    },
    /// Many keys at once: one group.
    PutMany {
        size: usize,
    },
    Delete {
        key: u8,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_u8..12, 0_usize..600).prop_map(|(key, size)| Step::Put { key, size }),
        1 => (0_usize..200).prop_map(|size| Step::PutMany { size }),
        4 => (0_u8..12).prop_map(|key| Step::Delete { key }),
        1 => (0_u64..30).prop_map(|back| Step::Compact { back }),
        2 => Just(Step::Reopen),
    ]
}

/// Create revision, mod revision, value.
type Value = (Revision, Revision, String);
type State = BTreeMap<String, Value>;

#[derive(Default)]
struct Model {
    /// By revision; the first is revision 1.
    states: Vec<State>,
    compacted: Revision,
}

impl Model {
    fn newest(&self) -> Revision {
        self.states.len() as Revision
    }

    fn at(&self, revision: Revision) -> &State {
        &self.states[revision as usize - 1]
    }

    fn change(&mut self, revision: Revision, change: impl FnOnce(&mut State)) {
        assert_eq!(revision, self.newest() + 1, "revisions follow each other");
        let mut state = self.at(self.newest()).clone();
        change(&mut state);
        self.states.push(state);
    }

    fn put(&mut self, revision: Revision, key: &str, value: String) {
        self.change(revision, |state| {
            let create = state.get(key).map_or(revision, |(create, ..)| *create);
            state.insert(key.to_owned(), (create, revision, value));
        });
    }
}

fn open(dir: &Path) -> Arc<Store> {
    let options =
        Options { segment_bytes: 2 << 10, slack_bytes: 2 << 10, history_events: HISTORY, ..Options::default() };
    Store::open(dir, options).unwrap()
}

fn name(key: u8) -> String {
    format!("/{}/{key:02}", key % 2)
}

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut model = Model { states: vec![State::new()], compacted: 1 };
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put { key, size } => {
                let (key, value) = (name(key), format!("{number}{}", "v".repeat(size)));
                let revision = done(store.commit(&key, Expect::Any, put(value.clone())).await.unwrap());
                model.put(revision, &key, value);
            }
            Step::PutMany { size } => {
                let value = format!("{number}{}", "m".repeat(size));
                let writes = (0..12).map(|key| {
                    let (store, value) = (store.clone(), value.clone());
                    async move { (done(store.commit(&name(key), Expect::Any, put(value)).await.unwrap()), key) }
                });
                let mut written = futures::future::join_all(writes).await;
                written.sort_unstable();
                written.into_iter().for_each(|(revision, key)| model.put(revision, &name(key), value.clone()));
            }
            Step::Delete { key } => {
                let revision = done(store.commit(&name(key), Expect::Any, Op::Delete).await.unwrap());
                if model.at(model.newest()).contains_key(&name(key)) {
                    model.change(revision, |state| drop(state.remove(&name(key))));
                } else {
                    assert_eq!(revision, model.newest());
                }
            }
            Step::Compact { back } => {
                let to = model.newest().saturating_sub(back).max(1);
                store.compact(to).await.unwrap();
                model.compacted = model.compacted.max(to);
            }
            Step::Reopen => {
                drop(store);
                store = open(dir.path());
                check(&store, &model).await;
            }
        }
    }
    check(&store, &model).await;
}

async fn check(store: &Arc<Store>, model: &Model) {
    let newest = model.newest();
    assert_eq!(store.revision().await.unwrap(), newest);
    // So many changes are kept unless they were compacted away.
    let certain = model.compacted.max((newest + 1).saturating_sub(HISTORY as u64));
    for revision in newest.saturating_sub(HISTORY as u64 + 10).max(1)..=newest {
        for prefix in ["/", "/0/", "/1/"] {
            let request = RangeRequest {
                start: prefix.into(),
                end: prefix_end(prefix),
                revision: (revision < newest).then_some(revision),
                limit: 0,
                count_only: false,
            };
            match store.range(request).await {
                Ok(range) => {
                    let found = range.items.into_iter().map(|kv| {
                        let text = String::from_utf8(kv.value.to_vec()).unwrap();
                        (kv.key.to_string(), (kv.create_revision, kv.mod_revision, text))
                    });
                    let expected: State =
                        model.at(revision).clone().into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
                    assert_eq!(found.collect::<State>(), expected, "{prefix} at {revision} of {newest}");
                }
                Err(Error::Compacted { .. }) => {
                    assert!(revision < certain, "{revision} of {newest}, {certain} is certain")
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    check_events(store, model, certain).await;
}

async fn check_events(store: &Arc<Store>, model: &Model, from: Revision) {
    let newest = model.newest();
    let mut watch = store.watch("/", from).await.unwrap();
    let mut next = from.max(2);
    while next <= newest {
        let WatchMessage::Events(events) = watch.next().await.unwrap().unwrap() else { continue };
        for Event { kv, deleted, previous } in events {
            assert_eq!(kv.mod_revision, next);
            let (before, after) = (model.at(next - 1).get(&*kv.key), model.at(next).get(&*kv.key));
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            let now = (!deleted).then(|| (kv.create_revision, kv.mod_revision, text(&kv.value)));
            assert_eq!(now.as_ref(), after);
            let old = previous.map(|kv| (kv.create_revision, kv.mod_revision, text(&kv.value)));
            assert_eq!(old.as_ref(), before);
            next += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn it_holds_every_state_the_model_holds(steps in prop::collection::vec(step(), 1..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
