// SPDX-License-Identifier: GPL-2.0

//! Matches of x_tables.
//!
//! A match is a type that implements [`Match`]. It is offered to the rules of iptables, and of
//! nftables through its compatibility layer, as long as a [`Registration`] of its [`MatchTable`]
//! lives.
//!
//! C header: [`include/linux/netfilter/x_tables.h`](srctree/include/linux/netfilter/x_tables.h)

use super::{
    conntrack::{
        self,
        Identity,
        Net,
        Relation, //
    },
    context,
    family::Family,
    tcp::Segment,
    upkeep::{
        Jiffies,
        Upkeep, //
    }, //
};
use crate::{
    bindings,
    pr_info_ratelimited, //
};
use core::{
    marker::PhantomData,
    mem::{
        offset_of,
        size_of, //
    },
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    },
    types::{
        ForeignOwnable,
        Opaque,
        ScopeGuard, //
    }, //
};

/// What a match says of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Whether the rule's condition holds.
    Matches(bool),
    /// The packet is dropped, whatever the rule's target.
    HotDrop,
}

/// A match that works on tracked connections of one family.
pub(crate) trait Match: Sized + 'static {
    /// The family whose packets it looks at.
    type Family: Family;

    /// The parameters of a rule, as userspace stores them.
    ///
    /// This is ABI: it ends where the kernel's own part of the match data begins.
    type Info: FromBytes;

    /// What the kernel keeps for a rule.
    type Rule: Send + Sync + 'static;

    /// The name that userspace asks for.
    const NAME: &'static CStr;

    /// The revision of [`Self::Info`].
    const REVISION: u8;

    /// Checks the parameters of a new rule, and says how to make what is kept for it.
    ///
    /// Called in process context; may sleep.
    fn check(info: &Self::Info) -> Result<impl PinInit<Self::Rule, Error>>;

    /// Looks at a packet.
    ///
    /// Called in softirq or in process context, on any number of CPUs at once; must not sleep. What
    /// it leaves for later, it asks `upkeep` for.
    fn matches(
        rule: Pin<&Self::Rule>,
        packet: &Packet<'_, Self::Family>,
        upkeep: &Upkeep,
    ) -> Verdict;

    /// Does what was left for later. Returns when to be called again, if at all.
    ///
    /// Called in process context, on one CPU at a time; may sleep. It is to give way often.
    fn tend(rule: Pin<&Self::Rule>, net: &Net, upkeep: &Upkeep) -> Option<Jiffies>;
}

/// A packet at a hook.
///
/// # Invariants
///
/// `skb` and `state` are what the hooks of family `F` were called with, and valid for `'a`. The
/// network header lies in the linear part of the packet.
pub(crate) struct Packet<'a, F: Family> {
    skb: *const bindings::sk_buff,
    state: &'a bindings::nf_hook_state,
    _family: PhantomData<F>,
}

impl<F: Family> Packet<'_, F> {
    /// The namespace that the packet is in.
    #[inline]
    pub(crate) fn net(&self) -> &Net {
        // SAFETY: The namespace of a hook's state is valid as long as the state, by the invariants.
        unsafe { Net::from_raw(self.state.net) }
    }

    /// A number for the thread of execution that handles it, if packets of that come one after the
    /// other: when it looks at a second packet, conntrack has confirmed the first one or never will,
    /// unless a queue in userspace holds it.
    ///
    /// In `PREROUTING` they do not. Packets that a device has received together go through that
    /// hook together, before the first one goes any further.
    #[inline]
    pub(crate) fn thread(&self) -> Option<u32> {
        if u32::from(self.state.hook) == bindings::nf_inet_hooks_NF_INET_PRE_ROUTING {
            return None;
        }
        context::current()
    }

    /// Source and destination, as the header has them.
    #[inline]
    pub(crate) fn addresses(&self) -> (F::Address, F::Address) {
        // SAFETY: `skb` is a valid packet of family `F` whose network header is linear, by the
        // invariants.
        unsafe { F::addresses(self.skb) }
    }

    /// The connection that the packet belongs to, and how.
    #[inline]
    pub(crate) fn connection(&self) -> Option<(Identity<F>, Relation)> {
        // SAFETY: `skb` is a valid packet at a hook of family `F` by the invariants.
        unsafe { conntrack::identify(self.skb, self.net()) }
    }

    /// What its TCP header says, if it has one.
    #[inline]
    pub(crate) fn segment(&self) -> Option<Segment> {
        // SAFETY: `skb` is a valid packet at a hook of family `F` by the invariants.
        unsafe { Segment::read::<F>(self.skb) }
    }
}

