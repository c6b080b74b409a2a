//! X.509 client certificates.
