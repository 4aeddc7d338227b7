//! Requests and responses over MQTT: sent again until they are answered.

use std::collections::HashMap;
use std::sync::Mutex;

use contract::request::{Request, Response, ResponseBody, Want};
use contract::topic::Topic;
use contract::{Code, wire};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, timeout};

use crate::counters::lock;
use crate::relay::Relay;
use crate::work::Failure;

/// Longest wait before a request is sent again.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// Requests that wait for their answer.
#[derive(Debug, Default)]
pub struct Asker {
    waiting: Mutex<HashMap<String, oneshot::Sender<ResponseBody>>>,
}

/// Takes the request out when the asker gives up, however it does.
struct Waiting<'a>(&'a Asker, String);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.waiting).remove(&self.1);
    }
}

impl Asker {
    /// Hands an answer to whoever waits for it. An answer that nobody waits for (any more) is no fault.
    pub fn answer(&self, response: Response) -> bool {
        match lock(&self.waiting).remove(&response.request) {
            Some(waiting) => waiting.send(response.body).is_ok(),
            None => false,
        }
    }

    /// Asks, and asks again with growing waits. While there is no connection the time limit does not run: the
    /// command's own one does.
    ///
    /// # Errors
    /// `fetch_timeout`, or the code that the cloud refused with.
    pub async fn ask(&self, relay: &Relay, want: Want) -> Result<ResponseBody, Failure> {
        let request = Request { request: uuid::Uuid::now_v7().to_string(), relay: relay.config.relay.clone(), want };
        let topic = Topic::Requests(relay.config.relay.clone()).to_string();
        let payload = wire::encode(&topic, &request).map_err(|e| Failure::new(Code::INTERNAL, e.to_string()))?;
        let limits = &relay.config.timeouts;
        let (mut wait, mut waited) = (limits.answer, Duration::ZERO);
        loop {
            relay.link.connected().await;
            let (sender, answer) = oneshot::channel();
            lock(&self.waiting).insert(request.request.clone(), sender);
            let _waiting = Waiting(self, request.request.clone());
            relay.link.publish(&topic, false, payload.clone()).await;
            let since = Instant::now();
            match timeout(wait, answer).await {
                Ok(Ok(ResponseBody::Error { code, .. })) if code == Code::UNAVAILABLE => {
                    // It says itself that trying again helps.
                    tokio::time::sleep_until(since + wait).await;
                }
                Ok(Ok(ResponseBody::Error { code, message })) => return Err(Failure::new(code, message)),
                Ok(Ok(body)) => return Ok(body),
                Ok(Err(_)) | Err(_) => {}
            }
            relay.counters.add("requests_repeated", 1);
            if relay.link.connection().is_some() {
                waited += wait;
            }
            if waited >= limits.fetch {
                let message = format!(
                    "the cloud did not answer within {} s; is it running and connected to the broker?",
                    limits.fetch.as_secs()
                );
                return Err(Failure::new(Code::FETCH_TIMEOUT, message));
            }
            wait = (wait * 3 / 2).min(MAX_WAIT);
        }
    }
}
