//! One file of a folder of examples to the values of a model's input: pictures, NumPy arrays, raw numbers.
//!
//! Nothing is opened here: the caller hands over names and bytes.

use std::io::Cursor;

use thiserror::Error;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::import::Model;

/// Most pixels of a side of a picture.
const MAX_SIDE: usize = 8_192;

/// Endings of files that [`Input::read`] understands.
pub const ENDINGS: &str = ".jpg, .jpeg, .png, .npy, .bin, .raw";

/// Why a file is no example.
#[derive(Debug, Error, PartialEq)]
pub enum SampleError {
    /// An ending that is not in [`ENDINGS`].
    #[error("its ending is none of {ENDINGS}")]
    Ending,
    /// The model does not take pictures.
    #[error("the model's input {shape:?} is no picture (height, width and 1 or 3 channels); give .npy, .bin or a CSV")]
    NoPicture {
        /// The model's input.
        shape: Vec<usize>,
    },
    /// Damaged, or of a kind that is not read.
    #[error("it is no usable {kind} file: {reason}")]
    Damaged {
        /// What it should be.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Another number of values than the model takes.
    #[error("it holds {found}, the model's input {shape:?} takes {expected} values")]
    Length {
        /// What it holds.
        found: String,
        /// What the model takes.
        expected: usize,
        /// The model's input.
        shape: Vec<usize>,
    },
}

/// What a model takes, as far as reading examples needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Shape as the model file declares it, batch 1.
    pub shape: Vec<usize>,
    /// Scale and zero point of int8 models.
    pub int8: Option<(f32, i32)>,
}

impl Input {
    /// The input of a model.
    pub fn of(model: &Model) -> Self {
        match model {
            Model::Float(graph) => Self { shape: graph.input_shape.clone(), int8: None },
            Model::Int8(graph) => {
                let tensor = &graph.tensors[graph.input];
                Self { shape: graph.input_shape.clone(), int8: Some((tensor.scale, tensor.zero_point)) }
            }
        }
    }

    /// Number of values.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Factor and summand that bring a picture's 0 to 255 to what the model takes: all of an int8 input's range, or 0
    /// to 1 for float models.
    pub fn picture_scale(&self) -> (f32, f32) {
        match self.int8 {
            Some((scale, zero_point)) => (scale, scale * (-128 - zero_point) as f32),
            None => (1.0 / 255.0, 0.0),
        }
    }

    /// Height, width, channels, and whether the channels come first.
    fn picture(&self) -> Option<(usize, usize, usize, bool)> {
        match *self.shape.as_slice() {
            [1, h, w, c] | [h, w, c] if c == 1 || c == 3 => Some((h, w, c, false)),
            [1, c, h, w] | [c, h, w] if c == 1 || c == 3 => Some((h, w, c, true)),
            _ => None,
        }
    }

    /// Reads one file: a picture becomes 0 to 255 in the size that the model takes, arrays stay as they are. A raw
    /// file holds little-endian 32-bit floats, or a byte a value: int8 as an int8 model takes it, else 0 to 255.
    ///
    /// # Errors
    /// [`SampleError`] says what is wrong with it.
    pub fn read(&self, name: &str, bytes: &[u8]) -> Result<Vec<f32>, SampleError> {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "jpg" | "jpeg" => self.fit(&jpeg(bytes)?),
            "png" => self.fit(&png(bytes)?),
            "npy" => self.checked(npy(bytes)?),
            "bin" | "raw" => self.raw(bytes),
            _ => Err(SampleError::Ending),
        }
    }

    /// True if a file of this name holds a picture.
    pub fn is_picture(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        [".jpg", ".jpeg", ".png"].iter().any(|ending| name.ends_with(ending))
    }

    fn length(&self, found: String) -> SampleError {
        SampleError::Length { found, expected: self.values(), shape: self.shape.clone() }
    }

    fn checked(&self, values: Vec<f32>) -> Result<Vec<f32>, SampleError> {
        if values.len() != self.values() {
            return Err(self.length(format!("{} values", values.len())));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(SampleError::Damaged { kind: "array", reason: "a value is infinite or no number".into() });
        }
        Ok(values)
    }

    fn raw(&self, bytes: &[u8]) -> Result<Vec<f32>, SampleError> {
        if bytes.len() == self.values() {
            let value = |byte: &u8| match self.int8 {
                Some((scale, zero_point)) => scale * (i32::from(byte.cast_signed()) - zero_point) as f32,
                None => f32::from(*byte),
            };
            return Ok(bytes.iter().map(value).collect());
        }
        if bytes.len() == 4 * self.values() {
            return self.checked(words(bytes, f32::from_le_bytes));
        }
        Err(self.length(format!("{} bytes (a byte or four a value are read)", bytes.len())))
    }

    fn fit(&self, picture: &Picture) -> Result<Vec<f32>, SampleError> {
        let (height, width, channels, first) =
            self.picture().ok_or_else(|| SampleError::NoPicture { shape: self.shape.clone() })?;
        let picture = picture.with_channels(channels).resized(height, width);
        if !first {
            return Ok(picture.values);
        }
        let plane = |channel: usize| picture.values.iter().skip(channel).step_by(channels).copied();
        Ok((0..channels).flat_map(plane).collect())
    }
}

