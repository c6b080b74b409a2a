//! What goes wrong, worded as the official kubectl words it.
use serde_json::Value;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub enum Error {
    /// The API server's answer, a `Status`.
    Server(Box<Status>),
    /// The server cannot be reached.
    Connection(String),
    /// Everything that is our user's or our own: printed after `error: `.
    Message(String),
    /// Printed as it is.
    Plain(String),
    /// Several at once, each printed by itself.
    Many(Vec<Error>),
    /// What a program of the user's ended with: told as it is, with its exit code.
    Ended(String, i32),
    /// Nothing left to say, but not a success; the exit code.
    Exit(i32),
}

/// The parts of a `v1.Status` that we look at.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub code: u16,
    pub reason: String,
    pub message: String,
    pub body: Value,
}

impl Error {
    pub fn message(text: impl Into<String>) -> Self {
        Error::Message(text.into())
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Server(status) if status.code == 404)
    }

    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Server(status) if status.code == 409 && status.reason == "Conflict")
    }

    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::Server(status) if status.reason == "AlreadyExists")
    }

    /// One error, several, or none at all.
    ///
    /// # Errors
    /// When there is any.
    pub fn collect(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Many(errors)),
        }
    }

    /// The words of a command do not fit; upstream's `UsageErrorf`.
    pub fn usage(command: &str, message: impl std::fmt::Display) -> Self {
        Error::message(format!("{message}\nSee 'kubectl {command} -h' for help and examples"))
    }

    /// The same for an error that has its message already.
    #[must_use]
    pub fn with_usage(self, command: &str) -> Self {
        Error::usage(command, self.bare())
    }

    /// Say during which work on which file it happened: `error when creating "web.yaml": …`.
    #[must_use]
    pub fn during(self, verb: &str, source: Option<&str>) -> Self {
        let Some(source) = source else { return self };
        self.prefixed(&format!("error when {verb} \"{source}\": "))
    }

    /// Put something before the message, and keep what kind of error it is.
    #[must_use]
    pub fn prefixed(self, lead: &str) -> Self {
        match self {
            Error::Server(mut status) => {
                status.message.insert_str(0, lead);
                Error::Server(status)
            }
            Error::Message(text) => Error::Message(format!("{lead}{text}")),
            other => other,
        }
    }

    /// The message alone, without what says where it comes from.
    pub fn bare(&self) -> String {
        match self {
            Error::Server(status) => status.message.clone(),
            other => other.text().trim_start_matches("error: ").to_owned(),
        }
    }

    /// The text as it is printed.
    pub fn text(&self) -> String {
        match self {
            Error::Server(status) if status.reason.is_empty() => format!("Error from server: {}", status.message),
            Error::Server(status) if status.reason == "Unauthorized" => {
                format!("error: You must be logged in to the server ({})", status.message)
            }
            Error::Server(status) if status.reason == "Invalid" => invalid(status),
            Error::Server(status) => format!("Error from server ({}): {}", status.reason, status.message),
            Error::Connection(text) | Error::Plain(text) | Error::Ended(text, _) => text.clone(),
            Error::Message(text) => format!("error: {text}"),
            Error::Many(all) => {
                // Among several, none is led in by `error: `.
                let text = |error: &Error| match error {
                    Error::Message(text) => text.clone(),
                    other => other.text(),
                };
                all.iter().map(text).collect::<Vec<_>>().join("\n")
            }
            Error::Exit(_) => String::new(),
        }
    }

    /// What the process ends with.
    pub fn code(&self) -> i32 {
        match self {
            Error::Exit(code) | Error::Ended(_, code) => *code,
            _ => 1,
        }
    }

    /// Print it; the exit code.
    pub fn report(&self) -> i32 {
        if !matches!(self, Error::Exit(_)) {
            let text = self.text();
            // A program's own line is whole; upstream ends every other text with one more.
            let whole = matches!(self, Error::Ended(..)) && text.ends_with('\n');
            eprint!("{text}{}", if whole { "" } else { "\n" });
        }
        self.code()
    }
}

/// `The Pod "x" is invalid: `, and each cause once, in a line of its own when there are several.
fn invalid(status: &Status) -> String {
    let details = &status.body["details"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&details["kind"]), text(&details["name"]));
    let mut causes: Vec<String> = Vec::new();
    for cause in details["causes"].as_array().into_iter().flatten() {
        let cause = format!("{}: {}", text(&cause["field"]), text(&cause["message"]));
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let subject = if kind.is_empty() && name.is_empty() {
        "The request is invalid".to_owned()
    } else {
        format!("The {kind} \"{name}\" is invalid")
    };
    match causes.as_slice() {
        [] if kind.is_empty() && name.is_empty() => format!("{subject}: {}", status.message),
        [] => subject,
        [one] => format!("{subject}: {one}"),
        all => all.iter().fold(format!("{subject}: "), |text, cause| format!("{text}\n* {cause}")),
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // A reader that has seen enough (`| head`) ends us quietly.
        if error.kind() == std::io::ErrorKind::BrokenPipe { Error::Exit(0) } else { Error::Message(error.to_string()) }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::Message(error.to_string())
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn causes_of_invalid_objects_are_listed_once() {
        let status = |causes: Value| {
            let body = json!({"details": {"kind": "Pod", "name": "x", "causes": causes}});
            Error::Server(Box::new(Status { code: 422, reason: "Invalid".into(), message: "m".into(), body }))
        };
        let cause = |field: &str| json!({"field": field, "message": "Required value"});
        assert_eq!(status(json!([])).text(), "The Pod \"x\" is invalid");
        assert_eq!(status(json!([cause("a"), cause("a")])).text(), "The Pod \"x\" is invalid: a: Required value");
        assert_eq!(
            status(json!([cause("a"), cause("b")])).during("creating", Some("f")).text(),
            "The Pod \"x\" is invalid: \n* a: Required value\n* b: Required value"
        );
    }
}
