// SPDX-License-Identifier: GPL-2.0

#include <linux/preempt.h>

#include "shims.h"

bool xt_rust_in_serving_softirq(void)
{
	return in_serving_softirq();
}
