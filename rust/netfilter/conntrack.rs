// SPDX-License-Identifier: GPL-2.0

//! Connection tracking: connections, their tuples and zones, and looking them up.
//!
//! C headers:
//! [`include/net/netfilter/nf_conntrack.h`](srctree/include/net/netfilter/nf_conntrack.h),
//! [`include/net/netfilter/nf_conntrack_core.h`](srctree/include/net/netfilter/nf_conntrack_core.h)

use super::{
    family::{
        Address,
        Family, //
    },
    tcp::Segment, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    },
    types::Opaque, //
};

/// A network namespace.
///
/// # Invariants
///
/// A reference to it points to a valid `struct net`.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

impl Net {
    /// Borrows the namespace that C passed in.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct net` that is valid for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::net) -> &'a Self {
        // CAST: `Net` is a transparent wrapper of `struct net`.
        // SAFETY: The caller promises that it is valid for `'a`.
        unsafe { &*ptr.cast() }
    }

    /// Starts tracking the connections of `family` in this namespace, or uses that it is started.
    ///
    /// Each success takes one [`Self::release_conntrack`]. It sleeps, and it may load modules.
    pub(crate) fn use_conntrack(&self, family: u8) -> Result {
        // SAFETY: `self` is a valid namespace by its invariant.
        to_result(unsafe { bindings::nf_ct_netns_get(self.0.get(), family) })
    }

    /// Gives back what [`Self::use_conntrack`] took.
    ///
    /// # Safety
    ///
    /// There must be a successful call of [`Self::use_conntrack`] for the same namespace and family
    /// that was not given back yet.
    pub(crate) unsafe fn release_conntrack(&self, family: u8) {
        // SAFETY: `self` is a valid namespace by its invariant, and the caller promises that there
        // is a use to give back.
        unsafe { bindings::nf_ct_netns_put(self.0.get(), family) }
    }
}

/// A conntrack zone: tuples are unique within one, for each direction that it applies to.
#[derive(Clone, Copy)]
pub(crate) struct Zone {
    id: u16,
    directions: u8,
}

impl Zone {
    fn from_raw(raw: &bindings::nf_conntrack_zone) -> Self {
        Self {
            id: raw.id,
            directions: raw.dir,
        }
    }

    fn to_raw(self) -> bindings::nf_conntrack_zone {
        bindings::nf_conntrack_zone {
            id: self.id,
            flags: 0,
            dir: self.directions,
        }
    }

    /// Whether it tells tuples of the original direction apart.
    #[inline]
    fn is_of_original(self) -> bool {
        self.directions & (1 << bindings::ip_conntrack_dir_IP_CT_DIR_ORIGINAL) != 0
    }
}

/// Both ends of one direction of a connection: addresses, and what the protocol tells connections
/// apart by (ports, an ICMP identifier with type and code, a GRE key).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends<F: Family> {
    source: F::Address,
    destination: F::Address,
    source_id: u16,
    destination_id: u16,
}

impl<F: Family> Ends<F> {
    /// Source and destination.
    #[inline]
    pub(crate) fn addresses(&self) -> [F::Address; 2] {
        [self.source, self.destination]
    }

