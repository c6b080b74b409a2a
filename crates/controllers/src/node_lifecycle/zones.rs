//! How fast nodes that are not ready may be emptied, by the state of their zone.
//!
//! When much of a zone fails at once it is more likely the zone, or the way to it, than its machines: its pods are then
//! moved slowly or not at all. When no node of the cluster is ready, it is more likely us who are cut off: nothing is
//! moved, and what was begun is taken back. Source: "Rate limits on eviction" in the documentation of nodes.
use foldhash::HashMap;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::time::Duration;

/// A node with this label does not count in its zone.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// As the flags say; rates in nodes a second.
#[derive(Clone, Copy)]
pub struct Rates {
    /// In a zone that is well, and in one that is wholly gone while others are well.
    pub normal: f64,
    /// In a large zone of which much is gone; in a small one it is 0.
    pub reduced: f64,
    /// The share of nodes that are not ready from which on much of a zone is gone.
    pub unhealthy: f64,
    /// More nodes than these make a zone large.
    pub large: usize,
}

/// Whether a node's pods may be driven away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Now; this has been counted.
    Allowed,
    /// Others come first, or the zone's state forbids it: ask again after this time.
    Waits(Duration),
    /// No node of the cluster is ready: also take back what was begun.
    Stopped,
}

#[derive(Clone, PartialEq, Eq)]
struct Place {
    zone: String,
    ready: bool,
    counts: bool,
}

/// A zone's nodes and its bucket of one token.
struct Zone {
    ready: usize,
    unready: usize,
    tokens: f64,
    filled: Timestamp,
}

impl Zone {
    fn is_gone(&self) -> bool {
        self.ready == 0 && self.unready > 0
    }

    fn rate(&self, rates: &Rates) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "numbers of nodes")]
        let share = self.unready as f64 / (self.ready + self.unready).max(1) as f64;
        if self.is_gone() || self.unready <= 2 || share < rates.unhealthy {
            rates.normal
        } else if self.ready + self.unready > rates.large {
            rates.reduced
        } else {
            0.0
        }
    }

    fn fill(&mut self, rates: &Rates, now: Timestamp) {
        let seconds = now.duration_since(self.filled).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + seconds * self.rate(rates)).min(1.0);
        self.filled = now;
    }
}

/// Where every node is, and how the zones fare.
pub struct Zones {
    rates: Rates,
    nodes: HashMap<String, Place>,
    zones: HashMap<String, Zone>,
    /// When a node was ready again after none was.
    resumed: Option<Timestamp>,
}

impl Zones {
    pub fn new(rates: Rates) -> Self {
        Self { rates, nodes: HashMap::default(), zones: HashMap::default(), resumed: None }
    }

    /// A node as it is now.
    pub fn see(&mut self, node: &Node, ready: bool, now: Timestamp) {
        let labels = node.metadata.labels.as_ref();
        let counts = !labels.is_some_and(|labels| labels.contains_key(EXCLUDED));
        let place = Place { zone: zone_of(node), ready, counts };
        let name = node.metadata.name.clone().unwrap_or_default();
        if self.nodes.get(&name) == Some(&place) {
            return;
        }
        let was_stopped = self.is_stopped();
        self.leave(&name, now);
        if let Some(zone) = self.count(&place, now) {
            *zone += 1;
        }
        self.nodes.insert(name, place);
        if was_stopped && !self.is_stopped() {
            self.resumed = Some(now);
        }
    }

    /// The node is no more.
    pub fn leave(&mut self, name: &str, now: Timestamp) {
        let Some(place) = self.nodes.remove(name) else { return };
        if let Some(number) = self.count(&place, now) {
            *number -= 1;
        }
        self.zones.retain(|_, zone| zone.ready + zone.unready > 0);
    }

    /// The number that the place is counted in, after what the zone's rate gave until now.
    fn count(&mut self, place: &Place, now: Timestamp) -> Option<&mut usize> {
        let fresh = || Zone { ready: 0, unready: 0, tokens: 1.0, filled: now };
        let zone = place.counts.then(|| self.zones.entry(place.zone.clone()).or_insert_with(fresh))?;
        zone.fill(&self.rates, now);
        Some(if place.ready { &mut zone.ready } else { &mut zone.unready })
    }

    /// Whether no node is ready anywhere.
    pub fn is_stopped(&self) -> bool {
        !self.zones.is_empty() && self.zones.values().all(Zone::is_gone)
    }

    /// When a node was ready again after none was: silence of the others counts from then.
    pub fn resumed(&self) -> Option<Timestamp> {
        self.resumed
    }

