//! Which convolutions are faster in INT8, once what it takes to get there and back is counted.
//!
//! A runtime that computes single operators in INT8 converts and rearranges values wherever an INT8 operator meets a float one.
//! So a convolution alone may not pay where a chain of them does, and a depthwise one that is slower in INT8 may pay
//! between two dense ones. Every choice has a price, choices that differ along a value have one more, and the cheapest
//! set is the minimum cut of the graph made of these prices: exact, in polynomial time (Greig, Porteous and Seheult, Exact Maximum
//! A Posteriori Estimation for Binary Images, 1989).

use std::collections::{BTreeMap, VecDeque};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, ShapeMap};

use super::{Precision, PrecisionPlan, Reason};
use crate::cost::multiplications;
use crate::precision::insert_qdq::absorb::absorbed;
use crate::precision::insert_qdq::part::{Part, part};
use crate::{Int8Costs, PerPrecision, Target};

/// The order of axes that a Transpose takes from an image with its channels last.
const CHANNELS_SECOND: [i64; 4] = [0, 3, 1, 2];

/// One candidate: what it costs on its own, in picoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    int8: u64,
    float: u64,
}

/// A value that goes from one candidate to another.
#[derive(Clone, Copy, Debug)]
struct Link {
    from: usize,
    to: usize,
    /// What it costs where only `from` is INT8, and where only `to` is.
    leaves: u64,
    enters: u64,
}

impl PrecisionPlan {
    /// Takes out of INT8 what is no faster there on a target whose costs are known. `shapes` are those of the tiles that the model
    /// will run on. Nodes that the recipe names stay. Returns the predicted times of all candidates in float and as decided,
    /// in seconds; `None` where nothing is known.
    pub fn keep_worthwhile(
        &mut self,
        graph: &Graph<'_>,
        shapes: &ShapeMap,
        target: &Target,
    ) -> Option<[f64; 2]> {
        let costs = target.int8_costs?;
        let prices = Prices {
            graph,
            shapes,
            target,
            costs,
            counts: multiplications(graph, shapes),
        };
        let nodes: Vec<NodeId> = graph
            .nodes()
            .filter(|(_, node)| self.is(node.output_name(0), Precision::Int8))
            .filter(|(id, _)| part(graph, *id, target) == Some(Part::Weighted))
            .map(|(id, _)| id)
            .collect();
        let index: BTreeMap<NodeId, usize> = nodes.iter().copied().zip(0..).collect();
        let mut candidates = Vec::new();
        let mut links = Vec::new();
        for &id in &nodes {
            candidates.push(prices.alone(id, &index)?);
            links.extend(prices.link_before(id, &index));
        }
        let is_forced: Vec<bool> = nodes
            .iter()
            .map(|&id| {
                let value = graph.node(id).output_name(0).unwrap_or_default();
                let reason = self.decision(value).map(|d| &d.reason);
                matches!(reason, Some(Reason::Override(_)))
            })
            .collect();
        let is_int8 = cheapest(&candidates, &links, &is_forced);
        for (&id, _) in nodes.iter().zip(&is_int8).filter(|(_, keep)| !**keep) {
            let value = graph.node(id).output_name(0).unwrap_or_default();
            self.leave_int8(value, &Reason::NoFaster, graph, target);
        }
        self.settle_int8(graph, target);
        let total = |choice: &dyn Fn(usize) -> bool| {
            let alone = candidates.iter().enumerate();
            let alone = alone.map(|(i, c)| if choice(i) { c.int8 } else { c.float });
            let changes = links.iter().map(|l| match (choice(l.from), choice(l.to)) {
                (true, false) => l.leaves,
                (false, true) => l.enters,
                _ => 0,
            });
            alone.chain(changes).sum::<u64>() as f64 * 1e-12
        };
        Some([total(&|_| false), total(&|i| is_int8[i])])
    }
}

struct Prices<'a, 'g> {
    graph: &'a Graph<'g>,
    shapes: &'a ShapeMap,
    target: &'a Target,
    costs: &'static Int8Costs,
    counts: BTreeMap<String, u64>,
}