    /// What else tells them apart.
    #[inline]
    pub(crate) fn ids(&self) -> [u16; 2] {
        [self.source_id, self.destination_id]
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple<F: Family> {
    ends: Ends<F>,
    protocol: u8,
}

impl<F: Family> Tuple<F> {
    /// `None` if the tuple is of another family.
    fn from_raw(raw: &bindings::nf_conntrack_tuple) -> Option<Self> {
        if raw.src.l3num != u16::from(F::NFPROTO) {
            return None;
        }
        // SAFETY: The unions are plain integers over bytes that conntrack has initialised: it
        // clears a tuple before it fills it.
        let (source, destination, source_id, destination_id) =
            unsafe { (raw.src.u3.all, raw.dst.u3.all, raw.src.u.all, raw.dst.u.all) };

        Some(Self {
            ends: Ends {
                source: F::Address::from_words(source),
                destination: F::Address::from_words(destination),
                source_id,
                destination_id,
            },
            protocol: raw.dst.protonum,
        })
    }

    fn to_raw(self) -> bindings::nf_conntrack_tuple {
        let mut raw = bindings::nf_conntrack_tuple::default();

        raw.src.u3.all = self.ends.source.to_words();
        raw.src.u.all = self.ends.source_id;
        raw.src.l3num = u16::from(F::NFPROTO);
        raw.dst.u3.all = self.ends.destination.to_words();
        raw.dst.u.all = self.ends.destination_id;
        raw.dst.protonum = self.protocol;
        raw
    }
}

/// How far a connection of TCP has got, as far as that matters. Those of other protocols are live.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// None of the others.
    Live,
    /// Both sides have closed it. A SYN has conntrack begin a new one in its place.
    TimeWait,
    /// It was reset, but it may come back: a SYN is let pass, and the SYN/ACK that answers it revives
    /// the connection.
    Close {
        /// Whether the last packet that conntrack took was a reset. If not, one has come since that may
        /// revive it or shows that it goes on; or REJECT has reset it, which only one side has heard.
        by_reset: bool,
    },
}

impl Phase {
    /// Whether it goes on, or may do so without another packet of its client.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::Close { by_reset: false })
    }
}

/// What conntrack has of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Whether it was answered, so that early drop spares it.
    pub(crate) assured: bool,
    /// How far it has got.
    pub(crate) phase: Phase,
    /// Whether conntrack has not seen its beginning, but picked it up from a packet in its midst.
    pub(crate) picked_up: bool,
}

/// The direction of a packet within its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// As the packet that has begun it.
    Original,
    /// The other one.
    Reply,
}

impl Direction {
    fn from_raw(raw: bindings::ip_conntrack_dir) -> Self {
        if raw == bindings::ip_conntrack_dir_IP_CT_DIR_ORIGINAL {
            Self::Original
        } else {
            Self::Reply
        }
    }
}

/// What a packet has to do with a connection.
#[derive(Clone, Copy)]
pub(crate) enum Relation {
    /// It is one of the connection's packets.
    Part {
        /// What conntrack has of the connection. `None` if it is not in conntrack's table: its first
        /// packet may still be dropped.
        status: Option<Status>,
        /// The packet's direction.
        direction: Direction,
    },
    /// It is not tracked; or it is about the connection: an error, or a reset that REJECT sends.
    Aside,
}

/// A connection of conntrack, or a template for one.
///
/// # Invariants
///
/// A reference to it points to a valid `struct nf_conn` that has a reference count of at least one.
#[repr(transparent)]
pub(crate) struct Connection(Opaque<bindings::nf_conn>);

// SAFETY: The reference count of `nf_conn` keeps it alive, and `nf_ct_put()` is what gives up one.
unsafe impl AlwaysRefCounted for Connection {
    fn inc_ref(&self) {
        // SAFETY: `self` is a valid connection by its invariant.
        unsafe { bindings::xt_rust_nf_ct_hold(self.0.get()) }
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // CAST: `Connection` is a transparent wrapper of `struct nf_conn`.
        // SAFETY: The caller promises a reference to give up.
        unsafe { bindings::xt_rust_nf_ct_put(obj.cast().as_ptr()) }
    }
}

