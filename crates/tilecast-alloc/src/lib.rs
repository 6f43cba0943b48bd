//! The allocator of the tilecast programs.
//!
//! An inference run frees and allocates tensors of a few megabytes all the time. An allocator that gives them back to the system
//! at once makes the system clear every page again (two thirds of the time of a run in tiles of 256 px); one that keeps them
//! has a peak that depends on what was freed when, half as much again as the live tensors, so that no prediction
//! of it holds. This one keeps freed pages, but never so many that those in use and those kept together exceed what was in
//! use at some moment: the peak of the process is that of the live tensors.
//!
//! Blocks below [`LARGE_BYTES`] are left to mimalloc.
//!
//! Programs install [`Allocator`]; libraries only ask [`usage`], which shows nothing where it is not installed.

mod large;
mod pages;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mimalloc::MiMalloc;

use large::{LargeBlocks, block_bytes};

pub use large::{LARGE_BYTES, LargeUsage};

/// Large blocks in use and kept, of this process.
static LARGE: Mutex<LargeBlocks> = Mutex::new(LargeBlocks::new());

fn large() -> MutexGuard<'static, LargeBlocks> {
    // Nothing panics while it is held.
    LARGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What large blocks take. All zero where [`Allocator`] is not installed.
#[must_use]
pub fn usage() -> LargeUsage {
    large().usage()
}

/// Gives kept blocks back to the system and lets the peak begin anew at what is in use.
pub fn begin_peak() {
    let mut released = [None; large::MOST_KEPT];
    {
        let mut blocks = large();
        let mut n = 0;
        while let Some(block) = blocks.release_oldest() {
            released[n] = Some(block);
            n += 1;
        }
        blocks.begin_peak();
    }
    for block in released.into_iter().flatten() {
        pages::unmap(block);
    }
}

/// The allocator; see the crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

#[expect(
    unsafe_code,
    reason = "an allocator hands out memory; mimalloc's own behaviour was measured to be unpredictable, see the crate"
)]
// SAFETY: blocks below the threshold are mimalloc's from birth to death, as `is_large` depends on the layout alone, which a caller
// must repeat. Large ones are pages of their own of `block_bytes(layout)` bytes, which also depends on the layout alone; pages
// are handed out by `take` only after `give` was told that they are free, and never twice. Pages are aligned to at
// least `pages::ALIGNMENT`, more is left to mimalloc. Nothing here panics.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller keeps the contract of the same function.
            return unsafe { MiMalloc.alloc(layout) };
        }
        match obtain(layout) {
            Obtained::Kept(address) | Obtained::Fresh(address) => address as *mut u8,
            Obtained::Nothing => std::ptr::null_mut(),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller keeps the contract of the same function.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        }
        match obtain(layout) {
            Obtained::Kept(address) => {
                let block = address as *mut u8;
                // SAFETY: the block has at least the bytes of the layout, and no one else has it.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // The system's pages are zero.
            Obtained::Fresh(address) => address as *mut u8,
            Obtained::Nothing => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_large(layout) {
            // SAFETY: the block came from mimalloc with this layout.
            return unsafe { MiMalloc.dealloc(block, layout) };
        }
        let released = large().give(block as usize, block_bytes(layout.size()));
        if let Some(released) = released {
            pages::unmap(released);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller makes sure that the new size makes a layout.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (is_large(layout), is_large(new)) {
            // SAFETY: the block came from mimalloc with this layout, and stays there.
            (false, false) => unsafe { MiMalloc.realloc(block, layout, new_size) },
            (true, true) if block_bytes(layout.size()) == block_bytes(new_size) => block,
            _ => {
                // SAFETY: the new layout is not empty, by the contract of this function.
                let moved = unsafe { self.alloc(new) };
                if !moved.is_null() {
                    let n = layout.size().min(new_size);
                    // SAFETY: both have `n` bytes, and they are different blocks; the old one came from here with its layout.
                    unsafe {
                        std::ptr::copy_nonoverlapping(block, moved, n);
                        self.dealloc(block, layout);
                    }
                }
                moved
            }
        }
    }
}

fn is_large(layout: Layout) -> bool {
    pages::ARE_AVAILABLE && layout.size() >= LARGE_BYTES && layout.align() <= pages::ALIGNMENT
}

/// A block, by its address, with what was in its pages.
enum Obtained {
    /// Anything.
    Kept(usize),
    /// Zero.
    Fresh(usize),
    /// The system has none.
    Nothing,
}

fn obtain(layout: Layout) -> Obtained {
    let bytes = block_bytes(layout.size());
    if let Some(address) = large().take(bytes) {
        return Obtained::Kept(address);
    }
    // One at a time, so that nothing is allocated here; the lock is not held while the system works.
    loop {
        let in_the_way = large().reserve(bytes);
        match in_the_way {
            Some(block) => pages::unmap(block),
            None => break,
        }
    }
    loop {
        if let Some(address) = pages::map(bytes) {
            return Obtained::Fresh(address);
        }
        let released = large().release_oldest();
        match released {
            Some(block) => pages::unmap(block),
            None => break,
        }
    }
    large().remove(bytes);
    Obtained::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    /// Threads that grow, shrink and free large vectors: what they wrote is what they read, and zeroed memory is zero.
    #[test]
    fn memory_is_nobody_elses() {
        std::thread::scope(|scope| {
            for seed in 1..=4u64 {
                scope.spawn(move || {
                    let mut state = seed;
                    let mut random = move || {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        (state >> 33) as usize
                    };
                    let mut held: Vec<Vec<u64>> = Vec::new();
                    for _ in 0..2000 {
                        match random() % 4 {
                            0 => held.push(vec![0; 20_000 + random() % 400_000]),
                            1 if !held.is_empty() => {
                                let vector = held.swap_remove(random() % held.len());
                                assert!(vector.iter().all(|v| *v == 0 || *v == seed));
                            }
                            2 if !held.is_empty() => {
                                let index = random() % held.len();
                                let vector = &mut held[index];
                                vector.extend(std::iter::repeat_n(seed, random() % 50_000));
                            }
                            _ if !held.is_empty() => {
                                let index = random() % held.len();
                                let vector = &mut held[index];
                                vector.truncate(vector.len() / 2);
                                vector.shrink_to_fit();
                                vector.fill(seed);
                            }
                            _ => {}
                        }
                        if held.len() > 12 {
                            held.clear();
                        }
                        let fresh = vec![0u64; 50_000];
                        assert!(fresh.iter().all(|v| *v == 0));
                    }
                });
            }
        });
        let usage = usage();
        assert!(usage.peak_bytes > 0);
        assert!(usage.live_bytes + usage.kept_bytes <= usage.peak_bytes);
        begin_peak();
        assert_eq!(super::usage().kept_bytes, 0);
    }

    #[test]
    fn what_no_system_has_is_an_error() {
        let mut vector = Vec::<u8>::new();
        assert!(vector.try_reserve_exact(isize::MAX as usize).is_err());
    }
}
