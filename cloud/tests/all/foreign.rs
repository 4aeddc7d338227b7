//! Every identity tries every topic on a broker of somebody else. What counts is what arrives: brokers differ in what they
//! answer, and MQTT 3.1.1 has no answer to a refused publish at all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contract::access::Identity;
use contract::topic::covers;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, SubscribeReasonCode,
};

use crate::table::{FILTERS, topics};

const PATIENCE: Duration = Duration::from_secs(120);

/// A topic of the test's own, for marks: what was published before a mark has arrived when the mark has.
const MARKS: &str = "marks";

/// What a broker does with a subscription that the rules do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// It says no.
    Refused,
    /// It says yes, and delivers only what the rules allow.
    Narrowed,
}

/// How often somebody tried, and how often in vain.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub tried: u64,
    pub refused: u64,
    pub wills: u64,
    pub refused_wills: u64,
}

/// Somebody with a token.
#[derive(Clone)]
pub struct Login {
    pub port: u16,
    pub name: String,
    pub token: String,
}

impl Login {
    fn options(&self, id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(id, "127.0.0.1", self.port);
        options.set_credentials(&self.name, &self.token);
        // While one client tries, nobody polls the others.
        options.set_keep_alive(Duration::from_secs(600));
        options
    }

    pub async fn connect(&self, id: &str) -> Result<Client, ConnectionError> {
        Client::connect(self.options(id)).await
    }

