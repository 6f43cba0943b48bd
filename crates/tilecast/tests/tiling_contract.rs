//! An application that knows nothing of tilecast but `docs/tiling-contract.md`: it reads `tiling.json` and runs the artifact with an
//! inference engine. Its pixels are those of the tiled runtime, and its arithmetic is that of the document's examples.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tempfile::TempDir;
use tilecast::{Context, LibrarySearch, QuantizeSettings, Silent, TilingContract, quantize};
use tilecast_analysis::analyze;
use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::Model;
use tilecast_passes::{SweptModel, cut_statistics};
use tilecast_tile::{
    Fill, PlanarImage, RunControl, Size, SweepCount, SweptRunner, TilePlan, TileRequest,
    TiledRunner, UnalignedSizes, ValueRange, read_image,
};

static NEVER: AtomicBool = AtomicBool::new(false);

/// Largest difference from the runtime, of a range of 1.
const TOLERANCE: f32 = 2e-5;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// One segment of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    begins: usize,
    ends: usize,
    core_begins: usize,
    core_ends: usize,
}

/// How an axis is cut: step 1 to 4 of the document.
struct Axis {
    length: usize,
    padded: usize,
    step: usize,
    segments: Vec<Segment>,
}

fn cut(length: usize, tile: usize, halo: usize, alignment: usize, is_fixed: bool) -> Axis {
    let mut padded = length.div_ceil(alignment) * alignment;
    if is_fixed {
        padded = padded.max(tile);
    }
    if padded <= tile {
        let segments = vec![Segment {
            begins: 0,
            ends: padded,
            core_begins: 0,
            core_ends: length,
        }];
        return Axis {
            length,
            padded,
            step: padded,
            segments,
        };
    }
    let step = tile - 2 * halo;
    let n = (padded - 2 * halo).div_ceil(step);
    let segments = (0..n).map(|i| {
        let begins = (i * step).min(padded - tile);
        Segment {
            begins,
            ends: begins + tile,
            core_begins: if i == 0 { 0 } else { i * step + halo },
            core_ends: if i + 1 == n {
                length
            } else {
                (i + 1) * step + halo
            },
        }
    });
    Axis {
        length,
        padded,
        step,
        segments: segments.collect(),
    }
}

/// Where a map's core is along one side, and how long the map is.
fn map_side(
    axis: &Axis,
    segment: Segment,
    positions: usize,
    pixels: usize,
) -> (std::ops::Range<usize>, usize) {
    let end = if segment.core_ends == axis.length {
        axis.padded
    } else {
        segment.core_ends
    };
    let at = |px: usize| (px - segment.begins) * positions / pixels;
    (
        at(segment.core_begins)..at(end),
        (segment.ends - segment.begins) * positions / pixels,
    )
}

/// Pixels that a tile counts.
fn counts(rows: (&Axis, Segment), columns: (&Axis, Segment)) -> f64 {
    [rows, columns]
        .map(|(axis, segment)| {
            let (inside, _) = map_side(axis, segment, 1, 1);
            inside.len() as f64
        })
        .iter()
        .product()
}

/// One element of a statistic of the image, from those of the tiles and what these count.
fn merge(how: &Value, outputs: &[f64], means: &[f64], weights: &[f64], ratio: f64) -> f64 {
    let total: f64 = weights.iter().sum();
    let mean_of = |values: &mut dyn Iterator<Item = f64>| {
        values.zip(weights).map(|(v, w)| v * w).sum::<f64>() / total
    };
    match how.as_str() {
        Some("mean") => mean_of(&mut outputs.iter().copied()),
        Some("sum") => mean_of(&mut outputs.iter().copied()) * ratio,
        Some("norm") => (mean_of(&mut outputs.iter().map(|v| v * v)) * ratio).sqrt(),
        Some("maximum") => outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Some("minimum") => outputs.iter().copied().fold(f64::INFINITY, f64::min),
        _ => {
            assert!(how["variance"]["mean"].is_u64(), "{how}");
            let mean = mean_of(&mut means.iter().copied());
            mean_of(&mut outputs.iter().copied())
                + mean_of(&mut means.iter().map(|m| (m - mean) * (m - mean)))
        }
    }
}

