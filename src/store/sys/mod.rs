//! All system calls that std lacks, through rustix. The pipeline sees them as readers, writers and a wake-up.

mod child;
mod directory;
mod files;
mod process;
mod terminal;
mod wait;

pub use child::{ask_to_end, wait_for_end};
pub use directory::Directory;
pub use files::{
    advise_sequential, copy_mode_and_times, create_private, data_from, forget_cached, identity, is_appending,
    is_descriptor_open, is_memory_device, lock, may_wait, open_descriptor, open_device, open_to_read, open_to_write,
    reopen_to_read, start_writing_back, stderr, stdin, stdout, stdout_for_data,
};
pub use process::{
    available_memory_bytes, be_nice, cpu_name, fill_random, forbid_core_dumps, ignored_signals, memory_limit_bytes,
    peak_memory_bytes, raise_descriptor_limit, random_u64, umask,
};
pub use terminal::{Echo, Terminal, stderr_columns};
pub use wait::{FifoWriter, PatientReader, PatientWriter, WakeUp};
