//! The rules of the normal form, against plain arithmetic at many sizes.

use super::*;

impl Unknowns {
    /// The number that an extent is for these input extents; `None` where nothing is known of a part of it.
    pub(in crate::shapes) fn value(
        &self,
        extent: &Extent,
        input: &dyn Fn(usize, usize) -> i64,
    ) -> Option<i64> {
        let mut sum = extent.constant;
        for &(id, c) in &extent.terms {
            let at = |e: &Extent| self.value(e, input);
            sum += c * match &self.known[id.0].unknown {
                Unknown::Input { input: i, axis } => input(*i, *axis),
                Unknown::Fresh => return None,
                Unknown::Floor {
                    numerator,
                    denominator,
                } => at(numerator)?.div_euclid(*denominator),
                Unknown::Remainder { dividend, divisor } => at(dividend)?.rem_euclid(*divisor),
                Unknown::Opaque(op, operands) => {
                    let values = operands.iter().map(at).collect::<Option<Vec<_>>>()?;
                    match op {
                        Opaque::Product => values.iter().product(),
                        Opaque::Minimum => *values.iter().min()?,
                        // Operands that broadcast are equal unless one of them is 1.
                        Opaque::Maximum | Opaque::Broadcast => *values.iter().max()?,
                        Opaque::Quotient => values[0].checked_div(values[1])?,
                    }
                }
            };
        }
        Some(sum)
    }
}

fn two_inputs() -> (Unknowns, Extent, Extent) {
    let mut unknowns = Unknowns::default();
    let h = unknowns.input(0, 2);
    let w = unknowns.input(0, 3);
    (unknowns, h, w)
}

#[test]
fn equal_sums_have_one_form() {
    let (mut u, h, w) = two_inputs();
    let a = u.add(&h, &w).unwrap();
    let b = u.add(&w, &h).unwrap();
    assert_eq!(a, b);
    assert_eq!(u.sub(&a, &w).unwrap(), h);
    assert_eq!(u.sub(&h, &h).unwrap().known(), Some(0));
    assert_ne!(h, w);
}

#[test]
fn a_strided_layer_and_its_upsampling_give_the_padded_size_again() {
    let (mut u, h, _) = two_inputs();
    // h + (16 - h mod 16) mod 16, as exporters pad to a multiple.
    let rest = u.remainder(&h, 16).unwrap();
    let missing = u.sub(&Extent::number(16), &rest).unwrap();
    let missing = u.remainder(&missing, 16).unwrap();
    let padded = u.add(&h, &missing).unwrap();
    let mut size = padded.clone();
    for _ in 0..4 {
        // A convolution of kernel 2 and stride 2: ⌊(size - 2) / 2⌋ + 1.
        let room = u.offset(&size, -2).unwrap();
        let halved = u.floor_div(&room, 2).unwrap();
        size = u.offset(&halved, 1).unwrap();
    }
    for _ in 0..4 {
        size = u.scale(&size, 2).unwrap();
    }
    assert_eq!(size, padded);
    assert_eq!(u.remainder(&padded, 8).unwrap().known(), Some(0));
    // Without the padding the size is not restored.
    let halved = u.floor_div(&h, 2).unwrap();
    assert_ne!(u.scale(&halved, 2).unwrap(), h);
}

#[test]
fn the_smaller_one_is_found_where_it_is_the_same_everywhere() {
    let (mut u, h, w) = two_inputs();
    let rest = u.remainder(&w, 8).unwrap();
    let more = u.add(&h, &rest).unwrap();
    assert_eq!(u.minimum(&h, &more).unwrap(), h);
    assert_eq!(u.maximum(&h, &Extent::number(0)).unwrap(), h);
    assert_ne!(u.minimum(&h, &w).unwrap(), h);
}

#[test]
fn factors_cancel_and_products_commute() {
    let (mut u, h, w) = two_inputs();
    let h2 = u.scale(&h, 2).unwrap();
    let product = u.mul(&w, &h2).unwrap();
    let other = u.mul(&h, &w).unwrap();
    assert_eq!(u.scale(&other, 2).unwrap(), product);
    let quotient = u.divide_products(
        &[product.clone(), Extent::number(6)],
        std::slice::from_ref(&h),
    );
    assert_eq!(quotient.unwrap(), u.scale(&w, 12).unwrap());
    assert!(u.divide_products(&[h], &[w]).is_none());
}

