//! What a plugin sees of a request.
use api::Object;
use apimachinery::{ApiError, status::On};
use auth::UserInfo;
use std::{any::Any, collections::BTreeMap, fmt::Display};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, port-forward, proxy
    Connect,
}

impl Operation {
    /// `CREATE`, … as upstream prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// One request on its way to storage.
pub struct Request<'a> {
    pub operation: Operation,
    /// Empty for the core group.
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// For `namespaces` themselves the name, as upstream has it.
    pub namespace: &'a str,
    /// Empty while a generated name is still to be made.
    pub name: &'a str,
    pub user: &'a UserInfo,
    /// Defaulted, not yet validated. `None` for deletes, and for subresource bodies that are not an [`Object`].
    pub object: Option<&'a mut dyn Object>,
    /// What is stored, for updates and deletes.
    pub old: Option<&'a dyn Object>,
    /// Nothing may be written anywhere.
    pub dry_run: bool,
    /// Sent as `Warning` headers.
    pub warnings: &'a mut Vec<String>,
    /// Goes into the audit event.
    pub audit_annotations: &'a mut BTreeMap<String, String>,
}

impl Request<'_> {
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.resource == resource && self.group == group
    }

    /// The object, when it is a `T`.
    pub fn typed<T: Any>(&self) -> Option<&T> {
        self.object.as_deref()?.as_any().downcast_ref()
    }

    /// The object, when it is a `T`, to be changed.
    pub fn typed_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.object.as_deref_mut()?.as_any_mut().downcast_mut()
    }

    /// The stored object, when it is a `T`.
    pub fn typed_old<T: Any>(&self) -> Option<&T> {
        self.old?.as_any().downcast_ref()
    }

    /// What errors call the object: its name, what it is generated from, or `Unknown`.
    pub fn shown_name(&self) -> &str {
        if !self.name.is_empty() {
            return self.name;
        }
        let meta = self.object.as_deref().map(Object::metadata);
        let of = |text: Option<&String>| text.filter(|t| !t.is_empty()).is_some();
        match meta {
            Some(meta) if of(meta.name.as_ref()) => meta.name.as_deref().unwrap_or_default(),
            Some(meta) if of(meta.generate_name.as_ref()) => meta.generate_name.as_deref().unwrap_or_default(),
            _ => "Unknown",
        }
    }

    /// The 403 of a plugin: `pods "web" is forbidden: …`.
    pub fn forbidden(&self, why: impl Display) -> ApiError {
        ApiError::forbidden(On { group: self.group, resource: self.resource }, self.shown_name(), &why.to_string())
    }
}
