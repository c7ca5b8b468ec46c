//! File systems that a test mounts, unmounted on drop, even if the test fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Need, skip};

pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Makes `at` and mounts a tmpfs there. Returns `None`, and records a skip, where this is not allowed.
    pub fn tmpfs(at: PathBuf, options: &str) -> Option<Mount> {
        std::fs::create_dir(&at).unwrap();
        Mount::of(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at), at)
    }

    /// Mounts the ext4 file system in the file `image` at the existing `at`. Returns `None`, and records a skip, where
    /// this is not allowed.
    pub fn ext4(image: &Path, at: PathBuf) -> Option<Mount> {
        Mount::of(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(&at), at)
    }

    /// Makes an ext4 file system in a file of 32 MiB at `image`, makes `at`, and mounts it there. Returns `None`, and
    /// records a skip, where this is not allowed.
    pub fn new_ext4(image: &Path, at: PathBuf) -> Option<Mount> {
        std::fs::File::create(image).unwrap().set_len(32 << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output();
        if !made.is_ok_and(|made| made.status.success()) {
            skip(Need::Tool("mkfs.ext4"));
            return None;
        }
        Mount::ext4(image, at)
    }

    fn of(command: &mut Command, at: PathBuf) -> Option<Mount> {
        if command.output().is_ok_and(|output| output.status.success()) {
            return Some(Mount { at });
        }
        skip(Need::Right("mount"));
        None
    }

    /// Remounts it with other options.
    pub fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.at).status();
        assert!(status.unwrap().success());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// All names in its root directory, temporaries included.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.at).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Unmounts it and returns the mount point.
    pub fn unmount(self) -> PathBuf {
        let at = self.at.clone();
        let status = Command::new("umount").arg(&at).status();
        assert!(status.unwrap().success(), "{} is still in use", at.display());
        std::mem::forget(self);
        at
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazy, since a failed test may leave a run behind that still has files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
