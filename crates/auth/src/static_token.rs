//! `--token-auth-file`: a CSV of token, user name, uid, and optionally a quoted list of groups.
//!
//! Tokens are compared in constant time. Source: "Authenticating", static token file.
use crate::{Error, UserInfo, groups};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::{path::Path, sync::Arc};

/// The tokens of one file.
pub struct Tokens {
    all: Vec<(String, Arc<UserInfo>)>,
}

impl Tokens {
    /// # Errors
    /// The file cannot be read or a line is malformed.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = |why: String| Error::File { path: path.display().to_string(), why };
        let text = std::fs::read_to_string(path).map_err(|e| file(e.to_string()))?;
        Self::parse(&text).map_err(file)
    }

    /// # Errors
    /// Which line is malformed, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all: Vec<(String, Arc<UserInfo>)> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let fields = csv(line).ok_or_else(|| format!("record on line {}: wrong quotes", i + 1))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(format!(
                    "token file must have at least 3 columns (token, user name, user uid), found {} on line {}",
                    fields.len(),
                    i + 1
                ));
            };
            if token.is_empty() {
                tracing::warn!(line = i + 1, "empty token has been found in token file");
                continue;
            }
            let listed = rest.first().map(String::as_str).unwrap_or_default();
            let named = listed.split(',').map(str::trim).filter(|g| !g.is_empty());
            let mut user = UserInfo::new(name.clone(), named);
            user.uid.clone_from(uid);
            user.groups.push(groups::AUTHENTICATED.to_owned());
            // The last of several lines with one token counts.
            all.retain(|(t, _)| t != token);
            all.push((token.clone(), Arc::new(user)));
        }
        Ok(Tokens { all })
    }

    pub fn user(&self, token: &str) -> Option<Arc<UserInfo>> {
        let mut found = None;
        for (known, user) in &self.all {
            if verify_slices_are_equal(known.as_bytes(), token.as_bytes()).is_ok() {
                found = Some(Arc::clone(user));
            }
        }
        found
    }
}

/// The fields of one CSV line; `None` when a quote is not closed.
fn csv(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let (mut quoted, mut chars) = (false, line.chars().peekable());
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            // A leading blank is no part of a field.
            ' ' if !quoted && field.is_empty() => {}
            _ => field.push(c),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "t1,alice,1,\"dev,ops\"\n\nt2,bob,2\nt3,\"c, d\",3,solo\n";
        let tokens = Tokens::parse(text).expect("valid");
        let user = tokens.user("t1").expect("t1");
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("alice", "1"));
        assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(tokens.user("t2").expect("t2").groups, ["system:authenticated"]);
        assert_eq!(tokens.user("t3").expect("t3").name, "c, d");
        assert!(tokens.user("t").is_none() && tokens.user("").is_none() && tokens.user("t11").is_none());
    }

    #[test]
    fn malformed_lines_are_named() {
        assert!(Tokens::parse("a,b\n").err().expect("short").contains("at least 3 columns"));
        assert!(Tokens::parse("x,y,z\na,b,\"c\n,d").is_err());
    }
}
