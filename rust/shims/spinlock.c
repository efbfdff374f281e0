// SPDX-License-Identifier: GPL-2.0

#include "shims.h"

void xt_rust_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

int xt_rust_spin_trylock_bh(spinlock_t *lock)
{
	return spin_trylock_bh(lock);
}

void xt_rust_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}
