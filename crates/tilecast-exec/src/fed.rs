//! Models that take other or more than one `[1, C, H, W]` image, shown as if they took just that.
//!
//! A tiler feeds planes of pixels. Networks exported from TensorFlow want channels last, and some want a noise level beside
//! the image, as a number or as a map of the image's size. [`FedEngine`] stands between the two: the model itself, and
//! with it every file that is written, keeps its interface.

use std::collections::BTreeMap;
use std::sync::Arc;

use tilecast_onnx::proto::ValueInfoProto;
use tilecast_onnx::{ImageAxes, Model, declared_extents};

use crate::{Engine, HostTensor, LoadError, Observer, RunError, Session, SessionOptions};

/// An engine that gives values to all inputs but one and turns images into the order of axes that the model declares.
/// Models that need neither run as on the engine itself.
#[derive(Debug)]
pub struct FedEngine<'a> {
    inner: &'a dyn Engine,
    /// Value of each input that is not fed by the caller, by name.
    values: BTreeMap<String, f32>,
}

/// The input that takes the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePort {
    /// Its name.
    pub name: String,
    /// Its axes, where it has four.
    pub axes: Option<ImageAxes>,
}

impl ImagePort {
    /// The first input of a model that the engine does not supply; `None` where there is none.
    #[must_use]
    pub fn of(model: &Model, engine: &dyn Engine) -> Option<Self> {
        let graph = model.graph();
        let mut inputs = graph.inputs();
        let input = inputs.find(|input| !engine.supplies(name_of(input)))?;
        Some(Self {
            name: name_of(input).to_owned(),
            axes: ImageAxes::of(input),
        })
    }

    /// Planes that the model declares for it.
    #[must_use]
    pub fn planes(&self) -> Option<usize> {
        self.axes?.channels
    }
}

impl<'a> FedEngine<'a> {
    /// `inner`, giving these values to the inputs of these names: a number to a number, and to a map of the image's size
    /// at every position.
    #[must_use]
    pub fn new(inner: &'a dyn Engine, values: BTreeMap<String, f32>) -> Self {
        Self { inner, values }
    }

    fn fail(&self, reason: String) -> LoadError {
        LoadError {
            engine: self.inner.name(),
            reason,
        }
    }

    /// Dimensions of an input that the engine supplies, beside an image of this size.
    fn supplied_dims(
        &self,
        input: &ValueInfoProto,
        size: [usize; 2],
    ) -> Result<Vec<usize>, LoadError> {
        let declared = declared_extents(input).ok_or_else(|| {
            self.fail(format!(
                "input `{}` declares no shape, so it cannot be given a value",
                name_of(input)
            ))
        })?;
        let axes = ImageAxes::of(input);
        let image = axes.map(|axes| axes.dims(axes.channels.unwrap_or(1), size));
        Ok(declared
            .iter()
            .enumerate()
            .map(|(axis, extent)| extent.or(image.map(|dims| dims[axis])).unwrap_or(1))
            .collect())
    }
}

impl Engine for FedEngine<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn supplies(&self, input: &str) -> bool {
        self.values.contains_key(input) || self.inner.supplies(input)
    }

    fn load(&self, model: &Model, options: &SessionOptions) -> Result<Arc<dyn Session>, LoadError> {
        let graph = model.graph();
        let given = |name: &str| options.input_shapes.iter().find(|(of, _)| of == name);
        let port = ImagePort::of(model, self);
        let turned = port
            .as_ref()
            .and_then(|port| port.axes)
            .is_some_and(|axes| axes.channels_last);
        let size = port
            .as_ref()
            .and_then(|port| given(&port.name))
            .and_then(|(_, dims)| Some([*dims.get(2)?, *dims.get(3)?]));
        let mut inner = SessionOptions {
            input_shapes: Vec::new(),
            ..options.clone()
        };
        let mut slots = Vec::new();
        for input in graph.inputs() {
            let name = name_of(input);
            let is_image = port.as_ref().is_some_and(|port| port.name == name);
            let (dims, slot) = if let Some(&value) = self.values.get(name) {
                let dims = self.supplied_dims(input, size.unwrap_or([1; 2]))?;
                let n = dims.iter().product();
                (
                    Some(dims.clone()),
                    Slot::Supplied(HostTensor::new(dims, vec![value; n])),
                )
            } else if is_image && turned {
                (
                    given(name).map(|(_, dims)| turn(dims, TO_LAST)),
                    Slot::Turned,
                )
            } else {
                (given(name).map(|(_, dims)| dims.clone()), Slot::Fed)
            };
            inner
                .input_shapes
                .extend(dims.map(|dims| (name.to_owned(), dims)));
            slots.push(slot);
        }
        // A name that is no input is for the engine to refuse.
        let is_known = |name: &str| graph.inputs().any(|input| name_of(input) == name);
        let unknown = options
            .input_shapes
            .iter()
            .filter(|(name, _)| !is_known(name));
        inner.input_shapes.extend(unknown.cloned());
        let session = self.inner.load(model, &inner)?;
        // An output that does not say otherwise is laid out as the input.
        let output = graph.proto().output.first().and_then(ImageAxes::of);
        let turns_output = match output {
            Some(axes) if axes.channels.is_some() => axes.channels_last,
            _ => turned,
        };
        if !turns_output && slots.iter().all(|slot| matches!(slot, Slot::Fed)) {
            return Ok(session);
        }
        Ok(Arc::new(FedSession {
            engine: self.inner.name(),
            session,
            slots,
            turns_output,
        }))
    }
}

