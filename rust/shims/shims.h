/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Out-of-line copies of C macros and static inlines that Rust cannot call.
 * Named `xt_rust_*` so that they never clash with the kernel's own helpers.
 */
#ifndef _XT_CONNLIMIT_RS_SHIMS_H
#define _XT_CONNLIMIT_RS_SHIMS_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/lockdep.h>
#include <linux/siphash.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_zones.h>

/* conntrack.c */
struct nf_conntrack_tuple_hash *
xt_rust_nf_conntrack_find_get(struct net *net,
			      const struct nf_conntrack_zone *zone,
			      const struct nf_conntrack_tuple *tuple);
struct nf_conn *xt_rust_nf_ct_get(const struct sk_buff *skb, u32 *info);
void xt_rust_nf_ct_hold(struct nf_conn *ct);
void xt_rust_nf_ct_put(struct nf_conn *ct);
void xt_rust_nf_ct_zone(const struct nf_conn *ct, const struct sk_buff *skb,
			struct nf_conntrack_zone *zone);

/* context.c */
bool xt_rust_in_serving_softirq(void);

/* hash.c */
u32 xt_rust_hsiphash(const void *data, size_t len, const hsiphash_key_t *key);

/* skb.c */
const struct iphdr *xt_rust_ip_hdr(const struct sk_buff *skb);
const struct ipv6hdr *xt_rust_ipv6_hdr(const struct sk_buff *skb);
int xt_rust_skb_network_offset(const struct sk_buff *skb);

/* spinlock.c */
void xt_rust_spin_lock_bh(spinlock_t *lock);
int xt_rust_spin_trylock_bh(spinlock_t *lock);
void xt_rust_spin_unlock_bh(spinlock_t *lock);

/* transport.c */
bool xt_rust_tcp_segment(const struct sk_buff *skb, u8 family, u8 *flags,
			 u32 *data);
bool xt_rust_is_icmp_error(const struct sk_buff *skb, u8 family);

/* work.c */
void xt_rust_init_delayed_work(struct delayed_work *work, work_func_t callback);
bool xt_rust_queue_delayed_work(struct delayed_work *work, unsigned long delay);
bool xt_rust_mod_delayed_work(struct delayed_work *work, unsigned long delay);
void xt_rust_cond_resched(void);

#endif
