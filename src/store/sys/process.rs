//! This process and its machine: signals, limits, priority, memory, random bytes.

use std::io;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

/// The nice value of the lowest priority.
const LOWEST_PRIORITY: i32 = 19;

/// Signals that this process inherited as ignored, as `nohup` does with SIGHUP: bit N - 1 for signal N.
pub fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The umask of this process. Call it before starting threads: reading the mask requires setting it.
pub fn umask() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// 64 random bits for unpredictable names.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Fills `bytes` with random bytes from the kernel.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled_len = 0;
    while filled_len < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled_len..], rustix::rand::GetRandomFlags::empty()) {
            Ok(len) => filled_len += len,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sets the lowest CPU priority.
pub fn be_nice() -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, LOWEST_PRIORITY)?)
}

/// Raises the descriptor limit to its maximum and returns it.
pub fn raise_descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    let most = match rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// Disables core dumps for the rest of the process, since it holds keys.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// Peak resident memory of this process in bytes, if the system reports it.
pub fn peak_memory_bytes() -> Option<u64> {
    kibibytes_in("/proc/self/status", "VmHWM:")
}

/// Memory available without swapping, in bytes, if the system reports it.
pub fn available_memory_bytes() -> Option<u64> {
    kibibytes_in("/proc/meminfo", "MemAvailable:")
}

/// Model name of the first CPU, if the system reports it.
pub fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// The lowest memory limit of this process's control groups and their parents, in bytes:
/// `memory.max` (version 2) or `memory.limit_in_bytes` (version 1).
pub fn memory_limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (controllers, path) = (fields.nth(1)?, fields.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // A container may not mount the path; its limit is then at the root.
        let folders = Path::new(path.trim_start_matches('/')).ancestors().map(|folder| Path::new(root).join(folder));
        folders.filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
    });
    limits.min()
}

fn kibibytes_in(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
