//! Models that take other or more than one `[1, C, H, W]` image, shown as if they took just that.
//!
//! A tiler feeds planes of pixels. Networks exported from TensorFlow want channels last, and some want a noise level beside
//! the image, as a number or as a map of the image's size; others want blue first, or a mean subtracted. [`FedEngine`] stands
//! between the two: the model itself, and with it every file that is written, keeps its interface.

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
    /// What is done to the planes of the image; `None` where they are fed as they are.
    planes: Option<PlaneMap>,
}

/// What is done to the three planes of an image, red first, before a network gets them: they are put in the network's order,
/// and each value `x` of a plane becomes `(x - mean) / std`.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneMap {
    /// Whether the network wants blue first, and gives it first.
    pub bgr: bool,
    /// Mean of each plane, in the network's order.
    pub mean: [f32; 3],
    /// Standard deviation of each plane, in the network's order, not 0.
    pub std: [f32; 3],
    /// Whether each value `y` of the network's output becomes `y * std + mean`.
    pub normalized_output: bool,
}

impl PlaneMap {
    /// Nothing is done.
    pub const IDENTITY: Self = Self {
        bgr: false,
        mean: [0.0; 3],
        std: [1.0; 3],
        normalized_output: false,
    };

    /// An image as the network takes it.
    fn to_network(&self, image: &HostTensor) -> Result<HostTensor, String> {
        self.map(image, "takes", |plane| {
            let (mean, std) = (self.mean[plane], self.std[plane]);
            move |value| (value - mean) / std
        })
    }

    /// What the network gives, as an image. Outputs without three planes have no order of colours.
    fn to_image(&self, output: &HostTensor) -> Result<HostTensor, String> {
        if self.normalized_output {
            // Planes are counted in the order of the result.
            return self.map(output, "gives", |plane| {
                let plane = self.other_order(plane);
                let (mean, std) = (self.mean[plane], self.std[plane]);
                move |value| value * std + mean
            });
        }
        match output.dims() {
            [1, 3, _, _] if self.bgr => self.map(output, "gives", |_| |value| value),
            _ => Ok(output.clone()),
        }
    }

    /// The plane of one order that stands at this place of the other.
    fn other_order(&self, plane: usize) -> usize {
        if self.bgr { 2 - plane } else { plane }
    }

    /// The planes in the other order, each mapped by the function of its place in the result.
    fn map<F: Fn(f32) -> f32>(
        &self,
        image: &HostTensor,
        verb: &str,
        of_plane: impl Fn(usize) -> F,
    ) -> Result<HostTensor, String> {
        let &[1, 3, height, width] = image.dims() else {
            return Err(format!(
                "an order of colours, a mean and a standard deviation are for images of three planes, and the network {verb} {:?}",
                image.dims()
            ));
        };
        let n = height * width;
        let mut data = Vec::with_capacity(3 * n);
        for plane in 0..3 {
            let start = self.other_order(plane) * n;
            let map = of_plane(plane);
            data.extend(
                image.data()[start..start + n]
                    .iter()
                    .map(|&value| map(value)),
            );
        }
        Ok(HostTensor::new(image.dims().to_vec(), data))
    }
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
        Self {
            inner,
            values,
            planes: None,
        }
    }

    /// The same engine, which maps the planes of images.
    #[must_use]
    pub fn with_planes(mut self, map: PlaneMap) -> Self {
        self.planes = (map != PlaneMap::IDENTITY).then_some(map);
        self
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
        let passes_through = self.planes.is_none() && !turns_output;
        if passes_through && slots.iter().all(|slot| matches!(slot, Slot::Fed)) {
            return Ok(session);
        }
        Ok(Arc::new(FedSession {
            engine: self.inner.name(),
            session,
            slots,
            turns_output,
            planes: self.planes.clone(),
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
    planes: Option<PlaneMap>,
}

impl FedSession {
    fn fail(&self, reason: String) -> RunError {
        RunError {
            engine: self.engine,
            reason,
        }
    }

    fn inputs(&self, fed: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        // The image is the first tensor that is fed.
        let mapped = match (&self.planes, fed.first()) {
            (Some(map), Some(image)) => Some(map.to_network(image).map_err(|e| self.fail(e))?),
            _ => None,
        };
        let mut fed = mapped.iter().chain(fed.iter().skip(mapped.iter().count()));
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
            Some(_) => Err(self.fail("more tensors are fed than the model takes".to_owned())),
        }
    }

    fn outputs(&self, mut outputs: Vec<HostTensor>) -> Result<Vec<HostTensor>, RunError> {
        if let Some(first) = outputs.first_mut() {
            if self.turns_output {
                *first = turned(first, TO_FIRST);
            }
            if let Some(map) = &self.planes {
                *first = map.to_image(first).map_err(|e| self.fail(e))?;
            }
        }
        Ok(outputs)
    }
}

impl Session for FedSession {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        self.outputs(self.session.run(&self.inputs(inputs)?)?)
    }

    fn run_observed(
        &self,
        inputs: &[HostTensor],
        observer: &mut Observer<'_>,
    ) -> Result<Vec<HostTensor>, RunError> {
        let inputs = self.inputs(inputs)?;
        self.outputs(self.session.run_observed(&inputs, observer)?)
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

    #[test]
    fn planes_are_put_in_order_before_they_are_normalized() {
        let map = PlaneMap {
            bgr: true,
            mean: [1.0, 2.0, 3.0],
            std: [2.0, 4.0, 8.0],
            normalized_output: true,
        };
        let rgb = HostTensor::new(vec![1, 3, 1, 2], vec![3.0, 11.0, 2.0, 6.0, 1.0, 5.0]);
        let fed = map.to_network(&rgb).unwrap();
        assert_eq!(fed.data(), [0.0, 2.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(map.to_image(&fed).unwrap(), rgb);
        let plain = PlaneMap {
            normalized_output: false,
            ..map
        };
        assert_eq!(
            plain.to_image(&fed).unwrap().data(),
            [0.0, 1.0, 0.0, 1.0, 0.0, 2.0]
        );
        let grey = HostTensor::new(vec![1, 1, 1, 2], vec![0.0, 1.0]);
        assert!(plain.to_network(&grey).is_err());
        assert_eq!(
            plain.to_image(&grey).unwrap(),
            grey,
            "one plane has no order"
        );
    }
}
