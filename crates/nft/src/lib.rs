//! Runs `nft`: the only place that changes packet filtering. A script is one transaction.
use serde_json::Value;
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
    #[error("nft does not write JSON: {0}")]
    Listing(serde_json::Error),
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

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, Error> {
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
            return Ok(output.stdout);
        }
        let message = String::from_utf8_lossy(&output.stderr);
        // The rest repeats the input.
        Err(Error::Refused(message.trim_end().lines().take(6).collect::<Vec<_>>().join("\n")))
    }

    /// As [`Nft::run`], of something that may not be there.
    async fn look(&self, arguments: &[&str]) -> Result<Option<Vec<u8>>, Error> {
        match self.run(arguments, "").await {
            Ok(output) => Ok(Some(output)),
            Err(Error::Refused(why)) if why.contains("No such file or directory") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Carries a transaction out, as a whole.
    ///
    /// # Errors
    /// Nothing was changed; why.
    pub async fn apply(&self, transaction: &str) -> Result<(), Error> {
        self.run(&["-f", "-"], transaction).await.map(drop)
    }

    /// What is in a table, as `nft --json` writes it; `None`: there is no such table.
    ///
    /// # Errors
    /// What `nft` says, or that it writes no JSON.
    pub async fn table(&self, family: &str, table: &str) -> Result<Option<Value>, Error> {
        let listing = self.look(&["--json", "list", "table", family, table]).await?;
        listing.map(|json| serde_json::from_slice(&json).map_err(Error::Listing)).transpose()
    }

    /// A chain with its rules, in the language of scripts; `None`: there is no such chain.
    ///
    /// # Errors
    /// What `nft` says.
    pub async fn chain(&self, family: &str, table: &str, chain: &str) -> Result<Option<String>, Error> {
        let listing = self.look(&["list", "chain", family, table, chain]).await?;
        Ok(listing.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Deletes a table; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn delete_table(&self, family: &str, name: &str) -> Result<(), Error> {
        self.apply(&format!("add table {family} {name}\ndelete table {family} {name}\n")).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instead of `nft`, a shell script.
    fn stand_in(script: &str) -> Nft {
        Nft::through(&["sh", "-c", script, "nft"])
    }

    #[tokio::test]
    async fn what_is_not_there_is_no_error() {
        let nft = stand_in("echo 'Error: No such file or directory' >&2; exit 1");
        assert_eq!(nft.table("ip", "t").await.expect("an answer"), None);
        assert_eq!(nft.chain("ip", "t", "c").await.expect("an answer"), None);
        let error = nft.apply("add rule ip t c accept\n").await.expect_err("it cannot be changed");
        assert_eq!(error.to_string(), "nft: Error: No such file or directory");
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_the_whole_script() {
        // It ends before it has read the script.
        let nft = stand_in("exec <&-; seq 10 >&2; exit 1");
        let script = "# as large as a pipe and more\n".repeat(10_000);
        let error = nft.apply(&script).await.expect_err("refused");
        assert_eq!(error.to_string(), "nft: 1\n2\n3\n4\n5\n6");
    }

    #[tokio::test]
    async fn scripts_and_arguments_reach_it() {
        let nft = stand_in(r#"echo "{\"got\": \"$*\"}""#);
        let listing = nft.table("ip6", "nat").await.expect("an answer").expect("a table");
        assert_eq!(listing["got"], "--json list table ip6 nat");
        let nft = stand_in(r#"[ "$*" = "-f -" ] && [ "$(cat)" = "add table ip t" ]"#);
        nft.apply("add table ip t\n").await.expect("carried out");
    }

    #[tokio::test]
    async fn a_missing_program_and_a_strange_answer_say_what_is_wrong() {
        let error = Nft::through(&["/nowhere/nft"]).apply("").await.expect_err("it cannot be run");
        assert!(error.to_string().starts_with("/nowhere/nft could not be run: "), "{error}");
        assert!(error.to_string().ends_with("(is nftables installed?)"), "{error}");
        let error = stand_in("echo table").table("ip", "t").await.expect_err("no JSON");
        assert!(error.to_string().starts_with("nft does not write JSON: "), "{error}");
    }
}
