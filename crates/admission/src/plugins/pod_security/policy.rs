//! Levels and versions, as namespace labels name them.
use apimachinery::field;
use std::{collections::BTreeMap, fmt};

pub(super) const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const AUDIT: &str = "pod-security.kubernetes.io/audit";
const WARN: &str = "pod-security.kubernetes.io/warn";

/// From the freest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }
}

/// A level as of a version of the standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub level: Level,
    /// Minor version; `None` is `latest`.
    pub version: Option<u32>,
}

impl Policy {
    /// Whether checks that began with v1.`minor` apply.
    pub(super) fn since(&self, minor: u32) -> bool {
        self.version.is_none_or(|v| v >= minor)
    }
}

impl fmt::Display for Policy {
    /// `restricted:latest`, `baseline:v1.25`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            None => f.write_str(":latest"),
            Some(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

fn version(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor == "0" || !minor.starts_with('0') && minor.bytes().all(|b| b.is_ascii_digit());
    if plain { minor.parse().ok().map(Some) } else { None }
}

/// The policies of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policies {
    pub enforce: Policy,
    pub audit: Policy,
    pub warn: Policy,
}

impl Policies {
    pub fn all_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|p| p.level == Level::Privileged)
    }

    /// What cannot be read counts as the strictest where it is enforced, as nothing elsewhere.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> (Self, Vec<field::Error>) {
        let mut errors = Vec::new();
        let mut read = |label: &str, wrong: Level| {
            let path = |label: &str| field::Path::new("metadata").child("labels").key(label);
            let mut policy = Policy::default();
            if let Some(text) = labels.get(label) {
                policy.level = Level::parse(text).unwrap_or_else(|| {
                    let why = "must be one of privileged, baseline, restricted";
                    errors.push(field::Error::invalid(&path(label), text, why));
                    wrong
                });
            }
            let label = format!("{label}-version");
            if let Some(text) = labels.get(&label) {
                policy.version = version(text).unwrap_or_else(|| {
                    let why = "must be \"latest\" or \"v1.x\"";
                    errors.push(field::Error::invalid(&path(&label), text, why));
                    None
                });
            }
            policy
        };
        let enforce = read(ENFORCE, Level::Restricted);
        let audit = read(AUDIT, Level::Privileged);
        let warn = read(WARN, Level::Privileged);
        let warned = labels.contains_key(WARN);
        // Warnings follow enforcement unless they have a label of their own.
        let warn =
            if !warned && labels.contains_key(ENFORCE) && enforce.level != Level::Privileged { enforce } else { warn };
        (Policies { enforce, audit, warn }, errors)
    }
}
