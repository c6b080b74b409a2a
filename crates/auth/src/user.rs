//! [`UserInfo`], and the names upstream reserves.
use std::collections::BTreeMap;

/// Who a request is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    /// Empty when the authenticator knows none.
    pub uid: String,
    pub groups: Vec<String>,
    /// Keys are lower-case, as upstream has them.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// User names with a meaning.
pub mod users {
    pub const ANONYMOUS: &str = "system:anonymous";
    pub const NODE_PREFIX: &str = "system:node:";
    pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
    pub const BOOTSTRAP_PREFIX: &str = "system:bootstrap:";
    pub const KUBE_SCHEDULER: &str = "system:kube-scheduler";
    pub const KUBE_CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
    pub const KUBE_PROXY: &str = "system:kube-proxy";
    pub const API_SERVER: &str = "system:apiserver";
}

/// Group names with a meaning.
pub mod groups {
    pub const MASTERS: &str = "system:masters";
    pub const NODES: &str = "system:nodes";
    pub const AUTHENTICATED: &str = "system:authenticated";
    pub const UNAUTHENTICATED: &str = "system:unauthenticated";
    pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
    pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
    pub const MONITORING: &str = "system:monitoring";
}

impl UserInfo {
    /// A user with these groups, and no uid or extra.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let groups = groups.into_iter().map(Into::into).collect();
        UserInfo { name: name.into(), groups, ..UserInfo::default() }
    }

    /// `system:anonymous` in `system:unauthenticated`.
    pub fn anonymous() -> Self {
        Self::new(users::ANONYMOUS, [groups::UNAUTHENTICATED])
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node this user is the kubelet of: `system:node:<name>` in `system:nodes`.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix(users::NODE_PREFIX).filter(|name| !name.is_empty())?;
        self.in_group(groups::NODES).then_some(name)
    }

    /// Namespace and name of the service account this user is.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.name.strip_prefix(users::SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// The user a service account is to the API.
    pub fn of_service_account(namespace: &str, name: &str, uid: &str) -> Self {
        UserInfo {
            name: format!("{}{namespace}:{name}", users::SERVICE_ACCOUNT_PREFIX),
            uid: uid.to_owned(),
            groups: vec![groups::SERVICE_ACCOUNTS.to_owned(), format!("{}:{namespace}", groups::SERVICE_ACCOUNTS)],
            extra: BTreeMap::new(),
        }
    }
}
