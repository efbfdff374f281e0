// SPDX-License-Identifier: GPL-2.0

//! The conntrack table of the current network namespace: read from procfs, changed by ctnetlink.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{ensure, Context, Result};

use crate::netlink::{attribute, Attributes, Netlink, Request};
use crate::variant::{Family, Transport};

const SUBSYSTEM: u8 = 1;
const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;

/// In the order of `enum tcp_conntrack`.
const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_ASSURED: u32 = 1 << 2;
const IPS_CONFIRMED: u32 = 1 << 3;

/// A connection in its original direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    pub transport: Transport,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Tuple {
    pub fn family(&self) -> Family {
        if self.source.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        }
    }

    fn attributes(&self) -> Attributes {
        let address = |attributes: Attributes, address: IpAddr, v4, v6| match address {
            IpAddr::V4(address) => attributes.put(v4, &address.octets()),
            IpAddr::V6(address) => attributes.put(v6, &address.octets()),
        };
        let ip = address(
            Attributes::default(),
            self.source.ip(),
            CTA_IP_V4_SRC,
            CTA_IP_V6_SRC,
        );
        let ip = address(ip, self.destination.ip(), CTA_IP_V4_DST, CTA_IP_V6_DST);
        let protocol = match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        };
        let proto = Attributes::default()
            .put(CTA_PROTO_NUM, &[protocol])
            .put(CTA_PROTO_SRC_PORT, &self.source.port().to_be_bytes())
            .put(CTA_PROTO_DST_PORT, &self.destination.port().to_be_bytes());
        Attributes::default()
            .nest(CTA_TUPLE_IP, ip)
            .nest(CTA_TUPLE_PROTO, proto)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub tuple: Tuple,
    /// TCP's state, such as `ESTABLISHED`; empty for others.
    pub state: String,
    pub assured: bool,
    pub zone: u16,
}

/// The TCP and UDP connections that are in the table.
pub fn list() -> Result<Vec<Entry>> {
    let table = fs::read_to_string("/proc/thread-self/net/nf_conntrack")?;
    Ok(table.lines().filter_map(parse).collect())
}

pub fn find(tuple: &Tuple) -> Result<Option<Entry>> {
    Ok(list()?.into_iter().find(|entry| entry.tuple == *tuple))
}

/// TCP's state, or `UDP`, and whether it is assured: asked of ctnetlink, which costs less than reading
/// the whole table.
pub fn get(netlink: &Netlink, tuple: &Tuple, zone: u16) -> Result<Option<(String, bool)>> {
    let Some(found) = netlink.get(named(GET, tuple, zone))? else {
        return Ok(None);
    };
    let status = attribute(&found, CTA_STATUS)
        .and_then(|status| Some(u32::from_be_bytes(*status.first_chunk()?)))
        .context("an entry without status")?;
    let state = match tuple.transport {
        Transport::Tcp => attribute(&found, CTA_PROTOINFO)
            .and_then(|info| attribute(&info, CTA_PROTOINFO_TCP))
            .and_then(|tcp| attribute(&tcp, CTA_PROTOINFO_TCP_STATE))
            .and_then(|state| TCP_STATES.get(usize::from(*state.first()?)))
            .context("an entry without state")?,
        Transport::Udp => "UDP",
    };
    Ok(Some((state.to_owned(), status & IPS_ASSURED != 0)))
}

/// "ipv4 2 tcp 6 431999 ESTABLISHED src=A dst=B sport=1 dport=2 src=B ... [ASSURED] ... zone=1 ..."
fn parse(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let field = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let transport = match *words.get(2)? {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    let end = |address: &str, port: &str| {
        let address: IpAddr = field(address)?.parse().ok()?;
        Some(SocketAddr::new(address, field(port)?.parse().ok()?))
    };
    Some(Entry {
        tuple: Tuple {
            transport,
            source: end("src=", "sport=")?,
            destination: end("dst=", "dport=")?,
        },
        state: match transport {
            Transport::Tcp => (*words.get(5)?).to_owned(),
            Transport::Udp => String::new(),
        },
        assured: words.contains(&"[ASSURED]"),
        // Printed as zone-orig= or zone-reply= where it is of one direction only.
        zone: field("zone=")
            .or_else(|| field("zone-orig="))
            .map_or(Some(0), |zone| zone.parse().ok())?,
    })
}

/// As `conntrack -D` for one connection of the default zone.
pub fn delete(tuple: &Tuple) -> Result<()> {
    delete_in_zone(tuple, 0)
}

pub fn delete_in_zone(tuple: &Tuple, zone: u16) -> Result<()> {
    Netlink::netfilter()?
        .act(named(DELETE, tuple, zone))
        .with_context(|| format!("conntrack -D of {tuple:?} in zone {zone}"))
}

/// A message about one connection.
fn named(message: u8, tuple: &Tuple, zone: u16) -> Request {
    let mut request = Request::netfilter(SUBSYSTEM, message, tuple.family().number(), 0);
    request.attributes = Attributes::default()
        .nest(CTA_TUPLE_ORIG, tuple.attributes())
        .put(CTA_ZONE, &zone.to_be_bytes());
    request
}

/// As `conntrack -F`.
pub fn flush() -> Result<()> {
    Netlink::netfilter()?
        .act(Request::netfilter(SUBSYSTEM, DELETE, 0, 0))
        .context("conntrack -F")
}

/// Marks a connection as assured, as conntrack would on its own after two seconds of UDP.
pub fn assure(tuple: &Tuple) -> Result<()> {
    set_assured(tuple, 0)?;
    let assured = find(tuple)?.is_some_and(|entry| entry.assured);
    ensure!(assured, "{tuple:?} did not become assured");
    Ok(())
}

pub fn set_assured(tuple: &Tuple, zone: u16) -> Result<()> {
    let status = IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED;
    let mut request = named(NEW, tuple, zone);
    request.attributes = request.attributes.put(CTA_STATUS, &status.to_be_bytes());
    Netlink::netfilter()?
        .act(request)
        .with_context(|| format!("conntrack -U --status ASSURED of {tuple:?} in zone {zone}"))
}
