//! `bench tile`: `tilecast run` on a photo of 24 megapixels beside onnxruntime in an ordinary Python loop over the same tiles: time and memory of
//! whole processes, in rounds, with one core and with two.
//!
//! `--only try` runs a small image instead, in a minute.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};
use tilecast_tile::{
    Alpha, Colour, ImageReader, ImageTarget, Metadata, PixelFormat, ReadLimits, RowSource,
    SampleType, Size, WriteImageError, write_rows,
};

use super::process::{self, Run};
use super::python;
use super::report::{Report, Table};
use super::statistics::Quartiles;
use super::{BenchError, Options, checkout, progress, scratch};

const SCRIPT: &str = "tile_peer.py";
const MODEL: &str = "models/nafnet-denoise.onnx";

/// Cores that both are given.
const CORES: [usize; 2] = [2, 1];

/// The peer runs with one core in every so many rounds: it takes twice the time, and what it says, a ratio of times, spreads
/// little.
const ROUNDS_PER_SLOW_ROUND: usize = 3;

/// An image, and the side of the tiles that both run it in.
struct Case {
    name: &'static str,
    size: Size,
    tile_px: usize,
}

const CASES: [Case; 2] = [
    Case {
        name: "24 megapixels",
        size: Size {
            height: 4000,
            width: 6000,
        },
        tile_px: 320,
    },
    Case {
        name: "a try-out",
        size: Size {
            height: 480,
            width: 960,
        },
        tile_px: 320,
    },
];

/// What the smaller image is asked for with; without `--only` it is not run.
const TRY_OUT: &str = "try";

/// One program on one image.
#[derive(Clone, Copy, Debug)]
struct Sample {
    run: Run,
    /// Seconds without the start of the interpreter and its imports; the whole process of a program that has none.
    inside_seconds: f64,
}

impl Sample {
    fn json(&self) -> Value {
        json!({
            "seconds": self.run.seconds,
            "inside_seconds": self.inside_seconds,
            "peak_resident_bytes": self.run.resident,
        })
    }
}

/// One round with a number of cores.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ours: Sample,
    peer: Sample,
}

/// Which tiles were run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Tiles {
    height: u64,
    width: u64,
    halo: u64,
    n: u64,
}

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let mut versions = vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let packages = ["onnxruntime", "numpy", "pillow"];
    versions.extend(python::versions(&options.python, &packages, &[])?);
    let mut report = Report {
        method: vec![
            "Both read an 8-bit TIFF, run the sample in tiles of the same size with the same overlap, and write a TIFF. The peer is onnxruntime's CPU \
             provider with its defaults and as many threads as there are cores, in a loop over the tiles, with the image and the result as whole arrays of \
             float32; tilecast runs a tile per core. Rounds are interleaved: the peer and tilecast with two cores, tilecast with one and, in every third round, the peer with one, and then \
             two processes of tilecast at once with one core each: what the machine makes of a second core when nothing is shared."
                .into(),
            "Times are those of whole processes. \"Without the start of Python\" leaves its start and its imports out of the peer's; nothing is left out of \
             tilecast's. Peaks are resident sets as the system counts them (VmHWM)."
                .into(),
        ],
        versions,
        ..Report::default()
    };
    let wanted = |case: &&Case| match &options.only {
        None => !case.name.contains(TRY_OUT),
        Some(_) => options.wants(case.name),
    };
    let mut results = Vec::new();
    for case in CASES.iter().filter(wanted) {
        let measured = measure(case, options)?;
        report.tables.push(measured.table(case));
        report.remarks.extend(measured.remark(case));
        results.push(measured.json(case));
    }
    report.results = results.into();
    Ok(report)
}

/// What became of one image.
struct Measured {
    tiles: Tiles,
    /// Largest difference of the two results, in steps of 8 bits.
    difference: u32,
    /// Per number of cores as in [`CORES`], a pair per round.
    pairs: [Vec<Pair>; 2],
    /// Tilecast with one core, in every round.
    one_core: Vec<Sample>,
    /// In rounds with the peer on one core: seconds until two processes of one core each are through that run at the same time.
    side_by_side: Vec<f64>,
}