/// The application.
struct Application {
    folder: PathBuf,
    contract: Value,
}

impl Application {
    fn open(folder: &Path, artifact: &str) -> Self {
        let path = folder.join(format!("{artifact}.tiling.json"));
        let contract: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(contract["schema"], "tilecast.tiling/1");
        Self {
            folder: folder.to_owned(),
            contract,
        }
    }

    fn number(&self, key: &str) -> usize {
        usize::try_from(self.contract[key].as_u64().unwrap()).unwrap()
    }

    fn text(value: &Value) -> &str {
        value.as_str().unwrap()
    }

    fn axes(&self, image: &PlanarImage, tile: Size, halo: usize) -> [Axis; 2] {
        let alignment = self.number("alignment_px");
        let is_fixed = !self.contract["fixed_tile_px"].is_null();
        let size = image.size();
        [(size.height, tile.height), (size.width, tile.width)]
            .map(|(length, tile)| cut(length, tile, halo, alignment, is_fixed))
    }

    /// What is fed for a tile.
    fn crop(&self, image: &PlanarImage, rows: Segment, columns: Segment) -> HostTensor {
        let fill = Self::text(&self.contract["padding"]["fill"]);
        let size = image.size();
        let mut data = Vec::new();
        for channel in 0..image.channels() {
            for y in rows.begins..rows.ends {
                for x in columns.begins..columns.ends {
                    let inside = |at: usize, length: usize| match fill {
                        _ if at < length => Some(at),
                        "reflect" => Some(2 * length - 2 - at),
                        _ => None,
                    };
                    let at = inside(y, size.height).zip(inside(x, size.width));
                    data.push(at.map_or(0.0, |(y, x)| image.row(channel, y)[x]));
                }
            }
        }
        let (height, width) = (rows.ends - rows.begins, columns.ends - columns.begins);
        HostTensor::new(vec![1, image.channels(), height, width], data)
    }

    /// Copies the core of a tile's output into the result, which is channel by channel.
    fn place(
        &self,
        result: &mut [f32],
        [rows, columns]: [(&Axis, Segment); 2],
        output: &HostTensor,
    ) {
        let scale = self.number("scale");
        let [_, channels, height, width] = output.dims() else {
            panic!("an image has four axes")
        };
        let (n_rows, n_columns) = (rows.0.length * scale, columns.0.length * scale);
        for channel in 0..*channels {
            for y in rows.1.core_begins * scale..rows.1.core_ends * scale {
                for x in columns.1.core_begins * scale..columns.1.core_ends * scale {
                    let from = (channel * height + y - rows.1.begins * scale) * width + x
                        - columns.1.begins * scale;
                    result[(channel * n_rows + y) * n_columns + x] = output.data()[from];
                }
            }
        }
    }

    fn result(&self, image: &PlanarImage) -> Vec<f32> {
        let scale = self.number("scale");
        let channels = self.contract["output"]["channels"].as_u64().unwrap();
        let n = image.size().height * image.size().width * scale * scale;
        vec![f32::NAN; usize::try_from(channels).unwrap() * n]
    }

    /// Runs the artifact in tiles of this size.
    fn run(&self, image: &PlanarImage, tile: Size) -> Vec<f32> {
        let name = Self::text(&self.contract["model"]["name"]);
        let model = Model::load(&self.folder.join(name)).unwrap();
        let [rows, columns] = self.axes(image, tile, self.number("halo_px"));
        let mut result = self.result(image);
        for row in &rows.segments {
            for column in &columns.segments {
                let input = self.crop(image, *row, *column);
                let options = SessionOptions {
                    input_shapes: vec![(
                        Self::text(&self.contract["input"]["name"]).to_owned(),
                        input.dims().to_vec(),
                    )],
                    ..SessionOptions::default()
                };
                let session = TractEngine::new().load(&model, &options).unwrap();
                let outputs = session.run(&[input]).unwrap();
                self.place(
                    &mut result,
                    [(&rows, *row), (&columns, *column)],
                    &outputs[0],
                );
            }
        }
        result
    }

