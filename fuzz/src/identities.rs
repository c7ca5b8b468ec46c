//! Identities that everybody knows, one of each kind that asks nobody: age's test kit has published the first two, the others are
//! pipeline's throw-away keys for tests.

use age::secrecy::SecretString;
use pipeline::format::age::keys::Identity;

/// As identity files hold them.
pub const TEXTS: [&str; 4] = [
    "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0",
    "AGE-SECRET-KEY-PQ-1HZLGZUPT4ETPKDEV8HSGFDCYZ4E522W0A7PU2LHT8EH9W6YLNC3SW78XKG",
    include_str!("../../tests/support/keys/ssh-ed25519"),
    include_str!("../../tests/support/keys/ssh-rsa"),
];

/// An ssh key that is encrypted with a passphrase.
pub const ENCRYPTED_SSH: &str = include_str!("../../tests/support/keys/ssh-encrypted");

/// The recipients of the ssh keys.
pub const SSH_RECIPIENTS: [&str; 2] =
    [include_str!("../../tests/support/keys/ssh-ed25519.pub"), include_str!("../../tests/support/keys/ssh-rsa.pub")];

/// All of them, and a passphrase.
pub fn all() -> Vec<Identity> {
    let parsed = TEXTS.iter().flat_map(|text| Identity::parse_file(text).expect("a key"));
    parsed.chain([Identity::Passphrase(SecretString::from("passphrase"))]).collect()
}
