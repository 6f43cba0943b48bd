//! `bench parse`: a NAFNet of the published size, loaded here and by `onnx.load` in pairs, then simplified.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;
use tilecast::{Context, Event, Reporter, SimplifySettings};
use tilecast_onnx::{Model, Tensor};
use tilecast_passes::{SimplifyOptions, TARGETS, simplify};

use super::nafnet;
use super::python::{self, Dialog};
use super::report::{Report, Table};
use super::statistics::Quartiles;
use super::{BenchError, Options, progress, scratch};

/// How often the rewrites are timed; the runs that prove them take far longer and are timed once.
const REWRITE_RUNS: usize = 5;

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let mut versions = vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    versions.extend(python::versions(&options.python, &["onnx"], &[])?);
    let folder = scratch()?;
    let path = folder.path().join("nafnet.onnx");
    progress("building the network");
    nafnet::write(&nafnet::PUBLISHED, &path)?;
    let model = Model::load(&path).map_err(|e| BenchError::step("loading the network", e))?;
    let graph = model.graph_proto();
    let weights = graph
        .initializer
        .iter()
        .map(|t| t.dims.iter().product::<i64>());
    let size = format!(
        "The network has {:.1} million parameters in {} nodes and {:.0} MB.",
        weights.sum::<i64>() as f64 / 1e6,
        graph.node.len(),
        model.encoded_len() as f64 / 1e6
    );
    drop(model);

    progress("loading in pairs");
    let pairs = load_in_pairs(options, &path)?;
    let mut rows = Vec::new();
    for (what, ours) in [
        ("load and verify", &pairs.ours),
        (
            "load, verify and read every weight",
            &pairs.ours_with_weights,
        ),
    ] {
        let ratios: Vec<f64> = pairs.theirs.iter().zip(ours).map(|(t, o)| t / o).collect();
        let cells = [&pairs.theirs, ours, &ratios]
            .map(|values| Quartiles::of(values).map_or_else(|| "–".to_owned(), Quartiles::text));
        rows.push([what.to_owned()].into_iter().chain(cells).collect());
    }
    let columns = ["what", "onnx.load, ms", "tilecast, ms", "times as fast"];
    let loading = Table {
        title: "Loading, median (quartiles) of pairs".into(),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    };
    progress("simplifying");
    let (simplifying, seconds) = time_simplify(&path, folder.path())?;
    Ok(Report {
        method: vec![
            size,
            "Both load within a process that runs on, from the page cache. A round is onnx.load, tilecast twice, onnx.load; a time \
             is the mean of two. The weights stay in the mapped file here, so a second row reads them all."
                .into(),
            format!("The rewrites of `tilecast simplify` {REWRITE_RUNS} times, and once the runs before and after that prove them."),
        ],
        tables: vec![loading, simplifying],
        versions,
        results: json!({
            "onnx_load_ms": pairs.theirs,
            "load_ms": pairs.ours,
            "load_and_read_ms": pairs.ours_with_weights,
            "simplify_seconds": seconds,
        }),
        ..Report::default()
    })
}

/// Times per round, milliseconds.
struct Pairs {
    theirs: Vec<f64>,
    ours: Vec<f64>,
    ours_with_weights: Vec<f64>,
}

fn load_in_pairs(options: &Options, path: &Path) -> Result<Pairs, BenchError> {
    let mut script = Dialog::start(&options.python, "onnx_load.py")?;
    let name = path.display().to_string();
    let mut theirs = || -> Result<f64, BenchError> {
        script.say(&name)?;
        let answer = script.hear()?;
        let seconds: f64 = answer
            .parse()
            .map_err(|_| BenchError::Python(format!("onnx_load.py said `{answer}`")))?;
        Ok(1e3 * seconds)
    };
    // Once for the page cache and for what the first load alone does.
    theirs()?;
    load(path, Weights::Mapped)?;
    let mut pairs = Pairs {
        theirs: Vec::new(),
        ours: Vec::new(),
        ours_with_weights: Vec::new(),
    };
    for _ in 0..options.rounds {
        let before = theirs()?;
        let mapped = [load(path, Weights::Mapped)?, load(path, Weights::Mapped)?];
        let read = [load(path, Weights::Read)?, load(path, Weights::Read)?];
        let after = theirs()?;
        let mean = |[a, b]: [f64; 2]| f64::midpoint(a, b);
        pairs.theirs.push(mean([before, after]));
        pairs.ours.push(mean(mapped));
        pairs.ours_with_weights.push(mean(read));
    }
    Ok(pairs)
}

/// Whether the weights are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weights {
    Mapped,
    Read,
}

/// Loads the model; milliseconds.
fn load(path: &Path, weights: Weights) -> Result<f64, BenchError> {
    let start = Instant::now();
    let model = Model::load(path).map_err(|e| BenchError::step("loading the network", e))?;
    if weights == Weights::Read {
        let mut sum = 0_u64;
        for tensor in &model.graph_proto().initializer {
            let tensor = Tensor::from_proto(tensor)
                .map_err(|e| BenchError::step("reading the weights", e))?;
            let (words, _) = tensor.bytes().as_chunks::<8>();
            sum = words
                .iter()
                .fold(sum, |sum, &word| sum.wrapping_add(u64::from_le_bytes(word)));
        }
        std::hint::black_box(sum);
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(model);
    Ok(1e3 * seconds)
}

/// Keeps how long the runs before and after took.
#[derive(Debug, Default)]
struct Comparison(Mutex<f64>);

impl Reporter for Comparison {
    fn event(&self, event: &Event<'_>) {
        if let (Event::Finished { stage, seconds }, Ok(mut kept)) = (event, self.0.lock())
            && *stage == "compare"
        {
            *kept = *seconds;
        }
    }
}

/// What `simplify` takes for each target: a table, and the seconds.
fn time_simplify(path: &Path, folder: &Path) -> Result<(Table, serde_json::Value), BenchError> {
    let model = Model::load(path).map_err(|e| BenchError::step("loading the network", e))?;
    let mut rows = Vec::new();
    let mut all = serde_json::Map::new();
    for target in TARGETS {
        let mut rewrites = Vec::new();
        for _ in 0..REWRITE_RUNS {
            let mut simplified = model.clone();
            let start = Instant::now();
            simplify(&mut simplified, SimplifyOptions::for_target(target))
                .map_err(|e| BenchError::step("simplifying the network", e))?;
            rewrites.push(start.elapsed().as_secs_f64());
        }
        let settings = SimplifySettings {
            model: path.to_owned(),
            output: folder.join("simplified.onnx"),
            target: target.name.to_owned(),
            stop_after: None,
            dump: None,
            bind: Vec::new(),
            max_opset: None,
        };
        let (comparison, cancelled) = (Comparison::default(), AtomicBool::new(false));
        let outcome = tilecast::simplify(&settings, &Context::new(&comparison, &cancelled))
            .map_err(|e| BenchError::step("simplifying the network", e))?;
        let compared = comparison.0.into_inner().unwrap_or_default();
        let [before, after] = outcome.report.nodes;
        rows.push(vec![
            target.name.to_owned(),
            format!("{before} → {after}"),
            Quartiles::of(&rewrites).map_or_else(|| "–".into(), Quartiles::text),
            format!("{compared:.1}"),
        ]);
        all.insert(
            target.name.to_owned(),
            json!({ "rewrites": rewrites, "runs": compared }),
        );
    }
    let columns = ["target", "nodes", "rewrites, s", "runs before and after, s"];
    let table = Table {
        title: "Simplifying, median (quartiles)".into(),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    };
    Ok((table, all.into()))
}
