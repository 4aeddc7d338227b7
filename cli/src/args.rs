//! What can be typed.

mod people;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use contract::settings::{Mixed, Optimize};
use contract::{CommandId, DeviceId, ModelRef, RelayId};

pub use people::{Audit, Enroll, GroupVerb, KeyVerb, Lifetime, TokenVerb, UserVerb};

use crate::exit;

/// TinyML as a service: models to microcontrollers over MQTT.
#[derive(Debug, Parser)]
#[command(name = "tinymlaas", version, after_help = exit::TABLE, max_term_width = 100)]
pub struct Args {
    /// Where everything is.
    #[command(flatten)]
    pub context: Context,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where everything is; the same for all commands.
#[derive(Debug, Clone, ClapArgs)]
pub struct Context {
    /// Folder of databases, tokens, logs and boards.
    #[arg(long, global = true, env = "TINYMLAAS_DATA", default_value = "./data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The broker; with TLS it is mqtts://HOST:PORT.
    #[arg(long, global = true, env = "TINYMLAAS_MQTT", default_value = "127.0.0.1:1883", value_name = "HOST:PORT")]
    pub mqtt: String,
    /// The cloud's HTTP API; with TLS it begins with https://.
    #[arg(long, global = true, env = "TINYMLAAS_API", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub api: String,
    /// Certificate of the authority that signed those of broker and cloud [default: what the system trusts].
    #[arg(long, global = true, env = "TINYMLAAS_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The name that belongs to the token.
    #[arg(long, global = true, env = "TINYMLAAS_USER", default_value = "admin", value_name = "NAME")]
    pub user: String,
    /// File with the token [default: admin-token in the data folder]; TINYMLAAS_TOKEN holds the token itself.
    #[arg(long, global = true, env = "TINYMLAAS_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON instead of tables and bars (one document, or one line per message for streams).
    #[arg(long, global = true)]
    pub json: bool,
}

impl Context {
    /// Host and port of the broker, without TLS: see [`crate::reach`].
    pub fn broker(&self) -> Result<(String, u16), exit::Failure> {
        let wrong =
            || exit::Failure::Usage(format!("--mqtt '{}' is no HOST:PORT, for example 127.0.0.1:1883", self.mqtt));
        let text = self.mqtt.strip_prefix("mqtt://").unwrap_or(&self.mqtt);
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
    }
}

/// Roles and client commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start everything on this machine: broker, cloud, dashboard, one relay with virtual boards.
    Up(Up),
    /// Relays: list, show, or run one here.
    Relay {
        /// What about relays.
        #[command(subcommand)]
        verb: RelayVerb,
    },
    /// Devices: list, show, restart, erase and so on.
    Device {
        /// What about devices.
        #[command(subcommand)]
        verb: DeviceVerb,
    },
    /// Models: list, show, import, compile.
    Model {
        /// What about models.
        #[command(subcommand)]
        verb: ModelVerb,
    },
    /// Users: list, add, change, remove, invite.
    User {
        /// What about users.
        #[command(subcommand)]
        verb: UserVerb,
    },
    /// Tokens of services and people: list, create, revoke.
    Token {
        /// What about tokens.
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// Groups of relays, which operators and viewers can be limited to.
    Group {
        /// What about groups.
        #[command(subcommand)]
        verb: GroupVerb,
    },
    /// Keys that sign what relays install: list, rotate.
    Key {
        /// What about keys.
        #[command(subcommand)]
        verb: KeyVerb,
    },
    /// Who did what: commands, logins, tokens, users, enrolments.
    Audit(Audit),
    /// Write the files with which a plain Mosquitto lets in whom this cloud knows, by the same rules.
    Mosquitto {
        /// The folder: passwd, acl, and a mosquitto.conf where there is none.
        dir: PathBuf,
    },
    /// Compile a model file on this machine, without any server, and print what it needs.
    Compile(Compile),
    /// Datasets: list, import.
    Dataset {
        /// What about datasets.
        #[command(subcommand)]
        verb: DatasetVerb,
    },
    /// Install a model on a device and follow it to the end.
    Install(Install),
    /// Stop a command that is under way.
    Cancel(Cancel),
    /// Print readings and events as they come.
    Watch(Watch),
    /// Print the log of a device: builds, flashes, its own text.
    Logs(Logs),
    /// Do the main job on a relay that runs: import handwritten digits, compile, install, classify.
    Demo(Demo),
    /// Ask broker and cloud whether they work.
    Health {
        /// Only this one [default: both].
        part: Option<Part>,
    },
    /// Run the MQTT broker alone.
    Broker(Broker),
    /// Run the cloud services and the HTTP API.
    Cloud(Cloud),
    /// Run the dashboard alone, against a cloud elsewhere.
    Dashboard(Dashboard),
    /// Run one virtual board.
    Board(Board),
}

/// `tinymlaas up`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Up {
    /// Also do the main job: import handwritten digits, compile, install, classify.
    #[arg(long)]
    pub demo: bool,
    /// Port of the broker.
    #[arg(long, default_value_t = 1883, value_name = "PORT")]
    pub mqtt_port: u16,
    /// Port of the HTTP API and the dashboard.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub http_port: u16,
    /// Also let others in, over TLS: MQTT and HTTP on all addresses of this machine, with certificates of an authority
    /// that is made at the first start (tls/ca.crt in the data folder).
    #[arg(long)]
    pub tls: bool,
    /// Port of the broker with TLS.
    #[arg(long, default_value_t = 8883, value_name = "PORT", requires = "tls")]
    pub mqtts_port: u16,
    /// Port of the HTTP API and the dashboard with TLS.
    #[arg(long, default_value_t = 8443, value_name = "PORT", requires = "tls")]
    pub https_port: u16,
    /// Name or address under which others reach this machine, beside its own host name; may be repeated.
    #[arg(long = "tls-name", value_name = "NAME", requires = "tls")]
    pub tls_names: Vec<String>,
    /// Name of the relay.
    #[arg(long, default_value = "demo", value_name = "NAME")]
    pub relay: RelayId,
    /// Number of virtual boards.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub boards: u8,
    /// What the virtual boards are: processes of this machine, Arduino Unos or Megas in simavr, or Cortex-M4s in QEMU.
    #[arg(long, default_value = "native", value_name = "BOARD", value_parser = BOARDS)]
    pub board: String,
    /// Pace the virtual boards' serial lines to so many bits per second, as real ones; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0, value_name = "BAUD")]
    pub baud: u32,
}

