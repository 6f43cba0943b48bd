//! Median and quartiles of paired ratios and of times.

/// Median with the lower and the upper quartile, by linear interpolation between order statistics.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Quartiles {
    pub(super) lower: f64,
    pub(super) median: f64,
    pub(super) upper: f64,
}

impl Quartiles {
    /// Of any number of values but none.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| {
            let position = share * last as f64;
            let (below, above) = (position.floor() as usize, position.ceil() as usize);
            sorted[below] + (sorted[above] - sorted[below]) * position.fract()
        };
        Some(Self {
            lower: at(0.25),
            median: at(0.5),
            upper: at(0.75),
        })
    }

    /// `median (lower–upper)`.
    pub(super) fn text(self) -> String {
        format!("{:.2} ({:.2}–{:.2})", self.median, self.lower, self.upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        assert_eq!(Quartiles::of(&[]), None);
        let text = |values: &[f64]| Quartiles::of(values).map(Quartiles::text);
        for (values, expected) in [
            (&[2.0] as &[f64], "2.00 (2.00–2.00)"),
            (&[1.0, 2.0], "1.50 (1.25–1.75)"),
            (&[4.0, 1.0, 3.0, 2.0], "2.50 (1.75–3.25)"),
            (&[5.0, 1.0, 3.0, 2.0, 4.0], "3.00 (2.00–4.00)"),
        ] {
            assert_eq!(text(values).as_deref(), Some(expected));
        }
    }
}
