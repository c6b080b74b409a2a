//! Impersonation: `Impersonate-User`, `-Group`, `-Uid` and `-Extra-*` headers, each of which needs its own permission.
//!
//! Source: "User impersonation" in the authentication documentation.
use crate::{Attributes, Authorizer, UserInfo, groups, users};
use apimachinery::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// A value that is not text still asks for somebody else: leaving it out would act as the user who asks.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn texts(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    headers.get_all(name).iter().map(text)
}

/// `%2f` and the like, which header names cannot hold plainly; malformed escapes stay as they are.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let digit = |i: usize| tail.get(i).and_then(|b| char::from(*b).to_digit(16));
        if *byte == b'%'
            && let (Some(high), Some(low)) = (digit(0), digit(1))
            && let Ok(decoded) = u8::try_from(high * 16 + low)
        {
            out.push(decoded);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn requested(headers: &HeaderMap) -> Option<UserInfo> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            extra.entry(percent_decoded(key)).or_default().push(text(value));
        }
    }
    let wanted = UserInfo {
        name: texts(headers, &USER).next().unwrap_or_default(),
        uid: texts(headers, &UID).next().unwrap_or_default(),
        groups: texts(headers, &GROUP).collect(),
        extra,
    };
    (wanted != UserInfo::default()).then_some(wanted)
}

/// The user that `Impersonate-*` headers ask for, once `user` is found to be allowed to; `None` without such headers.
///
/// # Errors
/// 403 in upstream's words; 500, as upstream has it, for groups, uid or extra without a user.
pub fn resolve(
    headers: &HeaderMap,
    user: &UserInfo,
    authorizer: &dyn Authorizer,
) -> Result<Option<UserInfo>, ApiError> {
    let Some(mut wanted) = requested(headers) else { return Ok(None) };
    if wanted.name.is_empty() {
        return Err(ApiError::internal("requested groups, uid or extra without impersonating a user"));
    }
    let ask = |group, resource| Attributes::resource(user, "impersonate", group, resource);
    let account = wanted.service_account().map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    match &account {
        Some((namespace, name)) => {
            authorizer.require(&Attributes { version: "v1", namespace, name, ..ask("", "serviceaccounts") })?;
        }
        None => authorizer.require(&Attributes { version: "v1", name: &wanted.name, ..ask("", "users") })?,
    }
    for group in &wanted.groups {
        authorizer.require(&Attributes { version: "v1", name: group, ..ask("", "groups") })?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            let of = ask(AUTHENTICATION, "userextras");
            authorizer.require(&Attributes { version: "v1", subresource: key, name: value, ..of })?;
        }
    }
    if !wanted.uid.is_empty() {
        authorizer.require(&Attributes { version: "v1", name: &wanted.uid, ..ask(AUTHENTICATION, "uids") })?;
    }
    if let Some((namespace, name)) = account
        && wanted.groups.is_empty()
    {
        wanted.groups = UserInfo::of_service_account(&namespace, &name, "").groups;
    }
    if !wanted.in_group(groups::AUTHENTICATED) && !wanted.in_group(groups::UNAUTHENTICATED) {
        let group = if wanted.name == users::ANONYMOUS { groups::UNAUTHENTICATED } else { groups::AUTHENTICATED };
        wanted.groups.push(group.to_owned());
    }
    Ok(Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decision;
    use parking_lot::Mutex;

    /// Allows all but one resource, and notes what it was asked.
    #[derive(Default)]
    struct Except(&'static str, Mutex<Vec<String>>);

    impl Authorizer for Except {
        fn authorize(&self, a: &Attributes<'_>) -> (Decision, String) {
            self.1.lock().push(format!("{}|{}|{}|{}|{}", a.group, a.resource, a.subresource, a.namespace, a.name));
            let decision = if a.resource == self.0 { Decision::NoOpinion } else { Decision::Allow };
            (decision, String::new())
        }
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn names_that_are_not_ascii_are_somebody_else_too() {
        let mut map = HeaderMap::new();
        map.append("impersonate-user", HeaderValue::from_bytes("zoë".as_bytes()).expect("a value"));
        let user = UserInfo::new("root", ["g"]);
        let got = resolve(&map, &user, &Except::default()).expect("allowed").expect("a user");
        assert_eq!((got.name.as_str(), got.groups.as_slice()), ("zoë", &["system:authenticated".to_owned()][..]));
        map.insert("impersonate-user", HeaderValue::from_bytes(b"\xff").expect("a value"));
        assert_eq!(resolve(&map, &user, &Except::default()).expect("allowed").expect("a user").name, "\u{fffd}");
        assert!(resolve(&map, &user, &Except("users", Mutex::default())).is_err());
    }

    #[test]
    fn each_header_is_asked_for() {
        let all = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-uid", "u1"),
            ("impersonate-extra-acme.com%2fproject", "p"),
        ]);
        let authorizer = Except::default();
        let user = UserInfo::new("root", ["g"]);
        let got = resolve(&all, &user, &authorizer).expect("allowed").expect("a user");
        assert_eq!(got.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(got.extra["acme.com/project"], ["p"]);
        assert_eq!(
            *authorizer.1.lock(),
            [
                "|users|||jane",
                "|groups|||dev",
                "|groups|||ops",
                "authentication.k8s.io|userextras|acme.com/project||p",
                "authentication.k8s.io|uids|||u1"
            ]
        );
    }

    #[test]
    fn service_accounts_and_anonymous() {
        let user = UserInfo::new("root", ["g"]);
        let authorizer = Except::default();
        let as_user = |name| resolve(&headers(&[("impersonate-user", name)]), &user, &authorizer);
        let got = as_user("system:serviceaccount:ns:sa").expect("allowed").expect("a user");
        assert_eq!(got.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
        assert_eq!(*authorizer.1.lock(), ["|serviceaccounts||ns|sa"]);
        let got = as_user("system:anonymous").expect("allowed").expect("a user");
        assert_eq!(got.groups, ["system:unauthenticated"]);
    }

    #[test]
    fn refusals() {
        let user = UserInfo::new("bob", ["g"]);
        let e = resolve(&headers(&[("impersonate-user", "jane")]), &user, &Except("users", Mutex::default()));
        assert_eq!(
            e.expect_err("refused").message,
            "users \"jane\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the \
             cluster scope"
        );
        let e = resolve(&headers(&[("impersonate-group", "g")]), &user, &Except::default());
        assert_eq!(e.expect_err("no user").code, 500);
        assert_eq!(resolve(&HeaderMap::new(), &user, &Except::default()), Ok(None));
    }
}