fn measure(case: &Case, options: &Options) -> Result<Measured, BenchError> {
    let folder = scratch()?;
    let path = |name: &str| folder.path().join(name);
    let (input, ours, peer) = (path("input.tif"), path("ours.tif"), path("peer.tif"));
    progress(&format!("{}: writing it", case.name));
    write_image(&input, case.size)?;
    let mut measured = Measured {
        tiles: Tiles {
            height: 0,
            width: 0,
            halo: 0,
            n: 0,
        },
        difference: 0,
        pairs: [Vec::new(), Vec::new()],
        one_core: Vec::new(),
        side_by_side: Vec::new(),
    };
    for round in 0..options.rounds.max(1) {
        // What is compared runs one after the other: both programs with two cores, tilecast with two and one, both with one.
        progress(&format!("{}: round {round}, two cores", case.name));
        if round == 0 {
            // The peer is told the tiles that we take.
            measured.tiles = run_ours(case, &input, &ours, 2)?.1;
        }
        let peer_both = run_peer(options, measured.tiles, &input, &peer, 2)?;
        let (ours_both, _) = run_ours(case, &input, &ours, 2)?;
        measured.compare(&ours, &peer)?;
        measured.pairs[0].push(Pair {
            ours: ours_both,
            peer: peer_both,
        });
        progress(&format!("{}: round {round}, one core", case.name));
        let (ours_one, _) = run_ours(case, &input, &ours, 1)?;
        measured.one_core.push(ours_one);
        if round % ROUNDS_PER_SLOW_ROUND == 0 {
            let peer_one = run_peer(options, measured.tiles, &input, &peer, 1)?;
            measured.compare(&ours, &peer)?;
            measured.pairs[1].push(Pair {
                ours: ours_one,
                peer: peer_one,
            });
            progress(&format!("{}: two processes at once", case.name));
            let seconds = run_side_by_side(case, &input, [&ours, &peer])?;
            measured.side_by_side.push(seconds);
        }
    }
    Ok(measured)
}

/// Seconds until two processes of one core each, on the same image at the same time, are both through: what the machine makes of
/// a second core when nothing is shared.
fn run_side_by_side(case: &Case, input: &Path, outputs: [&Path; 2]) -> Result<f64, BenchError> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        // Errors stay in their thread: they may hold what cannot be sent.
        let runs = outputs.map(|output| {
            scope.spawn(|| {
                let run = run_ours(case, input, output, 1);
                run.map(drop).map_err(|e| e.to_string())
            })
        });
        runs.into_iter().try_for_each(|run| {
            let run = run.join().unwrap_or_else(|cause| resume_unwind(cause));
            run.map_err(|e| BenchError::step("two processes at once", e))
        })
    })?;
    Ok(start.elapsed().as_secs_f64())
}

fn run_ours(
    case: &Case,
    input: &Path,
    output: &Path,
    cores: usize,
) -> Result<(Sample, Tiles), BenchError> {
    let mut command = process::tilecast()?;
    command
        .arg("run")
        .arg(checkout().join(MODEL))
        .arg(input)
        .arg("-o")
        .arg(output)
        .args(["--json", "--tile", &case.tile_px.to_string()])
        .env("RAYON_NUM_THREADS", cores.to_string());
    let (run, text) = process::watch_output("`tilecast run`", &mut command)?;
    let tiles = tiles_of(&text)
        .ok_or_else(|| BenchError::step("reading the JSON of `tilecast run`", text))?;
    let sample = Sample {
        run,
        inside_seconds: run.seconds,
    };
    Ok((sample, tiles))
}

/// What `run --json` says of its tiles.
fn tiles_of(text: &str) -> Option<Tiles> {
    let document: Value = serde_json::from_str(text).ok()?;
    let image = &document["images"][0];
    Some(Tiles {
        height: image["tile_height"].as_u64()?,
        width: image["tile_width"].as_u64()?,
        halo: document["halo_px"].as_u64()?,
        n: image["tiles"].as_u64()?,
    })
}

fn run_peer(
    options: &Options,
    tiles: Tiles,
    input: &Path,
    output: &Path,
    cores: usize,
) -> Result<Sample, BenchError> {
    let model: PathBuf = checkout().join(MODEL);
    let mut command = Command::new(&options.python);
    command
        .arg(python::script_path(SCRIPT))
        .args([model.as_path(), input, output])
        .args([tiles.height, tiles.width, tiles.halo, cores as u64].map(|n| n.to_string()));
    let (run, text) = process::watch_output(SCRIPT, &mut command)?;
    let inside_seconds = seconds_of(&text)
        .ok_or_else(|| BenchError::step(format!("reading what {SCRIPT} said"), text))?;
    Ok(Sample {
        run,
        inside_seconds,
    })
}

/// What the script says of its time.
fn seconds_of(text: &str) -> Option<f64> {
    let document: Value = serde_json::from_str(text).ok()?;
    document["seconds"].as_f64()
}

impl Measured {
    /// Takes note of how far the two results are apart.
    fn compare(&mut self, ours: &Path, peer: &Path) -> Result<(), BenchError> {
        self.difference = self.difference.max(largest_difference(ours, peer)?);
        Ok(())
    }

