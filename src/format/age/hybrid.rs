//! Post-quantum keys: the recipient type mlkem768x25519 (C2SP age), which the `age` crate lacks.
//!
//! HPKE (RFC 9180) in base mode over the KEM MLKEM768-X25519, also known as X-Wing (draft-connolly-cfrg-xwing-kem). It hashes both
//! secrets together, so the file key stays safe as long as one of ML-KEM and X25519 does.

use std::collections::HashSet;

use age::{DecryptError, EncryptError};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::{bech32_decode, bech32_encode, hpke_open, hpke_seal};
use age_core::secrecy::ExposeSecret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use hpke::generic_array::typenum::{Sum, U32, U96, U192, U1024};
use hpke::kem::SharedSecret;
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use ml_kem::kem::{Decapsulate, DecapsulationKey, EncapsulationKey};
use ml_kem::{B32, EncapsulateDeterministic, Encoded, EncodedSizeUser, KemCore, MlKem768, MlKem768Params};
use rand_core::{CryptoRng, RngCore};
use sha3::digest::{ExtendableOutput, Update, XofReader};
use sha3::{Digest, Sha3_256, Shake256};
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

/// Stanza type.
pub const STANZA_TAG: &str = "mlkem768x25519";
/// Prefix of a recipient, before bech32's separator.
pub const RECIPIENT_PREFIX: &str = "age1pq";
/// Prefix of an identity, before bech32's separator.
pub const IDENTITY_PREFIX: &str = "AGE-SECRET-KEY-PQ-";
/// HPKE's `info`.
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// The label that bars other recipients.
const LABEL: &str = "postquantum";
/// Hashed last: a drawing of an X-wing.
const COMBINER_LABEL: &[u8] = b"\\.//^\\";
/// An ML-KEM-768 encapsulation key, then an X25519 share.
const PUBLIC_KEY_LEN: usize = 1184 + 32;
/// An ML-KEM-768 ciphertext, then an X25519 share.
const ENC_LEN: usize = 1088 + 32;
/// A sealed file key and its tag.
const BODY_LEN: usize = 16 + 16;

type PqPublic = EncapsulationKey<MlKem768Params>;
type PqSecret = DecapsulationKey<MlKem768Params>;

/// A recipient `age1pq1…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(PublicKey);

/// An identity `AGE-SECRET-KEY-PQ-1…`. Wiped on drop; not printable.
pub struct Identity(Seed);

impl Recipient {
    /// Parses `age1pq1…`; `None` if malformed or if its key is not canonical.
    pub fn parse(text: &str) -> Option<Recipient> {
        let bytes = decode(text, RECIPIENT_PREFIX, PUBLIC_KEY_LEN)?;
        PublicKey::from_bytes(&bytes).ok().map(Recipient)
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&bech32_encode(bech32::Hrp::parse_unchecked(RECIPIENT_PREFIX), &self.0.0))
    }
}

impl Identity {
    /// The identity derived from 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Identity {
        Identity(Seed::new(seed))
    }

    /// Parses `AGE-SECRET-KEY-PQ-1…`; `None` if malformed.
    pub fn parse(text: &str) -> Option<Identity> {
        let bytes = decode(text, IDENTITY_PREFIX, 32)?;
        Seed::from_bytes(&bytes).ok().map(Identity)
    }

    /// The identity as a line of a file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let prefix = bech32::Hrp::parse_unchecked(&IDENTITY_PREFIX.to_ascii_lowercase());
        let lower = Zeroizing::new(bech32_encode(prefix, &**self.0.0));
        Zeroizing::new(lower.to_ascii_uppercase())
    }

    /// The recipient whose files this identity opens.
    pub fn to_recipient(&self) -> Recipient {
        Recipient(MlKem768X25519::sk_to_pk(&self.0))
    }
}

fn decode(text: &str, prefix: &str, len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = bech32_decode(
        text,
        drop,
        |found| found.as_str().eq_ignore_ascii_case(prefix).then_some(()).ok_or(()),
        |_, found| {
            // Room for all, and for what is too long: growing would leave copies in memory.
            let mut bytes = Zeroizing::new(Vec::with_capacity(len + 1));
            bytes.extend(found.take(len + 1));
            Ok(bytes)
        },
    );
    bytes.ok().filter(|bytes| bytes.len() == len)
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut rng = rand_core::OsRng;
        let (enc, body) = hpke_seal::<MlKem768X25519, _>(&self.0, INFO, file_key.expose_secret(), &mut rng);
        let args = vec![BASE64.encode(enc.0)];
        Ok((vec![Stanza { tag: STANZA_TAG.to_owned(), args, body }], HashSet::from([LABEL.to_owned()])))
    }
}

