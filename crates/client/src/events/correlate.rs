//! Which occurrences are written as new events, which are counted on one already written, and which
//! are dropped. Pure; the clock is the occurrence's.
//!
//! As client-go's correlator: at most 25 events at once an object and source, then one every five
//! minutes; more than ten different messages of a kind within ten minutes are combined; equal events
//! are counted. What is remembered is bounded, the least recently used is forgotten.
use super::{EventType, Occurrence};
use foldhash::{HashMap, HashMapExt};
use jiff::Timestamp;
use std::{collections::BTreeSet, hash::Hash, sync::Arc};

/// Entries each memory keeps (client-go's cache size).
const REMEMBERED: usize = 4096;
const SPAM_BURST: f64 = 25.0;
const SPAM_QPS: f64 = 1.0 / 300.0;
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW_S: i64 = 600;

/// A bounded map that forgets what was not used for longest.
struct Memory<K, V> {
    entries: HashMap<K, (V, u64)>,
    ages: BTreeSet<(u64, K)>,
    tick: u64,
}

impl<K: Clone + Eq + Hash + Ord, V> Memory<K, V> {
    fn new() -> Self {
        Self { entries: HashMap::new(), ages: BTreeSet::new(), tick: 0 }
    }

    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.tick += 1;
        if let Some((_, age)) = self.entries.get(&key) {
            self.ages.remove(&(*age, key.clone()));
        } else if self.entries.len() >= REMEMBERED
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.ages.insert((self.tick, key.clone()));
        let slot = self.entries.entry(key).or_insert_with(|| (make(), 0));
        slot.1 = self.tick;
        &mut slot.0
    }
}

type Source = (Arc<str>, Arc<str>);
/// Kind, namespace, name, UID and API version of the object.
type Object = [String; 5];

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Similar {
    source: Source,
    object: Object,
    warning: bool,
    reason: String,
}

struct Spam {
    tokens: f64,
    at: Timestamp,
}

struct Messages {
    seen: BTreeSet<String>,
    last: Timestamp,
}

/// An event already written, to count further occurrences on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub name: String,
    pub count: i32,
    pub first: Timestamp,
}

/// The memory of one writer.
pub struct Correlator {
    spam: Memory<(Source, Object), Spam>,
    similar: Memory<Similar, Messages>,
    written: Memory<Identity, Option<Written>>,
}

/// What two events must share, besides their time, to be one event.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    similar: Similar,
    field_path: String,
    /// Empty for combined events.
    message: String,
}

/// What to do about an occurrence.
pub struct Verdict {
    /// The message to write.
    pub message: String,
    /// To be given to [`Correlator::wrote`].
    pub identity: Identity,
    /// The event to count it on, if there is one.
    pub repeat: Option<Written>,
}

impl Correlator {
    pub fn new() -> Self {
        Self { spam: Memory::new(), similar: Memory::new(), written: Memory::new() }
    }

    /// `None` if the object has had too many events.
    pub fn judge(&mut self, occurrence: &Occurrence) -> Option<Verdict> {
        let object = &occurrence.object;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let about = [
            text(&object.kind),
            text(&object.namespace),
            text(&object.name),
            text(&object.uid),
            text(&object.api_version),
        ];
        let source = (occurrence.component.clone(), occurrence.host.clone());
        let now = occurrence.at;
        if !self.allowed((source.clone(), about.clone()), now) {
            return None;
        }
        let warning = occurrence.kind == EventType::Warning;
        let similar = Similar { source, object: about, warning, reason: occurrence.reason.clone() };
        let messages = self.similar.entry(similar.clone(), || Messages { seen: BTreeSet::new(), last: now });
        if now.as_second() - messages.last.as_second() > SIMILAR_WINDOW_S {
            messages.seen.clear();
        }
        messages.last = now;
        messages.seen.insert(occurrence.message.clone());
        let combined = messages.seen.len() >= SIMILAR_MAX;
        if combined {
            messages.seen.pop_first();
        }
        let message = if combined {
            format!("(combined from similar events): {}", occurrence.message)
        } else {
            occurrence.message.clone()
        };
        let identity = Identity {
            similar,
            field_path: text(&object.field_path),
            message: if combined { String::new() } else { occurrence.message.clone() },
        };
        let repeat = self.written.entry(identity.clone(), || None).clone();
        Some(Verdict { message, identity, repeat })
    }

    /// Remember what was written for an occurrence.
    pub fn wrote(&mut self, identity: Identity, written: Written) {
        *self.written.entry(identity, || None) = Some(written);
    }

    fn allowed(&mut self, key: (Source, Object), now: Timestamp) -> bool {
        let spam = self.spam.entry(key, || Spam { tokens: SPAM_BURST, at: now });
        let passed = (now.as_millisecond() - spam.at.as_millisecond()).max(0) as f64 / 1000.0;
        spam.tokens = (spam.tokens + passed * SPAM_QPS).min(SPAM_BURST);
        spam.at = now;
        let allowed = spam.tokens >= 1.0;
        if allowed {
            spam.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn occurrence(second: i64, message: &str) -> Occurrence {
        Occurrence {
            object: ObjectReference { kind: Some("Pod".into()), name: Some("web".into()), ..Default::default() },
            kind: EventType::Warning,
            reason: "BackOff".into(),
            message: message.into(),
            at: Timestamp::from_second(second).expect("in range"),
            component: "kubelet".into(),
            host: "node".into(),
        }
    }

    fn write(correlator: &mut Correlator, second: i64, message: &str) -> String {
        let occurrence = occurrence(second, message);
        let Some(verdict) = correlator.judge(&occurrence) else { return "dropped".to_owned() };
        let count = verdict.repeat.map_or(1, |w| w.count + 1);
        let written = Written { name: "e".into(), count, first: occurrence.at };
        correlator.wrote(verdict.identity, written);
        format!("{} x{count}", verdict.message)
    }

    #[test]
    fn equal_events_are_counted() {
        let mut correlator = Correlator::new();
        assert_eq!(write(&mut correlator, 0, "a"), "a x1");
        assert_eq!(write(&mut correlator, 1, "a"), "a x2");
        assert_eq!(write(&mut correlator, 2, "b"), "b x1");
        assert_eq!(write(&mut correlator, 3, "a"), "a x3");
    }

    #[test]
    fn many_different_messages_are_combined() {
        let mut correlator = Correlator::new();
        for n in 0..9 {
            assert_eq!(write(&mut correlator, n, &format!("m{n}")), format!("m{n} x1"));
        }
        assert_eq!(write(&mut correlator, 10, "m10"), "(combined from similar events): m10 x1");
        assert_eq!(write(&mut correlator, 11, "m11"), "(combined from similar events): m11 x2");
        assert_eq!(write(&mut correlator, 700, "m12"), "m12 x1", "the window has passed");
    }

    #[test]
    fn chatter_is_limited() {
        let mut correlator = Correlator::new();
        let dropped = |c: &mut Correlator, second| write(c, second, "a") == "dropped";
        assert!((0..25).all(|_| !dropped(&mut correlator, 0)));
        assert!(dropped(&mut correlator, 1));
        assert!(!dropped(&mut correlator, 300));
        assert!(dropped(&mut correlator, 301));
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::new();
        for n in 0..REMEMBERED + 10 {
            memory.entry(n, || n);
            memory.entry(0, || 0);
        }
        assert_eq!((memory.entries.len(), memory.ages.len()), (REMEMBERED, REMEMBERED));
        assert!(memory.entries.contains_key(&0) && !memory.entries.contains_key(&1));
    }
}
