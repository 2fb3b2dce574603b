// SPDX-License-Identifier: GPL-2.0
// The packet splice: forwards the packets of a flow from one leg to the other, translated, with no socket
// between.
//
// At ingress of every interface a packet is looked up by its tuple. With a route it is translated and leaves
// at once by the interface of the other leg; the host's own stack, its netfilter hooks and connection
// tracking never see it. Without one it belongs to a flow that is not spliced (packet_hold.h), or to none of
// ours.
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "packet_bounce.h"
#include "packet_count.h"
#include "packet_dial.h"
#include "packet_error.h"
#include "packet_hold.h"
#include "packet_life.h"
#include "packet_translate.h"

#define PACKET_ETHERNET_BYTES 14

/* Flags of a route that leave its packets ordinary. */
#define PACKET_ROUTE_ORDINARY (PACKET_ROUTE_READDRESSED | PACKET_ROUTE_SETTLED)

/* Sends a translated packet on its way. */
static __always_inline int packet_leave(struct __sk_buff* skb, __u32 l3, __u32 ifindex) {
    /* bpf_redirect_neigh() takes a link header off, whatever the interface, so one must be there. */
    if (l3 == 0 && bpf_skb_change_head(skb, PACKET_ETHERNET_BYTES, 0) != 0) return TC_ACT_SHOT;
    return (int)bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

/* Where the routing table sends packets of this route: by the interface that they have left by so far, or,
 * when it has no way there any more, by the one that it would forward them by. Notes the interface and, for
 * IPv4, the neighbour. Negative: the table knows no way. */
static __noinline int packet_ask_way(struct __sk_buff* skb, struct packet_route* route, __u32 is_v4,
                                     __u32 tick) {
    struct bpf_fib_lookup fib = {.family = is_v4 ? 2 /* AF_INET */ : 10 /* AF_INET6 */,
                                 .l4_protocol = IPPROTO_TCP};
    if (is_v4) {
        fib.ipv4_src = route->leaves.source[3];
        fib.ipv4_dst = route->leaves.destination[3];
    } else {
        __builtin_memcpy(fib.ipv6_src, route->leaves.source, 16);
        __builtin_memcpy(fib.ipv6_dst, route->leaves.destination, 16);
    }
    const struct bpf_fib_lookup question = fib;
    fib.ifindex = route->ifindex;
    long found = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT);
    if (found == BPF_FIB_LKUP_RET_NOT_FWDED || found == BPF_FIB_LKUP_RET_UNREACHABLE) {
        fib = question;
        fib.ifindex = skb->ifindex;
        found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
    }
    const int is_known = found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH;
    if (!is_known || fib.family != question.family) return -1;
    route->ifindex = fib.ifindex;
    *(volatile __u64*)&route->next_hop = (is_v4 ? (__u64)fib.ipv4_dst << 32 : 0) | tick;
    return 0;
}

/* As packet_leave(), for a packet of a route that has been translated. Which neighbour the routing table
 * means is asked once a PACKET_TICK and not of each packet, which is half of what it costs to send one on.
 * IPv6 has the interface from there, and the kernel looks up the neighbour of each packet, as it does when it
 * forwards: 16 bytes more in both routes are more than the 512 of a flow, and a table of neighbours beside
 * them, with owners and an age, is another look-up in place of that one. */
static __always_inline int packet_leave_by(struct __sk_buff* skb, __u32 l3, const struct packet* packet,
                                           struct packet_route* route) {
    const __u32 tick = (__u32)(bpf_ktime_get_coarse_ns() >> PACKET_TICK_SHIFT);
    const __u32 is_v4 = packet->is_v4;
    if (unlikely((__u32) * (volatile __u64*)&route->next_hop != tick) &&
        packet_ask_way(skb, route, is_v4, tick) != 0)
        return packet_leave(skb, l3, route->ifindex);
    if (!is_v4) return packet_leave(skb, l3, route->ifindex);
    if (l3 == 0 && bpf_skb_change_head(skb, PACKET_ETHERNET_BYTES, 0) != 0) return TC_ACT_SHOT;
    const __u64 next_hop = *(volatile __u64*)&route->next_hop;
    struct bpf_redir_neigh neighbour = {.nh_family = 2, .ipv4_nh = (__u32)(next_hop >> 32)};
    return (int)bpf_redirect_neigh(route->ifindex, &neighbour, sizeof(neighbour), 0);
}

static __always_inline int packet_forward(struct __sk_buff* skb, __u32 l3, struct packet* packet,
                                          struct packet_route* route) {
    int closes = 0;
    if (unlikely((packet->flags & (PACKET_SYN | PACKET_FIN | PACKET_RST)) ||
                 (route->flags & ~PACKET_ROUTE_ORDINARY))) {
        switch (packet_live(skb, packet, route)) {
            case PACKET_LIFE_passes:
                break;
            case PACKET_LIFE_closes:
                closes = 1;
                break;
            case PACKET_LIFE_over:
                return packet_hold_ingress(skb, packet);
            case PACKET_LIFE_dropped:
                return TC_ACT_SHOT;
            default:
                if (!packet_bounces(packet) || packet_bounce(skb, packet) != 0) return TC_ACT_SHOT;
                return packet_leave(skb, l3, skb->ifindex);
        }
    }
    packet_count(packet, route);
    if (unlikely(closes)) {
        packet_close_flow(route);
        /* Whoever still talks after an RST is told: a flow that has been said to be over is over. */
        if (packet->flags & PACKET_RST) packet_kill_flow(route);
    }
    /* Only the first fragment has a TCP header. The others find their way by the same addresses or not at
     * all. */
    if (unlikely(packet->is_fragment && (route->flags & PACKET_ROUTE_READDRESSED))) return TC_ACT_SHOT;
    const __u32 ifindex = route->ifindex;
    const __u32 misfit = packet_misfit(skb, packet, ifindex);
    if (unlikely(misfit)) {
        const __u32 back = skb->ifindex;
        return packet_answer_error(skb, packet, misfit) ? packet_leave(skb, l3, back) : TC_ACT_SHOT;
    }
    if (unlikely(packet_translate(skb, packet, route) != 0)) return TC_ACT_SHOT;
    return packet_leave_by(skb, l3, packet, route);
}

