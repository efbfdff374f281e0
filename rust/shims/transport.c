// SPDX-License-Identifier: GPL-2.0

#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "shims.h"

/*
 * Where the transport header lies, and of which protocol it is. Nothing if it
 * is in another fragment.
 */
static int transport(const struct sk_buff *skb, u8 family, u8 *protocol)
{
	int offset = skb_network_offset(skb);
	__be16 fragment;

	if (family == NFPROTO_IPV4) {
		const struct iphdr *header = ip_hdr(skb);

		*protocol = header->protocol;
		if (header->frag_off & htons(IP_OFFSET))
			return -1;
		return offset + header->ihl * 4;
	}
	*protocol = ipv6_hdr(skb)->nexthdr;
	offset = ipv6_skip_exthdr(skb, offset + sizeof(struct ipv6hdr), protocol,
				  &fragment);
	if (offset >= 0 && fragment & htons(~0x7))
		return -1;
	return offset;
}

bool xt_rust_tcp_segment(const struct sk_buff *skb, u8 family, u8 *flags,
			 u32 *data)
{
	const struct tcphdr *header;
	struct tcphdr copy;
	unsigned int end;
	u8 protocol;
	int offset;

	offset = transport(skb, family, &protocol);
	if (offset < 0 || protocol != IPPROTO_TCP)
		return false;
	header = skb_header_pointer(skb, offset, sizeof(copy), &copy);
	if (!header)
		return false;
	*flags = tcp_flag_byte(header);
	end = offset + header->doff * 4;
	*data = skb->len > end ? skb->len - end : 0;
	return true;
}

bool xt_rust_is_icmp_error(const struct sk_buff *skb, u8 family)
{
	const u8 *type;
	u8 protocol;
	int offset;
	u8 copy;

	offset = transport(skb, family, &protocol);
	if (offset < 0)
		return false;
	if (protocol != (family == NFPROTO_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return false;
	type = skb_header_pointer(skb, offset, sizeof(copy), &copy);
	if (!type)
		return false;
	return family == NFPROTO_IPV4 ? icmp_is_err(*type) : icmpv6_is_err(*type);
}
