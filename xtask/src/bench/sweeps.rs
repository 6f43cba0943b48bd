//! `bench sweeps`: tiles with swept statistics against the whole-image run, sweep by sweep.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use tilecast_analysis::analyze;
use tilecast_exec::TractEngine;
use tilecast_onnx::Model;
use tilecast_passes::{SweptModel, cut_statistics};
use tilecast_tile::{
    Fill, PlanarImage, Rect, RunControl, SweepCount, SweptRunner, TilePlan, TileRequest,
    TiledRunner, UnalignedSizes, ValueRange, Values, compare_images, read_image,
};

use super::report::{Report, Table};
use super::{BenchError, Options, checkout, progress};

/// Images of `calibration/noisy` that are more than one tile of the sample; as many as there are rounds are taken.
const IMAGES: [&str; 9] = [
    "02-s25-300x260.png",
    "03-s05-384x256.png",
    "05-s40-320x320.png",
    "07-s25-448x320.png",
    "08-s10-400x320.png",
    "10-s40-333x277.png",
    "11-s10-512x384.png",
    "21-s05-350x350.png",
    "24-s25-1024x1024.png",
];

/// Longest side of an image; more is cut off.
const MOST_PX: usize = 512;

/// Tolerances that `auto` is tried with.
const TOLERANCES: [f64; 3] = [1e-3, 1e-4, 1e-5];

/// A model and how it is tiled.
struct Case {
    name: &'static str,
    path: &'static str,
    tile_px: usize,
    /// Halo and alignment, where they are not taken from the graph.
    geometry: Option<(usize, usize)>,
}

const CASES: [Case; 5] = [
    Case {
        name: "sample NAFNet",
        path: "models/nafnet-denoise.onnx",
        tile_px: 256,
        geometry: None,
    },
    Case {
        name: "instance-norm",
        path: "models/statistics/instance-norm.onnx",
        tile_px: 128,
        geometry: None,
    },
    Case {
        name: "group-norm",
        path: "models/statistics/group-norm.onnx",
        tile_px: 128,
        geometry: Some((8, 1)),
    },
    Case {
        name: "restormer-ts17",
        path: "models/exports/restormer-ts17.onnx",
        tile_px: 128,
        geometry: Some((32, 4)),
    },
    Case {
        name: "restormer-dy20",
        path: "models/exports/restormer-dy20.onnx",
        tile_px: 128,
        geometry: Some((32, 4)),
    },
];

/// What one image gave.
struct Trace {
    /// PSNR against the whole-image run for each count of sweeps, dB.
    psnr_db: Vec<f64>,
    /// Pixels fed for each of them, as a share of those of one sweep.
    work: Vec<f64>,
    /// The same of `auto`, for each tolerance.
    auto: Vec<Auto>,
    /// Seconds of one run in tiles with the statistics of the tiles, and of one sweep.
    seconds: [f64; 2],
    /// Predicted peaks of the same, bytes.
    peak_bytes: [usize; 2],
}

/// What `auto` did with one image.
struct Auto {
    psnr_db: f64,
    n_drafts: usize,
    n_sweeps: usize,
    work: f64,
}