/// `tinymlaas demo`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Demo {
    /// The relay.
    #[arg(long, default_value = "demo", value_name = "NAME")]
    pub relay: RelayId,
    /// How many of its boards, board-1 and on, get the model.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub boards: u8,
}

/// What can be asked whether it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// By an MQTT round trip.
    Broker,
    /// By its API.
    Cloud,
}

/// `tinymlaas relay …`.
#[derive(Debug, Subcommand)]
pub enum RelayVerb {
    /// All relays.
    List,
    /// One relay in full.
    Show {
        /// Its name.
        relay: RelayId,
    },
    /// Ask a relay about its host, toolchains and ports.
    Diagnose {
        /// Its name.
        relay: RelayId,
    },
    /// Make a relay look for devices again.
    Rescan {
        /// Its name.
        relay: RelayId,
    },
    /// Make a join token, with which a machine becomes this relay, once.
    Invite {
        /// Its name.
        relay: RelayId,
        /// For how long: seconds, or with m, h or d behind the number.
        #[arg(long, default_value = "1h", value_name = "TIME")]
        valid: Lifetime,
    },
    /// Become a relay with a join token: this machine makes its own credential.
    Enroll(Enroll),
    /// Take a relay's credential away; it is disconnected at once.
    Revoke {
        /// Its name.
        relay: RelayId,
    },
    /// Run a relay on this machine.
    Run(Relay),
}

/// A device by name, with its relay where the name alone is ambiguous.
#[derive(Debug, Clone, ClapArgs)]
pub struct Target {
    /// The device: NAME, or RELAY/NAME where several relays have one of that name.
    #[arg(value_name = "DEVICE")]
    pub device: String,
}

