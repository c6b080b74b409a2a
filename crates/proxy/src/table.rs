//! The table in the kernel, as we know it, and the transactions that change it.
//!
//! Every service's rules are remembered as they were installed, so that a change of one service costs what that
//! service costs. Two services may claim one address and port (external IPs); the first by name has it until it
//! lets go. A transaction is text for `nft -f -`: it happens as a whole or not at all.
//!
//! Chains nobody needs any more are emptied at once and deleted a little later: older kernels count a map's
//! reference to a chain for a while after it is gone (upstream's nftables mode, `staleChains`).
use crate::{
    model::Family,
    ruleset::{Collection, Rules, Value},
};
use client::Key;
use foldhash::HashMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};
use tokio::time::Instant;

/// How long an unused chain stays, empty.
const STALE: Duration = Duration::from_secs(1);

/// How the table is set up, apart from services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub family: Family,
    /// `kube-proxy`, unless several clusters share a network namespace.
    pub name: String,
    /// The bit that marks packets to be masqueraded.
    pub masquerade_mark: u32,
    /// Networks whose addresses take node-port traffic, besides those in `nodeport-ips`.
    pub node_port_networks: Vec<String>,
}

type Element = (Collection, String);

/// See the module's documentation.
pub struct Table {
    options: Options,
    services: HashMap<Key, Rules>,
    claims: HashMap<Element, BTreeMap<Key, Value>>,
    stale: BTreeMap<String, Instant>,
}

/// A text under construction, in nftables' order of need.
#[derive(Default)]
struct Transaction {
    chains: BTreeSet<String>,
    flushes: BTreeSet<String>,
    set_deletions: BTreeSet<String>,
    sets: BTreeMap<String, String>,
    rules: Vec<(String, Vec<String>)>,
    /// Elements whose value may have changed, with the value before.
    touched: BTreeMap<Element, Option<Value>>,
    removed_chains: BTreeSet<String>,
    removed_sets: BTreeSet<String>,
}

