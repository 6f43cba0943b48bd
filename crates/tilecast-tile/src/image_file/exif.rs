//! EXIF: what cameras and editors say about an image, in directories of numbered tags.
//!
//! PNG and JPEG hold it as one block, which has the structure of a TIFF file; a TIFF file holds the same tags in its own
//! directories. The block is kept byte for byte where the target takes one, only the tags that name the image's size
//! are overwritten in place: notes of camera makers contain offsets that a rewritten block would break. Where a TIFF
//! file is read or written, the tags move one by one.
//!
//! Crates that read EXIF do not tell where in the block a value lies, which overwriting in place must know; hence the
//! walk here.

use std::io::{Cursor, Seek, Write};

use tiff::encoder::{DirectoryEncoder, TiffEncoder, TiffKind};
use tiff::tags::{Tag, Type};
use tiff::{Directory, TiffResult};

use crate::Size;

/// Tags of the first directory that point at another.
const EXIF_DIRECTORY: u16 = 0x8769;
const GPS_DIRECTORY: u16 = 0x8825;
/// Tag of the EXIF directory that points at another.
const INTEROPERABILITY_DIRECTORY: u16 = 0xa005;

const IMAGE_WIDTH: u16 = 0x0100;
const IMAGE_HEIGHT: u16 = 0x0101;
const PIXEL_X_DIMENSION: u16 = 0xa002;
const PIXEL_Y_DIMENSION: u16 = 0xa003;

/// Entries that are read of one directory; real ones have a few dozen.
const MAX_ENTRIES: usize = 4096;

/// One of the directories of EXIF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExifDirectory {
    /// The first: who made the image, with what, its orientation.
    Main,
    /// How it was taken.
    Exif,
    /// Where it was taken.
    Gps,
    /// What it conforms to.
    Interoperability,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExifField {
    /// Where it stands.
    pub directory: ExifDirectory,
    /// Its number.
    pub tag: u16,
    /// Type code of TIFF: 2 is text, 3 a `u16`, 4 a `u32`, 5 a fraction, …
    pub kind: u16,
    /// The value, in the machine's byte order.
    pub value: Vec<u8>,
}

/// An EXIF block: a TIFF structure without an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exif {
    block: Vec<u8>,
}

impl Exif {
    /// A block as a PNG or JPEG file holds it. It may be damaged; then it has the fields in front of the damage.
    #[must_use]
    pub fn from_block(block: Vec<u8>) -> Self {
        Self { block }
    }

    /// A block of these fields; `None` where there are none, or where they do not fit into one.
    #[must_use]
    pub fn from_fields(fields: &[ExifField]) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let mut block = Cursor::new(Vec::new());
        let written = (|| -> TiffResult<()> {
            let mut encoder = TiffEncoder::new(&mut block)?;
            let pointers = write_linked(&mut encoder, fields)?;
            let mut main = encoder.image_directory()?;
            write_main(&mut main, fields, &pointers)?;
            main.finish()
        })();
        written.ok()?;
        Some(Self {
            block: block.into_inner(),
        })
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// All fields, directory by directory; pointers to directories and the thumbnail are none.
    #[must_use]
    pub fn fields(&self) -> Vec<ExifField> {
        let Some(walker) = Walker::new(&self.block) else {
            return Vec::new();
        };
        walker
            .entries()
            .into_iter()
            .filter_map(|entry| walker.field(&entry))
            .collect()
    }

    /// The same block, with the tags that name the size of the image set to `size`. Tags that are absent stay so; one
    /// that has no room for its number stays as it is.
    #[must_use]
    pub fn with_size(mut self, size: Size) -> Self {
        let Some(walker) = Walker::new(&self.block) else {
            return self;
        };
        let mut patches = Vec::new();
        for entry in walker.entries() {
            let side =
                match (entry.directory, entry.tag) {
                    (ExifDirectory::Main, IMAGE_WIDTH)
                    | (ExifDirectory::Exif, PIXEL_X_DIMENSION) => size.width,
                    (ExifDirectory::Main, IMAGE_HEIGHT)
                    | (ExifDirectory::Exif, PIXEL_Y_DIMENSION) => size.height,
                    _ => continue,
                };
            if entry.count == 1
                && let Some(bytes) = walker.number(entry.kind, side)
            {
                patches.push((entry.value_at, bytes));
            }
        }
        for (at, bytes) in patches {
            if let Some(place) = self.block.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(&bytes);
            }
        }
        self
    }
}

