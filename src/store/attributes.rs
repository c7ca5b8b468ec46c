//! What an output takes over from its source beside content: permission bits and times, or everything that may be kept.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use super::access::Access;
use crate::store::sys;

/// The attributes of a source, read while it is open.
#[derive(Clone, Debug)]
pub struct Attributes {
    metadata: Metadata,
    access: Access,
    /// Owner, group, ACL and extended attributes are to be kept, these among them; `None` if only permission bits and times are.
    kept: Option<Vec<(OsString, Vec<u8>)>>,
}

/// What could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// The owner.
    Owner,
    /// The group.
    Group,
    /// The permission bits.
    Mode,
    /// The access ACL.
    Acl,
    /// An extended attribute.
    Attribute,
}

impl Unkept {
    /// It in words.
    pub fn name(self) -> &'static str {
        match self {
            Unkept::Owner => "owner",
            Unkept::Group => "group",
            Unkept::Mode => "permission bits",
            Unkept::Acl => "access control list",
            Unkept::Attribute => "extended attributes",
        }
    }
}

impl Attributes {
    /// The attributes of `file`, a regular file; with `keep_all`, its owner, group, ACL and extended attributes are to be kept.
    pub fn of(file: &File, keep_all: bool) -> io::Result<Attributes> {
        let metadata = file.metadata()?;
        let access = Access::of(file, &metadata)?;
        let kept = keep_all.then(|| extended_attributes(file)).transpose()?;
        Ok(Attributes { metadata, access, kept })
    }

    /// Gives `file`, a new one, these attributes as far as `limit` allows. Returns what should be kept and could not.
    pub fn apply(&self, file: &File, limit: Limit<'_>) -> io::Result<Vec<Unkept>> {
        let Some(kept) = &self.kept else {
            let mode = self.access.mode_in(file.metadata()?.gid()) & !limit.umask;
            return limit.set_mode(file, mode, Some(&self.metadata)).map(|_| Vec::new());
        };
        let mut unkept = self.give_owner(file)?;
        let is_acl_kept = unkept.is_empty() && limit.allows(&self.access) && self.give_acl(file);
        let failed_count = kept.iter().filter(|(name, value)| sys::set_attribute(file, name, value).is_err()).count();
        let (gid, source_mode) = (file.metadata()?.gid(), self.metadata.mode() & 0o777);
        let mode = if is_acl_kept { source_mode } else { self.access.mode_in(gid) };
        let mode = limit.set_mode(file, mode, Some(&self.metadata))?;
        unkept.extend((mode != source_mode).then_some(Unkept::Mode));
        unkept.extend((!is_acl_kept && self.access.acl().is_some()).then_some(Unkept::Acl));
        unkept.extend((failed_count > 0).then_some(Unkept::Attribute));
        Ok(unkept)
    }

    /// Gives `file` the access ACL, if there is one.
    fn give_acl(&self, file: &File) -> bool {
        self.access.acl().is_none_or(|acl| sys::set_attribute(file, sys::ACCESS_ACL.as_ref(), acl).is_ok())
    }

    /// Root gives the file to the source's owner, and every user to a group that both are in. Returns what could not be kept.
    fn give_owner(&self, file: &File) -> io::Result<Vec<Unkept>> {
        let (now, wanted) = (file.metadata()?, &self.metadata);
        let mut unkept = Vec::new();
        if now.uid() != wanted.uid() && sys::set_owner(file, Some(wanted.uid()), None).is_err() {
            unkept.push(Unkept::Owner);
        }
        if now.gid() != wanted.gid() && sys::set_owner(file, None, Some(wanted.gid())).is_err() {
            unkept.push(Unkept::Group);
        }
        Ok(unkept)
    }
}

/// What limits the access to an output.
#[derive(Clone, Copy, Debug)]
pub struct Limit<'a> {
    /// Permission bits that new files do not get.
    pub umask: u32,
    /// The access to the file that the output replaces.
    pub replaced: Option<&'a Access>,
}

impl Limit<'_> {
    /// Gives a file without a source the permission bits of the file that it replaces, or those of a new one.
    pub fn apply(self, file: &File) -> io::Result<()> {
        let mode = if self.replaced.is_some() { 0o777 } else { 0o666 & !self.umask };
        self.set_mode(file, mode, None).map(drop)
    }

    /// Sets the bits of `mode` that the replaced file allows, and the times of `source`. Returns the bits that were set.
    fn set_mode(self, file: &File, mode: u32, source: Option<&Metadata>) -> io::Result<u32> {
        let mode = match self.replaced {
            Some(replaced) => mode & replaced.mode_in(file.metadata()?.gid()),
            None => mode,
        };
        sys::copy_mode_and_times(file, mode, source)?;
        Ok(mode)
    }

    /// Whether the ACL of `access`, if it has one, lets in nobody whom the replaced file kept out.
    fn allows(self, access: &Access) -> bool {
        access.acl().is_none() || self.replaced.is_none_or(|replaced| replaced == access)
    }
}

fn extended_attributes(file: &File) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let names = sys::copied_names(file)?;
    let read = names.into_iter().map(|name| Ok(sys::attribute(file, &name)?.map(|value| (name, value))));
    read.filter_map(Result::transpose).collect()
}