impl Prices<'_, '_> {
    fn elements(&self, value: &str) -> Option<u64> {
        let dims = self.shapes.shape(value)?.iter();
        Some(dims.map(|&d| d as u64).fold(1, u64::saturating_mul))
    }

    /// The cost of a node with all its surroundings in float, apart from values shared with other candidates.
    fn alone(&self, id: NodeId, index: &BTreeMap<NodeId, usize>) -> Option<Candidate> {
        let node = self.graph.node(id);
        let (input, output) = (node.input_name(0)?, node.output_name(0)?);
        let (read, written) = (self.elements(input)?, self.elements(output)?);
        let weights = self.shapes.shape(node.input_name(1)?)?;
        let work = *self.counts.get(output)?;
        let kernel = self.kernel(node, weights, work)?;
        let source = self.source(self.before_pool(input));
        let is_linked = source.is_some_and(|before| index.contains_key(&before));
        let pooling = if is_linked { 0 } else { self.pooling(input)? };
        let mut cost = Candidate {
            int8: kernel.int8 + written * self.costs.written.int8 + pooling,
            float: kernel.float + written * self.costs.written.float,
        };
        let mut add = |elements: u64, prices: PerPrecision| {
            cost.int8 += self.conversion(elements, prices.int8);
            cost.float += elements * prices.float;
        };
        match source {
            _ if is_linked => {}
            // A convolution that stays float hands over what the next one reads.
            Some(_) => add(read, self.costs.from_float_kernel),
            None if self.had_channels_last(input) => add(
                read,
                PerPrecision {
                    int8: self.costs.entered.int8 - self.costs.transposed.int8,
                    float: self.costs.entered.float + self.costs.transposed.float,
                },
            ),
            None => add(read, self.costs.entered),
        }
        let readers = self.readers(self.result(id));
        if readers.iter().any(|&r| !self.has_kernel(r)) || readers.is_empty() {
            add(written, self.costs.left);
        }
        if readers
            .iter()
            .any(|r| self.has_kernel(*r) && !index.contains_key(r))
        {
            add(written, self.costs.to_float_kernel);
        }
        Some(cost)
    }

    /// Whether a value is a Transpose of what was computed with the channels last.
    fn had_channels_last(&self, value: &str) -> bool {
        self.graph.producer(value).is_some_and(|(id, _)| {
            let node = self.graph.node(id);
            node.is("Transpose") && node.ints("perm").ok().flatten() == Some(&CHANNELS_SECOND)
        })
    }

    /// The cost of taking a tensor to INT8 or back.
    fn conversion(&self, elements: u64, per_element: u64) -> u64 {
        self.costs.conversion + elements * per_element
    }

    /// The cost of `work` multiplications, whatever is written.
    fn kernel(&self, node: &NodeProto, weights: &[usize], work: u64) -> Option<PerPrecision> {
        let costs = self.costs;
        let [n_filters, per_group, taps @ ..] = weights else {
            return None;
        };
        if *per_group == 1 && *n_filters > 1 && !taps.is_empty() {
            return Some(PerPrecision {
                int8: work * costs.depthwise.int8,
                float: work * costs.depthwise.float,
            });
        }
        let groups = node.int("group").ok()?.unwrap_or(1).max(1) as u64;
        let n_filters = (*n_filters as u64 / groups).max(1);
        // Multiplications of one filter, which is what narrow kernels still do for several.
        let per_filter = work / n_filters;
        let has_neighbours = taps.iter().any(|&t| t > 1);
        let gathered = if has_neighbours { costs.gathered } else { 0 };
        Some(PerPrecision {
            int8: per_filter * (costs.dense.int8 * n_filters.max(costs.narrowest.int8) + gathered),
            float: per_filter * costs.dense.float * n_filters.max(costs.narrowest.float),
        })
    }

