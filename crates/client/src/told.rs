//! What went wrong, in words for logs and messages.
//!
//! The texts of `kube` have the server's whole `Status` in Rust's notation and leave out why a connection failed.
use std::error::Error;
use tower::BoxError;

/// A refusal in the server's own words; anything else with all that led to it.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() {
            parts.push(if status.message.is_empty() { status.reason.clone() } else { status.message.clone() });
            break;
        }
        next = error.source();
        let whole = error.to_string();
        // Many say what their source says at their end; its turn comes.
        let own = next.and_then(|source| {
            let text = source.to_string();
            [format!(": {text}"), format!(" ({text})"), text].iter().find_map(|end| whole.strip_suffix(end.as_str()))
        });
        let own = own.unwrap_or(&whole);
        // Not a word to who reads it.
        if !own.is_empty() && own != "ServiceError" {
            parts.push(own.to_owned());
        }
    }
    parts.join(": ")
}

/// A request that was not answered: of which server.
#[derive(Debug, thiserror::Error)]
#[error("{server}: {source}")]
pub(crate) struct Unanswered {
    server: String,
    source: BoxError,
}

impl Unanswered {
    /// Names the server, but where the error's kind says more to `kube`.
    pub(crate) fn naming(server: &http::Uri) -> impl Fn(BoxError) -> BoxError + Clone + Send + 'static {
        let server = server.to_string().trim_end_matches('/').to_owned();
        move |source| {
            if source.is::<kube::Error>() || source.is::<kube::core::Status>() {
                return source;
            }
            Box::new(Unanswered { server: server.clone(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kube::{core::Status, runtime::watcher};

    #[test]
    fn refusals_are_in_the_servers_words() {
        let refusal = || {
            let mut status = Status::failure("nodes is forbidden", "Forbidden");
            status.code = 403;
            kube::Error::Api(Box::new(status))
        };
        let nameless = kube::Error::Api(Box::new(Status::failure("", "Timeout")));
        let io = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let unanswered = Unanswered::naming(&"https://127.0.0.1:1/".parse().unwrap())(Box::new(io()));
        let table: [(Box<dyn Error>, String); 6] = [
            (Box::new(refusal()), "nodes is forbidden".into()),
            (Box::new(nameless), "Timeout".into()),
            (
                Box::new(watcher::Error::InitialListFailed(refusal())),
                "failed to perform initial object list: nodes is forbidden".into(),
            ),
            (Box::new(crate::Error::Client(refusal())), "client: nodes is forbidden".into()),
            (Box::new(kube::Error::Service(unanswered)), format!("https://127.0.0.1:1: {}", io())),
            (Box::new(io()), io().to_string()),
        ];
        for (error, expected) in table {
            assert_eq!(told(&*error), expected);
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let file = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                    clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
        let path = std::env::temp_dir().join(format!("told-{}.kubeconfig", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let client = crate::Connection::Kubeconfig(path.clone()).client().await.unwrap();
        let error = client.apiserver_version().await.unwrap_err();
        std::fs::remove_file(path).unwrap();
        let text = told(&error);
        assert!(text.starts_with("http://127.0.0.1:1: ") && text.contains("Connection refused"), "{text}");
    }
}
