//! A byte stream inside binary WebSocket messages, as OASIS MQTT 3.1.1 and 5 have it (section 6 of both): the
//! subprotocol is `mqtt`, and the borders of messages mean nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Where MQTT clients expect it.
pub const PATH: &str = "/mqtt";
const SUBPROTOCOL: &str = "mqtt";
/// Bytes of one write that become one message; more wait for the next.
const MESSAGE: usize = 64 * 1024;

/// The stream inside.
pub struct WebSocket<S> {
    socket: WebSocketStream<S>,
    // What is left of the latest message.
    rest: Bytes,
}

/// Answers a WebSocket handshake. A message may have `largest` bytes.
///
/// # Errors
/// If it is another request, which is then answered with why not.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S, largest: usize) -> io::Result<WebSocket<S>> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest))
        .read_buffer_size(4 * 1024)
        // Each write goes out at once; what may wait is bounded by one message.
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MESSAGE);
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, answer, Some(config)).await.map_err(other)?;
    Ok(WebSocket { socket, rest: Bytes::new() })
}

// The callback's type is the library's.
#[allow(clippy::result_large_err)]
fn answer(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let refuse = |status, why: &str| {
        let mut refusal = ErrorResponse::new(Some(why.to_owned()));
        *refusal.status_mut() = status;
        refusal
    };
    if request.uri().path() != PATH {
        return Err(refuse(StatusCode::NOT_FOUND, "MQTT over WebSocket is at /mqtt\n"));
    }
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offers_mqtt = offers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == SUBPROTOCOL);
    if !offers_mqtt {
        return Err(refuse(StatusCode::BAD_REQUEST, "the WebSocket subprotocol must be 'mqtt'\n"));
    }
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

fn other(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::UnexpectedEof.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// What carries it.
    pub fn get_ref(&self) -> &S {
        self.socket.get_ref()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => this.rest = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a text message: MQTT over WebSocket is binary",
                    )));
                }
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(other(error))),
            }
        }
        let count = this.rest.len().min(to.remaining());
        to.put_slice(&this.rest[..count]);
        this.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_ready(context)).map_err(other)?;
        let count = from.len().min(MESSAGE);
        let message = Message::Binary(Bytes::copy_from_slice(&from[..count]));
        Poll::Ready(Pin::new(&mut this.socket).start_send(message).map(|()| count).map_err(other))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context).map_err(other)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(context).map_err(other)
    }
}
