//! Seats of priority levels, and the queues in front of them. No clock and no I/O: who enters, waits and leaves.
//!
//! A request that is handled sits on one seat. A level has a number of seats that are always its own; what it may
//! lend lies in one pool, from which every level takes when its own are taken (upstream moves seats between levels
//! every ten seconds; here they move with each request). Who finds no seat waits in a queue of his level. Flows are
//! dealt a hand of queues each and wait in the shortest of it, and queues are served in turn, so that one flow
//! cannot keep the others out.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::sync::oneshot;

/// What a level may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seats that are its own.
    pub guaranteed: usize,
    /// Seats it puts into the pool.
    pub lendable: usize,
    /// Seats it never has more of, borrowed ones included.
    pub ceiling: usize,
    /// `None` turns requests away instead of letting them wait.
    pub queuing: Option<Queuing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queuing {
    pub queues: u64,
    /// Of them, for one flow.
    pub hand: u64,
    /// Requests in one queue.
    pub length: usize,
}

struct Waiter {
    id: u64,
    seat: oneshot::Sender<()>,
}

struct Level {
    limits: Limits,
    seated: usize,
    /// Of those, on seats of the pool.
    borrowed: usize,
    /// Only those that somebody waits in.
    queues: BTreeMap<u64, VecDeque<Waiter>>,
    /// The one served last.
    served: u64,
}

/// All levels that are limited.
#[derive(Default)]
pub struct Seats {
    levels: BTreeMap<Arc<str>, Level>,
    pool: usize,
    /// Of the pool, taken.
    lent: usize,
    waiters: u64,
}

/// A place in a queue.
pub struct Ticket {
    pub id: u64,
    pub queue: u64,
    /// Told when there is a seat.
    pub seat: oneshot::Receiver<()>,
}

const NO_SEAT: &str = "concurrency-limit";
const QUEUE_FULL: &str = "queue-full";

pub enum Entered {
    Seated,
    Waiting(Ticket),
    /// Why, as metrics call it.
    TurnedAway(&'static str),
}

/// The queues of a flow: `hash` read as numbers below `queues`, `queues - 1` and so on, each the rank of a queue
/// among those that were not dealt yet.
fn deal(mut hash: u64, queuing: Queuing) -> Vec<u64> {
    let mut sorted: Vec<u64> = Vec::new();
    let mut hand = Vec::new();
    for dealt in 0..queuing.hand.min(queuing.queues) {
        let left = queuing.queues - dealt;
        let mut queue = hash % left;
        hash /= left;
        for taken in &sorted {
            if queue >= *taken {
                queue += 1;
            }
        }
        hand.push(queue);
        let position = sorted.partition_point(|taken| *taken < queue);
        sorted.insert(position, queue);
    }
    hand
}

impl Seats {
    /// Levels as they are configured now. Of those that are no longer, only what is in use stays, until it is done.
    pub fn configure(&mut self, levels: Vec<(Arc<str>, Limits)>) {
        self.pool = levels.iter().map(|(_, limits)| limits.lendable).sum();
        for (name, level) in &mut self.levels {
            if !levels.iter().any(|(kept, _)| kept == name) {
                level.limits = Limits { guaranteed: 1, lendable: 0, ceiling: 1, queuing: level.limits.queuing };
            }
        }
        let kept = |name: &Arc<str>, level: &mut Level| {
            level.seated > 0 || !level.queues.is_empty() || levels.iter().any(|(kept, _)| kept == name)
        };
        self.levels.retain(kept);
        for (name, limits) in levels {
            let new = || Level { limits: limits.clone(), seated: 0, borrowed: 0, queues: BTreeMap::new(), served: 0 };
            self.levels.entry(name).or_insert_with(new).limits = limits.clone();
        }
        self.seat_waiting("");
    }