/// The pointer that the kernel keeps in a rule's match data. The ABI aligns it to eight bytes.
#[repr(C, align(8))]
struct RulePtr(*mut kernel::ffi::c_void);

/// A rule's match data.
#[repr(C)]
struct MatchInfo<T: Match> {
    info: T::Info,
    rule: RulePtr,
}

impl<T: Match> MatchInfo<T> {
    /// How much of it userspace gets to see when it lists the rules: not the pointer.
    const USER_SIZE: usize = offset_of!(Self, rule);
}

/// What is kept for a rule.
///
/// # Invariants
///
/// `net` is the namespace of the rule, which outlives it.
#[pin_data(PinnedDrop)]
struct Installed<T: Match> {
    net: NonNull<bindings::net>,
    #[pin]
    upkeep: Upkeep,
    #[pin]
    rule: T::Rule,
}

// SAFETY: A namespace may be used from anywhere; everything else may be sent.
unsafe impl<T: Match> Send for Installed<T> {}
// SAFETY: A namespace may be used from anywhere at once; everything else may be shared.
unsafe impl<T: Match> Sync for Installed<T> {}

impl<T: Match> Installed<T> {
    /// # Safety
    ///
    /// `net` must outlive what is made.
    unsafe fn new<'a>(
        net: NonNull<bindings::net>,
        rule: impl PinInit<T::Rule, Error> + 'a,
    ) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(Self {
            // INVARIANT: The caller promises it.
            net,
            // SAFETY: The callback may be called as long as there is the rule that the work lies
            // in, and `drop` stops it.
            upkeep <- unsafe { Upkeep::new(Self::tend_callback) },
            rule <- rule,
        })
    }

    fn net(&self) -> &Net {
        // SAFETY: The namespace is valid as long as the rule, by the invariant.
        unsafe { Net::from_raw(self.net.as_ptr()) }
    }

    fn rule(self: Pin<&Self>) -> Pin<&T::Rule> {
        // SAFETY: `rule` is structurally pinned.
        unsafe { self.map_unchecked(|installed| &installed.rule) }
    }

    /// # Safety
    ///
    /// Must be called by the workqueue, with the work of an `Installed<T>`.
    unsafe extern "C" fn tend_callback(work: *mut bindings::work_struct) {
        // SAFETY: The caller promises that it is the work of an `Upkeep`.
        let upkeep = unsafe { Upkeep::from_work(work) };
        // SAFETY: That lies in an `Installed<T>`, which waits for this callback before it goes, and
        // is pinned.
        let installed =
            unsafe { Pin::new_unchecked(&*kernel::container_of!(upkeep, Self, upkeep)) };

        if let Some(delay) = T::tend(installed.rule(), installed.net(), &installed.upkeep) {
            installed.upkeep.after(delay);
        }
    }
}

#[pinned_drop]
impl<T: Match> PinnedDrop for Installed<T> {
    /// The work ends before the rule that it works on is dropped.
    fn drop(self: Pin<&mut Self>) {
        self.upkeep.stop();
    }
}

type RuleBox<T> = Pin<KBox<Installed<T>>>;

/// The callbacks of a match.
struct Adapter<T: Match>(PhantomData<T>);

impl<T: Match> Adapter<T> {
    const NFPROTO: u8 = <T::Family as Family>::NFPROTO;