#[test]
fn products_of_positive_extents_are_positive() {
    let (mut u, h, w) = two_inputs();
    let area = u.mul(&h, &w).unwrap();
    assert!(u.is_positive(&area));
    let larger = u.maximum(&h, &w).unwrap();
    assert!(u.is_positive(&larger));
    // At a width of 1, half of it is none.
    let half = u.floor_div(&w, 2).unwrap();
    let half_area = u.mul(&h, &half).unwrap();
    assert!(u.is_non_negative(&half_area) && !u.is_positive(&half_area));
    let smaller = u.minimum(&half, &h).unwrap();
    let difference = u.sub(&area, &h).unwrap();
    assert!(!u.is_positive(&smaller) && !u.is_positive(&difference));
}

#[test]
fn what_could_overflow_is_unknown() {
    let (mut u, h, _) = two_inputs();
    assert!(u.scale(&h, COEFFICIENT_LIMIT + 1).is_none());
    assert!(u.offset(&h, i64::MIN).is_none());
    assert!(u.scale(&Extent::number(i64::MIN), -1).is_none());
    assert!(u.truncated_div(&h, &Extent::number(0)).is_none());
    assert!(u.floor_div(&h, 0).is_none());
    assert!(u.remainder(&h, -2).is_none());
}

#[test]
fn division_towards_zero_is_not_taken_for_a_floor() {
    let (mut u, h, w) = two_inputs();
    let difference = u.sub(&h, &w).unwrap();
    let truncated = u.truncated_div(&difference, &Extent::number(2)).unwrap();
    let floored = u.floor_div(&difference, 2).unwrap();
    assert_ne!(truncated, floored);
    let at = |e: &Extent| u.value(e, &|_, axis| if axis == 2 { 2 } else { 5 });
    assert_eq!((at(&truncated), at(&floored)), (Some(-1), Some(-2)));
}

#[test]
fn random_expressions_have_the_value_of_plain_arithmetic() {
    let mut state = 7u64;
    let mut random = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % n) as usize
    };
    for _ in 0..300 {
        let (mut u, h, w) = two_inputs();
        let sizes = [(1, 1), (7, 12), (64, 96), (53, 70), (255, 8)];
        let mut pool = vec![
            (h, sizes.map(|s| s.0)),
            (w, sizes.map(|s| s.1)),
            (Extent::number(3), [3; 5]),
        ];
        for _ in 0..12 {
            let (a, values_a) = pool[random(pool.len() as u64)].clone();
            let (b, values_b) = pool[random(pool.len() as u64)].clone();
            let n = random(12) as i64 + 1;
            let zip = |f: fn(i64, i64) -> i64| {
                let mut values = values_a;
                for (v, b) in values.iter_mut().zip(values_b) {
                    *v = f(*v, b);
                }
                values
            };
            let (extent, values) = match random(8) {
                0 => (u.add(&a, &b), zip(|a, b| a + b)),
                1 => (u.sub(&a, &b), zip(|a, b| a - b)),
                2 => (u.scale(&a, n), values_a.map(|v| v * n)),
                3 => (u.floor_div(&a, n), values_a.map(|v| v.div_euclid(n))),
                4 => (u.remainder(&a, n), values_a.map(|v| v.rem_euclid(n))),
                5 => (u.minimum(&a, &b), zip(i64::min)),
                6 => (u.maximum(&a, &b), zip(i64::max)),
                _ => (
                    u.truncated_div(&a, &Extent::number(n)),
                    values_a.map(|v| v / n),
                ),
            };
            let Some(extent) = extent else {
                continue;
            };
            for (i, &(h, w)) in sizes.iter().enumerate() {
                let value = u.value(&extent, &|_, axis| if axis == 2 { h } else { w });
                assert_eq!(value, Some(values[i]), "{extent:?} at {h}x{w}");
                if u.is_non_negative(&extent) {
                    assert!(values[i] >= 0);
                }
            }
            pool.push((extent, values));
        }
    }
}
