//! The records of the journal and the lines that encode them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::file_id::FileId;

/// The version of written lines; it increases when a field is removed or changes its meaning. All earlier versions are readable.
pub(super) const VERSION: u32 = 2;

/// An input as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Its file identity.
    #[serde(flatten)]
    pub identity: FileId,
    /// XXH64 (seed 0) of its bytes.
    #[serde(with = "hexadecimal")]
    pub hash: u64,
}

/// The operation and settings that produced an output: all that determines its bytes except the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpec {
    /// Output of `process`.
    Processed {
        /// The zstd layer, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compress: Option<CompressSpec>,
        /// The age layer is armored.
        #[serde(default, rename = "armored", skip_serializing_if = "std::ops::Not::not")]
        is_armored: bool,
        /// A digest of the recipients, if there is an age layer.
        #[serde(default, with = "hexadecimal_option", skip_serializing_if = "Option::is_none")]
        recipients: Option<u64>,
    },
    /// Output of `rekey` from an age file without a record.
    Rekeyed {
        /// The output is armored.
        #[serde(default, rename = "armored", skip_serializing_if = "std::ops::Not::not")]
        is_armored: bool,
        /// A digest of the recipients.
        #[serde(with = "hexadecimal")]
        recipients: u64,
    },
    /// Output of `restore`.
    Restored {
        /// Frames inside an age layer were decoded.
        decompressed: bool,
    },
    /// Output of `restore --salvage`; never counts as complete.
    Salvaged,
    /// Output of `process`, as recorded by version 1.
    Version1 {
        /// A digest of layers, level and chunk.
        #[serde(with = "hexadecimal")]
        form: u64,
        /// A digest of the recipients, 0 for none.
        #[serde(with = "hexadecimal")]
        recipients: u64,
    },
}

/// Settings of a zstd layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressSpec {
    /// Input bytes per frame.
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

    /// The same with other recipients; 0 for unknown ones.
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

    /// Whether an output with the settings `recorded` satisfies these settings.
    pub fn matches(&self, recorded: &OutputSpec) -> bool {
        match recorded {
            OutputSpec::Version1 { form, recipients } => {
                self.form_of_version_1() == Some(*form) && self.recipients() == *recipients
            }
            OutputSpec::Salvaged => false,
            recorded => self == recorded,
        }
    }

    /// Whether the input's hash is that of the decoded content. Not if the input was only encrypted: it may itself be compressed.
    pub fn is_of_content(&self) -> bool {
        match self {
            OutputSpec::Processed { compress, .. } => compress.is_some(),
            OutputSpec::Rekeyed { .. } => false,
            OutputSpec::Restored { .. } | OutputSpec::Salvaged => true,
            OutputSpec::Version1 { form, .. } => form & FORM_PLAIN == 0,
        }
    }

    /// The form that version 1 recorded: a hash of text.
    fn form_of_version_1(&self) -> Option<u64> {
        let OutputSpec::Processed { compress, is_armored, .. } = self else { return None };
        let compress = compress.map(|CompressSpec { chunk_bytes, level }| (chunk_bytes, level));
        let digest = twox_hash::XxHash64::oneshot(0, format!("{compress:?} {is_armored}").as_bytes());
        Some(digest & !FORM_PLAIN | if compress.is_none() { FORM_PLAIN } else { 0 })
    }
}

/// The field that version 1 had instead of [`OutputSpec`].
#[derive(Clone, Copy, Deserialize)]
struct SettingsOfVersion1 {
    #[serde(with = "hexadecimal")]
    form: u64,
    #[serde(with = "hexadecimal")]
    recipients: u64,
}

/// Version 1: set in the form of uncompressed outputs.
const FORM_PLAIN: u64 = 1 << 63;

/// Version 1: the form of `rekey` outputs; plus 1 if armored.
const FORM_REKEYED: u64 = 0x7265_6b65_7965_6400;

/// Version 1: the form of `restore --salvage` outputs.
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

/// What happens to the input of an existing output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputFate {
    /// It stays.
    #[default]
    Stays,
    /// It was or was about to be deleted: the output may be the only copy.
    Deleted,
    /// It must not be deleted: the output may be incomplete.
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
    /// The output's identity.
    pub output: FileId,
    /// XXH64 (seed 0) of its bytes.
    pub output_hash: u64,
    /// Its operation and settings.
    pub spec: OutputSpec,
    /// What happens to its input.
    pub fate: InputFate,
    /// Its input, if known.
    pub input: Option<InputRecord>,
}

/// A line of the journal in the tree.
#[derive(Serialize, Deserialize)]
pub(super) struct OutputLine {
    #[serde(flatten)]
    pub(super) place: PlaceText,
    /// `None`: the output no longer exists and is not missed.
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

/// A line of the journal in the state folder: facts that a writer to the tree must not be able to forge.
#[derive(Serialize, Deserialize)]
pub(super) struct InputLine {
    /// Hash of the output, unique to an encrypted file.
    #[serde(with = "hexadecimal")]
    pub(super) hash: u64,
    pub(super) made: OutputSpec,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<InputRecord>,
}

/// A journal line that can be read from every version.
pub(super) trait Line: Sized {
    /// Parses the JSON text of a line of `version`; `None` if that fails.
    fn parse(version: u32, text: &str) -> Option<Self>;
}

/// [`OutputLine`] of version 1.
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

/// [`InputLine`] of version 1.
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

/// A path: text if it is UTF-8, otherwise hexadecimal.
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

    /// The path, if it is below the tree.
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
