//! `autoscaling/v1` to and from `v2`: v1 knows CPU utilisation only, the rest travels in annotations.
//!
//! Source: `pkg/apis/autoscaling/v1/conversion.go`. Annotations hold the v2 JSON of what v1 has no field for.
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CPU_FIELD: &str = "targetCPUUtilizationPercentage";
const CURRENT_CPU_FIELD: &str = "currentCPUUtilizationPercentage";

fn object<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.get_mut(key)?.as_object_mut()
}

fn take_annotation(value: &mut Value, key: &str) -> Option<Value> {
    let metadata = object(value, "metadata")?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn put_annotation(value: &mut Value, key: &str, content: &Value) {
    let Value::Object(root) = value else { return };
    let metadata = root.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(metadata) = metadata else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Value::Object(annotations) = annotations {
        annotations.insert(key.to_owned(), Value::String(content.to_string()));
    }
}

fn cpu_metric(utilization: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": utilization}}})
}

fn is_cpu(metric: &Value, side: &str) -> bool {
    metric.pointer("/resource/name").and_then(Value::as_str) == Some("cpu")
        && metric.pointer(&format!("/resource/{side}/averageUtilization")).is_some()
}

/// # Errors
/// It is no object.
pub fn to_v2(value: &mut Value) -> Result<(), String> {
    if !value.is_object() {
        return Err("a HorizontalPodAutoscaler must be an object".to_owned());
    }
    let mut metrics: Vec<Value> = match take_annotation(value, METRICS) {
        Some(Value::Array(metrics)) => metrics,
        _ => Vec::new(),
    };
    let behavior = take_annotation(value, BEHAVIOR);
    let mut current: Vec<Value> = match take_annotation(value, CURRENT_METRICS) {
        Some(Value::Array(metrics)) => metrics,
        _ => Vec::new(),
    };
    let conditions = take_annotation(value, CONDITIONS);
    if let Some(spec) = object(value, "spec") {
        if let Some(utilization) = spec.remove(CPU_FIELD) {
            metrics.push(cpu_metric(utilization));
        }
        if !metrics.is_empty() {
            spec.insert("metrics".into(), Value::Array(metrics));
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = object(value, "status") {
        if let Some(utilization) = status.remove(CURRENT_CPU_FIELD) {
            current.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": utilization}}}));
        }
        if !current.is_empty() {
            status.insert("currentMetrics".into(), Value::Array(current));
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
    Ok(())
}

/// # Errors
/// It is no object.
pub fn from_v2(value: &mut Value) -> Result<(), String> {
    if !value.is_object() {
        return Err("a HorizontalPodAutoscaler must be an object".to_owned());
    }
    let (mut metrics, mut behavior, mut current, mut conditions) = (Vec::new(), None, Vec::new(), None);
    if let Some(spec) = object(value, "spec") {
        if let Some(Value::Array(all)) = spec.remove("metrics") {
            for metric in all {
                if is_cpu(&metric, "target") && !spec.contains_key(CPU_FIELD) {
                    let utilization = metric.pointer("/resource/target/averageUtilization").cloned();
                    spec.insert(CPU_FIELD.into(), utilization.unwrap_or_default());
                } else {
                    metrics.push(metric);
                }
            }
        }
        behavior = spec.remove("behavior");
    }
    if let Some(status) = object(value, "status") {
        if let Some(Value::Array(all)) = status.remove("currentMetrics") {
            for metric in all {
                if is_cpu(&metric, "current") && !status.contains_key(CURRENT_CPU_FIELD) {
                    let utilization = metric.pointer("/resource/current/averageUtilization").cloned();
                    status.insert(CURRENT_CPU_FIELD.into(), utilization.unwrap_or_default());
                } else {
                    current.push(metric);
                }
            }
        }
        conditions = status.remove("conditions");
        status.entry("currentReplicas").or_insert(json!(0));
    }
    if !metrics.is_empty() {
        put_annotation(value, METRICS, &Value::Array(metrics));
    }
    if !current.is_empty() {
        put_annotation(value, CURRENT_METRICS, &Value::Array(current));
    }
    for (content, key) in [(behavior, BEHAVIOR), (conditions, CONDITIONS)] {
        if let Some(content) = content {
            put_annotation(value, key, &content);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_cannot_say_survives_the_round_trip() {
        let v2 = json!({
            "metadata": {"name": "web"},
            "spec": {
                "maxReplicas": 5,
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                    cpu_metric(json!(80)),
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            },
        });
        let mut value = v2.clone();
        from_v2(&mut value).expect("an object");
        assert_eq!(value.pointer("/spec/targetCPUUtilizationPercentage"), Some(&json!(80)));
        assert!(value.pointer("/spec/metrics").is_none());
        to_v2(&mut value).expect("an object");
        assert_eq!(value, v2);
    }
}
