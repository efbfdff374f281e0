// SPDX-License-Identifier: GPL-2.0

//! Until when a packet may be on its way.

use super::Environment;

/// Grace periods of RCU, in few bits.
///
/// A packet is handled within one read-side critical section, from where it is looked at to where
/// conntrack confirms its connection. However long its CPU is held up meanwhile, a grace period
/// waits for it.
#[derive(Clone, Copy)]
pub(super) struct GracePeriods {
    /// The number of the latest one.
    latest: u16,
    /// RCU's states for the latest and the one before. No more than two of different states can be
    /// still to end (`NUM_ACTIVE_RCU_POLL_OLDSTATE`).
    states: [Option<usize>; 2],
}

impl GracePeriods {
    pub(super) const fn new() -> Self {
        Self {
            latest: 0,
            states: [None; 2],
        }
    }

    pub(super) fn latest(&self) -> u16 {
        self.latest
    }

    /// The number of the one that waits for the packets that are being handled now.
    pub(super) fn current<K, C, E: Environment<K, C>>(&mut self, environment: &E) -> u16 {
        let state = environment.grace_period();
        if self.states[0] != Some(state) {
            self.states = [Some(state), self.states[0]];
            self.latest = self.latest.wrapping_add(1);
        }
        self.latest
    }

    /// Whether the one of this number is over.
    pub(super) fn is_over<K, C, E: Environment<K, C>>(&self, number: u16, environment: &E) -> bool {
        let state = match self.latest.wrapping_sub(number) {
            0 => self.states[0],
            1 => self.states[1],
            _ => None,
        };

        state.is_none_or(|state| environment.is_over(state))
    }
}
