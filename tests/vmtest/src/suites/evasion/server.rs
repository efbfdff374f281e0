// SPDX-License-Identifier: GPL-2.0

//! The server, whose sockets tell what is open.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::net::tcp;

/// `TCP_ESTABLISHED` and `TCP_CLOSE_WAIT`: the client may have ended its side, the server has not.
const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;

pub struct Server {
    listener: TcpListener,
    accepted: Vec<(TcpStream, SocketAddr)>,
    /// Those whose side it has ended. Were they closed, it would soon give up sending FINs.
    ended: Vec<TcpStream>,
}

impl Server {
    /// Listens in the current namespace.
    pub fn listen(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            listener: tcp::listen(address)?,
            accepted: Vec::new(),
            ended: Vec::new(),
        })
    }

    /// Accepts what is there, and forgets what has ended.
    fn refresh(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok(accepted) => {
                    accepted.0.set_nodelay(true)?;
                    accepted.0.set_nonblocking(true)?;
                    self.accepted.push(accepted);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("accept"),
            }
        }
        let mut open = Vec::new();
        for (stream, client) in mem::take(&mut self.accepted) {
            if matches!(info(&stream)?.tcpi_state, ESTABLISHED | CLOSE_WAIT) {
                open.push((stream, client));
            } else {
                tcp::forget(&stream);
            }
        }
        self.accepted = open;
        Ok(())
    }

    /// The clients whose connections are open here.
    pub fn open(&mut self) -> Result<BTreeSet<SocketAddr>> {
        self.refresh()?;
        Ok(self.accepted.iter().map(|(_, client)| *client).collect())
    }

    /// Sends a byte to each of them.
    pub fn call(&mut self) -> Result<()> {
        self.refresh()?;
        for (stream, _) in &mut self.accepted {
            match stream.write(&[0]) {
                Ok(_) => {}
                // What has ended just now answers no more.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                    ) => {}
                Err(error) => return Err(error).context("send"),
            }
        }
        Ok(())
    }

    /// Those that have answered all calls, and those that have not.
    pub fn answered(&mut self) -> Result<[BTreeSet<SocketAddr>; 2]> {
        self.refresh()?;
        let mut sorted = [BTreeSet::new(), BTreeSet::new()];
        for (stream, client) in &self.accepted {
            let waiting = info(stream)?.tcpi_unacked > 0;
            sorted[usize::from(waiting)].insert(*client);
        }
        Ok(sorted)
    }

    /// Resets a connection: a server does so if it closes one that has sent what it has not read.
    pub fn reset(&mut self, client: SocketAddr) -> Result<()> {
        tcp::forget(&self.take(client)?);
        Ok(())
    }

    /// Ends its side of a connection.
    pub fn finish(&mut self, client: SocketAddr) -> Result<()> {
        let stream = self.take(client)?;
        stream.shutdown(Shutdown::Write)?;
        self.ended.push(stream);
        Ok(())
    }

    fn take(&mut self, client: SocketAddr) -> Result<TcpStream> {
        self.refresh()?;
        let index = self.accepted.iter().position(|(_, of)| *of == client);
        let index = index.with_context(|| format!("{client} is not open at the server"))?;
        Ok(self.accepted.swap_remove(index).0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let accepted = self.accepted.iter().map(|(stream, _)| stream);
        accepted.chain(&self.ended).for_each(tcp::forget);
    }
}

fn info(stream: &TcpStream) -> Result<libc::tcp_info> {
    // SAFETY: `tcp_info` is plain data, for which all zeros is valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&info))?;
    // SAFETY: `info` is writable for `length` bytes, and both outlive the call.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    Errno::result(status).context("TCP_INFO")?;
    ensure!(
        usize::try_from(length)? == mem::size_of_val(&info),
        "TCP_INFO has {length} bytes"
    );
    Ok(info)
}
