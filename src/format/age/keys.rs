//! Recipients and identities: parsed from text, used to wrap and unwrap file keys.
//!
//! The `age` crate wraps and unwraps. This module checks what its types do not: it tries post-quantum keys first, since they parse as
//! plugins; a scrypt stanza must be well-formed and the only one; label sets must be equal.

use age::secrecy::SecretString;
use age::{Callbacks, DecryptError, EncryptError, Identity as _, Recipient as _};
use age_core::format::{FileKey, Stanza};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::error::AgeError;
use super::header::{HEADER_LEN_MAX, Header};
use super::{hybrid, ssh};

/// The stanza type of a passphrase.
pub const SCRYPT_TAG: &str = "scrypt";
/// The work factor written: about a second and 256 MiB.
pub const WORK_FACTOR: u8 = 18;
/// Bytes of scrypt's salt.
const SALT_LEN: usize = 16;
/// A sealed file key and its tag.
const WRAPPED_LEN: usize = 32;

/// Why a key cannot be parsed or used. No variant holds text of an identity: it is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// An identity was given where a recipient is expected.
    #[error("this is an identity, which is secret, not a recipient")]
    IdentityAsRecipient,
    /// A recipient was given where an identity is expected.
    #[error("this is a recipient, not an identity")]
    RecipientAsIdentity,
    /// The recipient has no known form.
    #[error("not a recipient: age1…, ssh-ed25519 and ssh-rsa are known")]
    UnknownRecipient,
    /// The identity has no known form.
    #[error("not an identity: AGE-SECRET-KEY-1…, AGE-SECRET-KEY-PQ-1…, AGE-PLUGIN-… and ssh private keys are known")]
    UnknownIdentity,
    /// An ssh key type that age does not support.
    #[error("an ssh key of an unsupported type")]
    UnsupportedSsh,
    /// The plugin cannot be run.
    #[error("the plugin age-plugin-{0} is not installed")]
    NoPlugin(String),
    /// Post-quantum and classic recipients are mixed, or a passphrase and another recipient.
    #[error("post-quantum and classic recipients do not mix, and a passphrase stands alone")]
    MixedRecipients,
    /// A recipient failed to wrap the file key.
    #[error("cannot encrypt to a recipient: {0}")]
    Wrap(String),
    /// The header would be longer than the longest that is read.
    #[error("a header for so many recipients would be {len} bytes long, and no more than {HEADER_LEN_MAX} are read")]
    HeaderTooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// A header with the recipients' stanzas could not be read back.
    #[error("a header for these recipients could not be read back: {0}")]
    Unreadable(AgeError),
    /// The list of recipients is empty.
    #[error("no recipient")]
    NoRecipient,
}

/// A key that a file is encrypted to.
pub enum Recipient {
    /// `age1…`
    X25519(age::x25519::Recipient),
    /// `age1pq1…`
    Hybrid(Box<hybrid::Recipient>),
    /// `ssh-ed25519 …`, `ssh-rsa …`
    Ssh(Box<age::ssh::Recipient>),
    /// `age1name1…`
    Plugin(age::plugin::Recipient),
    /// A passphrase.
    Passphrase(SecretString),
}

impl Recipient {
    /// Parses a recipient from a command line or a recipients file.
    pub fn parse(text: &str) -> Result<Recipient, KeyError> {
        let has_prefix =
            |prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if has_prefix("AGE-SECRET-KEY-") || has_prefix("AGE-PLUGIN-") || has_prefix("-----BEGIN") {
            return Err(KeyError::IdentityAsRecipient);
        }
        if text.starts_with("ssh-") {
            if ssh::has_zeros_for_a_number(text) {
                return Err(KeyError::UnsupportedSsh);
            }
            let parsed = text.parse().map(|recipient| Recipient::Ssh(Box::new(recipient)));
            return parsed.map_err(|_| KeyError::UnsupportedSsh);
        }
        if text.starts_with(&format!("{}1", hybrid::RECIPIENT_PREFIX)) {
            let parsed = hybrid::Recipient::parse(text).map(|recipient| Recipient::Hybrid(Box::new(recipient)));
            return parsed.ok_or(KeyError::UnknownRecipient);
        }
        let native = text.parse().map(Recipient::X25519);
        native.or_else(|_| text.parse().map(Recipient::Plugin)).map_err(|_| KeyError::UnknownRecipient)
    }

