//! Benchmarks of whole runs from memory to a sink. A run copies its input into its buffers, as from the page cache.

use std::io::{Cursor, sink};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use pipeline::format::age::stream::{PayloadKey, Place, SEGMENT_LEN, SegmentCipher, TAG_LEN};
use pipeline::format::zstd::codec::Level;
use pipeline::pipeline::endpoints::Endpoints;
use pipeline::pipeline::plan::{
    Compress, Content, ContentRange, Decompress, Engine, Expect, Plan, Process, Restore, Seal, Start, Work,
};
use pipeline::pipeline::shutdown::Cancel;
use pipeline::pipeline::supervisor::{Supervisor, Watch};

use crate::{CHUNK, WHOLE, compressed, content, width};

pub fn whole(c: &mut Criterion) {
    let mut supervisor = Supervisor::new([]).unwrap();
    let content: Arc<[u8]> = content(WHOLE).into();
    let stream: Arc<[u8]> = compressed(&content).into();
    let (both, sealed): (Arc<[u8]>, Arc<[u8]>) = (sealed(&stream).into(), sealed(&content).into());
    let compress = Some(Compress { chunk_len: CHUNK, level: Level::DEFAULT });
    let frames = || {
        Content::Frames(Decompress {
            window_log_max: 27,
            start: Start::default(),
            range: ContentRange::All,
            expect: Expect::Tables,
        })
    };
    let seal = || Some(Seal { prefix: Vec::new(), key: PayloadKey::take(&mut [7; 32]) });
    let open = || Some(PayloadKey::take(&mut [7; 32]));
    let process = |compress, seal| Work::Process(Process { compress, seal });
    let restore = |open, content| Work::Restore(Restore { open, content });
    let plain = Content::Plain(ContentRange::All);
    let works = [
        ("compress", process(compress, None), &content),
        ("encrypt", process(None, seal()), &content),
        ("both", process(compress, seal()), &content),
        ("decompress", restore(None, frames()), &stream),
        ("decrypt", restore(open(), plain), &sealed),
        ("both, back", restore(open(), frames()), &both),
    ];
    let mut group = c.benchmark_group("whole");
    group.throughput(Throughput::Bytes(WHOLE as u64)).sample_size(10);
    for (name, work, input) in works {
        for (engine_name, engine) in
            [("channels", Engine::Channels), ("mutex", Engine::Mutex { available_bytes: u64::MAX })]
        {
            for workers in [1, 2] {
                group.bench_function(BenchmarkId::new(format!("{name}, {engine_name}"), workers), |b| {
                    b.iter(|| run(&mut supervisor, engine, workers, &work, input));
                });
            }
        }
    }
    group.finish();
}

/// A payload of `content`, sealed with the key that the runs open it with.
fn sealed(content: &[u8]) -> Vec<u8> {
    let cipher = SegmentCipher::new(&PayloadKey::take(&mut [7; 32]));
    let last = content.len().div_ceil(SEGMENT_LEN) - 1;
    let segments = content.chunks(SEGMENT_LEN).enumerate().flat_map(|(index, text)| {
        let mut segment = [text, &[0; TAG_LEN]].concat();
        cipher.seal(index as u64, if index == last { Place::Final } else { Place::Inner }, &mut segment);
        segment
    });
    segments.collect()
}

fn run(supervisor: &mut Supervisor, engine: Engine, workers: usize, work: &Work, input: &Arc<[u8]>) {
    let plan = Plan { width: width(workers, 4), engine, work: work.clone() };
    let ends = Endpoints {
        input: Box::new(Cursor::new(Arc::clone(input))),
        input_bytes: None,
        output: Box::new(sink()),
        cancel: Cancel::default(),
        progress: Arc::default(),
    };
    let watch = &mut Watch { tick_every: Duration::from_secs(1), on_tick: &mut |_, _| () };
    pipeline::pipeline::run(&plan, &Default::default(), ends, supervisor, watch).unwrap();
}
