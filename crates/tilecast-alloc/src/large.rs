//! Which large blocks are kept: numbers only, so that it is safe code and can be tested.

/// Blocks of this many bytes and more count as large.
pub const LARGE_BYTES: usize = 256 << 10;

/// Most blocks that are kept, so that looking for one is quick; what exceeds it is given back.
pub(crate) const MOST_KEPT: usize = 64;

/// What large blocks take, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LargeUsage {
    /// In use.
    pub live_bytes: usize,
    /// The most that was in use at a time since [`crate::begin_peak`].
    pub peak_bytes: usize,
    /// Kept for reuse.
    pub kept_bytes: usize,
}

/// Pages that were mapped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) address: usize,
    pub(crate) bytes: usize,
}

/// Bytes of the block for this many: whole steps of 64 KiB, larger for large blocks but at most a 32nd of them, so that few odd pieces are left.
pub(crate) fn block_bytes(size: usize) -> usize {
    let step = (size.max(1).next_power_of_two() >> 6).max(64 << 10);
    size.checked_next_multiple_of(step).unwrap_or(size)
}

/// Large blocks in use, by their sum, and those that are kept, one by one, the oldest first.
#[derive(Debug)]
pub(crate) struct LargeBlocks {
    kept: [Block; MOST_KEPT],
    n_kept: usize,
    usage: LargeUsage,
}

impl LargeBlocks {
    pub(crate) const fn new() -> Self {
        let none = Block {
            address: 0,
            bytes: 0,
        };
        Self {
            kept: [none; MOST_KEPT],
            n_kept: 0,
            usage: LargeUsage {
                live_bytes: 0,
                peak_bytes: 0,
                kept_bytes: 0,
            },
        }
    }

    pub(crate) fn usage(&self) -> LargeUsage {
        self.usage
    }

    /// The peak is what is in use.
    pub(crate) fn begin_peak(&mut self) {
        self.usage.peak_bytes = self.usage.live_bytes;
    }

