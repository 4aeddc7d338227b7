//! A Mosquitto of our own on a free port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running broker; killed when dropped.
pub struct Broker {
    child: Child,
    pub port: u16,
    config: PathBuf,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(config: &Path, port: u16) -> Child {
    let mut child = Command::new("/usr/sbin/mosquitto")
        .arg("-c")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto is needed: apt-get install mosquitto");
    let end = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "mosquitto ended at once");
        assert!(Instant::now() < end, "mosquitto does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

impl Broker {
    /// Starts one that knows these users.
    pub fn start(dir: &Path, users: &[(&str, &str)]) -> Self {
        let passwords = dir.join("passwords");
        std::fs::write(&passwords, "").unwrap();
        for (name, token) in users {
            let done = Command::new("mosquitto_passwd").arg("-b").arg(&passwords).args([name, token]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        let port = free_port();
        let config = dir.join("mosquitto.conf");
        let user = if std::env::var("USER").as_deref() == Ok("root") || is_root() { "user root\n" } else { "" };
        let text = format!(
            "{user}listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nmax_inflight_messages 100\n\
             max_queued_messages 0\nset_tcp_nodelay true\n",
            passwords.display()
        );
        std::fs::write(&config, text).unwrap();
        Self::with(config, port)
    }

    /// Starts one with these settings, which make it listen on `port`.
    pub fn with(config: PathBuf, port: u16) -> Self {
        Self { child: spawn(&config, port), port, config }
    }

    /// Kills it and starts it anew: retained messages, sessions and queues are gone.
    pub fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(&self.config, self.port);
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