    /// The value through which a candidate follows another one.
    fn link_before(&self, id: NodeId, index: &BTreeMap<NodeId, usize>) -> Option<Link> {
        let input = self.graph.node(id).input_name(0)?;
        let from = *index.get(&self.source(self.before_pool(input))?)?;
        let elements = self.elements(input)?;
        Some(Link {
            from,
            to: index[&id],
            leaves: self.conversion(elements, self.costs.to_float_kernel.int8),
            enters: self.conversion(elements, self.costs.from_float_kernel.int8)
                + self.pooling(input)?,
        })
    }

    /// What a `MaxPool` reads that gives a value, else the value itself.
    fn before_pool<'v>(&'v self, value: &'v str) -> &'v str {
        let pool = self.graph.producer_node(value).filter(|n| n.is("MaxPool"));
        pool.and_then(|n| n.input_name(0)).unwrap_or(value)
    }

    /// The cost of a `MaxPool` that gives a value, on bytes that were floats before.
    fn pooling(&self, value: &str) -> Option<u64> {
        let pooled = self.before_pool(value);
        if pooled == value {
            return Some(0);
        }
        Some(self.elements(pooled)? * self.costs.pooled)
    }

    /// The nodes that read a value, or what a `MaxPool` makes of it.
    fn readers(&self, value: &str) -> Vec<NodeId> {
        let uses = self.graph.uses(value).iter();
        uses.flat_map(|u| {
            let node = self.graph.node(u.node);
            let pooled = node.output_name(0).filter(|_| node.is("MaxPool"));
            pooled.map_or_else(
                || vec![u.node],
                |v| self.graph.uses(v).iter().map(|u| u.node).collect(),
            )
        })
        .collect()
    }

    /// The node with a kernel of its own that makes a value, seen through operators that are part of such kernels.
    fn source(&self, value: &str) -> Option<NodeId> {
        let (id, _) = self.graph.producer(value)?;
        let node = self.graph.node(id);
        if self.has_kernel(id) {
            return Some(id);
        }
        let input = node.input_name(0)?;
        let is_part =
            self.target.absorbed_ops.contains(&node.op()) && self.graph.only_use(input).is_some();
        let (before, _) = self.graph.producer(input).filter(|_| is_part)?;
        self.has_kernel(before).then_some(before)
    }

    /// The value that a node's kernel gives, behind what it absorbs.
    fn result(&self, id: NodeId) -> &str {
        let output = self.graph.node(id).output_name(0).unwrap_or_default();
        absorbed(self.graph, id, self.target)
            .and_then(|inside| self.graph.node(inside).output_name(0))
            .unwrap_or(output)
    }

    fn has_kernel(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        node.is("Conv") || node.is("ConvTranspose")
    }
}

/// Which candidates are INT8 in the cheapest choice. Of equally cheap ones, the one with the fewest.
fn cheapest(candidates: &[Candidate], links: &[Link], is_forced: &[bool]) -> Vec<bool> {
    // A node on the side of the source is INT8: it then pays the edge to the sink.
    let (source, sink) = (candidates.len(), candidates.len() + 1);
    let mut network = Network::new(candidates.len() + 2);
    for (node, cost) in candidates.iter().enumerate() {
        network.edge(node, sink, cost.int8);
        network.edge(source, node, cost.float);
        if is_forced[node] {
            network.edge(source, node, u64::MAX / 4);
        }
    }
    for link in links {
        network.edge(link.from, link.to, link.leaves);
        network.edge(link.to, link.from, link.enters);
    }
    network.source_side(source, sink)
}

/// Capacities between nodes; few of them, so that plain augmenting paths do (Edmonds and Karp, 1972).
struct Network {
    capacity: Vec<BTreeMap<usize, u64>>,
}

impl Network {
    fn new(n_nodes: usize) -> Self {
        Self {
            capacity: vec![BTreeMap::new(); n_nodes],
        }
    }

    fn edge(&mut self, from: usize, to: usize, capacity: u64) {
        let forward = self.capacity[from].entry(to).or_default();
        *forward = forward.saturating_add(capacity);
        self.capacity[to].entry(from).or_default();
    }

