//! The images of a recipe: which are calibrated on, which are held out, and what the truth is.

use std::path::{Path, PathBuf};

use tilecast_tile::{PlanarImage, Rect, Size, list_images, read_image};

use crate::{Failure, FailureKind};

/// An image file and its ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    /// The network's input.
    pub(crate) path: PathBuf,
    /// What the network should make of it, where that is known.
    pub(crate) truth: Option<PathBuf>,
}

impl ImageFile {
    /// File name, for reports.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        self.path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Reads the input.
    ///
    /// # Errors
    /// The file is missing, corrupt or of an unsupported kind.
    pub(crate) fn read(&self) -> Result<PlanarImage, Failure> {
        Ok(read_image(&self.path)?)
    }

    /// Reads the input and the ground truth.
    ///
    /// # Errors
    /// As [`ImageFile::read`].
    pub(crate) fn read_both(&self) -> Result<Sample, Failure> {
        Ok(Sample {
            name: self.name(),
            image: self.read()?,
            truth: self.truth.as_deref().map(read_image).transpose()?,
        })
    }
}

/// An image and its ground truth.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// File name.
    pub(crate) name: String,
    /// The network's input.
    pub(crate) image: PlanarImage,
    /// What the network should make of it, where that is known; `scale` times as large.
    pub(crate) truth: Option<PlanarImage>,
}

impl Sample {
    /// The middle of the image, at most `side_px` high and wide. `scale` is how many times larger the ground truth is.
    ///
    /// # Errors
    /// The ground truth has another size.
    pub(crate) fn middle(&self, side_px: usize, scale: usize) -> Result<Self, Failure> {
        let Size { height, width } = self.image.size();
        let part = Rect {
            top: height.saturating_sub(side_px) / 2,
            left: width.saturating_sub(side_px) / 2,
            height: height.min(side_px),
            width: width.min(side_px),
        };
        let large = Size {
            height: height * scale,
            width: width * scale,
        };
        if let Some(other) = self.truth.as_ref().filter(|t| t.size() != large) {
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "the ground truth of `{}` has {} px, the network gives {large}",
                    self.name,
                    other.size()
                ),
            )
            .with_help("give ground truth of the output's size"));
        }
        Ok(Self {
            name: self.name.clone(),
            image: self.image.crop(part, 1),
            truth: self.truth.as_ref().map(|t| t.crop(part, scale)),
        })
    }
}

/// A folder of images, split once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageSet {
    /// Images that ranges are taken from.
    pub(crate) calibration: Vec<ImageFile>,
    /// Images that results are judged on, never calibrated on.
    pub(crate) holdout: Vec<ImageFile>,
}

/// All images of a folder in natural order of their names, each with the file of the same name in `references`.
///
/// # Errors
/// A folder is missing or empty, or an image has no reference.
pub(crate) fn find_images(
    folder: &Path,
    references: Option<&Path>,
) -> Result<Vec<ImageFile>, Failure> {
    let mut images = Vec::new();
    for path in list_images(folder)? {
        let truth = references.map(|folder| folder.join(path.file_name().unwrap_or_default()));
        if let Some(missing) = truth.as_deref().filter(|t| !t.is_file()) {
            return Err(Failure::new(
                FailureKind::Io,
                format!(
                    "image `{}` has no reference `{}`",
                    path.display(),
                    missing.display()
                ),
            )
            .with_help(
                "give every image a reference of the same name, or leave `references` out",
            ));
        }
        images.push(ImageFile { path, truth });
    }
    Ok(images)
}

/// Splits images by systematic sampling: of `n` images in name order, `round(holdout · n)` (at least one, and leaving
/// at least one) are held out at even distances, the last of each stretch. A folder whose names put its strata into a
/// cycle is thus sampled in every stratum, and adding an image at the end moves no other between the two sets unless
/// the number held out changes.
///
/// # Errors
/// Fewer than two images.
pub(crate) fn split(images: Vec<ImageFile>, holdout: f64) -> Result<ImageSet, Failure> {
    let n = images.len();
    if n < 2 {
        return Err(Failure::new(
            FailureKind::Usage,
            "one image cannot be both calibrated on and held out",
        )
        .with_help("add images to the calibration folder; 16 or more is usual"));
    }
    let n_holdout = ((holdout * n as f64).round() as usize).clamp(1, n - 1);
    let mut set = ImageSet {
        calibration: Vec::new(),
        holdout: Vec::new(),
    };
    for (index, image) in images.into_iter().enumerate() {
        // Image `index` ends stretch k exactly when k·n/n_holdout steps to another whole number behind it.
        let ends_stretch = (index + 1) * n_holdout / n > index * n_holdout / n;
        if ends_stretch {
            set.holdout.push(image);
        } else {
            set.calibration.push(image);
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> Vec<ImageFile> {
        (1..=n)
            .map(|i| ImageFile {
                path: PathBuf::from(format!("{i:02}.png")),
                truth: None,
            })
            .collect()
    }

    fn holdout_names(n: usize, holdout: f64) -> Vec<String> {
        split(numbered(n), holdout)
            .unwrap()
            .holdout
            .iter()
            .map(ImageFile::name)
            .collect()
    }

    #[test]
    fn a_quarter_is_every_fourth_image() {
        assert_eq!(
            holdout_names(24, 0.25),
            ["04.png", "08.png", "12.png", "16.png", "20.png", "24.png"]
        );
        assert_eq!(holdout_names(9, 0.25), ["05.png", "09.png"]);
    }

    #[test]
    fn both_parts_keep_at_least_one_image() {
        assert_eq!(holdout_names(2, 0.01), ["02.png"]);
        assert_eq!(holdout_names(3, 0.99), ["02.png", "03.png"]);
        assert_eq!(
            split(numbered(1), 0.5).unwrap_err().kind(),
            FailureKind::Usage
        );
    }

    #[test]
    fn the_parts_are_disjoint_and_complete() {
        for n in 2..40 {
            for holdout in [0.1, 0.25, 0.5, 0.9] {
                let set = split(numbered(n), holdout).unwrap();
                let mut all: Vec<_> = set
                    .calibration
                    .iter()
                    .chain(&set.holdout)
                    .cloned()
                    .collect();
                all.sort_by_key(ImageFile::name);
                assert_eq!(all, numbered(n));
            }
        }
    }
}