    /// Runs the file with swept statistics so often, after a draft where that takes few tiles.
    fn sweep(&self, image: &PlanarImage, tile: Size, n_sweeps: usize) -> Vec<f32> {
        let sweeps = &self.contract["sweeps"];
        let list = |key: &str| sweeps[key].as_array().unwrap();
        let integers = |value: &Value| -> Vec<usize> {
            let numbers = value.as_array().unwrap().iter();
            numbers
                .map(|n| usize::try_from(n.as_u64().unwrap()).unwrap())
                .collect()
        };
        let name = Self::text(&sweeps["model"]["name"]);
        let model = Model::load(&self.folder.join(name)).unwrap();
        let whole = self.axes(image, tile, self.number("halo_px"));
        let draft = sweeps["draft_halo_px"].as_u64().and_then(|halo| {
            let halo = usize::try_from(halo).unwrap();
            let fed = |axes: &[Axis; 2]| -> usize {
                let sides = axes.iter().map(|a| a.segments.len() * a.segments[0].ends);
                sides.product()
            };
            let pays = |axes: &[Axis; 2]| 4 * fed(axes) <= 3 * fed(&whole);
            let fewer = self.axes(image, tile, halo);
            if pays(&fewer) {
                return Some(fewer);
            }
            let alignment = self.number("alignment_px");
            let [height, width] = fewer.map(|axis| {
                let n = axis.segments.len();
                let side = (axis.padded + 2 * halo * (n - 1)).div_ceil(n);
                side.div_ceil(alignment) * alignment
            });
            let smaller = self.axes(image, Size { height, width }, halo);
            pays(&smaller).then_some(smaller)
        });

        let statistics = list("statistics");
        let mut known: Vec<Vec<f64>> = statistics
            .iter()
            .map(|s| vec![0.0; integers(&s["dims"]).iter().product()])
            .collect();
        let mut result = self.result(image);
        // A draft counts as sweep 0.
        let first = usize::from(draft.is_none());
        for sweep in first..=n_sweeps {
            let axes = draft.as_ref().filter(|_| sweep == 0).unwrap_or(&whole);
            let [rows, columns] = axes;
            let tile_px = (rows.segments[0].ends * columns.segments[0].ends) as f64;
            let ratio = (rows.padded * columns.padded) as f64 / tile_px;
            let mut outputs: Vec<Vec<HostTensor>> = Vec::new();
            let mut weights = Vec::new();
            for row in &rows.segments {
                for column in &columns.segments {
                    let mut inputs = vec![(
                        Self::text(&self.contract["input"]["name"]).to_owned(),
                        self.crop(image, *row, *column),
                    )];
                    let switch = if sweep == first { 0.0 } else { 1.0 };
                    inputs.push((
                        Self::text(&sweeps["switch"]).to_owned(),
                        HostTensor::new(vec![1], vec![switch]),
                    ));
                    for map in list("weights") {
                        let (positions, pixels) =
                            (integers(&map["positions"]), integers(&map["pixels"]));
                        let (inside_rows, n_rows) = map_side(rows, *row, positions[0], pixels[0]);
                        let (inside_columns, n_columns) =
                            map_side(columns, *column, positions[1], pixels[1]);
                        let n_inside = inside_rows.len() * inside_columns.len();
                        let weight = (n_rows * n_columns) as f32 / n_inside as f32;
                        let mut values = vec![0.0; n_rows * n_columns];
                        for y in inside_rows {
                            for x in inside_columns.clone() {
                                values[y * n_columns + x] = weight;
                            }
                        }
                        inputs.push((
                            Self::text(&map["input"]).to_owned(),
                            HostTensor::new(vec![1, 1, n_rows, n_columns], values),
                        ));
                    }
                    for (statistic, known) in statistics.iter().zip(&known) {
                        inputs.push((
                            Self::text(&statistic["input"]).to_owned(),
                            HostTensor::new(
                                integers(&statistic["dims"]),
                                known.iter().map(|&v| v as f32).collect(),
                            ),
                        ));
                    }
                    let options = SessionOptions {
                        input_shapes: inputs
                            .iter()
                            .map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()))
                            .collect(),
                        ..SessionOptions::default()
                    };
                    let session = TractEngine::new().load(&model, &options).unwrap();
                    let tensors: Vec<HostTensor> = inputs.into_iter().map(|i| i.1).collect();
                    let mut given = session.run(&tensors).unwrap();
                    let of_tile = given.split_off(1);
                    let place = [(rows, *row), (columns, *column)];
                    self.place(&mut result, place, &given[0]);
                    weights.push(counts(place[0], place[1]));
                    outputs.push(of_tile);
                }
            }
            for (index, statistic) in statistics.iter().enumerate() {
                if usize::try_from(statistic["level"].as_u64().unwrap()).unwrap() < sweep {
                    continue;
                }
                let how = &statistic["merge"];
                let means = how["variance"]["mean"].as_u64();
                for element in 0..known[index].len() {
                    let of = |statistic: usize| -> Vec<f64> {
                        let tiles = outputs.iter();
                        tiles
                            .map(|tile| f64::from(tile[statistic].data()[element]))
                            .collect()
                    };
                    let means = means.map_or_else(Vec::new, |m| of(usize::try_from(m).unwrap()));
                    known[index][element] = merge(how, &of(index), &means, &weights, ratio);
                }
            }
        }
        result
    }
}

