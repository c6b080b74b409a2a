//! Signing long-lived service account tokens: JWTs with upstream's claims.
use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest, Sha256};

enum Key {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A private key with its key ID.
pub struct Signer {
    key: Key,
    key_id: String,
}

impl Signer {
    /// PKCS #8, PKCS #1 or SEC 1; RSA or ECDSA P-256.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let block = pem::parse(pem).map_err(|error| format!("private key: {error}"))?;
        let der = block.contents();
        let parsed = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der));
        let (key, public) = match parsed {
            Ok(key) => {
                let public = key.public_key().as_der().map_err(|_| "RSA public key")?.as_ref().to_vec();
                (Key::Rsa(key), public)
            }
            Err(_) => {
                let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let key = EcdsaKeyPair::from_pkcs8(algorithm, der)
                    .or_else(|_| EcdsaKeyPair::from_private_key_der(algorithm, der))
                    .map_err(|error| format!("private key: {error}"))?;
                let public = key.public_key().as_der().map_err(|_| "ECDSA public key")?.as_ref().to_vec();
                (Key::Ecdsa(key), public)
            }
        };
        // As upstream: the hash of the public key's SubjectPublicKeyInfo.
        Ok(Self { key, key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(public)) })
    }

    /// The token of the account `namespace`/`account`, kept in `secret`.
    pub fn token(&self, namespace: &str, account: &str, uid: &str, secret: &str) -> Result<String, String> {
        let algorithm = match &self.key {
            Key::Rsa(_) => "RS256",
            Key::Ecdsa(_) => "ES256",
        };
        let header = json!({ "alg": algorithm, "kid": self.key_id });
        let claims = json!({
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": account,
            "kubernetes.io/serviceaccount/service-account.uid": uid,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let random = SystemRandom::new();
        let failed = |_| "the token could not be signed".to_owned();
        let signature = match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).map_err(failed)?;
                signature
            }
            Key::Ecdsa(key) => key.sign(&random, message.as_bytes()).map_err(failed)?.as_ref().to_vec(),
        };
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
