//! The serialized form of a histogram: the run of bins from the first to the last that holds values; in place of them the
//! number of values where there are no bins.
//!
//! Reading checks everything that observing guarantees, so that a damaged table is refused instead of
//! producing ranges. The extremes travel as `f64`: JSON readers may be off by one unit in the last place, which
//! an `f64` survives when it is rounded back to the `f32` it came from.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::binning::{MAX_BINS_PER_SIDE, MIN_EXPONENT, required_exponent};
use crate::histogram::Histogram;

/// The fields as they are written: either those of the bins, or the number of values.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramFields {
    /// `log2` of the bin width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exponent: Option<i32>,
    /// The index `k` of the first bin in `counts`; it covers `[k, k + 1) * 2^exponent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_bin: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counts: Option<Vec<u64>>,
    /// Finite values, where they are not counted in bins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    min: Option<f64>,
    max: Option<f64>,
    zeros: u64,
    non_finite: u64,
}

impl From<&Histogram> for HistogramFields {
    fn from(histogram: &Histogram) -> Self {
        let holds_values = |&count: &u64| count > 0;
        let first = histogram
            .counts
            .iter()
            .position(holds_values)
            .unwrap_or(MAX_BINS_PER_SIDE);
        let end = histogram
            .counts
            .iter()
            .rposition(holds_values)
            .map_or(first, |last| last + 1);
        let range = histogram.range();
        let has_bins = histogram.has_bins;
        Self {
            exponent: has_bins.then_some(histogram.exponent),
            first_bin: has_bins.then_some(first as i32 - MAX_BINS_PER_SIDE as i32),
            counts: has_bins.then(|| {
                let counts = histogram.counts.get(first..end);
                counts.unwrap_or_default().to_vec()
            }),
            count: (!has_bins).then_some(histogram.count),
            min: range.map(|range| range.min().into()),
            max: range.map(|range| range.max().into()),
            zeros: histogram.zeros,
            non_finite: histogram.non_finite,
        }
    }
}

impl TryFrom<HistogramFields> for Histogram {
    type Error = DecodeHistogramError;

    fn try_from(fields: HistogramFields) -> Result<Self, Self::Error> {
        let broken = |what| Err(DecodeHistogramError { what });
        let bins = match (fields.exponent, fields.first_bin, fields.counts) {
            (Some(exponent), Some(first), Some(counts)) => Some((exponent, first, counts)),
            (None, None, None) => None,
            _ => return broken("has only some of the fields of its bins"),
        };
        if bins.is_some() == fields.count.is_some() {
            return broken("has neither bins nor a count, or both");
        }
        let mut histogram = Self {
            has_bins: bins.is_some(),
            non_finite: fields.non_finite,
            zeros: fields.zeros,
            ..Self::new()
        };
        let (Some(min), Some(max)) = (fields.min, fields.max) else {
            let has_values = fields.count.is_some_and(|count| count > 0)
                || bins.is_some_and(|(exponent, _, counts)| {
                    exponent != MIN_EXPONENT || !counts.is_empty()
                });
            return if has_values || fields.zeros > 0 || fields.min.or(fields.max).is_some() {
                broken("has values but no extremes")
            } else {
                Ok(histogram)
            };
        };
        (histogram.min, histogram.max) = (min as f32, max as f32);
        if histogram.range().is_none() {
            return broken("has extremes that are not finite and ordered");
        }
        histogram.exponent = required_exponent(histogram.min, histogram.max);
        let Some((exponent, first_bin, counts)) = bins else {
            histogram.count = fields.count.unwrap_or_default();
            return if histogram.count == 0 || histogram.zeros > 0 {
                broken("has extremes without values, or zeros without bins")
            } else {
                Ok(histogram)
            };
        };
        if histogram.exponent != exponent {
            return broken("has a bin width that does not follow from its extremes");
        }
        let bin_of = |value: f32| (f64::from(value) / 2_f64.powi(exponent)).floor() as i64;
        let end_bin = i64::from(first_bin) + counts.len() as i64;
        if i64::from(first_bin) != bin_of(histogram.min) || end_bin != bin_of(histogram.max) + 1 {
            return broken("has bins that do not match its extremes");
        }
        if counts.first() == Some(&0) || counts.last() == Some(&0) {
            return broken("has an extreme outside its bins");
        }
        let sum = counts
            .iter()
            .try_fold(0_u64, |acc, &count| acc.checked_add(count));
        let Some(count) = sum else {
            return broken("has counts that overflow");
        };
        histogram.count = count;
        histogram.counts = vec![0; 2 * MAX_BINS_PER_SIDE];
        let first = (first_bin + MAX_BINS_PER_SIDE as i32) as usize;
        histogram.counts[first..first + counts.len()].copy_from_slice(&counts);
        if histogram.zeros > histogram.counts[MAX_BINS_PER_SIDE] {
            return broken("has more zeros than values in the bin that starts at zero");
        }
        Ok(histogram)
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        HistogramFields::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = HistogramFields::deserialize(deserializer)?;
        Self::try_from(fields).map_err(de::Error::custom)
    }
}

