//! Tests of the library as another program uses it: a plan, a reader, a writer, a report.

use std::io::{self, Cursor, Read, Write};
use std::num::NonZeroUsize;

use crate::support::{TestDir, noise, text};
use pipeline::{Cause, Failure, Identity, Level, Plan, Recipient, Report, run};

fn key() -> (Recipient, impl Fn() -> Identity) {
    let key = age::x25519::Identity::generate();
    let recipient = Recipient::parse(&key.to_public().to_string()).unwrap();
    (recipient, move || Identity::X25519(key.clone()))
}

fn run_on(plan: &Plan, input: &[u8]) -> Result<(Report, Vec<u8>), Failure> {
    run(plan, Cursor::new(input.to_vec()), Vec::new())
}

#[test]
fn whatever_was_done_is_undone_and_stock_readers_agree() {
    let (recipient, identity) = key();
    let content = [text(3_000_000, 1), noise(200_000, 2)].concat();
    let plan =
        Plan::compress(Level::new(5).unwrap()).with_chunk_len(100_000).with_workers(NonZeroUsize::new(3).unwrap());
    let (report, compressed) = run_on(&plan, &content).unwrap();
    // The chunk size is rounded up to a multiple of 64 KiB.
    assert_eq!(report.summary.frame_count, content.len().div_ceil(131_072) as u64);
    assert_eq!((report.read_bytes, report.written_bytes), (content.len() as u64, compressed.len() as u64));
    assert_eq!(zstd::decode_all(&compressed[..]).unwrap(), content);

    let both = run_on(&Plan::compress_and_encrypt(Level::DEFAULT, [recipient]), &content).unwrap().1;
    let Identity::X25519(age_identity) = identity() else { unreachable!() };
    let mut opened = Vec::new();
    let decryptor = age::Decryptor::new(&both[..]).unwrap();
    decryptor.decrypt(std::iter::once(&age_identity as _)).unwrap().read_to_end(&mut opened).unwrap();
    assert_eq!(zstd::decode_all(&opened[..]).unwrap(), content);

    let back = Plan::restore([identity()]).with_channel_depth(NonZeroUsize::MIN);
    let plain_age = age::encrypt(&age_identity.to_public(), b"plain").unwrap();
    for (file, holds) in [(&compressed, &content), (&both, &content), (&plain_age, &b"plain".to_vec())] {
        assert_eq!(&run_on(&back, file).unwrap().1, holds);
    }
}

#[test]
fn what_begins_like_zstd_is_given_back_as_it_is() {
    for content in [zstd::encode_all(&b"content"[..], 3).unwrap(), b"\x50\x2a\x4d\x18".to_vec(), b"\x28\xb5".to_vec()] {
        let (recipient, identity) = key();
        let sealed = run_on(&Plan::encrypt([recipient]), &content).unwrap().1;
        assert_eq!(run_on(&Plan::restore([identity()]), &sealed).unwrap().1, content);
    }
}

#[test]
fn a_plan_that_is_run_again_makes_new_keys() {
    let (recipient, identity) = key();
    let plan = Plan::encrypt([recipient]);
    let [first, second] = [(); 2].map(|()| run_on(&plan, b"the same").unwrap().1);
    assert_ne!(first[first.len() - 24..], second[second.len() - 24..]);
    assert_eq!(run_on(&Plan::restore([identity()]), &second).unwrap().1, b"the same");
}

#[test]
fn failures_say_what_they_are() {
    let ((recipient, _), (_, stranger)) = (key(), key());
    let sealed = run_on(&Plan::encrypt([recipient]), b"content").unwrap().1;
    assert!(matches!(run_on(&Plan::restore([stranger()]), &sealed), Err(Failure { cause: Cause::Age(_), .. })));
    assert!(matches!(run_on(&Plan::encrypt([]), b"content"), Err(Failure { cause: Cause::Wrap(_), .. })));
    assert!(matches!(run_on(&Plan::restore([]), b"no zstd file"), Err(Failure { cause: Cause::Zstd(_), .. })));
    let full = Cursor::new(vec![0; 10].into_boxed_slice());
    let written = run(&Plan::compress(Level::DEFAULT), io::repeat(7).take(1 << 20), full);
    assert!(matches!(written, Err(Failure { cause: Cause::Write(_), .. })));

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let read = run(&Plan::compress(Level::DEFAULT), Broken, io::sink());
    assert!(matches!(read, Err(Failure { cause: Cause::Read(_), .. })));
}

#[test]
fn an_output_is_flushed_and_comes_back() {
    struct Buffered(io::BufWriter<Vec<u8>>);
    impl Write for Buffered {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let output = Buffered(io::BufWriter::with_capacity(1 << 20, Vec::new()));
    let (_, output) = run(&Plan::compress(Level::DEFAULT), &b"content"[..], output).unwrap();
    assert_eq!(zstd::decode_all(&output.0.get_ref()[..]).unwrap(), b"content");
}

#[test]
fn signals_stay_the_callers() {
    let caught = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with("SigCgt")).unwrap().to_owned()
    };
    let before = caught();
    run_on(&Plan::compress(Level::DEFAULT), b"content").unwrap();
    assert_eq!(caught(), before);
}

#[test]
fn defaults_are_the_programs() {
    let dir = TestDir::new();
    let content = text(9 << 20, 3);
    dir.write("in", &content);
    for (level, frame_count) in [(1, 3), (9, 2)] {
        let (report, compressed) = run_on(&Plan::compress(Level::new(level).unwrap()), &content).unwrap();
        dir.ok(&format!("process in out -q -f --level {level}"));
        assert_eq!(report.summary.frame_count, frame_count, "level {level}");
        assert!(compressed == dir.read("out"), "level {level}");
    }
}
