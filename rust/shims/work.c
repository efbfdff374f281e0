// SPDX-License-Identifier: GPL-2.0

#include <linux/sched.h>
#include <linux/workqueue.h>

#include "shims.h"

void xt_rust_init_delayed_work(struct delayed_work *work, work_func_t callback)
{
	INIT_DELAYED_WORK(work, callback);
}

/* Not bound to a CPU: the work is long, and it can wait. */
bool xt_rust_queue_delayed_work(struct delayed_work *work, unsigned long delay)
{
	return queue_delayed_work(system_dfl_wq, work, delay);
}

bool xt_rust_mod_delayed_work(struct delayed_work *work, unsigned long delay)
{
	return mod_delayed_work(system_dfl_wq, work, delay);
}

void xt_rust_cond_resched(void)
{
	cond_resched();
}
