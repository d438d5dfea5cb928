//! Sealing with XChaCha20-Poly1305.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, OsRng, Payload};
use chacha20poly1305::{AeadCore, XChaCha20Poly1305, XNonce};

use crate::error::Error;
use crate::hex;

/// Bytes of the random nonce before a ciphertext.
pub(crate) const NONCE_BYTES: usize = 24;

/// A secret of 32 bytes, from which the keys for values, blobs and blob names are derived.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    /// Nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A key of these bytes, which must come from a good random source.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh key from the system's random source.
    pub fn generate() -> Self {
        Self(XChaCha20Poly1305::generate_key(&mut OsRng).into())
    }

    /// Reads 64 hexadecimal digits; white space around them is ignored.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let bytes = hex::decode(text.trim()).ok_or(Error::KeyFormat)?;
        bytes.try_into().map(Self).map_err(|_| Error::KeyFormat)
    }

    /// The form that [`from_hex`](Self::from_hex) reads.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.0)
    }
}

/// What is derived from a [`Key`]. The contexts are part of the format.
#[derive(Clone)]
pub(crate) struct Seal {
    values: XChaCha20Poly1305,
    blobs: XChaCha20Poly1305,
    blob_names: [u8; 32],
    check: String,
}

/// What a ciphertext belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Value,
    Blob,
}

impl Seal {
    pub(crate) fn new(key: &Key) -> Self {
        let derive = |context| blake3::derive_key(context, &key.0);
        let cipher = |context| XChaCha20Poly1305::new(&derive(context).into());
        Self {
            values: cipher("migrations-free-store 2026 v1 values"),
            blobs: cipher("migrations-free-store 2026 v1 blobs"),
            blob_names: derive("migrations-free-store 2026 v1 blob names"),
            check: hex::encode(&derive("migrations-free-store 2026 v1 key check")[..16]),
        }
    }

    /// What the manifest keeps to tell the right key from a wrong one; says nothing of the key.
    pub(crate) fn check(&self) -> &str {
        &self.check
    }

    /// The file name of a blob: a sealed store doesn't tell which known photos it holds.
    pub(crate) fn blob_name(&self, content: &blake3::Hash) -> blake3::Hash {
        blake3::keyed_hash(&self.blob_names, content.as_bytes())
    }

    fn cipher(&self, purpose: Purpose) -> &XChaCha20Poly1305 {
        match purpose {
            Purpose::Value => &self.values,
            Purpose::Blob => &self.blobs,
        }
    }

    /// Nonce and ciphertext of `plain`, bound to `associated`.
    pub(crate) fn seal(&self, purpose: Purpose, plain: &[u8], associated: &[u8]) -> Vec<u8> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self
            .cipher(purpose)
            .encrypt(&nonce, Payload { msg: plain, aad: associated })
            .expect("a value is far smaller than the cipher's limit of 256 GB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The plain bytes; `None` where key, bytes or `associated` aren't those of sealing.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        sealed: &[u8],
        associated: &[u8],
    ) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        let payload = Payload { msg: sealed, aad: associated };
        self.cipher(purpose).decrypt(XNonce::from_slice(nonce), payload).ok()
    }
}