    /// Asks for the node's turn. `retry`: when to ask again where the rate is 0.
    pub fn ask(&mut self, node: &Node, retry: Duration, now: Timestamp) -> Eviction {
        if self.is_stopped() {
            return Eviction::Stopped;
        }
        // A zone of nodes that do not count is as one that is well.
        let fresh = || Zone { ready: 0, unready: 0, tokens: 1.0, filled: now };
        let zone = self.zones.entry(zone_of(node)).or_insert_with(fresh);
        zone.fill(&self.rates, now);
        if zone.tokens >= 1.0 && zone.rate(&self.rates) > 0.0 {
            zone.tokens = 0.0;
            return Eviction::Allowed;
        }
        let rate = zone.rate(&self.rates);
        let missing = Duration::try_from_secs_f64((1.0 - zone.tokens) / rate).unwrap_or(retry);
        Eviction::Waits(missing.min(retry).max(Duration::from_millis(100)))
    }
}

/// Region and zone of a node; the older labels first, as upstream's `GetZoneKey`.
fn zone_of(node: &Node) -> String {
    let label = |old: &str, new: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(old).or_else(|| labels.get(new))).cloned().unwrap_or_default()
    };
    let region = label("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
    let zone = label("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    format!("{region}:\0:{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{now, object};
    use jiff::SignedDuration;

    const RATES: Rates = Rates { normal: 0.1, reduced: 0.01, unhealthy: 0.55, large: 50 };
    const RETRY: Duration = Duration::from_secs(5);

    fn node(zone: &str, number: usize) -> Node {
        object(&format!("metadata: {{name: {zone}{number}, labels: {{topology.kubernetes.io/zone: {zone}}}}}"))
    }

    /// A zone of that many nodes, of which the first are not ready.
    fn add(zones: &mut Zones, name: &str, nodes: usize, unready: usize) {
        for number in 0..nodes {
            zones.see(&node(name, number), number >= unready, now());
        }
    }

    fn after(seconds: i64) -> Timestamp {
        now() + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn one_node_each_ten_seconds_in_a_zone_that_is_well() {
        let mut zones = Zones::new(RATES);
        add(&mut zones, "a", 4, 2);
        assert_eq!(zones.ask(&node("a", 0), RETRY, now()), Eviction::Allowed);
        assert_eq!(zones.ask(&node("a", 1), RETRY, now()), Eviction::Waits(RETRY));
        assert_eq!(zones.ask(&node("a", 1), RETRY, after(9)), Eviction::Waits(Duration::from_secs(1)));
        assert_eq!(zones.ask(&node("a", 1), RETRY, after(11)), Eviction::Allowed);
    }

    #[test]
    fn the_rate_of_a_zone() {
        // Nodes, those not ready, and how long the second waits.
        for (nodes, unready, waits_s) in [(10, 5, Some(10)), (10, 6, None), (3, 2, Some(10)), (60, 40, Some(100))] {
            let mut zones = Zones::new(RATES);
            add(&mut zones, "a", nodes, unready);
            add(&mut zones, "b", 1, 0);
            let first = zones.ask(&node("a", 0), RETRY, now());
            assert_eq!(first == Eviction::Allowed, waits_s.is_some(), "{unready} of {nodes}");
            let at = waits_s.unwrap_or(10_000);
            assert!(
                matches!(zones.ask(&node("a", 1), RETRY, after(at - 1)), Eviction::Waits(_)),
                "{unready} of {nodes}"
            );
            let then = zones.ask(&node("a", 1), RETRY, after(at + 1));
            assert_eq!(then == Eviction::Allowed, waits_s.is_some(), "{unready} of {nodes}");
        }
    }

    #[test]
    fn a_zone_that_is_gone_is_emptied_while_another_is_well() {
        let mut zones = Zones::new(RATES);
        add(&mut zones, "a", 5, 5);
        assert_eq!(zones.ask(&node("a", 0), RETRY, now()), Eviction::Stopped);
        add(&mut zones, "b", 1, 0);
        assert_eq!(zones.ask(&node("a", 0), RETRY, now()), Eviction::Allowed);
        assert_eq!(zones.resumed(), Some(now()));
        // The last one that is well goes: all stops, until it is back.
        zones.see(&node("b", 0), false, after(60));
        assert!(zones.is_stopped());
        zones.see(&node("b", 0), true, after(90));
        assert_eq!((zones.is_stopped(), zones.resumed()), (false, Some(after(90))));
        zones.leave("b0", after(91));
        assert!(zones.is_stopped());
    }

    #[test]
    fn nodes_may_ask_not_to_count() {
        let mut zones = Zones::new(RATES);
        let out: Node = object("metadata: {name: out, labels: {node.kubernetes.io/exclude-disruption: ''}}");
        zones.see(&out, false, now());
        assert_eq!(zones.ask(&out, RETRY, now()), Eviction::Allowed);
    }
}