    /// # Safety
    ///
    /// Must be called by x_tables or its compatibility layer, for a match made by [`MatchTable`].
    unsafe extern "C" fn checkentry_callback(par: *const bindings::xt_mtchk_param) -> c_int {
        from_result(|| {
            // SAFETY: x_tables passes valid parameters.
            let par = unsafe { &*par };
            let data = par.matchinfo.cast::<MatchInfo<T>>();

            // What userspace left in the kernel's pointer is overwritten before anything else, so
            // that it can reach nothing.
            //
            // SAFETY: x_tables has checked that the match data is as long as `matchsize`, and
            // aligned it; it is ours alone to write until the rule is in use.
            unsafe { (&raw mut (*data).rule).write(RulePtr(core::ptr::null_mut())) };

            // SAFETY: The match data is as long as `matchsize`, and x_tables has initialised it;
            // `T::Info` is valid for any bytes.
            let info = unsafe { &(*data).info };
            let rule = T::check(info)?;

            // SAFETY: The namespace is valid for the call.
            let net = unsafe { Net::from_raw(par.net) };
            net.use_conntrack(Self::NFPROTO).inspect_err(|_| {
                pr_info_ratelimited!(
                    "{}: connection tracking cannot be started for family {}\n",
                    T::NAME.to_str().unwrap_or_default(),
                    Self::NFPROTO
                );
            })?;
            let unused = ScopeGuard::new(|| {
                // SAFETY: It was started above, and destroy is not called if this callback fails.
                unsafe { net.release_conntrack(Self::NFPROTO) }
            });

            let raw_net = NonNull::new(par.net).ok_or(EINVAL)?;
            // SAFETY: x_tables destroys the rules of a namespace before that goes.
            let rule = KBox::pin_init(unsafe { Installed::<T>::new(raw_net, rule) }, GFP_KERNEL)?;
            unused.dismiss();

            // SAFETY: The match data is as long as `matchsize`, and ours alone to write.
            unsafe { (&raw mut (*data).rule).write(RulePtr(rule.into_foreign().cast())) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Must be called by x_tables or its compatibility layer, for match data that
    /// [`Self::checkentry_callback`] has accepted.
    unsafe extern "C" fn match_callback(
        skb: *const bindings::sk_buff,
        par: *mut bindings::xt_action_param,
    ) -> bool {
        // SAFETY: x_tables passes valid parameters, and the match data of a rule whose check
        // succeeded. Such data is not written to any more.
        let (data, state) = unsafe {
            (
                &*(*par).__bindgen_anon_2.matchinfo.cast::<MatchInfo<T>>(),
                &*(*par).state,
            )
        };
        // SAFETY: `checkentry_callback` left the pointer there. `destroy_callback` takes it back
        // only once no CPU runs the rule any more.
        let installed = unsafe { <RuleBox<T> as ForeignOwnable>::borrow(data.rule.0.cast()) };
        // INVARIANT: x_tables calls a match of a family for packets of that family only, and the
        // network layer has pulled the header before it calls the hooks.
        let packet = Packet {
            skb,
            state,
            _family: PhantomData,
        };

        match T::matches(installed.rule(), &packet, &installed.upkeep) {
            Verdict::Matches(matches) => matches,
            Verdict::HotDrop => {
                // SAFETY: x_tables passes valid parameters, which this call may write to.
                unsafe { (*par).hotdrop = true };
                // iptables would run the target of a rule that matches before it drops the packet.
                false
            }
        }
    }

    /// # Safety
    ///
    /// Must be called by x_tables or its compatibility layer, once, for match data that
    /// [`Self::checkentry_callback`] has accepted and that no CPU uses any more.
    unsafe extern "C" fn destroy_callback(par: *const bindings::xt_mtdtor_param) {
        // SAFETY: x_tables passes valid parameters, and the match data of a rule whose check
        // succeeded.
        let (data, net) = unsafe {
            (
                &*(*par).matchinfo.cast::<MatchInfo<T>>(),
                Net::from_raw((*par).net),
            )
        };

        // The rule goes first: it is made of connections of the namespace.
        //
        // SAFETY: `checkentry_callback` left the pointer there, and it is taken back here only. No
        // CPU runs the rule: iptables waits until every CPU has left the old table, nftables waits
        // for a grace period, and a rule that was never in use was never run.
        drop(unsafe { <RuleBox<T> as ForeignOwnable>::from_foreign(data.rule.0.cast()) });
        // SAFETY: `checkentry_callback` started it for this rule.
        unsafe { net.release_conntrack(Self::NFPROTO) };
    }
}

/// A match as x_tables keeps it in its list.
///
/// It is a `static` of the module, so that rules may point to it as long as the module is loaded.
pub(crate) struct MatchTable<T: Match> {
    raw: Opaque<bindings::xt_match>,
    registered: Atomic<i32>,
    _match: PhantomData<T>,
}

// SAFETY: The `xt_match` is only handed to x_tables, which protects its lists by a mutex.
unsafe impl<T: Match> Sync for MatchTable<T> {}

impl<T: Match> MatchTable<T> {
    /// Makes the table of a match.
    pub(crate) const fn new() -> Self {
        const {
            assert!(
                MatchInfo::<T>::USER_SIZE == size_of::<T::Info>(),
                "the parameters must end where the kernel's pointer begins"
            );
            // x_tables takes 0 for "all of it", and would show the pointer to userspace.
            assert!(MatchInfo::<T>::USER_SIZE > 0);
        }
        let mut raw: bindings::xt_match = pin_init::zeroed();
        let name = T::NAME.to_bytes_with_nul();
        assert!(name.len() <= raw.name.len(), "the name is too long");
        let mut i = 0;
        while i < name.len() {
            raw.name[i] = name[i];
            i += 1;
        }
        raw.revision = T::REVISION;
        raw.match_ = Some(Adapter::<T>::match_callback);
        raw.checkentry = Some(Adapter::<T>::checkentry_callback);
        raw.destroy = Some(Adapter::<T>::destroy_callback);
        // The module that holds the match stays loaded as long as a rule uses it. What the `kernel`
        // crate calls it differs from Linux 7.2 to 7.3; this is what C calls it.
        raw.me = &raw mut bindings::__this_module;
        raw.matchsize = size_of::<MatchInfo<T>>() as c_uint;
        raw.usersize = MatchInfo::<T>::USER_SIZE as c_uint;
        raw.family = Adapter::<T>::NFPROTO as u16;

        Self {
            raw: Opaque::new(raw),
            registered: Atomic::new(0),
            _match: PhantomData,
        }
    }
}

/// The registration of a match.
///
/// Rules can be made with the match until it is dropped. Rules that there are keep the module
/// loaded, so that a registration which the module holds is dropped when there are none.
///
/// # Invariants
///
/// The table is in the list of x_tables, put there by this registration.
pub(crate) struct Registration<T: Match>(&'static MatchTable<T>);

impl<T: Match> Registration<T> {
    /// Registers a match. A table can be registered once at a time.
    pub(crate) fn new(table: &'static MatchTable<T>) -> Result<Self> {
        if table.registered.xchg(1, Acquire) != 0 {
            return Err(EBUSY);
        }
        // SAFETY: The table is a valid `xt_match` in no list, and it lives as long as the module.
        to_result(unsafe { bindings::xt_register_match(table.raw.get()) }).inspect_err(|_| {
            table.registered.store(0, Release);
        })?;
        // INVARIANT: It has just been put into the list.
        Ok(Self(table))
    }
}

impl<T: Match> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: The table is in the list of x_tables, by the invariant.
        unsafe { bindings::xt_unregister_match(self.0.raw.get()) };
        // Only now, so that it cannot be put into the list while it is in there.
        self.0.registered.store(0, Release);
    }
}