/// Rows of pixels, channels innermost, 0 to 255.
struct Picture {
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<f32>,
}

impl Picture {
    /// As grey (ITU-R BT.601) or as red, green, blue.
    fn with_channels(&self, channels: usize) -> Self {
        let pixels = self.values.chunks_exact(self.channels);
        let values = match (self.channels, channels) {
            (1 | 2, 3) => pixels.flat_map(|pixel| [pixel[0]; 3]).collect(),
            (3 | 4, 3) => pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
            (3 | 4, _) => pixels.map(|pixel| 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]).collect(),
            _ => pixels.map(|pixel| pixel[0]).collect(),
        };
        Self { channels, values, ..*self }
    }

    /// Resized with a triangle filter as wide as the reduction, so that nothing of a larger picture is skipped.
    fn resized(&self, height: usize, width: usize) -> Self {
        let (rows, columns) = (taps(self.height, height), taps(self.width, width));
        let c = self.channels;
        let mut wide = Vec::with_capacity(self.height * width * c);
        for row in self.values.chunks_exact(self.width * c) {
            for column in &columns {
                let value = |channel| column.iter().map(|(at, share)| row[at * c + channel] * share).sum::<f32>();
                wide.extend((0..c).map(value));
            }
        }
        let mut values = Vec::with_capacity(height * width * c);
        for row in &rows {
            let value = |at| row.iter().map(|(from, share)| wide[from * width * c + at] * share).sum::<f32>();
            values.extend((0..width * c).map(value));
        }
        Self { height, width, channels: c, values }
    }
}

/// For each of `to` positions the source positions of `from` with their shares.
fn taps(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let step = from as f32 / to as f32;
    let reach = step.max(1.0);
    (0..to)
        .map(|at| {
            let centre = (at as f32 + 0.5) * step;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize).min(from);
            let weight = |source: usize| (1.0 - ((source as f32 + 0.5 - centre) / reach).abs()).max(0.0);
            let sum: f32 = (first..last).map(weight).sum();
            (first..last).map(|source| (source, weight(source) / sum)).filter(|(_, share)| *share > 0.0).collect()
        })
        .collect()
}

fn jpeg(bytes: &[u8]) -> Result<Picture, SampleError> {
    let damaged = |reason: String| SampleError::Damaged { kind: "JPEG", reason };
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| damaged(error.to_string()))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("it has no size".into()))?;
    picture(height, width, 3, &pixels).ok_or_else(|| damaged("it ends before its last pixel".into()))
}

fn png(bytes: &[u8]) -> Result<Picture, SampleError> {
    let damaged = |reason: String| SampleError::Damaged { kind: "PNG", reason };
    let limits = png::Limits { bytes: 4 * MAX_SIDE * MAX_SIDE };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| damaged(error.to_string()))?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(damaged(format!("{width} x {height} pixels, at most {MAX_SIDE} a side are read")));
    }
    let size = reader.output_buffer_size().ok_or_else(|| damaged("it is too large".into()))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(|error| damaged(error.to_string()))?;
    let channels = frame.color_type.samples();
    picture(height, width, channels, &pixels).ok_or_else(|| damaged("it ends before its last pixel".into()))
}

fn picture(height: usize, width: usize, channels: usize, pixels: &[u8]) -> Option<Picture> {
    let values: Vec<f32> = pixels.get(..height * width * channels)?.iter().map(|byte| f32::from(*byte)).collect();
    (!values.is_empty()).then_some(Picture { height, width, channels, values })
}

