//! Tiled runs against whole-image runs, on small engines whose halo, alignment and scale are known exactly.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tilecast_exec::{Engine, HostTensor, LoadError, Observer, RunError, Session, SessionOptions};
use tilecast_onnx::proto::{
    GraphFields, GraphProto, ModelFields, ModelProto, OperatorSetIdFields, ValueInfoFields,
    ValueInfoProto,
};
use tilecast_onnx::{Model, node};
use tilecast_tile::{
    BitDepth, Fill, PlanarImage, RunControl, RunTiledError, Size, TilePlan, TileRequest,
    TiledRunner, UnalignedSizes, ValueRange,
};

/// What a fake engine computes, whatever the model says.
#[derive(Clone, Copy, Debug)]
enum Network {
    /// The mean of the 3x3 neighbourhood with zeros around, this many times; halo: as many pixels.
    Box { passes: usize },
    /// Box passes, plus the mean of the aligned block that the pixel is in. Pads itself with zeros, right and bottom, to
    /// whole blocks.
    Blocks { side: usize, passes: usize },
    /// Every pixel twice in both directions.
    Double,
    /// Its input, with the first plane alone as output.
    FirstPlane,
    /// Fails where the tile's first value is at least this.
    FailFrom(f32),
    /// Cannot be loaded.
    Unknown,
}

#[derive(Debug)]
struct Fake {
    network: Network,
    loads: AtomicUsize,
}

impl Fake {
    fn new(network: Network) -> Self {
        Self {
            network,
            loads: AtomicUsize::new(0),
        }
    }
}

impl Engine for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn load(&self, _: &Model, options: &SessionOptions) -> Result<Arc<dyn Session>, LoadError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let (name, dims) = options.input_shapes.first().expect("a shape is given");
        assert_eq!(name, "pixels");
        if matches!(self.network, Network::Unknown) {
            return Err(LoadError {
                engine: "fake",
                reason: "nobody knows this operator".to_owned(),
            });
        }
        Ok(Arc::new(FakeSession {
            network: self.network,
            dims: dims.clone(),
        }))
    }
}

#[derive(Debug)]
struct FakeSession {
    network: Network,
    dims: Vec<usize>,
}

impl Session for FakeSession {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        let input = &inputs[0];
        assert_eq!(input.dims(), self.dims);
        let [channels, height, width] = [1, 2, 3].map(|axis| self.dims[axis]);
        let planes = input.data().chunks(height * width);
        let same_size =
            |data: Vec<f32>, channels| HostTensor::new(vec![1, channels, height, width], data);
        let output = match self.network {
            Network::Box { passes } => same_size(
                planes
                    .flat_map(|p| boxes(p, height, width, passes))
                    .collect(),
                channels,
            ),
            Network::Blocks { side, passes } => same_size(
                planes
                    .flat_map(|p| blocks(p, height, width, side, passes))
                    .collect(),
                channels,
            ),
            Network::Double => {
                let pixel = |p: &[f32], y: usize, x: usize| p[y / 2 * width + x / 2];
                let plane = |p| {
                    (0..4 * height * width).map(move |i| pixel(p, i / (2 * width), i % (2 * width)))
                };
                HostTensor::new(
                    vec![1, channels, 2 * height, 2 * width],
                    planes.flat_map(plane).collect(),
                )
            }
            Network::FirstPlane => same_size(input.data()[..height * width].to_vec(), 1),
            Network::FailFrom(limit) if input.data()[0] >= limit => {
                return Err(RunError {
                    engine: "fake",
                    reason: "too bright".to_owned(),
                });
            }
            Network::FailFrom(_) | Network::Unknown => input.clone(),
        };
        Ok(vec![output])
    }

    fn run_observed(
        &self,
        inputs: &[HostTensor],
        _: &mut Observer<'_>,
    ) -> Result<Vec<HostTensor>, RunError> {
        self.run(inputs)
    }

    fn peak_live_bytes(&self) -> usize {
        0
    }
}