/// A serialized histogram that no sequence of observations can have produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("histogram {what}; calibrate again")]
pub struct DecodeHistogramError {
    what: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_readable_and_stable() {
        let mut histogram = Histogram::new();
        histogram.observe(&[0.0, 2048.5, 2050.0, 2050.25, f32::NAN]);
        let text = serde_json::to_string(&histogram).expect("serializes");
        assert!(
            text.starts_with(r#"{"exponent":0,"first_bin":0,"counts":[1,0,0,"#),
            "{text}"
        );
        assert!(
            text.ends_with(r#",0,1,0,2],"min":0.0,"max":2050.25,"zeros":1,"non_finite":1}"#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Histogram>(&text).expect("reads back"),
            histogram
        );
    }

    #[test]
    fn without_bins_the_count_is_written() {
        let mut histogram = Histogram::extremes_only();
        let text = |histogram: &Histogram| serde_json::to_string(histogram).expect("serializes");
        let read = |text: &str| serde_json::from_str::<Histogram>(text);
        assert_eq!(read(&text(&histogram)).expect("reads back"), histogram);
        histogram.observe(&[0.0, 2048.5, f32::NAN]);
        let valid = r#"{"count":2,"min":0.0,"max":2048.5,"zeros":0,"non_finite":1}"#;
        assert_eq!(text(&histogram), valid);
        assert_eq!(read(valid).expect("reads back"), histogram);
        for (from, to, what) in [
            ("\"count\":2,", "", "neither bins nor a count"),
            ("\"count\":2", "\"count\":0", "without values"),
            ("\"zeros\":0", "\"zeros\":1", "zeros without bins"),
            ("\"min\":0.0", "\"min\":null", "values but no extremes"),
            (
                "\"count\":2",
                "\"count\":2,\"exponent\":-1",
                "only some of the fields",
            ),
        ] {
            let error = read(&valid.replace(from, to)).expect_err(what).to_string();
            assert!(error.contains(what), "{from} to {to}: {error}");
        }
    }

    #[test]
    fn damaged_tables_are_refused() {
        let valid = r#"{"exponent":-11,"first_bin":0,"counts":[3],"min":0.0,"max":0.00025,"zeros":1,"non_finite":0}"#;
        let narrow = valid
            .replace("-11", "-22")
            .replace("[3]", "[1,2]")
            .replace("0.00025", "0.00000025");
        let narrow = narrow
            .replace("-22", "-33")
            .replace("[1,2]", &format!("[1{},2]", ",0".repeat(2146)));
        serde_json::from_str::<Histogram>(&narrow).expect("the undamaged table reads");

        for (from, to, what) in [
            (
                "\"max\":0.00000025",
                "\"max\":null",
                "has values but no extremes",
            ),
            ("\"min\":0.0", "\"min\":1.0", "not finite and ordered"),
            (
                "\"max\":0.00000025",
                "\"max\":1e300",
                "not finite and ordered",
            ),
            ("-33", "-32", "does not follow from its extremes"),
            (
                "\"first_bin\":0",
                "\"first_bin\":-2147483648",
                "bins that do not match",
            ),
            ("[1,", "[1,0,", "bins that do not match"),
            ("[1,", "[0,", "an extreme outside its bins"),
            ("[1,0", "[1,18446744073709551615", "counts that overflow"),
            ("\"zeros\":1", "\"zeros\":2", "more zeros than values"),
            ("\"zeros\"", "\"naughts\"", "unknown field"),
        ] {
            assert!(narrow.contains(from), "{from} is not in the table");
            let error = serde_json::from_str::<Histogram>(&narrow.replace(from, to))
                .expect_err(what)
                .to_string();
            assert!(error.contains(what), "{from} to {to}: {error}");
        }
    }
}