/// `tinymlaas device …`.
#[derive(Debug, Subcommand)]
pub enum DeviceVerb {
    /// All devices.
    List,
    /// One device in full.
    Show(Target),
    /// Reset it.
    Restart(Target),
    /// Remove its firmware.
    Erase(Target),
    /// Make it blink.
    Identify(Target),
    /// Run the golden vectors again and compare bit for bit.
    SelfTest(Target),
    /// Feed it the held-out samples once: accuracy and latency on the device, beside the cloud's figure.
    Evaluate(Target),
    /// Say by hand which board type it is; `auto` takes that back.
    SetBoard {
        /// The device.
        #[command(flatten)]
        target: Target,
        /// A board type of its relay, such as `uno`, or `auto`.
        board: String,
    },
    /// Change how it is observed.
    Observe {
        /// The device.
        #[command(flatten)]
        target: Target,
        /// Stop taking readings.
        #[arg(long)]
        off: bool,
        /// Milliseconds between two samples.
        #[arg(long, default_value_t = 1000, value_name = "MS")]
        interval_ms: u32,
        /// The board has a sensor of its own and speaks when it likes.
        #[arg(long)]
        serial: bool,
        /// The board runs firmware that is not ours and prints lines such as 'Person score: {person}%': {name} is a number,
        /// {=} a label, {} anything.
        #[arg(long, value_name = "PATTERN", conflicts_with = "serial")]
        text: Option<contract::pattern::Pattern>,
        /// Speed of its serial line in bits per second, where it is not the board's usual one.
        #[arg(long, value_name = "BAUD", requires = "text", value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
        baud: Option<u32>,
    },
}

/// `tinymlaas model …`.
#[derive(Debug, Subcommand)]
pub enum ModelVerb {
    /// All models with their versions.
    List,
    /// One model with its report.
    Show {
        /// NAME or NAME@VERSION.
        model: ModelRef,
    },
    /// Upload a float .onnx or an int8 .tflite file; a new file under a known name becomes its next version.
    Import {
        /// The model file.
        file: PathBuf,
        /// Its name [default: the file's name].
        #[arg(long)]
        name: Option<String>,
        /// The dataset that calibrates and evaluates it; an int8 file needs none.
        #[arg(long)]
        dataset: Option<String>,
    },
    /// Quantize to int8, compile to C, evaluate.
    Compile {
        /// NAME or NAME@VERSION.
        model: ModelRef,
        /// What the code is best at [default: as it was compiled last, speed at first].
        #[arg(long, value_name = "speed|size|ram")]
        optimize: Option<Optimize>,
        /// Layers that stay in 32-bit floats [default: as it was compiled last, auto at first].
        #[arg(long, value_name = "auto|off|LAYER,…")]
        mixed: Option<Mixed>,
    },
}

/// `tinymlaas compile`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Compile {
    /// The model: float .onnx or int8 .tflite.
    pub file: PathBuf,
    /// Only this board; where the model does not fit, the exit code is 1.
    #[arg(long, value_name = "BOARD")]
    pub board: Option<String>,
    /// Examples of the input, which float models need: a CSV file, a folder of pictures (.jpg, .png), .npy, .bin or
    /// .raw files with one subfolder a label, or the word `random`, which guesses.
    #[arg(long, value_name = "DIR|CSV|random")]
    pub calibrate: Option<PathBuf>,
    /// What every value is multiplied with before it enters the model [default: 1; pictures: all of an int8 input's
    /// range, or 0 to 1].
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub input_scale: Option<f32>,
    /// What is added after that.
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub input_offset: Option<f32>,
    /// How the ranges of int8 activations are chosen: auto, min-max, percentile=99.9, mse.
    #[arg(long, value_name = "METHOD", default_value = "auto")]
    pub quantize: model_compiler::ranges::Method,
    /// Layers that stay in 32-bit floats: auto (where the outputs are noisy otherwise), off, or names of layers with
    /// commas between them.
    #[arg(long, value_name = "auto|off|LAYER,…", default_value = "auto")]
    pub mixed: Mixed,
    /// What the code is best at: few instructions, little flash, or a small arena. The answers are the same.
    #[arg(long, value_name = "speed|size|ram", default_value = "speed")]
    pub optimize: Optimize,
    /// Name of the model in its code [default: the file's name].
    #[arg(long)]
    pub name: Option<String>,
    /// Folder for model.c, model.h, report.json, arena.svg, golden vectors and samples; nothing is written without.
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write the .tflite file as a C array for TFLite Micro: model_tflite.h, model_tflite.c.
    #[arg(long)]
    pub tflm: bool,
}

/// `tinymlaas dataset …`.
#[derive(Debug, Subcommand)]
pub enum DatasetVerb {
    /// All datasets.
    List,
    /// Upload a CSV with the columns label, optionally split (train or test), and one column per input value.
    Import {
        /// The CSV file.
        file: PathBuf,
        /// Its name [default: the file's name].
        #[arg(long)]
        name: Option<String>,
        /// What every value is multiplied with before it enters the model.
        #[arg(long, default_value_t = 1.0)]
        input_scale: f32,
    },
}

