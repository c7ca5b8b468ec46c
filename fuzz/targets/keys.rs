//! Fuzzes the parsers of identities and recipients with arbitrary text.
//!
//! No text is both. A native age recipient encodes to the text it was parsed from. A recipient wraps a file key or returns an error, and its
//! stanzas make a valid header. An identity unwraps what its own recipient wrapped, unless an ssh key holds a wrong public key. Plugins
//! are parsed and not run.

#![no_main]

use age::NoCallbacks;
use age_core::secrecy::ExposeSecret;
use libfuzzer_sys::fuzz_target;
use pipeline::format::age::header::{Header, Parsed, encode};
use pipeline::format::age::keys::{Identity, KeyError, Recipient, key_lines, unwrap, wrap};
use pipeline_fuzz::sealed::file_key;

fuzz_target!(|text: &str| {
    let (recipient, identity) = (Recipient::parse(text), Identity::parse(text));
    assert!(recipient.is_err() || identity.is_err(), "it is a recipient and an identity");
    if let Ok(recipient) = recipient {
        check_recipient(text, recipient);
    }
    if let Ok(identity) = identity {
        check_identity(identity);
    }
    if let Ok(identities) = Identity::parse_file(text) {
        let is_ssh = text.trim_start().starts_with("-----BEGIN");
        assert!(identities.len() == if is_ssh { 1 } else { key_lines(text).count() });
        identities.into_iter().for_each(check_identity);
    }
});

fn check_recipient(text: &str, recipient: Recipient) {
    match &recipient {
        Recipient::Plugin(_) | Recipient::Passphrase(_) => return,
        Recipient::X25519(native) => assert!(native.to_string().eq_ignore_ascii_case(text), "it is another text"),
        Recipient::Hybrid(native) => assert!(native.to_string().eq_ignore_ascii_case(text), "it is another text"),
        Recipient::Ssh(_) => {}
    }
    drop(header_for(recipient));
}

fn check_identity(identity: Identity) {
    let recipient = match &identity {
        Identity::X25519(native) => Recipient::X25519(native.to_public()),
        Identity::Hybrid(native) => Recipient::Hybrid(Box::new(native.to_recipient())),
        Identity::Ssh(key) => match age::ssh::Recipient::try_from((**key).clone()) {
            Ok(recipient) => Recipient::Ssh(Box::new(recipient)),
            Err(_) => return,
        },
        Identity::EncryptedSsh { .. } | Identity::Plugin(_) | Identity::Passphrase(_) => return,
    };
    assert!(!identity.kind().is_empty());
    let Some(header) = header_for(recipient) else { return };
    match unwrap(&header, &[identity], &NoCallbacks, 0) {
        Ok(found) => assert_eq!(found.expose_secret(), file_key().expose_secret()),
        // An ssh key file contains its public key, which may be wrong.
        Err(error) => assert!(header.stanza_types()[0].starts_with("ssh-"), "{error}"),
    }
}

/// The header of a file for `recipient`; `None` if it cannot wrap a file key.
fn header_for(recipient: Recipient) -> Option<Header> {
    match wrap(&file_key(), &[recipient], &NoCallbacks) {
        Ok(stanzas) => {
            let bytes = encode(&stanzas, &file_key());
            let Ok(Parsed::Whole(header)) = Header::parse(&bytes) else { panic!("what was wrapped is no header") };
            assert_eq!(header.stanzas, stanzas);
            Some(header)
        }
        Err(KeyError::Wrap(_)) => None,
        Err(error) => panic!("{error}"),
    }
}
