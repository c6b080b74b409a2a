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
    /// Several at once, each printed by itself.
    Many(Vec<Error>),
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

    /// The text as it is printed.
    pub fn text(&self) -> String {
        match self {
            Error::Server(status) if status.reason.is_empty() => format!("Error from server: {}", status.message),
            Error::Server(status) if status.reason == "Unauthorized" => {
                "error: You must be logged in to the server (Unauthorized)".to_owned()
            }
            Error::Server(status) if status.reason == "Invalid" => format!("The {}", status.message),
            Error::Server(status) => format!("Error from server ({}): {}", status.reason, status.message),
            Error::Connection(text) => text.clone(),
            Error::Message(text) => format!("error: {text}"),
            Error::Many(all) => all.iter().map(Error::text).collect::<Vec<_>>().join("\n"),
            Error::Exit(_) => String::new(),
        }
    }

    /// Print it; the exit code.
    pub fn report(&self) -> i32 {
        if let Error::Exit(code) = self {
            return *code;
        }
        eprintln!("{}", self.text());
        1
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