/// Measures.
///
/// # Errors
/// A file cannot be read, or a model cannot be run.
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let images = &IMAGES[..options.rounds.min(IMAGES.len())];
    let mut report = Report {
        method: vec![
            format!(
                "{} images of calibration/noisy, at most {MOST_PX} px on a side. PSNR is that of the run in tiles against the \
                 whole-image run of the same model in tract, unclamped, peak 1.",
                images.len()
            ),
            "Work is how many pixels tiles are fed, those of drafts among them, over those of one sweep."
                .to_owned(),
        ],
        versions: vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        ..Report::default()
    };
    let mut costs = Table {
        title: "Cost of a sweep, mean over images".to_owned(),
        columns: [
            "model",
            "levels",
            "statistics",
            "time of a sweep / of a plain tiled run",
            "predicted peak / of a plain tile",
        ]
        .map(str::to_owned)
        .into(),
        rows: Vec::new(),
    };
    let mut results = Vec::new();
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        let setting = Setting::new(case)?;
        let mut traces = Vec::new();
        for image in images {
            progress(&format!("{}: {image}", case.name));
            if let Some(trace) = setting.trace(image)? {
                traces.push(trace);
            }
        }
        report.tables.push(per_sweep(case, &traces));
        report.tables.push(auto(case, &traces));
        let contract = &setting.swept.contract;
        let ratio = |of: &dyn Fn(&Trace) -> f64| mean(traces.iter().map(of));
        costs.rows.push(vec![
            case.name.to_owned(),
            contract.depth.to_string(),
            contract.statistics.len().to_string(),
            format!("{:.2}", ratio(&|t| t.seconds[1] / t.seconds[0])),
            format!(
                "{:.2}",
                ratio(&|t| t.peak_bytes[1] as f64 / t.peak_bytes[0] as f64)
            ),
        ]);
        let traces = traces
            .iter()
            .map(|t| json!({ "psnr_db": t.psnr_db, "work": t.work, "seconds": t.seconds }));
        results.push(json!({ "model": case.name, "depth": contract.depth, "images": traces.collect::<Vec<_>>() }));
    }
    report.tables.push(costs);
    report.results = json!(results);
    Ok(report)
}

