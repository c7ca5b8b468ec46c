//! What is noted of a file, and the lines that it is noted in.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::file_id::Identity;

/// An input as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Which file.
    #[serde(flatten)]
    pub identity: Identity,
    /// XXH64 of what was read.
    #[serde(with = "hexadecimal")]
    pub hash: u64,
}

/// What decides about the bytes of an output, beside its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A digest of what is done: layers, level, chunk.
    #[serde(with = "hexadecimal")]
    pub form: u64,
    /// A digest of who opens it.
    #[serde(with = "hexadecimal")]
    pub recipients: u64,
}

impl Settings {
    /// Of an output with a content of its own: in frames of `compress`, chunk and level, or as it is.
    pub fn processed(compress: Option<(usize, i32)>, is_armored: bool, recipients: u64) -> Settings {
        let digest = twox_hash::XxHash64::oneshot(0, format!("{compress:?} {is_armored}").as_bytes());
        // The highest bit tells whether it is compressed.
        let form = digest & !FORM_PLAIN | if compress.is_none() { FORM_PLAIN } else { 0 };
        Settings { form, recipients }
    }

    /// Of an output that is its input with other recipients: what the input is known as is no content.
    pub fn rekeyed(is_armored: bool, recipients: u64) -> Settings {
        Settings { form: FORM_REKEYED + u64::from(is_armored), recipients }
    }

    /// Whether the hash of the input is that of what is decoded: not of one that was encrypted alone, and may be compressed itself.
    pub fn is_of_content(self) -> bool {
        !(FORM_REKEYED..=FORM_REKEYED + 1).contains(&self.form) && self.form & FORM_PLAIN == 0
    }
}

/// Set in the form of outputs that are not compressed.
const FORM_PLAIN: u64 = 1 << 63;

/// A form that no digest of layers is likely to be.
const FORM_REKEYED: u64 = 0x7265_6b65_7965_6400;

/// What becomes of an input whose output is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It stays.
    #[default]
    Stays,
    /// It was deleted, or was going to be: the output may be all there is of it.
    Deleted,
    /// It may not be deleted: nothing shows that the output is all of it.
    Needed,
}

impl Fate {
    fn is_default(&self) -> bool {
        *self == Fate::Stays
    }
}

/// What is known of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its path in the tree.
    pub place: PathBuf,
    /// The file.
    pub output: Identity,
    /// XXH64 of its bytes.
    pub output_hash: u64,
    /// How it was made.
    pub settings: Settings,
    /// What becomes of its input.
    pub fate: Fate,
    /// What it was made of, where that is known here.
    pub input: Option<InputRecord>,
}

/// A line of the journal in the tree.
#[derive(Serialize, Deserialize)]
pub(super) struct OutputLine {
    #[serde(flatten)]
    pub(super) place: PlaceText,
    /// Without it there is no such output any more, and none is missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<Identity>,
    #[serde(with = "hexadecimal")]
    pub(super) hash: u64,
    pub(super) settings: Settings,
    #[serde(default, skip_serializing_if = "Fate::is_default")]
    pub(super) fate: Fate,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<InputRecord>,
}

/// A line of the journal in the user's own folder: what whoever can write to the tree shall not tell.
#[derive(Serialize, Deserialize)]
pub(super) struct InputLine {
    /// Of the output, which no other encrypted file has.
    #[serde(with = "hexadecimal")]
    pub(super) hash: u64,
    pub(super) settings: Settings,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<InputRecord>,
}

/// A path: as text where it is text, else in hexadecimal.
#[derive(Serialize, Deserialize)]
pub(super) enum PlaceText {
    #[serde(rename = "out")]
    Text(String),
    #[serde(rename = "out_hex")]
    Bytes(String),
}

impl PlaceText {
    pub(super) fn of(place: &Path) -> PlaceText {
        match place.to_str() {
            Some(text) => PlaceText::Text(text.to_owned()),
            None => PlaceText::Bytes(place.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// The path, if it is one below the tree.
    pub(super) fn place(self) -> Option<PathBuf> {
        let path: PathBuf = match self {
            PlaceText::Text(text) => text.into(),
            PlaceText::Bytes(text) => {
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
                OsStr::from_bytes(&bytes?).into()
            }
        };
        let is_below = path.components().all(|component| matches!(component, Component::Normal(_)));
        (is_below && path.file_name().is_some()).then_some(path)
    }
}

mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}
