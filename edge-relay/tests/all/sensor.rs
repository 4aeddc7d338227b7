//! A board that feeds itself: the analogue input of an Uno, whose voltage simavr is told.

use serde_json::{Value, json};
use virtual_board::simulator::Arduino;

use crate::bench::{Bench, CHIP};
use crate::model::{INPUT, Kind, make, reference};

/// An Uno whose A0 feeds the model 500 times a second.
fn uno_with_adc() -> Value {
    json!({
        "board": "uno-adc", "title": "An Uno that listens to A0", "toolchain": "avr-gcc", "target": "atmega328p",
        "firmware": "avr", "flags": ["-mmcu=atmega328p", "-DF_CPU=16000000UL", "-DTML_LED_BIT=5"],
        "flash_bytes": 32256, "ram_bytes": 2048, "stack_bytes": 400, "baud": 115_200, "programmer": "avrdude",
        "upload": { "part": "m328p", "protocol": "arduino", "baud": 115_200 }, "reset": "dtr", "usb": [],
        "sensor": { "kind": "adc", "pin": 0, "rate_hz": 500 },
    })
}

/// What the board answers where all values are this many of the converter's 1023 steps. The model's input has a scale of
/// 0.5 and a zero point of -128, and raw values count as they are, so everything above 127 is cut.
fn answers(steps: u32, salt: u8) -> Vec<u8> {
    let quantized = (i64::from(steps) * 2 - 128).clamp(-128, 127) as i8;
    reference(&[quantized.cast_unsigned(); INPUT], salt)
}

/// The outputs of a reading as bytes; the model's output has the same scale and zero point.
fn outputs(reading: &Value) -> Vec<u8> {
    let real = |value: &Value| (value.as_f64().unwrap() / 0.5 - 128.0).round() as i8;
    reading["outputs"].as_array().unwrap().iter().map(|value| real(value).cast_unsigned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analogue_input_feeds_the_model_on_an_uno() {
    let missing = Arduino::Uno.missing();
    if !missing.is_empty() {
        return eprintln!("SKIPPED an_analogue_input_feeds_the_model_on_an_uno: apt install {}", missing.join(" "));
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    let folder = bench.path("relay/boards");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("uno-adc.json"), uno_with_adc().to_string()).unwrap();
    let adc = bench.path("boards/board-1/adc");
    std::fs::create_dir_all(adc.parent().unwrap()).unwrap();
    std::fs::write(&adc, "100\n").unwrap();
    bench.add_uno(1);
    bench.start_relay();
    let host = &bench.host;
    host.devices(1).await;
    host.send(json!({"id": "s", "verb": "set_board", "device": "board-1", "board": "uno-adc"})).await;
    host.succeeds("s").await;
    // The golden vectors come from the relay, and the sensor does not disturb them.
    let salt = 70;
    let model = make(salt, Kind::Good, 100);
    host.offer(&model);
    let observe = json!({"source": "serial"});
    host.send(json!({"id": "i", "verb": "install", "device": "board-1", "artifact": model.id, "observe": observe}))
        .await;
    let end = host.succeeds("i").await;
    assert_eq!(end["detail"]["self_test"]["vectors"], 12, "{end}");
    eprintln!("with its sensor: {}", end["detail"]);

    // 100 mV of 5 V are 20 steps, 250 mV are 51; a step more or less is the converter's own.
    for (millivolts, steps) in [(100u32, 20u32), (250, 51), (4900, 1002)] {
        // Whole before it is there: the simulator may read it at any moment.
        let new = adc.with_extension("new");
        std::fs::write(&new, format!("{millivolts}\n")).unwrap();
        std::fs::rename(&new, &adc).unwrap();
        let right: Vec<Vec<u8>> = (steps - 1..=steps + 1).map(|steps| answers(steps, salt)).collect();
        host.reading("board-1", &format!("an answer to {millivolts} mV"), |reading| right.contains(&outputs(reading)))
            .await;
    }
    let readings = host.readings("board-1");
    let last = readings.last().unwrap();
    assert!(last["device_seq"].as_u64() >= Some(3) && last["input"].is_null(), "{last}");
    // Asked for samples of the data set, the relay takes nothing else for an answer.
    host.send(json!({"id": "o", "verb": "observe", "device": "board-1", "observe": {"interval_ms": 200}})).await;
    host.succeeds("o").await;
    host.reading("board-1", "one with its sample", |reading| !reading["sample"].is_null()).await;
    host.assert_gap_free();
}
