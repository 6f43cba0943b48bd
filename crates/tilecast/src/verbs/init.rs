//! `init`: a recipe for a given model, with comments, and with a warning wherever it guesses.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tilecast_analysis::{Severity, TilingAnalysis, analyze, lint};
use tilecast_onnx::{Model, write_atomically};

use crate::context::{Context, Event};
use crate::recipe::{LoadedRecipe, json_schema};
use crate::recognize::{OtherInput, RangeGuess, inputs, value_range};
use crate::relative::relative;
use crate::{Failure, FailureKind};

/// Name of the schema that is written beside a recipe, for editors.
pub const SCHEMA_FILE: &str = "tilecast.schema.json";

/// Tiles of the validation, pixels, where the model does not ask for others.
const USUAL_TILE_PX: usize = 256;

/// Value of an input that nothing is known of.
const GUESSED_VALUE: f64 = 0.1;

/// Fewest images that give trustworthy ranges.
const ENOUGH_IMAGES: usize = 16;

/// What a recipe is wanted for.
#[derive(Clone, Debug)]
pub struct InitSettings {
    /// FP32 model file.
    pub model: PathBuf,
    /// Recipe to write; `None` only returns its text.
    pub output: Option<PathBuf>,
    /// Folder of typical inputs.
    pub images: Option<PathBuf>,
    /// Folder of ground truth with the same file names.
    pub references: Option<PathBuf>,
    /// Whether a recipe that is there is replaced.
    pub force: bool,
}

/// The recipe; the JSON document of `init`.
#[derive(Clone, Debug, Serialize)]
pub struct InitOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// File written; null where the text was only asked for.
    pub path: Option<String>,
    /// Schema written beside it, for editors.
    pub schema_path: Option<String>,
    /// The recipe.
    pub recipe: String,
    /// What was recognized in the model, a sentence each.
    pub recognized: Vec<String>,
    /// What was guessed or needs attention, a sentence each.
    pub warnings: Vec<String>,
}

/// Writes a recipe for a model.
///
/// # Errors
/// The model cannot be loaded or takes no image, a recipe is in the way, or a file cannot be written.
pub fn init(settings: &InitSettings, cx: &Context<'_>) -> Result<InitOutcome, Failure> {
    if let Some(output) = &settings.output {
        super::convert::check_output_folder(output)?;
        if output.exists() && !settings.force {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("`{}` is there already", output.display()),
            )
            .with_help("give another name with -o, or replace it with --force"));
        }
    }
    let model = Model::load(&settings.model)?;
    let draft = Draft::new(&model, settings)?;
    for warning in &draft.warnings {
        cx.emit(&Event::Warning(warning));
    }
    let recipe = draft.text(settings);
    // What is written must be a recipe.
    let name = settings
        .output
        .as_deref()
        .unwrap_or(Path::new("recipe.yaml"));
    LoadedRecipe::from_text(name, &recipe, &[]).map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format!("the recipe that was made is not accepted: {error}"),
        )
    })?;
    let mut schema_path = None;
    if let Some(output) = &settings.output {
        let beside = output.with_file_name(SCHEMA_FILE);
        write(&beside, &json_schema())?;
        write(output, &recipe)?;
        schema_path = Some(beside.display().to_string());
    }
    Ok(InitOutcome {
        schema: "tilecast.init/1",
        path: settings
            .output
            .as_ref()
            .map(|path| path.display().to_string()),
        schema_path,
        recipe,
        recognized: draft.recognized,
        warnings: draft.warnings,
    })
}

/// What the recipe will say.
struct Draft {
    layout: &'static str,
    range: RangeGuess,
    others: Vec<(String, OtherInput)>,
    tile_px: usize,
    has_global_statistics: bool,
    recognized: Vec<String>,
    warnings: Vec<String>,
}

