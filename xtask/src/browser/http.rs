//! The little HTTP/1.1 that chromedriver on this machine needs: one request, one answer with a known length.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A screenshot of a long page is some megabytes.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// Sends a JSON body to a port of this machine; the answer's body, whatever its status: chromedriver says there what is
/// wrong.
pub fn call(port: u16, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    answer(BufReader::new(stream))
}

fn answer(mut reader: impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut length = None;
    for line in reader.by_ref().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let length = length.ok_or_else(|| wrong("the answer has no Content-Length"))?;
    if length > MOST_BYTES {
        return Err(wrong("the answer is too long"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly_the_body() {
        let text: &[u8] = b"HTTP/1.1 404 Not Found\r\nCache-Control: no-cache\r\ncontent-length: 4\r\n\r\n{}\n\nmore";
        assert_eq!(answer(text).ok().as_deref(), Some(b"{}\n\n".as_slice()));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for text in ["", "HTTP/1.1 200 OK\r\n\r\n{}", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"] {
            assert!(answer(text.as_bytes()).is_err(), "{text}");
        }
        assert!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".as_slice()).is_err());
    }
}
