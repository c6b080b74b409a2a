//! What stands in configMap, secret, downwardAPI and projected volumes.
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Volume};

use super::atomic::{File, Files};
use crate::env::{NodeHas, field, resource_field};
use crate::objects::{Missing, Objects};
use crate::spec;

const DEFAULT_MODE: i32 = 0o644;

type Data = BTreeMap<String, Vec<u8>>;

/// What the contents are made from.
pub struct Source<'a> {
    pub pod: &'a Pod,
    pub objects: &'a Objects,
    pub node: NodeHas,
    pub now: Timestamp,
}

/// The files of a volume whose content the kubelet writes; `None`: not such a volume.
pub async fn files(source: &Source<'_>, volume: &Volume) -> Option<Result<Files, String>> {
    if let Some(from) = &volume.config_map {
        let optional = from.optional.unwrap_or(false);
        let data = source.config_map(&from.name, optional).await;
        let name = &from.name;
        return Some(data.and_then(|data| {
            pick(&data, from.items.as_deref(), from.default_mode, optional, &source.reference("configmap", name))
        }));
    }
    if let Some(from) = &volume.secret {
        let optional = from.optional.unwrap_or(false);
        let name = from.secret_name.as_deref().unwrap_or_default();
        let data = source.secret(name, optional).await;
        return Some(data.and_then(|data| {
            pick(&data, from.items.as_deref(), from.default_mode, optional, &source.reference("secret", name))
        }));
    }
    if let Some(from) = &volume.downward_api {
        return Some(source.downward(from.items.as_deref().unwrap_or_default(), from.default_mode));
    }
    match &volume.projected {
        Some(from) => Some(source.projected(from).await),
        None => None,
    }
}

impl Source<'_> {
    fn reference(&self, kind: &str, name: &str) -> String {
        format!("{kind} \"{}\"/\"{name}\"", spec::namespace(self.pod)).replace("\"/\"", "/")
    }

    async fn config_map(&self, name: &str, optional: bool) -> Result<Data, String> {
        match self.objects.config_map(spec::namespace(self.pod), name).await {
            Ok(map) => {
                let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
                let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
                Ok(text.chain(binary).collect())
            }
            Err(error) => absent(error, optional),
        }
    }

    async fn secret(&self, name: &str, optional: bool) -> Result<Data, String> {
        match self.objects.secret(spec::namespace(self.pod), name).await {
            Ok(secret) => Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()),
            Err(error) => absent(error, optional),
        }
    }

    fn downward(&self, items: &[DownwardAPIVolumeFile], default_mode: Option<i32>) -> Result<Files, String> {
        let mut files = Files::new();
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(from), _) => field(self.pod, &from.field_path, None)?,
                (_, Some(from)) => {
                    let name = from.container_name.as_deref().unwrap_or_default();
                    let (_, container) =
                        spec::find(self.pod, name).ok_or_else(|| format!("container \"{name}\" not found"))?;
                    resource_field(&container, &from.resource, from.divisor.as_ref(), self.node)?
                }
                _ => continue,
            };
            files.insert(item.path.clone(), file(text.into_bytes(), item.mode.or(default_mode)));
        }
        Ok(files)
    }

    async fn projected(&self, from: &ProjectedVolumeSource) -> Result<Files, String> {
        let mut files = Files::new();
        let mode = from.default_mode;
        for part in from.sources.iter().flatten() {
            if let Some(from) = &part.config_map {
                let optional = from.optional.unwrap_or(false);
                let data = self.config_map(&from.name, optional).await?;
                let reference = self.reference("configmap", &from.name);
                files.extend(pick(&data, from.items.as_deref(), mode, optional, &reference)?);
            }
            if let Some(from) = &part.secret {
                let optional = from.optional.unwrap_or(false);
                let data = self.secret(&from.name, optional).await?;
                let reference = self.reference("secret", &from.name);
                files.extend(pick(&data, from.items.as_deref(), mode, optional, &reference)?);
            }
            if let Some(from) = &part.downward_api {
                files.extend(self.downward(from.items.as_deref().unwrap_or_default(), mode)?);
            }
            if let Some(from) = &part.service_account_token {
                let seconds = from.expiration_seconds.unwrap_or(3600);
                let token = self.objects.token(self.pod, from.audience.as_deref(), seconds, self.now).await;
                let token = token.map_err(|e| format!("failed to fetch token: {e}"))?;
                // A token is for the container's user alone, unless a group is to share it.
                let shared = self.pod_has_group();
                let bits = if shared { 0o600 } else { mode.unwrap_or(DEFAULT_MODE) };
                files.insert(from.path.clone(), file(token.into_bytes(), Some(bits)));
            }
            if part.cluster_trust_bundle.is_some() || part.pod_certificate.is_some() {
                return Err("clusterTrustBundle and podCertificate projections are not yet supported".into());
            }
        }
        Ok(files)
    }

    fn pod_has_group(&self) -> bool {
        spec::spec(self.pod).security_context.as_ref().is_some_and(|context| context.fs_group.is_some())
    }
}

fn absent(error: Missing, optional: bool) -> Result<Data, String> {
    match error.not_found && optional {
        true => Ok(Data::new()),
        false => Err(error.message),
    }
}

fn file(content: Vec<u8>, mode: Option<i32>) -> File {
    File { content, mode: u32::try_from(mode.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777 }
}

fn pick(
    data: &Data,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
    of: &str,
) -> Result<Files, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, content)| (key.clone(), file(content.clone(), mode))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(content) => {
                files.insert(item.path.clone(), file(content.clone(), item.mode.or(mode)));
            }
            None if optional => {}
            None => {
                return Err(format!(
                    "references non-existent {} key: {}",
                    of.split(' ').next().unwrap_or(of),
                    item.key
                )
                .replace("configmap", "config"));
            }
        }
    }
    Ok(files)
}