impl Draft {
    fn new(model: &Model, settings: &InitSettings) -> Result<Self, Failure> {
        let path = settings.model.display();
        let graph = model.graph();
        let found = inputs(&graph);
        let Some((image, axes)) = found.image else {
            return Err(Failure::new(
                FailureKind::Model,
                format!("`{path}` has no input with four axes, [N, C, H, W] or [N, H, W, C], so it takes no image"),
            )
            .with_help("`tilecast inspect` lists its inputs"));
        };
        let (mut recognized, mut warnings) = (Vec::new(), Vec::new());
        let name = image.name.as_deref().unwrap_or_default();
        let layout = if axes.channels_last { "nhwc" } else { "nchw" };
        let channels =
            axes.channels
                .map_or("an unknown number of channels".to_owned(), |n| match n {
                    1 => "1 channel (grey)".to_owned(),
                    n => format!("{n} channels"),
                });
        recognized.push(format!("input `{name}`: {layout}, {channels}"));
        if !matches!(axes.channels, Some(1 | 3)) {
            warnings.push(format!("input `{name}` has {channels}; images have 1 or 3"));
        }
        let outputs: Vec<&str> = graph
            .proto()
            .output
            .iter()
            .filter_map(|v| v.name.as_deref())
            .collect();
        recognized.push(format!("output `{}`", outputs.join("`, `")));
        if outputs.len() > 1 {
            warnings.push(format!(
                "the model has {} outputs; only models with one can be run on images, so export it with one",
                outputs.len()
            ));
        }
        let analysis = analyze(model);
        match &analysis {
            Ok(analysis) => recognized.push(tiling(analysis)),
            Err(error) => warnings.push(format!("nothing is known of its tiling: {error}")),
        }
        let range = value_range(model, name);
        let [low, high] = range.range;
        match &range.reason {
            Some(reason) => recognized.push(format!("values from {low} to {high}: {reason}")),
            None => warnings.push(format!(
                "guessed: pixels from {low} (black) to {high} (white); if the model wants others, change `preprocess.range`"
            )),
        }
        for (input, kind) in &found.others {
            let what = match kind {
                OtherInput::Number => "a number",
                OtherInput::Map => "a map",
            };
            warnings.push(format!(
                "guessed: input `{input}` ({what}) gets {GUESSED_VALUE}; write what it should be under `preprocess.inputs`"
            ));
        }
        let errors: Vec<_> = lint(model)
            .into_iter()
            .filter(|f| f.severity == Severity::Error)
            .collect();
        if let Some(first) = errors.first() {
            warnings.push(format!(
                "lint finds {} error(s), which stop the job: {} at {}: {}; `tilecast explain {}` says what to do",
                errors.len(),
                first.code,
                first.node,
                first.message,
                first.code
            ));
        }
        image_warnings(settings, &mut warnings);
        Ok(Self {
            layout,
            range,
            others: found
                .others
                .iter()
                .map(|(name, kind)| ((*name).to_owned(), *kind))
                .collect(),
            tile_px: tile_px(analysis.as_ref().ok()),
            has_global_statistics: analysis.as_ref().is_ok_and(|a| !a.tiling_class.is_exact()),
            recognized,
            warnings,
        })
    }

