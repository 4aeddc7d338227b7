//! How broker and cloud are reached: over TLS through a port of this process, or directly.
//!
//! Everything here that connects speaks plain TCP. Where `--mqtt` or `--api` ask for TLS, they are replaced by the near
//! end of a tunnel, once, before anything connects.

use std::path::Path;
use std::sync::Arc;

use transport::client::ClientTls;
use transport::request::ClientFiles;
use transport::tunnel::Tunnel;

use crate::args::Context;
use crate::exit::Failure;

/// The open tunnels; they close when this is dropped.
pub struct Reach {
    tunnels: Vec<Arc<Tunnel>>,
    // Tunnels work while the commands on other runtimes wait.
    _runtime: Option<tokio::runtime::Runtime>,
}

impl Reach {
    /// Opens what `context` needs and writes into it where to connect. `own` is the folder of a relay whose certificate
    /// is shown, if it has one.
    pub fn open(context: &mut Context, own: Option<&Path>) -> Result<Self, Failure> {
        let mqtts = context.mqtt.strip_prefix("mqtts://").map(str::to_owned);
        let https = context.api.strip_prefix("https://").map(|rest| rest.trim_end_matches('/').to_owned());
        if mqtts.is_none() && https.is_none() {
            if context.ca.is_some() {
                tracing::warn!("--ca has no effect: neither --mqtt nor --api asks for TLS (mqtts://, https://)");
            }
            return Ok(Self { tunnels: Vec::new(), _runtime: None });
        }
        let mut tls = context.ca.as_deref().map_or_else(ClientTls::of_system, ClientTls::of_file);
        tls.own = own
            .map(ClientFiles::new)
            .filter(|files| files.certificate().exists())
            .map(|files| (files.certificate(), files.key()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Failure::Internal(format!("the runtime does not start: {error}")))?;
        let mut tunnels = Vec::new();
        let mut dig = |place: &str, default_port: u16, option: &str| -> Result<String, Failure> {
            let wrong = || Failure::Usage(format!("{option} '{place}' is no HOST:PORT behind its scheme"));
            let (host, port) = split(place, default_port).ok_or_else(wrong)?;
            let tunnel = runtime
                .block_on(Tunnel::open(host, port, &tls))
                .map_err(|error| Failure::Environment(error.to_string()))?;
            let near = tunnel.addr().to_string();
            tunnels.push(Arc::new(tunnel));
            Ok(near)
        };
        if let Some(place) = mqtts {
            context.mqtt = dig(&place, 8883, "--mqtt")?;
        }
        if let Some(place) = https {
            context.api = format!("http://{}", dig(&place, 443, "--api")?);
        }
        Ok(Self { tunnels, _runtime: Some(runtime) })
    }

    /// A failure to connect, with what really happened behind the tunnel.
    pub fn explain(&self, failure: Failure) -> Failure {
        match (failure, self.tunnels.iter().find_map(|tunnel| tunnel.trouble())) {
            (Failure::Unreachable(_) | Failure::TimedOut(_), Some(trouble)) => Failure::Unreachable(format!(
                "{trouble}; --ca names the certificate of the authority that signed the server's"
            )),
            (failure, _) => failure,
        }
    }
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn split(place: &str, default_port: u16) -> Option<(&str, u16)> {
    if place.is_empty() || place.contains('/') {
        return None;
    }
    match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
        }
        _ => Some((place, default_port)),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn places_are_taken_apart() {
        assert_eq!(split("farm.example", 8883), Some(("farm.example", 8883)));
        assert_eq!(split("farm.example:1", 8883), Some(("farm.example", 1)));
        assert_eq!(split("[::1]:1", 8883), Some(("[::1]", 1)));
        assert_eq!(split("[::1]", 8883), Some(("[::1]", 8883)));
        for wrong in ["", ":1", "host:port", "host:99999", "host/path"] {
            assert_eq!(split(wrong, 8883), None, "{wrong}");
        }
    }
}
