//! How much memory this process has, as the system counts it.

use std::fs;

/// Memory of this process, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    /// In memory now.
    pub resident_bytes: u64,
    /// The most that has been in memory at a time.
    pub peak_bytes: u64,
}

impl ProcessMemory {
    /// Asks the system; `None` where it has no way to tell that safe code can use, which is everywhere but on Linux.
    #[must_use]
    pub fn now() -> Option<Self> {
        parse_status(&fs::read_to_string("/proc/self/status").ok()?)
    }
}

/// Memory that programs can take without others having to give any back, bytes; `None` where the system does not tell.
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

fn parse_status(status: &str) -> Option<ProcessMemory> {
    Some(ProcessMemory {
        resident_bytes: kilobytes(status, "VmRSS:")?,
        peak_bytes: kilobytes(status, "VmHWM:")?,
    })
}

/// The value of a line such as `VmRSS:     1234 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_key() {
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t   20 kB\nVmRSS:\t   10 kB\n";
        let expected = ProcessMemory {
            resident_bytes: 10 << 10,
            peak_bytes: 20 << 10,
        };
        assert_eq!(parse_status(status), Some(expected));
        assert_eq!(parse_status("Name:\tx\n"), None);
        assert_eq!(kilobytes("VmRSS: many kB", "VmRSS:"), None);
    }

    #[test]
    fn a_peak_is_no_less_than_what_is_in_memory() {
        if let Some(memory) = ProcessMemory::now() {
            assert!(memory.resident_bytes <= memory.peak_bytes);
        }
    }
}
