//! What the firmware has to be told about a board's sensor, and how its values become the model's input.

use contract::Code;
use contract::artifact::ModelMeta;

use crate::boards::{BoardType, Sensor};
use crate::work::Failure;

/// Fixed point of the conversion: 16 bits behind the point.
const ONE: f64 = 65536.0;

/// Macros of the board's side: the same for all models.
pub fn of_board(board: &BoardType) -> Vec<(&'static str, String)> {
    match &board.sensor {
        None => Vec::new(),
        Some(Sensor::Adc { pin, rate_hz }) => {
            vec![("TML_ADC_PIN", pin.to_string()), ("TML_ADC_HZ", format!("{rate_hz}ul"))]
        }
        Some(Sensor::Ov7675) => vec![("TML_OV7675", "1".to_owned())],
    }
}

/// Macros of the model's side: `input = (raw * TML_SENSOR_MUL + TML_SENSOR_ADD) >> 16`, which is
/// `(raw * input_scale + input_offset) / scale + zero_point`, rounded to nearest. A camera is told the picture's size.
///
/// # Errors
/// `not_supported`: the board's firmware has no such sensor, or the model cannot be fed by it.
pub fn of_model(board: &BoardType, meta: &ModelMeta) -> Result<Vec<(&'static str, String)>, Failure> {
    let Some(sensor) = &board.sensor else { return Ok(Vec::new()) };
    let refuse = |why: String| Err(Failure::new(Code::NOT_SUPPORTED, format!("board '{}': {why}", board.board)));
    let drivers: &[&str] = match sensor {
        Sensor::Adc { rate_hz, .. } if !(1..=1000).contains(rate_hz) => {
            return refuse(format!("its sensor's rate_hz is {rate_hz}; allowed are 1 to 1000"));
        }
        Sensor::Adc { .. } => &["avr", "arduino"],
        Sensor::Ov7675 => &["arduino"],
    };
    if !drivers.contains(&board.firmware.as_str()) {
        return refuse(format!(
            "firmware '{}' does not drive its sensor, {} does",
            board.firmware,
            drivers.join(" or ")
        ));
    }
    if meta.input.is_float() {
        return refuse("its sensor feeds int8 models only, and this one computes in floats".to_owned());
    }
    let (scale, zero_point) = (f64::from(meta.input.scale), f64::from(meta.input.zero_point));
    let factor = f64::from(meta.input_scale) / scale * ONE;
    let offset = (f64::from(meta.input_offset) / scale + zero_point + 0.5) * ONE;
    // The board computes in 32 bits, and its converter has ten of them, with some cores twelve.
    let most = match sensor {
        Sensor::Ov7675 => 255.0,
        Sensor::Adc { .. } if board.firmware == "avr" => 1023.0,
        Sensor::Adc { .. } => 4095.0,
    };
    let sum = factor.abs() * most + offset.abs();
    if !sum.is_finite() || sum >= f64::from(i32::MAX) {
        return refuse(format!("the model's input_scale of {} is too large for the sensor's values", meta.input_scale));
    }
    let mut macros = vec![
        ("TML_SENSOR_MUL", format!("({}l)", factor.round())),
        ("TML_SENSOR_ADD", format!("({}l)", offset.round())),
    ];
    if *sensor == Sensor::Ov7675 {
        let Some((height, width)) = picture(&meta.input.shape) else {
            return refuse(format!(
                "its camera takes grey pictures of up to 120 by 160, the model's input is {:?}",
                meta.input.shape
            ));
        };
        macros.push(("TML_PICTURE_HEIGHT", height.to_string()));
        macros.push(("TML_PICTURE_WIDTH", width.to_string()));
    }
    Ok(macros)
}

/// Height and width of a picture of one channel: `[h, w]`, `[h, w, 1]`, `[1, h, w]`, or with a batch of one before.
fn picture(shape: &[u32]) -> Option<(u32, u32)> {
    let large: Vec<u32> = shape.iter().copied().filter(|size| *size != 1).collect();
    match large[..] {
        [height, width] if height <= 120 && width <= 160 => Some((height, width)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use contract::artifact::TensorMeta;
    use contract::settings::{Mixed, Optimize};

    use super::*;
    use crate::boards::Boards;

    fn meta(shape: &[u32], scale: f32, zero_point: i32, input_scale: f32) -> ModelMeta {
        let tensor = |shape: &[u32]| TensorMeta {
            name: "x".into(),
            shape: shape.to_vec(),
            dtype: "int8".into(),
            scale,
            zero_point,
        };
        ModelMeta {
            name: "m".into(),
            input: tensor(shape),
            output: tensor(&[1]),
            labels: Vec::new(),
            input_scale,
            input_offset: 0.0,
            golden_count: 0,
            sample_count: 0,
            arena_bytes: 0,
            weights_bytes: 0,
            macs: 0,
            compiler: "test".into(),
            optimize: Optimize::Speed,
            mixed: Mixed::Auto,
        }
    }

    fn board(name: &str, sensor: Sensor) -> BoardType {
        BoardType { sensor: Some(sensor), ..Boards::embedded().get(name).unwrap().clone() }
    }

    #[test]
    fn the_boards_arithmetic_is_the_quantization() {
        let uno = board("uno", Sensor::Adc { pin: 0, rate_hz: 100 });
        for (scale, zero_point, input_scale) in [(0.5, -128, 0.125), (0.024_573_5, -128, 0.006_142), (1.0, 0, 1.0)] {
            let macros = of_model(&uno, &meta(&[16], scale, zero_point, input_scale)).unwrap();
            let number = |at: usize| macros[at].1.trim_matches(['(', ')', 'l']).parse::<i64>().unwrap();
            for raw in 0..=1023i64 {
                let value = (raw * number(0) + number(1)) >> 16;
                let real = raw as f64 * f64::from(input_scale) / f64::from(scale) + f64::from(zero_point);
                assert!((value as f64 - real).abs() <= 0.51, "{raw}: {value} {real}");
                assert!(i32::try_from(raw * number(0) + number(1)).is_ok());
            }
        }
    }

    #[test]
    fn what_cannot_be_fed_is_refused_with_the_reason() {
        let adc = Sensor::Adc { pin: 0, rate_hz: 100 };
        let why = |board: &BoardType, meta: &ModelMeta| of_model(board, meta).unwrap_err().message;
        let sum = meta(&[16], 0.5, -128, 1.0);
        assert!(why(&board("native", adc.clone()), &sum).contains("avr or arduino"));
        assert!(why(&board("uno", Sensor::Ov7675), &sum).contains("arduino does"));
        assert!(why(&board("uno", Sensor::Adc { pin: 0, rate_hz: 0 }), &sum).contains("1 to 1000"));
        assert!(why(&board("uno", adc.clone()), &meta(&[16], 1e-9, 0, 1.0)).contains("input_scale"));
        assert!(why(&board("nano33ble", Sensor::Ov7675), &sum).contains("[16]"));
        let float = ModelMeta { input: TensorMeta { dtype: "float32".into(), ..sum.input.clone() }, ..sum.clone() };
        assert!(why(&board("uno", adc), &float).contains("floats"));
        let person = of_model(&board("nano33ble", Sensor::Ov7675), &meta(&[1, 96, 96, 1], 0.004, -128, 0.004)).unwrap();
        assert!(person.contains(&("TML_PICTURE_WIDTH", "96".to_owned())), "{person:?}");
    }
}