    fn text(&self, settings: &InitSettings) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(settings, &mut text);
        text
    }

    fn write(&self, settings: &InitSettings, out: &mut String) -> std::fmt::Result {
        let folder = settings
            .output
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""));
        let path = |to: &Path| quoted(&relative(folder, to));
        writeln!(out, "# yaml-language-server: $schema={SCHEMA_FILE}")?;
        writeln!(
            out,
            "#\n# Made by `tilecast init`. Paths are relative to this file; `tilecast schema` describes every key."
        )?;
        for line in &self.recognized {
            writeln!(out, "# - {line}")?;
        }
        for line in &self.warnings {
            writeln!(out, "# CHECK: {line}")?;
        }
        writeln!(
            out,
            "\nversion: 1\n\nmodel: {}\n\ncalibration:",
            path(&settings.model)
        )?;
        let images = settings.images.as_deref().map_or("images".to_owned(), path);
        writeln!(
            out,
            "  images: {images}  # a folder of what the model gets in the field: 16 or more, no smaller than a tile"
        )?;
        match &settings.references {
            Some(references) => writeln!(
                out,
                "  references: {}  # what it should make of them",
                path(references)
            )?,
            None => writeln!(
                out,
                "  # references: truth  # what it should make of them, same file names; allows `max_drop_db`"
            )?,
        }
        writeln!(
            out,
            "  holdout: 0.25  # this share is never calibrated on, only validated on"
        )?;
        writeln!(out, "\npreprocess:\n  layout: {}", self.layout)?;
        let [low, high] = self.range.range;
        let note = if self.range.reason.is_some() {
            "black and white"
        } else {
            "CHECK: black and white, guessed"
        };
        writeln!(out, "  range: [{low}, {high}]  # {note}")?;
        writeln!(
            out,
            "  # What your code does to pixels before it calls the model, channel by channel; `tilecast schema` has the formula.\n  \
             # color: bgr\n  # mean: [0.485, 0.456, 0.406]\n  # std: [0.229, 0.224, 0.225]"
        )?;
        if !self.others.is_empty() {
            writeln!(
                out,
                "  inputs:  # CHECK: values of the other inputs, guessed"
            )?;
            for (name, kind) in &self.others {
                let note = match kind {
                    OtherInput::Number => "",
                    OtherInput::Map => "  # at every pixel",
                };
                writeln!(out, "    {}: {GUESSED_VALUE}{note}", quoted(name))?;
            }
        }
        writeln!(
            out,
            "\nartifacts:\n  # For GPUs: half the size, no visible difference.\n  - precision: fp16\n    gate: {{ min_psnr_db: 60 }}\n\n  \
             # A third to a half of the size. Ends and normalizations stay in FP16; a missed gate widens more nodes, the fewest that it takes.\n  \
             - precision: int8\n    target: generic  # or ort-cpu, tensorrt, directml, coreml\n    gate: {{ min_psnr_db: 40 }}"
        )?;
        writeln!(
            out,
            "\ntiling:\n  validate_tile: {}  # side of the tiles that artifacts are checked with, pixels",
            self.tile_px
        )?;
        if self.has_global_statistics {
            writeln!(
                out,
                "  # Some operators see the whole image; in tiles they see their tile. Sweeps share what they see among the tiles.\n  \
                 global_statistics: local  # or {{ sweeps: auto }}"
            )?;
        }
        Ok(())
    }
}

fn tiling(analysis: &TilingAnalysis) -> String {
    let halo = analysis
        .halo_px
        .map_or("unbounded".to_owned(), |px| format!("{px} px"));
    format!(
        "scale {}, halo {halo}, alignment {} px, tiling class {}",
        analysis.scale, analysis.alignment_px, analysis.tiling_class
    )
}

/// A tile whose core is at least half of its side, or the size that the model is fixed to.
fn tile_px(analysis: Option<&TilingAnalysis>) -> usize {
    let Some(analysis) = analysis else {
        return USUAL_TILE_PX;
    };
    if let Some([height, width]) = analysis.declared_size {
        return height.max(width);
    }
    let wanted = USUAL_TILE_PX.max(4 * analysis.halo_px.unwrap_or(0));
    wanted.next_multiple_of(analysis.alignment_px.max(1))
}

fn image_warnings(settings: &InitSettings, warnings: &mut Vec<String>) {
    match settings
        .images
        .as_deref()
        .map(|folder| (folder, tilecast_tile::list_images(folder)))
    {
        None => warnings.push(
            "guessed: calibration images lie in `images` beside the recipe; name your folder"
                .to_owned(),
        ),
        Some((_, Ok(images))) if images.len() >= ENOUGH_IMAGES => {}
        Some((folder, Ok(images))) => warnings.push(format!(
            "`{}` holds {} image(s); {ENOUGH_IMAGES} or more give ranges to rely on",
            folder.display(),
            images.len()
        )),
        Some((_, Err(error))) => warnings.push(error.to_string()),
    }
}

/// A YAML scalar: plain where that is safe, otherwise in double quotes.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let starts_plain =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '.' | '/' | '_'));
    // Words and numbers that YAML reads as something else.
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    let is_number =
        text.starts_with('.') && text[1..].starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_plain && text.chars().all(is_plain) && !is_word && !is_number {
        return text.to_owned();
    }
    // JSON is YAML.
    serde_json::Value::String(text.to_owned()).to_string()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    write_atomically(path, text.as_bytes()).map_err(|e| {
        Failure::new(
            FailureKind::Io,
            format!("cannot write `{}`: {e}", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_quoted_where_yaml_would_misread_them() {
        for plain in ["images", "../a/b-1.onnx", "sigma_2", "./x"] {
            assert_eq!(quoted(plain), plain);
        }
        for text in ["my images", "a: b", "no", "1e3", "C:/x", "größe", "", ".5"] {
            assert_eq!(quoted(text), format!("\"{text}\""));
        }
    }
}
