//! MQTT over TLS and in a WebSocket, by real MQTT clients behind a bridge.

use std::net::SocketAddr;

use broker::TlsConfig;
use futures_util::{SinkExt as _, StreamExt as _};
use rumqttc::{Packet, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue};
use transport::authority::Authority;
use transport::client::ClientTls;
use transport::request::ClientFiles;
use transport::server::ServerFiles;
use transport::tunnel::Tunnel;

use crate::support::{Client, EVENTS, PATIENCE, Running, token};

/// A port whose other end is the WebSocket at `addr`, for one client; every write becomes `piece` bytes at most.
async fn bridge(addr: SocketAddr, path: &str, subprotocol: &'static str, piece: usize) -> Result<SocketAddr, Error> {
    let mut request = format!("ws://{addr}{path}").into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
    let stream = TcpStream::connect(addr).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let (mut sink, mut source) = socket.split();
        let up = async {
            let mut buffer = vec![0; piece];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                if sink.send(Message::Binary(buffer[..count].to_vec().into())).await.is_err() {
                    break;
                }
            }
        };
        let down = async {
            while let Some(Ok(message)) = source.next().await {
                if let Message::Binary(bytes) = message
                    && writer.write_all(&bytes).await.is_err()
                {
                    break;
                }
            }
        };
        tokio::select! { () = up => {}, () = down => {} }
    });
    Ok(near)
}

async fn through(
    broker: &Running,
    near: SocketAddr,
    user: &str,
    client: &str,
) -> Result<Client, rumqttc::ConnectionError> {
    let mut options = broker.options(user, client);
    let old = options.clone();
    options = rumqttc::MqttOptions::new(old.client_id(), "127.0.0.1", near.port());
    options.set_credentials(user, token(user)).set_max_packet_size(1024 * 1024, 1024 * 1024);
    Client::connect(options).await
}

/// Several packets there and back, large ones among them.
async fn talk(broker: &Running, client: &mut Client) {
    let mut plain = broker.client("bench", "plain").await;
    client.subscribe(EVENTS, QoS::AtLeastOnce).await;
    for size in [0, 1, 125, 126, 70_000, 100_000] {
        plain.requests.publish(EVENTS, QoS::AtLeastOnce, false, vec![7; size]).await.unwrap();
        while !matches!(plain.packet().await, Packet::PubAck(_)) {}
        let message = loop {
            if let Packet::Publish(message) = client.packet().await {
                break message;
            }
        };
        assert_eq!(message.payload.len(), size);
    }
}

#[tokio::test]
async fn mqtt_in_a_websocket_is_mqtt_however_its_messages_are_cut() {
    let broker = Running::start().await;
    for (name, piece) in [("whole", 65_536), ("pieces", 3)] {
        let near = bridge(broker.addr, "/mqtt", "mqtt", piece).await.unwrap();
        let mut client = through(&broker, near, "viewer", name).await.unwrap();
        talk(&broker, &mut client).await;
    }
}

#[tokio::test]
async fn a_websocket_that_is_not_for_mqtt_is_refused_with_a_reason() {
    let broker = Running::start().await;
    let refused = |result: Result<SocketAddr, Error>| match result.unwrap_err() {
        Error::Http(response) => String::from_utf8(response.body().clone().unwrap_or_default()).unwrap(),
        other => panic!("{other}"),
    };
    assert!(refused(bridge(broker.addr, "/other", "mqtt", 1).await).contains("/mqtt"));
    assert!(refused(bridge(broker.addr, "/mqtt", "chat", 1).await).contains("subprotocol"));
    // A page of another protocol's client.
    let mut stream = TcpStream::connect(broker.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    // Others are served as before.
    broker.client("viewer", "after").await;
}

#[tokio::test]
async fn a_text_message_ends_the_connection_and_wrong_tokens_are_refused() {
    let broker = Running::start().await;
    let mut request = format!("ws://{}/mqtt", broker.addr).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
    let stream = TcpStream::connect(broker.addr).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    socket.send(Message::text("hello")).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    end.unwrap();
    let near = bridge(broker.addr, "/mqtt", "mqtt", 4096).await.unwrap();
    assert!(through(&broker, near, "nobody", "x").await.is_err());
}

fn with_tls(folder: &std::path::Path, require_certificates: bool) -> impl FnOnce(&mut broker::BrokerConfig) {
    let files = ServerFiles::of_folder(folder);
    move |config| {
        config.tls = Some(TlsConfig { listen: "127.0.0.1:0".parse().unwrap(), files, require_certificates });
    }
}

#[tokio::test]
async fn tls_while_two_hundred_sockets_say_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    authority.ensure_server(&["localhost".to_owned()]).unwrap();
    let broker = Running::with(with_tls(folder.path(), false)).await;
    let addr = broker.tls_addr.unwrap();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(addr).await.unwrap());
    }
    let tls = ClientTls::of_file(&authority.certificate());
    let tunnel = Tunnel::open("localhost", addr.port(), &tls).await.unwrap();
    let begin = std::time::Instant::now();
    let mut client = through(&broker, tunnel.addr(), "viewer", "tls").await.unwrap();
    eprintln!("a client connected over TLS in {:?} beside {} silent sockets", begin.elapsed(), idle.len());
    talk(&broker, &mut client).await;
    drop(idle);
    // And a WebSocket inside of TLS.
    let mut request = format!("ws://{}/mqtt", tunnel.addr()).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
    let stream = TcpStream::connect(tunnel.addr()).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.unwrap();
}

#[tokio::test]
async fn a_certificate_goes_with_its_identity_only() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    authority.ensure_server(&["localhost".to_owned()]).unwrap();
    let broker = Running::with(with_tls(folder.path(), true)).await;
    let port = broker.tls_addr.unwrap().port();
    let own = tempfile::tempdir().unwrap();
    let files = ClientFiles::new(own.path());
    let request = files.signing_request().unwrap();
    files.keep(&authority.sign_client(&request, "bench").unwrap()).unwrap();
    let mut tls = ClientTls::of_file(&authority.certificate());
    let without = Tunnel::open("localhost", port, &tls).await.unwrap();
    tls.own = Some((files.certificate(), files.key()));
    let with = Tunnel::open("localhost", port, &tls).await.unwrap();

    through(&broker, with.addr(), "bench", "bench").await.unwrap();
    assert!(
        through(&broker, with.addr(), "other", "other").await.is_err(),
        "a stolen token beside its own certificate"
    );
    assert!(through(&broker, without.addr(), "bench", "bench").await.is_err(), "a stolen token alone");
    through(&broker, without.addr(), "viewer", "people").await.unwrap();
    assert_eq!(broker.metrics.refused_certificate.get(), 2);
}