/// The main job on two small images with this model, artifacts and tiling.
fn job(model: &str, artifacts: &str, tiling: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    for name in ["01-s10-256x256.png", "10-s40-333x277.png"] {
        let from = repository("calibration/noisy").join(name);
        std::fs::copy(from, images.join(name)).unwrap();
    }
    let recipe = folder.path().join("job.yaml");
    let text = format!(
        "version: 1\nmodel: '{}'\ncalibration: {{ images: images, holdout: 0.5 }}\nartifacts: {artifacts}\ntiling: {tiling}\n",
        repository(model).display()
    );
    std::fs::write(&recipe, text).unwrap();
    let settings = QuantizeSettings {
        recipe,
        out: Some(folder.path().join("out")),
        overrides: Vec::new(),
        cache: None,
        judging: tilecast::Judging::default(),
        onnxruntime: LibrarySearch::default(),
    };
    quantize(&settings, &Context::new(&Silent, &NEVER)).unwrap();
    folder
}

fn photo() -> PlanarImage {
    read_image(&repository("calibration/noisy/10-s40-333x277.png")).unwrap()
}

fn samples(image: &PlanarImage) -> Vec<f32> {
    let rows = (0..image.channels()).flat_map(|c| (0..image.size().height).map(move |y| (c, y)));
    rows.flat_map(|(c, y)| image.row(c, y).iter().copied())
        .collect()
}

/// What the runtime needs to know of a model, from the analysis.
fn request(model: &Model, image: &PlanarImage, fill: Fill) -> TileRequest {
    let analysis = analyze(model).unwrap();
    TileRequest {
        image_px: image.size(),
        tile_px: None,
        halo_px: analysis.halo_px,
        alignment_px: analysis.alignment_px,
        scale: analysis.scale.as_integer().unwrap(),
        fill,
        unaligned: UnalignedSizes::Refused,
    }
}

#[track_caller]
fn assert_same(application: &[f32], runtime: &PlanarImage) {
    let runtime = samples(runtime);
    assert_eq!(application.len(), runtime.len());
    let pairs = application.iter().zip(&runtime);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{worst}");
}

