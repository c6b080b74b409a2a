//! The `nft` command: a script is one transaction.
use crate::Error;
use serde_json::Value;
use std::process::{Output, Stdio};
use tokio::{io::AsyncWriteExt, process::Command};

fn failed(why: impl ToString) -> Error {
    Error::Nft(why.to_string())
}

async fn run(arguments: &[&str], script: &str) -> Result<Output, Error> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).await.map_err(failed)?;
    }
    child.wait_with_output().await.map_err(failed)
}

/// All of the script or nothing of it.
///
/// # Errors
/// What `nft` says.
pub(crate) async fn apply(script: &str) -> Result<(), Error> {
    let output = run(&["-f", "-"], script).await?;
    if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim())) }
}

/// What is in a table, as `nft --json` writes it; `None`: there is no such table.
///
/// # Errors
/// What `nft` says, or that it writes no JSON.
pub(crate) async fn list(family: &str, table: &str) -> Result<Option<Value>, Error> {
    let output = run(&["--json", "list", "table", family, table], "").await?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return if why.contains("No such file or directory") { Ok(None) } else { Err(failed(why.trim())) };
    }
    serde_json::from_slice(&output.stdout).map(Some).map_err(failed)
}
