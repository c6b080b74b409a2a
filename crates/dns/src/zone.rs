//! The cluster's domain: which records a name has. Pure.
use crate::index::{Index, Key, Kind, Port};
use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT},
};
use std::{net::IpAddr, str::FromStr};

/// The version of the specification that the answers follow.
const SPECIFICATION: &str = "1.1.0";
const SRV_WEIGHT: usize = 100;

/// What is known of a name.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// The name exists; there may be no record of the type asked for. `additionals` are addresses of SRV targets.
    Records {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
    NoSuchName,
    /// Not ours to answer.
    Elsewhere,
}

/// The domain, and how long its answers may be kept.
pub(crate) struct Zone {
    domain: Name,
    /// Labels of the domain, left to right.
    labels: Vec<String>,
    ttl_seconds: u32,
}

fn records(answers: Vec<Record>) -> Answer {
    Answer::Records { answers, additionals: Vec::new() }
}

fn nothing() -> Answer {
    records(Vec::new())
}

/// The labels of a name, left to right, in lower case.
fn labels_of(name: &Name) -> Vec<String> {
    name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect()
}

fn is_type(address: IpAddr, wanted: RecordType) -> bool {
    match wanted {
        RecordType::ANY => true,
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => false,
    }
}

/// The address that a reverse name stands for.
fn reverse_address(labels: &[String]) -> Option<IpAddr> {
    let (rest, v4) = match labels {
        [rest @ .., a, b] if a == "in-addr" && b == "arpa" => (rest, true),
        [rest @ .., a, b] if a == "ip6" && b == "arpa" => (rest, false),
        _ => return None,
    };
    if v4 {
        let text: Vec<&str> = rest.iter().rev().map(String::as_str).collect();
        return (rest.len() == 4).then(|| text.join(".").parse().ok()).flatten();
    }
    if rest.len() != 32 || rest.iter().any(|nibble| nibble.len() != 1) {
        return None;
    }
    let hex: String = rest.iter().rev().map(String::as_str).collect();
    u128::from_str_radix(&hex, 16).ok().map(|bits| IpAddr::V6(bits.into()))
}

/// `10-244-0-7` and `fd00--7`.
fn undashed(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
}

impl Zone {
    /// `None` when the domain is not a name.
    pub fn new(domain: &str, ttl_seconds: u32) -> Option<Self> {
        let domain = Name::from_str(&format!("{}.", domain.trim_end_matches('.'))).ok()?;
        let labels = labels_of(&domain);
        (!labels.is_empty()).then_some(Zone { domain, labels, ttl_seconds })
    }

    fn name(&self, relative: &[&str]) -> Option<Name> {
        let labels = relative.iter().map(|l| l.as_bytes()).chain(self.labels.iter().map(|l| l.as_bytes()));
        let mut name = Name::from_labels(labels).ok()?;
        name.set_fqdn(true);
        Some(name)
    }

    fn service_name(&self, service: &Key) -> Option<Name> {
        self.name(&[&service.1, &service.0, "svc"])
    }

    fn record(&self, name: Name, data: RData) -> Record {
        Record::from_rdata(name, self.ttl_seconds, data)
    }

