//! The documents as clients read them: by kind, by reference, by extension.
#![allow(clippy::unwrap_used)]
use super::*;

fn resource(group: &'static str, version: &'static str, resource: &'static str, kind: &'static str) -> ServedResource {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    ServedResource {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
        kind: kind.into(),
        namespaced: true,
        verbs: verbs.map(Str::Borrowed).to_vec(),
        subresources: vec![ServedSubresource {
            name: "status".into(),
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            verbs: vec!["get".into(), "patch".into(), "update".into()],
        }],
    }
}

fn documents() -> Documents {
    let custom = CustomSchema {
        group: "stable.example.com".into(),
        version: "v1".into(),
        kind: "CronTab".into(),
        list_kind: "CronTabList".into(),
        schema: Arc::new(json!({
            "type": "object",
            "properties": { "spec": { "type": "object", "properties": { "replicas": { "type": "integer", "nullable": true } } } }
        })),
    };
    let resources = vec![
        resource("", "v1", "pods", "Pod"),
        resource("apps", "v1", "deployments", "Deployment"),
        resource("stable.example.com", "v1", "crontabs", "CronTab"),
    ];
    Documents::new(resources, vec![custom], "v1.36.2+ferrokube.0.1.0")
}

fn parsed(document: &Document) -> Value {
    serde_json::from_slice(&document.json().unwrap()).unwrap()
}

/// Every reference of a document leads somewhere.
fn check_references(document: &Value, at: &Value) {
    match at {
        Value::Object(map) => {
            for (key, value) in map {
                if let (true, Some(reference)) = (key == "$ref", value.as_str()) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                check_references(document, value);
            }
        }
        Value::Array(list) => list.iter().for_each(|v| check_references(document, v)),
        _ => {}
    }
}

#[test]
fn v3_documents() {
    let documents = documents();
    let index: Value = serde_json::from_slice(&documents.index()).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
    assert!(documents.v3("apis/nothing/v1").unwrap().is_none());

    let document = documents.v3("apis/apps/v1").unwrap().unwrap();
    assert!(url.ends_with(&document.hash));
    let document = parsed(&document);
    check_references(&document, &document);
    let schemas = &document["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["items"]["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.Container");
    assert_eq!(
        schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
        json!([{ "group": "apps", "kind": "Deployment", "version": "v1" }])
    );
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
}

#[test]
fn custom_resources_are_described() {
    let document = parsed(&documents().v3("apis/stable.example.com/v1").unwrap().unwrap());
    check_references(&document, &document);
    let schema = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["replicas"]["nullable"], true);
    let patch = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"];
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
}

#[test]
fn the_v2_document() {
    let documents = documents();
    let document = documents.v2().unwrap();
    assert!(document.gzip.len() < 1024 * 1024, "{}", document.gzip.len());
    let document = parsed(&document);
    check_references(&document, &document);
    let definitions = document["definitions"].as_object().unwrap();
    assert!(definitions.len() > 700);
    assert_eq!(
        definitions["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["$ref"],
        "#/definitions/io.k8s.api.core.v1.PodSpec"
    );
    assert!(
        definitions["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]["replicas"]
            .get("nullable")
            .is_none()
    );
    assert!(document["paths"]["/api/v1/pods"]["get"].is_object());
}
