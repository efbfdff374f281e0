// SPDX-License-Identifier: GPL-2.0

#include "shims.h"

const struct iphdr *xt_rust_ip_hdr(const struct sk_buff *skb)
{
	return ip_hdr(skb);
}

const struct ipv6hdr *xt_rust_ipv6_hdr(const struct sk_buff *skb)
{
	return ipv6_hdr(skb);
}

int xt_rust_skb_network_offset(const struct sk_buff *skb)
{
	return skb_network_offset(skb);
}
