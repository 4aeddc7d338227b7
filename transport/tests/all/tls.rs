use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use transport::client::ClientTls;
use transport::request::ClientFiles;

use crate::support::{PATIENCE, authority, greeter, greeting};

#[tokio::test]
async fn whoever_trusts_the_authority_comes_in_and_others_are_told_why_not() {
    let (folder, authority) = authority();
    let addr = greeter(folder.path()).await;
    let tls = ClientTls::of_file(&authority.certificate());
    assert_eq!(greeting(addr, &tls).await.unwrap(), "nobody");
    let (_other, stranger) = crate::support::authority();
    let trouble = greeting(addr, &ClientTls::of_file(&stranger.certificate())).await.unwrap_err();
    assert!(trouble.contains("certificate"), "{trouble}");
    let trouble = greeting(addr, &ClientTls::of_file(&folder.path().join("server.key"))).await.unwrap_err();
    assert!(trouble.contains("server.key holds no certificate"), "{trouble}");
    let trouble = greeting(addr, &ClientTls::of_file(&folder.path().join("absent"))).await.unwrap_err();
    assert!(trouble.contains("absent"), "{trouble}");
}

#[tokio::test]
async fn a_certificate_says_who_comes_and_only_our_authority_can_say_it() {
    let (folder, authority) = authority();
    let addr = greeter(folder.path()).await;
    let relay = tempfile::tempdir().unwrap();
    let files = ClientFiles::new(relay.path());
    let request = files.signing_request().unwrap();
    let key = std::fs::read(files.key()).unwrap();
    files.signing_request().unwrap();
    assert_eq!(std::fs::read(files.key()).unwrap(), key, "a second attempt asks for the same key");
    files.keep(&authority.sign_client(&request, "relay-attic").unwrap()).unwrap();
    let mut tls = ClientTls::of_file(&authority.certificate());
    tls.own = Some((files.certificate(), files.key()));
    assert_eq!(greeting(addr, &tls).await.unwrap(), "relay-attic");
    // The same key, certified by somebody else under the same name.
    let (_other, stranger) = crate::support::authority();
    files.keep(&stranger.sign_client(&request, "relay-attic").unwrap()).unwrap();
    greeting(addr, &tls).await.unwrap_err();
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let (folder, authority) = authority();
    let addr = greeter(folder.path()).await;
    let tls = ClientTls::of_file(&authority.certificate());
    assert_eq!(greeting(addr, &tls).await.unwrap(), "nobody");
    std::fs::write(folder.path().join("server.crt"), "nonsense").unwrap();
    // Long enough for a look at the files; whether or not there was one, guests come in.
    for _ in 0..12 {
        assert_eq!(greeting(addr, &tls).await.unwrap(), "nobody");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // A certificate of a new authority: who trusts only that one comes in as soon as it is taken.
    let (new, stranger) = crate::support::authority();
    for name in ["ca.crt", "server.key", "server.crt"] {
        std::fs::copy(new.path().join(name), folder.path().join(name)).unwrap();
    }
    let tls = ClientTls::of_file(&stranger.certificate());
    let taken = async {
        while greeting(addr, &tls).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
}

#[tokio::test]
async fn what_is_no_tls_is_closed() {
    let (folder, _authority) = authority();
    let addr = greeter(folder.path()).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"\x10\x0c\0\x04MQTT\x04\0\0\0\0\0").await.unwrap();
    let mut end = Vec::new();
    // An alert, perhaps, and the end.
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut end);
    let _ = tokio::time::timeout(PATIENCE, read).await.unwrap();
    assert!(end.len() < 32, "{end:?}");
}
