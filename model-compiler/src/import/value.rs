//! What a name of an ONNX graph stands for while it is imported: a constant, or
//! an activation with a note of how it is stored.

use super::constant::Constant;
use crate::ir::{TensorId, transposed};

/// The value of a name.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Known at compile time.
    Constant(Constant),
    /// Computed at run time.
    Activation(Activation),
}

/// An activation, seen with the axes of the ONNX graph.
///
/// Storage is row-major over `base` with its axes in `order`; `shape` is `base`
/// reshaped. Reshapes and transpositions change only this view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Activation {
    pub tensor: TensorId,
    pub base: Vec<usize>,
    pub order: Vec<usize>,
    pub shape: Vec<usize>,
}

impl Activation {
    /// A tensor stored row-major.
    pub fn plain(tensor: TensorId, shape: Vec<usize>) -> Self {
        Self { tensor, base: shape.clone(), order: (0..shape.len()).collect(), shape }
    }

    /// An image `[1, c, h, w]` or signal `[1, c, w]` that is stored channels last.
    pub fn channels_last(tensor: TensorId, shape: Vec<usize>) -> Self {
        Self { tensor, base: shape.clone(), order: channels_last_order(shape.len()), shape }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Axes of `base` with more than one element, in the order of `order`.
    fn moving(&self, order: &[usize]) -> Vec<usize> {
        order.iter().copied().filter(|axis| self.base[*axis] > 1).collect()
    }

    /// True if storage is the row-major form of `shape`.
    pub fn is_plain(&self) -> bool {
        self.moving(&self.order).is_sorted()
    }

    /// True if storage has the axes of `base` in this order.
    pub fn is_stored(&self, order: &[usize]) -> bool {
        self.moving(&self.order) == self.moving(order)
    }

    /// The same storage, seen as `shape` from now on, if it is plain.
    pub fn rebased(&self) -> Option<Self> {
        (self.base == self.shape)
            .then(|| self.clone())
            .or_else(|| self.is_plain().then(|| Self::plain(self.tensor, self.shape.clone())))
    }

    /// Shape of the storage.
    pub fn stored_dims(&self) -> Vec<usize> {
        self.order.iter().map(|axis| self.base[*axis]).collect()
    }

    /// For each stored element its index in the row-major order of `shape`.
    pub fn logical_indices(&self) -> Vec<usize> {
        transposed(&self.base, &self.order)
    }

    /// Reshaped to another shape with as many elements.
    pub fn reshaped(&self, shape: Vec<usize>) -> Self {
        let view = Self { shape, ..self.clone() };
        if view.is_plain() {
            return Self::plain(view.tensor, view.shape);
        }
        view
    }
}

/// Storage order of images and signals: batch, then space, then channels.
pub(crate) fn channels_last_order(rank: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).filter(|axis| *axis != 1).collect();
    if rank > 1 {
        order.push(1);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_channel_needs_no_transposition() {
        let image = Activation::plain(0, vec![1, 1, 8, 8]);
        assert!(image.is_stored(&channels_last_order(4)));
        let colour = Activation::plain(0, vec![1, 3, 8, 8]);
        assert!(!colour.is_stored(&channels_last_order(4)));
    }

    #[test]
    fn a_flattened_image_remembers_its_storage() {
        let image = Activation::channels_last(0, vec![1, 2, 1, 2]);
        let flat = image.reshaped(vec![1, 4]);
        assert!(!flat.is_plain());
        assert_eq!(flat.logical_indices(), [0, 2, 1, 3]);
        assert_eq!(flat.rebased(), None);
    }
}
