//! Building an [`Info`]: what most kinds have in common is the start, each call says what is different.
use crate::resource::{Conversion, Info, Scope, Served, Str, Subresource};

/// What can be done with nearly every kind, in discovery's order.
pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const ON_EXISTING: &[&str] = &["get", "patch", "update"];

impl Info {
    /// A namespaced kind with all verbs, stored under its plural, that may be updated with no resourceVersion.
    pub fn new(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Info {
            served: vec![Served { group: group.into(), version: version.into(), kind: kind.into(), convert: None }],
            plural: plural.into(),
            singular: kind.to_ascii_lowercase().into(),
            list_kind: format!("{kind}List").into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: Scope::Namespaced,
            storage_prefix: plural.into(),
            verbs: ALL_VERBS,
            subresources: Vec::new(),
            selectable_fields: &[],
            ttl_seconds: 0,
            unconditional_update: true,
            create_on_update: false,
        }
    }

    pub fn cluster(mut self) -> Self {
        self.scope = Scope::Cluster;
        self
    }

    pub fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().map(|n| Str::Borrowed(n)).collect();
        self
    }

    pub fn category(mut self, name: &'static str) -> Self {
        self.categories.push(name.into());
        self
    }

    /// Under `/registry`, where it is not the plural.
    pub fn stored_at(mut self, prefix: &'static str) -> Self {
        self.storage_prefix = prefix.into();
        self
    }

    /// Another group or version of the same objects.
    pub fn also(mut self, group: &'static str, version: &'static str, convert: Option<Conversion>) -> Self {
        let kind = self.served.first().map(|s| s.kind.clone()).unwrap_or_default();
        self.served.push(Served { group: group.into(), version: version.into(), kind, convert });
        self
    }

    pub fn sub(
        mut self,
        name: &'static str,
        (group, version, kind): (&'static str, &'static str, &'static str),
        verbs: &'static [&'static str],
    ) -> Self {
        self.subresources.push(Subresource {
            name: name.into(),
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            verbs,
        });
        self
    }

    /// A subresource whose body is the object itself.
    pub fn sub_same(mut self, name: &'static str) -> Self {
        if let Some(main) = self.served.first() {
            let (group, version, kind) = (main.group.clone(), main.version.clone(), main.kind.clone());
            self.subresources.push(Subresource { name: name.into(), group, version, kind, verbs: ON_EXISTING });
        }
        self
    }

    pub fn status(self) -> Self {
        self.sub_same("status")
    }

    pub fn scale(self) -> Self {
        self.sub("scale", ("autoscaling", "v1", "Scale"), ON_EXISTING)
    }

    pub fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.verbs = verbs;
        self
    }

    /// Objects expire that many seconds after their last write.
    pub fn expires_after(mut self, seconds: u32) -> Self {
        self.ttl_seconds = seconds;
        self
    }

    pub fn selectable(mut self, fields: &'static [&'static str]) -> Self {
        self.selectable_fields = fields;
        self
    }

    pub fn needs_resource_version(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    pub fn created_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }
}
