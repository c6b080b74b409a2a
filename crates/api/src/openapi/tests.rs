//! The documents as clients read them: by kind, by reference, by extension.
#![allow(clippy::unwrap_used)]
use super::*;
use apimachinery::codec::protobuf;

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
    serde_json::from_slice(&document.body().unwrap()).unwrap()
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

/// The fields of a message with this number.
fn fields(message: &[u8], number: u32) -> Vec<&[u8]> {
    let all = protobuf::byte_fields(message).unwrap();
    all.into_iter().filter(|(n, _)| *n == number).map(|(_, bytes)| bytes).collect()
}

/// The value of a `Named…` entry among the parts of a map that is given in parts.
fn entry<'a>(parts: &[&'a [u8]], at: u32, name: &str) -> &'a [u8] {
    let entries = parts.iter().flat_map(|part| fields(part, at));
    entries.filter(|entry| fields(entry, 1) == [name.as_bytes()]).map(|entry| fields(entry, 2)[0]).next().unwrap()
}

#[test]
fn the_v2_document_as_a_message() {
    let documents = documents();
    let document = documents.v2_protobuf().unwrap();
    assert_ne!(document.hash, documents.v2().unwrap().hash);
    let body = document.body().unwrap();
    assert_eq!(fields(&body, 1), [b"2.0"]);
    assert_eq!(fields(fields(&body, 2)[0], 2), [b"v1.36.2+ferrokube.0.1.0"]);

    let definitions = fields(&body, 9);
    let json = parsed(&documents.v2().unwrap());
    assert_eq!(definitions.len(), json["definitions"].as_object().unwrap().len());
    let pod = entry(&definitions, 1, "io.k8s.api.core.v1.Pod");
    let properties = fields(pod, 25);
    assert_eq!(fields(entry(&properties, 1, "spec"), 1), [b"#/definitions/io.k8s.api.core.v1.PodSpec"]);
    let kinds = entry(&[pod], 31, "x-kubernetes-group-version-kind");
    assert_eq!(fields(kinds, 2), [b"- group: \"\"\n  kind: Pod\n  version: v1\n"]);
    // A map of strings: `additionalProperties` is a schema, whose type is a list of one.
    let meta = entry(&definitions, 1, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let labels = entry(&fields(meta, 25), 1, "labels");
    assert_eq!(fields(fields(fields(fields(labels, 21)[0], 1)[0], 22)[0], 1), [b"string"]);
    let finalizers = entry(&fields(meta, 25), 1, "finalizers");
    assert_eq!(fields(fields(fields(fields(finalizers, 23)[0], 1)[0], 22)[0], 1), [b"string"]);

    let paths = fields(&body, 8);
    assert_eq!(paths.len(), json["paths"].as_object().unwrap().len());
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let patch = fields(entry(&paths, 2, path), 8)[0];
    assert_eq!(fields(patch, 5), [b"patchAppsV1NamespacedDeployment"]);
    let wanted = &json["paths"][path]["patch"]["parameters"];
    let parameters = fields(patch, 8);
    for (message, wanted) in parameters.iter().zip(wanted.as_array().unwrap()) {
        // In the body, or by query: one choice in another.
        let parameter = fields(message, 1)[0];
        let name = match wanted["in"].as_str().unwrap() {
            "body" => fields(fields(parameter, 1)[0], 2)[0],
            _ => fields(fields(fields(parameter, 2)[0], 3)[0], 4)[0],
        };
        assert_eq!(name, wanted["name"].as_str().unwrap().as_bytes());
    }
    let response = fields(entry(&fields(patch, 9), 1, "200"), 1)[0];
    let schema = fields(fields(response, 2)[0], 1)[0];
    assert_eq!(fields(schema, 1), [b"#/definitions/io.k8s.api.apps.v1.Deployment"]);
}
