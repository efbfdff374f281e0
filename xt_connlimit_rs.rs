// SPDX-License-Identifier: GPL-2.0

//! Xtables match `connlimit`: limits how many connections a source has open at the same time.
//!
//! It takes the place of the in-tree match of that name, and is understood by the same iptables.
//! What is counted, for whom, and what is decided, is in this file; how it is counted is in
//! [`counting`] and [`table`], and what the kernel is asked for in [`netfilter`].
//!
//! C header:
//! [`xt_connlimit.h`](srctree/include/uapi/linux/netfilter/xt_connlimit.h)

#[path = "rust/bindings/mod.rs"]
mod bindings;
#[path = "rust/counting/mod.rs"]
mod counting;
#[path = "rust/hash.rs"]
mod hash;
#[path = "rust/netfilter/mod.rs"]
mod netfilter;
#[cfg(planted)]
#[path = "rust/planted.rs"]
mod planted;
#[path = "rust/statistics.rs"]
mod statistics;
#[path = "rust/sync.rs"]
mod sync;
#[path = "rust/table.rs"]
mod table;
#[path = "rust/version.rs"]
mod version;

use core::{
    marker::PhantomData,
    mem::{
        offset_of,
        size_of, //
    },
};
use counting::{
    Answer,
    Fate,
    Moment,
    PacketKind,
    Sighting, //
};
use hash::HashKey;
use kernel::{
    debugfs,
    prelude::*,
    sync::atomic::Relaxed,
    ModuleMetadata, //
};
use netfilter::{
    conntrack::{
        self,
        Direction,
        Ends,
        Identity,
        Net,
        Phase,
        Relation, //
    },
    context,
    family::{
        Address,
        Family,
        Ipv4,
        Ipv6, //
    },
    grace,
    upkeep::{
        Jiffies,
        Upkeep, //
    },
    xtables::{
        Match,
        MatchTable,
        Packet,
        Registration,
        Verdict, //
    }, //
};
use statistics::DROPPED;
use table::Table;

module! {
    type: ConnlimitModule,
    name: "xt_connlimit_rs",
    authors: ["The xt_connlimit_rs developers"],
    description: "Xtables: limit the number of parallel connections",
    license: "GPL",
    alias: ["ipt_connlimit", "ip6t_connlimit"],
}

static MATCH_IPV4: MatchTable<Connlimit<Ipv4>> = MatchTable::new();
static MATCH_IPV6: MatchTable<Connlimit<Ipv6>> = MatchTable::new();

/// Fields are dropped in this order: first nobody can make rules any more, then what shows their
/// statistics goes.
#[pin_data]
struct ConnlimitModule {
    _ipv4: Registration<Connlimit<Ipv4>>,
    _ipv6: Registration<Connlimit<Ipv6>>,
    #[pin]
    _dropped: statistics::File,
    _directory: debugfs::Dir,
}

impl kernel::InPlaceModule for ConnlimitModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let directory = debugfs::Dir::new(<Self as ModuleMetadata>::NAME);

        try_pin_init!(Self {
            #[cfg(planted)]
            _: { planted::plant()? },
            _dropped <- statistics::file(&directory),
            _directory: directory,
            _ipv4: Registration::new(&MATCH_IPV4)?,
            _ipv6: Registration::new(&MATCH_IPV6)?,
        })
    }
}

/// The parameters of a rule: `struct xt_connlimit_info`, up to the kernel's own pointer.
#[derive(FromBytes)]
#[repr(C)]
struct Info {
    /// `union nf_inet_addr`: for IPv4 only the first word means anything.
    mask: [u32; 4],
    limit: u32,
    flags: u32,
}

static_assert!(size_of::<Info>() == offset_of!(bindings::xt_connlimit_info, data));
static_assert!(offset_of!(Info, limit) == offset_of!(bindings::xt_connlimit_info, limit));
static_assert!(offset_of!(Info, flags) == offset_of!(bindings::xt_connlimit_info, flags));

impl Info {
    const INVERT: u32 = bindings::XT_CONNLIMIT_INVERT;
    const DADDR: u32 = bindings::XT_CONNLIMIT_DADDR;
}

/// Which address of a packet is counted by.
enum Side {
    Source,
    Destination,
}

/// What connections are counted by: a network, and the zone that their tuples are unique in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key<F: Family> {
    network: F::Address,
    zone: u16,
}

impl<F: Family> counting::Key for Key<F> {
    #[inline]
    fn hash(&self, key: &HashKey) -> u32 {
        self.network.hash(self.zone, key)
    }
}

static_assert!(conntrack::TAG_BITS <= counting::TAG_BITS);

impl<F: Family> counting::Connection for Ends<F> {
    #[inline]
    fn hash(&self, tag: u16, key: &HashKey) -> u32 {
        let [a, b] = self.ids().map(u64::from);

        F::Address::hash_pair(self.addresses(), a | b << 16 | u64::from(tag) << 32, key)
    }
}