    fn wrap(
        &self,
        file_key: &FileKey,
        callbacks: &impl Callbacks,
    ) -> Result<(Vec<Stanza>, std::collections::HashSet<String>), KeyError> {
        let wrapped = match self {
            Recipient::X25519(recipient) => recipient.wrap_file_key(file_key),
            Recipient::Hybrid(recipient) => recipient.wrap_file_key(file_key),
            Recipient::Ssh(recipient) => recipient.wrap_file_key(file_key),
            Recipient::Plugin(recipient) => {
                let name = recipient.plugin().to_owned();
                age::plugin::RecipientPluginV1::new(&name, std::slice::from_ref(recipient), &[], callbacks.clone())
                    .map_err(|_| KeyError::NoPlugin(name))?
                    .wrap_file_key(file_key)
            }
            Recipient::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK_FACTOR);
                recipient.wrap_file_key(file_key)
            }
        };
        wrapped.map_err(|error: EncryptError| KeyError::Wrap(error.to_string()))
    }
}

/// The stanzas that wrap `file_key` for each of `recipients`.
pub fn wrap(file_key: &FileKey, recipients: &[Recipient], callbacks: &impl Callbacks) -> Result<Vec<Stanza>, KeyError> {
    let mut stanzas = Vec::new();
    let mut first_labels = None;
    for recipient in recipients {
        let (wrapped, labels) = recipient.wrap(file_key, callbacks)?;
        if *first_labels.get_or_insert_with(|| labels.clone()) != labels {
            return Err(KeyError::MixedRecipients);
        }
        stanzas.extend(wrapped);
    }
    if stanzas.is_empty() { Err(KeyError::NoRecipient) } else { Ok(stanzas) }
}

/// A key that opens a file.
pub enum Identity {
    /// `AGE-SECRET-KEY-1…`
    X25519(age::x25519::Identity),
    /// `AGE-SECRET-KEY-PQ-1…`
    Hybrid(Box<hybrid::Identity>),
    /// An ssh private key without passphrase.
    Ssh(Box<age::ssh::Identity>),
    /// An ssh private key whose passphrase is requested once a stanza matches it.
    EncryptedSsh {
        /// The key, still encrypted.
        key: Box<age::ssh::EncryptedKey>,
        /// The first argument of its stanzas.
        tag: String,
    },
    /// `AGE-PLUGIN-NAME-1…`
    Plugin(age::plugin::Identity),
    /// A passphrase.
    Passphrase(SecretString),
}

impl Identity {
    /// Parses one line of an identity file.
    pub fn parse(line: &str) -> Result<Identity, KeyError> {
        if line.starts_with("age1") || line.starts_with("ssh-") {
            return Err(KeyError::RecipientAsIdentity);
        }
        if line.starts_with(&format!("{}1", hybrid::IDENTITY_PREFIX)) {
            let parsed = hybrid::Identity::parse(line).map(|identity| Identity::Hybrid(Box::new(identity)));
            return parsed.ok_or(KeyError::UnknownIdentity);
        }
        let native = line.parse().map(Identity::X25519);
        native.or_else(|_| line.parse().map(Identity::Plugin)).map_err(|_| KeyError::UnknownIdentity)
    }

    /// Parses an identity file: an ssh private key, or one key per line and comments. An error includes its line number, from 1.
    pub fn parse_file(text: &str) -> Result<Vec<Identity>, (usize, KeyError)> {
        if text.trim_start().starts_with("-----BEGIN") {
            return Identity::parse_ssh(text.trim_start()).map(|identity| vec![identity]).map_err(|error| (1, error));
        }
        key_lines(text).map(|(line, key)| Identity::parse(key).map_err(|error| (line, error))).collect()
    }

