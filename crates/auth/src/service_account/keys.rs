//! Signing and verification keys: RSA (RS256) and ECDSA on P-256, P-384 and P-521.
//!
//! PEM blocks of PKCS #1, PKCS #8, SEC 1, SPKI and certificates are read. A key's id is the base64url SHA-256 of its
//! SPKI, as upstream derives it.
use crate::Error;
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey as Parsed,
    x509::SubjectPublicKeyInfo,
};

/// A public key with its JSON Web Key.
pub(super) struct PublicKey {
    pub id: String,
    pub algorithm: &'static str,
    spki: Vec<u8>,
    /// Members of the JWK besides `use`, `kid` and `alg`, in order.
    pub jwk: Vec<(&'static str, String)>,
}

fn bad(why: impl std::fmt::Display) -> Error {
    Error::Key(why.to_string())
}

fn verification(algorithm: &str) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
        "ES384" => &signature::ECDSA_P384_SHA384_FIXED,
        "ES512" => &signature::ECDSA_P521_SHA512_FIXED,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

impl PublicKey {
    fn from_spki(spki: &[u8]) -> Result<Self, Error> {
        let (_, info) = SubjectPublicKeyInfo::from_der(spki).map_err(bad)?;
        let number = |bytes: &[u8]| {
            let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
            BASE64_URL_SAFE_NO_PAD.encode(bytes.get(first..).unwrap_or_default())
        };
        let (algorithm, jwk) = match info.parsed().map_err(bad)? {
            Parsed::RSA(key) => {
                let members = vec![("kty", "RSA".to_owned()), ("n", number(key.modulus)), ("e", number(key.exponent))];
                ("RS256", members)
            }
            Parsed::EC(point) => {
                let (x, y) = match point.data() {
                    [4, rest @ ..] if rest.len() % 2 == 0 => rest.split_at(rest.len() / 2),
                    _ => return Err(bad("an elliptic curve point that is compressed or malformed")),
                };
                let (algorithm, curve) = match x.len() {
                    32 => ("ES256", "P-256"),
                    48 => ("ES384", "P-384"),
                    66 => ("ES512", "P-521"),
                    _ => return Err(bad("an elliptic curve other than P-256, P-384 and P-521")),
                };
                let coordinate = |c: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(c);
                let members = vec![
                    ("kty", "EC".to_owned()),
                    ("crv", curve.to_owned()),
                    ("x", coordinate(x)),
                    ("y", coordinate(y)),
                ];
                (algorithm, members)
            }
            _ => return Err(bad("only RSA and ECDSA keys are supported")),
        };
        let id = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
        Ok(PublicKey { id, algorithm, spki: spki.to_vec(), jwk })
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(verification(self.algorithm), &self.spki).verify(message, signature).is_ok()
    }
}

/// All public keys of a text, those of private keys included.
pub(super) fn public_keys(text: &str) -> Result<Vec<PublicKey>, Error> {
    let mut keys = Vec::new();
    for block in pem::parse_many(text).map_err(bad)? {
        let der = block.contents();
        match block.tag() {
            "PUBLIC KEY" => keys.push(PublicKey::from_spki(der)?),
            "RSA PUBLIC KEY" => keys.push(PublicKey::from_spki(&rsa_spki(der)?)?),
            "CERTIFICATE" => {
                let (_, certificate) = X509Certificate::from_der(der).map_err(bad)?;
                keys.push(PublicKey::from_spki(certificate.public_key().raw)?);
            }
            tag => {
                if let Some(private) = PrivateKey::from_block(tag, der)? {
                    keys.push(private.public()?);
                }
            }
        }
    }
    if keys.is_empty() {
        return Err(bad("no RSA or ECDSA key found"));
    }
    Ok(keys)
}

/// The SPKI around a PKCS #1 public key.
fn rsa_spki(pkcs1: &[u8]) -> Result<Vec<u8>, Error> {
    const RSA_ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let length = |n: usize| -> Result<Vec<u8>, Error> {
        let n = u16::try_from(n).map_err(bad)?;
        let [high, low] = n.to_be_bytes();
        Ok(match n {
            0..=127 => vec![low],
            128..=255 => vec![0x81, low],
            _ => vec![0x82, high, low],
        })
    };
    let mut bits = vec![3];
    bits.extend(length(pkcs1.len() + 1)?);
    bits.push(0);
    bits.extend(pkcs1);
    let mut spki = vec![0x30];
    spki.extend(length(RSA_ALGORITHM.len() + bits.len())?);
    spki.extend(RSA_ALGORITHM);
    spki.extend(bits);
    Ok(spki)
}

pub(super) enum PrivateKey {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl PrivateKey {
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        for block in pem::parse_many(text).map_err(bad)? {
            if let Some(key) = Self::from_block(block.tag(), block.contents())? {
                return Ok(key);
            }
        }
        Err(bad("no private key found"))
    }

    /// `None` for blocks that are no private keys.
    fn from_block(tag: &str, der: &[u8]) -> Result<Option<Self>, Error> {
        const CURVES: [&EcdsaSigningAlgorithm; 3] = [
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        ];
        let ecdsa = || CURVES.iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok());
        let unusable = |e| bad(format!("unusable private key: {e}"));
        Ok(match tag {
            "RSA PRIVATE KEY" => Some(PrivateKey::Rsa(RsaKeyPair::from_der(der).map_err(unusable)?)),
            "EC PRIVATE KEY" => {
                let key = ecdsa().ok_or_else(|| bad("unusable elliptic curve private key"))?;
                Some(PrivateKey::Ecdsa(key))
            }
            "PRIVATE KEY" => Some(match ecdsa() {
                Some(key) => PrivateKey::Ecdsa(key),
                None => PrivateKey::Rsa(RsaKeyPair::from_pkcs8(der).map_err(unusable)?),
            }),
            _ => None,
        })
    }

    pub fn public(&self) -> Result<PublicKey, Error> {
        let der: PublicKeyX509Der<'_> = match self {
            PrivateKey::Rsa(pair) => pair.public_key().as_der().map_err(bad)?,
            PrivateKey::Ecdsa(pair) => pair.public_key().as_der().map_err(bad)?,
        };
        PublicKey::from_spki(der.as_ref())
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        match self {
            PrivateKey::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut out).map_err(bad)?;
                Ok(out)
            }
            PrivateKey::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(bad)?.as_ref().to_vec()),
        }
    }
}
