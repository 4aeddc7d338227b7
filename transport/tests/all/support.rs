//! An authority in a temporary folder, and a server that says who its guests are.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transport::authority::Authority;
use transport::client::ClientTls;
use transport::server::{Server, ServerFiles, peer_name};
use transport::tunnel::Tunnel;

/// A busy machine is slow; a fault waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn authority() -> (TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    assert!(authority.ensure_server(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap());
    (folder, authority)
}

/// Greets every guest with the name in its certificate, or `nobody`, and then says what it says.
pub async fn greeter(folder: &Path) -> SocketAddr {
    let server = Arc::new(Server::open(ServerFiles::of_folder(folder)).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let server = server.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = server.accept(stream).await else { return };
                let name = peer_name(&stream).unwrap_or_else(|| "nobody".to_owned());
                stream.write_all(format!("{name}\n").as_bytes()).await.unwrap();
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    addr
}

/// What the greeter says first to somebody who comes through a tunnel; an error is the tunnel's trouble.
pub async fn greeting(addr: SocketAddr, tls: &ClientTls) -> Result<String, String> {
    let tunnel = Tunnel::open("localhost", addr.port(), tls).await.map_err(|error| error.to_string())?;
    let mut stream = TcpStream::connect(tunnel.addr()).await.unwrap();
    let mut text = String::new();
    let read = async {
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap_or(0) == 1 && byte != *b"\n" {
            text.push(char::from(byte[0]));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    match tunnel.trouble() {
        None if !text.is_empty() => Ok(text),
        // With TLS 1.3 a server refuses a client's certificate after the client thinks that all is well.
        None => Err("closed".to_owned()),
        Some(trouble) => Err(trouble),
    }
}
