//! What can go wrong between us and a container runtime.
use tonic::Code;

/// A CRI call failed.
///
/// Displays as gRPC's Go client does (`rpc error: code = NotFound desc = …`), because these texts end up in
/// pod statuses and events where people and programs search for them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The runtime answered with an error, or could not be reached (code `Unavailable`).
    #[error("rpc error: code = {} desc = {message}", name(*code))]
    Rpc {
        /// The CRI call.
        method: &'static str,
        /// gRPC's code.
        code: Code,
        /// The runtime's own words.
        message: String,
    },
    /// The endpoint is not `unix:///path` or `/path`.
    #[error("container runtime endpoint {0:?} is not a unix socket: want unix:///path/to.sock")]
    Endpoint(String),
    /// The runtime's answer lacks something the protocol demands.
    #[error("{method}: the runtime's answer has no {missing}")]
    Malformed {
        /// The CRI call.
        method: &'static str,
        /// The missing part.
        missing: &'static str,
    },
}

impl Error {
    pub(crate) fn rpc(method: &'static str, status: tonic::Status) -> Error {
        let code = match status.code() {
            // tonic reports our own deadline as Cancelled.
            Code::Cancelled if status.message().contains("Timeout expired") => Code::DeadlineExceeded,
            // A peer that went away mid-call surfaces as Unknown with a transport error inside.
            Code::Unknown if status.message().contains("transport error") => Code::Unavailable,
            code => code,
        };
        let mut message = status.message().to_owned();
        if code == Code::Unavailable {
            let mut source = std::error::Error::source(&status);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !message.ends_with(&inner_text) {
                    message = format!("{message}: {inner_text}");
                }
                source = inner.source();
            }
        }
        Error::Rpc { method, code, message }
    }

    /// gRPC's code, where the runtime gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Rpc { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The runtime's own words without gRPC's frame around them.
    pub fn message(&self) -> String {
        match self {
            Error::Rpc { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }

    /// The sandbox, container or image does not exist (any more).
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }

    /// The runtime is too old for this call.
    pub fn is_unimplemented(&self) -> bool {
        self.code() == Some(Code::Unimplemented)
    }

    /// The runtime cannot be reached at the moment.
    pub fn is_unavailable(&self) -> bool {
        self.code() == Some(Code::Unavailable)
    }

    /// The call took longer than its deadline.
    pub fn is_timeout(&self) -> bool {
        self.code() == Some(Code::DeadlineExceeded)
    }
}

/// The code's name as Go's gRPC prints it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_the_go_client_does() {
        let error = Error::rpc("PodSandboxStatus", tonic::Status::not_found("no such sandbox"));
        assert_eq!(error.to_string(), "rpc error: code = NotFound desc = no such sandbox");
        assert!(error.is_not_found());
    }

    #[test]
    fn our_own_deadline_is_a_timeout() {
        assert!(Error::rpc("Version", tonic::Status::cancelled("Timeout expired")).is_timeout());
    }
}
