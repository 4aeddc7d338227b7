//! A model's input as a picture: quantized H×W×C values to a `data:` address that any browser draws.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::limits::MAX_READING_INPUT_BYTES;
use contract::reading::Input;

/// A picture of an input.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Picture {
    /// `data:image/bmp;base64,…`.
    pub(crate) src: String,
    /// Pixels across.
    pub(crate) width: u32,
    /// Pixels down.
    pub(crate) height: u32,
}

/// Where the darkest and the brightest value of a one-channel input end up (red, green, blue): ink on slate, readable
/// on light and dark pages alike.
const PAPER: [u8; 3] = [0x10, 0x1b, 0x2b];
const INK: [u8; 3] = [0xe9, 0xfb, 0xf6];

/// Draws `input`: three channels as RGB, anything else as shades, stretched from its least to its greatest value.
/// Height and width are the first two dimensions; one dimension is drawn as one row. `None` for data that does not
/// match its shape or has another number of channels.
pub(crate) fn draw(input: &Input) -> Option<Picture> {
    let (height, width, channels) = match *input.shape.as_slice() {
        [width] => (1, width, 1),
        [height, width] => (height, width, 1),
        [height, width, channels] if channels == 1 || channels == 3 => (height, width, channels),
        _ => return None,
    };
    let size = u64::from(height).checked_mul(u64::from(width))?.checked_mul(u64::from(channels))?;
    if size == 0 || size > MAX_READING_INPUT_BYTES as u64 {
        return None;
    }
    let data = STANDARD.decode(&input.data).ok()?;
    if data.len() as u64 != size {
        return None;
    }
    // int8 in order of value: -128 becomes 0.
    let values: Vec<u8> = data.iter().map(|byte| byte ^ 0x80).collect();
    let pixels: Vec<[u8; 3]> = if channels == 3 {
        values.chunks_exact(3).map(|rgb| [rgb[0], rgb[1], rgb[2]]).collect()
    } else {
        let least = values.iter().copied().min().unwrap_or(0);
        let span = values.iter().copied().max().unwrap_or(0).saturating_sub(least).max(1);
        values.iter().map(|value| shade(value - least, span)).collect()
    };
    Some(Picture {
        src: format!("data:image/bmp;base64,{}", STANDARD.encode(bmp(width, height, &pixels))),
        width,
        height,
    })
}

fn shade(value: u8, span: u8) -> [u8; 3] {
    std::array::from_fn(|channel| {
        let (from, to) = (i32::from(PAPER[channel]), i32::from(INK[channel]));
        u8::try_from(from + (to - from) * i32::from(value) / i32::from(span)).unwrap_or(u8::MAX)
    })
}

/// A 24-bit BMP (BITMAPINFOHEADER): needs neither compression nor checksums. Width and height are at most 1,024.
fn bmp(width: u32, height: u32, pixels: &[[u8; 3]]) -> Vec<u8> {
    let padding = (4 - (width as usize * 3) % 4) % 4;
    let size = 54 + (width as usize * 3 + padding) * height as usize;
    let mut file = Vec::with_capacity(size);
    let word = |file: &mut Vec<u8>, value: u32| file.extend_from_slice(&value.to_le_bytes());
    file.extend_from_slice(b"BM");
    word(&mut file, u32::try_from(size).unwrap_or(u32::MAX));
    word(&mut file, 0);
    word(&mut file, 54); // offset of the pixels
    word(&mut file, 40); // size of the info header
    word(&mut file, width);
    word(&mut file, height); // positive: rows from the bottom up
    file.extend_from_slice(&[1, 0, 24, 0]); // one plane, 24 bits a pixel
    file.extend_from_slice(&[0; 24]); // no compression, no palette
    for row in pixels.chunks_exact(width as usize).rev() {
        for [red, green, blue] in row {
            file.extend_from_slice(&[*blue, *green, *red]);
        }
        file.extend(std::iter::repeat_n(0, padding));
    }
    file
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn input(shape: &[u32], data: &[i8]) -> Input {
        let bytes: Vec<u8> = data.iter().map(|value| value.cast_unsigned()).collect();
        Input { shape: shape.to_vec(), scale: 1.0 / 255.0, zero_point: -128, data: STANDARD.encode(bytes) }
    }

    fn decoded(picture: &Picture) -> Vec<u8> {
        STANDARD.decode(picture.src.strip_prefix("data:image/bmp;base64,").unwrap()).unwrap()
    }

    #[test]
    fn the_least_value_is_paper_and_the_greatest_is_ink() {
        let picture = draw(&input(&[2, 3, 1], &[-128, 0, 0, 0, 0, 100])).unwrap();
        assert_eq!((picture.width, picture.height), (3, 2));
        let file = decoded(&picture);
        assert_eq!(file.len(), 54 + 2 * 12, "rows are padded to four bytes");
        // Bottom row first, blue first: its last pixel is ink; the top row's first pixel is paper.
        assert_eq!(&file[54 + 6..54 + 9], &[INK[2], INK[1], INK[0]]);
        assert_eq!(&file[54 + 12..54 + 15], &[PAPER[2], PAPER[1], PAPER[0]]);
    }

    #[test]
    fn three_channels_are_colours() {
        let file = decoded(&draw(&input(&[1, 1, 3], &[127, -128, 0])).unwrap());
        assert_eq!(&file[54..57], &[128, 0, 255]);
    }

    #[test]
    fn what_does_not_match_its_shape_is_not_drawn() {
        assert_eq!(draw(&input(&[8, 8, 1], &[0; 63])), None);
        assert_eq!(draw(&input(&[2, 2, 2], &[0; 8])), None);
        assert_eq!(draw(&input(&[u32::MAX, u32::MAX, 3], &[0; 8])), None);
        assert_eq!(draw(&input(&[0, 8], &[])), None);
        let mut garbage = input(&[1, 3], &[1, 2, 3]);
        garbage.data = "???".into();
        assert_eq!(draw(&garbage), None);
    }
}
