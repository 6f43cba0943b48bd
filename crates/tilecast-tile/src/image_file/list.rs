//! The images of a folder, in the order in which a person would count them.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use super::{IMAGE_EXTENSIONS, has_image_extension};

/// What kind of failure a [`ListImagesError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListImagesErrorKind {
    /// The folder is missing or cannot be read.
    Io,
    /// The folder holds no images.
    Empty,
}

/// Why the images of a folder could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list images in `{}`: {reason}", folder.display())]
pub struct ListImagesError {
    kind: ListImagesErrorKind,
    folder: PathBuf,
    reason: String,
    source: Option<io::Error>,
}

impl ListImagesError {
    /// The category that decides what the user can do.
    #[must_use]
    pub fn kind(&self) -> ListImagesErrorKind {
        self.kind
    }
}

/// Paths of the images in a folder (not in its subfolders): files whose extension is one of [`IMAGE_EXTENSIONS`] in any
/// case and whose name does not start with a dot. Sorted by name, runs of digits by their value: `2.png`, `10.png`.
///
/// # Errors
/// The folder cannot be read, or there is no image in it.
pub fn list_images(folder: &Path) -> Result<Vec<PathBuf>, ListImagesError> {
    let fail = |source: io::Error| ListImagesError {
        kind: ListImagesErrorKind::Io,
        folder: folder.to_owned(),
        reason: match source.kind() {
            io::ErrorKind::NotFound => "no such folder; check the path".to_owned(),
            io::ErrorKind::NotADirectory => "it is no folder; give the folder around it".to_owned(),
            _ => source.to_string(),
        },
        source: Some(source),
    };
    let mut images = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        // `is_file` follows links, so that a folder of links is a folder of images.
        if !is_hidden(&path) && has_image_extension(&path) && path.is_file() {
            images.push(path);
        }
    }
    if images.is_empty() {
        return Err(ListImagesError {
            kind: ListImagesErrorKind::Empty,
            folder: folder.to_owned(),
            reason: format!(
                "there are none; put files ending in {} there",
                IMAGE_EXTENSIONS.join(", ")
            ),
            source: None,
        });
    }
    images.sort_by(|a, b| compare_naturally(name_of(a), name_of(b)));
    Ok(images)
}

fn name_of(path: &Path) -> &[u8] {
    path.file_name().map_or(&[], |name| name.as_encoded_bytes())
}

fn is_hidden(path: &Path) -> bool {
    name_of(path).starts_with(b".")
}

/// Byte order, but a run of digits counts as its number. Names that differ only in leading zeros compare as bytes, so
/// that the order is total.
fn compare_naturally(a: &[u8], b: &[u8]) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (number_a, number_b) = (digits(rest_a), digits(rest_b));
        let order = if number_a.is_empty() || number_b.is_empty() {
            match (rest_a.split_first(), rest_b.split_first()) {
                (Some((byte_a, tail_a)), Some((byte_b, tail_b))) => {
                    (rest_a, rest_b) = (tail_a, tail_b);
                    byte_a.cmp(byte_b)
                }
                (None, None) => return a.cmp(b),
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
            }
        } else {
            (rest_a, rest_b) = (&rest_a[number_a.len()..], &rest_b[number_b.len()..]);
            let (value_a, value_b) = (without_zeros(number_a), without_zeros(number_b));
            // As text, so that no number is too long: more digits are a larger value.
            value_a
                .len()
                .cmp(&value_b.len())
                .then_with(|| value_a.cmp(value_b))
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The digits that the text starts with.
fn digits(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    &text[..end.unwrap_or(text.len())]
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != b'0');
    &digits[start.unwrap_or(digits.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_sort_by_value() {
        let sorted = [
            "0.png",
            "1.png",
            "01.png",
            "2.png",
            "10.png",
            "99999999999999999999998.png",
            "99999999999999999999999.png",
            "B.png",
            "a.png",
            "a1b2.png",
            "a1b10.png",
            "a2b1.png",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                // `01` and `1` are equal numbers; their bytes decide, and `0` comes before `1`.
                let equal_numbers = |name: &&str| ["1.png", "01.png"].contains(name);
                if equal_numbers(a) && equal_numbers(b) {
                    continue;
                }
                assert_eq!(
                    compare_naturally(a.as_bytes(), b.as_bytes()),
                    i.cmp(&j),
                    "{a} {b}"
                );
            }
        }
        assert_eq!(compare_naturally(b"01.png", b"1.png"), Ordering::Less);
        assert_eq!(compare_naturally(b"1.png", b"1.png"), Ordering::Equal);
        assert_eq!(compare_naturally(b"a", b"a1"), Ordering::Less);
    }

    #[test]
    fn only_visible_image_files_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "10.PNG",
            "9.jpeg",
            "8.TiF",
            ".hidden.png",
            "notes.txt",
            "png",
        ] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        std::fs::create_dir(folder.path().join("folder.png")).unwrap();
        let names: Vec<_> = list_images(folder.path())
            .unwrap()
            .into_iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["8.TiF", "9.jpeg", "10.PNG"]);
    }

    #[test]
    fn an_empty_folder_and_a_missing_one_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let empty = list_images(folder.path()).unwrap_err();
        assert_eq!(empty.kind(), ListImagesErrorKind::Empty);
        assert!(
            empty
                .to_string()
                .contains(&folder.path().display().to_string()),
            "{empty}"
        );
        let missing = list_images(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), ListImagesErrorKind::Io);
        assert!(missing.to_string().contains("no such folder"), "{missing}");
        let file = folder.path().join("file.png");
        std::fs::write(&file, b"").unwrap();
        assert!(
            list_images(&file)
                .unwrap_err()
                .to_string()
                .contains("no folder")
        );
    }
}
