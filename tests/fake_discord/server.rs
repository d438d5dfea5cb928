//! The HTTP server: one thread of its own, connections that can be cut.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::World;
use super::gateway;
use super::rest::{self, cdn};

/// A connection's switch: once cut, nothing comes through any more.
#[derive(Clone, Debug, Default)]
pub struct Line(Arc<AtomicBool>);

impl Line {
    /// Breaks the connection at its next word.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        }
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Line {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().line.clone()
    }
}

/// A listener whose connections can be cut.
struct Cuttable(TcpListener);

struct Wire {
    stream: TcpStream,
    line: Line,
}

impl Listener for Cuttable {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, from) = Listener::accept(&mut self.0).await;
        // Small frames should leave at once; without it they only leave later.
        let _best_effort = stream.set_nodelay(true);
        (Wire { stream, line: Line::default() }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Ends the server when it is dropped.
#[derive(Debug)]
pub struct Stop {
    _sender: oneshot::Sender<()>,
}

/// A listening socket on loopback and its address.
pub fn bind() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

/// Serves `world` on a thread of its own, so that a test may block or have its own runtime.
pub fn serve(world: World, listener: std::net::TcpListener) -> Stop {
    let (sender, stopped) = oneshot::channel::<()>();
    let app = Router::new()
        .route("/", get(gateway::connect))
        .route("/resume", get(gateway::connect))
        .route("/resume/", get(gateway::connect))
        .route("/attachments/{channel}/{id}/{name}", get(cdn::download))
        .merge(rest::router())
        .with_state(world);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async move {
            let listener =
                Cuttable(TcpListener::from_std(listener).expect("the socket is non-blocking"));
            let service = app.into_make_service_with_connect_info::<Line>();
            tokio::select! {
                served = axum::serve(listener, service).into_future() => {
                    served.expect("a listener accepts for ever");
                }
                // Its sender is never used: it is dropped with the world's last handle.
                _dropped = stopped => {}
            }
        });
    });
    Stop { _sender: sender }
}
