//! `ferrokube`: every component of Kubernetes in one binary, and the command that runs a cluster of them.
//!
//! Linked under a component's name (`kubectl`, `kubelet`, …) it is that component.
mod cli;
mod cluster;
mod commands;
mod component_flags;
mod components;
mod memory;
mod output;
mod search_path;

use clap::Parser;
use std::{ffi::OsString, path::Path, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `ferrokube kubectl get pods` and, linked as `kubectl`, `kubectl get pods`: the component's name, then its words.
fn component_words(words: &[OsString]) -> Option<(&str, &[OsString])> {
    let (first, rest) = words.split_first()?;
    let called = Path::new(first).file_name()?.to_str()?;
    if components::NAMES.contains(&called) {
        return Some((called, rest));
    }
    let (second, rest) = rest.split_first()?;
    let named = second.to_str()?;
    components::NAMES.contains(&named).then_some((named, rest))
}

fn main() -> ExitCode {
    search_path::complete();
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some((component, rest)) = component_words(&words) {
        let own_name = rest.len() + 1 == words.len();
        if component != "kubectl" || own_name {
            return components::run(component, rest);
        }
        return match commands::kubectl_words(rest) {
            Ok(rest) => components::run(component, &rest),
            Err(error) => {
                eprintln!("error: {}", output::told(&error));
                ExitCode::FAILURE
            }
        };
    }
    let ran = if words.get(1).is_some_and(|word| word == cluster::daemon::SERVE) {
        let flags = cli::ServeCluster::parse_from(words.into_iter().skip(1));
        commands::serve_cluster(&flags).map(|()| ExitCode::SUCCESS)
    } else {
        commands::run(cli::Cli::parse_from(words))
    };
    match ran {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ferrokube: {}", output::told(&error));
            ExitCode::FAILURE
        }
    }
}

/// A runtime for one command or component.
///
/// # Errors
/// The system gives us no threads.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_found_by_either_name() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let found = |text: &str| {
            let words = words(text);
            component_words(&words).map(|(name, rest)| (name.to_owned(), rest.len()))
        };
        assert_eq!(found("/usr/bin/kubectl get pods"), Some(("kubectl".into(), 2)));
        assert_eq!(found("ferrokube kube-apiserver --secure-port=1"), Some(("kube-apiserver".into(), 1)));
        assert_eq!(found("ferrokube start"), None);
        assert_eq!(found("ferrokube"), None);
    }
}
