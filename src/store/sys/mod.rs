//! All system calls that std lacks, through rustix. The pipeline sees them as readers, writers and a wake-up.

mod attributes;
mod child;
mod descriptors;
mod directory;
mod files;
mod process;
mod rename;
mod terminal;
mod wait;

pub use attributes::{
    ACCESS_ACL, access_acl_at, attribute, copied_names, copy_mode_and_times, remove_access_acl, set_attribute,
    set_owner,
};
pub use child::{ask_to_end, wait_for_end};
pub use descriptors::{
    is_descriptor_open, keep_from_commands, memory_file, open_descriptor, stdin_for_command, take_memory_file,
};
pub use directory::{Directory, NoReplace};
pub use files::{
    advise_sequential, create_private, data_from, forget_cached, identity, is_appending, is_memory_device, lock,
    may_wait, open_device, open_to_read, open_to_write, reopen_to_read, start_writing_back, stderr, stdin, stdout,
    stdout_for_data,
};
pub use process::{
    available_memory_bytes, be_nice, cpu_name, fill_random, forbid_core_dumps, ignored_signals, memory_limit_bytes,
    peak_memory_bytes, raise_descriptor_limit, random_u64, umask,
};
pub use terminal::{Echo, Terminal, stderr_columns};
pub use wait::{FifoWriter, PatientReader, PatientWriter, WakeUp};
