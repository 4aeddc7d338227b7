//! Mosquitto on a free port, without passwords: what identities may do is tested where the broker is.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

pub struct Broker {
    pub port: u16,
    process: Child,
}

impl Broker {
    pub fn start(folder: &Path) -> Option<Broker> {
        if !Path::new(MOSQUITTO).exists() {
            return None;
        }
        // The port is free when asked for; somebody may take it before mosquitto does, so try again.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = folder.join("mosquitto.conf");
            std::fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
            let mut command = Command::new(MOSQUITTO);
            command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
            let mut broker = Broker { port, process: command.spawn().unwrap() };
            if broker.is_up() {
                return Some(broker);
            }
        }
        panic!("mosquitto did not start");
    }

    fn is_up(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && self.process.try_wait().unwrap().is_none() {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// A client that can publish; its connection lives as long as the value.
    pub fn publisher(&self) -> Publisher {
        let mut options = rumqttc::MqttOptions::new("test-publisher", "127.0.0.1", self.port);
        options.set_max_packet_size(1024 * 1024, 1024 * 1024);
        let (client, mut events) = rumqttc::AsyncClient::new(options, 64);
        let task = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        Publisher { client, task }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Publisher {
    client: rumqttc::AsyncClient,
    task: tokio::task::JoinHandle<()>,
}

impl Publisher {
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, rumqttc::QoS::AtLeastOnce, false, payload).await.unwrap();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
