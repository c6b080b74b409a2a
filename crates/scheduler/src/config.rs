//! `KubeSchedulerConfiguration`, `kubescheduler.config.k8s.io/v1`: reading, defaults, and profiles from it.
//!
//! A field we do not know is an error, so that nothing somebody relies on is silently not done.
use crate::{
    framework::{
        Plugin, Point,
        profile::{Enabled, Profile},
    },
    plugins::{Args, DEFAULT, REGISTRY},
};
use foldhash::HashMap;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
};

pub const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";
const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";
const ALL_PLUGINS: &str = "*";

/// Every field of upstream's type (v1.36) with its default.
static KNOWN: LazyLock<serde_json::Value> =
    LazyLock::new(|| apimachinery::codec::yaml::parse(include_str!("known.yaml")).unwrap_or_default());

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configuration {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("configuration: {0}")]
    Parse(String),
    #[error(
        "configuration: no kind {kind:?} is registered for version {api_version:?}; expected {KIND} of {API_VERSION}"
    )]
    Kind { kind: String, api_version: String },
    #[error("configuration: {0} is known but not yet supported by ferrokube")]
    Unsupported(&'static str),
    #[error("configuration: {field}: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("profiles: plugin {0:?} does not exist")]
    NoSuchPlugin(String),
    #[error("profiles: plugin {plugin:?} does not extend {point:?}")]
    NotAtPoint { plugin: String, point: Point },
    #[error("pluginConfig[{plugin}].args: {why}")]
    PluginArgs { plugin: String, why: String },
}

/// The configuration as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    pub api_version: String,
    pub kind: String,
    /// Accepted as upstream's; a cycle runs on one core here and needs no more for thousands of nodes.
    #[serde(default = "default_parallelism")]
    pub parallelism: i32,
    pub percentage_of_nodes_to_score: Option<i32>,
    #[serde(default = "default_initial_backoff")]
    pub pod_initial_backoff_seconds: u64,
    #[serde(default = "default_max_backoff")]
    pub pod_max_backoff_seconds: u64,
    #[serde(default)]
    pub leader_election: LeaderElection,
    #[serde(default)]
    pub client_connection: ClientConnection,
    /// Profiling endpoints do not exist; accepted because upstream's own files carry them.
    #[serde(default, rename = "enableProfiling")]
    _enable_profiling: Option<bool>,
    #[serde(default, rename = "enableContentionProfiling")]
    _enable_contention_profiling: Option<bool>,
    #[serde(default, rename = "delayCacheUntilActive")]
    _delay_cache_until_active: Option<bool>,
    #[serde(default)]
    pub profiles: Vec<ProfileConfiguration>,
    #[serde(default)]
    extenders: Vec<serde_json::Value>,
}

fn default_parallelism() -> i32 {
    16
}

fn default_initial_backoff() -> u64 {
    1
}

fn default_max_backoff() -> u64 {
    10
}

