/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_PARSE_H
#define SLUICE_PACKET_PARSE_H
/*
 * Reads a packet's headers once, for everything that comes after. Nothing is changed, nothing is copied but
 * the tuple and a few numbers.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet_abi.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What our programs say of a packet that is not theirs: other people's filters on the interface come next. */
#define PACKET_PASSES TC_ACT_UNSPEC

enum packet_kind {
    PACKET_other, /* not for us */
    PACKET_tcp,
    PACKET_icmp, /* ICMP or ICMPv6; only l3, l4 and is_v4 are set */
};

/* TCP's flags as in byte 13 of its header. */
#define PACKET_FIN 0x01
#define PACKET_SYN 0x02
#define PACKET_RST 0x04
#define PACKET_ACK 0x10
#define PACKET_URG 0x20

struct packet {
    struct packet_tuple tuple;
    __u32 l3; /* offsets from skb->data */
    __u32 l4;
    __u32 seq; /* host order, as are the following */
    __u32 ack;
    __u32 payload; /* bytes */
    __u16 window;
    __u8 flags;
    __u8 tcp_bytes; /* of the TCP header with its options */
    __u8 is_v4;
    __u8 is_fragment; /* the first one; later ones are PACKET_other */
    __u8 hops;        /* TTL or hop limit */
};

static __always_inline void* packet_data(const struct __sk_buff* skb) {
    return (void*)(long)skb->data;
}
static __always_inline void* packet_end(const struct __sk_buff* skb) {
    return (void*)(long)skb->data_end;
}

/* The address of an offset that came by way of the stack, where the verifier forgets its bounds. */
static __always_inline void* packet_at(const struct __sk_buff* skb, __u32 offset) {
    __u64 bounded = offset;
    asm volatile("%0 &= 0xff" : "+r"(bounded));
    return packet_data(skb) + bounded;
}

/* Headers that long are in the linear part of the skb afterwards, unless the packet is shorter. */
#define PACKET_PULL_BYTES 134 /* Ethernet, IPv4 with options or IPv6 with a few, TCP with options */

/* IPv6 extension headers in front of TCP or ICMPv6; more than these pass as PACKET_other. */
#define PACKET_EXTENSIONS_MAX 4

/* The offset of what follows the extension headers, which is `*next` then. 0: not understood. */
static __noinline __u32 packet_skip_extensions(struct __sk_buff* skb, __u32 offset,
                                               __u32 next_and_fragment[2]) {
    __u32 next = next_and_fragment[0];
    for (int i = 0; i < PACKET_EXTENSIONS_MAX; ++i) {
        __u8 header[4];
        if (next == IPPROTO_TCP || next == IPPROTO_ICMPV6) break;
        if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)) != 0) return 0;
        if (next == IPPROTO_FRAGMENT) {
            const __u32 position = ((__u32)header[2] << 8 | header[3]) & 0xfff9;
            if (position & 0xfff8) return 0; /* not the first: no ports */
            next_and_fragment[1] = position & 1;
            offset += 8;
        } else if (next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS || next == IPPROTO_ROUTING) {
            offset += ((__u32)header[1] + 1) * 8;
        } else {
            return 0;
        }
        next = header[0];
    }
    next_and_fragment[0] = next;
    return offset;
}

static __always_inline int packet_parse_tcp(struct __sk_buff* skb, struct packet* packet, __u32 l3_bytes) {
    const struct tcphdr* tcp = packet_at(skb, packet->l4);
    if ((void*)(tcp + 1) > packet_end(skb)) return PACKET_other;
    const __u32 tcp_bytes = tcp->doff * 4;
    const __u32 l4_bytes = l3_bytes - (packet->l4 - packet->l3);
    if (tcp_bytes < sizeof(*tcp) || tcp_bytes > l4_bytes) return PACKET_other;
    packet->tuple.source_port = tcp->source;
    packet->tuple.destination_port = tcp->dest;
    packet->seq = bpf_ntohl(tcp->seq);
    packet->ack = bpf_ntohl(tcp->ack_seq);
    packet->window = bpf_ntohs(tcp->window);
    packet->flags = ((const __u8*)tcp)[13];
    packet->tcp_bytes = tcp_bytes;
    packet->payload = l4_bytes - tcp_bytes;
    return PACKET_tcp;
}

