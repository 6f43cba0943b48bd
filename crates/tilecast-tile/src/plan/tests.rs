//! The placement rules, as tables and as properties.

use proptest::prelude::*;

use super::*;

fn request(
    height: usize,
    width: usize,
    tile_px: usize,
    halo_px: usize,
    alignment_px: usize,
) -> TileRequest {
    TileRequest {
        image_px: Size { height, width },
        tile_px: Some(tile_px),
        halo_px: Some(halo_px),
        alignment_px,
        scale: 1,
        fill: Fill::Zero,
        unaligned: UnalignedSizes::Accepted,
    }
}

fn columns(plan: &TilePlan) -> Vec<(Range<usize>, Range<usize>)> {
    let one_row = (0..plan.columns.n).map(|index| plan.tile(index));
    one_row
        .map(|t| (t.input.left..t.input.right(), t.core.left..t.core.right()))
        .collect()
}

#[test]
fn axes_are_cut_as_the_rules_say() {
    struct Case {
        name: &'static str,
        width: usize,
        tile: usize,
        halo: usize,
        alignment: usize,
        /// Input and core of each column.
        expected: &'static [(Range<usize>, Range<usize>)],
    }
    let cases = [
        Case {
            name: "fits",
            width: 64,
            tile: 64,
            halo: 16,
            alignment: 16,
            expected: &[(0..64, 0..64)],
        },
        Case {
            name: "fits once the tile is rounded down, and is not padded",
            width: 63,
            tile: 79,
            halo: 16,
            alignment: 16,
            expected: &[(0..63, 0..63)],
        },
        Case {
            name: "fits, although the tile could not be cut",
            width: 64,
            tile: 64,
            halo: 64,
            alignment: 16,
            expected: &[(0..64, 0..64)],
        },
        Case {
            name: "the last tile needs no sliding",
            width: 96,
            tile: 64,
            halo: 16,
            alignment: 16,
            expected: &[(0..64, 0..48), (32..96, 48..96)],
        },
        Case {
            name: "the last tile is slid back and keeps only what is left",
            width: 100,
            tile: 64,
            halo: 16,
            alignment: 4,
            expected: &[(0..64, 0..48), (32..96, 48..80), (36..100, 80..100)],
        },
        Case {
            name: "padded to the alignment, cropped in the core",
            width: 101,
            tile: 67,
            halo: 16,
            alignment: 4,
            expected: &[(0..64, 0..48), (32..96, 48..80), (40..104, 80..101)],
        },
        Case {
            name: "no halo",
            width: 10,
            tile: 4,
            halo: 0,
            alignment: 1,
            expected: &[(0..4, 0..4), (4..8, 4..8), (6..10, 8..10)],
        },
    ];
    for Case {
        name,
        width,
        tile,
        halo,
        alignment,
        expected,
    } in cases
    {
        let plan = TilePlan::new(&request(1, width, tile, halo, alignment)).expect(name);
        assert_eq!(columns(&plan), expected, "{name}");
    }
}

#[test]
fn the_plan_tells_the_actual_tile_and_core() {
    let plan = TilePlan::new(&request(100, 1000, 70, 16, 16)).unwrap();
    assert_eq!((plan.tile_px(), plan.core_px()), (64, 32));
    assert_eq!(
        plan.tile_size(),
        Size {
            height: 64,
            width: 64
        }
    );
    assert_eq!(
        plan.padded_px(),
        Size {
            height: 112,
            width: 1008
        }
    );
    assert_eq!(plan.n_tiles(), 3 * 31);
    assert_eq!(plan.tiles().len(), plan.n_tiles());

    let strip = TilePlan::new(&request(40, 1000, 70, 16, 16)).unwrap();
    assert_eq!(
        strip.tile_size(),
        Size {
            height: 48,
            width: 64
        }
    );
    assert_eq!((strip.tile_px(), strip.core_px()), (64, 32));

    let whole = TilePlan::new(&TileRequest {
        tile_px: None,
        halo_px: None,
        ..request(40, 100, 1, 0, 16)
    })
    .unwrap();
    assert_eq!(
        (whole.tile_px(), whole.core_px(), whole.n_tiles()),
        (100, 100, 1)
    );
    let padded = TileRequest {
        unaligned: UnalignedSizes::Refused,
        ..*whole.request()
    };
    assert_eq!(
        TilePlan::new(&padded).unwrap().tile_size(),
        Size {
            height: 48,
            width: 112
        }
    );
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let base = request(100, 1000, 64, 16, 16);
    let unbounded = TileRequest {
        halo_px: None,
        ..base
    };
    let cases = [
        (
            TileRequest {
                image_px: Size {
                    height: 0,
                    width: 9,
                },
                ..base
            },
            "the image height is 0",
        ),
        (
            TileRequest {
                tile_px: Some(0),
                ..base
            },
            "the tile side is 0",
        ),
        (
            TileRequest {
                alignment_px: 0,
                ..base
            },
            "the alignment is 0",
        ),
        (TileRequest { scale: 0, ..base }, "the scale is 0"),
        (
            TileRequest {
                halo_px: Some(17),
                ..base
            },
            "17 px is no multiple of the alignment of 16 px",
        ),
        (
            TileRequest {
                tile_px: Some(47),
                ..base
            },
            "47 px is too small for a halo of 16 px",
        ),
        (
            TileRequest {
                tile_px: Some(47),
                ..base
            },
            "the minimum is 48 px",
        ),
        (
            TileRequest {
                tile_px: Some(15),
                halo_px: Some(0),
                ..base
            },
            "the minimum is 16 px",
        ),
        (
            TileRequest {
                halo_px: Some(usize::MAX - 15),
                ..base
            },
            "too small",
        ),
        (
            unbounded,
            "an image of 1000x100 px cannot be cut into tiles of 64 px",
        ),
        (
            TileRequest {
                scale: usize::MAX / 2,
                ..base
            },
            "larger than memory can address",
        ),
        (
            TileRequest {
                image_px: Size {
                    height: usize::MAX,
                    width: 1,
                },
                ..base
            },
            "larger than memory can address",
        ),
    ];
    for (request, message) in cases {
        let error = TilePlan::new(&request).expect_err(message).to_string();
        assert!(
            error.contains(message),
            "`{error}` does not say `{message}`"
        );
    }
    assert!(
        TilePlan::new(&TileRequest {
            tile_px: Some(48),
            ..base
        })
        .is_ok(),
        "the named minimum works"
    );
    assert!(
        TilePlan::new(&TileRequest {
            tile_px: Some(1008),
            ..unbounded
        })
        .is_ok(),
        "one tile needs no halo"
    );
}

