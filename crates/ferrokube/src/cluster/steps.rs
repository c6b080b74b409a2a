//! What `start` shows while it works.
//!
//! The cluster's process reports to the command that started it over a pipe, a line of JSON a step,
//! so that a failure is shown where somebody looks, not only in a log.
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    sync::Mutex,
    time::Instant,
};

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Done, and how long it took.
    Done {
        what: String,
        millis: u64,
    },
    /// Worth knowing, not fatal.
    Failed {
        why: String,
    },
    Ready,
}

/// Where the cluster's process reports to.
pub struct Reporter {
    out: Mutex<Option<File>>,
    last: Mutex<Instant>,
}

impl Reporter {
    /// `None`: nobody listens (foreground); steps go to standard output as text.
    pub fn new(out: Option<File>) -> Self {
        Reporter { out: Mutex::new(out), last: Mutex::new(Instant::now()) }
    }

    pub fn done(&self, what: impl Into<String>) {
        let mut millis = 0;
        if let Ok(mut last) = self.last.lock() {
            millis = last.elapsed().as_millis() as u64;
            *last = Instant::now();
        }
        self.send(&Step::Done { what: what.into(), millis });
    }

    pub fn failed(&self, why: impl Into<String>) {
        self.send(&Step::Failed { why: why.into() });
        self.close();
    }

    pub fn ready(&self) {
        self.send(&Step::Ready);
        self.close();
    }

    fn close(&self) {
        if let Ok(mut out) = self.out.lock() {
            *out = None;
        }
    }

    fn send(&self, step: &Step) {
        let Ok(mut out) = self.out.lock() else { return };
        match (out.as_mut(), serde_json::to_string(step)) {
            // The command that started us may be gone: that is its business.
            (Some(file), Ok(line)) => drop(writeln!(file, "{line}")),
            _ => print(step),
        }
    }
}

fn print(step: &Step) {
    match step {
        Step::Done { what, millis } => crate::say!("  ✓ {what} ({millis} ms)"),
        Step::Failed { why } => eprintln!("  ✗ {why}"),
        Step::Ready => {}
    }
}

/// Show steps as they come; whether the cluster became ready, or why not.
pub fn follow(pipe: File) -> Result<(), String> {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        let Ok(step) = serde_json::from_str::<Step>(&line) else { continue };
        match step {
            Step::Ready => return Ok(()),
            Step::Failed { why } => return Err(why),
            shown => print(&shown),
        }
    }
    Err("the cluster's process ended before the cluster was ready".into())
}
