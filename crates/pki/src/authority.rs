//! Certificate authorities and what they sign.
//!
//! Source: Kubernetes documentation, "PKI certificates and requirements"; RFC 5280.
use crate::{Error, PrivateKey};
use std::{net::IpAddr, time::Duration};
use x509_cert::{
    Certificate,
    attr::{AttributeTypeAndValue, AttributeValue},
    builder::{Builder, CertificateBuilder, profile::BuilderProfile},
    certificate::TbsCertificate,
    der::{
        Decode, DecodePem, Encode, EncodePem,
        asn1::{Ia5String, ObjectIdentifier, OctetString, SetOfVec, Utf8StringRef},
        pem::LineEnding,
    },
    ext::{
        Extension, ToExtension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
            SubjectKeyIdentifier, name::GeneralName,
        },
    },
    name::{Name, RdnSequence, RelativeDistinguishedName},
    request::{CertReq, RequestBuilder},
    serial_number::SerialNumber,
    spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef},
    time::{Time, Validity},
};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Clocks of two machines may differ by that much.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
const AUTHORITY_DAYS: u32 = 3650;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert_pem: String,
    pub key_pem: String,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub server: bool,
    pub client: bool,
}

/// A certificate to be issued with a new key.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The user name, for a client certificate.
    pub common_name: String,
    /// The groups, for a client certificate; each becomes an `O=` of its own.
    pub organizations: Vec<String>,
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
    pub usage: Usage,
    /// 0 is a year.
    pub days: u32,
}

/// A certificate authority: its certificate and key.
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
    cert_pem: String,
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::Certificate(why.to_string())
}

fn subject(common_name: &str, organizations: &[String]) -> Result<Name, Error> {
    let attribute = |oid, text: &str| -> Result<RelativeDistinguishedName, Error> {
        let value = AttributeValue::from(Utf8StringRef::new(text).map_err(failed)?);
        let mut set = SetOfVec::new();
        set.insert(AttributeTypeAndValue { oid, value }).map_err(failed)?;
        Ok(RelativeDistinguishedName::from(set))
    };
    let mut names = Vec::with_capacity(organizations.len() + 1);
    for organization in organizations {
        names.push(attribute(ORGANIZATION, organization)?);
    }
    names.push(attribute(COMMON_NAME, common_name)?);
    Name::from_der(&RdnSequence::from(names).to_der().map_err(failed)?).map_err(failed)
}

fn alternative_names(dns: &[String], ips: &[IpAddr]) -> Result<Vec<GeneralName>, Error> {
    let mut names = Vec::with_capacity(dns.len() + ips.len());
    for name in dns {
        names.push(GeneralName::DnsName(Ia5String::new(name).map_err(failed)?));
    }
    for ip in ips {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        names.push(GeneralName::IpAddress(OctetString::new(octets).map_err(failed)?));
    }
    Ok(names)
}

/// How one certificate is made: `x509-cert` asks this for names and extensions.
struct Profile {
    issuer: Option<Name>,
    subject: Name,
    usage: Option<Usage>,
    names: Vec<GeneralName>,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, subject: &Name) -> Name {
        self.issuer.clone().unwrap_or_else(|| subject.clone())
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        own_key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let mut out: Vec<Extension> = Vec::new();
        let subject = tbs.subject();
        match self.usage {
            None => {
                out.push(BasicConstraints { ca: true, path_len_constraint: None }.to_extension(subject, &out)?);
                let usages = KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment | KeyUsages::KeyCertSign;
                out.push(KeyUsage(usages).to_extension(subject, &out)?);
            }
            Some(usage) => {
                out.push(BasicConstraints { ca: false, path_len_constraint: None }.to_extension(subject, &out)?);
                let usages = KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment;
                out.push(KeyUsage(usages).to_extension(subject, &out)?);
                let mut extended = Vec::new();
                if usage.server {
                    extended.push(SERVER_AUTH);
                }
                if usage.client {
                    extended.push(CLIENT_AUTH);
                }
                out.push(ExtendedKeyUsage(extended).to_extension(subject, &out)?);
            }
        }
        out.push(SubjectKeyIdentifier::try_from(own_key)?.to_extension(subject, &out)?);
        if self.issuer.is_some() {
            out.push(AuthorityKeyIdentifier::try_from(issuer_key)?.to_extension(subject, &out)?);
        }
        if !self.names.is_empty() {
            out.push(SubjectAltName(self.names.clone()).to_extension(subject, &out)?);
        }
        Ok(out)
    }
}

