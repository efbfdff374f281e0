// SPDX-License-Identifier: GPL-2.0

#include <linux/bottom_half.h>

#include "shims.h"

/*
 * A look-up takes a lock of conntrack only where it comes upon an entry that has
 * expired, which is rare. Lockdep is told each time, so that it knows in which
 * order locks are taken before the first deadlock. Conntrack keeps bottom halves
 * out while it has the lock, and so does what tells of it.
 */
struct nf_conntrack_tuple_hash *
xt_rust_nf_conntrack_find_get(struct net *net,
			      const struct nf_conntrack_zone *zone,
			      const struct nf_conntrack_tuple *tuple)
{
	if (IS_ENABLED(CONFIG_PROVE_LOCKING)) {
		local_bh_disable();
		might_lock(&nf_conntrack_locks[0]);
		local_bh_enable();
	}
	return nf_conntrack_find_get(net, zone, tuple);
}

struct nf_conn *xt_rust_nf_ct_get(const struct sk_buff *skb, u32 *info)
{
	enum ip_conntrack_info ctinfo;
	struct nf_conn *ct = nf_ct_get(skb, &ctinfo);

	*info = ctinfo;
	return ct;
}

void xt_rust_nf_ct_hold(struct nf_conn *ct)
{
	nf_conntrack_get(&ct->ct_general);
}

void xt_rust_nf_ct_put(struct nf_conn *ct)
{
	nf_ct_put(ct);
}

/*
 * A template's zone may be "the packet's mark" (CT --zone mark), so it takes
 * the packet to tell; a connection's zone is what it was created with.
 */
void xt_rust_nf_ct_zone(const struct nf_conn *ct, const struct sk_buff *skb,
			struct nf_conntrack_zone *zone)
{
	struct nf_conntrack_zone tmp;

	if (ct && !nf_ct_is_template(ct))
		*zone = *nf_ct_zone(ct);
	else
		*zone = *nf_ct_zone_tmpl(ct, skb, &tmp);
}