#[test]
fn an_application_gives_the_pixels_of_the_runtime() {
    let folder = job(
        "models/exports/unet-bn-ts17.onnx",
        "[{ precision: fp16, name: any }, { precision: fp16, name: one, shape: 160x128 }]",
        "{ validate_tile: 128 }",
    );
    let out = folder.path().join("out");
    let image = photo();
    let square = |side| Size {
        height: side,
        width: side,
    };
    for (artifact, tile) in [
        ("any", square(128)),
        (
            "one",
            Size {
                height: 128,
                width: 160,
            },
        ),
    ] {
        let stem = format!("unet-bn-ts17-{artifact}");
        let application = Application::open(&out, &stem);
        let model = Model::load(&out.join(format!("{stem}.onnx"))).unwrap();
        let open = Model::load(&repository("models/exports/unet-bn-ts17.onnx")).unwrap();
        let request = request(&open, &image, Fill::Reflect);
        let plan = if artifact == "one" {
            let contract = &application.contract;
            assert_eq!(contract["fixed_tile_px"]["width"], 160);
            assert_eq!(contract["fixed_tile_px"], contract["recommended_tile_px"]);
            TilePlan::with_fixed_size(&request, tile).unwrap()
        } else {
            TilePlan::with_tile_size(&request, Some(tile)).unwrap()
        };
        assert!(plan.n_tiles() > 4);
        let engine = TractEngine::new();
        let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
        let runtime = runner.run(&image, &plan, &RunControl::default()).unwrap();
        assert_same(&application.run(&image, tile), &runtime);
        assert_eq!(application.contract["equivalence"], "exact");
        let error = application.contract["error"]["max_abs"].as_f64().unwrap();
        assert!(error < 2e-5 || artifact == "one", "{error}");
    }
}

#[test]
fn an_application_that_sweeps_gives_the_pixels_of_the_runtime() {
    // Whether drafts have fewer tiles, and tiles of the same size.
    for (model, fill, n_sweeps, drafts) in [
        (
            "models/exports/nafnet-pad-ts17.onnx",
            Fill::Zero,
            3,
            (true, true),
        ),
        (
            "models/statistics/instance-norm.onnx",
            Fill::Reflect,
            2,
            (false, false),
        ),
    ] {
        let folder = job(
            model,
            "[{ precision: fp16, name: swept }]",
            "{ validate_tile: 160, global_statistics: { sweeps: 2 } }",
        );
        let out = folder.path().join("out");
        let stem = Path::new(model).file_stem().unwrap().to_str().unwrap();
        let stem = format!("{stem}-swept");
        let application = Application::open(&out, &stem);
        assert_eq!(application.contract["equivalence"], "exact-with-sweeps");
        assert_eq!(application.contract["error"]["sweeps"], 2);

        let image = photo();
        let artifact = Model::load(&out.join(format!("{stem}.onnx"))).unwrap();
        let open = Model::load(&repository(model)).unwrap();
        let request = request(&open, &image, fill);
        let SweptModel {
            model, contract, ..
        } = cut_statistics(&artifact, request.alignment_px).unwrap();
        let engine = TractEngine::new();
        let runner = SweptRunner::new(&engine, model, contract, ValueRange::UNIT).unwrap();
        let tile = Size {
            height: 160,
            width: 160,
        };
        let plan = TilePlan::with_tile_size(&request, Some(tile)).unwrap();
        assert!(plan.n_tiles() >= 4, "{}", plan.n_tiles());
        let count = SweepCount::Exactly(NonZeroU32::new(n_sweeps).unwrap());
        let runtime = runner
            .run(&image, &plan, count, &RunControl::default())
            .unwrap();
        let facts = &runtime.facts;
        assert_eq!((facts.n_drafts, facts.n_sweeps), (1, n_sweeps as usize));
        let n_draft_tiles = facts.n_tiles_run - facts.n_sweeps * plan.n_tiles();
        let draft_px = facts.pixels_fed - u64::from(n_sweeps) * plan.pixels_fed();
        let has_same_tile = draft_px == n_draft_tiles as u64 * 160 * 160;
        assert_eq!((n_draft_tiles < plan.n_tiles(), has_same_tile), drafts);
        assert_same(
            &application.sweep(&image, tile, n_sweeps as usize),
            &runtime.image,
        );
    }
}

