//! The health check, and starting where one cannot.

use std::time::Duration;

use broker::health::{HealthError, check};
use broker::{Broker, BrokerConfig, BrokerError};

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_round_trip_tells_that_all_is_well() {
    let broker = Running::start().await;
    for name in ["admin", "cloud"] {
        check(broker.addr, name, &token(name), LIMIT).await.unwrap();
    }
    let wrong = check(broker.addr, "admin", "guess", LIMIT).await;
    assert!(matches!(wrong, Err(HealthError::Connection(_))));
    let viewer = check(broker.addr, "viewer", &token("viewer"), LIMIT).await;
    assert!(matches!(viewer, Err(HealthError::NotAllowed(_))));
}

#[tokio::test]
async fn nobody_there_or_nobody_answering_is_unhealthy() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let limit = Duration::from_millis(500);
    let result = check(addr, "admin", "x", limit).await;
    assert!(matches!(result, Err(HealthError::Timeout(_))));
    drop(silent);
    let result = check(addr, "admin", "x", limit).await;
    assert!(matches!(result, Err(HealthError::Connection(_))));
}

#[tokio::test]
async fn a_port_in_use_and_a_folder_in_use_are_clear_errors() {
    let broker = Running::start().await;
    let other = tempfile::tempdir().unwrap();
    let refused = Broker::bind(BrokerConfig::new(broker.addr, other.path())).await;
    assert!(matches!(refused, Err(BrokerError::Listen { .. })));
    let any = "127.0.0.1:0".parse().unwrap();
    let refused = Broker::bind(BrokerConfig::new(any, broker.dir.path())).await;
    assert!(matches!(refused, Err(BrokerError::Store { .. })));
    std::fs::write(other.path().join("credentials.json"), "nonsense").unwrap();
    let refused = Broker::bind(BrokerConfig::new(any, other.path())).await;
    assert!(matches!(refused, Err(BrokerError::Credentials { .. })));
}
