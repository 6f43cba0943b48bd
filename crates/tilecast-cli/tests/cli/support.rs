//! A folder to run the binary in, the inputs that tests put there, and what came of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::RgbImage;
use serde_json::Value;

/// The ×2 network: 27 nodes, no global operator, a fraction of a second for the whole job on [`IMAGE_SIDES_PX`].
pub(crate) const SRVGG: &str = "srvgg-x2.onnx";

/// The denoiser with its 12 global poolings.
pub(crate) const NAFNET: &str = "nafnet-denoise.onnx";

/// Widths and heights of the images that [`Folder::with_images`] makes. In tiles of [`TILE_PX`] the first is one tile
/// and the others are several.
const IMAGE_SIDES_PX: [[u32; 2]; 4] = [[64, 48], [96, 72], [80, 64], [72, 80]];

/// Folder of the stage cache, a folder of each test's own, which is not what tests look at.
const CACHE: &str = ".cache";

/// Tile side of [`RECIPE`], pixels.
pub(crate) const TILE_PX: usize = 64;

/// A recipe over the images of [`Folder::with_images`]: images 2 and 4 are held out. Its gates leave several decibels.
pub(crate) const RECIPE: &str = "\
version: 1
model: srvgg-x2.onnx
calibration:
  images: images
  references: references
  holdout: 0.5
artifacts:
  - precision: fp16
    gate: { min_psnr_db: 55 }
  - precision: int8
    target: ort-cpu
    gate: { min_psnr_db: 35, max_drop_db: 3 }
tiling: { validate_tile: 64 }
";

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One of the sample models.
pub(crate) fn sample_model(name: &str) -> Vec<u8> {
    fs::read(repository().join("models").join(name)).unwrap()
}

/// One of the calibration images.
pub(crate) fn sample_image(name: &str) -> RgbImage {
    let path = repository().join("calibration/noisy").join(name);
    image::open(path).unwrap().into_rgb8()
}

/// A temporary folder, removed at the end.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A folder with the ×2 network, four noisy images, their references of twice the size, and [`RECIPE`] as
    /// `recipe.yaml`.
    pub(crate) fn with_images() -> Self {
        let folder = Self::new();
        folder.write(SRVGG, sample_model(SRVGG));
        folder.write("recipe.yaml", RECIPE);
        fs::create_dir(folder.path("images")).unwrap();
        fs::create_dir(folder.path("references")).unwrap();
        let whole = sample_image("01-s10-256x256.png");
        for (index, [width, height]) in IMAGE_SIDES_PX.into_iter().enumerate() {
            let corner = 40 * index as u32;
            let small = image::imageops::crop_imm(&whole, corner, corner, width, height).to_image();
            let filter = image::imageops::FilterType::CatmullRom;
            let large = image::imageops::resize(&small, 2 * width, 2 * height, filter);
            let name = format!("{}.png", index + 1);
            small.save(folder.path("images").join(&name)).unwrap();
            large.save(folder.path("references").join(&name)).unwrap();
        }
        folder
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).unwrap();
    }

    /// Reads a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("`{name}`: {e}"))
    }

    /// Cuts a file to its first half.
    pub(crate) fn truncate(&self, name: &str) {
        let bytes = self.read(name);
        self.write(name, &bytes[..bytes.len() / 2]);
    }

    /// A command line, its words separated by single spaces, in this folder.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tilecast"));
        command
            .args(line.split(' '))
            .current_dir(self.folder.path())
            .env("TILECAST_CACHE_DIR", self.path(CACHE))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line to its end.
    pub(crate) fn run(&self, line: &str) -> Outcome {
        Outcome::new(line, &self.command(line).output().unwrap())
    }

    /// Runs a command line that must succeed.
    pub(crate) fn succeed(&self, line: &str) -> Outcome {
        let outcome = self.run(line);
        outcome.assert_code(0);
        outcome
    }

    /// Runs a command line that must succeed, and parses the JSON document on stdout.
    pub(crate) fn succeed_with_json(&self, line: &str) -> Value {
        self.succeed(line).json()
    }

    /// Runs a command line that cannot do its work: it must end with this code, print nothing on stdout, say one error
    /// on stderr, and leave neither temporary files nor a report.
    pub(crate) fn fail(&self, line: &str, code: i32) -> Outcome {
        let outcome = self.run(line);
        outcome.assert_failure(code);
        self.assert_nothing_unfinished();
        outcome
    }

    /// Files that a run in progress has and a finished or failed one must not have.
    pub(crate) fn assert_nothing_unfinished(&self) {
        for name in self.files() {
            assert!(
                !name.contains(".tilecast-") && !name.contains(".tmp"),
                "temporary file `{name}` was left"
            );
            assert!(
                !["report.json", "report.md", "report.html"]
                    .iter()
                    .any(|report| name.ends_with(report)),
                "`{name}` was written although the run did not finish"
            );
        }
    }

    /// Files of this folder and the folders in it, in the order of their names, with forward slashes.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(prefix) = folders.pop() {
            for entry in fs::read_dir(self.path(&prefix)).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
                if name == CACHE {
                    continue;
                }
                if entry.path().is_dir() {
                    folders.push(format!("{name}/"));
                } else {
                    names.push(name);
                }
            }
        }
        names.sort();
        names
    }
}

/// What a finished process left.
pub(crate) struct Outcome {
    line: String,
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Reads a process's output; `line` is for messages.
    pub(crate) fn new(line: &str, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            line: line.to_owned(),
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The exit code.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.code.unwrap()
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) {
        assert_eq!(
            self.code,
            Some(code),
            "`tilecast {}` printed:\n{}{}",
            self.line,
            self.stdout,
            self.stderr
        );
    }

    /// Asserts the exit code and the form that every failure has.
    #[track_caller]
    pub(crate) fn assert_failure(&self, code: i32) {
        self.assert_code(code);
        assert_eq!(self.stdout, "", "a failed run has no data");
        let n_errors = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count();
        assert_eq!(n_errors, 1, "{}", self.stderr);
    }

    /// Asserts that the command line was refused before anything ran.
    #[track_caller]
    pub(crate) fn assert_failure_of_usage(&self) {
        self.assert_code(2);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
    }

    /// Asserts that stderr has all these texts.
    #[track_caller]
    pub(crate) fn assert_says(&self, texts: &[&str]) {
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "no `{text}` in:\n{}",
                self.stderr
            );
        }
    }

    /// stderr without the lines that state how long a stage took.
    pub(crate) fn talk(&self) -> String {
        let is_timing = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words.as_slice(), [.., seconds, "s"] if seconds.parse::<f64>().is_ok())
        };
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !is_timing(line))
            .collect();
        lines.join("\n")
    }

    /// The JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in:\n{}", self.stdout))
    }
}

/// Asserts what a person reads. `expected` may be indented as the code around it is; blank lines around it and white
/// space at the ends of both do not count.
#[track_caller]
pub(crate) fn assert_text(actual: &str, expected: &str) {
    let indent = expected
        .lines()
        .filter(|line| !line.trim().is_empty())
        .skip(usize::from(!expected.starts_with('\n')))
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    let dedented: Vec<&str> = expected
        .lines()
        .map(|line| line.get(indent..).unwrap_or(line.trim_start()))
        .collect();
    assert_eq!(actual.trim_end(), dedented.join("\n").trim());
}
