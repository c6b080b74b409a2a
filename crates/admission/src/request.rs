//! What a plugin sees of a request.
use api::Object;
use auth::UserInfo;
use std::collections::BTreeMap;

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
