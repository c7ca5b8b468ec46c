//! Public test identities, one of each kind that needs no prompt: the first two are from age's test kit, the others are pipeline's
//! test keys.

use age::secrecy::SecretString;
use pipeline::format::age::keys::Identity;

/// The texts of identity files.
pub const TEXTS: [&str; 4] = [
    "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0",
    "AGE-SECRET-KEY-PQ-1HZLGZUPT4ETPKDEV8HSGFDCYZ4E522W0A7PU2LHT8EH9W6YLNC3SW78XKG",
    include_str!("../../tests/support/keys/ssh-ed25519"),
    include_str!("../../tests/support/keys/ssh-rsa"),
];

/// An ssh key encrypted with a passphrase.
pub const ENCRYPTED_SSH: &str = include_str!("../../tests/support/keys/ssh-encrypted");

/// The recipients of the ssh keys.
pub const SSH_RECIPIENTS: [&str; 2] =
    [include_str!("../../tests/support/keys/ssh-ed25519.pub"), include_str!("../../tests/support/keys/ssh-rsa.pub")];

/// All identities of [`TEXTS`], and a passphrase.
pub fn all() -> Vec<Identity> {
    let parsed = TEXTS.iter().flat_map(|text| Identity::parse_file(text).expect("a key"));
    parsed.chain([Identity::Passphrase(SecretString::from("passphrase"))]).collect()
}
