//! A profile: which plugins take part in the scheduling of pods with one scheduler name, and with what weight.
use super::{Context, NodeFilter, Plugin, Point, PreFilter, Rejection};
use crate::{
    cluster::{NodeIndex, NodeView, Overlay},
    pod::PodInfo,
};
use foldhash::HashMap;
use std::{collections::BTreeMap, sync::Arc};

/// A plugin with its weight in scores.
#[derive(Clone, Debug)]
pub struct Enabled {
    pub plugin: Arc<dyn Plugin>,
    /// At least 1.
    pub weight: i64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Profile {
    pub name: Arc<str>,
    points: BTreeMap<Point, Vec<Enabled>>,
    by_name: HashMap<&'static str, Arc<dyn Plugin>>,
    /// In percent; `None`: follow the size of the cluster.
    pub percentage_of_nodes_to_score: Option<usize>,
}

/// The filters that have something to say about one pod.
pub struct Filters<'a> {
    pub checks: Vec<(&'static str, Box<dyn NodeFilter + 'a>)>,
    /// The only nodes to look at, and the names of the plugins that said so.
    pub only: Option<(Vec<NodeIndex>, Vec<&'static str>)>,
}

/// A plugin's objection.
pub struct Objection {
    pub plugin: &'static str,
    pub rejection: Rejection,
}

impl Profile {
    pub fn new(name: &str, points: BTreeMap<Point, Vec<Enabled>>, percentage_of_nodes_to_score: Option<usize>) -> Self {
        let plugins = points.values().flatten().map(|enabled| enabled.plugin.clone());
        let by_name = plugins.map(|plugin| (plugin.name(), plugin)).collect();
        Profile { name: Arc::from(name), points, by_name, percentage_of_nodes_to_score }
    }

    /// The plugins of a point, in their order.
    pub fn at(&self, point: Point) -> &[Enabled] {
        self.points.get(&point).map_or(&[], Vec::as_slice)
    }

    /// Any plugin of this name, at whatever point.
    pub fn plugin(&self, name: &str) -> Option<&Arc<dyn Plugin>> {
        self.by_name.get(name)
    }

    /// The filters for one pod, or the objection that spares looking at nodes.
    ///
    /// # Errors
    /// A plugin objected to the pod as such, or two plugins leave no node.
    pub fn pre_filter<'a>(&'a self, context: Context<'a>) -> Result<Filters<'a>, Objection> {
        let mut filters = Filters { checks: Vec::new(), only: None };
        for Enabled { plugin, .. } in self.at(Point::PreFilter) {
            match plugin.pre_filter(context) {
                PreFilter::Skip => {}
                PreFilter::Reject(rejection) => return Err(Objection { plugin: plugin.name(), rejection }),
                PreFilter::Check { nodes, filter } => {
                    filters.checks.push((plugin.name(), filter));
                    filters.narrow(nodes, plugin.name())?;
                }
            }
        }
        Ok(filters)
    }
}

impl<'a> Filters<'a> {
    fn narrow(&mut self, nodes: Option<Vec<NodeIndex>>, plugin: &'static str) -> Result<(), Objection> {
        let Some(nodes) = nodes else { return Ok(()) };
        match &mut self.only {
            None => self.only = Some((nodes, vec![plugin])),
            Some((only, plugins)) => {
                only.retain(|index| nodes.contains(index));
                plugins.push(plugin);
            }
        }
        match &self.only {
            Some((only, plugins)) if only.is_empty() => {
                let text = if plugins.len() == 1 {
                    format!("node(s) didn't satisfy plugin {}", plugins.join(" "))
                } else {
                    format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", plugins.join(" "))
                };
                Err(Objection { plugin, rejection: Rejection::unresolvable(text) })
            }
            _ => Ok(()),
        }
    }

    /// The first objection of any filter to this node.
    ///
    /// # Errors
    /// The objection.
    pub fn run(&self, view: &NodeView<'_>) -> Result<(), Objection> {
        for (plugin, check) in &self.checks {
            check.filter(view).map_err(|rejection| Objection { plugin, rejection })?;
        }
        Ok(())
    }

    /// As [`run`](Self::run), with the pods that others made room for counted as if they ran there already: those
    /// of no lower priority. And once more without them, since they may never come.
    ///
    /// # Errors
    /// The objection.
    pub fn run_with_nominated(
        &self,
        context: Context<'_>,
        view: &NodeView<'_>,
        base: &Overlay,
    ) -> Result<(), Objection> {
        let nominated = context.cluster.nominated.at(view.name());
        let mut others =
            nominated.iter().filter(|p| p.uid != context.pod.uid && p.priority() >= context.pod.priority()).peekable();
        if others.peek().is_some() {
            let mut overlay = base.clone();
            let mut filters = self.fork();
            for pod in others {
                overlay.add(pod);
                filters.add_pod(pod, view);
            }
            filters.run(&view.with(&overlay))?;
        }
        self.run(view)
    }

    pub fn fork(&self) -> Filters<'_> {
        let checks = self.checks.iter().map(|(name, check)| (*name, check.fork())).collect();
        Filters { checks, only: None }
    }

    pub fn add_pod(&mut self, pod: &PodInfo, view: &NodeView<'_>) {
        for (_, check) in &mut self.checks {
            check.add_pod(pod, view);
        }
    }

    pub fn remove_pod(&mut self, pod: &PodInfo, view: &NodeView<'_>) {
        for (_, check) in &mut self.checks {
            check.remove_pod(pod, view);
        }
    }
}