/// What the file says of leader election; flags win over it where given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaderElection {
    pub leader_elect: Option<bool>,
    pub lease_duration: Option<String>,
    pub renew_deadline: Option<String>,
    pub retry_period: Option<String>,
    pub resource_lock: Option<String>,
    pub resource_name: Option<String>,
    pub resource_namespace: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    pub kubeconfig: String,
    #[serde(rename = "acceptContentTypes")]
    _accept_content_types: String,
    #[serde(rename = "contentType")]
    _content_type: String,
    pub qps: Option<f32>,
    pub burst: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileConfiguration {
    pub scheduler_name: Option<String>,
    pub percentage_of_nodes_to_score: Option<i32>,
    pub plugins: Plugins,
    pub plugin_config: Vec<PluginConfiguration>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plugins {
    multi_point: PluginSet,
    pre_enqueue: PluginSet,
    queue_sort: PluginSet,
    pre_filter: PluginSet,
    filter: PluginSet,
    post_filter: PluginSet,
    pre_score: PluginSet,
    score: PluginSet,
    reserve: PluginSet,
    permit: PluginSet,
    pre_bind: PluginSet,
    bind: PluginSet,
    post_bind: PluginSet,
}

impl Plugins {
    fn at(&self, point: Point) -> &PluginSet {
        match point {
            Point::PreEnqueue => &self.pre_enqueue,
            Point::QueueSort => &self.queue_sort,
            Point::PreFilter => &self.pre_filter,
            Point::Filter => &self.filter,
            Point::PostFilter => &self.post_filter,
            Point::PreScore => &self.pre_score,
            Point::Score => &self.score,
            Point::Reserve => &self.reserve,
            Point::Permit => &self.permit,
            Point::PreBind => &self.pre_bind,
            Point::Bind => &self.bind,
            Point::PostBind => &self.post_bind,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PluginSet {
    enabled: Vec<PluginReference>,
    disabled: Vec<PluginReference>,
}

impl PluginSet {
    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|p| p.name == name || p.name == ALL_PLUGINS)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PluginReference {
    name: String,
    weight: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PluginConfiguration {
    name: String,
    args: Option<serde_json::Value>,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            parallelism: default_parallelism(),
            percentage_of_nodes_to_score: None,
            pod_initial_backoff_seconds: default_initial_backoff(),
            pod_max_backoff_seconds: default_max_backoff(),
            leader_election: LeaderElection::default(),
            client_connection: ClientConnection::default(),
            _enable_profiling: None,
            _enable_contention_profiling: None,
            _delay_cache_until_active: None,
            profiles: Vec::new(),
            extenders: Vec::new(),
        }
    }
}

const POINTS: [Point; 12] = [
    Point::PreEnqueue,
    Point::QueueSort,
    Point::PreFilter,
    Point::Filter,
    Point::PostFilter,
    Point::PreScore,
    Point::Score,
    Point::Reserve,
    Point::Permit,
    Point::PreBind,
    Point::Bind,
    Point::PostBind,
];

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read or is not a valid configuration.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// It is not a valid configuration.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let file = apimachinery::codec::yaml::parse(text).map_err(|error| Error::Parse(error.to_string()))?;
        let word = |field: &str| file[field].as_str().unwrap_or_default().to_owned();
        let (kind, api_version) = (word("kind"), word("apiVersion"));
        if kind != KIND || api_version != API_VERSION {
            return Err(Error::Kind { kind, api_version });
        }
        if let Some(error) = apimachinery::configuration::strict_error(&file, &KNOWN) {
            return Err(Error::Parse(error));
        }
        let parsed: Configuration = serde_json::from_value(apimachinery::configuration::without_nulls(file))
            .map_err(|error| Error::Parse(format!("failed to decode: {error}")))?;
        if !parsed.extenders.is_empty() {
            return Err(Error::Unsupported("extenders"));
        }
        parsed.validate()?;
        parsed.profiles()?;
        Ok(parsed)
    }

    /// A file with upstream's defaults filled in, for `/configz`; without a file, the defaults alone.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn effective(path: Option<&Path>) -> Result<serde_json::Value, Error> {
        let file = match path {
            None => serde_json::Value::Object(serde_json::Map::new()),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| Error::Read { path: path.display().to_string(), source })?;
                apimachinery::codec::yaml::parse(&text).map_err(|error| Error::Parse(error.to_string()))?
            }
        };
        Ok(apimachinery::configuration::with_defaults(&file, &KNOWN, &[]))
    }

    fn validate(&self) -> Result<(), Error> {
        let invalid = |field, why: &str| Err(Error::Invalid { field, why: why.to_owned() });
        if self.parallelism <= 0 {
            return invalid("parallelism", "should be an integer value greater than zero");
        }
        if self.pod_initial_backoff_seconds == 0 {
            return invalid("podInitialBackoffSeconds", "must be greater than 0");
        }
        if self.pod_max_backoff_seconds < self.pod_initial_backoff_seconds {
            return invalid("podMaxBackoffSeconds", "must be greater than or equal to PodInitialBackoffSeconds");
        }
        let percentages = self.profiles.iter().map(|p| p.percentage_of_nodes_to_score);
        if percentages.chain([self.percentage_of_nodes_to_score]).flatten().any(|p| !(0..=100).contains(&p)) {
            return invalid("percentageOfNodesToScore", "not in valid range [0-100]");
        }
        Ok(())
    }

    /// The profiles: the default one if none is given.
    ///
    /// # Errors
    /// A plugin does not exist, or its arguments are wrong, or a profile cannot work as it stands.
    pub fn profiles(&self) -> Result<Vec<Profile>, Error> {
        let default = [ProfileConfiguration::default()];
        let wanted = if self.profiles.is_empty() { &default[..] } else { &self.profiles };
        let mut profiles: Vec<Profile> = Vec::new();
        for configuration in wanted {
            let percentage = configuration.percentage_of_nodes_to_score.or(self.percentage_of_nodes_to_score);
            let profile = configuration.build(percentage)?;
            if profiles.iter().any(|p| p.name == profile.name) {
                let why = format!("duplicate profile {:?}", profile.name);
                return Err(Error::Invalid { field: "profiles", why });
            }
            profiles.push(profile);
        }
        let sort = |p: &Profile| p.at(Point::QueueSort).first().map(|e| e.plugin.name());
        if profiles.iter().any(|p| sort(p) != sort(&profiles[0])) {
            let why = "different queue sort plugins for profiles".to_owned();
            return Err(Error::Invalid { field: "profiles", why });
        }
        Ok(profiles)
    }
}

