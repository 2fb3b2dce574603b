/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_ERROR_H
#define SLUICE_PACKET_ERROR_H
/*
 * ICMP and ICMPv6 errors (RFC 792, RFC 4443): those about our packets, which quote a translated header and
 * are translated back, and those that a router in our place sends, without which path MTU discovery would die
 * silently.
 */
#include <linux/icmpv6.h>
#include <linux/pkt_cls.h>

#include "packet_maps.h"
#include "packet_parse.h"
#include "packet_translate.h"

/* <linux/icmp.h> needs the C library. RFC 792, RFC 1191. */
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_EXC_TTL 0
#define ICMP_PARAMETERPROB 12

#define PACKET_ERROR_HOPS 64
#define PACKET_ICMP_BYTES 8
#define PACKET_QUOTED_TCP_BYTES 20
/* Any IPv4 link takes as much (RFC 791), so smaller packets need not ask. */
#define PACKET_MTU_MIN 576

#define PACKET_HOPS_OVER 1

/* 0: the packet may leave by this interface. PACKET_HOPS_OVER, or the interface's MTU, which is too small. */
static __always_inline __u32 packet_misfit(struct __sk_buff* skb, const struct packet* packet,
                                           __u32 ifindex) {
    if (unlikely(packet->hops <= 1)) return PACKET_HOPS_OVER;
    const __u32 headers = packet->l4 - packet->l3 + packet->tcp_bytes;
    const __u32 bytes = headers + (skb->gso_size ? skb->gso_size : packet->payload);
    if (bytes <= PACKET_MTU_MIN) return 0;
    __u32 mtu = 1; /* not 0, or the helper would count link headers */
    if (bpf_check_mtu(skb, ifindex, &mtu, 0, 0) < 0 || bytes <= mtu) return 0;
    return mtu;
}

/* The answer of a router: network header, ICMP header, and the head of the packet that it is about. */
struct packet_answer_v4 {
    struct iphdr ip;
    __u32 icmp[2];
    struct iphdr quoted;
    __u16 tcp[PACKET_QUOTED_TCP_BYTES / 2];
};

struct packet_answer_v6 {
    struct ipv6hdr ip;
    __u32 icmp[2];
    struct ipv6hdr quoted;
    __u16 tcp[PACKET_QUOTED_TCP_BYTES / 2];
};

/* Keeps ports and sequence number of the quoted TCP header, and clears the rest. Where the packet came with
 * its checksum still to be computed, a device or the receiving kernel will yet write the complement of the
 * sum of these 20 bytes over tcp[8], and that must not spoil the ICMP checksum around it. So tcp[8] already
 * is what would be written: x = ~(sum + x) in one's complement, which is the complement of the others' sum,
 * halved. */
static __always_inline void packet_quote_tcp(__u16 tcp[PACKET_QUOTED_TCP_BYTES / 2]) {
    __u64 sum = 0;
    for (int i = 0; i < PACKET_QUOTED_TCP_BYTES / 2; ++i) {
        if (i >= 4) tcp[i] = 0;
        if (i == 6) tcp[i] = bpf_htons(0x5010);
        sum += tcp[i];
    }
    const __u16 complement = ~packet_fold16(sum);
    tcp[8] = complement >> 1 | (__u16)(complement << 15);
}

