// SPDX-License-Identifier: GPL-2.0

#include "shims.h"

u32 xt_rust_hsiphash(const void *data, size_t len, const hsiphash_key_t *key)
{
	return hsiphash(data, len, key);
}