    fn address_record(&self, name: Name, address: IpAddr) -> Record {
        let data = match address {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        self.record(name, data)
    }

    /// The start of authority, which goes with every negative answer.
    pub fn soa(&self) -> Record {
        let below = |label: &str| Name::from_str(label).and_then(|n| n.append_domain(&self.domain));
        let (server, mailbox) = (below("ns.dns").unwrap_or_default(), below("hostmaster").unwrap_or_default());
        // The content is never transferred: the serial need not change.
        self.record(
            self.domain.clone(),
            RData::SOA(SOA::new(server, mailbox, 1, 7200, 1800, 86_400, self.ttl_seconds as _)),
        )
    }

    /// What `name` has of `wanted`.
    pub fn lookup(&self, index: &Index, name: &Name, wanted: RecordType) -> Answer {
        let labels = labels_of(name);
        if let Some(address) = reverse_address(&labels) {
            return self.reverse(index, name, address, wanted);
        }
        let Some(relative) = labels.strip_suffix(self.labels.as_slice()) else { return Answer::Elsewhere };
        let relative: Vec<&str> = relative.iter().map(String::as_str).collect();
        match relative.as_slice() {
            [] => self.apex(wanted),
            ["svc" | "pod" | "dns"] => nothing(),
            ["ns", "dns"] => nothing(),
            ["dns-version"] => match wanted {
                RecordType::TXT | RecordType::ANY => {
                    records(vec![self.record(name.clone(), RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()])))])
                }
                _ => nothing(),
            },
            [namespace, "svc" | "pod"] if index.namespaces.contains(*namespace) => nothing(),
            [address, namespace, "pod"] => self.pod(index, name, address, namespace, wanted),
            [rest @ .., service, namespace, "svc"] => {
                let service = ((*namespace).to_owned(), (*service).to_owned());
                self.service(index, name, rest, &service, wanted)
            }
            _ => Answer::NoSuchName,
        }
    }

    fn apex(&self, wanted: RecordType) -> Answer {
        let server = || Name::from_str("ns.dns").and_then(|n| n.append_domain(&self.domain)).unwrap_or_default();
        match wanted {
            RecordType::SOA => records(vec![self.soa()]),
            RecordType::NS => records(vec![self.record(self.domain.clone(), RData::NS(NS(server())))]),
            _ => nothing(),
        }
    }

    fn reverse(&self, index: &Index, name: &Name, address: IpAddr, wanted: RecordType) -> Answer {
        let owners = index.owners(address);
        if owners.is_empty() {
            return Answer::Elsewhere;
        }
        if !matches!(wanted, RecordType::PTR | RecordType::ANY) {
            return nothing();
        }
        let target = |owner: &crate::index::Owner| match &owner.endpoint {
            None => self.service_name(&owner.service),
            Some(endpoint) => self.name(&[endpoint, &owner.service.1, &owner.service.0, "svc"]),
        };
        let targets = owners.iter().filter_map(target);
        records(targets.map(|target| self.record(name.clone(), RData::PTR(PTR(target)))).collect())
    }

    /// Any address of an existing namespace resolves to itself, as CoreDNS's `pods insecure` does.
    fn pod(&self, index: &Index, name: &Name, label: &str, namespace: &str, wanted: RecordType) -> Answer {
        match undashed(label) {
            Some(address) if index.namespaces.contains(namespace) => {
                if is_type(address, wanted) {
                    records(vec![self.address_record(name.clone(), address)])
                } else {
                    nothing()
                }
            }
            _ => Answer::NoSuchName,
        }
    }

    fn service(&self, index: &Index, name: &Name, rest: &[&str], service: &Key, wanted: RecordType) -> Answer {
        let Some(kind) = index.services.get(service) else { return Answer::NoSuchName };
        match (kind, rest) {
            (Kind::ExternalName(target), []) => match Name::from_str(&format!("{}.", target.trim_end_matches('.'))) {
                Ok(target) => records(vec![self.record(name.clone(), RData::CNAME(CNAME(target)))]),
                Err(_) => Answer::NoSuchName,
            },
            // Without port and protocol: all of them, as CoreDNS answers it.
            (Kind::ClusterIp { .. } | Kind::Headless, []) if wanted == RecordType::SRV => {
                self.srv(index, name, service, kind, None, wanted)
            }
            (Kind::ClusterIp { addresses, .. }, []) => self.addresses(name, addresses.iter().copied(), wanted),
            (Kind::Headless, []) => {
                let mut addresses: Vec<IpAddr> =
                    index.slices(service).flat_map(|s| &s.endpoints).map(|e| e.address).collect();
                addresses.sort_unstable();
                addresses.dedup();
                if addresses.is_empty() {
                    Answer::NoSuchName
                } else {
                    self.addresses(name, addresses.into_iter(), wanted)
                }
            }
            (Kind::Headless | Kind::ClusterIp { .. }, [port, protocol])
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                self.srv(index, name, service, kind, Some((&port[1..], &protocol[1..])), wanted)
            }
            (Kind::Headless, [endpoint]) => {
                let all = index.slices(service).flat_map(|s| &s.endpoints);
                let found: Vec<IpAddr> = all.filter(|e| e.name == *endpoint).map(|e| e.address).collect();
                if found.is_empty() { Answer::NoSuchName } else { self.addresses(name, found.into_iter(), wanted) }
            }
            _ => Answer::NoSuchName,
        }
    }

    fn addresses(&self, name: &Name, addresses: impl Iterator<Item = IpAddr>, wanted: RecordType) -> Answer {
        let fitting = addresses.filter(|&address| is_type(address, wanted));
        records(fitting.map(|address| self.address_record(name.clone(), address)).collect())
    }

    fn srv(
        &self,
        index: &Index,
        name: &Name,
        service: &Key,
        kind: &Kind,
        asked: Option<(&str, &str)>,
        wanted: RecordType,
    ) -> Answer {
        let fits = |p: &&Port| asked.is_none_or(|(name, protocol)| p.name == name && p.protocol == protocol);
        // (target, its address, port)
        let mut targets: Vec<(Name, IpAddr, u16)> = Vec::new();
        match kind {
            Kind::ClusterIp { addresses, ports } => {
                let Some(own) = self.service_name(service) else { return Answer::NoSuchName };
                for port in ports.iter().filter(fits) {
                    targets.extend(addresses.iter().map(|&address| (own.clone(), address, port.port)));
                }
            }
            _ => {
                for slice in index.slices(service) {
                    for port in slice.ports.iter().filter(fits) {
                        targets.extend(slice.endpoints.iter().filter_map(|e| {
                            Some((self.name(&[&e.name, &service.1, &service.0, "svc"])?, e.address, port.port))
                        }));
                    }
                }
            }
        }
        if targets.is_empty() {
            return if asked.is_none() { nothing() } else { Answer::NoSuchName };
        }
        if !matches!(wanted, RecordType::SRV | RecordType::ANY) {
            return nothing();
        }
        targets.sort();
        let additionals =
            targets.iter().map(|(target, address, _)| self.address_record(target.clone(), *address)).collect();
        let mut places: Vec<(Name, u16)> = targets.into_iter().map(|(target, _, port)| (target, port)).collect();
        places.dedup();
        let weight = u16::try_from((SRV_WEIGHT / places.len()).max(1)).unwrap_or(1);
        let answers = places
            .into_iter()
            .map(|(target, port)| self.record(name.clone(), RData::SRV(SRV::new(0, weight, port, target))));
        Answer::Records { answers: answers.collect(), additionals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};

    fn index() -> Index {
        let mut index = Index::default();
        index.namespaces.insert("default".into());
        let service = |json: &str| serde_json_from::<Service>(json);
        let slice = |json: &str| serde_json_from::<EndpointSlice>(json);
        index.apply_service(&service(
            r#"{"metadata":{"namespace":"default","name":"web"},"spec":{"clusterIP":"10.96.0.7","clusterIPs":["10.96.0.7","fd00::7"],"ports":[{"name":"http","port":80}]}}"#,
        ));
        index
            .apply_service(&service(r#"{"metadata":{"namespace":"default","name":"db"},"spec":{"clusterIP":"None"}}"#));
        index.apply_service(&service(
            r#"{"metadata":{"namespace":"default","name":"ext"},"spec":{"type":"ExternalName","externalName":"example.com"}}"#,
        ));
        index.apply_slice(&slice(
            r#"{"metadata":{"namespace":"default","name":"db-1","labels":{"kubernetes.io/service-name":"db"}},"addressType":"IPv4",
            "endpoints":[{"addresses":["10.244.0.5"],"hostname":"db-0"},{"addresses":["10.244.0.6"]},{"addresses":["10.244.0.9"],"conditions":{"ready":false}}],
            "ports":[{"name":"sql","port":5432,"protocol":"TCP"}]}"#,
        ));
        index
    }

    fn serde_json_from<T: k8s_openapi::serde::de::DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(json).expect("a valid object")
    }

    /// The answer as zone-file lines, targets' addresses after a bar.
    fn ask(question: &str) -> String {
        let (name, kind) = question.split_once(' ').expect("name and type");
        let zone = Zone::new("cluster.local", 5).expect("a zone");
        let name = Name::from_str(name).expect("a name");
        let lines = |records: &[Record]| {
            let mut lines: Vec<String> = records.iter().map(|r| format!("{} {}", r.record_type(), r.data)).collect();
            lines.sort();
            lines.join("; ")
        };
        match zone.lookup(&index(), &name, RecordType::from_str(kind).expect("a type")) {
            Answer::Records { answers, additionals } if additionals.is_empty() => lines(&answers),
            Answer::Records { answers, additionals } => format!("{} | {}", lines(&answers), lines(&additionals)),
            Answer::NoSuchName => "NXDOMAIN".into(),
            Answer::Elsewhere => "elsewhere".into(),
        }
    }

    #[test]
    fn the_specification_holds() {
        let cases = [
            ("web.default.svc.cluster.local. A", "A 10.96.0.7"),
            ("WEB.Default.svc.cluster.local. AAAA", "AAAA fd00::7"),
            ("web.default.svc.cluster.local. MX", ""),
            (
                "_http._tcp.web.default.svc.cluster.local. SRV",
                "SRV 0 100 80 web.default.svc.cluster.local. | A 10.96.0.7; AAAA fd00::7",
            ),
            ("_http._udp.web.default.svc.cluster.local. SRV", "NXDOMAIN"),
            ("7.0.96.10.in-addr.arpa. PTR", "PTR web.default.svc.cluster.local."),
            ("db.default.svc.cluster.local. A", "A 10.244.0.5; A 10.244.0.6"),
            ("db-0.db.default.svc.cluster.local. A", "A 10.244.0.5"),
            ("10-244-0-6.db.default.svc.cluster.local. A", "A 10.244.0.6"),
            (
                "_sql._tcp.db.default.svc.cluster.local. SRV",
                "SRV 0 50 5432 10-244-0-6.db.default.svc.cluster.local.; SRV 0 50 5432 db-0.db.default.svc.cluster.local. | A 10.244.0.5; A 10.244.0.6",
            ),
            ("5.0.244.10.in-addr.arpa. PTR", "PTR db-0.db.default.svc.cluster.local."),
            ("ext.default.svc.cluster.local. A", "CNAME example.com."),
            ("10-244-0-6.default.pod.cluster.local. A", "A 10.244.0.6"),
            ("10-244-0-6.nowhere.pod.cluster.local. A", "NXDOMAIN"),
            ("nothing.default.svc.cluster.local. A", "NXDOMAIN"),
            ("default.svc.cluster.local. A", ""),
            ("dns-version.cluster.local. TXT", "TXT 1.1.0"),
            ("example.com. A", "elsewhere"),
            ("1.1.1.1.in-addr.arpa. PTR", "elsewhere"),
        ];
        for (question, want) in cases {
            assert_eq!(ask(question), want, "{question}");
        }
    }

    #[test]
    fn what_is_deleted_is_nobodys() {
        let mut index = index();
        index.delete_service(&serde_json_from(r#"{"metadata":{"namespace":"default","name":"web"}}"#));
        index.delete_slice(&serde_json_from(
            r#"{"metadata":{"namespace":"default","name":"db-1"},"addressType":"IPv4","endpoints":[]}"#,
        ));
        for address in ["10.96.0.7", "fd00::7", "10.244.0.5"] {
            assert_eq!(index.owners(address.parse().expect("an address")), &[], "{address}");
        }
    }
}
