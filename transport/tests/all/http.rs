use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use transport::client::ClientTls;
use transport::http::{Door, serve};
use transport::server::{Server, ServerFiles};
use transport::tunnel::Tunnel;

use crate::support::{PATIENCE, authority};

async fn who(ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap) -> String {
    let scheme = headers.get("x-forwarded-proto").map_or("http", |value| value.to_str().unwrap());
    format!("{} by {scheme}", peer.ip())
}

async fn ask(addr: SocketAddr) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // A client's own word on the scheme counts for nothing where we know better.
    let request = "GET /who HTTP/1.1\r\nhost: x\r\nx-forwarded-proto: gopher\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn half_requests_and_half_handshakes_delay_nobody() {
    let (folder, authority) = authority();
    let server = Arc::new(Server::open(ServerFiles::of_folder(folder.path())).unwrap());
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (plain_addr, secure_addr) = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
    let stop = CancellationToken::new();
    let doors = vec![Door { listener: plain, tls: None }, Door { listener: secure, tls: Some(server) }];
    let serving = tokio::spawn(serve(doors, Router::new().route("/who", get(who)), stop.clone()));

    let mut slow = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(if number % 2 == 0 { plain_addr } else { secure_addr }).await.unwrap();
        stream.write_all(if number % 4 < 2 { b"" } else { b"GET /who HTTP/1.1\r\nhost:" }).await.unwrap();
        slow.push(stream);
    }
    assert!(ask(plain_addr).await.ends_with("127.0.0.1 by gopher"));
    let tls = ClientTls::of_file(&authority.certificate());
    let tunnel = Tunnel::open("localhost", secure_addr.port(), &tls).await.unwrap();
    let answer = ask(tunnel.addr()).await;
    assert!(answer.ends_with("127.0.0.1 by https"), "{answer}");

    // With all of them still open it stops all the same.
    stop.cancel();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    drop(slow);
}
