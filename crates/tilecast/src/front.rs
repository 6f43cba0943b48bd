//! Which of several models nobody would pass over: the Pareto front.

/// For every point, whether no other is at least as good in all its coordinates and better in one. Larger is better; what
/// is not a number is worst. Equal points are on the front together.
pub(crate) fn on_front(points: &[Vec<f64>]) -> Vec<bool> {
    let value = |v: f64| if v.is_nan() { f64::NEG_INFINITY } else { v };
    let dominates = |a: &[f64], b: &[f64]| {
        let mut pairs = a.iter().zip(b).map(|(&a, &b)| (value(a), value(b)));
        pairs.clone().all(|(a, b)| a >= b) && pairs.any(|(a, b)| a > b)
    };
    points
        .iter()
        .map(|point| !points.iter().any(|other| dominates(other, point)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_off_the_front_where_another_is_better_and_nowhere_worse() {
        let points = [
            vec![50.0, 2.0],
            vec![50.0, 1.9],
            vec![40.0, 3.0],
            vec![45.0, 1.0],
            vec![40.0, 3.0],
            vec![f64::NAN, 2.5],
        ];
        assert_eq!(on_front(&points), [true, false, true, false, true, false]);
        assert!(on_front(&[]).is_empty());
    }
}