impl ProfileConfiguration {
    fn build(&self, percentage: Option<i32>) -> Result<Profile, Error> {
        for entry in &self.plugin_config {
            if !REGISTRY.iter().any(|(name, _)| *name == entry.name) {
                return Err(Error::NoSuchPlugin(entry.name.clone()));
            }
        }
        let multi = self.multi_point();
        let mut made: HashMap<String, Arc<dyn Plugin>> = HashMap::default();
        let mut points = BTreeMap::new();
        for point in POINTS {
            let mut enabled = Vec::new();
            for (reference, own) in self.at_point(&multi, point) {
                let plugin = match made.get(&reference.name) {
                    Some(plugin) => plugin.clone(),
                    None => {
                        let plugin = self.make(&reference.name)?;
                        made.insert(reference.name.clone(), plugin.clone());
                        plugin
                    }
                };
                if plugin.points().contains(&point) {
                    enabled.push(Enabled { plugin, weight: reference.weight.max(1) });
                } else if own {
                    return Err(Error::NotAtPoint { plugin: reference.name, point });
                }
            }
            points.insert(point, enabled);
        }
        let name = self.scheduler_name.as_deref().unwrap_or(DEFAULT_SCHEDULER_NAME);
        let percentage = percentage.and_then(|p| usize::try_from(p).ok()).filter(|p| *p > 0);
        let profile = Profile::new(name, points, percentage);
        let need = |point, why: &str| {
            if profile.at(point).is_empty() {
                Err(Error::Invalid { field: "profiles", why: why.to_owned() })
            } else {
                Ok(())
            }
        };
        need(Point::QueueSort, "only one queue sort plugin required for profile, but got 0")?;
        need(Point::Bind, "at least one bind plugin is needed for profile")?;
        if profile.at(Point::QueueSort).len() > 1 {
            let why = "only one queue sort plugin can be enabled for a profile".to_owned();
            return Err(Error::Invalid { field: "profiles", why });
        }
        Ok(profile)
    }

    fn make(&self, name: &str) -> Result<Arc<dyn Plugin>, Error> {
        let (name, factory) =
            REGISTRY.iter().find(|(known, _)| *known == name).ok_or_else(|| Error::NoSuchPlugin(name.to_owned()))?;
        let args = self.plugin_config.iter().find(|entry| entry.name == *name).and_then(|entry| entry.args.as_ref());
        factory(&Args { plugin: name, value: args })
    }

    /// The defaults as the profile's `multiPoint` changes them.
    fn multi_point(&self) -> Vec<PluginReference> {
        let set = &self.plugins.multi_point;
        let defaults = DEFAULT.iter().filter(|(name, _)| !set.disables(name));
        let mut plugins: Vec<_> =
            defaults.map(|(name, weight)| PluginReference { name: (*name).to_owned(), weight: *weight }).collect();
        for wanted in &set.enabled {
            match plugins.iter_mut().find(|p| p.name == wanted.name) {
                Some(known) => known.weight = wanted.weight,
                None => plugins.push(wanted.clone()),
            }
        }
        plugins
    }

