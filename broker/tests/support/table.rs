//! What every identity tries on every broker: the cloud's tests take this file as well, for brokers of others.

use contract::{DeviceId, RelayId, Topic};

/// Filters that are wider than a topic.
pub const FILTERS: [&str; 5] =
    ["#", "tinymlaas/#", "tinymlaas/v1/#", "tinymlaas/v1/relays/+/commands", "tinymlaas/v1/+/bench/#"];

/// Every topic of two relays, and some of nobody.
pub fn topics() -> Vec<String> {
    let device = DeviceId::new("board").unwrap();
    let mut topics: Vec<String> = ["bench", "other"]
        .into_iter()
        .flat_map(|relay| Topic::every(&RelayId::new(relay).unwrap(), &device, "admin"))
        .map(|topic| topic.to_string())
        .collect();
    topics.extend(["elsewhere", "tinymlaas/v1/relays/bench/unheard-of", "tinymlaas/v2/cloud/commands"].map(Into::into));
    topics.sort();
    topics.dedup();
    topics
}