/// A NumPy array of numbers in C order.
fn npy(bytes: &[u8]) -> Result<Vec<f32>, SampleError> {
    let damaged = |reason: &str| SampleError::Damaged { kind: "NumPy", reason: reason.to_owned() };
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(|| damaged("it does not begin with \\x93NUMPY"))?;
    let (header, data) = match *rest {
        [1, _, a, b, ..] => (4, usize::from(u16::from_le_bytes([a, b]))),
        [2 | 3, _, a, b, c, d, ..] => (6, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err(damaged("its version is none of 1, 2, 3")),
    };
    let text = rest.get(header..).and_then(|rest| rest.get(..data)).ok_or_else(|| damaged("its header is cut off"))?;
    let text = String::from_utf8_lossy(text);
    let data = &rest[header + data..];
    if text.contains("'fortran_order': True") {
        return Err(damaged("it is in Fortran order; save numpy.ascontiguousarray of it"));
    }
    let kind = text.split("'descr':").nth(1).and_then(|rest| rest.split('\'').nth(1)).unwrap_or_default();
    Ok(match kind {
        "<f4" => words(data, f32::from_le_bytes),
        "<f8" => words(data, |word| f64::from_le_bytes(word) as f32),
        "|u1" => data.iter().map(|byte| f32::from(*byte)).collect(),
        "|i1" => data.iter().map(|byte| f32::from(byte.cast_signed())).collect(),
        "<i2" => words(data, |word| f32::from(i16::from_le_bytes(word))),
        "<u2" => words(data, |word| f32::from(u16::from_le_bytes(word))),
        "<i4" => words(data, |word| i32::from_le_bytes(word) as f32),
        "<i8" => words(data, |word| i64::from_le_bytes(word) as f32),
        _ => return Err(damaged("its type is none of float32, float64, int8, uint8, int16, uint16, int32, int64")),
    })
}

fn words<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let word = |word: &[u8]| {
        let mut bytes = [0; N];
        bytes.copy_from_slice(word);
        value(bytes)
    };
    bytes.chunks_exact(N).map(word).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn input(shape: &[usize]) -> Input {
        Input { shape: shape.to_vec(), int8: None }
    }

    fn png_of(width: u32, height: u32, grey: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(grey).unwrap();
        file
    }

    fn npy_of(kind: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2, 2), }}\n");
        let len = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", len.as_slice(), header.as_bytes(), data].concat()
    }

    #[test]
    fn pictures_are_resized_to_what_the_model_takes() {
        let file = png_of(4, 2, &[0, 0, 200, 200, 0, 0, 200, 200]);
        assert_eq!(input(&[1, 2, 4, 1]).read("a.png", &file).unwrap()[..4], [0.0, 0.0, 200.0, 200.0]);
        let small = input(&[1, 1, 2, 1]).read("a.PNG", &file).unwrap();
        assert!(small[0] < 50.0 && small[1] > 150.0, "{small:?}");
        let colours = input(&[1, 3, 2, 4]).read("a.png", &file).unwrap();
        assert_eq!((colours.len(), &colours[..8]), (24, &colours[8..16]));
        let error = input(&[1, 64]).read("a.png", &file).unwrap_err().to_string();
        assert!(error.contains("[1, 64] is no picture"), "{error}");
    }

    #[test]
    fn arrays_and_raw_numbers_are_read() {
        let model = input(&[1, 4]);
        assert_eq!(model.read("a.npy", &npy_of("|u1", &[1, 2, 3, 255])).unwrap(), [1.0, 2.0, 3.0, 255.0]);
        let floats: Vec<u8> = [1.5_f32, 2.0, -3.0, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(model.read("a.npy", &npy_of("<f4", &floats)).unwrap(), [1.5, 2.0, -3.0, 0.0]);
        assert_eq!(model.read("a.bin", &floats).unwrap(), [1.5, 2.0, -3.0, 0.0]);
        assert_eq!(model.read("a.raw", &[0, 1, 2, 255]).unwrap(), [0.0, 1.0, 2.0, 255.0]);
        let int8 = Input { int8: Some((0.5, -1)), ..model.clone() };
        assert_eq!(int8.read("a.raw", &[0, 1, 2, 255]).unwrap(), [0.5, 1.0, 1.5, 0.0]);
        for (name, bytes, expected) in [
            ("a.bin", vec![0; 5], "it holds 5 bytes"),
            ("a.npy", npy_of("|u1", &[1]), "it holds 1 values"),
            ("a.npy", npy_of("<c8", &[1]), "its type is none of"),
            ("a.txt", Vec::new(), "its ending is none of"),
            ("a.jpg", b"no picture".to_vec(), "no usable JPEG"),
        ] {
            let error = model.read(name, &bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let model = input(&[1, 4, 4, 3]);
            let mut damaged = png_of(4, 2, &[7; 8]);
            for (at, value) in flips {
                let at = at.index(damaged.len());
                damaged[at] = value;
            }
            let _ = model.read("a.png", &damaged);
            for name in ["a.png", "a.jpg", "a.npy", "a.bin"] {
                let magic: &[u8] = match name { "a.jpg" => b"\xff\xd8\xff\xe0", "a.npy" => b"\x93NUMPY\x01\x00", _ => b"" };
                let _ = model.read(name, &[magic, &bytes].concat());
            }
        }
    }
}