/// A rule.
#[pin_data]
struct Rule<F: Family> {
    mask: F::Address,
    side: Side,
    limit: u32,
    /// Whether packets match that are not over the limit.
    invert: bool,
    #[pin]
    table: Table<Key<F>, Ends<F>>,
}

/// Tells what a packet shows of its connection.
///
/// Conntrack has looked at the packet before, but in the table raw. It counts for whoever sends it,
/// whatever its direction: where conntrack has lost a connection, the next packet of the server makes it
/// one that the server has begun.
fn kind_of<F: Family>(packet: &Packet<'_, F>, relation: Relation) -> PacketKind {
    let Relation::Part { status, direction } = relation else {
        return PacketKind::Aside;
    };
    let Some(status) = status else {
        return PacketKind::New;
    };
    let segment = packet.segment();
    let is_syn = segment.is_some_and(|segment| segment.is_syn());

    match (status.phase, segment) {
        (Phase::Live, _) => PacketKind::Live {
            // The rule may have seen no packet of it before: not the one that it was picked up from.
            assured: status.assured && !(status.picked_up && direction == Direction::Reply),
            syn: is_syn,
        },
        (_, None) => PacketKind::Aside,
        // It begins nothing.
        (_, Some(segment)) if segment.is_reset() => PacketKind::Aside,
        (phase, Some(_)) if is_syn => PacketKind::Reopening {
            live: phase.is_live(),
        },
        (Phase::Close { .. }, Some(_)) => PacketKind::Late { bare: false },
        (Phase::TimeWait, Some(segment)) => PacketKind::Late {
            bare: !segment.has_data(),
        },
    }
}

/// What a namespace tells of its connections, and who asks.
struct Namespace<'a> {
    net: &'a Net,
    /// The thread of execution, if packets of that come one after the other.
    thread: Option<u32>,
}

impl<F: Family> counting::Environment<Key<F>, Ends<F>> for Namespace<'_> {
    const HZ: u32 = context::HZ;

    fn fate(&self, key: &Key<F>, ends: &Ends<F>, tag: u16) -> Fate {
        let found = Identity::new(key.zone, *ends, tag).find(self.net);
        let Some(status) = found.and_then(|found| found.status()) else {
            return Fate::Gone;
        };

        if status.phase.is_live() {
            Fate::Live
        } else {
            Fate::Ended
        }
    }

    fn moment(&self) -> Moment {
        let thread = self.thread;
        #[cfg(planted = "one_thread")]
        let thread = thread.map(|_| 0);
        Moment {
            now: context::jiffies(),
            thread,
        }
    }

    fn grace_period(&self) -> usize {
        grace::state()
    }

    fn is_over(&self, state: usize) -> bool {
        grace::is_over(state)
    }
}

/// The match.
struct Connlimit<F: Family>(PhantomData<F>);

impl<F: Family> Match for Connlimit<F> {
    type Family = F;
    type Info = Info;
    type Rule = Rule<F>;

    const NAME: &'static CStr = c"connlimit";
    const REVISION: u8 = 1;

    fn check(info: &Info) -> Result<impl PinInit<Rule<F>, Error>> {
        let unknown = info.flags & !(Info::INVERT | Info::DADDR);
        if unknown != 0 {
            pr_info_ratelimited!("connlimit: a rule has unknown flags {unknown:#x}\n");
            return Err(EINVAL);
        }

        let (mask, limit, flags) = (F::Address::from_words(info.mask), info.limit, info.flags);
        #[cfg(planted = "over_limit")]
        let limit = limit.saturating_add(1);
        Ok(try_pin_init!(Rule {
            mask,
            side: if flags & Info::DADDR != 0 { Side::Destination } else { Side::Source },
            limit,
            invert: flags & Info::INVERT != 0,
            table <- Table::new(),
        }))
    }

    fn matches(rule: Pin<&Rule<F>>, packet: &Packet<'_, F>, upkeep: &Upkeep) -> Verdict {
        let Some((identity, relation)) = packet.connection() else {
            DROPPED.unparsable.add(1, Relaxed);
            return Verdict::HotDrop;
        };
        let (source, destination) = packet.addresses();
        let address = match rule.side {
            Side::Source => source,
            Side::Destination => destination,
        };
        let key = Key {
            network: address.masked(rule.mask),
            zone: identity.zone_id(),
        };
        let sighting = Sighting {
            connection: identity.ends(),
            tag: identity.tag(),
            kind: kind_of(packet, relation),
        };

        let namespace = Namespace {
            net: packet.net(),
            thread: packet.thread(),
        };
        match rule
            .table
            .decide(&key, &sighting, rule.limit, &namespace, upkeep)
        {
            Ok(answer) => Verdict::Matches((answer == Answer::Over) != rule.invert),
            Err(_) => {
                DROPPED.no_memory.add(1, Relaxed);
                Verdict::HotDrop
            }
        }
    }

    fn tend(rule: Pin<&Rule<F>>, net: &Net, upkeep: &Upkeep) -> Option<Jiffies> {
        rule.table.sweep(&Namespace { net, thread: None }, upkeep)
    }
}