    fn parse_ssh(text: &str) -> Result<Identity, KeyError> {
        if ssh::is_private_refused(text) {
            return Err(KeyError::UnknownIdentity);
        }
        let identity = age::ssh::Identity::from_buffer(text.as_bytes(), None).map_err(|_| KeyError::UnknownIdentity)?;
        match &identity {
            age::ssh::Identity::Unsupported(_) => Err(KeyError::UnsupportedSsh),
            age::ssh::Identity::Unencrypted(_) => Ok(Identity::Ssh(Box::new(identity))),
            age::ssh::Identity::Encrypted(key) => {
                let recipient = age::ssh::Recipient::try_from(identity.clone());
                let tag = ssh_tag(&recipient.map_err(|_| KeyError::UnsupportedSsh)?)?;
                Ok(Identity::EncryptedSsh { key: Box::new(key.clone()), tag })
            }
        }
    }

    /// The recipient whose files this identity opens; `None` where only another program can tell.
    pub fn recipient(&self) -> Option<String> {
        match self {
            Identity::X25519(identity) => Some(identity.to_public().to_string()),
            Identity::Hybrid(identity) => Some(identity.to_recipient().to_string()),
            Identity::Ssh(_) | Identity::EncryptedSsh { .. } | Identity::Plugin(_) | Identity::Passphrase(_) => None,
        }
    }

    /// Kind of identity, for messages; not secret.
    pub fn kind(&self) -> &'static str {
        match self {
            Identity::X25519(_) => "X25519",
            Identity::Hybrid(_) => "mlkem768x25519",
            Identity::Ssh(_) | Identity::EncryptedSsh { .. } => "ssh",
            Identity::Plugin(_) => "plugin",
            Identity::Passphrase(_) => SCRYPT_TAG,
        }
    }

    /// Whether it is an encrypted ssh key that a stanza of `header` is for.
    pub fn wants_passphrase(&self, header: &Header) -> bool {
        matches!(self, Identity::EncryptedSsh { tag, .. } if is_for_ssh_key(&header.stanzas, tag))
    }

    /// The ssh key, decrypted with `passphrase`; `None` if that is wrong, or it is not an encrypted ssh key.
    pub fn unlock(&self, passphrase: &SecretString) -> Option<Identity> {
        let Identity::EncryptedSsh { key, .. } = self else { return None };
        let key = key.decrypt(passphrase.clone()).ok()?;
        Some(Identity::Ssh(Box::new(age::ssh::Identity::from(key))))
    }

    /// `None` if no stanza matches this identity.
    fn unwrap(
        &self,
        stanzas: &[Stanza],
        callbacks: &impl Callbacks,
        work_factor_max: u8,
    ) -> Option<Result<FileKey, DecryptError>> {
        match self {
            Identity::X25519(identity) => identity.unwrap_stanzas(stanzas),
            Identity::Hybrid(identity) => identity.unwrap_stanzas(stanzas),
            Identity::Ssh(identity) => identity.unwrap_stanzas(stanzas),
            Identity::EncryptedSsh { tag, .. } => {
                if !is_for_ssh_key(stanzas, tag) {
                    return None;
                }
                let passphrase = callbacks.request_passphrase("passphrase of the ssh key")?;
                self.unlock(&passphrase)?.unwrap(stanzas, callbacks, work_factor_max)
            }
            Identity::Plugin(identity) => {
                let identities = std::slice::from_ref(identity);
                match age::plugin::IdentityPluginV1::new(identity.plugin(), identities, callbacks.clone()) {
                    Ok(plugin) => plugin.unwrap_stanzas(stanzas),
                    Err(error) => Some(Err(DecryptError::PluginResolve(error))),
                }
            }
            Identity::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(work_factor_max);
                match identity.unwrap_stanzas(stanzas) {
                    // A wrong passphrase.
                    Some(Err(DecryptError::DecryptionFailed)) => None,
                    unwrapped => unwrapped,
                }
            }
        }
    }
}

