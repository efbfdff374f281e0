/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the C that the netfilter layer calls and the `kernel`
 * crate does not bind. `bindgen_parameters` says which of it is bound.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/net.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_connlimit.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_tuple.h>
#include <net/netfilter/nf_conntrack_zones.h>
#include <net/tcp.h>

#include "../shims/shims.h"

/* bindgen takes the first definition of a macro, and HZ has two. */
static const u32 XT_RUST_HZ = HZ;

/* It does not take macros that call others. */
static const u8 XT_RUST_TCP_SYN = TCPHDR_SYN;
static const u8 XT_RUST_TCP_RST = TCPHDR_RST;
static const u8 XT_RUST_TCP_ACK = TCPHDR_ACK;
