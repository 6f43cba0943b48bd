//! Operators that move elements and compute nothing: where each element of the result comes from.
//!
//! One table serves tensors of any element type ([`super::evaluate`]) and the symbolic integers of shape arithmetic
//! ([`super::facts`]).

use tilecast_onnx::proto::NodeProto;

/// A result as a rearrangement: its dimensions, and for each element (row-major) its position in the data inputs, which
/// are counted one behind the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrangement {
    pub(super) dims: Vec<usize>,
    pub(super) source: Vec<usize>,
}

/// What is known of a node's inputs.
pub(super) struct Operands<'a> {
    pub(super) node: &'a NodeProto,
    /// Dimensions of an input.
    pub(super) dims: &'a dyn Fn(usize) -> Option<Vec<usize>>,
    /// Elements of an integer input.
    pub(super) numbers: &'a dyn Fn(usize) -> Option<Vec<i64>>,
    /// Results with more elements are not worked out.
    pub(super) max_elements: usize,
}

/// How many inputs, from the first, hold the elements that this operator moves; `None` for other operators.
pub(super) fn n_data_inputs(node: &NodeProto) -> Option<usize> {
    match node.op() {
        "Concat" => Some(node.input.len()),
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Expand"
        | "Tile" | "Slice" | "Split" | "Gather" => Some(1),
        _ => None,
    }
}

/// The arrangement of each output; `None` where the operator is none of these, an input is not known, or they do not fit.
pub(super) fn arrange(operands: &Operands<'_>) -> Option<Vec<Arrangement>> {
    let node = operands.node;
    n_data_inputs(node)?;
    let x = (operands.dims)(0)?;
    let one = |arrangement: Option<Arrangement>| arrangement.map(|a| vec![a]);
    match node.op() {
        "Identity" => one(operands.in_order(&x, x.clone())),
        "Reshape" => {
            let target = operands.numbers_of("shape", 1)??;
            let copies_zero = operands.int("allowzero", 0)? == 0;
            one(operands.in_order(&x, reshaped(&x, &target, copies_zero)?))
        }
        "Flatten" => {
            let axis = operands.int("axis", 1)?;
            let axis = match usize::try_from(axis) {
                Ok(axis) if axis <= x.len() => axis,
                _ => wrap(axis, x.len())?,
            };
            let dims = vec![count(&x[..axis])?, count(&x[axis..])?];
            one(operands.in_order(&x, dims))
        }
        "Squeeze" => {
            let dropped = match operands.numbers_of("axes", 1)? {
                Some(axes) => wrap_all(&axes, x.len())?,
                None => (0..x.len()).filter(|&a| x[a] == 1).collect(),
            };
            if dropped.iter().any(|&axis| x[axis] != 1) {
                return None;
            }
            let kept = (0..x.len()).filter(|axis| !dropped.contains(axis));
            one(operands.in_order(&x, kept.map(|axis| x[axis]).collect()))
        }
        "Unsqueeze" => {
            let axes = operands.numbers_of("axes", 1)??;
            let rank = x.len() + axes.len();
            let added = wrap_all(&axes, rank)?;
            let mut kept = x.iter();
            let dims = (0..rank)
                .map(|axis| {
                    if added.contains(&axis) {
                        Some(1)
                    } else {
                        kept.next().copied()
                    }
                })
                .collect::<Option<_>>()?;
            one(operands.in_order(&x, dims))
        }
        "Transpose" => {
            let perm = match node.ints("perm").ok()? {
                Some(perm) => wrap_all(perm, x.len())?,
                None => (0..x.len()).rev().collect(),
            };
            if perm.len() != x.len() {
                return None;
            }
            let dims = perm.iter().map(|&axis| x[axis]).collect();
            one(operands.gathered(dims, &x, |to, from| {
                for (&axis, &t) in perm.iter().zip(to) {
                    from[axis] = t;
                }
            }))
        }
        "Expand" => {
            let target = extents(&(operands.numbers)(1)?)?;
            let dims = broadcast(&x, &target)?;
            let source = spread(&x, &dims, operands.max_elements)?;
            Some(vec![Arrangement { dims, source }])
        }
        "Tile" => {
            let repeats = extents(&(operands.numbers)(1)?)?;
            if repeats.len() != x.len() {
                return None;
            }
            let dims = x
                .iter()
                .zip(&repeats)
                .map(|(&d, &r)| d.checked_mul(r))
                .collect::<Option<Vec<_>>>()?;
            one(operands.gathered(dims, &x, |to, from| {
                for ((f, &t), &d) in from.iter_mut().zip(to).zip(&x) {
                    *f = t % d.max(1);
                }
            }))
        }
        "Slice" => one(slice(operands, &x)),
        "Split" => split(operands, &x),
        "Concat" => one(concat(operands)),
        "Gather" => one(gather(operands, &x)),
        _ => None,
    }
}

