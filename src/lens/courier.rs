//! Brings tensors to the host beside the computation, where the device can copy and compute at once.
//! Knows nothing of what they hold.

use candle_core::Tensor;

use crate::model::Result;

/// Carries tensors of one device to the host.
#[derive(Debug, Default)]
pub struct Courier {
    #[cfg(feature = "cuda")]
    road: Option<cuda::Road>,
}

/// A tensor on its way.
#[derive(Debug)]
pub struct Parcel(Content);

#[derive(Debug)]
enum Content {
    /// It is here already.
    Here(Vec<f32>),
    #[cfg(feature = "cuda")]
    Under(cuda::Way),
}

impl Courier {
    /// Sends an f32 tensor to the host, flattened. What the device computes for it is waited for by the copy, not by the
    /// caller.
    pub fn send(&mut self, tensor: &Tensor) -> Result<Parcel> {
        #[cfg(feature = "cuda")]
        if let candle_core::Device::Cuda(device) = tensor.device() {
            let road = match &mut self.road {
                Some(road) => road,
                none => none.insert(cuda::Road::new(&device.cuda_stream())?),
            };
            return Ok(Parcel(Content::Under(road.send(tensor)?)));
        }
        Ok(Parcel(Content::Here(tensor.flatten_all()?.to_vec1()?)))
    }

    /// Waits for what was sent.
    pub fn receive(&mut self, parcel: Parcel) -> Result<Vec<f32>> {
        match parcel.0 {
            Content::Here(numbers) => Ok(numbers),
            #[cfg(feature = "cuda")]
            Content::Under(way) => {
                let (numbers, buffer) = way.end()?;
                if let Some(road) = &mut self.road {
                    road.keep(buffer);
                }
                Ok(numbers)
            }
        }
    }
}

/// NVIDIA cards: a stream of its own for copies, into page-locked memory that is used again.
#[cfg(feature = "cuda")]
mod cuda {
    use std::sync::Arc;

    use candle_core::cuda_backend::WrapErr as _;
    use candle_core::cuda_backend::cudarc::driver::{CudaStream, PinnedHostSlice};
    use candle_core::{Result, Storage, Tensor};

    /// Numbers that a first buffer holds; larger ones are twice as large, and so on.
    const LEAST: usize = 1 << 16;

    #[derive(Debug)]
    pub(super) struct Road {
        compute: Arc<CudaStream>,
        copies: Arc<CudaStream>,
        spare: Option<PinnedHostSlice<f32>>,
    }

    #[derive(Debug)]
    pub(super) struct Way {
        /// Must not be freed, nor used for something else, before the copy is done.
        _tensor: Tensor,
        buffer: PinnedHostSlice<f32>,
        len: usize,
    }

    impl Road {
        pub(super) fn new(compute: &Arc<CudaStream>) -> Result<Self> {
            let copies = compute.context().new_stream().w()?;
            Ok(Self { compute: Arc::clone(compute), copies, spare: None })
        }

        pub(super) fn send(&mut self, tensor: &Tensor) -> Result<Way> {
            let tensor = tensor.contiguous()?;
            let len = tensor.elem_count();
            let mut buffer = match self.spare.take().filter(|b| b.len() >= len) {
                Some(buffer) => buffer,
                None => page_locked(&self.copies, len.next_power_of_two().max(LEAST))?,
            };
            {
                let (storage, layout) = tensor.storage_and_layout();
                let Storage::Cuda(storage) = &*storage else { candle_core::bail!("not on the card") };
                let start = layout.start_offset();
                let numbers = storage.as_cuda_slice::<f32>()?.slice(start..start + len);
                let computed = self.compute.record_event(None).w()?;
                self.copies.wait(&computed).w()?;
                self.copies.memcpy_dtoh(&numbers, &mut buffer).w()?;
            }
            Ok(Way { _tensor: tensor, buffer, len })
        }

        /// Takes a buffer back for the next tensor.
        pub(super) fn keep(&mut self, buffer: PinnedHostSlice<f32>) {
            self.spare = Some(buffer);
        }
    }

    impl Way {
        /// Waits for the copy; the buffer can be used again.
        pub(super) fn end(self) -> Result<(Vec<f32>, PinnedHostSlice<f32>)> {
            // The buffer's own event marks the end of the last copy into it.
            let numbers = self.buffer.as_slice().w()?[..self.len].to_vec();
            Ok((numbers, self.buffer))
        }
    }

    /// Memory of the host that the card copies into by itself; cached by the processor, which reads it once.
    fn page_locked(stream: &CudaStream, len: usize) -> Result<PinnedHostSlice<f32>> {
        #[allow(unsafe_code, reason = "page-locked memory begins with any content")]
        // SAFETY: every bit pattern is an f32, and only what a copy has written is ever read.
        unsafe {
            stream.context().alloc_pinned_with_flags(len, 0).w()
        }
    }
}