impl Connection {
    /// Borrows the connection that C passed in.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct nf_conn` on which a reference is held for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::nf_conn) -> &'a Self {
        // CAST: `Connection` is a transparent wrapper of `struct nf_conn`.
        // SAFETY: The caller promises that it is valid for `'a`.
        unsafe { &*ptr.cast() }
    }

    #[inline]
    fn has_status(&self, bit: u32) -> bool {
        // SAFETY: `self` is a valid connection by its invariant, so the field can be pointed at.
        let status = unsafe { &raw mut (*self.0.get()).status };
        // SAFETY: `status` is aligned and valid as long as `self`. C changes it by atomic
        // operations only.
        let status = unsafe { Atomic::<usize>::from_ptr(status.cast()) };

        status.load(Relaxed) & bit as usize != 0
    }

    /// Whether it is only a template, which says how connections of a packet are to be tracked.
    #[inline]
    pub(crate) fn is_template(&self) -> bool {
        self.has_status(bindings::ip_conntrack_status_IPS_TEMPLATE)
    }

    /// What conntrack has of it. `None` if it is not in conntrack's table.
    #[inline]
    pub(crate) fn status(&self) -> Option<Status> {
        self.has_status(bindings::ip_conntrack_status_IPS_CONFIRMED)
            .then(|| Status {
                assured: self.has_status(bindings::ip_conntrack_status_IPS_ASSURED),
                phase: self.phase(),
                picked_up: self.is_picked_up(),
            })
    }

    fn original_raw(&self) -> *const bindings::nf_conntrack_tuple {
        const ORIGINAL: usize = bindings::ip_conntrack_dir_IP_CT_DIR_ORIGINAL as usize;

        // SAFETY: `self` is a valid connection by its invariant, so its field can be pointed at.
        unsafe { &raw const (*self.0.get()).tuplehash[ORIGINAL].tuple }
    }

    /// The tuple of its original direction, if it is of family `F`.
    pub(crate) fn original<F: Family>(&self) -> Option<Tuple<F>> {
        // SAFETY: `self` is a valid connection by its invariant. The tuple of the original
        // direction does not change as long as a reference is held: NAT alters that of the reply
        // only.
        Tuple::from_raw(unsafe { &*self.original_raw() })
    }

    /// What a packet that it is on has to do with it. `info` is what conntrack has left on the packet.
    ///
    /// # Safety
    ///
    /// `skb` must be a valid packet at a hook of family `F`.
    unsafe fn relation<F: Family>(&self, skb: *const bindings::sk_buff, info: u32) -> Relation {
        let is_related = match info {
            // A connection that was expected is related to the one that has announced it.
            bindings::ip_conntrack_info_IP_CT_RELATED => {
                !self.has_status(bindings::ip_conntrack_status_IPS_EXPECTED)
                    // SAFETY: The caller promises a valid packet of family `F`.
                    || unsafe { is_icmp_error::<F>(skb) }
            }
            bindings::ip_conntrack_info_IP_CT_RELATED_REPLY => true,
            _ => false,
        };
        if is_related {
            return Relation::Aside;
        }

        Relation::Part {
            status: self.status(),
            direction: if info < bindings::ip_conntrack_info_IP_CT_IS_REPLY {
                Direction::Original
            } else {
                Direction::Reply
            },
        }
    }

    /// What is particular to TCP, if it is a connection of TCP.
    fn tcp(&self) -> Option<*const bindings::ip_ct_tcp> {
        // SAFETY: `self` is a valid connection by its invariant, and `protonum` does not change.
        let protocol = unsafe { (*self.original_raw()).dst.protonum };

        if u32::from(protocol) != bindings::IPPROTO_TCP {
            return None;
        }

        // SAFETY: `self` is a valid connection by its invariant, so its field can be pointed at.
        Some(unsafe { &raw const (*self.0.get()).proto.tcp })
    }

    fn phase(&self) -> Phase {
        let Some(tcp) = self.tcp() else {
            return Phase::Live;
        };
        // SAFETY: It is the part of a valid connection that is in use. C changes both under a lock that
        // is not ours: each byte is read once, and has a meaning whatever its value. That they may be
        // of two moments has an ended connection be taken for a live one for this moment, at worst.
        let (state, last_index) = unsafe {
            (
                core::ptr::read_volatile(&raw const (*tcp).state),
                core::ptr::read_volatile(&raw const (*tcp).last_index),
            )
        };

        match u32::from(state) {
            bindings::tcp_conntrack_TCP_CONNTRACK_TIME_WAIT => Phase::TimeWait,
            bindings::tcp_conntrack_TCP_CONNTRACK_CLOSE => Phase::Close {
                by_reset: last_index == TCP_RST_SET,
            },
            _ => Phase::Live,
        }
    }

    /// Conntrack checks no window of what it has picked up, in neither direction.
    fn is_picked_up(&self) -> bool {
        self.tcp().is_some_and(|tcp| {
            // SAFETY: It is the part of a valid connection that is in use. C changes the flags under a
            // lock that is not ours: each byte is read once, and only one bit of it matters.
            let [one, other] = [0, 1].map(|direction| unsafe {
                core::ptr::read_volatile(&raw const (*tcp).seen[direction].flags)
            });

            one & other & BE_LIBERAL != 0
        })
    }
}

