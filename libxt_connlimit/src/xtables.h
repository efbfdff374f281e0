/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen binds. */

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <xtables.h>
/* After that, as it brings the kernel's version of what libc has declared. */
#include <linux/netfilter/xt_connlimit.h>

/* Macros that bindgen does not evaluate. */
enum {
	CONNLIMIT_SIZE = XT_ALIGN(sizeof(struct xt_connlimit_info)),
	CONNLIMIT_USERSPACE_SIZE = offsetof(struct xt_connlimit_info, data),
};