fn validity(days: u32) -> Result<Validity, Error> {
    let now = std::time::SystemTime::now();
    let from = Time::try_from(now - BACKDATE).map_err(failed)?;
    let until = Time::try_from(now + Duration::from_secs(u64::from(days) * 86_400)).map_err(failed)?;
    Ok(Validity::new(from, until))
}

fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(failed)?;
    // Positive and never zero in DER.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::new(&bytes).map_err(failed)
}

fn build(profile: Profile, days: u32, public_der: &[u8], signer: &PrivateKey) -> Result<Certificate, Error> {
    let public = SubjectPublicKeyInfo::from_der(public_der).map_err(failed)?;
    let identity = signer.signer()?;
    let mut builder = CertificateBuilder::new(profile, serial()?, validity(days)?, public).map_err(failed)?;
    let blob = builder.finalize(&identity).map_err(failed)?;
    builder.assemble(signer.sign(&blob)?, &identity).map_err(failed)
}

impl Authority {
    /// A new self-signed authority with an ECDSA P-256 key, valid for ten years.
    ///
    /// # Errors
    /// The random source fails, or the name cannot stand in a certificate.
    pub fn generate(common_name: &str) -> Result<Self, Error> {
        let key = PrivateKey::generate()?;
        let profile = Profile { issuer: None, subject: subject(common_name, &[])?, usage: None, names: Vec::new() };
        let certificate = build(profile, AUTHORITY_DAYS, &key.public_der()?, &key)?;
        let cert_pem = certificate.to_pem(LineEnding::LF).map_err(failed)?;
        Ok(Authority { certificate, key, cert_pem })
    }

    /// An existing authority; the first certificate in the PEM is the signing one.
    ///
    /// # Errors
    /// Either part cannot be read, or they do not belong together.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let certificate = Certificate::from_pem(cert_pem).map_err(failed)?;
        let key = PrivateKey::from_pem(key_pem)?;
        let public = certificate.tbs_certificate().subject_public_key_info().to_der().map_err(failed)?;
        if public != key.public_der()? {
            return Err(failed("the CA's key does not belong to its certificate"));
        }
        Ok(Authority { certificate, key, cert_pem: cert_pem.to_owned() })
    }

    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    pub fn key_pem(&self) -> &str {
        self.key.to_pem()
    }

    /// A certificate with a new ECDSA P-256 key.
    ///
    /// # Errors
    /// A name cannot stand in a certificate, or the random source fails.
    pub fn issue(&self, request: &Request) -> Result<Pair, Error> {
        let key = PrivateKey::generate()?;
        let certificate = self.certify(request, &key.public_der()?)?;
        Ok(Pair { cert_pem: certificate, key_pem: key.to_pem().to_owned() })
    }

    /// Sign a PKCS #10 request (PEM): its subject and alternative names stay, its usages are the caller's.
    ///
    /// # Errors
    /// The request cannot be read, or it is not signed with the key it names.
    pub fn sign_csr(&self, csr_pem: &str, usage: Usage, days: u32) -> Result<String, Error> {
        let refused = |why: String| Error::CertificateRequest(why);
        let request = CertReq::from_pem(csr_pem).map_err(|e| refused(e.to_string()))?;
        verify_request(csr_pem)?;
        let mut names = Vec::new();
        for extension in requested_extensions(&request)? {
            if let Ok(found) = SubjectAltName::from_der(extension.extn_value.as_bytes())
                && extension.extn_id == <SubjectAltName as x509_cert::der::oid::AssociatedOid>::OID
            {
                names = found.0;
            }
        }
        let profile = Profile {
            issuer: Some(self.certificate.tbs_certificate().subject().clone()),
            subject: request.info.subject.clone(),
            usage: Some(usage),
            names,
        };
        let public = request.info.public_key.to_der().map_err(failed)?;
        build(profile, days, &public, &self.key)?.to_pem(LineEnding::LF).map_err(failed)
    }

    fn certify(&self, request: &Request, public_der: &[u8]) -> Result<String, Error> {
        let profile = Profile {
            issuer: Some(self.certificate.tbs_certificate().subject().clone()),
            subject: subject(&request.common_name, &request.organizations)?,
            usage: Some(request.usage),
            names: alternative_names(&request.dns, &request.ips)?,
        };
        let days = if request.days == 0 { 365 } else { request.days };
        build(profile, days, public_der, &self.key)?.to_pem(LineEnding::LF).map_err(failed)
    }
}

