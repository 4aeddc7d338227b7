//! Random bytes at the front door: the broker answers, closes or waits; it never dies and never hangs.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::robust::connect_frame;
use crate::support::*;

/// Frames that look like packets: any type and flags, a right or a wrong length, any body.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    (any::<u8>(), -2_i8..3, body).prop_map(|(first, off, body)| {
        let length = (body.len() as i8 + off).clamp(0, 127) as u8;
        let mut frame = vec![first, length];
        frame.extend(body);
        frame
    })
}

#[test]
fn random_packets_do_no_harm() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let broker = runtime.block_on(Running::start());
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let input = (
        any::<bool>(),
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(frame(), 1..6).prop_map(|frames| frames.concat()),
        ],
    );
    runner
        .run(&input, |(connected, bytes)| {
            runtime.block_on(async {
                let mut stream = TcpStream::connect(broker.addr).await.unwrap();
                if connected {
                    let connect = connect_frame("bench", "fuzz", 60);
                    stream.write_all(&connect).await.unwrap();
                    let mut answer = [0; 4];
                    stream.read_exact(&mut answer).await.unwrap();
                    assert_eq!(answer, [0x20, 2, 0, 0]);
                }
                // The broker may close while this is written.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let mut rest = Vec::new();
                let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
                    .await
                    .expect("the broker holds on to a connection that has ended");
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        let mut relay = broker.client("bench", "after").await;
        relay.publish(EVENTS, "alive").await;
    });
}
