//! Runs `nft`: the only place that changes packet filtering.
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command};

/// Even ten thousands of services take seconds, not minutes.
const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{program} could not be run: {source} (is nftables installed?)")]
    Spawn { program: String, source: std::io::Error },
    #[error("nft: {0}")]
    Refused(String),
    #[error("nft did not end within {TIMEOUT:?}")]
    Timeout,
}

/// How to call `nft`.
#[derive(Clone, Debug)]
pub struct Nft {
    /// Program and leading arguments; more than `nft` to run it in another network namespace.
    command: Vec<String>,
}

impl Default for Nft {
    fn default() -> Self {
        Nft { command: vec!["nft".to_owned()] }
    }
}

impl Nft {
    /// `nft` behind other commands, such as `ip netns exec NAME nft`.
    pub fn through(command: &[&str]) -> Self {
        Nft { command: command.iter().map(|word| (*word).to_owned()).collect() }
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        let program = self.command.first().cloned().unwrap_or_default();
        let failed = |source| Error::Spawn { program: program.clone(), source };
        let mut child = Command::new(&program)
            .args(self.command.iter().skip(1))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // nft may end before it has read everything; its message says why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ((), output) = tokio::time::timeout(TIMEOUT, async { tokio::join!(feed, child.wait_with_output()) })
            .await
            .map_err(|_| Error::Timeout)?;
        let output = output.map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        // The rest repeats the input.
        Err(Error::Refused(message.lines().take(6).collect::<Vec<_>>().join("\n")))
    }

    /// Carries a transaction out, as a whole.
    ///
    /// # Errors
    /// Nothing was changed; why.
    pub async fn apply(&self, transaction: &str) -> Result<(), Error> {
        self.run(&["-f", "-"], transaction).await.map(|_| ())
    }

    /// Is the table there, with its heart in it?
    pub async fn has_table(&self, family: &str, name: &str) -> bool {
        self.run(&["list", "chain", family, name, "services"], "").await.is_ok_and(|text| text.contains("vmap"))
    }

    /// Deletes a table; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn delete_table(&self, family: &str, name: &str) -> Result<(), Error> {
        self.apply(&format!("add table {family} {name}\ndelete table {family} {name}\n")).await
    }
}
