//! Secrets of type `kubernetes.io/service-account-token`: filled with a token of the account they name,
//! deleted when it goes.
//!
//! Watches such secrets and service accounts. Tokens made this way do not expire; pods get theirs from
//! the TokenRequest API instead. Source: "Service accounts: manually create a long-lived API token".
mod sign;

use crate::flags;
use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key, cache::Selection};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use kube::Api;
use sign::Signer;
use std::sync::Arc;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const BY_ACCOUNT: &str = "account";

struct Tokens {
    secrets: Cache<Secret>,
    accounts: Cache<ServiceAccount>,
    client: kube::Client,
    signer: Signer,
    ca_pem: Option<String>,
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn account_of(secret: &Secret) -> Option<Key> {
    let name = annotation(secret, ACCOUNT)?;
    Some(Key::new(secret.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Start the service account token controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let Some(key) = &setup.flags.service_account_private_key_file else {
        return Err("it needs --service-account-private-key-file".to_owned());
    };
    let signer = Signer::from_pem(&flags::file("service-account-private-key-file", key)?)?;
    let ca_pem = setup.flags.root_ca_file.as_ref().map(|path| flags::file("root-ca-file", path)).transpose()?;
    let secrets = setup.cache_selected::<Secret>(&Selection::field("type", TYPE));
    secrets.add_index(BY_ACCOUNT, |secret| account_of(secret).map(|key| key.to_string()).into_iter().collect());
    setup.follow(&secrets, |_, new, add| new.map(Key::of).into_iter().for_each(add));
    let known = secrets.clone();
    let accounts = setup.watch_changes::<ServiceAccount>(move |old, new, add| {
        let Some(account) = old.or(new).filter(|_| old.is_none() || new.is_none()) else { return };
        let account = Key::of(account).to_string();
        known.by_index(BY_ACCOUNT, &account).iter().for_each(|secret| add(Key::of(&**secret)));
    });
    Ok(Arc::new(Tokens { secrets, accounts, client: setup.client.clone(), signer, ca_pem }))
}

fn plan(
    secret: &Secret,
    account: Option<&ServiceAccount>,
    signer: &Signer,
    ca_pem: Option<&str>,
) -> Result<Plan, Failure> {
    let mut plan = Plan::nothing();
    let named = annotation(secret, ACCOUNT_UID);
    let same = |account: &&ServiceAccount| named.is_none_or(|uid| account.metadata.uid.as_deref() == Some(uid));
    let Some(account) = account.filter(same) else {
        plan.write(Write::delete(secret, None));
        return Ok(plan);
    };
    let uid = account.metadata.uid.clone().unwrap_or_default();
    let key = Key::of(secret);
    let mut filled = secret.clone();
    let data = filled.data.get_or_insert_default();
    if data.get("token").is_none_or(|token| token.0.is_empty()) {
        let token = signer.token(&key.namespace, &Key::of(account).name, &uid, &key.name).map_err(Failure::Invalid)?;
        data.insert("token".to_owned(), ByteString(token.into_bytes()));
    }
    if let Some(ca) = ca_pem.filter(|ca| data.get("ca.crt").is_none_or(|known| known.0 != ca.as_bytes())) {
        data.insert("ca.crt".to_owned(), ByteString(ca.as_bytes().to_vec()));
    }
    if data.get("namespace").is_none_or(|known| known.0 != key.namespace.as_bytes()) {
        data.insert("namespace".to_owned(), ByteString(key.namespace.as_bytes().to_vec()));
    }
    filled.metadata.annotations.get_or_insert_default().insert(ACCOUNT_UID.to_owned(), uid);
    if filled != *secret {
        plan.write(Write::replace(&filled).or_gone());
    }
    Ok(plan)
}

#[async_trait]
impl Controller for Tokens {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let Some(secret) = self.secrets.at(key).filter(|secret| secret.metadata.deletion_timestamp.is_none()) else {
            return Ok(Plan::nothing());
        };
        let Some(account_key) = account_of(&secret) else { return Ok(Plan::nothing()) };
        let account = match self.accounts.at(&account_key) {
            Some(account) => Some((*account).clone()),
            // The cache may be behind: nothing is deleted before the server has been asked.
            None => Api::namespaced(self.client.clone(), &key.namespace).get_opt(&account_key.name).await?,
        };
        plan(&secret, account.as_ref(), &self.signer, self.ca_pem.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;

    #[test]
    fn secrets_are_filled_or_go_with_their_account() {
        let key = pki::service_account::generate_key().expect("a key").0;
        let signer = Signer::from_pem(&key).expect("a signing key");
        let secret = |rest: &str| {
            object::<Arc<Secret>>(&format!(
                "metadata: {{name: s, namespace: a, annotations: {{kubernetes.io/service-account.name: robot{rest}}}}}"
            ))
        };
        let account: Arc<ServiceAccount> = object("metadata: {name: robot, namespace: a, uid: u1}");
        let text = |secret: &Secret, account| plan(secret, account, &signer, Some("CA")).expect("signed").to_string();
        assert_eq!(text(&secret(""), Some(&*account)), "replace Secret a/s\n");
        assert_eq!(text(&secret(""), None), "delete Secret a/s\n");
        let other = secret(", kubernetes.io/service-account.uid: u0");
        assert_eq!(text(&other, Some(&account)), "delete Secret a/s\n", "another account has the name now");
    }
}
