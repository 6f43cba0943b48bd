//! The calibration table as a file: what was observed, of which model, on which images, by which version.
//!
//! It holds statistics, not ranges, so that any estimator can be applied later. It is JSON with keys and images in one
//! order, and statistics do not depend on order or grouping: parts that were made on different machines merge to the bytes
//! that one machine would have written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tilecast_onnx::{Model, write_atomically};
use tilecast_quant::ValueStatistics;

use crate::identity::model_sha256;
use crate::recipe::Preprocess;
use crate::report::FileFacts;
use crate::{Failure, FailureKind};

/// Format of the file.
const SCHEMA: &str = "tilecast.calibration/1";

/// A calibration table with everything that says whether it fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CalibrationFile {
    /// Always [`SCHEMA`].
    schema: String,
    /// Made from what, and how.
    origin: Origin,
    /// Which part of a larger calibration this is; absent in a complete table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<Part>,
    /// Images observed, in the order of their names.
    images: Vec<FileFacts>,
    /// Statistics by name of the value.
    values: BTreeMap<String, ValueStatistics>,
}

/// What the parts of one calibration have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// Version of tilecast: names of values follow from its passes.
    tilecast: String,
    /// The FP32 model, as it was before it was simplified.
    model: FileFacts,
    /// The runtime that the model was simplified for, by name.
    target: String,
    /// Whether it was simplified.
    simplified: bool,
    /// How pixels became the model's input.
    preprocess: Preprocess,
    /// Side of the tiles, pixels.
    tile_px: usize,
}

/// One of several parts of a calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// Which one, from 1.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) of: usize,
    /// SHA-256 of the names of all images of the folder, one a line.
    pub(crate) folder_sha256: String,
}

impl Origin {
    /// Of a table that this version makes.
    pub(crate) fn new(
        model: &Model,
        target: &str,
        simplified: bool,
        preprocess: Option<&Preprocess>,
        tile_px: usize,
    ) -> Self {
        Self {
            tilecast: env!("CARGO_PKG_VERSION").to_owned(),
            model: FileFacts {
                name: crate::identity::file_name(model.path()),
                sha256: model_sha256(model),
            },
            target: target.to_owned(),
            simplified,
            preprocess: preprocess.cloned().unwrap_or_default(),
            tile_px,
        }
    }

    /// The first thing in which two differ, with both sides.
    fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let text = |preprocess: &Preprocess| {
            let [black, white] = preprocess.range;
            let Preprocess {
                layout,
                color,
                inputs,
                mean,
                std,
                ..
            } = preprocess;
            let inputs: Vec<String> = inputs
                .iter()
                .map(|(name, value)| format!(", {name} = {value}"))
                .collect();
            let inputs = inputs.concat();
            let of = |what: &str, values: &Option<[f64; 3]>| {
                values.map_or(String::new(), |values| format!(", {what} {values:?}"))
            };
            let (mean, std) = (of("mean", mean), of("std", std));
            format!("{layout}, {color}, [{black}, {white}]{mean}{std}{inputs}")
        };
        // Names of model files may differ: they are not what makes the model.
        let facts = |origin: &Self| {
            [
                ("model", origin.model.sha256.clone()),
                ("version of tilecast", origin.tilecast.clone()),
                ("target", origin.target.clone()),
                ("simplification", origin.simplified.to_string()),
                ("preprocessing", text(&origin.preprocess)),
                ("tile size", origin.tile_px.to_string()),
            ]
        };
        facts(self)
            .into_iter()
            .zip(facts(other))
            .find(|(mine, theirs)| mine != theirs)
            .map(|((what, mine), (_, theirs))| (what, mine, theirs))
    }
}

