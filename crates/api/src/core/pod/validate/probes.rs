//! Rules for probes and lifecycle hooks.
use super::check;
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::{
    api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};

pub fn of(container: &Container, path: &Path, errors: &mut ErrorList) {
    if let Some(hooks) = &container.lifecycle {
        let path = path.child("lifecycle");
        for (hook, field) in [(&hooks.post_start, "postStart"), (&hooks.pre_stop, "preStop")] {
            if let Some(hook) = hook {
                handler(hook, &path.child(field), errors);
            }
        }
    }
    for (probe, field) in [(&container.liveness_probe, "livenessProbe"), (&container.startup_probe, "startupProbe")] {
        if let Some(probe) = probe {
            let path = path.child(field);
            validate(probe, &path, errors);
            if probe.success_threshold.unwrap_or_default() != 1 {
                errors.push(Error::invalid(&path.child("successThreshold"), probe.success_threshold, "must be 1"));
            }
        }
    }
    if let Some(probe) = &container.readiness_probe {
        let path = path.child("readinessProbe");
        validate(probe, &path, errors);
        if let Some(seconds) = probe.termination_grace_period_seconds {
            let detail = "must not be set for readinessProbes";
            errors.push(Error::invalid(&path.child("terminationGracePeriodSeconds"), seconds, detail));
        }
    }
}

fn validate(probe: &Probe, path: &Path, errors: &mut ErrorList) {
    let mut handlers = Handlers::new(path);
    if let Some(exec) = &probe.exec {
        handlers.exec(exec, errors);
    }
    if let Some(get) = &probe.http_get {
        handlers.http_get(get, errors);
    }
    if let Some(socket) = &probe.tcp_socket {
        handlers.tcp_socket(socket, errors);
    }
    if let Some(grpc) = &probe.grpc
        && handlers.next("grpc", errors)
    {
        for violation in validation::is_valid_port_num(i64::from(grpc.port)) {
            errors.push(Error::invalid(&path.child("grpc").child("port"), grpc.port, violation));
        }
    }
    handlers.finish(errors);
    let numbers = [
        (probe.initial_delay_seconds, "initialDelaySeconds"),
        (probe.timeout_seconds, "timeoutSeconds"),
        (probe.period_seconds, "periodSeconds"),
        (probe.success_threshold, "successThreshold"),
        (probe.failure_threshold, "failureThreshold"),
    ];
    for (number, field) in numbers {
        if let Some(number) = number.filter(|n| *n < 0) {
            errors.push(Error::invalid(&path.child(field), number, "must be greater than or equal to 0"));
        }
    }
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|s| *s <= 0) {
        errors.push(Error::invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0"));
    }
}

fn handler(handler: &LifecycleHandler, path: &Path, errors: &mut ErrorList) {
    let mut handlers = Handlers::new(path);
    if let Some(exec) = &handler.exec {
        handlers.exec(exec, errors);
    }
    if let Some(get) = &handler.http_get {
        handlers.http_get(get, errors);
    }
    if let Some(socket) = &handler.tcp_socket {
        handlers.tcp_socket(socket, errors);
    }
    if let Some(sleep) = &handler.sleep
        && handlers.next("sleep", errors)
        && sleep.seconds < 0
    {
        errors.push(Error::invalid(&path.child("sleep"), sleep.seconds, "must be greater than or equal to 0"));
    }
    handlers.finish(errors);
}

/// Counts the ways that are given: there must be exactly one.
struct Handlers<'a> {
    path: &'a Path,
    count: usize,
}

impl<'a> Handlers<'a> {
    fn new(path: &'a Path) -> Self {
        Handlers { path, count: 0 }
    }

    /// Whether this is the first.
    fn next(&mut self, field: &str, errors: &mut ErrorList) -> bool {
        self.count += 1;
        if self.count > 1 {
            errors.push(Error::forbidden(&self.path.child(field), "may not specify more than 1 handler type"));
        }
        self.count == 1
    }

    fn exec(&mut self, exec: &ExecAction, errors: &mut ErrorList) {
        if self.next("exec", errors) && exec.command.as_ref().is_none_or(Vec::is_empty) {
            errors.push(Error::required(&self.path.child("exec").child("command"), ""));
        }
    }

    fn http_get(&mut self, get: &HTTPGetAction, errors: &mut ErrorList) {
        if !self.next("httpGet", errors) {
            return;
        }
        let path = self.path.child("httpGet");
        if get.path.as_ref().is_none_or(String::is_empty) {
            errors.push(Error::required(&path.child("path"), ""));
        }
        port(&get.port, &path, errors);
        let scheme = get.scheme.as_deref().unwrap_or_default();
        if !matches!(scheme, "HTTP" | "HTTPS") {
            errors.push(Error::not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
        }
        for header in get.http_headers.iter().flatten() {
            check(&header.name, validation::is_http_header_name, || path.child("httpHeaders"), errors);
        }
    }

    fn tcp_socket(&mut self, socket: &TCPSocketAction, errors: &mut ErrorList) {
        if self.next("tcpSocket", errors) {
            port(&socket.port, &self.path.child("tcpSocket"), errors);
        }
    }

    fn finish(&self, errors: &mut ErrorList) {
        if self.count == 0 {
            errors.push(Error::required(self.path, "must specify a handler type"));
        }
    }
}

fn port(port: &IntOrString, path: &Path, errors: &mut ErrorList) {
    match port {
        IntOrString::Int(number) => {
            for violation in validation::is_valid_port_num(i64::from(*number)) {
                errors.push(Error::invalid(&path.child("port"), number, violation));
            }
        }
        IntOrString::String(name) => check(name, validation::is_valid_port_name, || path.child("port"), errors),
    }
}
