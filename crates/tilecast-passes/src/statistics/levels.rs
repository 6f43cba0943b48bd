//! Which statistics depend on which: the number of sweeps after which each is that of the image.

use std::collections::HashMap;

use tilecast_analysis::SweepContract;
use tilecast_onnx::Graph;

/// Writes the level of each statistic, and the highest, into the contract of a model that was cut.
pub(super) fn assign(graph: &Graph<'_>, contract: &mut SweepContract) {
    let outputs: HashMap<String, usize> = contract
        .statistics
        .iter()
        .enumerate()
        .map(|(index, statistic)| (statistic.output.clone(), index))
        .collect();
    // Values that no statistic reaches have level 0 and are left out.
    let mut levels: HashMap<&str, usize> = HashMap::new();
    let mut of_inputs: HashMap<String, usize> = HashMap::new();
    for (_, node) in graph.nodes() {
        let reads = node.input.iter().map(String::as_str);
        let level = reads
            .map(|name| {
                levels
                    .get(name)
                    .or_else(|| of_inputs.get(name))
                    .copied()
                    .unwrap_or(0)
            })
            .max()
            .unwrap_or(0);
        for name in &node.output {
            if level > 0 {
                levels.insert(name, level);
            }
            if let Some(&index) = outputs.get(name) {
                let statistic = &mut contract.statistics[index];
                statistic.level = level + 1;
                of_inputs.insert(statistic.input.clone(), level + 1);
            }
        }
    }
    contract.depth = contract
        .statistics
        .iter()
        .map(|statistic| statistic.level)
        .max()
        .unwrap_or(0);
}