fn per_sweep(case: &Case, traces: &[Trace]) -> Table {
    let n_sweeps = traces.iter().map(|t| t.psnr_db.len()).max().unwrap_or(0);
    let rows = (0..n_sweeps).map(|sweep| {
        let psnr = || {
            traces
                .iter()
                .filter_map(move |t| t.psnr_db.get(sweep).copied())
        };
        let work = traces.iter().filter_map(|t| t.work.get(sweep).copied());
        vec![
            (sweep + 1).to_string(),
            format!("{:.1}", mean(psnr())),
            format!("{:.1}", psnr().fold(f64::INFINITY, f64::min)),
            format!("{:.2}", mean(work)),
        ]
    });
    Table {
        title: format!(
            "{}, tile {} px, {} images: PSNR after each sweep",
            case.name,
            case.tile_px,
            traces.len()
        ),
        columns: ["sweeps", "mean dB", "worst dB", "work"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    }
}

/// What `auto` would have done at several tolerances.
fn auto(case: &Case, traces: &[Trace]) -> Table {
    let rows = TOLERANCES.iter().enumerate().map(|(index, tolerance)| {
        let runs = || traces.iter().map(move |trace| &trace.auto[index]);
        let worst = runs().map(|run| run.psnr_db).fold(f64::INFINITY, f64::min);
        vec![
            format!("{tolerance:.0e}"),
            format!("{:.1}", mean(runs().map(|run| run.n_drafts as f64))),
            format!("{:.1}", mean(runs().map(|run| run.n_sweeps as f64))),
            format!("{:.1}", mean(runs().map(|run| run.work))),
            format!("{:.1}", mean(runs().map(|run| run.psnr_db))),
            format!("{worst:.1}"),
        ]
    });
    Table {
        title: format!("{}: `auto` at several tolerances", case.name),
        columns: [
            "tolerance",
            "drafts",
            "sweeps",
            "work",
            "mean dB",
            "worst dB",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// A model that is ready to be run.
struct Setting {
    model: Model,
    swept: SweptModel,
    tile_px: usize,
    halo_px: usize,
    alignment_px: usize,
}

impl Setting {
    fn new(case: &Case) -> Result<Self, BenchError> {
        let failed = |e: Box<dyn std::error::Error>| BenchError::step(case.name, e);
        let model = Model::load(&checkout().join(case.path)).map_err(|e| failed(e.into()))?;
        let (halo_px, alignment_px) = if let Some(geometry) = case.geometry {
            geometry
        } else {
            let analysis = analyze(&model).map_err(|e| failed(e.into()))?;
            (analysis.halo_px.unwrap_or(0), analysis.alignment_px)
        };
        let swept = cut_statistics(&model, alignment_px).map_err(|e| failed(e.into()))?;
        Ok(Self {
            model,
            swept,
            tile_px: case.tile_px,
            halo_px,
            alignment_px,
        })
    }

    fn plan(&self, image: &PlanarImage, tile_px: Option<usize>) -> Result<TilePlan, BenchError> {
        TilePlan::new(&TileRequest {
            image_px: image.size(),
            tile_px,
            halo_px: Some(self.halo_px),
            alignment_px: self.alignment_px,
            scale: 1,
            fill: Fill::Zero,
            unaligned: UnalignedSizes::Refused,
        })
        .map_err(|e| BenchError::step("planning tiles", e))
    }

    /// One image, or nothing where it is a single tile.
    fn trace(&self, image: &str) -> Result<Option<Trace>, BenchError> {
        let failed = |e: Box<dyn std::error::Error>| BenchError::step(image, e);
        let path = checkout().join("calibration/noisy").join(Path::new(image));
        let image = read_image(&path).map_err(|e| failed(e.into()))?;
        let size = image.size();
        let part = Rect {
            top: 0,
            left: 0,
            height: size.height.min(MOST_PX),
            width: size.width.min(MOST_PX),
        };
        let image = image.crop(part, 1);
        let plan = self.plan(&image, Some(self.tile_px))?;
        if plan.n_tiles() == 1 {
            return Ok(None);
        }
        let engine = TractEngine::new();
        let control = RunControl::default();
        let plain = TiledRunner::new(&engine, &self.model, ValueRange::UNIT)
            .map_err(|e| failed(e.into()))?;
        let whole = plain
            .run(&image, &self.plan(&image, None)?, &control)
            .map_err(|e| failed(e.into()))?;
        let peak = plain
            .session(&plan, 3)
            .map_err(|e| failed(e.into()))?
            .peak_live_bytes();
        let psnr_db = |tiled: &PlanarImage| -> Result<f64, BenchError> {
            let compared = compare_images(&whole, tiled, Values::Unclamped);
            let compared = compared.map_err(|e| failed(e.into()))?;
            Ok(compared.error.psnr_db(1.0).unwrap_or(f64::NAN))
        };
        let start = Instant::now();
        let tiled = plain
            .run(&image, &plan, &control)
            .map_err(|e| failed(e.into()))?;
        let seconds = start.elapsed().as_secs_f64();

        let SweptModel {
            model, contract, ..
        } = self.swept.clone();
        let swept = SweptRunner::new(&engine, model, contract, ValueRange::UNIT)
            .map_err(|e| failed(e.into()))?;
        let swept_peak = swept
            .session(&plan, 3)
            .map_err(|e| failed(e.into()))?
            .peak_live_bytes();
        let run = |count: SweepCount| {
            let run = swept.run(&image, &plan, count, &control);
            run.map_err(|e| failed(e.into()))
        };
        let share = |pixels_fed: u64| pixels_fed as f64 / plan.pixels_fed() as f64;
        // One sweep is a plain run in tiles; the last count is one more than there are levels.
        let (mut of_counts, mut work) = (vec![psnr_db(&tiled)?], vec![1.0]);
        let mut per_sweep = 0.0;
        for n in 2..=self.swept.contract.depth + 1 {
            let count = u32::try_from(n).ok().and_then(NonZeroU32::new);
            let start = Instant::now();
            let found = run(SweepCount::Exactly(count.expect("at least 2, and few")))?;
            work.push(share(found.facts.pixels_fed));
            // Of the last one, which has no drafts.
            per_sweep = start.elapsed().as_secs_f64() / n as f64;
            of_counts.push(psnr_db(&found.image)?);
        }
        let mut auto = Vec::new();
        for tolerance in TOLERANCES {
            let found = run(SweepCount::Auto { tolerance })?;
            auto.push(Auto {
                psnr_db: psnr_db(&found.image)?,
                n_drafts: found.facts.n_drafts,
                n_sweeps: found.facts.n_sweeps,
                work: share(found.facts.pixels_fed),
            });
        }
        Ok(Some(Trace {
            psnr_db: of_counts,
            work,
            auto,
            seconds: [seconds, per_sweep],
            peak_bytes: [peak, swept_peak],
        }))
    }
}
