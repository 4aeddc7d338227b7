//! A RabbitMQ of our own on free ports, which asks a cloud for every login and topic. The command line's end-to-end tests
//! take this file as well.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Debian's script of that name without its wrapper, which insists on the user `rabbitmq`.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// It takes 15 s on an idle machine with two cores.
const PATIENCE: Duration = Duration::from_secs(400);

/// A running server; killed with all its helpers when dropped.
pub struct RabbitMq {
    processes: Vec<Child>,
}

/// Whether it can be started here; says so where not.
pub fn installed() -> bool {
    let found = Path::new(SERVER).exists() && Command::new("epmd").arg("-help").output().is_ok();
    if !found {
        eprintln!("SKIPPED: RabbitMQ is not installed (Debian: rabbitmq-server)");
    }
    found
}

pub fn free_ports<const N: usize>() -> [u16; N] {
    // All held at the same time, so that they differ.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

impl RabbitMq {
    /// Starts one in `folder` that listens for MQTT on `port` and asks the cloud whose API is at `api`. Beside those whom
    /// the cloud knows it lets in `tester`, who may do everything.
    pub fn start(folder: &Path, port: u16, api: &str, tester: (&str, &str)) -> Self {
        let [names, peers] = free_ports();
        let path = |name: &str| folder.join(name).display().to_string();
        for name in ["home", "mnesia", "log"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(path("enabled_plugins"), "[rabbitmq_mqtt,rabbitmq_auth_backend_http].\n").unwrap();
        let (name, password) = tester;
        fs::write(
            path("definitions.json"),
            format!(
                r#"{{"users":[{{"name":"{name}","password":"{password}","tags":""}}],"vhosts":[{{"name":"/"}}],
                "permissions":[{{"user":"{name}","vhost":"/","configure":".*","write":".*","read":".*"}}]}}"#
            ),
        )
        .unwrap();
        fs::write(
            path("rabbitmq.conf"),
            format!(
                "listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{port}\nmqtt.allow_anonymous = false\n\
                 mqtt.vhost = /\nmqtt.exchange = amq.topic\nmqtt.tcp_listen_options.nodelay = true\n\
                 auth_backends.1 = http\nauth_backends.2 = internal\nauth_http.http_method = post\n\
                 auth_http.user_path = {api}/mqtt/rabbitmq/user\nauth_http.vhost_path = {api}/mqtt/rabbitmq/vhost\n\
                 auth_http.resource_path = {api}/mqtt/rabbitmq/resource\nauth_http.topic_path = {api}/mqtt/rabbitmq/topic\n\
                 load_definitions = {}\nlog.console = true\nlog.console.level = info\nlog.file = false\n",
                path("definitions.json")
            ),
        )
        .unwrap();
        // Erlang's own name service, started here so that none is left behind as a daemon.
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &names.to_string(), "-address", "127.0.0.1"]);
        let mut server = Command::new(SERVER);
        for (name, value) in [
            ("ERL_EPMD_PORT", names.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("HOME", path("home")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_NODENAME", format!("test{port}@localhost")),
            ("RABBITMQ_DIST_PORT", peers.to_string()),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
            // The script then becomes the server instead of waiting for it.
            ("RUNNING_UNDER_SYSTEMD", "1".to_owned()),
        ] {
            server.env(name, &value);
        }
        let mut this = Self { processes: Vec::new() };
        for (command, log) in [(&mut epmd, "epmd.log"), (&mut server, "rabbitmq.log")] {
            let log = File::create(folder.join(log)).unwrap();
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
            this.processes.push(command.spawn().unwrap());
            if this.processes.len() == 1 {
                this.wait(names, folder);
            }
        }
        this.wait(port, folder);
        this
    }

    fn wait(&mut self, port: u16, folder: &Path) {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.processes.iter_mut().any(|process| process.try_wait().unwrap().is_some());
            if ended || Instant::now() > end {
                let said = fs::read_to_string(folder.join("rabbitmq.log")).unwrap_or_default();
                panic!("RabbitMQ does not listen on {port}:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // The whole group: what the server itself has started ends with it.
            let group = format!("-{}", process.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = process.wait();
        }
    }
}
