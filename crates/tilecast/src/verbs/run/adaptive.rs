//! Tiles by how much memory is free: the larger the better, as long as what they take is free.

use tilecast_tile::{ChosenTiles, Size, available_memory_bytes};

use crate::recipe::FreeMemory;
use crate::tiles::Tiler;
use crate::{Failure, FailureKind};

/// Free memory above which tiles are of a size, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeMemoryLevels {
    /// Images run whole.
    pub whole: u64,
    /// Tiles of 512 px.
    pub side_512: u64,
    /// Tiles of 256 px; below, the smallest that leave something between their halos.
    pub side_256: u64,
}

impl Default for FreeMemoryLevels {
    /// 2 GiB, 512 MiB and 200 MiB: those of a recipe that says nothing.
    fn default() -> Self {
        FreeMemory::default().into()
    }
}

impl From<FreeMemory> for FreeMemoryLevels {
    fn from(levels: FreeMemory) -> Self {
        Self {
            whole: levels.whole.bytes(),
            side_512: levels.side_512.bytes(),
            side_256: levels.side_256.bytes(),
        }
    }
}

/// What is taken as free where the system does not tell: enough for the tiles that most networks run best in.
const ASSUMED_FREE_BYTES: u64 = 1 << 30;

/// Memory that is free now, bytes.
pub(super) fn free_bytes() -> u64 {
    available_memory_bytes().unwrap_or(ASSUMED_FREE_BYTES)
}

/// Tiles, and why.
pub(super) struct Adapted {
    pub(super) chosen: ChosenTiles,
    pub(super) decisions: Vec<String>,
}

/// Chooses tiles for an image with so much memory free; `predict` says what the tiles of a plan take.
///
/// # Errors
/// The image cannot be cut, or not even the smallest tiles fit.
pub(super) fn choose(
    tiler: &Tiler<'_>,
    levels: FreeMemoryLevels,
    free_bytes: u64,
    image_px: Size,
    predict: &dyn Fn(tilecast_tile::TilePlan) -> ChosenTiles,
) -> Result<Adapted, Failure> {
    let smallest = tiler.smallest_side();
    let sides = [
        (levels.whole, None),
        (levels.side_512, Some(512)),
        (levels.side_256, Some(256)),
        (0, Some(smallest)),
    ];
    let mut decisions = Vec::new();
    let mut least_bytes = u64::MAX;
    for (level, side) in sides {
        if free_bytes <= level {
            continue;
        }
        // A side below the smallest would have no room between its halos.
        let side = side.map(|side| side.max(smallest));
        let chosen = predict(tiler.plan(image_px, side)?);
        let tiles = match side {
            None => "the whole image".to_owned(),
            Some(side) => format!("tiles of {side} px"),
        };
        if chosen.peak_bytes <= free_bytes {
            let reason = match level {
                0 => String::new(),
                _ => format!(", more than {}", megabytes(level)),
            };
            let what = match chosen.plan.n_tiles() {
                1 => "the whole image".to_owned(),
                _ => tiles,
            };
            decisions.push(format!(
                "{} of memory are free{reason}: {what}",
                megabytes(free_bytes)
            ));
            return Ok(Adapted { chosen, decisions });
        }
        least_bytes = least_bytes.min(chosen.peak_bytes);
        decisions.push(format!(
            "{tiles} would take {} of the {} that are free",
            megabytes(chosen.peak_bytes),
            megabytes(free_bytes)
        ));
    }
    Err(Failure::new(
        FailureKind::Usage,
        format!(
            "{} of memory are free, and not even tiles of {smallest} px fit: they take {}",
            megabytes(free_bytes),
            megabytes(least_bytes)
        ),
    )
    .with_help("close other programs, or give --tile or --memory to run all the same"))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}
