// SPDX-License-Identifier: GPL-2.0

//! What is decided of a packet, and what is remembered of its connection.
//!
//! Two facts shape these rules. Conntrack looks at a packet before the rule does, so nothing that
//! conntrack has shows whether the rule's target let an earlier packet through. And conntrack brings
//! connections back that were reset, so one that has ended is not over for good.
//!
//! `Documentation/engine.md` has the same as tables.

use super::{
    Answer,
    PacketKind, //
};

/// What is known of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// It was told under, and its packet may be on its way.
    Pending,
    /// It was told over whenever it was seen, conntrack did not have it, and its packet may be on its
    /// way.
    Attempt,
    /// It was told under, and conntrack has it.
    Admitted,
    /// It was told under, and its packet has not arrived: it was dropped, or userspace holds it.
    Lost,
    /// It was lost, and conntrack has it after all. Others may have taken its place.
    Found,
    /// It was told over whenever it was seen, and conntrack has it after all: the rule's target lets
    /// packets through.
    LetThrough,
    /// It was reset or closed, and its client goes on.
    Late,
    /// It was told over when conntrack had it already. That conntrack still has it shows nothing.
    Refused,
}

impl State {
    const ALL: [Self; 8] = [
        Self::Pending,
        Self::Attempt,
        Self::Admitted,
        Self::Lost,
        Self::Found,
        Self::LetThrough,
        Self::Late,
        Self::Refused,
    ];

    /// How many bits tell a state.
    pub(super) const BITS: u32 = Self::ALL.len().ilog2();

    /// The state that the lowest [`Self::BITS`] bits tell.
    #[inline]
    pub(super) fn from_bits(bits: u32) -> Self {
        Self::ALL[bits as usize % Self::ALL.len()]
    }

    #[inline]
    pub(super) fn to_bits(self) -> u32 {
        self as u32
    }

    /// Whether other connections of its key count it.
    #[inline]
    pub(super) fn counts(self) -> bool {
        match self {
            Self::Pending | Self::Admitted | Self::Found | Self::LetThrough | Self::Late => true,
            Self::Attempt | Self::Lost | Self::Refused => false,
        }
    }

    /// Whether they do, or a look-up may show that they should.
    #[inline]
    pub(super) fn may_count(self) -> bool {
        self != Self::Refused
    }

    /// Whether it was let through over the limit, or a look-up may show that.
    #[inline]
    pub(super) fn may_be_let_through(self) -> bool {
        matches!(self, Self::LetThrough | Self::Attempt)
    }

    /// Whether a packet of it may be on its way.
    #[inline]
    pub(super) fn is_unsettled(self) -> bool {
        matches!(self, Self::Pending | Self::Attempt)
    }

    /// Whether a packet of its own may be over the limit although conntrack has the connection, or
    /// packets of others may because of it.
    #[inline]
    pub(super) fn is_exceptional(self) -> bool {
        !matches!(self, Self::Pending | Self::Admitted)
    }

    /// The state once conntrack is known to have it, live.
    #[inline]
    pub(super) fn live(self) -> Self {
        match self {
            Self::Pending => Self::Admitted,
            Self::Attempt => Self::LetThrough,
            Self::Lost => Self::Found,
            Self::Admitted | Self::Found | Self::LetThrough | Self::Late | Self::Refused => self,
        }
    }

    /// The state once a packet of its own has shown what it shows.
    #[inline]
    pub(super) fn shown_by(self, kind: PacketKind) -> Self {
        match kind {
            PacketKind::Live { .. } => self.live(),
            _ => self,
        }
    }
}

/// What is compared to the limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Nothing. The packet is under, whatever counts.
    Nothing,
    /// How many others count.
    Others,
    /// How many others count, and one.
    OthersAndItself,
    /// How many others count, and one, where a connection of the key was let through over the limit:
    /// then the rule's target does not refuse, and the count speaks for all packets.
    CountedOnly,
    /// The same without the one.
    OthersCountedOnly,
}

impl Measure {
    /// Chooses it for a packet. `known` is the state of its connection, as shown by the packet.
    #[inline]
    pub(super) fn of(known: Option<State>, kind: PacketKind) -> Self {
        match (kind, known) {
            (PacketKind::New | PacketKind::Reopening { .. }, _) => Self::OthersAndItself,
            (PacketKind::Live { syn: true, .. }, Some(State::Admitted)) => Self::Nothing,
            (PacketKind::Live { .. }, Some(State::Admitted)) => Self::CountedOnly,
            (PacketKind::Live { assured: true, .. }, None) => Self::OthersCountedOnly,
            (PacketKind::Live { .. }, _) => Self::OthersAndItself,
            (PacketKind::Late { bare: true }, Some(State::Refused)) => Self::OthersAndItself,
            (PacketKind::Late { bare: true } | PacketKind::Aside, _) => Self::Others,
            (PacketKind::Late { bare: false }, _) => Self::OthersAndItself,
        }
    }

