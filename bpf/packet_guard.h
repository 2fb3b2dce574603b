/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_GUARD_H
#define SLUICE_PACKET_GUARD_H
/*
 * The guard: what the policy judged is what the server gets. Until the server has acknowledged the client's
 * first bytes, whatever the client sends in their place is overwritten with them; nothing of the client's may
 * make them end early (FIN), or be read without one of them (URG). Afterwards the server itself passes over
 * what it has.
 *
 * A client does not know the numbers of the server's leg, so it cannot say in the server's name that it has
 * acknowledged.
 */
#include "packet_maps.h"
#include "packet_parse.h"
#include "packet_translate.h"

#define PACKET_GUARD_STEPS_MAX (PACKET_GUARD_BYTES_MAX / PACKET_GUARD_STEP)
/* An acknowledgement within so much of what is expected counts: of more than the first bytes, by a server
 * that has spoken. Each is a guess in 65,536 for somebody who does not know these numbers. */
#define PACKET_GUARD_NEAR 0xffff

struct packet_overwriting {
    struct __sk_buff* skb;
    const struct packet_guard* guard;
    __u64 difference; /* of the TCP checksum, as if the bytes began at an even place */
    __u32 offset;     /* in the packet */
    __u32 at;         /* in the guard */
    __u32 left;
    __u32 failed;
};

static long packet_overwrite_next(__u32 index, struct packet_overwriting* o) {
    __u32 before[PACKET_GUARD_STEP / 4] = {};
    __u32 after[PACKET_GUARD_STEP / 4] = {};
    if (o->left == 0) return 1;
    /* The index of the last byte, as Linux 6.1 learns nothing from a comparison with 0. */
    __u64 last = o->left - 1;
    if (last >= PACKET_GUARD_STEP) last = PACKET_GUARD_STEP - 1;
    asm volatile("%0 &= 0x1f" : "+r"(last));
    const __u64 bytes = last + 1;
    __u64 at = o->at;
    asm volatile("%0 &= 0x7ff" : "+r"(at));
    o->failed = 1;
    if (bpf_skb_load_bytes(o->skb, o->offset, before, bytes) != 0) return 1;
    if (bpf_skb_store_bytes(o->skb, o->offset, o->guard->data + at, bytes, 0) != 0) return 1;
    if (bpf_skb_load_bytes(o->skb, o->offset, after, bytes) != 0) return 1;
    o->failed = 0;
    o->difference += (__u32)bpf_csum_diff(before, sizeof(before), after, sizeof(after), 0);
    o->offset += bytes;
    o->at += bytes;
    o->left -= bytes;
    return 0;
}

/* Negative: the packet is not to be forwarded. `from`: where the payload begins, counted from the first
 * guarded byte. */
static __noinline int packet_overwrite(struct __sk_buff* skb, const struct packet* packet,
                                       const struct packet_guard* guard, __s64 from) {
    const __u64 flow = guard->flow;
    const __s64 to = from + packet->payload < guard->bytes ? from + packet->payload : guard->bytes;
    struct packet_overwriting o = {.skb = skb, .guard = guard};
    o.at = from > 0 ? (__u32)from : 0;
    o.offset = packet->l4 + packet->tcp_bytes + (from < 0 ? (__u32)-from : 0);
    o.left = (__u32)(to - o.at);
    const __u32 begins = o.offset - packet->l4;
    bpf_loop(PACKET_GUARD_STEPS_MAX, packet_overwrite_next, &o, 0);
    /* Meanwhile the server may have acknowledged, and the guard be another flow's. */
    if (o.failed || o.left != 0 || *(volatile const __u64*)&guard->flow != flow) return -1;
    __u16 difference = packet_fold16(o.difference);
    if (begins & 1) difference = __builtin_bswap16(difference);
    return (int)bpf_l4_csum_replace(skb, packet->l4 + __builtin_offsetof(struct tcphdr, check), 0, difference,
                                    0);
}

/* A packet of the client's. 0: it is not to be forwarded. */
static __noinline int packet_guard_up(struct __sk_buff* skb, const struct packet* packet,
                                      const struct packet_route* route) {
    if (packet->payload == 0 && !(packet->flags & (PACKET_FIN | PACKET_URG))) return 1;
    const struct packet_guard* const guard = packet_guard_of(route->slot);
    const struct packet_flow* const flow = packet_flow_at(route->slot);
    if (!guard || !flow || guard->flow != flow->id) return 0;
    if (guard->state == PACKET_GUARD_over) return 1;
    if (guard->state != PACKET_GUARD_on || packet->is_fragment || (packet->flags & PACKET_URG)) return 0;
    const __s64 from = (__s32)(packet->seq - guard->client_seq);
    const __s64 to = from + packet->payload;
    if ((packet->flags & PACKET_FIN) && to < guard->bytes) return 0;
    if (packet->payload == 0 || from >= guard->bytes || to <= 0) return 1;
    return packet_overwrite(skb, packet, guard, from) == 0;
}

/* A packet of the server's: it may be what ends the guard. */
static __noinline int packet_guard_down(const struct packet* packet, struct packet_route* route) {
    struct packet_guard* const guard = packet_guard_of(route->slot);
    struct packet_route* const other = packet_other_route(route);
    if (!guard || !other || !(packet->flags & PACKET_ACK)) return 0;
    if (packet->ack - guard->server_ack > PACKET_GUARD_NEAR) return 0;
    if (packet->seq - guard->server_seq > PACKET_GUARD_NEAR) return 0;
    if (__sync_val_compare_and_swap(&guard->state, PACKET_GUARD_on, PACKET_GUARD_over) != PACKET_GUARD_on)
        return 0;
    __sync_fetch_and_and(&other->flags, ~PACKET_ROUTE_GUARDED);
    __sync_fetch_and_and(&route->flags, ~PACKET_ROUTE_GUARDED);
    return 0;
}

/* On a route that is GUARDED. 0: the packet is not to be forwarded. */
static __always_inline int packet_guard(struct __sk_buff* skb, const struct packet* packet,
                                        struct packet_route* route) {
    if (!route->is_down) return packet_guard_up(skb, packet, route);
    packet_guard_down(packet, route);
    return 1;
}

#endif