const BE_LIBERAL: u8 = bindings::IP_CT_TCP_FLAG_BE_LIBERAL as u8;

/// `TCP_RST_SET` of `net/netfilter/nf_conntrack_proto_tcp.c`, which no header has. The tests of the
/// suite `evasion` fail where it is another number.
const TCP_RST_SET: u8 = 4;

/// Looks up the connection that has `tuple` as one of its directions.
fn find<F: Family>(
    net: &Net,
    zone: Zone,
    tuple: &Tuple<F>,
) -> Option<(ARef<Connection>, Direction)> {
    // SAFETY: The namespace is valid, and conntrack reads zone and tuple during the call only. It
    // may be called in any context but hard interrupts, with none of conntrack's locks held: this
    // crate never takes one.
    let hash = NonNull::new(unsafe {
        bindings::xt_rust_nf_conntrack_find_get(net.0.get(), &zone.to_raw(), &tuple.to_raw())
    })?;
    // SAFETY: The call returned the hash of a connection on which it took a reference. The
    // direction of a hash never changes.
    let direction = unsafe { (*hash.as_ptr()).tuple.dst.dir };
    // SAFETY: A hash lies in the connection at the place of its direction.
    let hashes = unsafe { hash.as_ptr().sub(usize::from(direction)) };
    // SAFETY: `hashes` is the first of the array, which is a field of the connection.
    let connection = unsafe {
        kernel::container_of!(
            hashes.cast::<[bindings::nf_conntrack_tuple_hash; 2]>(),
            bindings::nf_conn,
            tuplehash
        )
    };
    let connection = NonNull::new(connection.cast::<Connection>())?;

    // SAFETY: The reference that the look-up took goes to the `ARef`.
    let connection = unsafe { ARef::from_raw(connection) };
    Some((connection, Direction::from_raw(direction.into())))
}

/// Names a connection: its original direction, and the zone that this is unique in.
#[derive(Clone, Copy)]
pub(crate) struct Identity<F: Family> {
    original: Tuple<F>,
    zone: Zone,
}

/// How many bits of the tag of an [`Identity`] are used.
pub(crate) const TAG_BITS: u32 = u8::BITS + 1;

/// In that tag, above the protocol: that the zone tells tuples of the original direction apart.
const ZONE_OF_ORIGINAL: u16 = 1 << (TAG_BITS - 1);

impl<F: Family> Identity<F> {
    /// The number of the connection's zone, 0 for the default one.
    #[inline]
    pub(crate) fn zone_id(&self) -> u16 {
        self.zone.id
    }

    /// Both ends.
    #[inline]
    pub(crate) fn ends(&self) -> Ends<F> {
        self.original.ends
    }

    /// What names the connection together with the zone's number and both ends.
    #[inline]
    pub(crate) fn tag(&self) -> u16 {
        let zone = if self.zone.is_of_original() {
            ZONE_OF_ORIGINAL
        } else {
            0
        };

        u16::from(self.original.protocol) | zone
    }

    /// Puts together what [`Self::zone_id`], [`Self::ends`] and [`Self::tag`] have told.
    #[inline]
    pub(crate) fn new(zone_id: u16, ends: Ends<F>, tag: u16) -> Self {
        // What the zone does to replies tells nothing: no reply is looked up.
        let reply = 1 << bindings::ip_conntrack_dir_IP_CT_DIR_REPLY;
        let original = 1 << bindings::ip_conntrack_dir_IP_CT_DIR_ORIGINAL;

        Self {
            original: Tuple {
                ends,
                // The lower byte.
                protocol: tag as u8,
            },
            zone: Zone {
                id: zone_id,
                directions: if tag & ZONE_OF_ORIGINAL != 0 {
                    original | reply
                } else {
                    reply
                },
            },
        }
    }

