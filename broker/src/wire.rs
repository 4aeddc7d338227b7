//! One client's byte stream: what it is made of, and buffered reading and writing in one poll.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A byte stream that carries MQTT: TCP today; TLS and WebSocket streams implement it by passing on to their socket.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Asks the system to acknowledge received bytes at once. A peer with Nagle's algorithm on holds its next small
    /// packet back until then, and the system's delayed acknowledgement costs it 40 ms.
    fn acknowledge_now(&self) {}
}

impl Transport for TcpStream {
    fn acknowledge_now(&self) {
        #[cfg(target_os = "linux")]
        // A hint only: where it fails, latency is what it was without it.
        let _ = rustix::net::sockopt::set_tcp_quickack(self, true);
    }
}

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {}

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
}

impl<S: Transport> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), chunk: SMALLEST_READ }
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
        if progress.wrote > 0 {
            // A TCP stream has nothing to flush; TLS and WebSocket do.
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(context) {
                return Poll::Ready(Err(error));
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
        self.stream.shutdown().await
    }
}
