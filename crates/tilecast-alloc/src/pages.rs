//! Pages of the system. By address: what they hold is the allocator's business.

use crate::large::Block;

#[cfg(unix)]
mod system {
    use super::Block;

    /// Whether there is a way to ask for pages; otherwise there are no large blocks.
    pub(crate) const ARE_AVAILABLE: bool = true;

    /// Every page is aligned to this.
    pub(crate) const ALIGNMENT: usize = 4096;

    /// Pages of zeros; `None` where the system has none.
    #[expect(unsafe_code, reason = "there is no other way to the system's pages")]
    pub(crate) fn map(bytes: usize) -> Option<usize> {
        // SAFETY: a private mapping of no file, at an address that the system chooses, touches no memory of anyone.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return None;
        }
        ask_for_huge(address, bytes);
        Some(address as usize)
    }

    /// Asks for pages of 2 MiB: clearing one of those costs a fraction of clearing 512 small ones, and tensors have their size.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "there is no other way to ask for it")]
    fn ask_for_huge(address: *mut libc::c_void, bytes: usize) {
        if bytes >= 2 << 20 {
            // SAFETY: advice about a mapping that was just made; the system may leave it.
            unsafe {
                libc::madvise(address, bytes, libc::MADV_HUGEPAGE);
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn ask_for_huge(_: *mut libc::c_void, _: usize) {}

    /// Gives pages back.
    #[expect(unsafe_code, reason = "there is no other way to the system's pages")]
    pub(crate) fn unmap(block: Block) {
        // SAFETY: a `Block` leaves the books only for this call, so its pages were mapped by `map` with these bytes, no one uses them and
        // no one can get them again. Should the system refuse, they stay mapped.
        unsafe {
            libc::munmap(block.address as *mut libc::c_void, block.bytes);
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::Block;

    /// Whether there is a way to ask for pages; otherwise there are no large blocks.
    pub(crate) const ARE_AVAILABLE: bool = false;

    /// Every page is aligned to this.
    pub(crate) const ALIGNMENT: usize = 1;

    /// Never called.
    pub(crate) fn map(_: usize) -> Option<usize> {
        None
    }

    /// Never called.
    pub(crate) fn unmap(_: Block) {}
}

pub(crate) use system::{ALIGNMENT, ARE_AVAILABLE, map, unmap};
