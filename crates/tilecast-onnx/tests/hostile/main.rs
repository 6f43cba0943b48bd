//! Hostile models: every one ends in an error that names the place, in bounded time, stack and memory.
//!
//! The allocator of this binary counts, so that a claim in a file cannot cost memory unseen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod allocator;
mod damaged;
mod memory;
mod mutations;
mod nesting;