    /// Times of the peer over ours.
    fn ratios(&self, cores: usize, seconds: fn(&Sample) -> f64) -> Option<Quartiles> {
        let index = CORES.iter().position(|n| *n == cores)?;
        let ratios: Vec<f64> = self.pairs[index]
            .iter()
            .map(|pair| seconds(&pair.peer) / seconds(&pair.ours))
            .collect();
        Quartiles::of(&ratios)
    }

    /// Our time with one core over that with two, round by round.
    fn scaling(&self) -> Option<Quartiles> {
        let both = self.pairs[0].iter().map(|pair| pair.ours.run.seconds);
        let one = self.one_core.iter().map(|one| one.run.seconds);
        let ratios: Vec<f64> = both.zip(one).map(|(both, one)| one / both).collect();
        Quartiles::of(&ratios)
    }

    /// The same of the peer, where it ran with one.
    fn peer_scaling(&self) -> Option<Quartiles> {
        let both = self.pairs[0].iter().step_by(ROUNDS_PER_SLOW_ROUND);
        let ratios: Vec<f64> = both
            .zip(&self.pairs[1])
            .map(|(both, one)| one.peer.run.seconds / both.peer.run.seconds)
            .collect();
        Quartiles::of(&ratios)
    }

    /// What two processes get done in the time of one, over what one does.
    fn scaling_of_processes(&self) -> Option<Quartiles> {
        let both = self.side_by_side.iter();
        let ratios: Vec<f64> = both
            .zip(&self.pairs[1])
            .map(|(both, one)| 2.0 * one.ours.run.seconds / both)
            .collect();
        Quartiles::of(&ratios)
    }

    fn peak(&self, program: fn(&Pair) -> &Sample) -> Option<Quartiles> {
        let peaks: Vec<f64> = self.pairs[0]
            .iter()
            .map(|pair| program(pair).run.resident as f64 / 1e6)
            .collect();
        Quartiles::of(&peaks)
    }

    fn table(&self, case: &Case) -> Table {
        let text =
            |quartiles: Option<Quartiles>| quartiles.map_or_else(String::new, Quartiles::text);
        let seconds = |cores: usize, program: fn(&Pair) -> &Sample| {
            let index = CORES.iter().position(|n| *n == cores).unwrap_or(0);
            let times: Vec<f64> = self.pairs[index]
                .iter()
                .map(|pair| program(pair).run.seconds)
                .collect();
            Quartiles::of(&times)
        };
        let ours: fn(&Pair) -> &Sample = |pair| &pair.ours;
        let peer: fn(&Pair) -> &Sample = |pair| &pair.peer;
        let whole: fn(&Sample) -> f64 = |sample| sample.run.seconds;
        let inside: fn(&Sample) -> f64 = |sample| sample.inside_seconds;
        let (our_peak, peer_peak) = (self.peak(ours), self.peak(peer));
        let peaks = our_peak
            .zip(peer_peak)
            .map_or_else(String::new, |(a, b)| format!("{:.2}", b.median / a.median));
        let mut rows = Vec::new();
        for cores in CORES {
            rows.push(vec![
                format!("seconds, {cores} core(s)"),
                text(seconds(cores, ours)),
                text(seconds(cores, peer)),
                text(self.ratios(cores, whole)),
            ]);
            rows.push(vec![
                "– without the start of Python".to_owned(),
                String::new(),
                String::new(),
                text(self.ratios(cores, inside)),
            ]);
        }
        rows.push(vec![
            "one core over two".to_owned(),
            text(self.scaling()),
            text(self.peer_scaling()),
            String::new(),
        ]);
        rows.push(vec![
            "– twice one core over two processes at once".to_owned(),
            text(self.scaling_of_processes()),
            String::new(),
            String::new(),
        ]);
        rows.push(vec![
            "peak with two cores, MB".to_owned(),
            text(our_peak),
            text(peer_peak),
            peaks,
        ]);
        let columns = ["", "tilecast", "onnxruntime in Python", "peer / tilecast"];
        Table {
            title: format!(
                "{} ({} px), {} tiles of {}x{} px with a halo of {}: median (quartiles)",
                case.name,
                case.size,
                self.tiles.n,
                self.tiles.width,
                self.tiles.height,
                self.tiles.halo
            ),
            columns: columns.map(str::to_owned).to_vec(),
            rows,
        }
    }

    fn remark(&self, case: &Case) -> Option<String> {
        (self.difference > 1).then(|| {
            format!(
                "{}: the two results differ by up to {} of 255",
                case.name, self.difference
            )
        })
    }