impl CalibrationFile {
    /// A table, or a part of one.
    pub(crate) fn new(
        origin: Origin,
        part: Option<Part>,
        mut images: Vec<FileFacts>,
        values: BTreeMap<String, ValueStatistics>,
    ) -> Self {
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            schema: SCHEMA.to_owned(),
            origin,
            part,
            images,
            values,
        }
    }

    /// Images that were observed.
    pub(crate) fn n_images(&self) -> usize {
        self.images.len()
    }

    /// Whether values were counted in bins, not only their extremes kept.
    pub(crate) fn has_bins(&self) -> bool {
        let mut statistics = self.values.values();
        statistics.all(|statistics| statistics.histogram().has_bins())
    }

    /// Values that were observed.
    pub(crate) fn n_values(&self) -> usize {
        self.values.len()
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// It is missing, or no calibration table of this format.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let fail = |reason: String| {
            Failure::new(FailureKind::Io, format!("`{}`: {reason}", path.display()))
                .with_help("`tilecast calibrate` makes calibration tables")
        };
        let bytes =
            std::fs::read(path).map_err(|e| fail(format!("the table cannot be read: {e}")))?;
        let table: Self = serde_json::from_slice(&bytes)
            .map_err(|e| fail(format!("it is no calibration table: {e}")))?;
        if table.schema != SCHEMA {
            return Err(fail(format!(
                "its format is `{}`, this version reads `{SCHEMA}`",
                table.schema
            )));
        }
        if let Some(part) = &table.part
            && !(1..=part.of).contains(&part.index)
        {
            return Err(fail(format!(
                "it is part {} of {}, which cannot be",
                part.index, part.of
            )));
        }
        Ok(table)
    }

    /// Writes the file, whole or not at all; returns its size in bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<usize, Failure> {
        let mut bytes = serde_json::to_vec(self).map_err(|e| {
            Failure::new(
                FailureKind::Internal,
                format!("cannot encode the calibration table: {e}"),
            )
        })?;
        bytes.push(b'\n');
        write_atomically(path, &bytes).map_err(|e| {
            Failure::new(
                FailureKind::Io,
                format!("cannot write `{}`: {e}", path.display()),
            )
        })?;
        Ok(bytes.len())
    }

    /// Refuses a table that was not made from this model in this way, or is not complete.
    ///
    /// # Errors
    /// The table is stale, or a part.
    pub(crate) fn check_made_for(
        &self,
        model: &Model,
        target: &str,
        simplified: bool,
        preprocess: Option<&Preprocess>,
    ) -> Result<(), Failure> {
        if let Some(part) = &self.part {
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "the calibration table is part {} of {}",
                    part.index, part.of
                ),
            )
            .with_help("put the parts together with `tilecast calibrate merge`"));
        }
        let wanted = Origin {
            tile_px: self.origin.tile_px,
            ..Origin::new(model, target, simplified, preprocess, 0)
        };
        match self.origin.difference(&wanted) {
            None => Ok(()),
            Some((what, theirs, mine)) => Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "the calibration table is stale: its {what} is {}, here it is {}",
                    shortened(what, &theirs),
                    shortened(what, &mine)
                ),
            )
            .with_help("calibrate again with this model and these options")),
        }
    }

    /// The statistics of these values.
    ///
    /// # Errors
    /// One of them was not observed.
    pub(crate) fn statistics_of(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, ValueStatistics>, Failure> {
        let found = names.iter().map(|name| {
            let statistics = self.values.get(name).ok_or_else(|| {
                Failure::new(
                    FailureKind::Usage,
                    format!("the calibration table holds nothing about value `{name}`"),
                )
                .with_help("calibrate again with this model and these options")
            })?;
            Ok((name.clone(), statistics.clone()))
        });
        found.collect()
    }

    /// The complete table that these parts make, in any order.
    ///
    /// # Errors
    /// They come from different models, options, versions or folders, overlap, or one is missing. `names` are the files, for
    /// messages.
    pub(crate) fn merge(parts: Vec<Self>, names: &[String]) -> Result<Self, Failure> {
        let fail = |message: String| Failure::new(FailureKind::Usage, message);
        let mut by_index: BTreeMap<usize, (Self, &String)> = BTreeMap::new();
        for (table, name) in parts.into_iter().zip(names) {
            let index = table.place().0;
            if let Some((first, first_name)) = by_index.values().next() {
                first.check_same_calibration(&table, first_name, name)?;
            }
            if let Some((_, other)) = by_index.get(&index) {
                let message = match table.place() {
                    (_, 1) => format!("`{other}` and `{name}` are both complete"),
                    (_, of) => format!("`{other}` and `{name}` are both part {index} of {of}"),
                };
                return Err(fail(message).with_help("give each part once"));
            }
            by_index.insert(index, (table, name));
        }
        let Some((first, _)) = by_index.values().next() else {
            return Err(fail("there is nothing to merge".to_owned()));
        };
        let of = first.place().1;
        let missing: Vec<String> = (1..=of)
            .filter(|index| !by_index.contains_key(index))
            .map(|index| index.to_string())
            .collect();
        if !missing.is_empty() {
            return Err(
                fail(format!("part {} of {of} is missing", missing.join(", "))).with_help(format!(
                    "make it with `tilecast calibrate … --shard {}/{of}`",
                    missing[0]
                )),
            );
        }
        let origin = first.origin.clone();
        let mut images = Vec::new();
        let mut values: BTreeMap<String, ValueStatistics> = BTreeMap::new();
        let mut image_names = BTreeSet::new();
        for (table, name) in by_index.into_values() {
            for image in &table.images {
                if !image_names.insert(image.name.clone()) {
                    return Err(fail(format!(
                        "image `{}` of `{name}` is in another part too",
                        image.name
                    )));
                }
            }
            images.extend(table.images);
            for (value, statistics) in &table.values {
                values.entry(value.clone()).or_default().merge(statistics);
            }
        }
        Ok(Self::new(origin, None, images, values))
    }

    /// Which part of how many this is; a complete table is the only one.
    fn place(&self) -> (usize, usize) {
        self.part.as_ref().map_or((1, 1), |p| (p.index, p.of))
    }

    fn check_same_calibration(
        &self,
        other: &Self,
        my_name: &str,
        other_name: &str,
    ) -> Result<(), Failure> {
        let fail = |what: &str, mine: &str, theirs: &str| {
            Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "`{my_name}` and `{other_name}` do not belong together: {what} is {} in one and {} in the other",
                    shortened(what, mine),
                    shortened(what, theirs)
                ),
            )
            .with_help("make all parts from the same model, images and options, with the same version"))
        };
        if let Some((what, mine, theirs)) = self.origin.difference(&other.origin) {
            return fail(what, &mine, &theirs);
        }
        let (mine, theirs) = (self.has_bins(), other.has_bins());
        if mine != theirs {
            let text = |has_bins| if has_bins { "histograms" } else { "extremes" };
            return fail("what was kept", text(mine), text(theirs));
        }
        let (mine, theirs) = (self.place().1, other.place().1);
        if mine != theirs {
            return fail("number of parts", &mine.to_string(), &theirs.to_string());
        }
        let folder = |table: &Self| table.part.as_ref().map(|p| p.folder_sha256.clone());
        if folder(self) != folder(other) {
            let text = |table| folder(table).unwrap_or_default();
            return fail("hash of the names of the images", &text(self), &text(other));
        }
        if !self.values.keys().eq(other.values.keys()) {
            return fail(
                "number of values",
                &self.values.len().to_string(),
                &other.values.len().to_string(),
            );
        }
        Ok(())
    }
}

/// Hashes are told by their first digits.
fn shortened(what: &str, value: &str) -> String {
    match what {
        "model" | "hash of the names of the images" => {
            format!("{}…", value.chars().take(12).collect::<String>())
        }
        _ => format!("`{value}`"),
    }
}
