//! Bootstrap tokens: `<id>.<secret>`, kept in `kube-system` secrets named `bootstrap-token-<id>`.
//!
//! Source: "Authenticating with Bootstrap Tokens".
use crate::{Rejected, UserInfo, groups, users};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};
use storage::Lookup;

const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP_PREFIX: &str = "system:bootstrappers:";

/// Tokens kept in `kube-system` secrets.
pub struct Tokens {
    lookup: Arc<dyn Lookup>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Secret {
    metadata: Meta,
    #[serde(rename = "type")]
    kind: String,
    data: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    deletion_timestamp: Option<String>,
}

impl Secret {
    fn text(&self, key: &str) -> Option<String> {
        String::from_utf8(BASE64_STANDARD.decode(self.data.get(key)?).ok()?).ok()
    }
}

/// Id and secret of something shaped like a bootstrap token.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain =
        |s: &str, length: usize| s.len() == length && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

impl Tokens {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Tokens { lookup }
    }

    /// `None`: not a bootstrap token. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// It is one, but there is no such secret, or it has expired or is not for authentication.
    pub fn user(&self, token: &str, now: i64) -> Result<Option<Arc<UserInfo>>, Rejected> {
        let Some((id, secret)) = parts(token) else { return Ok(None) };
        let refused = |why: &str| Rejected(format!("bootstrap token {id}: {why}"));
        let json = self.lookup.get("secrets", "kube-system", &format!("bootstrap-token-{id}"));
        let stored = json.ok_or_else(|| refused("no such secret"))?;
        let stored: Secret = serde_json::from_slice(&stored).map_err(|_| refused("unreadable secret"))?;
        if stored.metadata.deletion_timestamp.is_some() {
            return Err(refused("being deleted"));
        }
        if stored.kind != SECRET_TYPE || stored.text("token-id").as_deref() != Some(id) {
            return Err(refused("not a bootstrap token secret of that id"));
        }
        let known = stored.text("token-secret").unwrap_or_default();
        if verify_slices_are_equal(known.as_bytes(), secret.as_bytes()).is_err() {
            return Err(refused("wrong secret"));
        }
        if let Some(expiration) = stored.text("expiration") {
            let at: jiff::Timestamp = expiration.parse().map_err(|_| refused("unreadable expiration"))?;
            if at.as_second() <= now {
                return Err(refused("expired"));
            }
        }
        if stored.text("usage-bootstrap-authentication").as_deref() != Some("true") {
            return Err(refused("not for authentication"));
        }
        let mut user = UserInfo::new(format!("{}{id}", users::BOOTSTRAP_PREFIX), [groups::BOOTSTRAPPERS]);
        for group in stored.text("auth-extra-groups").unwrap_or_default().split(',').filter(|g| !g.is_empty()) {
            if !group.starts_with(GROUP_PREFIX) {
                return Err(refused("a group that does not start with system:bootstrappers:"));
            }
            user.groups.push(group.to_owned());
        }
        user.groups.push(groups::AUTHENTICATED.to_owned());
        Ok(Some(Arc::new(user)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Objects;
    use serde_json::json;

    fn tokens(extra: &[(&str, &str)]) -> Tokens {
        let mut data = BTreeMap::from([
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ]);
        data.extend(extra.iter().copied());
        let data: BTreeMap<&str, String> = data.into_iter().map(|(k, v)| (k, BASE64_STANDARD.encode(v))).collect();
        let objects = Objects::default();
        let secret = json!({"metadata": {}, "type": SECRET_TYPE, "data": data});
        objects.put("secrets", "kube-system", "bootstrap-token-abcdef", secret.to_string().as_bytes());
        Tokens::new(Arc::new(objects))
    }

    #[test]
    fn a_good_token_is_a_bootstrapper() {
        let groups = ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token");
        let user = tokens(&[groups]).user("abcdef.0123456789abcdef", 0).expect("good").expect("a user");
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(
            user.groups,
            ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"]
        );
    }

    #[test]
    fn others_are_refused() {
        let good = "abcdef.0123456789abcdef";
        for (extra, token) in [
            (("x", ""), "abcdef.0123456789abcdee"),
            (("x", ""), "abcdeg.0123456789abcdef"),
            (("expiration", "2020-01-01T00:00:00Z"), good),
            (("usage-bootstrap-authentication", "false"), good),
            (("auth-extra-groups", "system:masters"), good),
            (("token-id", "other1"), good),
        ] {
            assert!(tokens(&[extra]).user(token, 1_700_000_000).is_err(), "{extra:?} {token}");
        }
        assert_eq!(tokens(&[]).user("not-one", 0).expect("not its kind"), None);
    }
}
