//! A sink that takes items in any order, as many at once as have arrived.
//!
//! What is the same for many of them, such as waiting for a disk, is then done once for all. While it is done, the next ones gather in the
//! channel: the slower it is, the more share it.

use super::error::Stop;
use super::gauges::BusyGauge;
use super::metrics::Figures;
use super::queue::QueueReceiver;
use super::shutdown::Cancel;
use super::stage::{Flow, Message, Meter, Outcome, outcome_of};

/// Runs the sink: calls `body` with what there is, at least one item and at most `count_max`, until all items have come or `body` wants no
/// more.
pub(super) fn run_gathering_sink<T>(
    gauge: BusyGauge,
    cancel: &Cancel,
    mut queue: QueueReceiver<Message<T>>,
    count_max: usize,
    mut body: impl FnMut(Vec<T>) -> Result<Flow, Stop>,
) -> (Outcome, Figures) {
    let name = gauge.stage();
    let mut meter = Meter::new(gauge, false);
    let mut come = Come { count: 0, count_in_all: None };
    let outcome = loop {
        if cancel.is_set() {
            break Outcome::Cancelled;
        }
        let items = match come.gather(&mut queue, count_max) {
            Ok(items) => items,
            Err(outcome) => break outcome,
        };
        if items.is_empty() {
            break Outcome::Done;
        }
        match meter.time(|| body(items)) {
            Ok(Flow::More) => {}
            Ok(Flow::End) => break Outcome::Done,
            Err(stop) => break outcome_of(name, None, stop),
        }
    };
    meter.figures.channels.push(queue.finish());
    (outcome, meter.finish())
}

/// Which items have come.
struct Come {
    count: u64,
    /// Said by the source, behind its last item; the word may come before some of them.
    count_in_all: Option<u64>,
}

impl Come {
    /// Waits for an item, and takes what else is there. Nothing once all have come.
    fn gather<T>(&mut self, queue: &mut QueueReceiver<Message<T>>, count_max: usize) -> Result<Vec<T>, Outcome> {
        let mut items = Vec::new();
        while items.len() < count_max && self.count_in_all != Some(self.count) {
            let message = match items.is_empty() {
                true => queue.recv().map_err(|_| Outcome::Closed)?,
                false => match queue.try_recv() {
                    Some(message) => message,
                    None => break,
                },
            };
            match message {
                Message::Item { item, .. } => {
                    self.count += 1;
                    items.push(item.map_err(Outcome::Failed)?);
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
    use crate::pipeline::error::{Cause, Failure};
    use crate::pipeline::queue::queue;
    use crate::pipeline::window::Window;

    fn item(window: &mut Window, seq: u64, item: Result<u32, Failure>) -> Message<u32> {
        Message::Item { seq, token: window.take(1).unwrap(), item }
    }

    #[test]
    fn items_come_in_any_order_and_the_word_of_the_end_may_overtake_them() {
        let (mut sender, mut receiver) = queue("test", 8);
        let mut window = Window::of_items("test", 8);
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
        let (mut sender, mut receiver) = queue("test", 8);
        let mut window = Window::of_items("test", 8);
        let mut come = Come { count: 0, count_in_all: None };
        (0..5).for_each(|seq| sender.send(item(&mut window, seq, Ok(seq as u32))).unwrap());
        drop(sender);
        assert_eq!(come.gather(&mut receiver, 3).unwrap().len(), 3);
        assert_eq!(come.gather(&mut receiver, 3).unwrap().len(), 2);
        assert!(matches!(come.gather(&mut receiver, 3), Err(Outcome::Closed)));
    }

    #[test]
    fn a_failure_that_travels_as_an_item_ends_it() {
        let (mut sender, mut receiver) = queue("test", 8);
        let failure = Failure { stage: "list", seq: Some(0), cause: Cause::NoMemory { bytes: 1 } };
        sender.send(item(&mut Window::of_items("test", 8), 0, Err(failure))).unwrap();
        let gathered = Come { count: 0, count_in_all: None }.gather(&mut receiver, 3);
        assert!(matches!(gathered, Err(Outcome::Failed(Failure { stage: "list", .. }))));
    }
}