    /// The plugins of one point, and whether the point itself names them.
    fn at_point(&self, multi: &[PluginReference], point: Point) -> Vec<(PluginReference, bool)> {
        let set = self.plugins.at(point);
        // Those that the point names again come first, in the point's order; then the rest; then the new ones.
        let is_multi = |p: &&PluginReference| multi.iter().any(|m| m.name == p.name);
        let again = set.enabled.iter().filter(is_multi).map(|p| (p.clone(), true));
        let rest = multi.iter().filter(|m| !set.disables(&m.name) && !set.enabled.iter().any(|p| p.name == m.name));
        let new = set.enabled.iter().filter(|p| !is_multi(p)).map(|p| (p.clone(), true));
        again.chain(rest.map(|p| (p.clone(), false))).chain(new).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn unknown_fields_are_named_as_upstream_names_them() {
        let of = |yaml: &str| Configuration::parse(&format!("{HEAD}{yaml}")).unwrap_err().to_string();
        assert_eq!(
            of("profile: []\nleaderElection: {foo: 1}\nprofiles: [{plugins: {score: {enable: []}}}]\n"),
            "configuration: strict decoding error: unknown field \"leaderElection.foo\", unknown field \"profile\", \
             unknown field \"profiles[0].plugins.score.enable\""
        );
        let written = "clientConnection: {kubeconfig: /x, acceptContentTypes: '', contentType: '', qps: 0, burst: 0}\n\
                       profiles: null\nextenders: null\nenableProfiling: null\n";
        assert!(Configuration::parse(&format!("{HEAD}{written}")).is_ok());
    }

    const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

    fn profile(yaml: &str) -> Result<Profile, Error> {
        Configuration::parse(&format!("{HEAD}{yaml}")).and_then(|c| c.profiles()).map(|mut profiles| profiles.remove(0))
    }

    fn names(profile: &Profile, point: Point) -> Vec<(&'static str, i64)> {
        profile.at(point).iter().map(|e| (e.plugin.name(), e.weight)).collect()
    }

    #[test]
    fn the_default_profile_is_upstreams() {
        let profile = profile("").unwrap();
        assert_eq!(&*profile.name, "default-scheduler");
        assert_eq!(
            names(&profile, Point::Score),
            [
                ("TaintToleration", 3),
                ("NodeAffinity", 2),
                ("NodeResourcesFit", 1),
                ("PodTopologySpread", 2),
                ("InterPodAffinity", 2),
                ("NodeResourcesBalancedAllocation", 1),
                ("ImageLocality", 1),
            ]
        );
        assert_eq!(names(&profile, Point::Bind), [("DefaultBinder", 1)]);
        assert_eq!(names(&profile, Point::PostFilter), [("DynamicResources", 1), ("DefaultPreemption", 1)]);
    }

    #[test]
    fn points_change_what_is_on() {
        let profile = profile(
            "profiles:\n- schedulerName: mine\n  plugins:\n    score:\n      disabled: [{name: '*'}]\n      enabled: [{name: \
             ImageLocality, weight: 7}]\n    multiPoint:\n      disabled: [{name: NodePorts}]\n",
        )
        .unwrap();
        assert_eq!(&*profile.name, "mine");
        assert_eq!(names(&profile, Point::Score), [("ImageLocality", 7)]);
        assert!(profile.at(Point::Filter).iter().all(|e| e.plugin.name() != "NodePorts"));
    }

    #[test]
    fn mistakes_are_named() {
        let table = [
            ("paralelism: 3", "paralelism"),
            ("parallelism: 0", "greater than zero"),
            ("percentageOfNodesToScore: 101", "[0-100]"),
            ("extenders: [{urlPrefix: x}]", "extenders is known but not yet supported"),
            ("profiles: [{plugins: {score: {enabled: [{name: Nope}]}}}]", "\"Nope\" does not exist"),
            ("profiles: [{plugins: {score: {enabled: [{name: NodeName}]}}}]", "\"NodeName\" does not extend Score"),
            ("profiles: [{plugins: {multiPoint: {disabled: [{name: DefaultBinder}]}}}]", "bind plugin"),
            ("profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {x: 1}}]}]", "pluginConfig[NodeResourcesFit]"),
            ("profiles: [{}, {}]", "duplicate profile"),
        ];
        for (yaml, expected) in table {
            let error = profile(yaml).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        let wrong = Configuration::parse("apiVersion: v1\nkind: Pod").unwrap_err().to_string();
        assert!(wrong.contains("\"Pod\""), "{wrong}");
    }
}
