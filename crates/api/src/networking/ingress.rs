//! Ingresses.
use crate::{
    cells,
    kind::{Kind, spec_and_status},
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressRule};

/// Until a class could be named, this annotation did.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

fn hosts(ingress: &Ingress) -> String {
    let mut hosts: Vec<&str> = Vec::new();
    let rules = ingress.spec.iter().flat_map(|s| s.rules.iter().flatten());
    let mut more = 0usize;
    for rule in rules {
        match rule.host.as_deref().filter(|h| !h.is_empty()) {
            Some(host) if hosts.len() < 3 => hosts.push(host),
            Some(_) => more += 1,
            None => {}
        }
    }
    let text = hosts.join(",");
    match (text.is_empty(), more) {
        (true, _) => "*".into(),
        (false, 0) => text,
        (false, more) => format!("{text} + {more} more..."),
    }
}

fn address(ingress: &Ingress) -> String {
    let balancer = ingress.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingresses = balancer.iter().flat_map(|b| b.ingress.iter().flatten());
    let found: Vec<&str> =
        ingresses.filter_map(|i| i.ip.as_deref().filter(|ip| !ip.is_empty()).or(i.hostname.as_deref())).collect();
    found.join(",")
}

fn validate_backend(backend: &IngressBackend, path: &Path, errors: &mut ErrorList) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => {
            errors.push(Error::invalid(path, "", "cannot set both resource and service backends"));
        }
        (None, None) => {
            errors.push(Error::required(path, "resource or service backend is required"));
        }
        (Some(service), None) => {
            let path = path.child("service");
            if service.name.is_empty() {
                errors.push(Error::required(&path.child("name"), ""));
            } else {
                for violation in validation::is_dns1035_label(&service.name) {
                    errors.push(Error::invalid(&path.child("name"), &service.name, violation));
                }
            }
            let at = path.child("port");
            let name = service.port.as_ref().and_then(|p| p.name.as_deref()).filter(|n| !n.is_empty());
            let number = service.port.as_ref().and_then(|p| p.number).filter(|n| *n != 0);
            match (name, number) {
                (Some(_), Some(_)) => {
                    errors.push(Error::invalid(&path, "", "cannot set both port name & port number"));
                }
                (Some(name), None) => {
                    for violation in validation::is_valid_port_name(name) {
                        errors.push(Error::invalid(&at.child("name"), name, violation));
                    }
                }
                (None, Some(number)) => {
                    for violation in validation::is_valid_port_num(i64::from(number)) {
                        errors.push(Error::invalid(&at.child("number"), number, violation));
                    }
                }
                (None, None) => errors.push(Error::required(&path, "port name or number is required")),
            }
        }
        (None, Some(_)) => {}
    }
}

fn validate_path(http: &HTTPIngressPath, path: &Path, errors: &mut ErrorList) {
    let value = http.path.as_deref().unwrap_or_default();
    let at = path.child("path");
    match http.path_type.as_str() {
        "" => errors.push(Error::required(&path.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                errors.push(Error::invalid(&at, value, "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if value.contains(bad) {
                    errors.push(Error::invalid(&at, value, format!("must not contain '{bad}'")));
                }
            }
            for bad in ["/..", "/."] {
                if value.ends_with(bad) {
                    errors.push(Error::invalid(&at, value, format!("cannot end with '{bad}'")));
                }
            }
        }
        "ImplementationSpecific" => {
            if !value.is_empty() && !value.starts_with('/') {
                errors.push(Error::invalid(&at, value, "must be an absolute path"));
            }
        }
        other => errors.push(Error::not_supported(&path.child("pathType"), other, PATH_TYPES)),
    }
    validate_backend(&http.backend, &path.child("backend"), errors);
}

fn validate_rule(rule: &IngressRule, path: &Path, errors: &mut ErrorList) {
    if let Some(host) = rule.host.as_deref().filter(|h| !h.is_empty()) {
        let at = path.child("host");
        if validation::is_valid_ip(host).is_empty() {
            errors.push(Error::invalid(&at, host, "must be a DNS name, not an IP address"));
        }
        let violations = if host.contains('*') {
            validation::is_wildcard_dns1123_subdomain(host)
        } else {
            validation::is_dns1123_subdomain(host)
        };
        for violation in violations {
            errors.push(Error::invalid(&at, host, violation));
        }
    }
    if let Some(http) = &rule.http {
        let path = path.child("http").child("paths");
        if http.paths.is_empty() {
            errors.push(Error::required(&path, ""));
        }
        for (i, one) in http.paths.iter().enumerate() {
            validate_path(one, &path.index(i), errors);
        }
    }
}

impl Kind for Ingress {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        cells::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        cells::text("Address", "Address is a list containing ingress points for the load-balancer"),
        cells::text("Ports", "Ports of TLS configurations that open"),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("networking.k8s.io", "v1", "Ingress", "ingresses").short(&["ing"]).stored_at("ingress").status()
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
        self.status.get_or_insert_default().load_balancer.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status.get_or_insert_default().load_balancer.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        let rules = spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() && spec.default_backend.is_none() {
            let detail = "either `defaultBackend` or `rules` must be specified";
            errors.push(Error::invalid(&path, "", detail));
        }
        if let Some(backend) = &spec.default_backend {
            validate_backend(backend, &path.child("defaultBackend"), errors);
        }
        for (i, rule) in rules.iter().enumerate() {
            validate_rule(rule, &path.child("rules").index(i), errors);
        }
        for (i, tls) in spec.tls.iter().flatten().enumerate() {
            for host in tls.hosts.iter().flatten() {
                let violations = if host.contains('*') {
                    validation::is_wildcard_dns1123_subdomain(host)
                } else {
                    validation::is_dns1123_subdomain(host)
                };
                for violation in violations {
                    errors.push(Error::invalid(&path.child("tls").index(i).child("hosts"), host, violation));
                }
            }
        }
        if let Some(class) = &spec.ingress_class_name {
            for violation in validation::is_dns1123_subdomain(class) {
                errors.push(Error::invalid(&path.child("ingressClassName"), class, violation));
            }
        }
    }

    fn validate_create(&self, errors: &mut ErrorList) {
        let legacy = self.metadata.annotations.as_ref().and_then(|a| a.get(LEGACY_CLASS));
        if let Some(class) = legacy
            && self.spec.as_ref().and_then(|s| s.ingress_class_name.as_ref()).is_some_and(|c| c != class)
        {
            let path = Path::new("metadata").child("annotations").child(LEGACY_CLASS);
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(Error::invalid(&path, class, detail));
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEGACY_CLASS)) {
            warnings
                .push(format!("annotation {LEGACY_CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"));
        }
        warnings
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let legacy = self.metadata.annotations.as_ref().and_then(|a| a.get(LEGACY_CLASS));
        let class = spec.and_then(|s| s.ingress_class_name.as_ref()).or(legacy);
        let secure = spec.is_some_and(|s| s.tls.as_ref().is_some_and(|t| !t.is_empty()));
        vec![
            cells::name(&self.metadata),
            class.map_or(cells::NONE, String::as_str).into(),
            hosts(self).into(),
            address(self).into(),
            if secure { "80, 443" } else { "80" }.into(),
            cells::age(&self.metadata, now),
        ]
    }
}