/// `tinymlaas install`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Install {
    /// NAME or NAME@VERSION, or an artifact (sha256:…).
    pub model: String,
    /// The device: NAME, or RELAY/NAME.
    #[arg(long, value_name = "DEVICE")]
    pub device: String,
    /// Seconds until the relay gives up.
    #[arg(long, default_value_t = 600, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub timeout: u32,
    /// Milliseconds between two samples afterwards.
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    pub interval_ms: u32,
    /// Send the command and do not wait for its end.
    #[arg(long)]
    pub no_wait: bool,
    /// The command's id; the same id again has no second effect [default: a new UUID].
    #[arg(long)]
    pub id: Option<CommandId>,
}

/// `tinymlaas cancel`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Cancel {
    /// The relay.
    pub relay: RelayId,
    /// The id of the command to stop.
    pub command: CommandId,
}

/// `tinymlaas watch`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Watch {
    /// Only this relay.
    #[arg(long)]
    pub relay: Option<RelayId>,
    /// Only this device.
    #[arg(long)]
    pub device: Option<DeviceId>,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// `tinymlaas logs`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Logs {
    /// The device: NAME, or RELAY/NAME.
    pub device: String,
    /// Go on printing as lines come.
    #[arg(short, long)]
    pub follow: bool,
    /// Only what this command wrote.
    #[arg(long)]
    pub command: Option<CommandId>,
    /// Batches of history to begin with.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub limit: u32,
}

/// `tinymlaas broker`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Broker {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// With TLS.
    #[command(flatten)]
    pub tls: Tls,
    /// Relays that come over TLS must show the client certificate of their enrolment.
    #[arg(long, requires = "tls_listen")]
    pub require_certificates: bool,
}

/// A door with TLS.
#[derive(Debug, Clone, ClapArgs)]
pub struct Tls {
    /// Address to listen on with TLS.
    #[arg(long, value_name = "ADDRESS")]
    pub tls_listen: Option<std::net::SocketAddr>,
    /// Folder with server.crt, server.key and, for client certificates, ca.crt [default: tls in the data folder].
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
}

impl Tls {
    /// Address and files, if there is to be such a door.
    pub fn door(&self, context: &Context) -> Option<(std::net::SocketAddr, transport::server::ServerFiles)> {
        let folder = self.tls_dir.clone().unwrap_or_else(|| context.data_dir.join("tls"));
        self.tls_listen.map(|listen| (listen, transport::server::ServerFiles::of_folder(&folder)))
    }
}

/// `tinymlaas cloud`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Cloud {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// With TLS.
    #[command(flatten)]
    pub tls: Tls,
    /// Serve the API only; the dashboard runs elsewhere.
    #[arg(long)]
    pub no_dashboard: bool,
    /// The broker is a plain Mosquitto: keep its files of identities and rules in this folder right.
    #[arg(long, value_name = "DIR")]
    pub mosquitto: Option<PathBuf>,
}

/// `tinymlaas dashboard`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Dashboard {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// With TLS.
    #[command(flatten)]
    pub tls: Tls,
}

/// `tinymlaas relay run`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Relay {
    /// Its name.
    #[arg(long)]
    pub name: RelayId,
    /// Folder with the virtual boards to use beside real ones [default: boards in the data folder].
    #[arg(long, value_name = "DIR")]
    pub boards: Option<PathBuf>,
    /// Where toolchains run: `auto` (on this machine if installed, else in a container), `local` or `container`.
    #[arg(long, env = "TINYMLAAS_BUILDS", default_value = "auto", value_name = "WHERE")]
    pub builds: edge_relay::Builds,
    /// Also run so many virtual boards here, board-1 and on.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=32), conflicts_with = "boards")]
    pub virtual_boards: u8,
    /// What the virtual boards are, as in `up`.
    #[arg(long, default_value = "native", value_name = "BOARD", value_parser = BOARDS, requires = "virtual_boards")]
    pub board: String,
}

/// Board types that this machine can stand in for.
const BOARDS: [&str; 4] = ["native", "uno", "mega2560", "cortex-m4"];

/// `tinymlaas board`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Board {
    /// Its name.
    #[arg(long)]
    pub name: DeviceId,
    /// Its folder: flash, identity, and the link `tty` to its serial port.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// What it is.
    #[arg(long, default_value = "native", value_name = "BOARD", value_parser = BOARDS)]
    pub board: String,
    /// Pace the serial line to so many bits per second, as a real one; 0 is as fast as it goes. An Arduino keeps its own.
    #[arg(long, default_value_t = 0)]
    pub baud: u32,
}
