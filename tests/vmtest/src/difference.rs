// SPDX-License-Identifier: GPL-2.0

//! All the ways in which our decisions may differ from those of the in-tree match. A test that
//! expects two answers names one of these.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// In-tree counts a connection that it has refused for as long as the entry stands in its
    /// list and conntrack does not call it closed. Ours are presumed refused, and not counted
    /// until something shows that they were let through all the same.
    RefusedAttemptsCounted,

    /// In-tree walks its list once a jiffy. Until the next one it counts what conntrack has never
    /// confirmed. Ours asks whenever it may decide what became of those that were on their way.
    StaleWithinJiffy,

    /// In-tree adds a connection that is not confirmed once more if its list was walked in this jiffy,
    /// and counts it twice. Ours knows what it has seen.
    CountedTwice,

    /// In-tree stops walking its list where it finds the packet's own connection, if conntrack has that
    /// already, and counts it and what is behind it, ended or not, in whatever jiffy. Ours looks at all.
    StaleBehindItself,

    /// Ours looks up what conntrack has had once in a jiffy, and counts what has ended since then until
    /// the next one. In-tree looks again for some packets: those of its connections that are confirmed
    /// and not assured.
    EndedWithinJiffy,

    /// A connection has ended and begun anew, and the rule has seen no packet of that which is of this
    /// key. It counts if whoever remembers it has not looked it up in between: either may have.
    BegunAnewUnseen,

    /// In-tree forgets a connection that conntrack calls closed, and does not add it again when it comes
    /// back, if it is assured still. Ours counts it as soon as conntrack has it again.
    OpenedAgainForgotten,

    /// In-tree forgets what is in CLOSE. Ours counts it unless a reset was the last packet of it: a SYN
    /// on its way may bring it back, or its two sides have not heard of the end.
    ClosedMayComeBack,

    /// A SYN on a connection in CLOSE that may bring that back, and in the table raw one on a connection in
    /// TIME_WAIT, is one connection more for ours. In-tree counts none of an assured connection that it
    /// has forgotten.
    ReopeningCountsItself,

    /// A connection that was reset or closed and goes on is counted by ours with its packet, and for two
    /// seconds after that: the other side may not believe the end. In-tree does not count what conntrack
    /// calls closed.
    LateCounted,

    /// In-tree adds no assured connection to its list, once there is one. Ours counts the packet's own
    /// connection if that was told over before, and takes one that conntrack has picked up in its midst
    /// for a new one of who answers in it.
    AssuredNotAdded,

    /// In the table raw, ours waits for a grace period until it takes a packet that was told under for
    /// lost: those that were received together all pass there before the first one gets any further.
    /// In-tree looks at once.
    PendingInRaw,

    /// In-tree adds an assured connection that is older than the rule if it is the first of its
    /// key that the rule sees, and does not otherwise. Ours are never added.
    OlderConnectionAdded,

    /// In-tree drops a packet of an assured connection if all those in its list turn out to be
    /// closed just then: the count is 0, which it takes for an error.
    AssuredDropped,

    /// Once one more than the limit was let through, in-tree has each packet of the key over the limit,
    /// those that ask for a connection again among them. Ours never has a SYN of a connection over that
    /// it has admitted: REJECT would reset that.
    AdmittedSynOver,

    /// In-tree takes the count for 1 at least, so that no packet is under a limit of 0. For ours the
    /// packets of older connections are, as nothing is to disturb those.
    OneAtLeast,

    /// In-tree counts the connection that an ICMP error is about for whoever sends the error. Ours
    /// remembers nothing of an error: anybody can forge one.
    ErrorsCounted,

    /// In-tree counts an untracked packet as a connection until it looks it up in vain. Ours counts
    /// connections of conntrack.
    UntrackedCounted,

    /// In-tree ignores flag bits that it does not know. Ours refuses the rule.
    UnknownFlagsAccepted,

    /// In-tree does not count a connection that has ended, and that a SYN brings back to life in conntrack
    /// without a new entry, if it was assured before. Ours takes that SYN for the beginning of one.
    RevivedNotCounted,

    /// In-tree counts a connection that it has refused if conntrack has it, and refuses those that it has
    /// let in while there are more than the limit with it. Ours never disturbs these.
    RefusedDisturbs,

    /// In-tree refuses a SYN that is sent again on a live connection if there are more than the limit; a
    /// target that rejects has conntrack close that connection's entry, and it counts no more. Ours
    /// never refuses it.
    RejectedWhileLive,

    /// A client has conntrack believe in an end that the server does not believe in. In-tree lets the
    /// connection go on without counting it. Ours counts it again.
    EndNotBelieved,

    /// In-tree forgets a connection whose first packet a program holds up behind the rule. Ours counts it
    /// once conntrack has it.
    HeldForgotten,
}
