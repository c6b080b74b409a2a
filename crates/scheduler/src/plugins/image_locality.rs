//! Nodes that have the pod's images already are liked better, the larger the images.
use super::Args;
use crate::{
    cluster::{ImageState, NodeIndex, NodeView},
    config::Error,
    framework::{Context, MAX_NODE_SCORE, NodeScore, Plugin, Point},
};
use std::sync::Arc;

pub const NAME: &str = "ImageLocality";

const MEGABYTE: i64 = 1024 * 1024;
/// Less than this in total is not worth a preference.
const MIN_THRESHOLD: i64 = 23 * MEGABYTE;
/// More than this for one container makes no difference.
const MAX_CONTAINER_THRESHOLD: i64 = 1000 * MEGABYTE;

struct ImageLocality;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(ImageLocality))
}

struct Score<'a> {
    /// The images that any node has, and each one's worth: its size, less if few nodes have it.
    images: Vec<(&'a ImageState, i64)>,
    containers: i64,
}

/// `nginx` is `nginx:latest`.
fn normalized(image: &str) -> String {
    let tagged = image.rfind(':') > image.rfind('/');
    if tagged { image.to_owned() } else { format!("{image}:latest") }
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreScore, Point::Score]
    }

    fn pre_score<'a>(&'a self, context: Context<'a>, _: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        let spec = &context.pod.template.spec;
        let nodes = context.cluster.order().len().max(1);
        let containers = spec.init_containers.iter().chain(&spec.containers);
        let images: Vec<_> = containers
            .filter_map(|container| context.cluster.images.get(&normalized(&container.image)))
            .map(|image| (image, (image.size as f64 * (image.nodes as f64 / nodes as f64)) as i64))
            .collect();
        let containers = i64::try_from(spec.init_containers.len() + spec.containers.len()).unwrap_or(i64::MAX);
        (!images.is_empty()).then(|| Box::new(Score { images, containers }) as Box<dyn NodeScore>)
    }
}

impl NodeScore for Score<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        let here = self.images.iter().filter(|(image, _)| image.is_on(node.index));
        let max = MAX_CONTAINER_THRESHOLD.saturating_mul(self.containers);
        let sum = here.map(|(_, worth)| worth).sum::<i64>().clamp(MIN_THRESHOLD, max);
        MAX_NODE_SCORE * (sum - MIN_THRESHOLD) / (max - MIN_THRESHOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::Cluster,
        testing::{node, pod},
    };

    #[test]
    fn larger_images_count_more() {
        let mut cluster = Cluster::default();
        cluster.upsert_node(node("a").image("gcr.io/300:latest", 300 * MEGABYTE).build());
        cluster.upsert_node(node("b").image("gcr.io/10:latest", 10 * MEGABYTE).build());
        let score = |image: &str, index| {
            let pod = pod("p").image(image).info();
            let scorer = ImageLocality.pre_score(Context { pod: &pod, cluster: &cluster }, &[0, 1]);
            scorer.map_or(0, |s| s.score(&cluster.view(index)))
        };
        // 300 MB on half of the nodes count 150 MB: 100 * (150 - 23) / (1000 - 23).
        assert_eq!(score("gcr.io/300", 0), 12);
        assert_eq!(score("gcr.io/300", 1), 0);
        assert_eq!(score("gcr.io/10", 1), 0);
        assert_eq!(normalized("host:5000/app"), "host:5000/app:latest");
    }
}
