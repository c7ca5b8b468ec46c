//! What the journal records of a file, and the lines that hold it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::file_id::FileId;

/// The version of the lines that are written; it grows when a field changes its meaning or goes. Each version that ever was is read.
pub(super) const VERSION: u32 = 2;

/// An input as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Which file.
    #[serde(flatten)]
    pub identity: FileId,
    /// XXH64 (seed 0) of what was read.
    #[serde(with = "hexadecimal")]
    pub hash: u64,
}

/// How an output was made: everything but the input that decides about its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpec {
    /// By `process`.
    Processed {
        /// The zstd layer, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compress: Option<CompressSpec>,
        /// The age layer is text.
        #[serde(default, rename = "armored", skip_serializing_if = "std::ops::Not::not")]
        is_armored: bool,
        /// A digest of the recipients, if there is an age layer.
        #[serde(default, with = "hexadecimal_option", skip_serializing_if = "Option::is_none")]
        recipients: Option<u64>,
    },
    /// By `rekey`, from an age file that the journal did not know.
    Rekeyed {
        /// It is text.
        #[serde(default, rename = "armored", skip_serializing_if = "std::ops::Not::not")]
        is_armored: bool,
        /// A digest of the recipients.
        #[serde(with = "hexadecimal")]
        recipients: u64,
    },
    /// By `restore`.
    Restored {
        /// What was inside an age layer was decoded too.
        decompressed: bool,
    },
    /// By `restore --salvage`: never taken for all of the input.
    Salvaged,
    /// By `process`, as version 1 of the journal noted it.
    Version1 {
        /// A digest of layers, level and chunk.
        #[serde(with = "hexadecimal")]
        form: u64,
        /// A digest of the recipients, 0 for none.
        #[serde(with = "hexadecimal")]
        recipients: u64,
    },
}

/// A zstd layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressSpec {
    /// Bytes of input in a frame.
    pub chunk_bytes: u64,
    /// The zstd level.
    pub level: i32,
}

impl OutputSpec {
    /// The digest of the recipients, 0 for none.
    pub fn recipients(&self) -> u64 {
        match self {
            OutputSpec::Processed { recipients, .. } => recipients.unwrap_or(0),
            OutputSpec::Rekeyed { recipients, .. } | OutputSpec::Version1 { recipients, .. } => *recipients,
            OutputSpec::Restored { .. } | OutputSpec::Salvaged => 0,
        }
    }

    /// The same output with other recipients, 0 for none known.
    pub fn with_recipients(self, digest: u64) -> OutputSpec {
        match self {
            OutputSpec::Processed { compress, is_armored, .. } => {
                OutputSpec::Processed { compress, is_armored, recipients: (digest != 0).then_some(digest) }
            }
            OutputSpec::Rekeyed { is_armored, .. } => OutputSpec::Rekeyed { is_armored, recipients: digest },
            OutputSpec::Version1 { form, .. } => OutputSpec::Version1 { form, recipients: digest },
            restored @ (OutputSpec::Restored { .. } | OutputSpec::Salvaged) => restored,
        }
    }

    /// Whether an output that is `recorded` was made as this asks for.
    pub fn matches(&self, recorded: &OutputSpec) -> bool {
        match recorded {
            OutputSpec::Version1 { form, recipients } => {
                self.form_of_version_1() == Some(*form) && self.recipients() == *recipients
            }
            OutputSpec::Salvaged => false,
            recorded => self == recorded,
        }
    }

    /// Whether the hash of the input is that of what is decoded: not where the input was encrypted alone, since it may be compressed itself.
    pub fn is_of_content(&self) -> bool {
        match self {
            OutputSpec::Processed { compress, .. } => compress.is_some(),
            OutputSpec::Rekeyed { .. } => false,
            OutputSpec::Restored { .. } | OutputSpec::Salvaged => true,
            OutputSpec::Version1 { form, .. } => form & FORM_PLAIN == 0,
        }
    }

    /// What version 1 noted of such an output: a hash of text.
    fn form_of_version_1(&self) -> Option<u64> {
        let OutputSpec::Processed { compress, is_armored, .. } = self else { return None };
        let compress = compress.map(|CompressSpec { chunk_bytes, level }| (chunk_bytes, level));
        let digest = twox_hash::XxHash64::oneshot(0, format!("{compress:?} {is_armored}").as_bytes());
        Some(digest & !FORM_PLAIN | if compress.is_none() { FORM_PLAIN } else { 0 })
    }
}

