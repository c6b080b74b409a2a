//! The tables of both families in the kernel: changes, repair, removal.
use crate::{
    model::Family,
    ruleset::Rules,
    table::{Options, Table},
};
use client::Key;
use nft::{Error, Nft};
use tokio::time::Instant;

/// The tables, and whether the kernel has what we think it has.
pub struct Dataplane {
    nft: Nft,
    tables: Vec<Table>,
    /// The kernel's state is not known: the next change makes the tables anew.
    dirty: bool,
}

impl Dataplane {
    pub fn new(nft: Nft, options: Vec<Options>) -> Self {
        Dataplane { nft, tables: options.into_iter().map(Table::new).collect(), dirty: true }
    }

    pub fn families(&self) -> Vec<Family> {
        self.tables.iter().map(|table| table.options().family).collect()
    }

    pub fn table(&self, family: Family) -> Option<&Table> {
        self.tables.iter().find(|table| table.options().family == family)
    }

    /// Everything is to be made anew.
    pub fn invalidate(&mut self) {
        self.dirty = true;
    }

    /// Takes over new rules of some services. All or nothing, both families together.
    ///
    /// # Errors
    /// The kernel has what it had; the next call makes everything anew.
    pub async fn update(&mut self, mut changes: Vec<(Family, Vec<(Key, Rules)>)>) -> Result<(), Error> {
        let now = Instant::now();
        let mut transaction = String::new();
        for table in &mut self.tables {
            let family = table.options().family;
            let of_family = changes.iter_mut().filter(|(f, _)| *f == family);
            let of_family = of_family.flat_map(|(_, changes)| std::mem::take(changes)).collect();
            transaction.push_str(&table.update(of_family, now));
        }
        if self.dirty {
            transaction = self.tables.iter_mut().map(Table::rebuild).collect();
        }
        if transaction.is_empty() {
            return Ok(());
        }
        tracing::trace!(transaction, "nft");
        let result = self.nft.apply(&transaction).await;
        self.dirty = result.is_err();
        result
    }

    /// Looks whether somebody took our tables away; if so, the next update makes them anew.
    pub async fn check(&mut self) -> bool {
        for table in &self.tables {
            let options = table.options();
            // Its heart: the chain that leads to the services.
            let services = self.nft.chain(options.family.keyword(), &options.name, "services").await;
            if !services.is_ok_and(|chain| chain.is_some_and(|text| text.contains("vmap"))) {
                tracing::warn!(table = options.name, family = options.family.keyword(), "our nftables table is gone");
                self.dirty = true;
            }
        }
        self.dirty
    }

    /// When unused chains can be deleted.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.tables.iter().filter_map(Table::next_deadline).min()
    }
}

/// Removes the tables of this name.
///
/// # Errors
/// The kernel refuses.
pub async fn remove(nft: &Nft, name: &str) -> Result<(), Error> {
    for family in Family::ALL {
        nft.delete_table(family.keyword(), name).await?;
    }
    Ok(())
}