static __always_inline int packet_ingress(struct __sk_buff* skb, __u32 l3) {
    struct packet packet = {};
    /* Tagged frames come by again on their VLAN's interface, bridged ones on the bridge's. */
    if (skb->vlan_present || skb->pkt_type != PACKET_HOST) return PACKET_PASSES;
    switch (packet_parse(skb, l3, &packet)) {
        case PACKET_tcp:
            break;
        case PACKET_icmp: {
            const __u32 ifindex = packet_translate_error(skb, &packet);
            return ifindex ? packet_leave(skb, l3, ifindex) : PACKET_PASSES;
        }
        default:
            return PACKET_PASSES;
    }
    struct packet_route* const route = bpf_map_lookup_elem(&packet_routes, &packet.tuple);
    if (!route) return packet_hold_ingress(skb, &packet);
    return packet_forward(skb, l3, &packet, route);
}

static __always_inline int packet_egress(struct __sk_buff* skb, __u32 l3) {
    struct packet packet = {};
    /* What came in by an interface is forwarded, by us or by the stack; the hold is about this host's
     * sockets. */
    if (skb->ingress_ifindex != 0) return PACKET_PASSES;
    if (packet_parse(skb, l3, &packet) != PACKET_tcp) return PACKET_PASSES;
    return packet_hold_egress(skb, &packet);
}

SEC("tc")
int packet_ethernet_in(struct __sk_buff* skb) {
    return packet_ingress(skb, PACKET_ETHERNET_BYTES);
}

SEC("tc")
int packet_ethernet_out(struct __sk_buff* skb) {
    return packet_egress(skb, PACKET_ETHERNET_BYTES);
}

/* For interfaces without a link header: tun, WireGuard, ipip, ... */
SEC("tc")
int packet_bare_in(struct __sk_buff* skb) {
    return packet_ingress(skb, 0);
}

SEC("tc")
int packet_bare_out(struct __sk_buff* skb) {
    return packet_egress(skb, 0);
}

/* Run by the agent when it starts: from now on the collector is this object's. */
SEC("tc")
int packet_start_clock(struct __sk_buff* skb) {
    __u32 zero = 0;
    struct packet_clock* const clock = bpf_map_lookup_elem(&packet_clock, &zero);
    if (!clock) return 1;
    bpf_timer_init(&clock->timer, &packet_clock,
                   1 /* CLOCK_MONOTONIC */); /* fails when an agent did before us */
    if (bpf_timer_set_callback(&clock->timer, packet_collect) != 0) return 1;
    return bpf_timer_start(&clock->timer, PACKET_COLLECT_NS, 0) != 0;
}

/* Run with a packet of a flow's slot number: nothing of the flow passes any more. 0: it was live. */
struct packet_slot_request {
    __u32 slot;
};

SEC("syscall")
int packet_kill(struct packet_slot_request* request) {
    struct packet_flow* const flow = packet_flow_at(request->slot);
    if (!flow || flow->state != PACKET_SLOT_live) return 1;
    struct packet_tuple key = flow->up;
    struct packet_route* const up = bpf_map_lookup_elem(&packet_routes, &key);
    struct packet_route* const down = up ? packet_other_route(up) : NULL;
    if (!up || !down) return 1;
    __sync_fetch_and_or(&up->flags, PACKET_ROUTE_KILLED);
    __sync_fetch_and_or(&down->flags, PACKET_ROUTE_KILLED);
    packet_close_flow(up);
    return 0;
}

/* The agent has judged the second hello, and guards it: from here on the client's payload passes. 0: it
 * waited for that. */
SEC("syscall")
int packet_pass(struct packet_slot_request* request) {
    struct packet_flow* const flow = packet_flow_at(request->slot);
    if (!flow || flow->state != PACKET_SLOT_live) return 1;
    struct packet_tuple key = flow->up;
    struct packet_route* const up = bpf_map_lookup_elem(&packet_routes, &key);
    struct packet_route* const down = up ? packet_other_route(up) : NULL;
    if (!up || !down || !(up->flags & PACKET_ROUTE_JUDGED)) return 1;
    /* In this order: nothing unguarded gets past. */
    __sync_fetch_and_or(&down->flags, PACKET_ROUTE_GUARDED);
    __sync_fetch_and_or(&up->flags, PACKET_ROUTE_GUARDED);
    __sync_fetch_and_and(&up->flags, ~PACKET_ROUTE_JUDGED);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
