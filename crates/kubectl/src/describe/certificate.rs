//! Certificate signing requests.
use super::{
    Related,
    doc::{Doc, date, equalities, is_empty, items, text},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::Oid,
    pem::parse_x509_pem,
    prelude::FromDer,
};

/// What of a subject's name is listed: title and object identifier, in order. Source: `describe.go`, RFC 5280.
const SUBJECT: [(&str, &str); 7] = [
    ("Organization", "2.5.4.10"),
    ("Organizational Unit", "2.5.4.11"),
    ("Country", "2.5.4.6"),
    ("Locality", "2.5.4.7"),
    ("Province", "2.5.4.8"),
    ("StreetAddress", "2.5.4.9"),
    ("PostalCode", "2.5.4.17"),
];

pub fn request(doc: &mut Doc, object: &Value, _: &Related) {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.field(0, "Labels", equalities(&metadata["labels"]));
    doc.field(0, "Annotations", equalities(&metadata["annotations"]));
    doc.field(0, "CreationTimestamp", date(&metadata["creationTimestamp"]));
    doc.field(0, "Requesting User", text(&spec["username"]));
    doc.given(0, "Signer", &spec["signerName"]);
    if let Some(seconds) = spec["expirationSeconds"].as_i64() {
        doc.field(0, "Requested Duration", apimachinery::duration::human(seconds));
    }
    doc.field(0, "Status", status(object));
    let pem = STANDARD.decode(text(&spec["request"])).unwrap_or_default();
    let der = parse_x509_pem(&pem).map(|(_, pem)| pem.contents).unwrap_or_default();
    match X509CertificationRequest::from_der(&der) {
        Ok((_, request)) => contents(doc, &request),
        Err(error) => doc.line(0, format!("Error parsing CSR: {error}")),
    }
}

/// `Approved,Issued`, from the conditions and whether there is a certificate.
fn status(object: &Value) -> String {
    let has = |kind: &str| items(&object["status"]["conditions"]).any(|c| c["type"] == kind);
    let mut found: Vec<&str> = Vec::new();
    match (has("Denied"), has("Approved")) {
        (true, _) => found.push("Denied"),
        (_, true) => found.push("Approved"),
        _ => found.push("Pending"),
    }
    if has("Failed") {
        found.push("Failed");
    }
    if !is_empty(&object["status"]["certificate"]) {
        found.push("Issued");
    }
    found.join(",")
}

fn contents(doc: &mut Doc, request: &X509CertificationRequest<'_>) {
    let subject = &request.certification_request_info.subject;
    let all = |id: &str| -> Vec<String> {
        let of = |attribute: &&x509_parser::x509::AttributeTypeAndValue<'_>| {
            id.split('.').map(str::parse).collect::<Result<Vec<u64>, _>>().ok().and_then(|parts| Oid::from(&parts).ok())
                == Some(attribute.attr_type().clone())
        };
        subject.iter_attributes().filter(of).filter_map(|a| a.as_str().ok().map(str::to_owned)).collect()
    };
    doc.line(0, "Subject:");
    doc.line(0, format!("\tCommon Name:\t{}", all("2.5.4.3").pop().unwrap_or_default()));
    doc.line(0, format!("\tSerial Number:\t{}", all("2.5.4.5").pop().unwrap_or_default()));
    SUBJECT.iter().for_each(|(title, id)| list(doc, title, all(id)));
    let [mut names, mut mails, mut links, mut addresses] = [const { Vec::new() }; 4];
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(alternatives) = extension else { continue };
        for name in &alternatives.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => mails.push((*name).to_owned()),
                GeneralName::URI(link) => links.push((*link).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() && mails.is_empty() && links.is_empty() && addresses.is_empty() {
        return;
    }
    doc.line(0, "Subject Alternative Names:");
    list(doc, "DNS Names", names);
    list(doc, "Email Addresses", mails);
    list(doc, "URIs", links);
    list(doc, "IP Addresses", addresses);
}

fn list(doc: &mut Doc, title: &str, values: Vec<String>) {
    if !values.is_empty() {
        doc.line(0, format!("\t{title}:\t{}", values.join("\n\t\t")));
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|four| std::net::Ipv4Addr::from(four).to_string()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|all| std::net::Ipv6Addr::from(all).to_string()),
    }
}
