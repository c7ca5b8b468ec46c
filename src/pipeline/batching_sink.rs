//! A sink that takes items in any order, as many at once as have arrived.
//!
//! Work that many items share, such as waiting for a disk, is then done once for all. Meanwhile the next items collect in the channel: the
//! slower the work, the more items share it.

use std::ops::ControlFlow;

use super::error::{Failure, Stop};
use super::gauges::BusyGauge;
use super::metrics::Figures;
use super::queue::QueueReceiver;
use super::shutdown::Cancel;
use super::stage::{END, Ending, MORE, Message, Meter};

/// Runs the sink: calls `body` with `state` and the items that have arrived, 1 to `count_max`, until all have arrived or `body` needs no
/// more.
pub(super) fn run_gathering_sink<S, T>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut queue: QueueReceiver<Message<T>>,
    count_max: usize,
    mut state: S,
    mut body: impl FnMut(&mut S, Vec<T>) -> Result<ControlFlow<()>, Stop>,
) -> (Ending, Figures, S) {
    let stage = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let mut come = Come { count: 0, count_in_all: None };
    let ending = loop {
        if cancel.is_set() {
            break Err(Stop::Cancelled);
        }
        let items = match come.gather(&mut queue, count_max) {
            Ok(items) if items.is_empty() => break Ok(()),
            Ok(items) => items,
            Err(stop) => break Err(stop),
        };
        match meter.time(|| body(&mut state, items)) {
            Ok(MORE) => {}
            Ok(END) => break Ok(()),
            Err(stop) => break Err(stop.at(stage, None)),
        }
    };
    meter.figures.channels.push(queue.finish());
    (ending, meter.finish(), state)
}

/// Count of arrived items.
struct Come {
    count: u64,
    /// Announced by the source after its last item; the message may overtake some items.
    count_in_all: Option<u64>,
}

impl Come {
    /// Waits for an item, and takes the others that have arrived. Empty once all have.
    fn gather<T>(&mut self, queue: &mut QueueReceiver<Message<T>>, count_max: usize) -> Result<Vec<T>, Stop<Failure>> {
        let mut items = Vec::new();
        while items.len() < count_max && self.count_in_all != Some(self.count) {
            let message = match items.is_empty() {
                true => queue.recv().map_err(|_| Stop::Closed)?,
                false => match queue.try_recv() {
                    Some(message) => message,
                    None => break,
                },
            };
            match message {
                Message::Item { item, .. } => {
                    self.count += 1;
                    items.push(item.map_err(Stop::Failed)?);
                }
                Message::End { count } => self.count_in_all = Some(count),
            }
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::error::Cause;
    use crate::pipeline::names::{Channel, Stage};
    use crate::pipeline::queue::queue;
    use crate::pipeline::window::Window;

    const TEST: Channel = Channel { from: Stage::Files, to: Stage::Commit };

    fn item(window: &mut Window, seq: u64, item: Result<u32, Failure>) -> Message<u32> {
        Message::Item { seq, token: window.take(1).unwrap(), item }
    }

    #[test]
    fn items_come_in_any_order_and_the_word_of_the_end_may_overtake_them() {
        let (mut sender, mut receiver) = queue(TEST, 8);
        let mut window = Window::of_items(Stage::Files, 8);
        let mut come = Come { count: 0, count_in_all: None };
        for message in [item(&mut window, 2, Ok(2)), Message::End { count: 3 }, item(&mut window, 0, Ok(0))] {
            sender.send(message).unwrap();
        }
        assert_eq!(come.gather(&mut receiver, 8).unwrap(), [2, 0]);
        sender.send(item(&mut window, 1, Ok(1))).unwrap();
        assert_eq!(come.gather(&mut receiver, 8).unwrap(), [1]);
        assert_eq!(come.gather(&mut receiver, 8).unwrap(), [0; 0]);
    }

    #[test]
    fn no_more_than_asked_for_come_at_once_and_a_closed_channel_is_no_end() {
        let (mut sender, mut receiver) = queue(TEST, 8);
        let mut window = Window::of_items(Stage::Files, 8);
        let mut come = Come { count: 0, count_in_all: None };
        (0..5).for_each(|seq| sender.send(item(&mut window, seq, Ok(seq as u32))).unwrap());
        drop(sender);
        assert_eq!(come.gather(&mut receiver, 3).unwrap().len(), 3);
        assert_eq!(come.gather(&mut receiver, 3).unwrap().len(), 2);
        assert!(matches!(come.gather(&mut receiver, 3), Err(Stop::Closed)));
    }

    #[test]
    fn a_failure_that_travels_as_an_item_ends_it() {
        let (mut sender, mut receiver) = queue(TEST, 8);
        let failure = Failure { stage: Stage::List, seq: Some(0), cause: Cause::NoMemory { bytes: 1 } };
        sender.send(item(&mut Window::of_items(Stage::Files, 8), 0, Err(failure))).unwrap();
        let gathered = Come { count: 0, count_in_all: None }.gather(&mut receiver, 3);
        assert!(matches!(gathered, Err(Stop::Failed(Failure { stage: Stage::List, .. }))));
    }
}