    /// Puts pages of a kept block to use, of the smallest that has so many; what it has beyond stays kept.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<usize> {
        let fitting = self.kept[..self.n_kept].iter_mut();
        let (index, block) = fitting
            .enumerate()
            .filter(|(_, block)| block.bytes >= bytes)
            .min_by_key(|(_, block)| block.bytes)?;
        let address = block.address;
        if block.bytes == bytes {
            self.forget(index);
        } else {
            block.address += bytes;
            block.bytes -= bytes;
            self.usage.kept_bytes -= bytes;
        }
        self.add(bytes);
        Some(address)
    }

    /// Counts `bytes` more as in use, which may then be mapped; or else gives a kept block that must go first, because the peak
    /// would rise above that of the blocks in use.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Option<Block> {
        let live = self.usage.live_bytes.saturating_add(bytes);
        let allowed = self.usage.peak_bytes.max(live);
        let excess = live
            .saturating_add(self.usage.kept_bytes)
            .saturating_sub(allowed);
        if self.n_kept > 0 && excess > 0 {
            return Some(self.release_of_oldest(excess));
        }
        self.add(bytes);
        None
    }

    /// `bytes` more are in use.
    fn add(&mut self, bytes: usize) {
        self.usage.live_bytes = self.usage.live_bytes.saturating_add(bytes);
        self.usage.peak_bytes = self.usage.peak_bytes.max(self.usage.live_bytes);
    }

    /// `bytes` fewer are in use.
    pub(crate) fn remove(&mut self, bytes: usize) {
        self.usage.live_bytes = self.usage.live_bytes.saturating_sub(bytes);
    }

    /// Keeps a block that was in use, as one with those beside it. The result is a block to be given back, where there are too
    /// many.
    pub(crate) fn give(&mut self, address: usize, bytes: usize) -> Option<Block> {
        self.remove(bytes);
        let mut block = Block { address, bytes };
        let mut index = 0;
        while index < self.n_kept {
            let other = self.kept[index];
            if other.address + other.bytes == block.address
                || block.address + block.bytes == other.address
            {
                self.forget(index);
                block.address = block.address.min(other.address);
                block.bytes += other.bytes;
            } else {
                index += 1;
            }
        }
        let released = if self.n_kept == MOST_KEPT {
            self.release_oldest()
        } else {
            None
        };
        self.kept[self.n_kept] = block;
        self.n_kept += 1;
        self.usage.kept_bytes += block.bytes;
        released
    }

    /// So many bytes of the block that was kept longest, or all of it where it is smaller, to be given back.
    fn release_of_oldest(&mut self, bytes: usize) -> Block {
        let oldest = &mut self.kept[0];
        if oldest.bytes <= bytes {
            return self.forget(0);
        }
        oldest.bytes -= bytes;
        self.usage.kept_bytes -= bytes;
        Block {
            address: oldest.address + oldest.bytes,
            bytes,
        }
    }

    /// The block that was kept longest, to be given back.
    pub(crate) fn release_oldest(&mut self) -> Option<Block> {
        (self.n_kept > 0).then(|| self.forget(0))
    }

    fn forget(&mut self, index: usize) -> Block {
        let block = self.kept[index];
        self.kept.copy_within(index + 1..self.n_kept, index);
        self.n_kept -= 1;
        self.usage.kept_bytes = self.usage.kept_bytes.saturating_sub(block.bytes);
        block
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_grow_by_a_32nd_at_most() {
        for size in [
            LARGE_BYTES,
            300_000,
            1 << 20,
            (1 << 20) + 1,
            12_345_678,
            1 << 33,
        ] {
            let bytes = block_bytes(size);
            assert!(bytes >= size && bytes.is_multiple_of(64 << 10), "{size}");
            assert!(bytes - size <= (size / 32).max(64 << 10), "{size}: {bytes}");
            assert_eq!(block_bytes(bytes), bytes, "{size}");
        }
        assert_eq!(block_bytes(usize::MAX), usize::MAX);
    }

    /// The pages of a block, 64 KiB each.
    fn pages(block: Block) -> Range<usize> {
        let first = block.address >> 16;
        first..first + (block.bytes >> 16)
    }

    proptest! {
        /// Any order of allocations and frees: no page is handed out twice or lost, and what is mapped never exceeds what was in
        /// use at some moment.
        #[test]
        fn kept_blocks_never_raise_the_peak(
            // More kept blocks than there is room for need many that are not neighbours.
            gap in prop_oneof![Just(0), Just(1)],
            steps in prop::collection::vec((0usize..5, 0usize..90), 1..900),
        ) {
            let mut blocks = LargeBlocks::new();
            let (mut mapped, mut in_use) = (BTreeSet::<usize>::new(), BTreeSet::<usize>::new());
            let mut live = Vec::<Block>::new();
            let (mut peak, mut next) = (0, 1);
            let unmap = |mapped: &mut BTreeSet<usize>, block: Block| {
                for page in pages(block) {
                    assert!(mapped.remove(&page), "{block:?} was not mapped");
                }
            };
            for (action, choice) in steps {
                if action < 3 {
                    let bytes = (choice % 12 + 1) << 16;
                    let address = blocks.take(bytes).unwrap_or_else(|| {
                        while let Some(block) = blocks.reserve(bytes) {
                            unmap(&mut mapped, block);
                        }
                        let address = next << 16;
                        next += (bytes >> 16) + gap;
                        mapped.extend(pages(Block { address, bytes }));
                        address
                    });
                    let block = Block { address, bytes };
                    for page in pages(block) {
                        prop_assert!(mapped.contains(&page) && in_use.insert(page));
                    }
                    live.push(block);
                } else if !live.is_empty() {
                    let block = live.swap_remove(choice % live.len());
                    for page in pages(block) {
                        in_use.remove(&page);
                    }
                    if let Some(block) = blocks.give(block.address, block.bytes) {
                        unmap(&mut mapped, block);
                    }
                }
                peak = peak.max(in_use.len());
                prop_assert!(in_use.is_subset(&mapped));
                prop_assert!(mapped.len() <= peak);
                let expected = LargeUsage {
                    live_bytes: in_use.len() << 16,
                    peak_bytes: peak << 16,
                    kept_bytes: (mapped.len() - in_use.len()) << 16,
                };
                prop_assert_eq!(blocks.usage(), expected);
            }
        }
    }
}