static __always_inline void packet_fill_v4(struct packet_answer_v4* answer, __u32 misfit) {
    const int over = misfit == PACKET_HOPS_OVER;
    const struct iphdr* const quoted = &answer->quoted;
    answer->ip.version = 4;
    answer->ip.ihl = 5;
    answer->ip.tot_len = bpf_htons(sizeof(*answer));
    answer->ip.ttl = PACKET_ERROR_HOPS;
    answer->ip.protocol = IPPROTO_ICMP;
    answer->ip.saddr = quoted->daddr;
    answer->ip.daddr = quoted->saddr;
    answer->ip.check = ~packet_fold16(bpf_csum_diff(NULL, 0, (__be32*)&answer->ip, sizeof(answer->ip), 0));
    answer->icmp[0] = bpf_htonl(
        (over ? ICMP_TIME_EXCEEDED << 8 | ICMP_EXC_TTL : ICMP_DEST_UNREACH << 8 | ICMP_FRAG_NEEDED) << 16);
    answer->icmp[1] = over ? 0 : bpf_htonl(misfit & 0xffff);
    const __s64 sum = bpf_csum_diff(NULL, 0, answer->icmp, sizeof(*answer) - sizeof(answer->ip), 0);
    answer->icmp[0] |= bpf_htonl(bpf_ntohs((__u16)~packet_fold16((__u32)sum)));
}

static __always_inline void packet_fill_v6(struct packet_answer_v6* answer, __u32 misfit) {
    const int over = misfit == PACKET_HOPS_OVER;
    const __u32 icmp_bytes = sizeof(*answer) - sizeof(answer->ip);
    answer->ip.version = 6;
    answer->ip.payload_len = bpf_htons(icmp_bytes);
    answer->ip.nexthdr = IPPROTO_ICMPV6;
    answer->ip.hop_limit = PACKET_ERROR_HOPS;
    answer->ip.saddr = answer->quoted.daddr;
    answer->ip.daddr = answer->quoted.saddr;
    answer->icmp[0] = bpf_htonl((over ? ICMPV6_TIME_EXCEED << 8 : ICMPV6_PKT_TOOBIG << 8) << 16);
    answer->icmp[1] = over ? 0 : bpf_htonl(misfit);
    __u64 sum = (__u64)bpf_htonl(icmp_bytes) + bpf_htonl(IPPROTO_ICMPV6);
    sum += (__u32)bpf_csum_diff(NULL, 0, answer->ip.saddr.in6_u.u6_addr32, 32, 0);
    sum += (__u32)bpf_csum_diff(NULL, 0, answer->icmp, sizeof(*answer) - sizeof(answer->ip), 0);
    answer->icmp[0] |= bpf_htonl(bpf_ntohs((__u16)~packet_fold16(sum)));
}

/* Cuts the packet down to the quote and puts `room` bytes in front of it. */
static __always_inline int packet_make_room(struct __sk_buff* skb, const struct packet* packet, __u32 room) {
    if (bpf_skb_change_tail(skb, packet->l4 + PACKET_QUOTED_TCP_BYTES, 0) != 0) return -1;
    return (int)bpf_skb_adjust_room(skb, (__s32)room, BPF_ADJ_ROOM_MAC, 0);
}

static __noinline int packet_answer_v4(struct __sk_buff* skb, const struct packet* packet, __u32 misfit) {
    struct packet_answer_v4 answer = {};
    if (packet->l4 - packet->l3 != sizeof(answer.quoted)) return -1; /* with IP options: no answer */
    if (bpf_skb_load_bytes(skb, packet->l3, &answer.quoted, sizeof(answer.quoted) + sizeof(answer.tcp)) != 0)
        return -1;
    packet_quote_tcp(answer.tcp);
    packet_fill_v4(&answer, misfit);
    if (packet_make_room(skb, packet, sizeof(answer.ip) + PACKET_ICMP_BYTES) != 0) return -1;
    return (int)bpf_skb_store_bytes(skb, packet->l3, &answer, sizeof(answer), 0);
}

static __noinline int packet_answer_v6(struct __sk_buff* skb, const struct packet* packet, __u32 misfit) {
    struct packet_answer_v6 answer = {};
    if (packet->l4 - packet->l3 != sizeof(answer.quoted)) return -1;
    if (bpf_skb_load_bytes(skb, packet->l3, &answer.quoted, sizeof(answer.quoted) + sizeof(answer.tcp)) != 0)
        return -1;
    packet_quote_tcp(answer.tcp);
    packet_fill_v6(&answer, misfit);
    if (packet_make_room(skb, packet, sizeof(answer.ip) + PACKET_ICMP_BYTES) != 0) return -1;
    return (int)bpf_skb_store_bytes(skb, packet->l3, &answer, sizeof(answer), 0);
}

