//! The broker, as a client command sees it: connect, subscribe, publish, receive.

use std::collections::VecDeque;
use std::time::Duration;

use contract::limits::MAX_PACKET_BYTES;
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, NetworkOptions, Packet, QoS};
use tokio::sync::{mpsc, oneshot};

use crate::args::Context;
use crate::client::token;
use crate::exit::Failure;

/// What arrives.
pub enum Incoming {
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// The broker has taken over a publish of ours.
    Published,
}

/// A connection. Polling has a task of its own, because `poll` must not be cancelled.
pub struct Mqtt {
    client: AsyncClient,
    incoming: mpsc::Receiver<Result<Incoming, Failure>>,
    /// What arrived before all subscriptions stood.
    early: VecDeque<Incoming>,
}

impl Mqtt {
    /// Connects with the credential of this context and subscribes to `filters`.
    pub async fn connect(context: &Context, filters: &[String]) -> Result<Self, Failure> {
        let (host, port) = context.broker()?;
        Self::connect_as(&host, port, &context.user, token(context)?, filters).await
    }

    /// Connects with a credential at hand.
    pub async fn connect_as(
        host: &str,
        port: u16,
        user: &str,
        token: String,
        filters: &[String],
    ) -> Result<Self, Failure> {
        let mut options = MqttOptions::new(format!("cli-{}", uuid::Uuid::now_v7().simple()), host, port);
        options.set_credentials(user, token);
        options.set_keep_alive(Duration::from_secs(20));
        options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        let (client, mut eventloop) = AsyncClient::new(options, 64);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(5);
        eventloop.set_network_options(network);
        let (sender, incoming) = mpsc::channel(1024);
        let place = format!("{host}:{port}");
        let mut wanted = filters.len();
        let (ready, is_ready) = oneshot::channel();
        tokio::spawn(async move {
            let mut ready = Some(ready);
            loop {
                let result = match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        if wanted == 0 {
                            ready.take().map(|r| r.send(()));
                        }
                        continue;
                    }
                    Ok(Event::Incoming(Packet::SubAck(ack))) => {
                        wanted = wanted.saturating_sub(1);
                        if ack.return_codes.iter().any(|c| matches!(c, rumqttc::SubscribeReasonCode::Failure)) {
                            Err(Failure::Unauthorized("this credential may not watch that".to_owned()))
                        } else {
                            if wanted == 0 {
                                ready.take().map(|r| r.send(()));
                            }
                            continue;
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        Ok(Incoming::Message { topic: publish.topic, payload: publish.payload.to_vec() })
                    }
                    Ok(Event::Incoming(Packet::PubAck(_))) => Ok(Incoming::Published),
                    Ok(_) => continue,
                    Err(error) => Err(explain(&error, &place)),
                };
                let ends = result.is_err();
                if sender.send(result).await.is_err() || ends {
                    return;
                }
            }
        });
        for filter in filters {
            client
                .subscribe(filter, QoS::AtLeastOnce)
                .await
                .map_err(|error| Failure::Internal(format!("the MQTT client: {error}")))?;
        }
        let mut mqtt = Self { client, incoming, early: VecDeque::new() };
        let answer = tokio::time::timeout(Duration::from_secs(10), mqtt.stand(is_ready)).await;
        answer.map_err(|_| Failure::Unreachable("the broker does not answer".to_owned()))??;
        Ok(mqtt)
    }

    /// Waits until every subscription stands, so that nothing that follows is missed. What the first ones bring
    /// meanwhile is kept.
    async fn stand(&mut self, mut is_ready: oneshot::Receiver<()>) -> Result<(), Failure> {
        let mut may_stand = true;
        loop {
            tokio::select! {
                ready = &mut is_ready, if may_stand => match ready {
                    Ok(()) => return Ok(()),
                    // Why it will not is among what comes.
                    Err(_) => may_stand = false,
                },
                first = self.incoming.recv() => match first {
                    Some(incoming) => self.early.push_back(incoming?),
                    None => return Err(Failure::Unreachable("the broker closed the connection".to_owned())),
                },
            }
        }
    }

    /// Publishes at QoS 1; [`Incoming::Published`] follows when the broker has it.
    pub async fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), Failure> {
        contract::wire::fits(topic, &payload).map_err(|error| Failure::Usage(error.to_string()))?;
        self.client
            .publish(topic, QoS::AtLeastOnce, false, payload)
            .await
            .map_err(|error| Failure::Internal(format!("the MQTT client: {error}")))
    }

    /// The next thing that arrives.
    pub async fn next(&mut self) -> Result<Incoming, Failure> {
        if let Some(incoming) = self.early.pop_front() {
            return Ok(incoming);
        }
        match self.incoming.recv().await {
            Some(result) => result,
            None => Err(Failure::Unreachable("the connection to the broker ended".to_owned())),
        }
    }
}

/// Sorts what the MQTT client says into the table of exit codes.
pub fn explain(error: &ConnectionError, place: &str) -> Failure {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => Failure::Unauthorized(format!("the broker at {place} does not accept this user name and token")),
        ConnectionError::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => Failure::Unreachable(format!(
            "the broker at {place} cannot be reached; is 'tinymlaas up' running there? (--mqtt names another)"
        )),
        other => Failure::Unreachable(format!("the connection to the broker at {place} failed: {other}")),
    }
}