impl Operands<'_> {
    fn int(&self, name: &str, default: i64) -> Option<i64> {
        Some(self.node.int(name).ok()?.unwrap_or(default))
    }

    /// Integers that newer opsets take as an input and older ones as an attribute. The outer `None` says that they are
    /// there and not known, the inner one that they are left out.
    #[expect(clippy::option_option, reason = "not known and not there differ")]
    fn numbers_of(&self, attribute: &str, slot: usize) -> Option<Option<Vec<i64>>> {
        if self.node.input_name(slot).is_some() {
            return (self.numbers)(slot).map(Some);
        }
        Some(self.node.ints(attribute).ok()?.map(<[i64]>::to_vec))
    }

    fn in_order(&self, x: &[usize], dims: Vec<usize>) -> Option<Arrangement> {
        let n = count(&dims).filter(|&n| n <= self.max_elements)?;
        (count(x)? == n).then(|| Arrangement {
            dims,
            source: (0..n).collect(),
        })
    }

    /// The arrangement in which `locate` turns an output coordinate into one of the input.
    fn gathered(
        &self,
        dims: Vec<usize>,
        x: &[usize],
        mut locate: impl FnMut(&[usize], &mut [usize]),
    ) -> Option<Arrangement> {
        let n = count(&dims).filter(|&n| n <= self.max_elements)?;
        let mut source = Vec::with_capacity(n);
        let (mut to, mut from) = (vec![0; dims.len()], vec![0; x.len()]);
        for _ in 0..n {
            locate(&to, &mut from);
            source.push(from.iter().zip(x).fold(0, |p, (&c, &d)| p * d + c));
            for (t, &d) in to.iter_mut().zip(&dims).rev() {
                *t += 1;
                if *t < d {
                    break;
                }
                *t = 0;
            }
        }
        Some(Arrangement { dims, source })
    }
}

fn slice(operands: &Operands<'_>, x: &[usize]) -> Option<Arrangement> {
    let starts = operands.numbers_of("starts", 1)??;
    let ends = operands.numbers_of("ends", 2)??;
    let axes = match operands.numbers_of("axes", 3)? {
        Some(axes) => wrap_all(&axes, x.len())?,
        None => (0..starts.len()).collect(),
    };
    let steps = match operands.node.input_name(4) {
        Some(_) => (operands.numbers)(4)?,
        None => vec![1; starts.len()],
    };
    let n = starts.len();
    if ends.len() != n || axes.len() != n || steps.len() != n || n > x.len() {
        return None;
    }
    let mut dims = x.to_vec();
    let mut origin = vec![(0, 1); x.len()];
    for (i, &axis) in axes.iter().enumerate() {
        let (start, n_kept) = slice_bounds(x[axis], starts[i], ends[i], steps[i])?;
        dims[axis] = n_kept;
        origin[axis] = (start, steps[i]);
    }
    operands.gathered(dims, x, |to, from| {
        for ((f, &t), &(start, step)) in from.iter_mut().zip(to).zip(&origin) {
            *f = (start + step * t as i64) as usize;
        }
    })
}

/// First position and number of kept elements along an axis of `n`, clamped as ONNX defines it.
pub(super) fn slice_bounds(n: usize, start: i64, end: i64, step: i64) -> Option<(i64, usize)> {
    let n = i64::try_from(n).ok()?;
    if step == 0 || step == i64::MIN {
        return None;
    }
    if n == 0 {
        return Some((0, 0));
    }
    // A backward slice may end before the first element, a forward one after the last.
    let (high, end_low) = if step > 0 { (n, 0) } else { (n - 1, -1) };
    let counted = |v: i64| if v < 0 { v + n } else { v };
    let start = counted(start).clamp(0, high);
    let end = counted(end).clamp(end_low, high);
    let span = if step > 0 { end - start } else { start - end };
    let n_kept = if span > 0 {
        (span - 1) / step.abs() + 1
    } else {
        0
    };
    Some((start, usize::try_from(n_kept).ok()?))
}

fn split(operands: &Operands<'_>, x: &[usize]) -> Option<Vec<Arrangement>> {
    let axis = wrap(operands.int("axis", 0)?, x.len())?;
    let n_outputs = operands.node.output.len();
    let parts = match operands.numbers_of("split", 1)? {
        Some(parts) => extents(&parts)?,
        None => equal_parts(x[axis], n_outputs)?,
    };
    if parts.len() != n_outputs || parts.iter().sum::<usize>() != x[axis] {
        return None;
    }
    let mut offset = 0;
    parts
        .iter()
        .map(|&part| {
            let mut dims = x.to_vec();
            dims[axis] = part;
            let begin = offset;
            offset += part;
            operands.gathered(dims, x, |to, from| {
                from.copy_from_slice(to);
                from[axis] += begin;
            })
        })
        .collect()
}