fn boxes(plane: &[f32], height: usize, width: usize, passes: usize) -> Vec<f32> {
    let mut plane = plane.to_vec();
    for _ in 0..passes {
        let at = |y: usize, x: usize| match (y.checked_sub(1), x.checked_sub(1)) {
            (Some(y), Some(x)) if y < height && x < width => plane[y * width + x],
            _ => 0.0,
        };
        // Coordinates of `at` are shifted by one; the sum has one order, so that equal windows give equal bits.
        let mean = |y: usize, x: usize| {
            let window = (0..3).flat_map(|dy| (0..3).map(move |dx| (y + dy, x + dx)));
            window.map(|(y, x)| at(y, x)).sum::<f32>() / 9.0
        };
        plane = (0..height * width)
            .map(|i| mean(i / width, i % width))
            .collect();
    }
    plane
}

fn blocks(plane: &[f32], height: usize, width: usize, side: usize, passes: usize) -> Vec<f32> {
    let (rows, columns) = (height.next_multiple_of(side), width.next_multiple_of(side));
    let mut padded = vec![0.0; rows * columns];
    for (to, from) in padded.chunks_mut(columns).zip(plane.chunks(width)) {
        to[..width].copy_from_slice(from);
    }
    let blurred = boxes(&padded, rows, columns, passes);
    let block_mean = |y: usize, x: usize| {
        let (top, left) = (y / side * side, x / side * side);
        let block =
            (0..side).flat_map(|dy| (0..side).map(move |dx| (top + dy) * columns + left + dx));
        block.map(|i| padded[i]).sum::<f32>() / (side * side) as f32
    };
    let pixel = |y: usize, x: usize| blurred[y * columns + x] + block_mean(y, x);
    (0..height * width)
        .map(|i| pixel(i / width, i % width))
        .collect()
}

fn value(name: &str) -> ValueInfoProto {
    ValueInfoFields {
        name: Some(name.to_owned()),
        ..ValueInfoFields::default()
    }
    .into()
}

/// A model with these inputs and one output; fake engines look no further.
fn model(inputs: &[&str]) -> Model {
    let graph = GraphProto::from(GraphFields {
        name: Some("graph".to_owned()),
        node: vec![node("Relu", "", &[inputs[0]], &["result"])],
        input: inputs.iter().map(|name| value(name)).collect(),
        output: vec![value("result")],
        ..GraphFields::default()
    });
    let opset = OperatorSetIdFields {
        version: Some(17),
        ..OperatorSetIdFields::default()
    };
    let proto = ModelProto::from(ModelFields {
        ir_version: Some(8),
        opset_import: vec![opset.into()],
        graph: Some(graph),
        ..ModelFields::default()
    });
    Model::from_proto(proto).expect("a valid model")
}

/// Values that repeat nowhere near, in [0, 1).
fn image(channels: usize, height: usize, width: usize) -> PlanarImage {
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % 10_007;
    let data = (0..channels * height * width)
        .map(|i| value(i) as f32 / 10_007.0)
        .collect();
    PlanarImage::new(channels, Size { height, width }, data, BitDepth::Sixteen)
}

fn request(
    image: &PlanarImage,
    tile_px: usize,
    halo_px: usize,
    alignment_px: usize,
) -> TileRequest {
    TileRequest {
        image_px: image.size(),
        tile_px: Some(tile_px),
        halo_px: Some(halo_px),
        alignment_px,
        scale: 1,
        fill: Fill::Zero,
        unaligned: UnalignedSizes::Accepted,
    }
}

fn run(
    network: Network,
    image: &PlanarImage,
    request: &TileRequest,
) -> Result<PlanarImage, RunTiledError> {
    let (engine, model) = (Fake::new(network), model(&["pixels"]));
    let runner =
        TiledRunner::new(&engine, &model, ValueRange::UNIT).expect("one input, one output");
    runner.run(
        image,
        &TilePlan::new(request).expect("a sound request"),
        &RunControl::default(),
    )
}

