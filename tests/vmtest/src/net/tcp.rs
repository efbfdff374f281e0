// SPDX-License-Identifier: GPL-2.0

//! Real TCP connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use socket2::{Domain, SockRef, Socket, Type};

use super::netns::Netns;
use super::socket;

/// How long a client waits for what should come at once. Under emulation and load, "at once" has
/// been seen to take seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of an attempt to connect.
#[derive(Debug)]
pub enum Attempt {
    Connected(Client),
    Reset,
    /// No answer at all.
    Silence,
}

impl Attempt {
    pub fn connected(self, what: &str) -> Result<Client> {
        match self {
            Attempt::Connected(client) => Ok(client),
            other => anyhow::bail!("{what} is not served: {other:?}"),
        }
    }

    pub fn is_reset(&self, what: &str) -> Result<()> {
        ensure!(
            matches!(self, Attempt::Reset),
            "{what} is not reset: {self:?}"
        );
        Ok(())
    }
}

/// An open connection to an [`EchoServer`].
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects in this thread's namespace; `from` need not be assigned to a device.
    pub fn connect(from: Option<IpAddr>, to: SocketAddr) -> Result<Attempt> {
        let socket = match from {
            Some(from) => socket::bound(Type::STREAM, SocketAddr::new(from, 0))?,
            None => Socket::new(Domain::for_address(to), Type::STREAM, None)?,
        };
        match socket.connect_timeout(&to.into(), PATIENCE) {
            Ok(()) => Ok(Attempt::Connected(Client {
                stream: socket.into(),
            })),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(Attempt::Silence),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Attempt::Reset),
            Err(error) => Err(error).with_context(|| format!("connect to {to}")),
        }
    }

    /// Sends data and gets it back.
    pub fn echo(&mut self) -> Result<()> {
        const DATA: [u8; 64] = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let mut back = [0; DATA.len()];
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.stream.write_all(&DATA).context("send")?;
        self.stream.read_exact(&mut back).context("receive")?;
        ensure!(back == DATA, "other data came back: {back:?}");
        Ok(())
    }

    /// Closes with a FIN and waits for the server's, so that conntrack is in TIME_WAIT.
    pub fn close(mut self) -> Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let left = self.stream.read_to_end(&mut Vec::new())?;
        ensure!(left == 0, "{left} bytes came unasked");
        Ok(())
    }

    /// Closes with a RST.
    pub fn abort(self) {}
}

impl Drop for Client {
    fn drop(&mut self) {
        forget(&self.stream);
    }
}

/// Has a socket closed at once, without waiting for the other end: that may be gone, and a socket
/// that waits keeps its namespace for minutes.
pub fn forget(stream: &TcpStream) {
    // The worst that comes of a failure is the wait.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// A server that sends back what it gets, and closes when its client does.
pub struct EchoServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Listens in the namespace `netns`.
    pub fn start(netns: &Netns, address: SocketAddr) -> Result<Self> {
        let listener = netns.within(|| listen(address))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let acceptor = thread::spawn(move || serve(&listener, &stopped));
        Ok(Self {
            address,
            stop,
            acceptor: Some(acceptor),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of the server has made the test fail in another way already.
            let _ = acceptor.join();
        }
    }
}

pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket::bound(Type::STREAM, address)?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// One thread for all connections: they are few, and threads are dear in an emulator.
fn serve(listener: &TcpListener, stop: &AtomicBool) {
    /// How soon it notices that it is to stop.
    const TURN: u8 = 20;
    let mut open: Vec<TcpStream> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut waiting: Vec<PollFd> = open
            .iter()
            .map(AsFd::as_fd)
            .chain([listener.as_fd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if poll(&mut waiting, PollTimeout::from(TURN)) != Ok(0) {
            open.retain_mut(|stream| match echo_once(stream) {
                Err(errno) => errno == Errno::EAGAIN,
                Ok(length) => length > 0,
            });
            while let Ok((stream, _)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok() {
                    open.push(stream);
                }
            }
        }
    }
    open.iter().for_each(forget);
}

fn echo_once(stream: &mut TcpStream) -> Result<usize, Errno> {
    let mut buffer = [0; 1024];
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    let length = stream.read(&mut buffer).map_err(errno)?;
    stream.write_all(&buffer[..length]).map_err(errno)?;
    Ok(length)
}