impl age::Identity for Identity {
    /// `None` for a stanza of another type or for another recipient; an error for one that violates its type's rules.
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != STANZA_TAG {
            return None;
        }
        let [enc] = &stanza.args[..] else {
            return Some(Err(DecryptError::InvalidHeader));
        };
        let Some(enc) = BASE64.decode(enc).ok().and_then(|enc| EncappedKey::from_bytes(&enc).ok()) else {
            return Some(Err(DecryptError::InvalidHeader));
        };
        if stanza.body.len() != BODY_LEN {
            return Some(Err(DecryptError::InvalidHeader));
        }
        if !self.0.is_contributory(&enc) {
            return Some(Err(DecryptError::InvalidHeader));
        }
        let opened = Zeroizing::new(hpke_open::<MlKem768X25519>(&enc, &self.0, INFO, &stanza.body).ok()?);
        Some(Ok(FileKey::init_with_mut(|key| key.copy_from_slice(&opened))))
    }
}

/// The KEM for HPKE.
struct MlKem768X25519;

/// An ML-KEM-768 encapsulation key and an X25519 share, checked to be canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PublicKey([u8; PUBLIC_KEY_LEN]);

/// The seed of a private key. It stays in one place, since a move would leave a copy behind.
#[derive(Clone, PartialEq, Eq)]
struct Seed(Box<Zeroizing<[u8; 32]>>);

/// A ciphertext and a share.
#[derive(Clone)]
struct EncappedKey([u8; ENC_LEN]);

impl Seed {
    fn new(seed: &[u8; 32]) -> Seed {
        let mut place = Box::new(Zeroizing::new([0; 32]));
        place.copy_from_slice(seed);
        Seed(place)
    }

    /// Expands the seed into both private keys by SHAKE256, and hands them to `use_keys`: returned, they would leave copies behind.
    fn with_keys<T>(&self, use_keys: impl FnOnce(&PqSecret, &PqPublic, &StaticSecret) -> T) -> T {
        let mut expanded = Zeroizing::new([0; 96]);
        Shake256::default().chain(self.0.as_slice()).finalize_xof().read(&mut *expanded);
        let part = |at: usize| expanded[at..].first_chunk::<32>().expect("96 bytes are three times 32");
        let (d, z, share): (&B32, &B32, _) = (part(0).into(), part(32).into(), part(64));
        let (secret, public) = MlKem768::generate_deterministic(d, z);
        use_keys(&secret, &public, &StaticSecret::from(*share))
    }

    fn is_contributory(&self, enc: &EncappedKey) -> bool {
        self.with_keys(|_, _, x25519| x25519.diffie_hellman(&enc.share()).was_contributory())
    }
}

impl PublicKey {
    fn parts(&self) -> (PqPublic, x25519_dalek::PublicKey) {
        let (pq, share) = self.0.split_at(1184);
        let pq = Encoded::<PqPublic>::try_from(pq).expect("1184 bytes");
        (PqPublic::from_bytes(&pq), share_of(share))
    }
}

impl EncappedKey {
    fn share(&self) -> x25519_dalek::PublicKey {
        share_of(&self.0[1088..])
    }
}

fn share_of(bytes: &[u8]) -> x25519_dalek::PublicKey {
    x25519_dalek::PublicKey::from(*bytes.first_chunk::<32>().expect("callers pass 32 bytes"))
}

/// The X-Wing combiner.
fn combine(
    pq: &[u8],
    x25519: &x25519_dalek::SharedSecret,
    enc_share: &x25519_dalek::PublicKey,
    recipient_share: &x25519_dalek::PublicKey,
) -> SharedSecret<MlKem768X25519> {
    let mut hash = Sha3_256::new();
    for part in [pq, x25519.as_bytes(), enc_share.as_bytes(), recipient_share.as_bytes(), COMBINER_LABEL] {
        Digest::update(&mut hash, part);
    }
    let mut secret = SharedSecret::default();
    hash.finalize_into(&mut secret.0);
    secret
}

impl Kem for MlKem768X25519 {
    type PublicKey = PublicKey;
    type PrivateKey = Seed;
    type EncappedKey = EncappedKey;
    type NSecret = U32;
    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(seed: &Seed) -> PublicKey {
        seed.with_keys(|_, pq, x25519| {
            let mut bytes = [0; PUBLIC_KEY_LEN];
            bytes[..1184].copy_from_slice(&pq.as_bytes());
            bytes[1184..].copy_from_slice(x25519_dalek::PublicKey::from(x25519).as_bytes());
            PublicKey(bytes)
        })
    }

    fn derive_keypair(seed: &[u8]) -> (Seed, PublicKey) {
        let seed = Seed::from_bytes(seed).expect("internal error: key material of another length");
        let public = Self::sk_to_pk(&seed);
        (seed, public)
    }