    /// The answer where `others` count, and some of the key were let through over the limit or not.
    #[inline]
    pub(super) fn answer(self, others: usize, let_through: bool, limit: u32) -> Answer {
        let count = match self {
            Self::Others => others,
            Self::OthersAndItself => others.saturating_add(1),
            Self::CountedOnly if let_through => others.saturating_add(1),
            Self::OthersCountedOnly if let_through => others,
            Self::Nothing | Self::CountedOnly | Self::OthersCountedOnly => return Answer::Under,
        };

        // A limit that does not fit into a `usize` cannot be exceeded.
        if usize::try_from(limit).is_ok_and(|limit| count > limit) {
            Answer::Over
        } else {
            Answer::Under
        }
    }
}

/// What becomes of the connection of a packet that was decided on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// It is as it was.
    Nothing,
    /// It is remembered in this state.
    Remember(State),
    /// It has ended, and is forgotten.
    Forget,
    /// A look-up tells what it is. If it has ended, it is remembered in this state.
    LookUp(State),
}

impl Change {
    /// Chooses it. `known` is what [`Measure::of`] got.
    pub(super) fn of(known: Option<State>, kind: PacketKind, answer: Answer) -> Self {
        match answer {
            Answer::Under => Self::told_under(known, kind),
            Answer::Over => Self::told_over(known, kind),
        }
    }

    fn told_under(known: Option<State>, kind: PacketKind) -> Self {
        match (kind, known) {
            (PacketKind::New | PacketKind::Reopening { live: false }, _) => {
                Self::Remember(State::Pending)
            }
            (PacketKind::Reopening { live: true }, _) => Self::Remember(State::Admitted),
            // It is older than the rule.
            (PacketKind::Live { assured: true, .. }, None) => Self::Nothing,
            (PacketKind::Live { .. }, _) => Self::Remember(State::Admitted),
            (PacketKind::Late { bare: false }, _) => Self::Remember(State::Late),
            (PacketKind::Late { bare: true }, known) => {
                Self::last_packet(known, Self::Remember(State::Late))
            }
            (PacketKind::Aside, _) => Self::Nothing,
        }
    }

    fn told_over(known: Option<State>, kind: PacketKind) -> Self {
        match (kind, known) {
            (PacketKind::New, None) => Self::Remember(State::Attempt),
            // An earlier packet of it, which was told under, may arrive still: that would show nothing.
            (PacketKind::New, Some(State::Pending | State::Lost)) => Self::LookUp(State::Refused),
            (PacketKind::New, Some(_)) => Self::LookUp(State::Attempt),
            (PacketKind::Reopening { live: false }, Some(_))
            | (PacketKind::Late { bare: false }, Some(State::Admitted | State::LetThrough)) => {
                Self::LookUp(State::Refused)
            }
            (PacketKind::Live { assured: true, .. }, None) => Self::Nothing,
            (
                PacketKind::Live { .. } | PacketKind::Reopening { .. },
                Some(state @ (State::Admitted | State::LetThrough)),
            ) => Self::Remember(state),
            (PacketKind::Reopening { .. }, Some(State::Pending)) => Self::Remember(State::Admitted),
            (
                PacketKind::Live { .. }
                | PacketKind::Reopening { .. }
                | PacketKind::Late { bare: false },
                _,
            ) => Self::Remember(State::Refused),
            (PacketKind::Late { bare: true }, known) => Self::last_packet(known, Self::Nothing),
            (PacketKind::Aside, _) => Self::Nothing,
        }
    }

    /// What becomes of a connection that both sides have closed, after a packet without data. `goes_on`
    /// is for one of which that was known before: for others this may be the packet that has closed it.
    fn last_packet(known: Option<State>, goes_on: Self) -> Self {
        match known {
            None | Some(State::Late | State::Refused) => goes_on,
            // Another packet of it may begin it anew.
            Some(State::Pending | State::Attempt) => Self::Nothing,
            Some(State::Admitted | State::Lost | State::Found | State::LetThrough) => Self::Forget,
        }
    }
}