impl Table {
    pub fn new(options: Options) -> Self {
        Table { options, services: HashMap::default(), claims: HashMap::default(), stale: BTreeMap::new() }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What a service has installed.
    pub fn rules(&self, key: &Key) -> Option<&Rules> {
        self.services.get(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.services.keys()
    }

    fn effective(&self, element: &Element) -> Option<&Value> {
        self.claims.get(element).and_then(|owners| owners.values().next())
    }

    fn claim(&mut self, key: &Key, old: &Rules, new: &Rules, transaction: &mut Transaction) {
        for (element, value) in &new.elements {
            if old.elements.get(element) != Some(value) {
                let before = self.effective(element).cloned();
                transaction.touched.entry(element.clone()).or_insert(before);
                self.claims.entry(element.clone()).or_default().insert(key.clone(), value.clone());
            }
        }
        for element in old.elements.keys().filter(|element| !new.elements.contains_key(*element)) {
            let before = self.effective(element).cloned();
            transaction.touched.entry(element.clone()).or_insert(before);
            if let Some(owners) = self.claims.get_mut(element) {
                owners.remove(key);
                if owners.is_empty() {
                    self.claims.remove(element);
                }
            }
        }
    }

    /// Takes over new rules of some services (empty: the service is gone). The transaction that brings the kernel
    /// to it; empty if there is nothing to do.
    pub fn update(&mut self, changes: Vec<(Key, Rules)>, now: Instant) -> String {
        let mut transaction = Transaction::default();
        for (key, new) in changes {
            let old = self.services.remove(&key).unwrap_or_default();
            if old != new {
                self.claim(&key, &old, &new, &mut transaction);
                self.chains(&old, &new, &mut transaction);
            }
            if !new.is_empty() {
                self.services.insert(key, new);
            }
        }
        self.render(transaction, now)
    }

    fn chains(&mut self, old: &Rules, new: &Rules, transaction: &mut Transaction) {
        for (chain, rules) in &new.chains {
            match old.chains.get(chain) {
                Some(before) if before == rules => continue,
                Some(_) => {
                    transaction.flushes.insert(chain.clone());
                }
                None => {
                    self.stale.remove(chain);
                    transaction.removed_chains.remove(chain);
                    transaction.chains.insert(chain.clone());
                    // Empty if it is new; if it was stale it is empty too.
                }
            }
            transaction.rules.push((chain.clone(), rules.clone()));
        }
        let gone = old.chains.keys().filter(|chain| !new.chains.contains_key(*chain));
        transaction.removed_chains.extend(gone.cloned());
        for (set, definition) in &new.sets {
            match old.sets.get(set) {
                Some(before) if before == definition => continue,
                Some(_) => {
                    // A set's timeout cannot be changed: it is made anew, and what refers to it with it.
                    transaction.set_deletions.insert(set.clone());
                    self.rewrite(old, new, transaction);
                }
                None => {}
            }
            transaction.sets.insert(set.clone(), definition.clone());
        }
        transaction.removed_sets.extend(old.sets.keys().filter(|set| !new.sets.contains_key(*set)).cloned());
    }

    /// All of a service's chains are written again.
    fn rewrite(&self, old: &Rules, new: &Rules, transaction: &mut Transaction) {
        for (chain, rules) in &new.chains {
            if old.chains.contains_key(chain) && transaction.flushes.insert(chain.clone()) {
                transaction.rules.push((chain.clone(), rules.clone()));
            }
        }
    }

    fn render(&mut self, transaction: Transaction, now: Instant) -> String {
        let place = format!("{} {}", self.options.family.keyword(), self.options.name);
        let mut out = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| {
            let _ = out.write_fmt(text);
            out.push('\n');
        };
        for chain in &transaction.chains {
            line(format_args!("add chain {place} {chain}"));
        }
        for chain in transaction.flushes.iter().chain(&transaction.removed_chains) {
            line(format_args!("flush chain {place} {chain}"));
        }
        let mut added: BTreeMap<Collection, Vec<String>> = BTreeMap::new();
        let mut deleted: BTreeMap<Collection, Vec<String>> = BTreeMap::new();
        for (element, before) in &transaction.touched {
            let after = self.effective(element);
            if before.as_ref() == after {
                continue;
            }
            let (collection, key) = element;
            if let Some(before) = before {
                let value = Value { comment: String::new(), verdict: before.verdict.clone() };
                deleted.entry(*collection).or_default().push(Rules::element_text(key, &value));
            }
            if let Some(after) = after {
                added.entry(*collection).or_default().push(Rules::element_text(key, after));
            }
        }
        for (collection, elements) in &deleted {
            line(format_args!("delete element {place} {} {{ {} }}", collection.name(), elements.join(", ")));
        }
        for set in transaction.set_deletions.iter().chain(&transaction.removed_sets) {
            line(format_args!("delete set {place} {set}"));
        }
        for (set, definition) in &transaction.sets {
            line(format_args!("add set {place} {set} {definition}"));
        }
        for (chain, rules) in &transaction.rules {
            for rule in rules {
                line(format_args!("add rule {place} {chain} {rule}"));
            }
        }
        for (collection, elements) in &added {
            line(format_args!("add element {place} {} {{ {} }}", collection.name(), elements.join(", ")));
        }
        // Only chains that were empty for a while: nothing of this transaction refers to them.
        let due: Vec<String> =
            self.stale.iter().filter(|(_, since)| now - **since >= STALE).map(|(chain, _)| chain.clone()).collect();
        for chain in due {
            self.stale.remove(&chain);
            line(format_args!("delete chain {place} {chain}"));
        }
        self.stale.extend(transaction.removed_chains.into_iter().map(|chain| (chain, now)));
        out
    }

    /// When stale chains can be deleted, if there are any.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.stale.values().min().map(|since| *since + STALE)
    }

    /// The transaction that makes the whole table anew, whatever is there.
    pub fn rebuild(&mut self) -> String {
        self.stale.clear();
        let place = format!("{} {}", self.options.family.keyword(), self.options.name);
        let mut out = format!("add table {place}\ndelete table {place}\n");
        out.push_str(&crate::base::table(&self.options));
        let mut services: Vec<_> = self.services.iter().collect();
        services.sort_by_key(|(key, _)| *key);
        for (_, rules) in &services {
            for chain in rules.chains.keys() {
                let _ = writeln!(out, "add chain {place} {chain}");
            }
            for (set, definition) in &rules.sets {
                let _ = writeln!(out, "add set {place} {set} {definition}");
            }
        }
        for (_, rules) in &services {
            for (chain, lines) in &rules.chains {
                for rule in lines {
                    let _ = writeln!(out, "add rule {place} {chain} {rule}");
                }
            }
        }
        let mut elements: BTreeMap<Collection, Vec<(&String, &Value)>> = BTreeMap::new();
        for ((collection, key), owners) in &self.claims {
            if let Some(value) = owners.values().next() {
                elements.entry(*collection).or_default().push((key, value));
            }
        }
        for (collection, mut list) in elements {
            list.sort_by_key(|(key, _)| *key);
            // Many elements at a time: one statement for each is what makes nft slow.
            for chunk in list.chunks(1000) {
                let texts: Vec<_> = chunk.iter().map(|(key, value)| Rules::element_text(key, value)).collect();
                let _ = writeln!(out, "add element {place} {} {{ {} }}", collection.name(), texts.join(", "));
            }
        }
        out
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