fn requested_extensions(request: &CertReq) -> Result<Vec<Extension>, Error> {
    let refused = |why: x509_cert::der::Error| Error::CertificateRequest(why.to_string());
    let wanted = <x509_cert::request::ExtensionReq as x509_cert::der::oid::AssociatedOid>::OID;
    let mut out = Vec::new();
    for attribute in request.info.attributes.iter().filter(|a| a.oid == wanted) {
        for value in attribute.values.iter() {
            let list =
                x509_cert::request::ExtensionReq::from_der(&value.to_der().map_err(refused)?).map_err(refused)?;
            out.extend(list.0);
        }
    }
    Ok(out)
}

/// Proof of possession: the request is signed with the key it names.
fn verify_request(csr_pem: &str) -> Result<(), Error> {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    let refused = |why: &str| Error::CertificateRequest(why.to_owned());
    let request = CertReq::from_pem(csr_pem).map_err(|e| refused(&e.to_string()))?;
    let message = request.info.to_der().map_err(failed)?;
    let key = request.info.public_key.to_der().map_err(failed)?;
    let signature = request.signature.as_bytes().ok_or_else(|| refused("malformed signature"))?;
    let ecdsa = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key).verify(&message, signature);
    let rsa = || UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key).verify(&message, signature);
    ecdsa.or_else(|_| rsa()).map_err(|_| refused("its signature does not verify (ECDSA P-256 and RSA are supported)"))
}

/// A certificate that signs itself: a serving certificate where no authority is at hand.
///
/// # Errors
/// A name cannot stand in a certificate, or the random source fails.
pub fn self_signed(request: &Request) -> Result<Pair, Error> {
    let authority = Authority::generate(&format!("{}-ca", request.common_name))?;
    let mut pair = authority.issue(request)?;
    pair.cert_pem.push_str(authority.cert_pem());
    Ok(pair)
}

/// A PKCS #10 request (PEM) for `key`, as a kubelet sends it.
///
/// # Errors
/// A name cannot stand in a certificate.
pub fn certificate_request(request: &Request, key: &PrivateKey) -> Result<String, Error> {
    let identity = key.signer()?;
    let mut builder = RequestBuilder::new(subject(&request.common_name, &request.organizations)?).map_err(failed)?;
    let names = alternative_names(&request.dns, &request.ips)?;
    if !names.is_empty() {
        builder.add_extension(&SubjectAltName(names)).map_err(failed)?;
    }
    let blob = builder.finalize(&identity).map_err(failed)?;
    builder.assemble(key.sign(&blob)?, &identity).map_err(failed)?.to_pem(LineEnding::LF).map_err(failed)
}

/// Whether a certificate (PEM) is what `request` asks for and stays valid for `days` more.
pub fn covers(cert_pem: &str, request: &Request, days: i64) -> bool {
    use x509_parser::prelude::{FromDer, GeneralName as Alternative, X509Certificate};
    let Ok(block) = pem::parse(cert_pem) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(block.contents()) else { return false };
    let lasts = certificate.validity().time_to_expiration().is_some_and(|left| left.whole_days() >= days);
    let common_name = certificate.subject().iter_common_name().filter_map(|n| n.as_str().ok());
    let organizations = certificate.subject().iter_organization().filter_map(|o| o.as_str().ok());
    let names = certificate.subject_alternative_name().ok().flatten();
    let has = |wanted: &dyn Fn(&Alternative<'_>) -> bool| {
        names.as_ref().is_some_and(|n| n.value.general_names.iter().any(wanted))
    };
    let octets = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    lasts
        && common_name.eq([request.common_name.as_str()])
        && organizations.eq(request.organizations.iter().map(String::as_str))
        && request.dns.iter().all(|dns| has(&|n| matches!(n, Alternative::DNSName(found) if found == dns)))
        && request.ips.iter().all(|ip| has(&|n| matches!(n, Alternative::IPAddress(found) if *found == octets(ip))))
}

