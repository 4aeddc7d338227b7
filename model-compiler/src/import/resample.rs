//! Where the pixels of a resized image, or of one that is mirrored at its edges, come from, axis by axis.

use super::Fault;
use crate::ir::Blend;

/// How positions of the result map to those of the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coordinates {
    /// `at * scale`
    Asymmetric,
    /// `(at + 1/2) * scale - 1/2`
    HalfPixel,
    /// `(at + 1/2) * scale`: pixels lie between whole numbers, nearest ones are found by rounding down.
    Between,
    /// First and last pixels meet.
    AlignCorners,
}

impl Coordinates {
    /// Real position in an axis of `from` pixels of pixel `at` of `to`. Two neighbours of the result lie `ratio` apart.
    pub fn place_by(self, at: usize, from: usize, to: usize, ratio: f64) -> f64 {
        let at = at as f64;
        match self {
            Self::Asymmetric => at * ratio,
            Self::HalfPixel => (at + 0.5) * ratio - 0.5,
            Self::Between => (at + 0.5) * ratio,
            Self::AlignCorners if to > 1 => at * (from - 1) as f64 / (to - 1) as f64,
            Self::AlignCorners => 0.0,
        }
    }
}

/// For each pixel of an axis its neighbours in the operand, for linear interpolation.
pub(super) fn blends(from: usize, to: usize, coordinates: Coordinates) -> Vec<Blend> {
    blends_by(from, to, coordinates, from as f64 / to as f64)
}

/// As [`blends`], where two neighbours of the result lie `ratio` apart in the operand.
pub(super) fn blends_by(from: usize, to: usize, coordinates: Coordinates, ratio: f64) -> Vec<Blend> {
    (0..to)
        .map(|at| {
            let place = coordinates.place_by(at, from, to, ratio).clamp(0.0, (from - 1) as f64);
            let low = place.floor();
            Blend { low: low as usize, high: place.ceil() as usize, share: (place - low) as f32 }
        })
        .collect()
}

/// TFLite's int8 form of [`blends`]: positions in 1/1024, rounded as its kernel rounds them.
pub(super) fn blends_q10(from: usize, to: usize, coordinates: Coordinates) -> Vec<Blend> {
    let (from, to) = (from as i64, to as i64);
    let scale = match coordinates {
        Coordinates::AlignCorners if to > 1 => (1024 * (from - 1) + (to - 1) / 2) / (to - 1),
        _ => (1024 * from + to / 2) / to,
    };
    (0..to)
        .map(|at| {
            let place = at * scale + if coordinates == Coordinates::HalfPixel { scale / 2 - 512 } else { 0 };
            let low = (place / 1024).max(0);
            let high = ((place + 1023) / 1024).min(from - 1);
            // Rounded scales can lead one pixel too far.
            let low = low.min(from - 1);
            Blend { low: low as usize, high: high.max(0) as usize, share: (place - 1024 * low) as f32 / 1024.0 }
        })
        .collect()
}

/// For each pixel of an axis the nearest one as TFLite finds it, in 32-bit floats.
pub(super) fn nearest_tflite(from: usize, to: usize, align_corners: bool, half_pixel: bool) -> Vec<usize> {
    let scale = if align_corners && to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { from as f32 / to as f32 };
    let offset = if half_pixel { 0.5 } else { 0.0 };
    (0..to)
        .map(|at| {
            let place = (at as f32 + offset) * scale;
            let place = if align_corners { place.round() } else { place.floor() };
            (place as usize).min(from - 1)
        })
        .collect()
}

/// Indices along an axis that is continued at both ends by its own values: mirrored with the outermost one repeated
/// (`symmetric`) or not.
pub(super) fn mirrored(len: usize, before: usize, after: usize, symmetric: bool) -> Result<Vec<usize>, Fault> {
    let most = if symmetric { len } else { len - 1 };
    if before > most || after > most {
        return Err(Fault::Bad(format!("mirrors {before} and {after} values of an axis of {len}")));
    }
    let skip = usize::from(!symmetric);
    let head = (0..before).rev().map(|at| at + skip);
    let tail = (0..after).map(|at| len - 1 - skip - at);
    Ok(head.chain(0..len).chain(tail).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mirrors_repeat_the_edge_or_not() {
        assert_eq!(mirrored(3, 2, 1, false).unwrap(), [2, 1, 0, 1, 2, 1]);
        assert_eq!(mirrored(3, 2, 1, true).unwrap(), [1, 0, 0, 1, 2, 2]);
        assert!(mirrored(3, 3, 0, false).is_err());
    }

    #[test]
    fn corners_meet_where_they_are_aligned() {
        let ends = blends(4, 7, Coordinates::AlignCorners);
        assert_eq!((ends[0].low, ends[6].low, ends[6].share), (0, 3, 0.0));
        assert_eq!(ends[1].share, 0.5);
        assert_eq!(nearest_tflite(3, 6, false, false), [0, 0, 1, 1, 2, 2]);
    }
}
