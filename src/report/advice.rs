//! The sentence that names a run's bottleneck: what limited the run, what would help, and what could be spared.

use crate::pipeline::names::Stage;
use crate::pipeline::plan::Engine;
use crate::pipeline::report::{Bottleneck, Report};

/// Speedups below this are not worth mentioning.
const GAIN_MIN: f64 = 1.05;

/// Waiting shares above this make a deeper channel worth mentioning.
const WAITED_SHARE: f64 = 0.05;

/// Channels up to this depth are not worth shrinking.
const SHALLOW: usize = 4;

/// Items that a run needs before its figures mean anything.
const ITEMS_MIN: u64 = 8;

/// One sentence: what limited the run, what would help, and what could be spared.
pub fn advice(report: &Report) -> String {
    let Some(bottleneck) = report.bottleneck() else {
        return "nothing was done".to_owned();
    };
    if let Engine::Mutex { .. } = report.engine {
        let shares = report
            .figures
            .stages
            .iter()
            .map(|stage| format!("{} {:.0} %", stage.name, stage.busy_share(report.wall) * 100.0));
        let shares = shares.collect::<Vec<_>>().join(", then ");
        return format!("the phases follow one another ({shares} of the time): --engine channels overlaps them");
    }
    let item_count = report.figures.stages.iter().flat_map(|stage| &stage.items_by_thread).copied().max();
    if item_count.unwrap_or(0) < ITEMS_MIN {
        return "too few items went through to tell".to_owned();
    }
    let Bottleneck { stage, is_parallel, busy_share, .. } = bottleneck;
    let percent = busy_share * 100.0;
    let held_up = match is_parallel {
        _ if busy_share < 0.5 => format!(
            "no stage was busy even half of the time ({stage} most, {percent:.0} %): the machine had other work, or items waited for one another"
        ),
        true => of_workers(report, bottleneck),
        false => of_serial(report, bottleneck),
    };
    held_up + &of_depth(report, stage)
}

fn of_workers(report: &Report, bottleneck: Bottleneck) -> String {
    let Bottleneck { stage, busy_share, workers_enough, speedup_max, .. } = bottleneck;
    let (workers, percent) = (report.workers, busy_share * 100.0);
    let plural = if workers == 1 { "" } else { "s" };
    let held_up = format!("{stage} held it up, its {workers} worker{plural} busy {percent:.0} % of the time: ");
    let gain = match (workers_enough, speedup_max) {
        (_, Some(speedup)) if speedup < GAIN_MIN => {
            return held_up + "more of them would not help, since a serial stage is as busy";
        }
        (Some(enough), Some(speedup)) => {
            format!("up to {enough} would help, and make it {speedup:.1} times as fast")
        }
        _ => "every further one would help".to_owned(),
    };
    match report.cpu_count.get() {
        cpus if workers < cpus => format!("{held_up}{gain}; there are CPUs for {cpus}"),
        1 => format!("{held_up}the one CPU is at work; with more of them {gain}"),
        cpus => format!("{held_up}all {cpus} CPUs are at work; with more of them {gain}"),
    }
}

fn of_serial(report: &Report, Bottleneck { stage, busy_share, workers_enough, .. }: Bottleneck) -> String {
    let mut channels = report.figures.channels.iter().map(|channel| channel.name);
    let is_source = !channels.clone().any(|channel| channel.to == stage);
    let is_sink = !channels.any(|channel| channel.from == stage);
    let also = match stage {
        Stage::Find => "; it walks headers as well, and decodes frames too large for the workers",
        Stage::Cut => "; it lays out segments as well",
        _ => "",
    };
    let what = match (is_source, is_sink) {
        (true, _) => format!("a faster input would help{also}"),
        (_, true) => "a faster output would help".to_owned(),
        _ => format!("it is one thread, so more workers would not help{also}"),
    };
    let pool = report.figures.stages.iter().filter(|stage| stage.is_parallel).map(|stage| stage.items_by_thread.len());
    let spare = match (workers_enough, pool.max()) {
        (Some(enough), Some(workers)) if enough < workers => {
            format!(", and {enough} of the {workers} workers would do")
        }
        _ => String::new(),
    };
    format!("{stage} held it up, busy {:.0} % of the time: {what}{spare}", busy_share * 100.0)
}