    /// `flow` is the hash of who shares queues.
    pub fn enter(&mut self, name: &str, flow: u64) -> Entered {
        let Some(level) = self.levels.get_mut(name) else { return Entered::TurnedAway(NO_SEAT) };
        if level.queues.is_empty() && level.take(self.pool, &mut self.lent) {
            return Entered::Seated;
        }
        let Some(queuing) = level.limits.queuing else { return Entered::TurnedAway(NO_SEAT) };
        let length = |queue: &u64| level.queues.get(queue).map_or(0, VecDeque::len);
        let shortest = deal(flow, queuing).into_iter().min_by_key(length);
        let Some(queue) = shortest.filter(|queue| length(queue) < queuing.length) else {
            return Entered::TurnedAway(QUEUE_FULL);
        };
        self.waiters += 1;
        let (id, (sender, seat)) = (self.waiters, oneshot::channel());
        level.queues.entry(queue).or_default().push_back(Waiter { id, seat: sender });
        Entered::Waiting(Ticket { id, queue, seat })
    }

    /// A seat becomes free.
    pub fn leave(&mut self, name: &str) {
        if let Some(level) = self.levels.get_mut(name) {
            level.give_back(&mut self.lent);
        }
        self.seat_waiting(name);
    }

    /// Who waited does so no longer, be it that it was given a seat meanwhile.
    pub fn give_up(&mut self, name: &str, queue: u64, id: u64) {
        let Some(level) = self.levels.get_mut(name) else { return };
        if let Some(waiters) = level.queues.get_mut(&queue)
            && let Some(position) = waiters.iter().position(|w| w.id == id)
        {
            waiters.remove(position);
            if waiters.is_empty() {
                level.queues.remove(&queue);
            }
            return;
        }
        self.leave(name);
    }

    /// First those of the level where something became free, then the others, who may take from the pool.
    fn seat_waiting(&mut self, first: &str) {
        if let Some(level) = self.levels.get_mut(first) {
            level.seat_waiting(self.pool, &mut self.lent);
        }
        for level in self.levels.values_mut() {
            level.seat_waiting(self.pool, &mut self.lent);
        }
    }

    /// Requests on seats and requests in queues, by level.
    #[cfg(test)]
    fn usage(&self, name: &str) -> (usize, usize) {
        let level = &self.levels[name];
        (level.seated, level.queues.values().map(VecDeque::len).sum())
    }
}

impl Level {
    fn take(&mut self, pool: usize, lent: &mut usize) -> bool {
        if self.seated - self.borrowed < self.limits.guaranteed {
            self.seated += 1;
            return true;
        }
        let free = *lent < pool && self.seated < self.limits.ceiling;
        if free {
            *lent += 1;
            self.borrowed += 1;
            self.seated += 1;
        }
        free
    }

    fn give_back(&mut self, lent: &mut usize) {
        if self.borrowed > 0 {
            self.borrowed -= 1;
            *lent = lent.saturating_sub(1);
        }
        self.seated = self.seated.saturating_sub(1);
    }

