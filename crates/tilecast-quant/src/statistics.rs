//! What calibration keeps of one tensor: a histogram of its values, and the extremes of each image, summed.
//!
//! Both are functions of the multiset of images, each a multiset of values: order, threads and shards leave no trace.

use serde::{Deserialize, Serialize};

use crate::exact_sum::ExactSum;
use crate::histogram::Histogram;
use crate::types::Range;

/// Everything that the range of one tensor is estimated from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StatisticsFields")]
pub struct ValueStatistics {
    histogram: Histogram,
    images: ImageExtremes,
}

/// Smallest and largest value of each image, summed over the images without rounding.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageExtremes {
    /// Images that showed a finite value.
    count: u64,
    min_sum: ExactSum,
    max_sum: ExactSum,
}

/// The fields as they are read, before they are checked against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatisticsFields {
    histogram: Histogram,
    images: ImageExtremes,
}

impl ValueStatistics {
    /// The statistics of one image, from all that it showed of the tensor.
    #[must_use]
    pub fn of_image(histogram: Histogram) -> Self {
        let mut images = ImageExtremes::default();
        if let Some(range) = histogram.range() {
            images.count = 1;
            images.min_sum.add(range.min());
            images.max_sum.add(range.max());
        }
        Self { histogram, images }
    }

    /// Adds the statistics of other images.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.merge(&other.histogram);
        self.images.count = self.images.count.saturating_add(other.images.count);
        self.images.min_sum.merge(&other.images.min_sum);
        self.images.max_sum.merge(&other.images.max_sum);
    }

    /// The values of all images.
    #[must_use]
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// The mean over the images of each one's smallest and largest value; `None` before the first finite value.
    #[must_use]
    pub fn mean_extremes(&self) -> Option<Range> {
        let seen = self.histogram.range()?;
        let mean = |sum: &ExactSum| sum.mean(self.images.count) as f32;
        // A mean lies between the extremes of its terms, but its rounding need not.
        let min = mean(&self.images.min_sum).clamp(seen.min(), seen.max());
        let max = mean(&self.images.max_sum).clamp(min, seen.max());
        Range::new(min, max).ok()
    }
}

impl TryFrom<StatisticsFields> for ValueStatistics {
    type Error = DecodeStatisticsError;

    fn try_from(fields: StatisticsFields) -> Result<Self, Self::Error> {
        let StatisticsFields { histogram, images } = fields;
        let is_possible = match histogram.range() {
            None => images == ImageExtremes::default(),
            Some(seen) => {
                let (low, high) = (f64::from(seen.min()), f64::from(seen.max()));
                let slack = 1e-6 * low.abs().max(high.abs());
                let min = images.min_sum.mean(images.count);
                let max = images.max_sum.mean(images.count);
                (1..=histogram.count()).contains(&images.count)
                    && low - slack <= min
                    && min <= max + slack
                    && max <= high + slack
            }
        };
        if is_possible {
            Ok(Self { histogram, images })
        } else {
            Err(DecodeStatisticsError)
        }
    }
}

/// Serialized statistics that no images can have produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("extremes of the images do not match the histogram; calibrate again")]
pub struct DecodeStatisticsError;

#[cfg(test)]
mod tests {
    use super::*;

    fn image(values: &[f32]) -> ValueStatistics {
        let mut histogram = Histogram::new();
        histogram.observe(values);
        ValueStatistics::of_image(histogram)
    }

    #[test]
    fn extremes_are_averaged_over_images_not_over_values() {
        let mut statistics = image(&[0.0, 1.0, 0.5, 0.25]);
        statistics.merge(&image(&[-2.0, 5.0]));
        // Counts as no image: it showed nothing finite.
        statistics.merge(&image(&[f32::NAN]));
        assert_eq!(statistics.mean_extremes(), Range::new(-1.0, 3.0).ok());
        assert_eq!(ValueStatistics::default().mean_extremes(), None);
    }

    #[test]
    fn damaged_statistics_are_refused() {
        let mut statistics = image(&[-1.0, 2.0]);
        statistics.merge(&image(&[-3.0, 4.0]));
        let text = serde_json::to_string(&statistics).expect("serializes");
        assert_eq!(
            serde_json::from_str::<ValueStatistics>(&text).expect("reads back"),
            statistics
        );
        for (from, to) in [
            ("\"count\":2", "\"count\":0"),
            ("\"count\":2", "\"count\":1"),
            ("\"count\":2", "\"count\":5"),
            ("min_sum\":\"f", "min_sum\":\"0"),
        ] {
            assert!(text.contains(from), "{text}");
            let damaged = text.replace(from, to);
            let error = serde_json::from_str::<ValueStatistics>(&damaged)
                .expect_err(to)
                .to_string();
            assert!(error.contains("do not match the histogram"), "{error}");
        }
    }
}