/// One entry of a directory in a block.
struct EntryAt {
    directory: ExifDirectory,
    tag: u16,
    kind: u16,
    count: usize,
    /// Offset of the value itself.
    value_at: usize,
}

/// Reads directories out of a block; every access is checked, because blocks come from strangers.
struct Walker<'a> {
    block: &'a [u8],
    is_little_endian: bool,
}

impl<'a> Walker<'a> {
    fn new(block: &'a [u8]) -> Option<Self> {
        let is_little_endian = match block.get(..4)? {
            b"II\x2a\0" => true,
            b"MM\0\x2a" => false,
            _ => return None,
        };
        Some(Self {
            block,
            is_little_endian,
        })
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.block.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.is_little_endian {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    fn u32(&self, at: usize) -> Option<usize> {
        let bytes = self.block.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let value = if self.is_little_endian {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        };
        Some(value as usize)
    }

    /// A number as a `u16` or `u32` of the block; `None` where it does not fit.
    fn number(&self, kind: u16, value: usize) -> Option<Vec<u8>> {
        match Type::from_u16(kind)? {
            Type::SHORT => {
                let value = u16::try_from(value).ok()?;
                Some(if self.is_little_endian {
                    value.to_le_bytes().to_vec()
                } else {
                    value.to_be_bytes().to_vec()
                })
            }
            Type::LONG => {
                let value = u32::try_from(value).ok()?;
                Some(if self.is_little_endian {
                    value.to_le_bytes().to_vec()
                } else {
                    value.to_be_bytes().to_vec()
                })
            }
            _ => None,
        }
    }

    /// All entries. Each kind of directory is visited once, so pointers in a circle end.
    fn entries(&self) -> Vec<EntryAt> {
        let mut found = Vec::new();
        let mut waiting = vec![(ExifDirectory::Main, self.u32(4))];
        let mut visited = Vec::new();
        while let Some((directory, at)) = waiting.pop() {
            let Some(at) = at else { continue };
            if visited.contains(&directory) {
                continue;
            }
            visited.push(directory);
            let n_entries = self.u16(at).map_or(0, usize::from).min(MAX_ENTRIES);
            for index in 0..n_entries {
                let Some(entry) = self.entry(directory, at.saturating_add(2 + 12 * index)) else {
                    break;
                };
                let next = match (directory, entry.tag) {
                    (ExifDirectory::Main, EXIF_DIRECTORY) => ExifDirectory::Exif,
                    (ExifDirectory::Main, GPS_DIRECTORY) => ExifDirectory::Gps,
                    (ExifDirectory::Exif, INTEROPERABILITY_DIRECTORY) => {
                        ExifDirectory::Interoperability
                    }
                    // Out of place, a pointer is neither followed nor a field: it would point into another file.
                    (_, EXIF_DIRECTORY | GPS_DIRECTORY | INTEROPERABILITY_DIRECTORY) => continue,
                    _ => {
                        found.push(entry);
                        continue;
                    }
                };
                waiting.push((next, self.u32(entry.value_at)));
            }
        }
        found.sort_by_key(|entry| (entry.directory, entry.tag));
        found
    }

    fn entry(&self, directory: ExifDirectory, at: usize) -> Option<EntryAt> {
        let (tag, kind) = (self.u16(at)?, self.u16(at.checked_add(2)?)?);
        let count = self.u32(at.checked_add(4)?)?;
        let inline_at = at.checked_add(8)?;
        let fits_inline = element_bytes(kind)
            .and_then(|bytes| bytes.checked_mul(count))
            .is_some_and(|bytes| bytes <= 4);
        let value_at = if fits_inline {
            inline_at
        } else {
            self.u32(inline_at)?
        };
        Some(EntryAt {
            directory,
            tag,
            kind,
            count,
            value_at,
        })
    }

    fn field(&self, entry: &EntryAt) -> Option<ExifField> {
        let n_bytes = element_bytes(entry.kind)?.checked_mul(entry.count)?;
        let end = entry.value_at.checked_add(n_bytes)?;
        let mut value = self.block.get(entry.value_at..end)?.to_vec();
        if self.is_little_endian != cfg!(target_endian = "little") {
            for element in value.chunks_mut(swapped_bytes(entry.kind)) {
                element.reverse();
            }
        }
        Some(ExifField {
            directory: entry.directory,
            tag: entry.tag,
            kind: entry.kind,
            value,
        })
    }
}

/// Size of one element of a type, bytes.
fn element_bytes(kind: u16) -> Option<usize> {
    Some(match Type::from_u16(kind)? {
        Type::BYTE | Type::ASCII | Type::SBYTE | Type::UNDEFINED => 1,
        Type::SHORT | Type::SSHORT => 2,
        Type::LONG | Type::SLONG | Type::FLOAT | Type::IFD => 4,
        Type::RATIONAL
        | Type::SRATIONAL
        | Type::DOUBLE
        | Type::LONG8
        | Type::SLONG8
        | Type::IFD8 => 8,
        _ => return None,
    })
}

/// Bytes of a type that are in the file's order together: a fraction is two numbers.
fn swapped_bytes(kind: u16) -> usize {
    match Type::from_u16(kind) {
        Some(Type::RATIONAL | Type::SRATIONAL) => 4,
        _ => element_bytes(kind).unwrap_or(1),
    }
}

/// Places in a file of the directories behind the main one.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    exif: Option<u64>,
    gps: Option<u64>,
}

/// Writes the directories that the main one points at.
pub(super) fn write_linked<W: Write + Seek, K: TiffKind>(
    encoder: &mut TiffEncoder<W, K>,
    fields: &[ExifField],
) -> TiffResult<Pointers> {
    let mut write = |directory, link: Option<(u16, u64)>| -> TiffResult<Option<u64>> {
        if link.is_none() && !fields.iter().any(|f| f.directory == directory) {
            return Ok(None);
        }
        let mut target = encoder.extra_directory()?;
        write_fields(&mut target, fields, directory)?;
        if let Some((tag, offset)) = link {
            write_pointer(&mut target, tag, offset)?;
        }
        Ok(Some(target.finish_with_offsets()?.pointer.0))
    };
    let interoperability = write(ExifDirectory::Interoperability, None)?
        .map(|offset| (INTEROPERABILITY_DIRECTORY, offset));
    Ok(Pointers {
        exif: write(ExifDirectory::Exif, interoperability)?,
        gps: write(ExifDirectory::Gps, None)?,
    })
}

/// Writes the fields of the main directory, and where the others are.
pub(super) fn write_main<W: Write + Seek, K: TiffKind>(
    main: &mut DirectoryEncoder<'_, W, K>,
    fields: &[ExifField],
    pointers: &Pointers,
) -> TiffResult<()> {
    write_fields(main, fields, ExifDirectory::Main)?;
    for (tag, offset) in [
        (EXIF_DIRECTORY, pointers.exif),
        (GPS_DIRECTORY, pointers.gps),
    ] {
        if let Some(offset) = offset {
            write_pointer(main, tag, offset)?;
        }
    }
    Ok(())
}

fn write_fields<W: Write + Seek, K: TiffKind>(
    target: &mut DirectoryEncoder<'_, W, K>,
    fields: &[ExifField],
    directory: ExifDirectory,
) -> TiffResult<()> {
    for field in fields.iter().filter(|f| f.directory == directory) {
        let Some(kind) = Type::from_u16(field.kind) else {
            continue;
        };
        let entry = target.write_entry_bytes(kind, &field.value)?;
        let tag = Tag::from_u16_exhaustive(field.tag);
        target.extend_from(&Directory::from_iter([(tag, entry)]));
    }
    Ok(())
}

/// A pointer is a `u32` in either kind of file: directories stand in front of the pixels.
fn write_pointer<W: Write + Seek, K: TiffKind>(
    target: &mut DirectoryEncoder<'_, W, K>,
    tag: u16,
    offset: u64,
) -> TiffResult<()> {
    target.write_tag(Tag::from_u16_exhaustive(tag), u32::try_from(offset)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(directory: ExifDirectory, tag: u16, kind: Type, value: &[u8]) -> ExifField {
        ExifField {
            directory,
            tag,
            kind: kind.to_u16(),
            value: value.to_vec(),
        }
    }

    fn sample() -> Vec<ExifField> {
        let fraction: Vec<u8> = [1u32, 250].iter().flat_map(|v| v.to_ne_bytes()).collect();
        vec![
            field(
                ExifDirectory::Main,
                0x010f,
                Type::ASCII,
                b"Maker of cameras\0",
            ),
            field(
                ExifDirectory::Main,
                0x0112,
                Type::SHORT,
                &6u16.to_ne_bytes(),
            ),
            field(ExifDirectory::Exif, 0x829a, Type::RATIONAL, &fraction),
            field(ExifDirectory::Exif, 0x927c, Type::UNDEFINED, &[7; 100]),
            field(
                ExifDirectory::Exif,
                PIXEL_X_DIMENSION,
                Type::LONG,
                &100u32.to_ne_bytes(),
            ),
            field(
                ExifDirectory::Exif,
                PIXEL_Y_DIMENSION,
                Type::SHORT,
                &50u16.to_ne_bytes(),
            ),
            field(ExifDirectory::Gps, 0x0001, Type::ASCII, b"N\0"),
            field(
                ExifDirectory::Interoperability,
                0x0001,
                Type::ASCII,
                b"R98\0",
            ),
        ]
    }

    #[test]
    fn fields_survive_a_block() {
        let fields = sample();
        let exif = Exif::from_fields(&fields).unwrap();
        assert_eq!(exif.fields(), fields);
        assert_eq!(Exif::from_fields(&[]), None);
        let only_gps = &fields[6..7];
        assert_eq!(Exif::from_fields(only_gps).unwrap().fields(), only_gps);
    }

    #[test]
    fn only_the_size_is_overwritten() {
        let exif = Exif::from_fields(&sample()).unwrap();
        let size = Size {
            height: 80,
            width: 70_000,
        };
        let resized = exif.clone().with_size(size);
        let mut expected = sample();
        expected[4].value = 70_000u32.to_ne_bytes().to_vec();
        expected[5].value = 80u16.to_ne_bytes().to_vec();
        assert_eq!(resized.fields(), expected);
        let n_changed = (exif.block().iter().zip(resized.block()))
            .filter(|(a, b)| a != b)
            .count();
        assert!(n_changed <= 6, "{n_changed} bytes differ");
        let too_high = Size {
            height: 70_000,
            ..size
        };
        expected[5].value = 50u16.to_ne_bytes().to_vec();
        assert_eq!(exif.with_size(too_high).fields(), expected);
    }

    #[test]
    fn the_other_byte_order_gives_the_same_values() {
        // One entry: orientation, one short, 6; then one fraction in the EXIF directory.
        let big = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let little = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        for block in [&big[..], little] {
            let fields = Exif::from_block(block.to_vec()).fields();
            assert_eq!(fields, [sample()[1].clone()]);
        }
    }

    #[test]
    fn damaged_blocks_give_what_is_whole() {
        let whole = Exif::from_fields(&sample()).unwrap();
        for n in 0..whole.block().len() {
            let cut = Exif::from_block(whole.block()[..n].to_vec());
            assert!(cut.fields().len() <= sample().len());
            let _ = cut.with_size(Size {
                height: 1,
                width: 1,
            });
        }
        // A directory that points at itself, and one with an absurd count.
        let circle = b"II\x2a\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0";
        assert!(Exif::from_block(circle.to_vec()).fields().is_empty());
        let absurd = b"II\x2a\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\xff\xff\x08\0\0\0\0\0\0\0";
        assert!(Exif::from_block(absurd.to_vec()).fields().is_empty());
    }
}
