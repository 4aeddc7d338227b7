//! A health check from outside: everything that a client needs, in one round trip.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use contract::topic::Topic;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};

/// Why a broker counts as unhealthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nobody answers, or the answer is no.
    #[error("the broker cannot be reached or refuses: {0}")]
    Connection(Box<rumqttc::ConnectionError>),
    /// This identity may not check.
    #[error("the broker does not let `{0}` check its health")]
    NotAllowed(String),
    /// The round trip did not complete.
    #[error("no round trip within {0:?}")]
    Timeout(Duration),
}

/// Connects to `addr` as `user`, subscribes to `tinymlaas/v1/health/{user}`, publishes there and waits for the message:
/// how long that took. `user` needs a role that has a health topic (admin or cloud).
pub async fn check(addr: SocketAddr, user: &str, token: &str, limit: Duration) -> Result<Duration, HealthError> {
    let started = Instant::now();
    let mut options =
        MqttOptions::new(format!("health-{user}-{}", std::process::id()), addr.ip().to_string(), addr.port());
    options.set_credentials(user, token);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 4);
    events.network_options.set_tcp_nodelay(true);
    events.network_options.set_connection_timeout(limit.as_secs().max(1));
    let topic = Topic::Health(user.to_owned()).to_string();
    match tokio::time::timeout(limit, round_trip(&client, &mut events, &topic)).await {
        Ok(Ok(true)) => Ok(started.elapsed()),
        Ok(Ok(false)) => Err(HealthError::NotAllowed(user.to_owned())),
        Ok(Err(error)) => Err(HealthError::Connection(Box::new(error))),
        Err(_) => Err(HealthError::Timeout(limit)),
    }
}

async fn round_trip(
    client: &AsyncClient,
    events: &mut EventLoop,
    topic: &str,
) -> Result<bool, rumqttc::ConnectionError> {
    // The channel has room for these few requests, so sending from the polling task cannot block.
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::ConnAck(_)) => {
                let _ = client.subscribe(topic, QoS::AtLeastOnce).await;
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let failure = rumqttc::SubscribeReasonCode::Failure;
                if ack.return_codes.contains(&failure) {
                    return Ok(false);
                }
                let _ = client.publish(topic, QoS::AtLeastOnce, false, "health").await;
            }
            Event::Incoming(Packet::Publish(_)) => {
                let _ = client.disconnect().await;
                // Lets the DISCONNECT out; what comes after does not matter.
                let _ = tokio::time::timeout(Duration::from_millis(200), events.poll()).await;
                return Ok(true);
            }
            _ => {}
        }
    }
}