#[test]
fn the_document_is_what_the_library_reads() {
    let folder = job(
        "models/srvgg-x2.onnx",
        "[{ precision: fp16, name: x2 }]",
        "{ validate_tile: 128, memory: 64MiB }",
    );
    let path = folder.path().join("out/srvgg-x2-x2.tiling.json");
    let text = std::fs::read_to_string(path).unwrap();
    let contract: TilingContract = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&contract).unwrap(), text);
    assert_eq!((contract.scale, contract.halo_px), (2, Some(12)));
    assert_eq!(contract.minimum_tile_px, Some(25));
    assert_eq!(contract.output.channels, Some(3));
    // The recommended tile is the largest that fits.
    let fits: Vec<bool> = contract
        .peak_bytes
        .iter()
        .map(|peak| peak.bytes <= 64 << 20)
        .collect();
    assert!(fits.contains(&true) && fits.contains(&false), "{fits:?}");
    let largest = contract.peak_bytes[fits.iter().rposition(|&f| f).unwrap()];
    assert_eq!(contract.recommended_tile_px.width, largest.width);
    // The hash is that of the file beside it.
    let report = std::fs::read(folder.path().join("out/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["artifacts"][0]["sha256"], contract.model.sha256);
    assert_eq!(
        report["artifacts"][0]["tiling_contract"],
        "srvgg-x2-x2.tiling.json"
    );
}

/// Rows of the table in the document whose header begins so.
fn table(header: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(repository("docs/tiling-contract.md")).unwrap();
    let (_, after) = text.split_once(header).unwrap();
    let rows = after
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

#[test]
fn the_places_in_the_document_are_right() {
    let rows = table("| axis | L | P |");
    assert_eq!(rows.len(), 5);
    for (axis, length) in [("columns", 257), ("rows", 391)] {
        let cut = cut(length, 256, 80, 16, false);
        let expected: Vec<Vec<usize>> = cut
            .segments
            .iter()
            .enumerate()
            .map(|(i, s)| {
                vec![
                    length,
                    cut.padded,
                    cut.step,
                    i,
                    s.begins,
                    s.ends,
                    s.core_begins,
                    s.core_ends,
                ]
            })
            .collect();
        let of_axis = rows.iter().filter(|row| row[0] == axis);
        let found: Vec<Vec<usize>> = of_axis
            .map(|row| row[1..].iter().map(|n| n.parse().unwrap()).collect())
            .collect();
        assert_eq!(found, expected, "{axis}");
    }
    let (rows, columns) = (cut(391, 256, 80, 16, false), cut(257, 256, 80, 16, false));
    let (row, column) = (rows.segments[2], columns.segments[1]);
    assert_eq!(map_side(&rows, row, 1, 8), (16..32, 32));
    assert_eq!(map_side(&columns, column, 1, 8), (20..32, 32));
    let counted = counts((&rows, row), (&columns, column));
    assert!((counted - 12288.0).abs() < 1e-9);
    // And they are those of the runtime.
    let request = TileRequest {
        image_px: Size {
            height: 391,
            width: 257,
        },
        tile_px: Some(256),
        halo_px: Some(80),
        alignment_px: 16,
        scale: 1,
        fill: Fill::Zero,
        unaligned: UnalignedSizes::Accepted,
    };
    let plan = TilePlan::new(&request).unwrap();
    assert_eq!(plan.n_tiles(), 6);
    for (index, tile) in plan.tiles().enumerate() {
        let (row, column) = (rows.segments[index / 2], columns.segments[index % 2]);
        assert_eq!(
            (
                tile.input.top,
                tile.input.left,
                tile.core.bottom(),
                tile.core.right()
            ),
            (row.begins, column.begins, row.core_ends, column.core_ends)
        );
    }
}

#[test]
fn the_merges_in_the_document_are_right() {
    let rows = table("| `merge` | the statistic");
    assert_eq!(rows.len(), 6);
    let numbers = |text: &str| -> Vec<f64> {
        let parts = text.split(" and ");
        parts.map(|n| n.parse().unwrap()).collect()
    };
    for row in rows {
        let name = row[0].trim_matches('`');
        let how = match name {
            "variance" => serde_json::json!({ "variance": { "mean": 0 } }),
            _ => Value::from(name),
        };
        let ratio = if name == "norm" { 2.0 } else { 4.0 };
        let (outputs, weights) = (numbers(&row[2]), numbers(&row[3]));
        let found = merge(&how, &outputs, &[2.0, 4.0], &weights, ratio);
        let expected: f64 = row[4].parse().unwrap();
        assert!((found - expected).abs() < 1e-4, "{name}: {found}");
    }
}