static __always_inline int packet_parse_v4(struct __sk_buff* skb, struct packet* packet) {
    const struct iphdr* ip = packet_data(skb) + packet->l3;
    if ((void*)(ip + 1) > packet_end(skb)) return PACKET_other;
    if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_ICMP) return PACKET_other;
    const __u32 header_bytes = ip->ihl * 4;
    if (ip->version != 4 || header_bytes < sizeof(*ip)) return PACKET_other;
    if (ip->frag_off & bpf_htons(0x1fff)) return PACKET_other; /* a later fragment: no ports */
    packet->is_v4 = 1;
    packet->is_fragment = (ip->frag_off & bpf_htons(0x2000)) != 0;
    packet->hops = ip->ttl;
    packet->l4 = packet->l3 + header_bytes;
    if (ip->protocol == IPPROTO_ICMP) return PACKET_icmp;
    packet->tuple.source[0] = packet->tuple.source[1] = 0;
    packet->tuple.source[2] = bpf_htonl(0xffff);
    packet->tuple.source[3] = ip->saddr;
    packet->tuple.destination[0] = packet->tuple.destination[1] = 0;
    packet->tuple.destination[2] = bpf_htonl(0xffff);
    packet->tuple.destination[3] = ip->daddr;
    /* A TSO packet above 64 KiB (BIG TCP) carries 0. */
    const __u32 l3_bytes = ip->tot_len ? bpf_ntohs(ip->tot_len) : skb->len - packet->l3;
    return packet_parse_tcp(skb, packet, l3_bytes);
}

static __always_inline int packet_parse_v6(struct __sk_buff* skb, struct packet* packet) {
    const struct ipv6hdr* ip = packet_data(skb) + packet->l3;
    if ((void*)(ip + 1) > packet_end(skb)) return PACKET_other;
    __u32 next_and_fragment[2] = {ip->nexthdr, 0};
    packet->is_v4 = 0;
    packet->hops = ip->hop_limit;
    packet->l4 = packet->l3 + sizeof(*ip);
    __builtin_memcpy(packet->tuple.source, &ip->saddr, 16);
    __builtin_memcpy(packet->tuple.destination, &ip->daddr, 16);
    const __u32 l3_bytes = ip->payload_len ? bpf_ntohs(ip->payload_len) + sizeof(*ip) : skb->len - packet->l3;
    if (unlikely(next_and_fragment[0] != IPPROTO_TCP && next_and_fragment[0] != IPPROTO_ICMPV6)) {
        const __u32 l4 = packet_skip_extensions(skb, packet->l4, next_and_fragment);
        if (l4 == 0 || l4 > PACKET_PULL_BYTES - sizeof(struct tcphdr)) return PACKET_other;
        packet->l4 = l4;
    }
    packet->is_fragment = next_and_fragment[1];
    if (next_and_fragment[0] == IPPROTO_ICMPV6) return PACKET_icmp;
    if (next_and_fragment[0] != IPPROTO_TCP) return PACKET_other;
    return packet_parse_tcp(skb, packet, l3_bytes);
}

/* `l3` is where the network header begins: 14 on Ethernet, 0 on interfaces without a link header. */
static __always_inline int packet_parse(struct __sk_buff* skb, __u32 l3, struct packet* packet) {
    packet->l3 = l3;
    const __u32 ip_bytes =
        skb->protocol == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    if (unlikely(packet_data(skb) + l3 + ip_bytes + sizeof(struct tcphdr) > packet_end(skb))) {
        const __u32 bytes = skb->len < PACKET_PULL_BYTES ? skb->len : PACKET_PULL_BYTES;
        if (bpf_skb_pull_data(skb, bytes) != 0) return PACKET_other;
    }
    if (skb->protocol == bpf_htons(ETH_P_IP)) return packet_parse_v4(skb, packet);
    if (skb->protocol == bpf_htons(ETH_P_IPV6)) return packet_parse_v6(skb, packet);
    return PACKET_other;
}

#endif