    fn seat_waiting(&mut self, pool: usize, lent: &mut usize) {
        while !self.queues.is_empty() && self.take(pool, lent) {
            let next = self.queues.range(self.served.saturating_add(1)..).next().or_else(|| self.queues.iter().next());
            let Some(queue) = next.map(|(queue, _)| *queue) else { return self.give_back(lent) };
            self.served = queue;
            let waiter = self.queues.get_mut(&queue).and_then(VecDeque::pop_front);
            if self.queues.get(&queue).is_none_or(VecDeque::is_empty) {
                self.queues.remove(&queue);
            }
            if waiter.is_none_or(|w| w.seat.send(()).is_err()) {
                self.give_back(lent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_QUEUE: Option<Queuing> = Some(Queuing { queues: 1, hand: 1, length: 2 });

    fn seats(levels: &[(&str, usize, usize, Option<Queuing>)]) -> Seats {
        let mut seats = Seats::default();
        let limits = |guaranteed, lendable, queuing| Limits { guaranteed, lendable, ceiling: usize::MAX, queuing };
        seats.configure(levels.iter().map(|(name, own, lent, q)| ((*name).into(), limits(*own, *lent, *q))).collect());
        seats
    }

    fn wait(seats: &mut Seats, level: &str, flow: u64) -> Ticket {
        match seats.enter(level, flow) {
            Entered::Waiting(ticket) => ticket,
            Entered::Seated => panic!("seated"),
            Entered::TurnedAway(why) => panic!("turned away: {why}"),
        }
    }

    #[test]
    fn waits_in_order_and_turns_away_from_a_full_queue() {
        let mut seats = seats(&[("a", 1, 0, ONE_QUEUE)]);
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
        let (mut first, mut second) = (wait(&mut seats, "a", 0), wait(&mut seats, "a", 0));
        assert!(matches!(seats.enter("a", 0), Entered::TurnedAway(QUEUE_FULL)));
        seats.leave("a");
        assert!(first.seat.try_recv().is_ok() && second.seat.try_recv().is_err());
        seats.leave("a");
        assert!(second.seat.try_recv().is_ok());
        seats.leave("a");
        assert_eq!(seats.usage("a"), (0, 0));
    }

    #[test]
    fn borrows_what_others_lend_and_never_what_is_their_own() {
        let mut seats = seats(&[("a", 1, 0, None), ("b", 1, 1, None)]);
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
        assert!(matches!(seats.enter("a", 0), Entered::TurnedAway(NO_SEAT)));
        assert!(matches!(seats.enter("b", 0), Entered::Seated));
        assert!(matches!(seats.enter("b", 0), Entered::TurnedAway(NO_SEAT)));
        seats.leave("a");
        assert!(matches!(seats.enter("b", 0), Entered::Seated));
        assert!(matches!(seats.enter("a", 0), Entered::TurnedAway(NO_SEAT)));
    }

    #[test]
    fn a_pool_seat_goes_to_whoever_waits() {
        let mut seats = seats(&[("a", 0, 1, None), ("b", 0, 0, ONE_QUEUE)]);
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
        let mut waiting = wait(&mut seats, "b", 0);
        seats.leave("a");
        assert!(waiting.seat.try_recv().is_ok());
    }

    #[test]
    fn who_gives_up_takes_no_seat_along() {
        let mut seats = seats(&[("a", 1, 0, ONE_QUEUE)]);
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
        let (gone, late) = (wait(&mut seats, "a", 0), wait(&mut seats, "a", 0));
        seats.give_up("a", gone.queue, gone.id);
        seats.leave("a");
        // It has its seat and does not know yet.
        seats.give_up("a", late.queue, late.id);
        assert_eq!(seats.usage("a"), (0, 0));
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
    }

    #[test]
    fn one_flow_does_not_keep_another_out() {
        let queuing = Queuing { queues: 8, hand: 1, length: 50 };
        let mut seats = seats(&[("a", 1, 0, Some(queuing))]);
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
        let crowd: Vec<Ticket> = (0..50).map(|_| wait(&mut seats, "a", 3)).collect();
        let mut other = wait(&mut seats, "a", 5);
        seats.leave("a");
        seats.leave("a");
        assert!(other.seat.try_recv().is_ok());
        drop(crowd);
    }

    #[test]
    fn a_level_that_is_gone_drains() {
        let mut seats = seats(&[("a", 1, 0, ONE_QUEUE)]);
        assert!(matches!(seats.enter("a", 0), Entered::Seated));
        let mut waiting = wait(&mut seats, "a", 0);
        seats.configure(Vec::new());
        seats.leave("a");
        assert!(waiting.seat.try_recv().is_ok());
        seats.leave("a");
        seats.configure(Vec::new());
        assert!(matches!(seats.enter("a", 0), Entered::TurnedAway(NO_SEAT)));
    }

    #[test]
    fn hands_are_of_different_queues() {
        for hash in [0, 1, 77, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let mut hand = deal(hash, Queuing { queues: 7, hand: 6, length: 1 });
            hand.sort_unstable();
            hand.dedup();
            assert!(hand.len() == 6 && hand.iter().all(|queue| *queue < 7), "{hand:?}");
        }
    }
}