/* Turns the packet into the error that its sender must hear. Its source is the end that the packet was meant
 * for, as this gateway is no hop that either end knows of. False: it is to be dropped. */
static __always_inline int packet_answer_error(struct __sk_buff* skb, const struct packet* packet,
                                               __u32 misfit) {
    return (packet->is_v4 ? packet_answer_v4(skb, packet, misfit) : packet_answer_v6(skb, packet, misfit)) ==
           0;
}

/* What an error quotes of TCP, and what we read of it. */
struct packet_quoted_ports {
    __u16 source;
    __u16 destination;
    __u32 seq;
};

/* The quoted packet as its sender knows it: it went the other way, so its numbers are the route's, backwards.
 */
static __always_inline void packet_unquote_ports(struct packet_quoted_ports* ports,
                                                 const struct packet_route* route) {
    ports->source = route->leaves.destination_port;
    ports->destination = route->leaves.source_port;
    ports->seq = bpf_htonl(bpf_ntohl(ports->seq) + route->ack_delta);
}

static __always_inline int packet_is_error_v4(__u8 type) {
    return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

/* ICMPv6 errors are the types below 128. */
static __always_inline int packet_is_error_v6(__u8 type) {
    return type < 128;
}

/* The rest of an error's translation: its checksum, its own addresses, one hop less. */
static __always_inline int packet_translate_outer(struct __sk_buff* skb, const struct packet* packet,
                                                  const struct packet_tuple* leaves, __s64 difference) {
    __u64 pseudo = 0;
    __u64 bare = 0;
    if (packet_translate_network(skb, packet, leaves, &pseudo, &bare) != 0) return -1;
    const __u32 check = packet->l4 + 2;
    if (bpf_l4_csum_replace(skb, check, 0, (__u32)difference, 0) != 0) return -1;
    if (packet->is_v4) return 0; /* ICMP has no pseudo header */
    if (bpf_l4_csum_replace(skb, check, 0, packet_fold(pseudo), BPF_F_PSEUDO_HDR) != 0) return -1;
    bpf_csum_update(skb, packet_fold(bare));
    return 0;
}

struct packet_quote_v4 {
    struct iphdr ip;
    struct packet_quoted_ports ports;
};

static __noinline __u32 packet_translate_error_v4(struct __sk_buff* skb, const struct packet* packet) {
    struct packet_quote_v4 before;
    struct iphdr outer;
    __u8 type = 0;
    const __u32 at = packet->l4 + PACKET_ICMP_BYTES;
    if (bpf_skb_load_bytes(skb, packet->l4, &type, 1) != 0 || !packet_is_error_v4(type)) return 0;
    if (bpf_skb_load_bytes(skb, packet->l3, &outer, sizeof(outer)) != 0) return 0;
    if (bpf_skb_load_bytes(skb, at, &before.ip, sizeof(before.ip)) != 0) return 0;
    const __u32 ports_at = at + before.ip.ihl * 4;
    if (before.ip.protocol != IPPROTO_TCP || before.ip.ihl < 5 || before.ip.saddr != outer.daddr) return 0;
    if (bpf_skb_load_bytes(skb, ports_at, &before.ports, sizeof(before.ports)) != 0) return 0;

    struct packet_tuple key = {.source_port = before.ports.destination,
                               .destination_port = before.ports.source};
    key.source[2] = key.destination[2] = bpf_htonl(0xffff);
    key.source[3] = before.ip.daddr;
    key.destination[3] = before.ip.saddr;
    const struct packet_route* const route = bpf_map_lookup_elem(&packet_routes, &key);
    if (!route || (route->flags & PACKET_ROUTE_KILLED)) return 0;

    struct packet_quote_v4 after = before;
    after.ip.saddr = route->leaves.destination[3];
    after.ip.daddr = route->leaves.source[3];
    after.ip.check =
        ~packet_fold16((__u64)(__u16)~before.ip.check + packet_difference(before.ip.saddr, after.ip.saddr) +
                       packet_difference(before.ip.daddr, after.ip.daddr));
    packet_unquote_ports(&after.ports, route);
    struct packet_tuple leaves = {};
    leaves.source[3] = outer.saddr == before.ip.daddr ? after.ip.daddr : outer.saddr;
    leaves.destination[3] = after.ip.saddr;
    const __s64 difference =
        bpf_csum_diff((__be32*)&before, sizeof(before), (__be32*)&after, sizeof(after), 0);
    const __u32 ifindex = route->ifindex;
    if (bpf_skb_store_bytes(skb, at, &after.ip, sizeof(after.ip), 0) != 0) return 0;
    if (bpf_skb_store_bytes(skb, ports_at, &after.ports, sizeof(after.ports), 0) != 0) return 0;
    return packet_translate_outer(skb, packet, &leaves, difference) == 0 ? ifindex : 0;
}

struct packet_quote_v6 {
    struct ipv6hdr ip;
    struct packet_quoted_ports ports;
};

static __noinline __u32 packet_translate_error_v6(struct __sk_buff* skb, const struct packet* packet) {
    struct packet_quote_v6 before;
    struct ipv6hdr outer;
    __u8 type = 0;
    const __u32 at = packet->l4 + PACKET_ICMP_BYTES;
    if (bpf_skb_load_bytes(skb, packet->l4, &type, 1) != 0 || !packet_is_error_v6(type)) return 0;
    if (bpf_skb_load_bytes(skb, packet->l3, &outer, sizeof(outer)) != 0) return 0;
    if (bpf_skb_load_bytes(skb, at, &before, sizeof(before)) != 0) return 0;
    if (before.ip.nexthdr != IPPROTO_TCP) return 0;

    struct packet_tuple key = {.source_port = before.ports.destination,
                               .destination_port = before.ports.source};
    __builtin_memcpy(key.source, &before.ip.daddr, 16);
    __builtin_memcpy(key.destination, &before.ip.saddr, 16);
    if (__builtin_memcmp(&before.ip.saddr, &outer.daddr, 16) != 0) return 0;
    const struct packet_route* const route = bpf_map_lookup_elem(&packet_routes, &key);
    if (!route || (route->flags & PACKET_ROUTE_KILLED)) return 0;

    struct packet_quote_v6 after = before;
    struct packet_tuple leaves = {};
    __builtin_memcpy(&after.ip.saddr, route->leaves.destination, 16);
    __builtin_memcpy(&after.ip.daddr, route->leaves.source, 16);
    packet_unquote_ports(&after.ports, route);
    const int from_the_end = __builtin_memcmp(&outer.saddr, &before.ip.daddr, 16) == 0;
    __builtin_memcpy(leaves.source, from_the_end ? &after.ip.daddr : &outer.saddr, 16);
    __builtin_memcpy(leaves.destination, &after.ip.saddr, 16);
    const __s64 difference =
        bpf_csum_diff((__be32*)&before, sizeof(before), (__be32*)&after, sizeof(after), 0);
    const __u32 ifindex = route->ifindex;
    if (bpf_skb_store_bytes(skb, at, &after, sizeof(after), 0) != 0) return 0;
    return packet_translate_outer(skb, packet, &leaves, difference) == 0 ? ifindex : 0;
}

/* An error about a packet that we forwarded: translated back, for the one who sent it. The interface to leave
 * by; 0: not about any of ours. */
static __always_inline __u32 packet_translate_error(struct __sk_buff* skb, const struct packet* packet) {
    if (packet->hops <= 1) return 0;
    return packet->is_v4 ? packet_translate_error_v4(skb, packet) : packet_translate_error_v6(skb, packet);
}

#endif
