// SPDX-License-Identifier: GPL-2.0

//! Sockets with an address of their own.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

/// A socket bound to an address that no device need have: whole prefixes are local here.
pub fn bound(kind: Type, address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
    }
    socket
        .bind(&address.into())
        .with_context(|| format!("bind to {address}"))?;
    Ok(socket)
}
