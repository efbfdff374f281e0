// SPDX-License-Identifier: GPL-2.0

//! Connection tracking.
//!
//! C headers:
//! [`include/net/netfilter/nf_conntrack.h`](srctree/include/net/netfilter/nf_conntrack.h),
//! [`include/net/netfilter/nf_conntrack_core.h`](srctree/include/net/netfilter/nf_conntrack_core.h)

use super::family::{
    Address,
    Family, //
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

/// How far a connection has got.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not in conntrack's table: its first packet may still be dropped.
    Unconfirmed,
    /// In the table.
    Confirmed,
    /// In the table, and seen in both directions long enough that early drop spares it.
    Assured,
    /// Over, although the packet has been looked at: it has ended it, or begins nothing.
    Closed {
        /// Whether it was assured.
        assured: bool,
    },
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

    /// How far it has got.
    #[inline]
    pub(crate) fn progress(&self) -> Progress {
        if !self.has_status(bindings::ip_conntrack_status_IPS_CONFIRMED) {
            Progress::Unconfirmed
        } else if self.has_status(bindings::ip_conntrack_status_IPS_ASSURED) {
            Progress::Assured
        } else {
            Progress::Confirmed
        }
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

    /// Whether it is over although conntrack still has it: a TCP connection in TIME_WAIT or CLOSE.
    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: `self` is a valid connection by its invariant, and `protonum` does not change.
        let protocol = unsafe { (*self.original_raw()).dst.protonum };
        if u32::from(protocol) != bindings::IPPROTO_TCP {
            return false;
        }
        // SAFETY: `self` is a valid connection by its invariant, and it is of TCP, so `proto.tcp`
        // is the part of the union in use. C changes the state under a lock that is not ours: the
        // byte is read once, and any value of it is a state.
        let state = unsafe { core::ptr::read_volatile(&raw const (*self.0.get()).proto.tcp.state) };

        matches!(
            u32::from(state),
            bindings::tcp_conntrack_TCP_CONNTRACK_TIME_WAIT
                | bindings::tcp_conntrack_TCP_CONNTRACK_CLOSE
        )
    }
}

/// Looks up the connection that has `tuple` as one of its directions.
fn find<F: Family>(
    net: &Net,
    zone: Zone,
    tuple: &Tuple<F>,
) -> Option<(ARef<Connection>, bindings::ip_conntrack_dir)> {
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
    Some((connection, direction.into()))
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

        (direction == bindings::ip_conntrack_dir_IP_CT_DIR_ORIGINAL).then_some(connection)
    }
}

/// Tells which connection a packet belongs to, and how far that has got.
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
) -> Option<(Identity<F>, Progress)> {
    // SAFETY: The caller promises a valid packet.
    let on_packet = unsafe { bindings::xt_rust_nf_ct_get(skb) };
    let mut zone = bindings::nf_conntrack_zone::default();
    // SAFETY: `on_packet` is null or what the packet holds a reference on, and the packet is valid.
    unsafe { bindings::xt_rust_nf_ct_zone(on_packet, skb, &mut zone) };
    let zone = Zone::from_raw(&zone);

    if !on_packet.is_null() {
        // SAFETY: The packet holds a reference as long as it lives.
        let connection = unsafe { Connection::from_raw(on_packet) };

        if !connection.is_template() {
            let original = connection.original()?;
            let progress = if connection.is_closed() {
                Progress::Closed {
                    assured: connection.progress() == Progress::Assured,
                }
            } else {
                connection.progress()
            };
            return Some((Identity { original, zone }, progress));
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
    let original = Tuple::from_raw(&tuple)?;

    match find(net, zone, &original) {
        Some((connection, _)) => {
            let mut zone = bindings::nf_conntrack_zone::default();
            // SAFETY: A reference on the connection is held, and the packet is valid.
            unsafe { bindings::xt_rust_nf_ct_zone(connection.0.get(), skb, &mut zone) };
            let original = connection.original()?;
            let progress = match connection.progress() {
                // The packet may begin another one in its place.
                Progress::Confirmed if connection.is_closed() => Progress::Unconfirmed,
                progress => progress,
            };

            Some((
                Identity {
                    original,
                    zone: Zone::from_raw(&zone),
                },
                progress,
            ))
        }
        None => Some((Identity { original, zone }, Progress::Unconfirmed)),
    }
}