fn whole(network: Network, image: &PlanarImage, request: &TileRequest) -> PlanarImage {
    run(
        network,
        image,
        &TileRequest {
            tile_px: None,
            ..*request
        },
    )
    .expect("whole images run")
}

fn worst_difference(a: &PlanarImage, b: &PlanarImage) -> f32 {
    assert_eq!((a.channels(), a.size()), (b.channels(), b.size()));
    a.data()
        .iter()
        .zip(b.data())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn the_exact_halo_gives_the_whole_image_run_and_a_smaller_one_does_not() {
    let image = image(3, 50, 61);
    for passes in 1..4 {
        let network = Network::Box { passes };
        let exact = request(&image, 16, passes, 1);
        let expected = whole(network, &image, &exact);
        assert_eq!(
            run(network, &image, &exact).unwrap(),
            expected,
            "{passes} passes"
        );
        let short = TileRequest {
            halo_px: Some(passes - 1),
            ..exact
        };
        let difference = worst_difference(&run(network, &image, &short).unwrap(), &expected);
        assert!(
            difference > 1e-3,
            "{passes} passes, halo too small: {difference}"
        );
    }
}

#[test]
fn a_shifted_grid_differs_whatever_the_halo() {
    let image = image(1, 64, 64);
    let network = Network::Blocks { side: 8, passes: 1 };
    let aligned = request(&image, 32, 8, 8);
    let expected = whole(network, &image, &aligned);
    assert_eq!(run(network, &image, &aligned).unwrap(), expected);
    let shifted = TileRequest {
        halo_px: Some(9),
        alignment_px: 1,
        ..aligned
    };
    assert!(worst_difference(&run(network, &image, &shifted).unwrap(), &expected) > 0.01);
}

#[test]
fn upscaled_cores_land_at_scaled_places() {
    let image = image(3, 19, 23);
    let request = TileRequest {
        scale: 2,
        ..request(&image, 8, 1, 1)
    };
    let output = run(Network::Double, &image, &request).unwrap();
    assert_eq!(
        output.size(),
        Size {
            height: 38,
            width: 46
        }
    );
    for channel in 0..3 {
        for y in 0..38 {
            let row = image.row(channel, y / 2);
            let expected: Vec<f32> = row.iter().flat_map(|v| [*v, *v]).collect();
            assert_eq!(output.row(channel, y), expected, "plane {channel}, row {y}");
        }
    }
}

#[test]
fn reflected_padding_is_that_of_the_image() {
    for (height, width) in [(21, 34), (1, 50), (2, 3), (33, 1)] {
        let image = image(2, height, width);
        let request = TileRequest {
            fill: Fill::Reflect,
            unaligned: UnalignedSizes::Refused,
            ..request(&image, 24, 8, 8)
        };
        let network = Network::Blocks { side: 8, passes: 3 };
        // The reference: the image padded for real, run whole and cropped.
        let padded_px = Size {
            height: height.next_multiple_of(8),
            width: width.next_multiple_of(8),
        };
        let mirror = |position: usize, len: usize| {
            let (mut at, mut forward) = (0usize, true);
            for _ in 0..position {
                forward = if at + 1 >= len {
                    false
                } else {
                    forward || at == 0
                };
                at = if len == 1 {
                    0
                } else if forward {
                    at + 1
                } else {
                    at - 1
                };
            }
            at
        };
        let mut samples = Vec::new();
        for channel in 0..2 {
            for y in 0..padded_px.height {
                let row = image.row(channel, mirror(y, height));
                samples.extend((0..padded_px.width).map(|x| row[mirror(x, width)]));
            }
        }
        let padded = PlanarImage::new(2, padded_px, samples, BitDepth::Sixteen);
        let expected = whole(
            network,
            &padded,
            &TileRequest {
                image_px: padded_px,
                ..request
            },
        );
        let found = run(network, &image, &request).unwrap();
        for channel in 0..2 {
            for y in 0..height {
                assert_eq!(
                    found.row(channel, y),
                    &expected.row(channel, y)[..width],
                    "{width}x{height}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_graph_that_pads_itself_is_tiled_exactly(
        (height, width) in (1..40usize, 1..40usize),
        (side, passes, core_periods) in (1..6usize, 0..4usize, 1..4usize),
        unaligned in prop_oneof![Just(UnalignedSizes::Accepted), Just(UnalignedSizes::Refused)],
    ) {
        let image = image(1, height, width);
        let halo = passes.next_multiple_of(side);
        let network = Network::Blocks { side, passes };
        let request = TileRequest { unaligned, ..request(&image, 2 * halo + core_periods * side, halo, side) };
        let expected = whole(network, &image, &TileRequest { unaligned: UnalignedSizes::Accepted, ..request });
        prop_assert_eq!(run(network, &image, &request).unwrap(), expected);
    }
}

#[test]
fn the_number_of_threads_leaves_no_trace() {
    let image = image(3, 70, 90);
    let request = request(&image, 20, 2, 1);
    let on_threads = |n| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap();
        pool.install(|| run(Network::Box { passes: 2 }, &image, &request).unwrap())
    };
    let one = on_threads(1);
    for n in [2, 5] {
        assert_eq!(on_threads(n), one, "{n} threads");
    }
}

#[test]
fn the_worker_limit_and_the_pool_bound_the_tiles_in_flight() {
    let image = image(1, 70, 90);
    let plan = TilePlan::new(&request(&image, 70, 2, 1)).unwrap();
    assert_eq!(plan.n_tiles(), 2);
    let (engine, model) = (Fake::new(Network::FirstPlane), model(&["pixels"]));
    let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(5)
        .build()
        .unwrap();
    assert_eq!(pool.install(|| runner.n_workers(&plan)), 2);
    let runner = runner.with_max_workers(NonZeroUsize::MIN);
    assert_eq!(pool.install(|| runner.n_workers(&plan)), 1);
}

#[test]
fn values_are_mapped_before_and_after_and_never_clamped() {
    let size = Size {
        height: 1,
        width: 4,
    };
    let image = PlanarImage::new(1, size, vec![-0.5, 0.0, 0.25, 2.0], BitDepth::Eight);
    let (engine, model) = (Fake::new(Network::FirstPlane), model(&["pixels"]));
    let runner = TiledRunner::new(&engine, &model, ValueRange::new(-1.0, 1.0).unwrap()).unwrap();
    let plan = TilePlan::new(&request(&image, 2, 0, 1)).unwrap();
    assert_eq!(
        runner.run(&image, &plan, &RunControl::default()).unwrap(),
        image
    );

    // The network itself sees [-1, 1]: 0.5 arrives as 0 and passes, 0.75 as 0.5 and does not.
    let engine = Fake::new(Network::FailFrom(0.5));
    let runner = TiledRunner::new(&engine, &model, ValueRange::new(-1.0, 1.0).unwrap()).unwrap();
    let pixel = Size {
        height: 1,
        width: 1,
    };
    for (value, passes) in [(0.5, true), (0.75, false)] {
        let image = PlanarImage::new(1, pixel, vec![value], BitDepth::Eight);
        let plan = TilePlan::new(&request(&image, 1, 0, 1)).unwrap();
        assert_eq!(
            runner.run(&image, &plan, &RunControl::default()).is_ok(),
            passes,
            "{value}"
        );
    }
}

#[test]
fn the_output_may_have_other_planes_and_keeps_the_bit_depth() {
    let image = image(3, 30, 30);
    let output = run(Network::FirstPlane, &image, &request(&image, 12, 2, 2)).unwrap();
    assert_eq!(
        (output.channels(), output.bit_depth()),
        (1, BitDepth::Sixteen)
    );
    assert_eq!(output.data(), &image.data()[..900]);
}

#[test]
fn a_cancelled_run_stops_and_progress_counts_up() {
    let image = image(1, 40, 40);
    let plan = TilePlan::new(&request(&image, 8, 0, 1)).unwrap();
    let (engine, model) = (Fake::new(Network::FirstPlane), model(&["pixels"]));
    let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .unwrap();
    for stop_after in [usize::MAX, 5, 0] {
        let cancelled = AtomicBool::new(stop_after == 0);
        let seen = Mutex::new(Vec::new());
        let progress = |n_done: usize, n_tiles: usize| {
            assert_eq!(n_tiles, 25);
            seen.lock().unwrap().push(n_done);
            cancelled.fetch_or(n_done == stop_after, Ordering::Relaxed);
        };
        let control = RunControl {
            cancelled: &cancelled,
            progress: &progress,
            max_workers: None,
        };
        let result = pool.install(|| runner.run(&image, &plan, &control));
        let seen = seen.into_inner().unwrap();
        assert!(seen.iter().copied().eq(1..=seen.len()), "{seen:?}");
        if stop_after == usize::MAX {
            assert!(result.is_ok() && seen.len() == 25);
        } else {
            // Each of the two other workers may have had a tile in flight.
            assert!(
                matches!(result, Err(RunTiledError::Interrupted { n_tiles: 25, .. })),
                "{result:?}"
            );
            assert!(
                (stop_after..=stop_after + 2).contains(&seen.len()),
                "{seen:?}"
            );
        }
    }
}

#[test]
fn the_first_failing_tile_is_named() {
    // Brightness rises from left to right: of the tiles at 0, 8, 16, 24 and 32, those from 16 on fail.
    let size = Size {
        height: 8,
        width: 40,
    };
    let data = (0..8 * 40).map(|i| (i % 40) as f32).collect();
    let image = PlanarImage::new(1, size, data, BitDepth::Eight);
    let request = request(&image, 8, 0, 1);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(4)
        .build()
        .unwrap();
    for _ in 0..20 {
        let error = pool
            .install(|| run(Network::FailFrom(16.0), &image, &request))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "tile 2 (rows 0..8, columns 16..24) failed"
        );
        let source = std::error::Error::source(&error).expect("what the engine says is kept");
        assert_eq!(source.to_string(), "fake failed while running: too bright");
    }
}

#[test]
fn mismatches_are_named() {
    let image = image(3, 26, 26);
    let cases = [
        (
            run(Network::Double, &image, &request(&image, 8, 2, 1)),
            "the network made [1, 3, 16, 16] out of a tile of [1, 3, 8, 8]; at scale 1 [1, C, 8, 8] was expected",
        ),
        (
            run(
                Network::FirstPlane,
                &image,
                &TileRequest {
                    scale: 2,
                    ..request(&image, 8, 2, 1)
                },
            ),
            "at scale 2 [1, C, 16, 16] was expected",
        ),
        (
            run(
                Network::FirstPlane,
                &image,
                &TileRequest {
                    image_px: Size {
                        height: 26,
                        width: 25,
                    },
                    ..request(&image, 8, 2, 1)
                },
            ),
            "the plan is for an image of 25x26 px, this one has 26x26 px",
        ),
        (
            run(Network::Unknown, &image, &request(&image, 13, 2, 1)),
            "cannot prepare the model for tiles of 13x13 px",
        ),
    ];
    for (result, message) in cases {
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains(message),
            "`{error}` does not say `{message}`"
        );
    }
    let two = model(&["pixels", "strength"]);
    let engine = Fake::new(Network::FirstPlane);
    let error = TiledRunner::new(&engine, &two, ValueRange::UNIT)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the model has 2 inputs (`pixels`, `strength`)"),
        "{error}"
    );
}

#[test]
fn images_of_one_tile_shape_share_a_session() {
    let (engine, model) = (Fake::new(Network::FirstPlane), model(&["pixels"]));
    let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
    for (height, width, loads) in [(40, 40, 1), (50, 70, 1), (6, 40, 2), (40, 41, 2)] {
        let image = image(3, height, width);
        let plan = TilePlan::new(&request(&image, 8, 1, 1)).unwrap();
        runner.run(&image, &plan, &RunControl::default()).unwrap();
        assert_eq!(
            engine.loads.load(Ordering::Relaxed),
            loads,
            "{width}x{height}"
        );
    }
}
