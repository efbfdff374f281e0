// SPDX-License-Identifier: GPL-2.0

//! All the ways in which our decisions may differ from those of the in-tree match. A test that
//! expects two answers names one of these.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// In-tree counts a connection that it has refused for as long as the entry stands in its
    /// list and conntrack does not call it closed. Ours are presumed refused, and not counted
    /// until something shows that they were let through all the same.
    RefusedAttemptsCounted,

    /// In-tree walks its list once a jiffy. Until the next one it counts what conntrack has never
    /// confirmed. Ours asks whenever it may decide what became of those that were on their way.
    StaleWithinJiffy,

    /// In-tree adds an assured connection that is older than the rule if it is the first of its
    /// key that the rule sees, and does not otherwise. Ours are never added.
    OlderConnectionAdded,

    /// In-tree drops a packet of an assured connection if all those in its list turn out to be
    /// closed just then: the count is 0, which it takes for an error.
    AssuredDropped,

    /// In-tree ignores flag bits that it does not know. Ours refuses the rule.
    UnknownFlagsAccepted,
}