#[test]
fn a_huge_image_costs_no_more_than_a_small_one() {
    let side = 1 << 24;
    let plan = TilePlan::new(&request(side, side, 64, 16, 16)).unwrap();
    let last = plan.tile(plan.n_tiles() - 1);
    assert_eq!((last.core.bottom(), last.core.right()), (side, side));
}

/// Requests that can be met: small enough that every pixel can be counted.
fn any_request() -> impl Strategy<Value = TileRequest> {
    let alignment = prop_oneof![Just(1usize), Just(2), Just(3), Just(8), 1..12usize];
    (
        alignment,
        1..90usize,
        1..90usize,
        0..4usize,
        1..6usize,
        0..11usize,
        any::<bool>(),
    )
        .prop_map(
            |(alignment_px, height, width, halo_periods, core_periods, extra, accepts)| {
                TileRequest {
                    image_px: Size { height, width },
                    tile_px: Some(
                        (2 * halo_periods + core_periods) * alignment_px + extra % alignment_px,
                    ),
                    halo_px: Some(halo_periods * alignment_px),
                    alignment_px,
                    scale: 1,
                    fill: Fill::Zero,
                    unaligned: if accepts {
                        UnalignedSizes::Accepted
                    } else {
                        UnalignedSizes::Refused
                    },
                }
            },
        )
}

#[test]
fn a_core_is_not_narrower_than_the_band_between_tiles() {
    let plan = TilePlan::new(&request(200, 200, 64, 16, 8)).unwrap();
    assert!(plan.with_ramp(32).is_ok());
    let error = plan.with_ramp(40).unwrap_err().to_string();
    assert!(error.contains("the minimum is 72 px"), "{error}");
}

