//! `kubectl create token`.
use crate::{
    Context, Error, Result,
    printers::{Format, output_flag},
    select::{text, words},
};
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::json;
use std::time::Duration;

pub fn token_words() -> Words {
    Words::new("token")
        .about("Request a service account token")
        .arg(Arg::new("name").required(true).value_name("SERVICE_ACCOUNT_NAME"))
        .arg(
            Arg::new("audience")
                .long("audience")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Audience of the requested token."),
        )
        .arg(
            crate::global::duration(Arg::new("duration"))
                .long("duration")
                .default_value("0s")
                .help("Requested lifetime of the issued token."),
        )
        .arg(Arg::new("bound-object-kind").long("bound-object-kind").help("Kind of an object to bind the token to."))
        .arg(Arg::new("bound-object-name").long("bound-object-name").help("Name of an object to bind the token to."))
        .arg(Arg::new("bound-object-uid").long("bound-object-uid").help("UID of an object to bind the token to."))
        .arg(output_flag())
}

/// Ask for a token and print it.
///
/// # Errors
/// A flag does not fit, or the server refuses.
pub async fn create(context: &Context, matches: &ArgMatches) -> Result<()> {
    let format = Format::of(matches)?;
    let name = text(matches, "name");
    let duration = crate::global::span(matches, "duration");
    if duration.is_below_zero() {
        return Err(Error::message("--duration must be greater than or equal to 0"));
    }
    let seconds = duration.length().as_secs();
    if duration.length() > Duration::from_secs(seconds) {
        return Err(Error::message("--duration cannot be expressed in units less than seconds"));
    }
    let mut spec = json!({"audiences": null});
    let audiences = words(matches, "audience");
    if audiences.iter().any(String::is_empty) {
        return Err(Error::message("--audience must not be an empty string"));
    }
    if !audiences.is_empty() {
        spec["audiences"] = json!(audiences);
    }
    if seconds > 0 {
        spec["expirationSeconds"] = json!(seconds);
    }
    let [kind, bound, uid] = ["kind", "name", "uid"].map(|field| text(matches, &format!("bound-object-{field}")));
    if !kind.is_empty() {
        let version = match kind.as_str() {
            "Pod" | "Secret" | "Node" => "v1",
            _ => {
                return Err(Error::message("supported --bound-object-kind values are Node, Pod, Secret"));
            }
        };
        if bound.is_empty() {
            return Err(Error::message("--bound-object-name is required if --bound-object-kind is provided"));
        }
        spec["boundObjectRef"] = json!({"kind": kind, "apiVersion": version, "name": bound});
        if !uid.is_empty() {
            spec["boundObjectRef"]["uid"] = json!(uid);
        }
    } else if let Some((flag, _)) = [("name", &bound), ("uid", &uid)].iter().find(|(_, given)| !given.is_empty()) {
        return Err(Error::message(format!(
            "--bound-object-{flag} can only be set if --bound-object-kind is provided"
        )));
    }
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec});
    let namespace = crate::http::escape(&context.namespace().await?);
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{}/token", crate::http::escape(&name));
    let answer = context.api().await?.post(&path, &request).await.map_err(|error| match error {
        Error::Server(status) => Error::message(format!("failed to create token: {}", status.message)),
        other => other,
    })?;
    if !format.is_table() {
        return context.print(format.object(&answer, None)?);
    }
    match answer["status"]["token"].as_str().filter(|t| !t.is_empty()) {
        Some(token) => context.line(token),
        None => Err(Error::message("failed to create token: no token in server response")),
    }
}