    /// Nodes that the source still reaches when no more can flow.
    fn source_side(mut self, source: usize, sink: usize) -> Vec<bool> {
        loop {
            let before = self.reached(source);
            if before[sink].is_none() {
                return before.iter().map(Option::is_some).collect();
            }
            let path: Vec<(usize, usize)> =
                std::iter::successors(before[sink].map(|from| (from, sink)), |&(to, _)| {
                    before[to].filter(|_| to != source).map(|from| (from, to))
                })
                .collect();
            let flow = path.iter().map(|(from, to)| self.capacity[*from][to]).min();
            for (from, to) in path {
                let flow = flow.unwrap_or_default();
                *self.capacity[from].entry(to).or_default() -= flow;
                let back = self.capacity[to].entry(from).or_default();
                *back = back.saturating_add(flow);
            }
        }
    }

    /// By which node each one is reached; the source by itself.
    fn reached(&self, source: usize) -> Vec<Option<usize>> {
        let mut before = vec![None; self.capacity.len()];
        before[source] = Some(source);
        let mut pending = VecDeque::from([source]);
        while let Some(from) = pending.pop_front() {
            for (&to, &capacity) in &self.capacity[from] {
                if capacity > 0 && before[to].is_none() {
                    before[to] = Some(from);
                    pending.push_back(to);
                }
            }
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every choice tried.
    fn by_trying(candidates: &[Candidate], links: &[Link], is_forced: &[bool]) -> u64 {
        (0..1_usize << candidates.len())
            .filter(|choice| (0..candidates.len()).all(|i| !is_forced[i] || choice >> i & 1 == 1))
            .map(|choice| price(candidates, links, &|i| choice >> i & 1 == 1))
            .min()
            .expect("there is a choice")
    }

    fn price(candidates: &[Candidate], links: &[Link], is_int8: &dyn Fn(usize) -> bool) -> u64 {
        let alone = candidates.iter().enumerate();
        let alone: u64 = alone
            .map(|(i, c)| if is_int8(i) { c.int8 } else { c.float })
            .sum();
        let changes: u64 = links
            .iter()
            .map(|l| match (is_int8(l.from), is_int8(l.to)) {
                (true, false) => l.leaves,
                (false, true) => l.enters,
                _ => 0,
            })
            .sum();
        alone + changes
    }

    #[test]
    fn the_cut_is_the_cheapest_of_all_choices() {
        let mut state = 1_u64;
        let mut next = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..300 {
            let n = 2 + next(7) as usize;
            let candidates: Vec<Candidate> = (0..n)
                .map(|_| Candidate {
                    int8: next(20),
                    float: next(20),
                })
                .collect();
            let links: Vec<Link> = (1..n)
                .map(|to| Link {
                    from: next(to as u64) as usize,
                    to,
                    leaves: next(12),
                    enters: next(12),
                })
                .collect();
            let is_forced: Vec<bool> = (0..n).map(|_| next(6) == 0).collect();
            let found = cheapest(&candidates, &links, &is_forced);
            assert!((0..n).all(|i| found[i] || !is_forced[i]));
            assert_eq!(
                price(&candidates, &links, &|i| found[i]),
                by_trying(&candidates, &links, &is_forced)
            );
        }
    }

    #[test]
    fn a_slow_one_between_two_fast_ones_stays_with_them() {
        let dense = Candidate { int8: 4, float: 10 };
        let depthwise = Candidate { int8: 7, float: 4 };
        let link = |from, to| Link {
            from,
            to,
            leaves: 3,
            enters: 3,
        };
        let chain = [dense, depthwise, dense];
        let all = cheapest(&chain, &[link(0, 1), link(1, 2)], &[false; 3]);
        assert_eq!(all[..3], [true; 3]);
        let alone = cheapest(&[depthwise], &[], &[false]);
        assert!(!alone[0]);
        assert!(cheapest(&[depthwise], &[], &[true])[0]);
    }
}
