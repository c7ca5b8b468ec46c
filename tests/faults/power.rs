//! Tests of power cuts: the file system shuts down and loses all unwritten data. The output of a run that succeeded
//! survives; the output of an interrupted run is old or complete.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::child::{Running, duration_of, spin};
use crate::support::mount::Mount;
use crate::support::{Need, TestDir, is_missing, noise, share, skip};

/// Shuts the file system down without writing its journal: FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH
/// (linux/fs.h, ext4.h).
const CUT: &str =
    r#"open(my $disk, "<", $ARGV[0]) or die $!; my $how = pack("I", 2); ioctl($disk, 0x8004587d, $how) or die $!"#;

/// A file system at `disk`, in the file `image`, whose power can be cut.
struct Disk<'a> {
    dir: &'a TestDir,
    mount: Option<Mount>,
}

impl Disk<'_> {
    fn new(dir: &TestDir) -> Option<Disk<'_>> {
        let mount = Mount::new_ext4(&dir.path("image"), dir.path("disk"))?;
        let mut disk = Disk { dir, mount: Some(mount) };
        dir.write("disk/probe", b"lost");
        if !cut_power(&dir.path("disk")) {
            skip(if is_missing("perl") { Need::Tool("perl") } else { Need::Right("shutdown") });
            return None;
        }
        disk.restart();
        assert!(!dir.path("disk/probe").exists(), "what was not synced is lost, or this test proves nothing");
        Some(disk)
    }

    /// Mounts the file system again after a cut.
    fn restart(&mut self) {
        let at = self.mount.take().unwrap().unmount();
        self.mount = Some(Mount::ext4(&self.dir.path("image"), at).unwrap());
    }

    /// Empties the file system, writes `old` to `out` if given, and syncs.
    fn reset(&self, old: Option<&[u8]>) {
        for name in self.mount.as_ref().unwrap().names() {
            if name != "lost+found" {
                fs::remove_file(self.dir.path(format!("disk/{name}"))).unwrap();
            }
        }
        if let Some(old) = old {
            self.dir.write("disk/out", old);
        }
        let synced = Command::new("sync").arg("-f").arg(self.dir.path("disk")).status();
        assert!(synced.unwrap().success());
    }
}

fn cut_power(disk: &Path) -> bool {
    let mut perl = Command::new("perl");
    perl.args(["-e", CUT]).arg(disk).stderr(Stdio::null());
    perl.status().is_ok_and(|status| status.success())
}

/// Command lines to cut, each with the command line that reads its output back to standard output.
const LINES: [(&str, &str); 3] = [
    ("process in disk/out -qf --chunk-size 64K", "restore disk/out - -q"),
    ("process in disk/out -qf --chunk-size 64K -R to", "restore disk/out - -q -i key"),
    ("restore z disk/out -qf", "process disk/out - -q --chunk-size 64K"),
];

fn dir_with_files() -> TestDir {
    let (dir, recipient) = TestDir::with_key();
    dir.write("to", recipient.as_bytes());
    dir.write("in", &noise(2 << 20, 1));
    dir.ok("process in z -q --chunk-size 64K");
    dir
}

fn is_complete(dir: &TestDir, line: &str, back: &str) -> bool {
    let complete = if line.starts_with("restore") { dir.read("z") } else { dir.read("in") };
    dir.run(back).stdout == complete
}

#[test]
fn what_ended_well_survives_a_power_cut_right_after() {
    let dir = dir_with_files();
    let Some(mut disk) = Disk::new(&dir) else { return };
    for round in 0..share(6, 51) {
        let (line, back) = LINES[round % LINES.len()];
        disk.reset((round % 2 == 1).then_some(b"old"));
        dir.ok(line);
        assert!(cut_power(&dir.path("disk")));
        disk.restart();
        assert!(is_complete(&dir, line, back), "{line}: what was durable is lost");
    }
}

#[test]
fn a_power_cut_in_the_midst_of_a_run_leaves_the_destination_old_or_complete() {
    let dir = dir_with_files();
    let Some(mut disk) = Disk::new(&dir) else { return };
    let cut_count = share(10, 100);
    let randoms = noise(2 * cut_count, 3);
    let (mut old_count, mut ended_count) = (0, 0);
    for (round, random) in randoms.chunks(2).enumerate() {
        let (line, back) = LINES[round % LINES.len()];
        let old: Option<&[u8]> = (round % 2 == 1).then_some(b"old");
        disk.reset(old);
        let whole = duration_of(dir.command(line.split_whitespace()));
        disk.reset(old);
        let mut child = Running(dir.command(line.split_whitespace()).stderr(Stdio::null()).spawn().unwrap());
        let fraction = f64::from(u16::from_le_bytes([random[0], random[1]])) / f64::from(u16::MAX);
        spin(whole.mul_f64(fraction));
        assert!(cut_power(&dir.path("disk")));
        let has_ended_well = child.wait().unwrap().success();
        disk.restart();
        let is_old = fs::read(dir.path("disk/out")).ok().as_deref() == old;
        old_count += usize::from(is_old);
        ended_count += usize::from(has_ended_well);
        assert!(!(has_ended_well && is_old), "{line}: it ended well, and what it wrote is lost");
        assert!(is_old || is_complete(&dir, line, back), "{line}: the destination is neither old nor complete");
    }
    eprintln!("{cut_count} cuts: {old_count} left what was there before, {ended_count} came too late");
}
