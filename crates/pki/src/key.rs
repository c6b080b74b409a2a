//! Private keys: ECDSA P-256 for what we make, RSA too for what we are given.
use crate::Error;
use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use x509_cert::{
    der::{Decode, asn1::BitString},
    spki::{AlgorithmIdentifierOwned, Document, DynSignatureAlgorithmIdentifier, EncodePublicKey, ObjectIdentifier},
};

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// A signing key.
pub struct PrivateKey {
    pair: KeyKind,
    /// PKCS #8, kept to be written out.
    pem: String,
}

enum KeyKind {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

fn refused(why: impl std::fmt::Debug) -> Error {
    Error::Key { what: "private key", why: format!("{why:?}") }
}

fn to_pem(tag: &str, der: &[u8]) -> String {
    pem::encode_config(&pem::Pem::new(tag, der), pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

impl PrivateKey {
    /// A fresh ECDSA P-256 key.
    ///
    /// # Errors
    /// The system's random source fails.
    pub fn generate() -> Result<Self, Error> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(refused)?;
        let der = pair.to_pkcs8v1().map_err(refused)?;
        let pem = to_pem("PRIVATE KEY", der.as_ref());
        Ok(PrivateKey { pair: KeyKind::Ecdsa(pair), pem })
    }

    /// A fresh RSA key of 2048 bits, which service-account tokens use by default.
    ///
    /// # Errors
    /// The system's random source fails.
    pub fn generate_rsa() -> Result<Self, Error> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair).map_err(refused)?;
        let pem = to_pem("PRIVATE KEY", der.as_ref());
        Ok(PrivateKey { pair: KeyKind::Rsa(pair), pem })
    }

    /// Read PKCS #8, PKCS #1 or SEC 1 PEM; blocks of other kinds (EC PARAMETERS) are passed over.
    ///
    /// # Errors
    /// There is no such block, or its key is of a kind or size that cannot sign.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let blocks = pem::parse_many(text).map_err(|e| Error::Pem { what: "private key", why: e.to_string() })?;
        for block in blocks {
            let der = block.contents();
            let pair = match block.tag() {
                "PRIVATE KEY" => match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
                    Ok(pair) => KeyKind::Ecdsa(pair),
                    Err(_) => KeyKind::Rsa(RsaKeyPair::from_pkcs8(der).map_err(refused)?),
                },
                "EC PRIVATE KEY" => KeyKind::Ecdsa(
                    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(refused)?,
                ),
                "RSA PRIVATE KEY" => KeyKind::Rsa(RsaKeyPair::from_der(der).map_err(refused)?),
                _ => continue,
            };
            return Ok(PrivateKey { pair, pem: to_pem(block.tag(), der) });
        }
        Err(Error::Pem { what: "private key", why: "no private key block".into() })
    }

    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// `SubjectPublicKeyInfo` PEM (`PUBLIC KEY`).
    ///
    /// # Errors
    /// The key cannot be encoded.
    pub fn public_pem(&self) -> Result<String, Error> {
        Ok(to_pem("PUBLIC KEY", &self.public_der()?))
    }

    /// `SubjectPublicKeyInfo` DER.
    ///
    /// # Errors
    /// The key cannot be encoded.
    pub fn public_der(&self) -> Result<Vec<u8>, Error> {
        use aws_lc_rs::encoding::PublicKeyX509Der;
        let der: PublicKeyX509Der<'_> = match &self.pair {
            KeyKind::Ecdsa(pair) => pair.public_key().as_der().map_err(refused)?,
            KeyKind::Rsa(pair) => pair.public_key().as_der().map_err(refused)?,
        };
        Ok(der.as_ref().to_vec())
    }

    /// SHA-256 signature: ECDSA in ASN.1 form, or RSA PKCS #1 v1.5.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<BitString, Error> {
        let random = SystemRandom::new();
        let bytes = match &self.pair {
            KeyKind::Ecdsa(pair) => pair.sign(&random, message).map_err(refused)?.as_ref().to_vec(),
            KeyKind::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut out).map_err(refused)?;
                out
            }
        };
        BitString::from_bytes(&bytes).map_err(refused)
    }

    pub(crate) fn signer(&self) -> Result<SignerIdentity, Error> {
        let algorithm = match &self.pair {
            KeyKind::Ecdsa(_) => AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
            KeyKind::Rsa(_) => AlgorithmIdentifierOwned {
                oid: SHA256_WITH_RSA,
                parameters: Some(x509_cert::der::Any::from(x509_cert::der::asn1::AnyRef::NULL)),
            },
        };
        Ok(SignerIdentity { public: PublicKey(self.public_der()?), algorithm })
    }
}

/// What `x509-cert`'s builders want to know of a signer; the signature itself is made apart.
pub(crate) struct SignerIdentity {
    public: PublicKey,
    algorithm: AlgorithmIdentifierOwned,
}

#[derive(Clone)]
pub(crate) struct PublicKey(Vec<u8>);

impl signature::Keypair for SignerIdentity {
    type VerifyingKey = PublicKey;

    fn verifying_key(&self) -> PublicKey {
        self.public.clone()
    }
}

impl DynSignatureAlgorithmIdentifier for SignerIdentity {
    fn signature_algorithm_identifier(&self) -> x509_cert::spki::Result<AlgorithmIdentifierOwned> {
        Ok(self.algorithm.clone())
    }
}

impl EncodePublicKey for PublicKey {
    fn to_public_key_der(&self) -> x509_cert::spki::Result<Document> {
        Ok(Document::from_der(&self.0)?)
    }
}