    /// Looks the connection up in conntrack.
    ///
    /// A connection that has this tuple as its reply is another one: the ports were used again from
    /// the other side.
    pub(crate) fn find(&self, net: &Net) -> Option<ARef<Connection>> {
        let (connection, direction) = find(net, self.zone, &self.original)?;

        (direction == Direction::Original).then_some(connection)
    }
}

/// Tells which connection a packet belongs to, and how.
///
/// That is the connection on the packet. Without one, or with a template, it is the one that the
/// packet's own tuple finds in conntrack, or else the one that it would make. `None` if nothing can
/// be parsed.
///
/// # Safety
///
/// `skb` must be a valid packet at a hook of family `F`.
pub(crate) unsafe fn identify<F: Family>(
    skb: *const bindings::sk_buff,
    net: &Net,
) -> Option<(Identity<F>, Relation)> {
    let mut info = 0;
    // SAFETY: The caller promises a valid packet; `info` can be written.
    let on_packet = unsafe { bindings::xt_rust_nf_ct_get(skb, &mut info) };
    let mut zone = bindings::nf_conntrack_zone::default();
    // SAFETY: `on_packet` is null or what the packet holds a reference on, and the packet is valid.
    unsafe { bindings::xt_rust_nf_ct_zone(on_packet, skb, &mut zone) };
    let zone = Zone::from_raw(&zone);

    if !on_packet.is_null() {
        // SAFETY: The packet holds a reference as long as it lives.
        let connection = unsafe { Connection::from_raw(on_packet) };

        if !connection.is_template() {
            let original = connection.original()?;
            // SAFETY: The caller promises a valid packet of family `F`.
            let relation = unsafe { connection.relation::<F>(skb, info) };
            return Some((Identity { original, zone }, relation));
        }
    }

    let mut tuple = bindings::nf_conntrack_tuple::default();
    // SAFETY: The caller promises a valid packet of family `F`; `tuple` can be written.
    let parsed = unsafe {
        bindings::nf_ct_get_tuplepr(
            skb,
            bindings::xt_rust_skb_network_offset(skb) as u32,
            u16::from(F::NFPROTO),
            net.0.get(),
            &mut tuple,
        )
    };
    if !parsed {
        return None;
    }
    let own = Identity {
        original: Tuple::from_raw(&tuple)?,
        zone,
    };
    // SAFETY: The caller promises a valid packet of family `F`.
    if info == bindings::ip_conntrack_info_IP_CT_UNTRACKED || unsafe { is_icmp_error::<F>(skb) } {
        return Some((own, Relation::Aside));
    }
    let begins = Relation::Part {
        status: None,
        direction: Direction::Original,
    };
    let Some((connection, direction)) = find(net, zone, &own.original) else {
        return Some((own, begins));
    };
    let status = connection.status();
    if direction == Direction::Reply
        && status.is_some_and(|status| status.phase == Phase::TimeWait)
        // SAFETY: The caller promises a valid packet of family `F`.
        && unsafe { Segment::read::<F>(skb) }.is_some_and(Segment::is_syn)
    {
        // Conntrack makes a new connection of it, the other way round.
        return Some((own, begins));
    }
    let mut zone = bindings::nf_conntrack_zone::default();
    // SAFETY: A reference on the connection is held, and the packet is valid.
    unsafe { bindings::xt_rust_nf_ct_zone(connection.0.get(), skb, &mut zone) };

    Some((
        Identity {
            original: connection.original()?,
            zone: Zone::from_raw(&zone),
        },
        Relation::Part { status, direction },
    ))
}

/// Whether the packet is an ICMP error.
///
/// # Safety
///
/// `skb` must be a valid packet at a hook of family `F`.
unsafe fn is_icmp_error<F: Family>(skb: *const bindings::sk_buff) -> bool {
    // SAFETY: The caller promises a valid packet of family `F`.
    unsafe { bindings::xt_rust_is_icmp_error(skb, F::NFPROTO) }
}
