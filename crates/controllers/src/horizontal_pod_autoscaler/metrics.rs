//! What the metrics APIs say: `metrics.k8s.io`, `custom.metrics.k8s.io` and `external.metrics.k8s.io`.
//!
//! All three come from servers beside the API server. Where there is none, the error says so in upstream's words.
//! Source: `pkg/controller/podautoscaler/metrics/client.go`, `k8s.io/metrics`.
use super::{
    replicas::{Sample, Samples},
    scale::Scales,
};
use apimachinery::quantity;
use http::Request;
use jiff::SignedDuration;
use k8s_openapi::{
    api::autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier, MetricSpec},
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, Time},
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Write as _};

/// The window of a custom metric that names none.
const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What was measured for one metric of an autoscaler.
#[derive(Clone, Debug)]
pub enum Measured {
    /// Per pod.
    Pods(Samples),
    /// Of one object, or the sum of external values; in thousandths.
    Total(i64),
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Time,
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, Quantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomValue {
    described_object: Named,
    timestamp: Time,
    #[serde(alias = "window")]
    window_seconds: Option<i64>,
    value: Quantity,
}

#[derive(Deserialize)]
struct ExternalValue {
    value: Quantity,
}

/// Asks the metrics APIs.
pub struct MetricsClient<'a> {
    pub client: &'a kube::Client,
    pub scales: &'a Scales,
    pub namespace: &'a str,
    /// The selector of the target's pods.
    pub selector: &'a str,
}

impl MetricsClient<'_> {
    /// What `spec` asks for.
    ///
    /// # Errors
    /// Why there is nothing, without the words that say what it was wanted for.
    pub async fn measure(&self, spec: &MetricSpec) -> Result<Measured, String> {
        if let Some(resource) = &spec.resource {
            return self.resource(&resource.name, None).await.map(Measured::Pods);
        }
        if let Some(resource) = &spec.container_resource {
            return self.resource(&resource.name, Some(&resource.container)).await.map(Measured::Pods);
        }
        if let Some(pods) = &spec.pods {
            return self.pods(&pods.metric).await.map(Measured::Pods);
        }
        if let Some(object) = &spec.object {
            return self.object(&object.metric, &object.described_object).await.map(Measured::Total);
        }
        match &spec.external {
            Some(external) => self.external(&external.metric).await.map(Measured::Total),
            None => Ok(Measured::Total(0)),
        }
    }

    async fn resource(&self, resource: &str, container: Option<&str>) -> Result<Samples, String> {
        let path = format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={}",
            self.namespace,
            escaped(self.selector)
        );
        let list: List<PodMetrics> = self
            .get(&path, "pods.metrics.k8s.io")
            .await
            .map_err(|why| format!("unable to fetch metrics from resource metrics API: {why}"))?;
        if list.items.is_empty() {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        match container {
            None => Ok(list.items.iter().filter_map(|pod| of_pod(pod, resource)).collect()),
            Some(container) => list.items.iter().map(|pod| of_container(pod, resource, container)).collect(),
        }
    }

    async fn pods(&self, metric: &MetricIdentifier) -> Result<Samples, String> {
        let base = format!("namespaces/{}/pods/*", self.namespace);
        let values = self.custom(&base, metric, Some(self.selector)).await?;
        if values.is_empty() {
            return Err("no metrics returned from custom metrics API".to_owned());
        }
        let sample = |value: CustomValue| {
            let window = value.window_seconds.map_or(DEFAULT_WINDOW, SignedDuration::from_secs);
            (value.described_object.name, Sample { milli: milli(&value.value), at: value.timestamp.0, window })
        };
        Ok(values.into_iter().map(sample).collect())
    }

    async fn object(&self, metric: &MetricIdentifier, of: &CrossVersionObjectReference) -> Result<i64, String> {
        let api_version = of.api_version.as_deref().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let base = if group.is_empty() && of.kind == "Namespace" {
            // Whatever name it has: an autoscaler sees no other namespace.
            format!("namespaces/{}/metrics", self.namespace)
        } else {
            let kind = self.scales.kind(group, &of.kind).await;
            let kind = kind.map_err(|why| format!("unable to fetch metrics from custom metrics API: {why}"))?;
            let plural = kind.resource.plural;
            let resource = if group.is_empty() { plural } else { format!("{plural}.{group}") };
            format!("namespaces/{}/{resource}/{}", self.namespace, of.name)
        };
        let values = self.custom(&base, metric, None).await?;
        let first = values.first().ok_or("unable to fetch metrics from custom metrics API: no value was returned")?;
        Ok(milli(&first.value))
    }

    async fn custom(
        &self,
        base: &str,
        metric: &MetricIdentifier,
        selector: Option<&str>,
    ) -> Result<Vec<CustomValue>, String> {
        let failed = |why: String| format!("unable to fetch metrics from custom metrics API: {why}");
        let version = self.custom_version().await.map_err(failed)?;
        let labels = selector_text(metric.selector.as_ref()).map_err(failed)?;
        let mut path = format!("/apis/custom.metrics.k8s.io/{version}/{base}/{}?", metric.name);
        if let Some(selector) = selector {
            let _ = write!(path, "labelSelector={}&", escaped(selector));
        }
        let _ = write!(path, "metricLabelSelector={}", escaped(&labels));
        let what = format!("{}.custom.metrics.k8s.io", metric.name);
        let list: List<CustomValue> = self.get(&path, &what).await.map_err(failed)?;
        Ok(list.items)
    }

    /// The version of the custom metrics API that is served.
    async fn custom_version(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Group {
            preferred_version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let request = Request::get("/apis/custom.metrics.k8s.io").body(Vec::new()).map_err(|e| e.to_string())?;
        match self.client.request::<Group>(request).await {
            Ok(group) => Ok(group.preferred_version.version),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Err("no custom metrics API (custom.metrics.k8s.io) registered".to_owned())
            }
            Err(error) => Err(told(error, "custom.metrics.k8s.io")),
        }
    }

    async fn external(&self, metric: &MetricIdentifier) -> Result<i64, String> {
        let labels = selector_text(metric.selector.as_ref())?;
        let (namespace, name) = (self.namespace, &metric.name);
        let labels = escaped(&labels);
        let path =
            format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}?labelSelector={labels}");
        let list: List<ExternalValue> = self
            .get(&path, &format!("{name}.external.metrics.k8s.io"))
            .await
            .map_err(|why| format!("unable to fetch metrics from external metrics API: {why}"))?;
        if list.items.is_empty() {
            return Err("no metrics returned from external metrics API".to_owned());
        }
        Ok(list.items.iter().map(|item| milli(&item.value)).fold(0, i64::saturating_add))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<T, String> {
        let request = Request::get(path).body(Vec::new()).map_err(|error| format!("{path}: {error}"))?;
        self.client.request(request).await.map_err(|error| told(error, what))
    }
}