/// `n` equal parts, the last one smaller where they do not divide.
pub(super) fn equal_parts(total: usize, n: usize) -> Option<Vec<usize>> {
    let part = total.checked_add(n.checked_sub(1)?)? / n;
    let last = total.checked_sub(part.checked_mul(n - 1)?)?;
    let mut parts = vec![part; n];
    parts[n - 1] = last;
    Some(parts)
}

fn concat(operands: &Operands<'_>) -> Option<Arrangement> {
    let parts = (0..operands.node.input.len())
        .map(|slot| (operands.dims)(slot))
        .collect::<Option<Vec<_>>>()?;
    let first = parts.first()?;
    let axis = wrap(operands.int("axis", 1)?, first.len())?;
    let fits = |p: &Vec<usize>| {
        p.len() == first.len() && (0..p.len()).all(|a| a == axis || p[a] == first[a])
    };
    if !parts.iter().all(fits) {
        return None;
    }
    let mut dims = first.clone();
    dims[axis] = parts.iter().map(|p| p[axis]).sum();
    let n = count(&dims).filter(|&n| n <= operands.max_elements)?;
    let mut source = Vec::with_capacity(n);
    // An empty result may have any number of blocks.
    let n_blocks = if n == 0 { 0 } else { count(&first[..axis])? };
    for block in 0..n_blocks {
        let mut offset = 0;
        for part in &parts {
            let run = count(&part[axis..])?;
            source.extend(offset + block * run..offset + (block + 1) * run);
            offset += count(part)?;
        }
    }
    Some(Arrangement { dims, source })
}

fn gather(operands: &Operands<'_>, x: &[usize]) -> Option<Arrangement> {
    let axis = wrap(operands.int("axis", 0)?, x.len())?;
    let index_dims = (operands.dims)(1)?;
    let indices = (operands.numbers)(1)?
        .into_iter()
        .map(|i| wrap(i, x[axis]))
        .collect::<Option<Vec<_>>>()?;
    let dims = [&x[..axis], &index_dims, &x[axis + 1..]].concat();
    let n = count(&dims).filter(|&n| n <= operands.max_elements)?;
    let run = count(&x[axis + 1..])?;
    let mut source = Vec::with_capacity(n);
    // An empty result may have any number of blocks.
    let n_blocks = if n == 0 { 0 } else { count(&x[..axis])? };
    for block in 0..n_blocks {
        for &index in &indices {
            let begin = (block * x[axis] + index) * run;
            source.extend(begin..begin + run);
        }
    }
    Some(Arrangement { dims, source })
}

/// Dimensions after a `Reshape` to `target`.
fn reshaped(x: &[usize], target: &[i64], copies_zero: bool) -> Option<Vec<usize>> {
    let mut hole = None;
    let mut dims = Vec::with_capacity(target.len());
    for (axis, &d) in target.iter().enumerate() {
        dims.push(match d {
            -1 if hole.replace(axis).is_some() => return None,
            -1 => 1,
            0 if copies_zero => *x.get(axis)?,
            d => usize::try_from(d).ok()?,
        });
    }
    if let Some(axis) = hole {
        let (have, want) = (count(x)?, count(&dims)?);
        if want == 0 || have % want != 0 {
            return None;
        }
        dims[axis] = have / want;
    }
    Some(dims)
}

/// Number of elements.
pub(super) fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// An index or axis counted from the end where negative.
pub(super) fn wrap(index: i64, n: usize) -> Option<usize> {
    let counted = if index < 0 {
        index.checked_add(i64::try_from(n).ok()?)?
    } else {
        index
    };
    usize::try_from(counted).ok().filter(|&i| i < n)
}

/// Several axes, none twice.
pub(super) fn wrap_all(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let mut seen = vec![false; rank];
    axes.iter()
        .map(|&axis| {
            let axis = wrap(axis, rank)?;
            (!std::mem::replace(&mut seen[axis], true)).then_some(axis)
        })
        .collect()
}

fn extents(numbers: &[i64]) -> Option<Vec<usize>> {
    numbers.iter().map(|&n| usize::try_from(n).ok()).collect()
}

/// What two shapes broadcast to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| {
        (axis + dims.len())
            .checked_sub(rank)
            .map_or(1, |axis| dims[axis])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// For each element of `to`, its position in the tensor of dimensions `from` that broadcasts to it.
pub(super) fn spread(from: &[usize], to: &[usize], max_elements: usize) -> Option<Vec<usize>> {
    let n = count(to).filter(|&n| n <= max_elements)?;
    let lead = to.len().checked_sub(from.len())?;
    let mut source = Vec::with_capacity(n);
    let mut at = vec![0; to.len()];
    for _ in 0..n {
        source.push(
            from.iter()
                .zip(&at[lead..])
                .fold(0, |p, (&d, &c)| p * d + if d == 1 { 0 } else { c }),
        );
        for (c, &d) in at.iter_mut().zip(to).rev() {
            *c += 1;
            if *c < d {
                break;
            }
            *c = 0;
        }
    }
    Some(source)
}
