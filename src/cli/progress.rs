//! The progress bar: bytes, rate, time left, ratio.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{ProgressWhen, TalkArgs};
use super::problem::tell;
use crate::pipeline::metrics::Progress;

/// How often a line is printed where there is no terminal to draw a bar on.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What is shown while a run goes on.
pub enum Display {
    /// Nothing.
    Nothing,
    /// A bar on the terminal.
    Bar(ProgressBar),
    /// A line now and then.
    Lines {
        /// When the last one was printed.
        last: Instant,
    },
}

impl Display {
    /// What `talk` asks for.
    pub fn new(talk: &TalkArgs) -> Display {
        let is_terminal = std::io::stderr().is_terminal();
        match talk.progress {
            _ if talk.quiet => Display::Nothing,
            ProgressWhen::Never => Display::Nothing,
            ProgressWhen::Auto | ProgressWhen::Always if is_terminal => {
                Display::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)))
            }
            ProgressWhen::Always => Display::Lines { last: Instant::now() },
            ProgressWhen::Auto => Display::Nothing,
        }
    }

    /// A run begins that reads `input_bytes`, where that is known.
    pub fn start(&mut self, input_bytes: Option<u64>) {
        if let Display::Bar(bar) = self {
            let template = match input_bytes {
                Some(bytes) => {
                    bar.set_length(bytes);
                    "{wide_bar} {percent:>3} % {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left, {msg}"
                }
                None => "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}, {msg}",
            };
            bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
            bar.reset();
        }
    }

    /// Shows how far it has come.
    pub fn tick(&mut self, progress: &Progress) {
        let (read, written) = (progress.read_bytes(), progress.written_bytes());
        match self {
            Display::Nothing => {}
            Display::Bar(bar) => {
                bar.set_message(format!("out/in {:.3}", ratio(written, read)));
                bar.set_position(read);
                bar.tick();
            }
            Display::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let (read, written) = (super::report::bytes(read), super::report::bytes(written));
                tell(&format!("pipeline: read {read}, written {written}\n"));
            }
            Display::Lines { .. } => {}
        }
    }

    /// Says in one line how far it has come, wherever stderr leads: somebody asked.
    pub fn answer(&self, progress: &Progress, input_bytes: Option<u64>) {
        let (read, written) = (progress.read_bytes(), progress.written_bytes());
        let of_all = input_bytes.filter(|bytes| *bytes > 0).map_or_else(String::new, |bytes| {
            format!(" of {} ({:.0} %)", super::report::bytes(bytes), 100.0 * read as f64 / bytes as f64)
        });
        let line = format!(
            "pipeline: read {}{of_all}, written {}\n",
            super::report::bytes(read),
            super::report::bytes(written)
        );
        match self {
            Display::Bar(bar) => bar.suspend(|| tell(&line)),
            Display::Nothing | Display::Lines { .. } => tell(&line),
        }
    }

    /// Clears the line for whatever is said next.
    pub fn finish(&mut self) {
        if let Display::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn ratio(written: u64, read: u64) -> f64 {
    written as f64 / read.max(1) as f64
}
