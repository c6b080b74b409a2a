//! Why a pod does not fit, in upstream's words.
use std::{borrow::Cow, collections::BTreeMap};

/// Could ending other pods on the node change the answer?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Unschedulable,
    /// Preemption would not help.
    UnschedulableAndUnresolvable,
}

/// An objection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub code: Code,
    /// Never empty. Each counts by itself in the event's text.
    pub reasons: Vec<Cow<'static, str>>,
}

impl Rejection {
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Rejection { code: Code::Unschedulable, reasons: vec![reason.into()] }
    }

    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Rejection { code: Code::UnschedulableAndUnresolvable, reasons: vec![reason.into()] }
    }
}

/// Why a pod fits no node. Displays as the text of `FailedScheduling`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FitError {
    pub nodes: usize,
    /// A plugin objected before any node was looked at: its reasons.
    pub pre_filter: Option<String>,
    /// How many nodes were out for each reason.
    pub reasons: BTreeMap<Cow<'static, str>, usize>,
    /// What the plugins after filtering had to say.
    pub post_filter: String,
    /// Names of the plugins that objected.
    pub plugins: Vec<&'static str>,
}

impl std::fmt::Display for FitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0/{} nodes are available:", self.nodes)?;
        if let Some(why) = &self.pre_filter {
            write!(f, " {why}.")?;
        } else {
            // Sorted as text, numbers included: that is upstream's order.
            let mut lines: Vec<String> =
                self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            lines.sort_unstable();
            if !lines.is_empty() {
                write!(f, " {}.", lines.join(", "))?;
            }
        }
        if !self.post_filter.is_empty() {
            write!(f, " {}", self.post_filter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        let reasons = |list: &[(&'static str, usize)]| list.iter().map(|(r, n)| (Cow::Borrowed(*r), *n)).collect();
        let table = [
            (FitError { nodes: 0, ..FitError::default() }, "0/0 nodes are available:"),
            (
                FitError {
                    nodes: 3,
                    reasons: reasons(&[("node(s) had untolerated taint(s)", 1), ("Insufficient cpu", 2)]),
                    ..FitError::default()
                },
                "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.",
            ),
            (
                FitError {
                    nodes: 1,
                    reasons: reasons(&[("Insufficient cpu", 1)]),
                    post_filter: "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption \
                                  victims found for incoming pod."
                        .into(),
                    ..FitError::default()
                },
                "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are \
                 available: 1 No preemption victims found for incoming pod.",
            ),
            (
                FitError {
                    nodes: 1,
                    pre_filter: Some("pod has unbound immediate PersistentVolumeClaims".into()),
                    post_filter: "not found".into(),
                    ..FitError::default()
                },
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            ),
        ];
        for (error, expected) in table {
            assert_eq!(error.to_string(), expected);
        }
    }
}