/// What one graph input gets.
#[derive(Debug)]
enum Slot {
    /// What the caller feeds.
    Fed,
    /// The same with channels last.
    Turned,
    /// Always this.
    Supplied(HostTensor),
}

#[derive(Debug)]
struct FedSession {
    engine: &'static str,
    session: Arc<dyn Session>,
    slots: Vec<Slot>,
    turns_output: bool,
}

impl FedSession {
    fn inputs(&self, fed: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        let mut fed = fed.iter();
        let inputs = self
            .slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::Fed => fed.next().cloned(),
                Slot::Turned => fed.next().map(|image| turned(image, TO_LAST)),
                Slot::Supplied(tensor) => Some(tensor.clone()),
            })
            .collect();
        match fed.next() {
            None => Ok(inputs),
            Some(_) => Err(RunError {
                engine: self.engine,
                reason: "more tensors are fed than the model takes".to_owned(),
            }),
        }
    }

    fn outputs(&self, mut outputs: Vec<HostTensor>) -> Vec<HostTensor> {
        if let Some(first) = outputs.first_mut().filter(|_| self.turns_output) {
            *first = turned(first, TO_FIRST);
        }
        outputs
    }
}

impl Session for FedSession {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        Ok(self.outputs(self.session.run(&self.inputs(inputs)?)?))
    }

    fn run_observed(
        &self,
        inputs: &[HostTensor],
        observer: &mut Observer<'_>,
    ) -> Result<Vec<HostTensor>, RunError> {
        let inputs = self.inputs(inputs)?;
        Ok(self.outputs(self.session.run_observed(&inputs, observer)?))
    }

    fn peak_live_bytes(&self) -> usize {
        self.session.peak_live_bytes()
    }
}

/// Which axis of the old order each axis of the new one is.
type Order = [usize; 4];
const TO_LAST: Order = [0, 2, 3, 1];
const TO_FIRST: Order = [0, 3, 1, 2];

fn turn(dims: &[usize], order: Order) -> Vec<usize> {
    match dims.len() {
        4 => order.map(|axis| dims[axis]).to_vec(),
        _ => dims.to_vec(),
    }
}

/// The same elements in another order of axes; what does not have four stays.
fn turned(tensor: &HostTensor, order: Order) -> HostTensor {
    let [n, a, b, c] = *turn(tensor.dims(), order) else {
        return tensor.clone();
    };
    let dims = tensor.dims();
    let stride = |axis: usize| dims[axis + 1..].iter().product::<usize>();
    let [sn, sa, sb, sc] = order.map(stride);
    let data = tensor.data();
    let mut out = Vec::with_capacity(data.len());
    for i in 0..n {
        for j in 0..a {
            for k in 0..b {
                let start = i * sn + j * sa + k * sb;
                out.extend((0..c).map(|l| data[start + l * sc]));
            }
        }
    }
    HostTensor::new(vec![n, a, b, c], out)
}

fn name_of(input: &ValueInfoProto) -> &str {
    input.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_there_and_back_changes_nothing() {
        let planes = HostTensor::new(vec![1, 2, 2, 3], (0..12).map(|i| i as f32).collect());
        let last = turned(&planes, TO_LAST);
        assert_eq!(last.dims(), [1, 2, 3, 2]);
        assert_eq!(last.data()[..4], [0.0, 6.0, 1.0, 7.0]);
        assert_eq!(turned(&last, TO_FIRST), planes);
    }
}