/// Whether one of `stanzas` is for the ssh key with `tag`.
fn is_for_ssh_key(stanzas: &[Stanza], tag: &String) -> bool {
    stanzas.iter().any(|stanza| stanza.tag.starts_with("ssh-") && stanza.args.first() == Some(tag))
}

/// The file key of `header`, from the first of `identities` that opens a stanza. Verifies the MAC.
pub fn unwrap(
    header: &Header,
    identities: &[Identity],
    callbacks: &impl Callbacks,
    work_factor_max: u8,
) -> Result<FileKey, AgeError> {
    check_scrypt(&header.stanzas, work_factor_max)?;
    for identity in identities {
        match identity.unwrap(&header.stanzas, callbacks, work_factor_max) {
            None => {}
            Some(Ok(file_key)) => {
                header.verify(&file_key)?;
                return Ok(file_key);
            }
            Some(Err(DecryptError::ExcessiveWork { required, .. })) => {
                return Err(AgeError::WorkFactor { work_factor: required, work_factor_max });
            }
            Some(Err(DecryptError::PluginResolve(_) | DecryptError::Plugin(_))) => {
                return Err(AgeError::Plugin);
            }
            Some(Err(_)) => return Err(AgeError::Header("a stanza breaks the rules of its type")),
        }
    }
    let kinds: Vec<&str> = identities.iter().map(Identity::kind).collect();
    if kinds.contains(&SCRYPT_TAG) && header.stanza_types() == [SCRYPT_TAG] {
        return Err(AgeError::WrongPassphrase);
    }
    Err(AgeError::NoMatch { stanzas: header.stanza_types_shown(), identities: kinds })
}

/// Whether the file needs a passphrase, and so a key derivation that is slow and large on purpose.
pub fn is_for_passphrase(header: &Header) -> bool {
    header.stanzas.iter().any(|stanza| stanza.tag == SCRYPT_TAG)
}

/// Checks that a scrypt stanza is the only one, and that its arguments are a salt and a plain number.
fn check_scrypt(stanzas: &[Stanza], work_factor_max: u8) -> Result<(), AgeError> {
    let Some(scrypt) = stanzas.iter().find(|stanza| stanza.tag == SCRYPT_TAG) else {
        return Ok(());
    };
    let [_] = stanzas else {
        return Err(AgeError::Header("a scrypt stanza does not stand alone"));
    };
    let bad = AgeError::Header("the scrypt stanza breaks the rules of its type");
    let [salt, work_factor] = &scrypt.args[..] else { return Err(bad) };
    let salt = BASE64_STANDARD_NO_PAD.decode(salt).map_err(|_| bad.clone())?;
    let is_number = work_factor.bytes().all(|byte| byte.is_ascii_digit()) && !work_factor.starts_with('0');
    if salt.len() != SALT_LEN || !is_number || scrypt.body.len() != WRAPPED_LEN {
        return Err(bad);
    }
    let work_factor: u8 = work_factor.parse().map_err(|_| bad)?;
    if work_factor > work_factor_max {
        return Err(AgeError::WorkFactor { work_factor, work_factor_max });
    }
    Ok(())
}

/// The lines of a recipients or identity file that are neither empty nor comments, each with its number, from 1.
pub fn key_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The first argument of ssh stanzas: four bytes of the key's SHA-256 (C2SP age, "ssh").
fn ssh_tag(recipient: &age::ssh::Recipient) -> Result<String, KeyError> {
    let text = recipient.to_string();
    let blob = text.split(' ').nth(1).and_then(|blob| BASE64_STANDARD.decode(blob).ok());
    let hash = Sha256::digest(blob.ok_or(KeyError::UnsupportedSsh)?);
    Ok(BASE64_STANDARD_NO_PAD.encode(&hash[..4]))
}
