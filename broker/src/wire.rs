//! One client's byte stream: what it is made of, and buffered reading and writing in one poll.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use transport::server::{TlsStream, peer_name};
use transport::websocket::WebSocket;

/// A byte stream that carries MQTT: TCP, TLS, WebSocket over either.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Asks the system to acknowledge received bytes at once. A peer with Nagle's algorithm on holds its next small
    /// packet back until then, and the system's delayed acknowledgement costs it 40 ms.
    fn acknowledge_now(&self) {}

    /// The address at the other end.
    fn peer(&self) -> Option<IpAddr> {
        None
    }

    /// Whether and how TLS carries it.
    fn tls(&self) -> Option<Tls> {
        None
    }
}

/// What is known of a client that came over TLS.
pub(crate) struct Tls {
    /// The identity in its certificate, if it showed one.
    pub(crate) certified: Option<String>,
}

impl Transport for TcpStream {
    fn peer(&self) -> Option<IpAddr> {
        self.peer_addr().ok().map(|address| address.ip())
    }

    fn acknowledge_now(&self) {
        #[cfg(target_os = "linux")]
        // A hint only: where it fails, latency is what it was without it.
        let _ = rustix::net::sockopt::set_tcp_quickack(self, true);
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    fn peer(&self) -> Option<IpAddr> {
        self.get_ref().0.peer()
    }

    fn acknowledge_now(&self) {
        self.get_ref().0.acknowledge_now();
    }

    fn tls(&self) -> Option<Tls> {
        Some(Tls { certified: peer_name(self) })
    }
}

impl<S: Transport> Transport for WebSocket<Begun<S>> {
    fn peer(&self) -> Option<IpAddr> {
        self.get_ref().stream.peer()
    }

    fn acknowledge_now(&self) {
        self.get_ref().stream.acknowledge_now();
    }

    fn tls(&self) -> Option<Tls> {
        self.get_ref().stream.tls()
    }
}

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {}

/// A stream whose first byte has been read already.
pub(crate) struct Begun<S> {
    first: Option<u8>,
    stream: S,
}

impl<S> Begun<S> {
    pub(crate) fn new(first: u8, stream: S) -> Self {
        Self { first: Some(first), stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if to.remaining() > 0
            && let Some(first) = self.first.take()
        {
            to.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Above this many bytes waiting to be written, nothing more is produced for the client.
pub(crate) const HIGH_WATER: usize = 256 * 1024;

const SMALLEST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 64 * 1024;

/// What one poll of the stream brought.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) read: usize,
    pub(crate) wrote: usize,
}

/// A stream with its buffers.
pub(crate) struct Wire<S> {
    stream: S,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    chunk: usize,
    // What was written and may still be on its way inside of the stream.
    is_flushing: bool,
}

impl<S: Transport> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), chunk: SMALLEST_READ, is_flushing: false }
    }

    /// As [`Self::new`], where the first byte has been read already.
    pub(crate) fn begun(first: u8, stream: S) -> Self {
        let mut wire = Self::new(stream);
        wire.input.extend_from_slice(&[first]);
        wire
    }

    /// The address at the other end.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.stream.peer()
    }

    /// Whether and how TLS carries it.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.stream.tls()
    }

    /// Writes what waits and, if `read` says so, reads what is there, until at least one of both moved.
    /// The end of the stream is an error of kind `UnexpectedEof`.
    pub(crate) async fn progress(&mut self, read: bool) -> io::Result<Progress> {
        poll_fn(|context| self.poll(context, read)).await
    }

    fn poll(&mut self, context: &mut Context<'_>, read: bool) -> Poll<io::Result<Progress>> {
        let mut progress = Progress::default();
        while !self.output.is_empty() {
            match pin!(self.stream.write_buf(&mut self.output)).poll(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => progress.wrote += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        self.is_flushing |= progress.wrote > 0;
        if self.is_flushing {
            // A TCP stream has nothing to flush; TLS and WebSocket do, and may not be done at the first attempt.
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => self.is_flushing = false,
                Poll::Pending => {}
            }
        }
        if read {
            self.input.reserve(self.chunk);
            match pin!(self.stream.read_buf(&mut self.input)).poll(context) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(count)) => {
                    progress.read = count;
                    if count >= self.chunk {
                        self.chunk = (self.chunk * 2).min(LARGEST_READ);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if progress.read + progress.wrote > 0 { Poll::Ready(Ok(progress)) } else { Poll::Pending }
    }

    /// To be called when what was read needs no answer, so that no segment of ours carries TCP's acknowledgement.
    pub(crate) fn acknowledge_now(&self) {
        self.stream.acknowledge_now();
    }

    /// Writes everything out and closes.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.output).await?;
        self.stream.flush().await?;
        self.stream.shutdown().await
    }
}
