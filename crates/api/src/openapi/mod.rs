//! OpenAPI: `/openapi/v2` in JSON and in protobuf, and `/openapi/v3` with one document for each group and version.
//!
//! Documents are made from the schema table when first asked for, and kept compressed. [`Documents`] is made anew
//! when the set of served resources changes. Good for what official clients do with them: `kubectl explain`,
//! validation, and the patch rules of client-side apply.
mod gnostic;
mod paths;
mod schemas;

use crate::{Info, Scope, Str};
use apimachinery::schema::Descriptions;
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// One resource in one version, as the documents describe it.
#[derive(Clone, Debug)]
pub struct ServedResource {
    pub group: Str,
    pub version: Str,
    /// Plural.
    pub resource: Str,
    pub kind: Str,
    pub namespaced: bool,
    pub verbs: Vec<Str>,
    pub subresources: Vec<ServedSubresource>,
}

#[derive(Clone, Debug)]
pub struct ServedSubresource {
    pub name: Str,
    pub group: Str,
    pub version: Str,
    pub kind: Str,
    pub verbs: Vec<Str>,
}

/// The schema of a custom resource.
#[derive(Clone, Debug)]
pub struct CustomSchema {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub list_kind: String,
    /// `openAPIV3Schema` as the definition has it.
    pub schema: Arc<Value>,
}

/// A resource in all the versions it is served in.
pub fn served(info: &Info) -> Vec<ServedResource> {
    let verbs = |verbs: &[&'static str]| verbs.iter().map(|v| Str::Borrowed(*v)).collect::<Vec<Str>>();
    let subresources: Vec<ServedSubresource> = info
        .subresources
        .iter()
        .map(|s| ServedSubresource {
            name: s.name.clone(),
            group: s.group.clone(),
            version: s.version.clone(),
            kind: s.kind.clone(),
            verbs: verbs(s.verbs),
        })
        .collect();
    info.served
        .iter()
        .map(|served| ServedResource {
            group: served.group.clone(),
            version: served.version.clone(),
            resource: info.plural.clone(),
            kind: served.kind.clone(),
            namespaced: info.scope == Scope::Namespaced,
            verbs: verbs(info.verbs),
            subresources: subresources.clone(),
        })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which<'a> {
    V2,
    V2Protobuf,
    /// Of this group and version.
    V3(&'a str, &'a str),
}

impl Which<'_> {
    fn has(self, group: &str, version: &str) -> bool {
        !matches!(self, Which::V3(..)) || self == Which::V3(group, version)
    }
}

/// One document, compressed.
#[derive(Clone, Debug)]
pub struct Document {
    /// The body, gzip-compressed, for clients that accept that.
    pub gzip: Bytes,
    /// Changes whenever the content does; the `ETag` and the `hash` of the document's URL.
    pub hash: String,
}

impl Document {
    /// The body.
    ///
    /// # Errors
    /// Never in practice: the content was compressed by us.
    pub fn body(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut out)?;
        Ok(out)
    }
}

/// All documents of one set of served resources.
#[derive(Debug)]
pub struct Documents {
    resources: Vec<ServedResource>,
    custom: Vec<CustomSchema>,
    git_version: String,
    /// By path (`apis/apps/v1`), those of v2 under `v2` and `v2.pb`; at most one for each group and version.
    made: Mutex<BTreeMap<String, Arc<Document>>>,
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

impl Documents {
    /// `git_version` stands in the documents as the API's version.
    pub fn new(resources: Vec<ServedResource>, custom: Vec<CustomSchema>, git_version: &str) -> Self {
        Documents { resources, custom, git_version: git_version.to_owned(), made: Mutex::default() }
    }

    fn group_versions(&self) -> BTreeSet<(&str, &str)> {
        self.resources.iter().map(|r| (r.group.as_ref(), r.version.as_ref())).collect()
    }

