//! A bounded channel between two stages that measures its depth at each arrival, how long items wait, and how long senders are blocked and
//! receivers idle.
//!
//! Each end keeps its own figures and returns them when it finishes; the ends share only the channel.

use std::time::Instant;

use super::metrics::{ChannelFigures, elapsed_ns};
use super::names::Channel;

/// An item and the time it was offered.
struct Envelope<T> {
    item: T,
    offered_at: Instant,
}

/// The other end is gone. Not an error by itself: the stage that left reports why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// The sending end.
pub struct QueueSender<T> {
    channel: async_channel::Sender<Envelope<T>>,
    figures: ChannelFigures,
}

/// The receiving end.
pub struct QueueReceiver<T> {
    channel: async_channel::Receiver<Envelope<T>>,
    figures: ChannelFigures,
}

/// A channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelReading {
    /// The channel.
    pub name: Channel,
    /// Items in it.
    pub depth: usize,
    /// Items it holds at most.
    pub capacity: usize,
}

/// A channel of `capacity` items, at least 1.
pub fn queue<T>(name: Channel, capacity: usize) -> (QueueSender<T>, QueueReceiver<T>) {
    let (sender, receiver) = async_channel::bounded(capacity);
    let figures = ChannelFigures::new(name, capacity);
    (QueueSender { channel: sender, figures: figures.clone() }, QueueReceiver { channel: receiver, figures })
}

impl<T> QueueSender<T> {
    /// Sends `item`; blocks while the channel is full.
    pub fn send(&mut self, item: T) -> Result<(), Closed> {
        let offered_at = Instant::now();
        self.figures.depth.saturating_record(self.channel.len() as u64);
        match self.channel.try_send(Envelope { item, offered_at }) {
            Ok(()) => Ok(()),
            Err(async_channel::TrySendError::Closed(_)) => Err(Closed),
            Err(async_channel::TrySendError::Full(envelope)) => {
                let sent = self.channel.send_blocking(envelope).map_err(|_| Closed);
                self.figures.blocked_ns += elapsed_ns(offered_at);
                sent
            }
        }
    }

    /// Another sender of the same channel, with figures of its own.
    pub fn another(&self) -> QueueSender<T> {
        QueueSender { channel: self.channel.clone(), figures: self.figures.blank() }
    }

    /// Time this end has been blocked.
    pub fn blocked_ns(&self) -> u64 {
        self.figures.blocked_ns
    }

    /// Leaves the channel and returns what this end measured.
    pub fn finish(self) -> ChannelFigures {
        self.figures
    }
}

impl<T> QueueReceiver<T> {
    /// Receives the next item; blocks while there is none. `Closed` only once the channel is empty and all senders have left.
    pub fn recv(&mut self) -> Result<T, Closed> {
        let envelope = match self.channel.try_recv() {
            Ok(envelope) => envelope,
            Err(async_channel::TryRecvError::Closed) => return Err(Closed),
            Err(async_channel::TryRecvError::Empty) => {
                let idle_since = Instant::now();
                let received = self.channel.recv_blocking().map_err(|_| Closed);
                self.figures.idle_ns += elapsed_ns(idle_since);
                received?
            }
        };
        self.figures.wait_ns.saturating_record(elapsed_ns(envelope.offered_at));
        Ok(envelope.item)
    }

    /// Receives the next item if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        let envelope = self.channel.try_recv().ok()?;
        self.figures.wait_ns.saturating_record(elapsed_ns(envelope.offered_at));
        Some(envelope.item)
    }

    /// Another receiver of the same channel, with figures of its own.
    pub fn another(&self) -> QueueReceiver<T> {
        QueueReceiver { channel: self.channel.clone(), figures: self.figures.blank() }
    }

    /// A gauge of the channel's depth. It is not an end and keeps none open. Items in a channel without ends are dropped with the gauge.
    pub fn gauge(&self) -> DepthGauge
    where
        T: Send + 'static,
    {
        let (channel, ChannelFigures { name, capacity, .. }) = (self.channel.downgrade(), &self.figures);
        let (name, capacity) = (*name, *capacity);
        let read = move || Some(ChannelReading { name, depth: channel.upgrade()?.len(), capacity });
        DepthGauge { read: Box::new(read) }
    }

    /// Time this end has been idle.
    pub fn idle_ns(&self) -> u64 {
        self.figures.idle_ns
    }

    /// Leaves the channel and returns what this end measured.
    pub fn finish(self) -> ChannelFigures {
        self.figures
    }
}

/// Shows how full a channel is.
pub struct DepthGauge {
    read: Box<dyn Fn() -> Option<ChannelReading> + Send>,
}

impl DepthGauge {
    /// The depth now; `None` once all receivers have left.
    pub fn read(&self) -> Option<ChannelReading> {
        (self.read)()
    }
}

impl std::fmt::Debug for DepthGauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.read().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::names::Stage;

    const TEST: Channel = Channel { from: Stage::Read, to: Stage::Write };

    #[test]
    fn depth_and_wait_are_counted_for_every_item() {
        let (mut sender, mut receiver) = queue(TEST, 4);
        (0..4).for_each(|item| sender.send(item).unwrap());
        assert_eq!((0..4).map(|_| receiver.recv().unwrap()).collect::<Vec<i32>>(), [0, 1, 2, 3]);
        let (sent, received) = (sender.finish(), receiver.finish());
        assert_eq!(sent.depth.iter_recorded().map(|v| v.value_iterated_to()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!((sent.depth.len(), received.wait_ns.len()), (4, 4));
    }

    #[test]
    fn what_was_sent_before_the_sender_left_still_arrives() {
        let (mut sender, mut receiver) = queue(TEST, 4);
        sender.send('x').unwrap();
        sender.finish();
        assert_eq!((receiver.recv(), receiver.recv()), (Ok('x'), Err(Closed)));
    }

    #[test]
    fn a_gauge_shows_the_depth_and_keeps_no_end_open() {
        let (mut sender, receiver) = queue(TEST, 2);
        let gauge = receiver.gauge();
        sender.send(1).unwrap();
        assert_eq!(gauge.read(), Some(ChannelReading { name: TEST, depth: 1, capacity: 2 }));
        receiver.finish();
        assert_eq!((sender.send(2), gauge.read()), (Err(Closed), None));
    }

    #[test]
    fn a_sender_learns_that_all_receivers_have_left() {
        let (mut sender, receiver) = queue(TEST, 1);
        let other = receiver.another();
        receiver.finish();
        assert_eq!(sender.send(1), Ok(()));
        other.finish();
        assert_eq!(sender.send(2), Err(Closed));
    }
}