/// From when until when a certificate is valid, in seconds since the epoch; `None` if it is none.
pub fn valid_between(cert_pem: &str) -> Option<(i64, i64)> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let block = pem::parse(cert_pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(block.contents()).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;
    use x509_parser::prelude::{FromDer, GeneralName as Alternative, X509Certificate};

    fn parsed(pem_text: &str, check: impl FnOnce(&X509Certificate<'_>)) {
        let block = pem::parse(pem_text).expect("PEM");
        let (_, certificate) = X509Certificate::from_der(block.contents()).expect("certificate");
        check(&certificate);
    }

    #[test]
    fn every_organization_is_in_the_certificate() {
        let ca = Authority::generate("test-ca").expect("authority");
        let groups = ["system:masters".to_owned(), "b".to_owned(), "c".to_owned()];
        let request = Request {
            common_name: "admin".into(),
            organizations: groups.to_vec(),
            usage: Usage { client: true, server: false },
            ..Request::default()
        };
        let pair = ca.issue(&request).expect("certificate");
        parsed(&pair.cert_pem, |certificate| {
            let found: Vec<_> =
                certificate.subject().iter_organization().map(|o| o.as_str().expect("utf-8").to_owned()).collect();
            assert_eq!(found, groups);
            assert!(certificate.extended_key_usage().expect("one").expect("some").value.client_auth);
        });
    }

    #[test]
    fn a_loaded_authority_signs_requests_with_their_names() {
        let made = Authority::generate("test-ca").expect("authority");
        let ca = Authority::load(made.cert_pem(), made.key_pem()).expect("loads");
        for key in [PrivateKey::generate().expect("key"), PrivateKey::generate_rsa().expect("key")] {
            let request = Request {
                common_name: "system:node:n".into(),
                organizations: vec!["system:nodes".into()],
                ips: vec![IpAddr::from_str("192.0.2.7").expect("address")],
                ..Request::default()
            };
            let csr = certificate_request(&request, &key).expect("request");
            let signed = ca.sign_csr(&csr, Usage { server: true, client: false }, 30).expect("signed");
            parsed(&signed, |certificate| {
                assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:n");
                let names = certificate.subject_alternative_name().expect("one").expect("some");
                assert!(matches!(names.value.general_names.as_slice(), [Alternative::IPAddress([192, 0, 2, 7])]));
            });
        }
    }

    #[test]
    fn a_certificate_covers_what_it_was_issued_for_and_no_more() {
        let ca = Authority::generate("test-ca").expect("authority");
        let mut request = Request {
            common_name: "kube-apiserver".into(),
            dns: vec!["localhost".into()],
            ips: vec![IpAddr::from_str("192.0.2.7").expect("address")],
            usage: Usage { server: true, client: false },
            ..Request::default()
        };
        let pair = ca.issue(&request).expect("certificate");
        assert!(covers(&pair.cert_pem, &request, 30));
        assert!(!covers(&pair.cert_pem, &request, 400), "it expires before");
        let (from, until) = valid_between(&pair.cert_pem).expect("a certificate");
        assert!((until - from) / 86_400 >= 365, "{from} {until}");
        assert_eq!(valid_between("no certificate"), None);
        request.ips.push(IpAddr::from_str("192.0.2.8").expect("address"));
        assert!(!covers(&pair.cert_pem, &request, 30), "an address is missing");
    }

    #[test]
    fn a_tampered_request_is_refused() {
        let ca = Authority::generate("test-ca").expect("authority");
        let key = PrivateKey::generate().expect("key");
        let csr = certificate_request(&Request { common_name: "a".into(), ..Request::default() }, &key).expect("csr");
        let mut der = pem::parse(&csr).expect("PEM").into_contents();
        let at = der.windows(3).position(|w| w == [0x0c, 0x01, b'a']).expect("the name");
        der[at + 2] = b'b';
        let tampered = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
        assert!(matches!(ca.sign_csr(&tampered, Usage::default(), 1), Err(Error::CertificateRequest(_))));
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let (a, b) = (Authority::generate("a").expect("a"), Authority::generate("b").expect("b"));
        assert!(Authority::load(a.cert_pem(), b.key_pem()).is_err());
    }
}
