//! Power cuts: a file system that is shut down with all that it has not written yet lost, as when the power fails. What a run
//! ended well with is there afterwards; what it was in the midst of is old or complete.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::child::{Running, duration_of, spin};
use crate::support::mount::Mount;
use crate::support::{Bench, Need, is_missing, noise, share, skip};

/// Shuts the file system down without writing its journal: FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (linux/fs.h, ext4.h).
const CUT: &str =
    r#"open(my $disk, "<", $ARGV[0]) or die $!; my $how = pack("I", 2); ioctl($disk, 0x8004587d, $how) or die $!"#;

/// A disk whose power can be cut, at `disk`; its image is `image`.
struct Disk<'a> {
    bench: &'a Bench,
    mount: Option<Mount>,
}

impl Disk<'_> {
    fn new(bench: &Bench) -> Option<Disk<'_>> {
        let mount = Mount::new_ext4(&bench.path("image"), bench.path("disk"))?;
        let mut disk = Disk { bench, mount: Some(mount) };
        bench.write("disk/probe", b"lost");
        if !cut_power(&bench.path("disk")) {
            skip(if is_missing("perl") { Need::Tool("perl") } else { Need::Right("shutdown") });
            return None;
        }
        disk.restart();
        assert!(!bench.path("disk/probe").exists(), "what was not synced is lost, or this test proves nothing");
        Some(disk)
    }

    /// Mounts it again, as after a cut.
    fn restart(&mut self) {
        let at = self.mount.take().unwrap().unmount();
        self.mount = Some(Mount::ext4(&self.bench.path("image"), at).unwrap());
    }

    /// Takes everything off it, and puts `old` at `out`, if there is one; durably.
    fn reset(&self, old: Option<&[u8]>) {
        for name in self.mount.as_ref().unwrap().names() {
            if name != "lost+found" {
                fs::remove_file(self.bench.path(format!("disk/{name}"))).unwrap();
            }
        }
        if let Some(old) = old {
            self.bench.write("disk/out", old);
        }
        let synced = Command::new("sync").arg("-f").arg(self.bench.path("disk")).status();
        assert!(synced.unwrap().success());
    }
}

fn cut_power(disk: &Path) -> bool {
    let mut perl = Command::new("perl");
    perl.args(["-e", CUT]).arg(disk).stderr(Stdio::null());
    perl.status().is_ok_and(|status| status.success())
}

/// What is compressed, encrypted and restored, and what each gives back on standard output.
const LINES: [(&str, &str); 3] = [
    ("process in disk/out -qf --chunk-size 64K", "restore disk/out - -q"),
    ("process in disk/out -qf --chunk-size 64K -R to", "restore disk/out - -q -i key"),
    ("restore z disk/out -qf", "process disk/out - -q --chunk-size 64K"),
];

fn bench() -> Bench {
    let (bench, recipient) = Bench::with_key();
    bench.write("to", recipient.as_bytes());
    bench.write("in", &noise(2 << 20, 1));
    bench.ok("process in z -q --chunk-size 64K");
    bench
}

fn is_complete(bench: &Bench, line: &str, back: &str) -> bool {
    let complete = if line.starts_with("restore") { bench.read("z") } else { bench.read("in") };
    bench.run(back).stdout == complete
}

#[test]
fn what_ended_well_survives_a_power_cut_right_after() {
    let bench = bench();
    let Some(mut disk) = Disk::new(&bench) else { return };
    for round in 0..share(6, 51) {
        let (line, back) = LINES[round % LINES.len()];
        disk.reset((round % 2 == 1).then_some(b"old"));
        bench.ok(line);
        assert!(cut_power(&bench.path("disk")));
        disk.restart();
        assert!(is_complete(&bench, line, back), "{line}: what was durable is lost");
    }
}

#[test]
fn a_power_cut_in_the_midst_of_a_run_leaves_the_destination_old_or_complete() {
    let bench = bench();
    let Some(mut disk) = Disk::new(&bench) else { return };
    let cut_count = share(10, 100);
    let randoms = noise(2 * cut_count, 3);
    let (mut old_count, mut ended_count) = (0, 0);
    for (round, random) in randoms.chunks(2).enumerate() {
        let (line, back) = LINES[round % LINES.len()];
        let old: Option<&[u8]> = (round % 2 == 1).then_some(b"old");
        disk.reset(old);
        let whole = duration_of(bench.command(line.split_whitespace()));
        disk.reset(old);
        let mut child = Running(bench.command(line.split_whitespace()).stderr(Stdio::null()).spawn().unwrap());
        let fraction = f64::from(u16::from_le_bytes([random[0], random[1]])) / f64::from(u16::MAX);
        spin(whole.mul_f64(fraction));
        assert!(cut_power(&bench.path("disk")));
        let has_ended_well = child.wait().unwrap().success();
        disk.restart();
        let is_old = fs::read(bench.path("disk/out")).ok().as_deref() == old;
        old_count += usize::from(is_old);
        ended_count += usize::from(has_ended_well);
        assert!(!(has_ended_well && is_old), "{line}: it ended well, and what it wrote is lost");
        assert!(is_old || is_complete(&bench, line, back), "{line}: the destination is neither old nor complete");
    }
    eprintln!("{cut_count} cuts: {old_count} left what was there before, {ended_count} came too late");
}
