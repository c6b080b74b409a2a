//! Watchers that select the same, and what is on its way to all of them.
//!
//! A change is looked at once for a group, however many are in it, and kept here until it is time to wake them. They
//! then get it in one shared [`Batch`], so that a crowd costs each event nothing and each delivery one `Arc`.
use super::batch::Gathering;
use super::watch::{Change, End, Filter, Forms, Queue};
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::Waker;

pub(super) struct Group {
    pub filter: Filter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    members: Vec<Arc<Queue>>,
    /// Of every member's concern that is not older than it, and in nobody's queue yet.
    gathering: Gathering,
    /// Something waits for [`Group::deliver`].
    due: bool,
}

impl State {
    /// Into the queues; wakes nobody.
    fn distribute(&mut self) {
        let Some(batch) = self.gathering.take() else { return };
        for member in &self.members {
            if let Some(batch) = batch.after(member.after) {
                member.push(batch);
            }
        }
    }
}

impl Group {
    pub(super) fn new(filter: Filter) -> Arc<Group> {
        Arc::new(Group { filter, state: Mutex::default() })
    }

    pub(super) fn join(&self, queue: Arc<Queue>) {
        self.state.lock().members.push(queue);
    }

    /// Says whether somebody is left.
    pub(super) fn leave(&self, queue: &Arc<Queue>) -> bool {
        let mut state = self.state.lock();
        if let Some(at) = state.members.iter().position(|member| Arc::ptr_eq(member, queue)) {
            state.members.swap_remove(at);
        }
        !state.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().members.len()
    }

    /// A change of a key in scope. Says whether the group became due with it: it then wants to be delivered to, soon.
    pub(super) fn offer(&self, change: &Change, forms: &Forms) -> bool {
        let Some(event) = change.seen_by(&self.filter, forms) else { return false };
        let mut state = self.state.lock();
        if state.gathering.is_full() {
            state.distribute();
        }
        state.gathering.push(event);
        !std::mem::replace(&mut state.due, true)
    }

    /// Hands out what was gathered. The wakers are those of members that wait for it.
    pub(super) fn deliver(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.due = false;
        state.distribute();
        wakers.extend(state.members.iter().filter_map(|member| member.waker_if_due()));
    }

    pub(super) fn end(&self, end: End) {
        let mut state = self.state.lock();
        state.distribute();
        for member in &state.members {
            member.end(end);
        }
    }

    /// Calls `seen` while nothing can be gathered or handed out, with whether nothing is left to hand out.
    pub(super) fn at_rest<T>(&self, seen: impl FnOnce(bool) -> T) -> T {
        let state = self.state.lock();
        seen(state.gathering.is_empty())
    }
}
