//! Sessions that are kept, because preparing one costs more than running it.

use std::sync::Arc;

use tilecast_exec::{LoadError, Session};

/// Shape of the one input of a session, `[N, C, H, W]`.
pub(crate) type InputDims = [usize; 4];

/// The sessions used last, one per input shape.
///
/// All tiles of a plan have one shape, so more than one entry serves folders of images of a few sizes. A session holds
/// the model's prepared weights, hence few.
#[derive(Debug, Default)]
pub(crate) struct SessionCache {
    /// The one used last is at the end.
    entries: Vec<(InputDims, Arc<dyn Session>)>,
}

impl SessionCache {
    /// Sessions kept; one more evicts the one that was not used for longest.
    pub(crate) const CAPACITY: usize = 4;

    /// Keeps none of them.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The session for this shape, prepared by `load` if there is none.
    pub(crate) fn get_or_load(
        &mut self,
        dims: InputDims,
        load: impl FnOnce() -> Result<Arc<dyn Session>, LoadError>,
    ) -> Result<Arc<dyn Session>, LoadError> {
        let kept = self.entries.iter().position(|(kept, _)| *kept == dims);
        let session = if let Some(position) = kept {
            self.entries.remove(position).1
        } else {
            // Room is made first, so that no more than the capacity is alive while one more is prepared.
            if self.entries.len() == Self::CAPACITY {
                self.entries.remove(0);
            }
            load()?
        };
        self.entries.push((dims, Arc::clone(&session)));
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilecast_exec::{HostTensor, Observer, RunError};

    #[derive(Debug)]
    struct Idle;

    impl Session for Idle {
        fn run(&self, _: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
            Ok(Vec::new())
        }
        fn run_observed(
            &self,
            _: &[HostTensor],
            _: &mut Observer<'_>,
        ) -> Result<Vec<HostTensor>, RunError> {
            Ok(Vec::new())
        }
        fn peak_live_bytes(&self) -> usize {
            0
        }
    }

    #[test]
    fn the_session_unused_for_longest_goes_first() {
        let mut cache = SessionCache::default();
        let mut loaded = Vec::new();
        for height in [1, 2, 3, 4, 1, 5, 1, 2, 4] {
            let load = || {
                loaded.push(height);
                Ok(Arc::new(Idle) as Arc<dyn Session>)
            };
            cache.get_or_load([1, 3, height, 8], load).unwrap();
            assert!(cache.entries.len() <= SessionCache::CAPACITY);
        }
        // 5 evicts 2, which was used before 1 was used again; loading 2 anew evicts 3 and leaves 4.
        assert_eq!(loaded, [1, 2, 3, 4, 5, 2]);
    }

    #[test]
    fn a_failed_load_is_not_kept() {
        let mut cache = SessionCache::default();
        let fail = || {
            Err(LoadError {
                engine: "fake",
                reason: "no".to_owned(),
            })
        };
        assert!(cache.get_or_load([1; 4], fail).is_err());
        assert!(cache.get_or_load([1; 4], || Ok(Arc::new(Idle))).is_ok());
    }
}
