//! A client's connection as the HTTP implementation sees it: only bytes that were judged pass, and
//! neither a slow head nor a reader that takes nothing can hold it for ever.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::{StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::framing::{Fault, Framer};
use crate::head::Refusal;
use crate::options::Options;

/// What passes in place of a refused head. Its target is in authority-form, which never passes
/// otherwise, so the request handler knows it, answers with the reason and closes: in order behind
/// the answers to earlier requests of the connection.
const REFUSED: &[u8] = b"GET refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Most bytes read and thrown away behind a refused or unread request, so that closing does not
/// reset the connection under the answer (RFC 9112 §9.6).
const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// How long that may take.
const DISCARD_DEADLINE: Duration = Duration::from_secs(1);

/// A client's connection, of which only requests that leave no doubt pass. Where one is refused,
/// [`refusal`] tells.
#[derive(Debug)]
pub struct Guard<T> {
    io: T,
    framer: Framer,
    /// Judged and not read yet.
    out: BytesMut,
    /// Why reading ended, for the request handler.
    refusal: Arc<OnceLock<Refusal>>,
    refused: bool,
    /// What is wrong with a body, to be told once what was read before it is delivered.
    fault: Option<&'static str>,
    discarded: usize,
    head_deadline: Duration,
    head_timer: Option<(u64, Pin<Box<Sleep>>)>,
    write_deadline: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
    closing: Option<Pin<Box<Sleep>>>,
}

/// Why a request that came through a [`Guard`] must be refused, if it must: what the guard passed in
/// its place has a target in authority-form, which no other request has.
#[must_use]
pub fn refusal(target: &Uri, refused: &OnceLock<Refusal>) -> Option<Refusal> {
    let unknown = Refusal { status: StatusCode::BAD_REQUEST, reason: "not a request" };
    let stands_in = target.scheme().is_none() && target.authority().is_some();
    stands_in.then(|| refused.get().copied().unwrap_or(unknown))
}

impl<T> Guard<T> {
    /// Wraps a connection of which `first` was read already. Of `options`, those of heads and of
    /// writing count.
    pub fn new(io: T, first: &[u8], options: &Options, refusal: Arc<OnceLock<Refusal>>) -> Self {
        let mut guard = Self {
            io,
            framer: Framer::new(
                options.head_bytes_max,
                options.headers_max,
                options.target_bytes_max,
            ),
            out: BytesMut::new(),
            refusal,
            refused: false,
            fault: None,
            discarded: 0,
            head_deadline: options.head_deadline,
            head_timer: None,
            write_deadline: options.write_deadline,
            write_timer: None,
            closing: None,
        };
        guard.feed(first);
        guard
    }

    fn feed(&mut self, input: &[u8]) {
        match self.framer.feed(input, &mut self.out) {
            Ok(()) => {}
            Err(Fault::Head(refusal)) => self.refuse(refusal),
            Err(Fault::Body(reason)) => {
                self.fault = Some(reason);
                self.refused = true;
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        // Only the first refusal counts: nothing is fed after it.
        let _already = self.refusal.set(refusal);
        self.out.extend_from_slice(REFUSED);
        self.refused = true;
    }

    /// Whether the head that has begun is overdue.
    fn head_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.framer.in_head() {
            self.head_timer = None;
            return false;
        }
        let head = self.framer.heads();
        if self.head_timer.as_ref().is_none_or(|(of, _)| *of != head) {
            self.head_timer = Some((head, Box::pin(tokio::time::sleep(self.head_deadline))));
        }
        self.head_timer.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready())
    }

    /// Turns a write that has waited for too long into an error.
    fn stalled<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if write.is_ready() {
            self.write_timer = None;
            return write;
        }
        let deadline = self.write_deadline;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answer")))
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// Reads and throws away; ready when there is nothing more or it has been enough.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [const { MaybeUninit::<u8>::uninit() }; 8192];
        while self.discarded < DISCARD_BYTES_MAX {
            let mut read = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => self.discarded += read.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.out.is_empty() {
                let n = this.out.len().min(buf.remaining());
                buf.put_slice(&this.out[..n]);
                this.out.advance(n);
                return Poll::Ready(Ok(()));
            }
            if let Some(reason) = this.fault.take() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            if this.refused {
                // An end of stream here would make the HTTP implementation drop the answer that is
                // under way; it closes by itself once that is written.
                let _done = this.poll_discard(cx);
                return Poll::Pending;
            }
            let pass = this.framer.may_pass();
            if pass > 0 {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                let read = buf.filled().len() - before;
                let body = usize::try_from(pass).unwrap_or(usize::MAX).min(read);
                this.framer.passed(body as u64);
                let next = buf.filled()[before + body..].to_vec();
                buf.set_filled(before + body);
                this.feed(&next);
                return Poll::Ready(Ok(()));
            }
            let mut space = [const { MaybeUninit::<u8>::uninit() }; 8192];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.io).poll_read(cx, &mut read)? {
                Poll::Ready(()) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(()) => this.feed(read.filled()),
                Poll::Pending if this.head_overdue(cx) => this.refuse(Refusal {
                    status: StatusCode::REQUEST_TIMEOUT,
                    reason: "the head took too long",
                }),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.io).poll_write(cx, buf);
        this.stalled(cx, write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.stalled(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flush = Pin::new(&mut this.io).poll_flush(cx);
        this.stalled(cx, flush)
    }

    /// Closes for writing and, when part of a request is unread, reads on for a moment: a socket
    /// closed over unread bytes resets the connection, and the client may lose its answer.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if !(this.refused || this.framer.mid_request()) {
                return Poll::Ready(Ok(()));
            }
            this.closing = Some(Box::pin(tokio::time::sleep(DISCARD_DEADLINE)));
        }
        if this.poll_discard(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match &mut this.closing {
            Some(timer) => timer.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}
