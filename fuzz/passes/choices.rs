//! Bytes as a sequence of choices.

/// Choices of the longest input that [`random_choices`] makes.
const MAX_RANDOM: usize = 160;

/// Bytes that stand for one of the graphs of a seed (the finalizer of `SplitMix64`: Steele, Lea, Flood, 2014).
pub(crate) fn random_choices(seed: u64, index: u64) -> Vec<u8> {
    let byte = |at: usize| {
        let mut z = (seed << 48) ^ (index << 16) ^ at as u64;
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    let n = 8 + usize::from(byte(MAX_RANDOM)) * (MAX_RANDOM - 8) / 255;
    (0..n).map(byte).collect()
}

/// Choices in the order of the bytes. Behind the last byte every choice is the first one, so that short inputs are small
/// graphs, and an input that is cut still stands for one.
#[derive(Debug)]
pub(super) struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Choices<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all bytes are used up.
    pub(super) fn ended(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// A number below `n`, which is at most 256.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    /// True for one of `n` values of a byte; never behind the last byte.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