    /// The body of `/openapi/v3`: where each group and version's document is.
    pub fn index(&self) -> Vec<u8> {
        let mut paths = Map::new();
        for (group, version) in self.group_versions() {
            let path = path_of(group, version);
            let url = format!("/openapi/v3/{path}?hash={}", self.hash(Which::V3(group, version)));
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
        json!({ "paths": paths }).to_string().into_bytes()
    }

    /// The document under `/openapi/v3/`: `path` is `api/v1`, `apis/apps/v1`, …; `None` when nothing is served there.
    ///
    /// # Errors
    /// When compression fails; not in practice.
    pub fn v3(&self, path: &str) -> io::Result<Option<Arc<Document>>> {
        let known = self.group_versions().into_iter().find(|(group, version)| path_of(group, version) == path);
        known.map(|(group, version)| self.cached(path, Which::V3(group, version))).transpose()
    }

    /// The document at `/openapi/v2`.
    ///
    /// # Errors
    /// As [`Documents::v3`].
    pub fn v2(&self) -> io::Result<Arc<Document>> {
        self.cached("v2", Which::V2)
    }

    /// The document at `/openapi/v2` as an `openapi.v2.Document` message.
    ///
    /// # Errors
    /// As [`Documents::v3`].
    pub fn v2_protobuf(&self) -> io::Result<Arc<Document>> {
        self.cached("v2.pb", Which::V2Protobuf)
    }

    fn cached(&self, path: &str, which: Which<'_>) -> io::Result<Arc<Document>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = made.get(path) {
            return Ok(document.clone());
        }
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        match which {
            Which::V2Protobuf => self.write_protobuf(&mut gzip)?,
            _ => self.write(which, &mut gzip)?,
        }
        let document = Arc::new(Document { gzip: Bytes::from(gzip.finish()?), hash: self.hash(which) });
        made.insert(path.to_owned(), document.clone());
        Ok(document)
    }

    /// Hashes what a document is made from, which is much less than the document.
    fn hash(&self, which: Which<'_>) -> String {
        let resources: Vec<&ServedResource> =
            self.resources.iter().filter(|r| which.has(&r.group, &r.version)).collect();
        let custom: Vec<&CustomSchema> = self.custom.iter().filter(|c| which.has(&c.group, &c.version)).collect();
        let protobuf = if which == Which::V2Protobuf { "protobuf " } else { "" };
        let source = format!("{protobuf}{} {resources:?} {custom:?}", self.git_version);
        let half = |seed| foldhash::quality::FixedState::with_seed(seed).hash_one(&source);
        format!("{:016X}{:016X}", half(1), half(2))
    }

    /// Streams a document member by member: never all of it is in memory.
    fn write(&self, which: Which<'_>, out: &mut impl Write) -> io::Result<()> {
        let descriptions = Descriptions::unpack()?;
        let dialect = if matches!(which, Which::V3(..)) { Dialect::V3 } else { Dialect::V2 };
        let chosen: Vec<&ServedResource> = self.resources.iter().filter(|r| which.has(&r.group, &r.version)).collect();
        let info = self.info();
        match dialect {
            Dialect::V2 => write!(out, "{{\"swagger\":\"2.0\",\"info\":{info},\"paths\":")?,
            Dialect::V3 => write!(out, "{{\"openapi\":\"3.0.0\",\"info\":{info},\"paths\":")?,
        }
        let names = schemas::Names::new(&self.custom);
        write_members(out, chosen.iter().flat_map(|r| paths::of(r, dialect, &names)))?;
        out.write_all(match dialect {
            Dialect::V2 => b",\"definitions\":",
            Dialect::V3 => b",\"components\":{\"schemas\":",
        })?;
        let wanted = match dialect {
            Dialect::V2 => schemas::all(&self.custom),
            Dialect::V3 => schemas::reachable(&chosen, &self.custom),
        };
        write_members(out, wanted.into_iter().map(|s| (s.name(), s.document(dialect, &descriptions))))?;
        let security = security();
        match dialect {
            Dialect::V2 => {
                write!(out, ",\"securityDefinitions\":{security},\"security\":[{{\"BearerToken\":[]}}]}}")
            }
            Dialect::V3 => write!(out, ",\"securitySchemes\":{security}}}}}"),
        }
    }

    /// As [`Documents::write`], of v2 as a message.
    fn write_protobuf(&self, out: &mut impl Write) -> io::Result<()> {
        let descriptions = Descriptions::unpack()?;
        out.write_all(&gnostic::head(&json!({
            "swagger": "2.0", "info": self.info(),
            "securityDefinitions": security(), "security": [{ "BearerToken": [] }],
        })))?;
        let names = schemas::Names::new(&self.custom);
        for (path, item) in self.resources.iter().flat_map(|r| paths::of(r, Dialect::V2, &names)) {
            out.write_all(&gnostic::path(&path, &item))?;
        }
        for schema in schemas::all(&self.custom) {
            out.write_all(&gnostic::definition(&schema.name(), &schema.document(Dialect::V2, &descriptions)))?;
        }
        Ok(())
    }

    fn info(&self) -> Value {
        json!({ "title": "Kubernetes", "version": self.git_version })
    }
}

fn security() -> Value {
    json!({
        "BearerToken": {
            "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"
        }
    })
}

fn write_members(out: &mut impl Write, members: impl Iterator<Item = (String, Value)>) -> io::Result<()> {
    out.write_all(b"{")?;
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, &name)?;
        out.write_all(b":")?;
        serde_json::to_writer(&mut *out, &value)?;
    }
    out.write_all(b"}")
}

#[cfg(test)]
mod tests;