    fn decap(seed: &Seed, _: Option<&PublicKey>, enc: &EncappedKey) -> Result<SharedSecret<Self>, HpkeError> {
        let ciphertext = enc.0[..1088].try_into().map_err(|_| HpkeError::DecapError)?;
        seed.with_keys(|pq, _, x25519| {
            let mut pq_secret = pq.decapsulate(&ciphertext).map_err(|()| HpkeError::DecapError)?;
            let share = x25519_dalek::PublicKey::from(x25519);
            let secret = combine(&pq_secret, &x25519.diffie_hellman(&enc.share()), &enc.share(), &share);
            pq_secret.zeroize();
            Ok(secret)
        })
    }

    fn encap<R: CryptoRng + RngCore>(
        recipient: &PublicKey,
        _: Option<(&Seed, &PublicKey)>,
        rng: &mut R,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        let (pq, recipient_share) = recipient.parts();
        let (mut message, mut ephemeral) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        rng.fill_bytes(&mut *message);
        rng.fill_bytes(&mut *ephemeral);
        let encapsulated = pq.encapsulate_deterministic((&*message).into());
        let (ciphertext, mut pq_secret) = encapsulated.map_err(|_| HpkeError::EncapError)?;
        let ephemeral = StaticSecret::from(*ephemeral);
        let share = x25519_dalek::PublicKey::from(&ephemeral);
        let mut enc = [0; ENC_LEN];
        enc[..1088].copy_from_slice(&ciphertext);
        enc[1088..].copy_from_slice(share.as_bytes());
        let x25519 = ephemeral.diffie_hellman(&recipient_share);
        let secret = combine(&pq_secret, &x25519, &share, &recipient_share);
        pq_secret.zeroize();
        Ok((secret, EncappedKey(enc)))
    }
}

impl Serializable for PublicKey {
    type OutputSize = Sum<U1024, U192>;

    fn write_exact(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

impl Deserializable for PublicKey {
    /// ML-KEM decodes any 1184 bytes; a key whose encoding is not canonical is rejected (FIPS 203, section 7.2).
    fn from_bytes(bytes: &[u8]) -> Result<PublicKey, HpkeError> {
        let key = PublicKey(bytes.try_into().map_err(|_| HpkeError::ValidationError)?);
        let is_canonical = key.parts().0.as_bytes()[..] == bytes[..1184];
        is_canonical.then_some(key).ok_or(HpkeError::ValidationError)
    }
}

impl Serializable for Seed {
    type OutputSize = U32;

    fn write_exact(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&**self.0);
    }
}

impl Deserializable for Seed {
    fn from_bytes(bytes: &[u8]) -> Result<Seed, HpkeError> {
        bytes.try_into().map(Seed::new).map_err(|_| HpkeError::ValidationError)
    }
}

impl Serializable for EncappedKey {
    type OutputSize = Sum<U1024, U96>;

    fn write_exact(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(bytes: &[u8]) -> Result<EncappedKey, HpkeError> {
        bytes.try_into().map(EncappedKey).map_err(|_| HpkeError::ValidationError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::{Identity as _, Recipient as _};

    fn identity() -> Identity {
        Identity::from_seed(&[9; 32])
    }

    #[test]
    fn a_wrapped_file_key_unwraps_for_its_identity_alone() {
        let file_key = FileKey::new(Box::new(*b"YELLOW SUBMARINE"));
        let (stanzas, labels) = identity().to_recipient().wrap_file_key(&file_key).unwrap();
        assert!(labels.contains("postquantum") && stanzas.len() == 1);
        let unwrapped = identity().unwrap_stanza(&stanzas[0]).unwrap().ok().unwrap();
        assert_eq!(unwrapped.expose_secret(), file_key.expose_secret());
        let other = Identity::from_seed(&[8; 32]);
        assert!(other.unwrap_stanza(&stanzas[0]).is_none());
    }

    #[test]
    fn keys_come_back_from_their_text() {
        let text = identity().to_text();
        assert!(text.starts_with("AGE-SECRET-KEY-PQ-1"));
        let recipient = Identity::parse(&text).unwrap().to_recipient();
        assert_eq!(recipient, identity().to_recipient());
        let text = recipient.to_string();
        assert!(text.starts_with("age1pq1") && text.len() == 1959);
        assert_eq!(Recipient::parse(&text), Some(recipient));
        assert!(Recipient::parse(&text[..1958]).is_none() && Recipient::parse("age1pq1").is_none());
    }

    #[test]
    fn a_public_key_that_is_not_canonical_is_refused() {
        let mut bytes = identity().to_recipient().0.0;
        bytes[..3].copy_from_slice(&[0xFF; 3]);
        assert!(PublicKey::from_bytes(&bytes).is_err());
    }
}