proptest! {
    #[test]
    fn cores_partition_the_image(request in any_request()) {
        let plan = TilePlan::new(&request).unwrap();
        let Size { height, width } = request.image_px;
        let mut covered = vec![0u8; height * width];
        for tile in plan.tiles() {
            prop_assert!(tile.core.height > 0 && tile.core.width > 0);
            for y in tile.core.top..tile.core.bottom() {
                for x in tile.core.left..tile.core.right() {
                    covered[y * width + x] += 1;
                }
            }
        }
        prop_assert!(covered.iter().all(|n| *n == 1));
    }

    #[test]
    fn kept_pixels_have_their_halo_or_the_border(request in any_request()) {
        let plan = TilePlan::new(&request).unwrap();
        let halo = request.halo_px.unwrap();
        let padded = plan.padded_px();
        for Tile { input, core } in plan.tiles() {
            prop_assert!(input.top <= core.top && core.bottom() <= input.bottom());
            prop_assert!(input.left <= core.left && core.right() <= input.right());
            prop_assert!(core.top - input.top >= halo || input.top == 0);
            prop_assert!(core.left - input.left >= halo || input.left == 0);
            prop_assert!(input.bottom() - core.bottom() >= halo || input.bottom() == padded.height);
            prop_assert!(input.right() - core.right() >= halo || input.right() == padded.width);
        }
    }

    #[test]
    fn tiles_stay_on_the_grid_inside_the_padded_image(request in any_request()) {
        let plan = TilePlan::new(&request).unwrap();
        let (padded, side) = (plan.padded_px(), request.tile_px.unwrap());
        let alignment = request.alignment_px;
        let fed_as_it_is = plan.n_tiles() == 1 && request.unaligned == UnalignedSizes::Accepted;
        for Tile { input, .. } in plan.tiles() {
            prop_assert_eq!((input.height, input.width), (plan.tile_size().height, plan.tile_size().width));
            prop_assert!(input.bottom() <= padded.height && input.right() <= padded.width);
            prop_assert!(input.height.max(input.width) <= side);
            prop_assert!(input.top % alignment == 0 && input.left % alignment == 0);
            prop_assert!(fed_as_it_is || (input.height % alignment == 0 && input.width % alignment == 0));
        }
        prop_assert!(padded.height - request.image_px.height < alignment);
        prop_assert!(padded.width - request.image_px.width < alignment);
        if fed_as_it_is {
            prop_assert_eq!(padded, request.image_px);
        }
    }

    #[test]
    fn shares_of_tiles_that_fade_into_each_other_add_up_to_one(request in any_request(), half_px in 1_usize..9) {
        let plan = TilePlan::new(&request).unwrap();
        let half_px = half_px.min(request.halo_px.unwrap());
        let Ok(plan) = plan.with_ramp(2 * half_px) else {
            return Ok(());
        };
        let scale = request.scale;
        let mut shares = vec![0.0_f32; plan.output_px().width];
        for column in 0..plan.n_columns() {
            let given = plan.columns_given(column);
            let input = plan.tile(column).input;
            prop_assert!(input.left <= given.start && given.end <= input.right());
            for position in 0..given.len() * scale {
                let share = plan.column_weight(column, position);
                prop_assert!((0.0..=1.0).contains(&share));
                shares[given.start * scale + position] += share;
            }
        }
        prop_assert!(shares.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{:?}", shares);
        let mut complete = 0;
        for row in 0..plan.n_tile_rows() {
            prop_assert!(plan.rows_given(row).start == complete);
            complete = plan.rows_complete(row);
        }
        prop_assert_eq!(complete, request.image_px.height);
    }

    #[test]
    fn the_number_of_tiles_is_the_least_that_cover(request in any_request()) {
        let plan = TilePlan::new(&request).unwrap();
        let (alignment, halo) = (request.alignment_px, request.halo_px.unwrap());
        let tile = request.tile_px.unwrap() / alignment * alignment;
        let per_axis = |image_px: usize| match image_px.next_multiple_of(alignment) {
            length if length <= tile => 1,
            length => (length - 2 * halo).div_ceil(tile - 2 * halo),
        };
        let Size { height, width } = request.image_px;
        prop_assert_eq!(plan.n_tiles(), per_axis(height) * per_axis(width));
    }

    #[test]
    fn the_smallest_tile_is_the_least_of_which_as_many_cover(request in any_request()) {
        let plan = TilePlan::new(&request).unwrap();
        prop_assume!(plan.n_tiles() > 1);
        let smallest = plan.smallest_tile();
        let again = TilePlan::with_tile_size(&request, Some(smallest)).unwrap();
        prop_assert_eq!(again.tile_size(), smallest);
        let counts = |plan: &TilePlan| (plan.n_tile_rows(), plan.n_columns());
        prop_assert_eq!(counts(&again), counts(&plan));
        for (height, width) in [(request.alignment_px, 0), (0, request.alignment_px)] {
            let shorter = Size {
                height: smallest.height - height,
                width: smallest.width - width,
            };
            // Nothing that is left is as good as an axis that is cut into more.
            if let Ok(plan) = TilePlan::with_tile_size(&request, Some(shorter)) {
                prop_assert!(plan.n_tiles() > again.n_tiles());
            }
        }
    }
}

#[test]
fn tiles_of_fixed_size_are_never_smaller() {
    let tile = Size {
        height: 64,
        width: 96,
    };
    let fixed = |height, width| {
        TilePlan::with_fixed_size(&request(height, width, 1, 16, 16), tile).unwrap()
    };
    // An image that is smaller is padded to the tile, one that is longer on one side is cut there.
    for ((height, width), n_tiles, padded) in [
        ((64, 96), 1, (64, 96)),
        ((17, 90), 1, (64, 96)),
        ((40, 97), 2, (64, 112)),
        ((65, 96), 2, (80, 96)),
        ((200, 300), 6 * 5, (208, 304)),
    ] {
        let plan = fixed(height, width);
        assert_eq!((plan.tile_size(), plan.n_tiles()), (tile, n_tiles));
        let found = plan.padded_px();
        assert_eq!((found.height, found.width), padded);
        let covered: usize = plan.tiles().map(|t| t.core.height * t.core.width).sum();
        assert_eq!(covered, height * width);
    }
    let misaligned = Size {
        height: 64,
        width: 90,
    };
    let error = TilePlan::with_fixed_size(&request(64, 64, 1, 16, 16), misaligned).unwrap_err();
    assert!(matches!(error, PlanError::MisalignedTile { .. }), "{error}");
    // No room between the halos.
    let small = Size {
        height: 32,
        width: 96,
    };
    let error = TilePlan::with_fixed_size(&request(64, 64, 1, 16, 16), small).unwrap_err();
    assert!(matches!(error, PlanError::TileTooSmall { .. }), "{error}");
}