/// What version 1 of the journal had in the place of [`OutputSpec`].
#[derive(Clone, Copy, Deserialize)]
struct SettingsOfVersion1 {
    #[serde(with = "hexadecimal")]
    form: u64,
    #[serde(with = "hexadecimal")]
    recipients: u64,
}

/// Version 1: set in the form of outputs that are not compressed.
const FORM_PLAIN: u64 = 1 << 63;

/// Version 1: the form of outputs of `rekey`; the next number is that of armored ones.
const FORM_REKEYED: u64 = 0x7265_6b65_7965_6400;

/// Version 1: the form of outputs of `restore --salvage`.
const FORM_SALVAGED: u64 = u64::MAX;

impl From<SettingsOfVersion1> for OutputSpec {
    fn from(SettingsOfVersion1 { form, recipients }: SettingsOfVersion1) -> OutputSpec {
        match form {
            FORM_SALVAGED => OutputSpec::Salvaged,
            0 | 1 => OutputSpec::Restored { decompressed: form == 1 },
            FORM_REKEYED => OutputSpec::Rekeyed { is_armored: false, recipients },
            form if form == FORM_REKEYED + 1 => OutputSpec::Rekeyed { is_armored: true, recipients },
            form => OutputSpec::Version1 { form, recipients },
        }
    }
}

/// What becomes of an input whose output is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputFate {
    /// It stays.
    #[default]
    Stays,
    /// It was deleted, or was going to be: the output may be all there is of it.
    Deleted,
    /// It may not be deleted: nothing shows that the output is all of it.
    Needed,
}

impl InputFate {
    fn is_default(&self) -> bool {
        *self == InputFate::Stays
    }
}

/// The record of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its path in the tree.
    pub place: PathBuf,
    /// The file.
    pub output: FileId,
    /// XXH64 (seed 0) of its bytes.
    pub output_hash: u64,
    /// How it was made.
    pub spec: OutputSpec,
    /// What becomes of its input.
    pub fate: InputFate,
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
    pub(super) output: Option<FileId>,
    #[serde(with = "hexadecimal")]
    pub(super) hash: u64,
    pub(super) made: OutputSpec,
    #[serde(default, skip_serializing_if = "InputFate::is_default")]
    pub(super) fate: InputFate,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<InputRecord>,
}

/// A line of the journal in the state folder: what somebody who can write to the tree must not be able to say.
#[derive(Serialize, Deserialize)]
pub(super) struct InputLine {
    /// Of the output, which no other encrypted file has.
    #[serde(with = "hexadecimal")]
    pub(super) hash: u64,
    pub(super) made: OutputSpec,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<InputRecord>,
}

/// A line, as each version of the journal has it.
pub(super) trait Line: Sized {
    /// Reads the JSON text of a line of a journal of `version`; `None` for what is not understood.
    fn parse(version: u32, text: &str) -> Option<Self>;
}

/// [`OutputLine`] as version 1 had it.
#[derive(Deserialize)]
struct OutputLineOfVersion1 {
    #[serde(flatten)]
    place: PlaceText,
    output: Option<FileId>,
    #[serde(with = "hexadecimal")]
    hash: u64,
    settings: SettingsOfVersion1,
    #[serde(default)]
    fate: InputFate,
    #[serde(rename = "in")]
    input: Option<InputRecord>,
}

/// [`InputLine`] as version 1 had it.
#[derive(Deserialize)]
struct InputLineOfVersion1 {
    #[serde(with = "hexadecimal")]
    hash: u64,
    settings: SettingsOfVersion1,
    #[serde(rename = "in")]
    input: Option<InputRecord>,
}

impl Line for OutputLine {
    fn parse(version: u32, text: &str) -> Option<OutputLine> {
        if version > 1 {
            return serde_json::from_str(text).ok();
        }
        let OutputLineOfVersion1 { place, output, hash, settings, fate, input } = serde_json::from_str(text).ok()?;
        Some(OutputLine { place, output, hash, made: settings.into(), fate, input })
    }
}

impl Line for InputLine {
    fn parse(version: u32, text: &str) -> Option<InputLine> {
        if version > 1 {
            return serde_json::from_str(text).ok();
        }
        let InputLineOfVersion1 { hash, settings, input } = serde_json::from_str(text).ok()?;
        Some(InputLine { hash, made: settings.into(), input })
    }
}

/// A path: as text where it is UTF-8, else in hexadecimal.
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

mod hexadecimal_option {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::hexadecimal::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        super::hexadecimal::deserialize(deserializer).map(Some)
    }
}