    fn json(&self, case: &Case) -> Value {
        let rounds = |pairs: &[Pair]| -> Vec<Value> {
            pairs
                .iter()
                .map(|pair| json!({ "ours": pair.ours.json(), "peer": pair.peer.json() }))
                .collect()
        };
        json!({
            "image": case.name,
            "tiles": self.tiles,
            "largest_difference": self.difference,
            "side_by_side_seconds": self.side_by_side,
            "one_core": self.one_core.iter().map(Sample::json).collect::<Vec<_>>(),
            "rounds": { "2": rounds(&self.pairs[0]), "1": rounds(&self.pairs[1]) },
        })
    }
}

/// Waves with noise.
fn write_image(path: &Path, size: Size) -> Result<(), BenchError> {
    let target = ImageTarget {
        path,
        size,
        format: PixelFormat {
            colour: Colour::Rgb,
            alpha: Alpha::None,
            samples: SampleType::U8,
        },
        metadata: &Metadata::default(),
    };
    let written = write_rows(&target, |sink| -> Result<(), WriteImageError> {
        let mut row = vec![0.0; size.width * 3];
        let mut state = 1u32;
        for y in 0..size.height {
            for (index, value) in row.iter_mut().enumerate() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 16) as f32 / 65_536.0 - 0.5;
                let (x, channel) = (index / 3, index % 3);
                let wave = ((x + channel * 40) as f32 / 97.0).sin() + (y as f32 / 61.0).cos();
                *value = 0.5 + 0.2 * wave + 0.2 * noise;
            }
            sink.write_row(&row)?;
        }
        Ok(())
    });
    written.map_err(|e| BenchError::step("writing an image", e))
}

/// Largest difference of two images of 8 bits, in steps.
fn largest_difference(a: &Path, b: &Path) -> Result<u32, BenchError> {
    let fail = |e: tilecast_tile::ReadImageError| BenchError::step("reading a result", e);
    let [mut a, mut b] = [
        ImageReader::open(a, &ReadLimits::default()).map_err(fail)?,
        ImageReader::open(b, &ReadLimits::default()).map_err(fail)?,
    ];
    if (a.size(), a.format()) != (b.size(), b.format()) {
        return Err(BenchError::step(
            "comparing the results",
            format!("one is {}, the other {}", a.size(), b.size()),
        ));
    }
    let n = a.size().width * a.format().planes();
    let (mut row_a, mut row_b) = (vec![0.0; n], vec![0.0; n]);
    let mut largest = 0.0_f32;
    for _ in 0..a.size().height {
        a.read_row(&mut row_a).map_err(fail)?;
        b.read_row(&mut row_b).map_err(fail)?;
        let differences = row_a.iter().zip(&row_b).map(|(x, y)| (x - y).abs());
        largest = differences.fold(largest, f32::max);
    }
    Ok((largest * 255.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: f64, inside_seconds: f64, resident: u64) -> Sample {
        Sample {
            run: Run {
                seconds,
                resident,
                ..Run::default()
            },
            inside_seconds,
        }
    }

    #[test]
    fn ratios_are_of_pairs_and_scaling_is_of_rounds() {
        let pair = |ours: f64, peer: f64| Pair {
            ours: sample(ours, ours, 100_000_000),
            peer: sample(peer, peer - 1.0, 400_000_000),
        };
        let measured = Measured {
            tiles: Tiles {
                height: 384,
                width: 384,
                halo: 96,
                n: 4,
            },
            difference: 2,
            pairs: [vec![pair(10.0, 11.0)], vec![pair(19.0, 21.0)]],
            one_core: vec![sample(19.0, 19.0, 100_000_000)],
            side_by_side: vec![20.0],
        };
        let rows = measured.table(&CASES[1]).rows;
        let cells: Vec<&str> = rows.iter().map(|row| row[3].as_str()).collect();
        assert_eq!(
            cells,
            [
                "1.10 (1.10–1.10)",
                "1.00 (1.00–1.00)",
                "1.11 (1.11–1.11)",
                "1.05 (1.05–1.05)",
                "",
                "",
                "4.00"
            ]
        );
        assert_eq!(rows[4][1], "1.90 (1.90–1.90)");
        assert_eq!(rows[5][1], "1.90 (1.90–1.90)");
        assert!(measured.remark(&CASES[1]).is_some());
    }

    #[test]
    fn what_both_say_is_read() {
        let text =
            r#"{"halo_px": 96, "images": [{"tile_height": 384, "tile_width": 320, "tiles": 7}]}"#;
        let tiles = tiles_of(text).unwrap();
        assert_eq!(
            (tiles.height, tiles.width, tiles.halo, tiles.n),
            (384, 320, 96, 7)
        );
        assert!(tiles_of(r#"{"halo_px": null, "images": [{}]}"#).is_none());
        assert_eq!(seconds_of("{\"seconds\": 1.5}\n"), Some(1.5));
        assert_eq!(seconds_of("Traceback"), None);
    }
}
