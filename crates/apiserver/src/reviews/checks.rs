//! What an access review must say. Source: `pkg/apis/authorization/validation` (behaviour and texts).
use apimachinery::{
    ApiError,
    field::{Error, ErrorList, Path},
    status::On,
};
use k8s_openapi::{
    api::authorization::v1::{NonResourceAttributes, ResourceAttributes},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

/// The checks of one review, in upstream's order.
pub struct Checked {
    kind: &'static str,
    errors: ErrorList,
}

impl Checked {
    pub fn new(kind: &'static str) -> Self {
        Checked { kind, errors: ErrorList::default() }
    }

    /// # Errors
    /// `Invalid`, naming everything that was found.
    pub fn done(self) -> Result<(), ApiError> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(On { group: "authorization.k8s.io", resource: self.kind }, "", &self.errors))
    }

    pub fn attributes(mut self, resource: Option<&ResourceAttributes>, path: Option<&NonResourceAttributes>) -> Self {
        let spec = Path::new("spec");
        match (resource, path) {
            (Some(_), Some(path)) => self.errors.push(Error::invalid(
                &spec.child("nonResourceAttributes"),
                json!({"Path": path.path.as_deref().unwrap_or_default(), "Verb": path.verb.as_deref().unwrap_or_default()}),
                "cannot be specified in combination with resourceAttributes",
            )),
            (None, None) => self.errors.push(Error::invalid(
                &spec.child("resourceAttributes"),
                Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )),
            _ => {}
        }
        self
    }

    pub fn subject(mut self, user: Option<&str>, groups: Option<&[String]>) -> Self {
        if user.unwrap_or_default().is_empty() && groups.unwrap_or_default().is_empty() {
            let path = Path::new("spec").child("user");
            self.errors.push(Error::invalid(&path, "", "at least one of user or group must be specified"));
        }
        self
    }

    /// Managed fields are the server's business and do not count.
    pub fn metadata(mut self, metadata: &ObjectMeta) -> Self {
        if (ObjectMeta { managed_fields: None, ..metadata.clone() }) != ObjectMeta::default() {
            self.errors.push(Error::invalid(&Path::new("metadata"), metadata, "must be empty"));
        }
        self
    }

    /// What only a review of one namespace must say.
    pub fn local(
        mut self,
        metadata: &ObjectMeta,
        resource: Option<&ResourceAttributes>,
        path: Option<&NonResourceAttributes>,
    ) -> Self {
        let bare = ObjectMeta { managed_fields: None, namespace: None, ..metadata.clone() };
        if bare != ObjectMeta::default() {
            self.errors.push(Error::invalid(&Path::new("metadata"), metadata, "must be empty except for namespace"));
        }
        let asked = resource.map(|r| r.namespace.clone().unwrap_or_default());
        if let Some(asked) = asked.filter(|a| Some(a) != metadata.namespace.as_ref()) {
            let path = Path::new("spec.resourceAttributes.namespace");
            self.errors.push(Error::invalid(&path, asked, "must match metadata.namespace"));
        }
        if let Some(path) = path {
            let shown = json!({"Path": path.path, "Verb": path.verb});
            let path = Path::new("spec.nonResourceAttributes");
            self.errors.push(Error::invalid(&path, shown, "disallowed on this kind of request"));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        let resource = ResourceAttributes { namespace: Some("a".into()), ..Default::default() };
        let path = NonResourceAttributes { path: Some("/".into()), verb: Some("get".into()) };
        let named = ObjectMeta { name: Some("x".into()), ..Default::default() };
        let text = |checked: Checked| checked.done().map_err(|e| e.message);
        let new = || Checked::new("SubjectAccessReview");
        assert_eq!(text(new().attributes(Some(&resource), None).subject(Some("u"), None)), Ok(()));
        let start = "SubjectAccessReview.authorization.k8s.io \"\" is invalid: ";
        let cases = [
            (
                new().attributes(None, None),
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ),
            (
                new().attributes(Some(&resource), Some(&path)),
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/\",\"Verb\":\"get\"}: cannot be specified in combination with resourceAttributes",
            ),
            (
                new().subject(Some(""), None),
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
            ),
            (new().metadata(&named), "metadata: Invalid value: {\"name\":\"x\"}: must be empty"),
            (
                new().local(&ObjectMeta { namespace: Some("b".into()), ..Default::default() }, Some(&resource), None),
                "spec.resourceAttributes.namespace: Invalid value: \"a\": must match metadata.namespace",
            ),
        ];
        for (checked, want) in cases {
            assert_eq!(text(checked), Err(format!("{start}{want}")));
        }
    }
}