/// The error as upstream's client words it: the server's `Status`, or what the code alone says.
fn told(error: kube::Error, what: &str) -> String {
    let kube::Error::Api(status) = error else { return error.to_string() };
    // kube's reason for an answer that is no `Status`.
    if status.reason != "Failed to parse error data" {
        return status.message;
    }
    let said = match status.code {
        404 => "the server could not find the requested resource",
        503 => "the server is currently unable to handle the request",
        _ => {
            return format!(
                "an error on the server ({:?}) has prevented the request from succeeding (get {what})",
                status.message
            );
        }
    };
    format!("{said} (get {what})")
}

fn of_pod(pod: &PodMetrics, resource: &str) -> Option<(String, Sample)> {
    let used: Option<Vec<i64>> = pod.containers.iter().map(|c| c.usage.get(resource).map(milli)).collect();
    let used = used.filter(|used| !used.is_empty())?;
    Some((pod.metadata.name.clone(), sample(pod, used.into_iter().fold(0, i64::saturating_add))))
}

fn of_container(pod: &PodMetrics, resource: &str, container: &str) -> Result<(String, Sample), String> {
    let found = pod.containers.iter().find(|one| one.name == container);
    let usage = found.and_then(|one| one.usage.get(resource));
    match usage {
        Some(usage) => Ok((pod.metadata.name.clone(), sample(pod, milli(usage)))),
        None => Err(format!("container {container} not present in metrics for pod {}", pod.metadata.name)),
    }
}

fn sample(pod: &PodMetrics, milli: i64) -> Sample {
    let window =
        apimachinery::duration::parse(&pod.window).ok().and_then(|window| SignedDuration::try_from(window).ok());
    Sample { milli, at: pod.timestamp.0, window: window.unwrap_or_default() }
}

fn milli(quantity: &Quantity) -> i64 {
    quantity::of(quantity).map_or(0, |amount| amount.milli_value())
}

/// A selector of metrics as a query shows it; none selects all.
fn selector_text(selector: Option<&LabelSelector>) -> Result<String, String> {
    let selector = apimachinery::labels::from_label_selector(&selector.cloned().unwrap_or_default());
    selector.map(|selector| selector.to_string()).map_err(|error| error.to_string())
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_counts_only_if_all_its_containers_do() {
        let pod: PodMetrics = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15s",
            "containers": [{"name": "a", "usage": {"cpu": "250m", "memory": "1Mi"}}, {"name": "b", "usage": {"cpu": "1500000n"}}],
        }))
        .expect("PodMetrics");
        assert_eq!(of_pod(&pod, "cpu").map(|(_, sample)| sample.milli), Some(252));
        assert!(of_pod(&pod, "memory").is_none());
        assert_eq!(of_container(&pod, "memory", "a").map(|(_, sample)| sample.milli), Ok(1_048_576_000));
        let why = "container b not present in metrics for pod p";
        assert_eq!(of_container(&pod, "memory", "b").map(|(_, sample)| sample.milli), Err(why.to_owned()));
    }

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(escaped("app in (a,b),c!=d"), "app%20in%20%28a%2Cb%29%2Cc%21%3Dd");
    }
}
