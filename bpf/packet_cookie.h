/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_COOKIE_H
#define SLUICE_PACKET_COOKIE_H
/*
 * SYN cookies: while the listener is flooded with SYNs, a new connection is known by nothing but the number
 * that its client acknowledges. No socket exists yet that nftables could find, and from a client's low port
 * the segment looks like the answer of a server, which is to be forwarded. So it is marked here, for the rule
 * that takes it to the listener.
 */
#include "hold_abi.h"
#include "packet_parse.h"

#define COOKIE_PORT_MAX 32767 /* others are told by their ports (userspace/datapath/capture.cpp) */

static __noinline int packet_has_cookie(struct __sk_buff* skb, const struct packet* packet) {
    struct tcphdr tcp;
    if (bpf_skb_load_bytes(skb, packet->l4, &tcp, sizeof(tcp)) != 0) return 0;
    if (packet->is_v4) {
        struct iphdr ip;
        if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) != 0) return 0;
        return bpf_tcp_raw_check_syncookie_ipv4(&ip, &tcp) == 0;
    }
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) != 0) return 0;
    return bpf_tcp_raw_check_syncookie_ipv6(&ip, &tcp) == 0;
}

/* A segment of no connection that is known. */
static __always_inline void packet_mark_cookie(struct __sk_buff* skb, const struct packet* packet) {
    if ((packet->flags & (PACKET_SYN | PACKET_ACK | PACKET_RST)) != PACKET_ACK) return;
    if (bpf_ntohs(packet->tuple.source_port) > COOKIE_PORT_MAX ||
        bpf_ntohs(packet->tuple.destination_port) > COOKIE_PORT_MAX)
        return;
    if (packet_has_cookie(skb, packet)) skb->mark = HOLD_COOKIE_MARK;
}

#endif