/// Advice on the channel before `stage`, if its ends waited by turns; or on all channels, if less depth suffices.
fn of_depth(report: &Report, stage: Stage) -> String {
    let wall_ns = report.wall.as_nanos().max(1) as f64;
    let threads =
        report.figures.stages.iter().find(|known| known.name == stage).map_or(1, |it| it.items_by_thread.len());
    let in_front = report.figures.channels.iter().find(|channel| channel.name.to == stage);
    let waited = in_front.map(|channel| {
        let (blocked, idle) = (channel.blocked_ns as f64 / wall_ns, channel.idle_ns as f64 / wall_ns / threads as f64);
        (channel, blocked.min(1.0), idle.min(1.0))
    });
    match waited {
        Some((channel, blocked, idle)) if blocked > WAITED_SHARE && idle > WAITED_SHARE => format!(
            "; both ends of {} waited by turns, so more than --channel-depth {} would help, by {:.0} % at most",
            channel.name,
            channel.capacity,
            idle * 100.0
        ),
        _ => match depth_enough(report) {
            Some(depth) if report.channel_depth > SHALLOW && depth * 2 < report.channel_depth => {
                format!("; --channel-depth {depth} would do")
            }
            _ => String::new(),
        },
    }
}

/// The depth that suffices: no channel was fuller, and no item would have waited for a token.
fn depth_enough(report: &Report) -> Option<usize> {
    // What an arriving item found, plus the item itself.
    let held = report.figures.channels.iter().map(|channel| channel.depth.max() + 1).max()?;
    let of_items = report.figures.windows.iter().filter(|window| window.weight_max == window.item_count_max as u64);
    // There are as many tokens as workers plus twice the depth.
    let in_flight = of_items.map(|window| window.weight_in_flight_max).max().unwrap_or(0);
    let needed = in_flight.saturating_sub(report.workers as u64).div_ceil(2);
    usize::try_from(held.max(needed)).ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;
    use crate::pipeline::metrics::{ChannelFigures, Figures, StageFigures, WindowFigures};
    use crate::pipeline::names::Channel;
    use crate::pipeline::write::Summary;

    const WALL: Duration = Duration::from_millis(1000);

    /// A run of 100 items whose stages worked the given milliseconds on the given threads.
    fn report(stages: &[(Stage, bool, u64, usize)], workers: usize, cpus: usize) -> Report {
        // Channels between neighbours, as in the recipes.
        let names = stages.windows(2).map(|pair| Channel { from: pair[0].0, to: pair[1].0 });
        let channels = names.map(|name| {
            let mut channel = ChannelFigures::new(name, 4);
            channel.depth.record(3).unwrap();
            channel
        });
        let channels: Vec<ChannelFigures> = channels.collect();
        let stages = stages.iter().map(|(name, is_parallel, busy_ms, threads)| {
            let mut stage = StageFigures::new(*name, *is_parallel);
            stage.busy_ns = busy_ms * 1_000_000;
            stage.items_by_thread = vec![100; *threads];
            stage
        });
        Report {
            engine: Engine::Channels,
            workers,
            channel_depth: 4,
            cpu_count: NonZeroUsize::new(cpus).unwrap(),
            read_bytes: 0,
            written_bytes: 0,
            wall: WALL,
            summary: Summary { frame_count: 0, content_bytes: 0, table: None },
            figures: Figures { stages: stages.collect(), channels, ..Figures::default() },
        }
    }

    /// Sets the figures of the channel before the pool.
    fn channel(report: &mut Report, (blocked_ms, idle_ms): (u64, u64), depth: u64) {
        for channel in &mut report.figures.channels {
            channel.depth.clear();
            channel.depth.record(depth).unwrap();
            channel.capacity = report.channel_depth;
        }
        let channel = &mut report.figures.channels[0];
        (channel.blocked_ns, channel.idle_ns) = (blocked_ms * 1_000_000, idle_ms * 1_000_000);
    }

    #[test]
    fn busy_workers_call_for_more_until_a_serial_stage_is_the_limit() {
        let stages = [(Stage::Read, false, 200, 1), (Stage::Compress, true, 1900, 2), (Stage::Write, false, 100, 1)];
        let found = report(&stages, 2, 8).bottleneck().unwrap();
        assert_eq!((found.stage, found.is_parallel, found.workers_enough), (Stage::Compress, true, Some(10)));
        assert!((found.speedup_max.unwrap() - 4.75).abs() < 1e-9);
        assert_eq!(
            advice(&report(&stages, 2, 8)),
            "compress held it up, its 2 workers busy 95 % of the time: up to 10 would help, and make it 4.7 \
             times as fast; there are CPUs for 8"
        );
        assert!(advice(&report(&stages, 2, 2)).contains("all 2 CPUs are at work; with more of them up to 10"));
    }

    #[test]
    fn a_busy_serial_stage_says_how_many_workers_would_do() {
        let stages = [(Stage::Read, false, 980, 1), (Stage::Compress, true, 1500, 8), (Stage::Write, false, 100, 1)];
        assert_eq!(
            advice(&report(&stages, 8, 8)),
            "read held it up, busy 98 % of the time: a faster input would help, and 2 of the 8 workers would do"
        );
        let stages = [(Stage::Read, false, 100, 1), (Stage::Compress, true, 1500, 2), (Stage::Write, false, 980, 1)];
        assert_eq!(
            advice(&report(&stages, 2, 2)),
            "write held it up, busy 98 % of the time: a faster output would help"
        );
    }

    #[test]
    fn where_serial_stages_hardly_work_every_worker_helps_and_where_they_are_as_busy_none_does() {
        let stages = [(Stage::Read, false, 3, 1), (Stage::Compress, true, 990, 1), (Stage::Write, false, 2, 1)];
        let slow = report(&stages, 1, 8);
        assert_eq!((slow.bottleneck().unwrap().workers_enough, slow.bottleneck().unwrap().speedup_max), (None, None));
        assert!(advice(&slow).ends_with("every further one would help; there are CPUs for 8"), "{}", advice(&slow));
        let stages = [(Stage::Read, false, 940, 1), (Stage::Compress, true, 1900, 2), (Stage::Write, false, 2, 1)];
        assert!(advice(&report(&stages, 2, 8)).contains("more of them would not help"));
    }

    #[test]
    fn a_stage_that_reads_waits_for_the_input_whatever_it_is_called() {
        let pool = (Stage::Decompress, true, 300, 1);
        let bare = advice(&report(&[(Stage::Find, false, 980, 1), pool, (Stage::Write, false, 90, 1)], 1, 2));
        assert!(bare.contains("a faster input would help; it walks headers as well"), "{bare}");
        let stages = [(Stage::Read, false, 90, 1), (Stage::Open, true, 90, 1), (Stage::Find, false, 980, 1), pool];
        let sealed = advice(&report(&stages, 1, 2));
        assert!(sealed.contains("it is one thread, so more workers would not help; it walks headers"), "{sealed}");
        let stages = [(Stage::Cut, false, 980, 1), (Stage::Seal, true, 90, 1), (Stage::Write, false, 90, 1)];
        let encrypt = advice(&report(&stages, 1, 2));
        assert!(encrypt.contains("a faster input would help; it lays out segments"), "{encrypt}");
    }

    #[test]
    fn depth_is_spoken_of_where_it_matters() {
        let stages = [(Stage::Read, false, 200, 1), (Stage::Compress, true, 1600, 2), (Stage::Write, false, 100, 1)];
        let mut jittery = report(&stages, 2, 2);
        channel(&mut jittery, (100, 300), 4);
        let said = advice(&jittery);
        assert!(said.ends_with("so more than --channel-depth 4 would help, by 15 % at most"), "{said}");
        let mut steady = report(&stages, 2, 2);
        channel(&mut steady, (900, 10), 4);
        assert!(!advice(&steady).contains("--channel-depth"));
        let mut deep = Report { channel_depth: 64, ..report(&stages, 2, 2) };
        channel(&mut deep, (0, 10), 3);
        assert!(advice(&deep).ends_with("; --channel-depth 4 would do"), "{}", advice(&deep));
        // Items that waited in the ring for a slow one before them would have waited for tokens.
        let window = WindowFigures {
            name: Stage::Compress,
            weight_max: 130,
            item_count_max: 130,
            weight_in_flight_max: 42,
            wait_ns: 0,
        };
        deep.figures.windows.push(window);
        assert!(advice(&deep).ends_with("; --channel-depth 20 would do"), "{}", advice(&deep));
    }

    #[test]
    fn what_tells_nothing_is_said_to_tell_nothing() {
        let idle = [(Stage::Read, false, 200, 1), (Stage::Compress, true, 300, 2)];
        assert!(advice(&report(&idle, 2, 2)).starts_with("no stage was busy even half of the time (read most, 20 %)"));
        let mut short = report(&idle, 2, 2);
        short.figures.stages.iter_mut().for_each(|stage| stage.items_by_thread = vec![3]);
        assert_eq!(advice(&short), "too few items went through to tell");
        assert_eq!(advice(&report(&[], 2, 2)), "nothing was done");
    }
}