    /// Connects as soon as the broker knows this credential.
    pub async fn connect_soon(&self, id: &str) -> Client {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.connect(id).await {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < end, "{} is not let in: {error}", self.name),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Tries until the broker does not know this credential any more.
    pub async fn refused_soon(&self, id: &str) {
        let end = Instant::now() + PATIENCE;
        while self.connect(id).await.is_ok() {
            assert!(Instant::now() < end, "{} is still let in", self.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A connection whose events are taken one by one.
pub struct Client {
    requests: AsyncClient,
    events: EventLoop,
    heard: BTreeSet<String>,
}

impl Client {
    async fn connect(options: MqttOptions) -> Result<Self, ConnectionError> {
        let (requests, mut events) = AsyncClient::new(options, 1000);
        events.network_options.set_tcp_nodelay(true);
        let mut client = Self { requests, events, heard: BTreeSet::new() };
        while !matches!(client.packet().await?, Packet::ConnAck(_)) {}
        Ok(client)
    }

    async fn packet(&mut self) -> Result<Packet, ConnectionError> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.poll()).await.expect("the broker is silent")?;
            if let Event::Incoming(packet) = event {
                if let Packet::Publish(publish) = &packet {
                    self.heard.insert(String::from_utf8(publish.payload.to_vec()).unwrap());
                }
                return Ok(packet);
            }
        }
    }

    /// Publishes and waits for the acknowledgement; an error where the broker ends the connection instead.
    pub async fn publish(&mut self, topic: &str, payload: &str) -> Result<(), ConnectionError> {
        self.requests.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        while !matches!(self.packet().await?, Packet::PubAck(_)) {}
        Ok(())
    }

    /// Whether the broker says yes to a subscription.
    pub async fn subscribe(&mut self, filter: &str) -> Result<bool, ConnectionError> {
        self.requests.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        loop {
            if let Packet::SubAck(ack) = self.packet().await? {
                return Ok(ack.return_codes[0] != SubscribeReasonCode::Failure);
            }
        }
    }

    /// What has been heard when all of `wanted` has.
    async fn hear(&mut self, wanted: &BTreeSet<String>) -> BTreeSet<String> {
        while !wanted.is_subset(&self.heard) {
            self.packet().await.unwrap();
        }
        std::mem::take(&mut self.heard)
    }

    /// Waits until the broker ends the connection.
    pub async fn thrown_out(&mut self) {
        let end = async { while self.events.poll().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the connection stays");
    }
}

/// Tries everything as everybody. `tester` is let in beside the rules and may do all.
pub async fn everything(tester: &Login, everybody: &[(Identity, Login)], forbidden: Forbidden) -> Count {
    let mut observer = tester.connect("observer").await.unwrap();
    assert!(observer.subscribe("#").await.unwrap());
    let mut speaker = tester.connect("speaker").await.unwrap();
    let mut count = Count::default();
    for (identity, login) in everybody {
        publishes(identity, login, &mut observer, &mut speaker, &mut count).await;
        subscribes(identity, login, &mut speaker, forbidden, &mut count).await;
        wide_filters(identity, login, &mut speaker, forbidden, &mut count).await;
        wills(identity, login, tester, &mut observer, &mut speaker, &mut count).await;
    }
    count
}

/// Marks the end of what `name` did for whoever hears `topic`.
async fn mark(speaker: &mut Client, topic: &str, name: &str, what: &str) -> BTreeSet<String> {
    let text = format!("{name} has {what}");
    speaker.publish(topic, &text).await.unwrap();
    [text].into()
}

async fn publishes(identity: &Identity, login: &Login, observer: &mut Client, speaker: &mut Client, count: &mut Count) {
    let name = &identity.name;
    let id = format!("{name}-publishes");
    let text = |topic: &str| format!("{name} publishes to {topic}");
    let mut client = login.connect(&id).await.unwrap();
    for topic in topics() {
        if client.publish(&topic, &text(&topic)).await.is_err() {
            client = login.connect(&id).await.unwrap();
        }
    }
    let end = mark(speaker, MARKS, name, "published").await;
    let heard = observer.hear(&end).await;
    for topic in topics() {
        let arrived = heard.contains(&text(&topic));
        assert_eq!(arrived, identity.allows_publish(&topic), "{}", text(&topic));
        count.tried += 1;
        count.refused += u64::from(!arrived);
    }
}

async fn subscribes(identity: &Identity, login: &Login, speaker: &mut Client, forbidden: Forbidden, count: &mut Count) {
    let name = &identity.name;
    let id = format!("{name}-subscribes");
    let text = |topic: &str| format!("{name} hears {topic}");
    let mut client = login.connect(&id).await.unwrap();
    let mut accepted: Vec<String> = Vec::new();
    for topic in topics() {
        let said = match client.subscribe(&topic).await {
            Ok(said) => said,
            Err(_) => {
                client = login.connect(&id).await.unwrap();
                for topic in &accepted {
                    assert!(client.subscribe(topic).await.unwrap());
                }
                false
            }
        };
        let may = identity.allows_subscribe(&topic);
        assert!(said || !may, "{name} subscribes to {topic} and is refused");
        assert!(may || !said || forbidden == Forbidden::Narrowed, "{name} subscribes to {topic} and is not refused");
        if said {
            accepted.push(topic);
        }
    }
    for topic in topics() {
        speaker.publish(&topic, &text(&topic)).await.unwrap();
    }
    let own = topics().into_iter().find(|topic| identity.allows_subscribe(topic)).unwrap();
    let end = mark(speaker, &own, name, "subscribed").await;
    let heard = client.hear(&end).await;
    for topic in topics() {
        let arrived = heard.contains(&text(&topic));
        assert_eq!(arrived, identity.allows_subscribe(&topic), "{}", text(&topic));
        count.tried += 1;
        count.refused += u64::from(!arrived);
    }
}

async fn wide_filters(
    identity: &Identity,
    login: &Login,
    speaker: &mut Client,
    forbidden: Forbidden,
    count: &mut Count,
) {
    let name = &identity.name;
    let own = topics().into_iter().find(|topic| identity.allows_subscribe(topic)).unwrap();
    for filter in FILTERS {
        let text = |topic: &str| format!("{name} hears {topic} by {filter}");
        let mut client = login.connect(&format!("{name}-filters")).await.unwrap();
        let may = identity.allows_subscribe(filter);
        let said = match client.subscribe(filter).await {
            Ok(said) => said,
            Err(_) => {
                client = login.connect(&format!("{name}-filters")).await.unwrap();
                false
            }
        };
        assert!(said || !may, "{name} subscribes to {filter} and is refused");
        assert!(may || !said || forbidden == Forbidden::Narrowed, "{name} subscribes to {filter} and is not refused");
        assert!(client.subscribe(&own).await.unwrap());
        for topic in topics() {
            speaker.publish(&topic, &text(&topic)).await.unwrap();
        }
        let end = mark(speaker, &own, name, &format!("tried {filter}")).await;
        let heard = client.hear(&end).await;
        for topic in topics() {
            let arrived = heard.contains(&text(&topic));
            let wanted = topic == own || said && covers(filter, &topic) && identity.allows_subscribe(&topic);
            assert_eq!(arrived, wanted, "{}", text(&topic));
        }
        count.tried += 1;
        count.refused += u64::from(!may);
    }
}

async fn wills(
    identity: &Identity,
    login: &Login,
    tester: &Login,
    observer: &mut Client,
    speaker: &mut Client,
    count: &mut Count,
) {
    let name = &identity.name;
    let text = |topic: &str| format!("the will of {name} on {topic}");
    let mut wanted = BTreeSet::new();
    for (number, topic) in topics().iter().enumerate() {
        let mut options = login.options(&format!("{name}-wills-{number}"));
        options.set_last_will(LastWill::new(topic, text(topic), QoS::AtLeastOnce, false));
        // Refused as a whole, or let in and gone without a goodbye.
        drop(Client::connect(options).await);
        if identity.allows_publish(topic) {
            wanted.insert(text(topic));
        }
    }
    // One that certainly comes, after all the others.
    let control = format!("{name} has died");
    let mut options = tester.options("control");
    options.set_last_will(LastWill::new(MARKS, control.as_str(), QoS::AtLeastOnce, false));
    drop(Client::connect(options).await.unwrap());
    wanted.insert(control);
    let mut heard = observer.hear(&wanted).await;
    let end = mark(speaker, MARKS, name, "left wills").await;
    heard.extend(observer.hear(&end).await);
    for topic in topics() {
        let arrived = heard.contains(&text(&topic));
        assert_eq!(arrived, identity.allows_publish(&topic), "{}", text(&topic));
        count.wills += 1;
        count.refused_wills += u64::from(!arrived);
    }
}
