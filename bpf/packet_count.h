/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_COUNT_H
#define SLUICE_PACKET_COUNT_H
/*
 * What is counted of each packet: how far its sender has sent, and how far it has heard the other. Numbers
 * of 32 bits lose count if one of these is taken for what a peer merely says it is; whether it can be is a
 * question to the other direction's route, a second look-up. It is asked when a number takes a step that few
 * packets make: over a gap, or into another PACKET_COUNT_STRETCH. So neither end can bring the two apart by
 * more than a window and a stretch, and packet_bytes_arrived() can tell which is ahead.
 */
#include "packet_maps.h"
#include "packet_parse.h"

#define PACKET_COUNT_STRETCH 28 /* a shift: 256 MiB */

/* No window is larger (RFC 7323 2.3). */
#define PACKET_WINDOW_MAX (1U << 30)

/* Whether a sender may have sent so far, over a gap or into another stretch. (No acknowledgement yet: a table
 * that was filled before the handshake.) */
static __noinline int packet_may_be_sent(const struct packet_route* route, __u32 end) {
    const struct packet_route* const other = packet_other_route(route);
    if (!other) return 0;
    const __u32 acked = (__u32)other->ack - route->seq_delta;
    return other->ack == 0 || end - acked <= PACKET_WINDOW_MAX;
}

/* Whether an acknowledgement may lie in another stretch than the last: of what was sent, and a FIN. */
static __noinline int packet_may_be_acked(const struct packet_route* route, __u32 ack) {
    const struct packet_route* const other = packet_other_route(route);
    if (!other) return 0;
    const __u32 sent = other->seq_next + other->seq_delta;
    return other->seq_next == 0 || sent + 1 - ack <= PACKET_WINDOW_MAX;
}

/* What is sent again counts no more, and the last word of two CPUs is the higher one. */
static __always_inline void packet_count_sent(const struct packet* packet, struct packet_route* route) {
    __u32 last = route->seq_next;
    /* How long the rest of a fragmented segment is, nobody knows. */
    const __u32 end = packet->seq + (unlikely(packet->is_fragment) ? 0xffff : packet->payload);
    if (likely(last != 0) && (__s32)(end - last) <= 0) return;
    const int is_next = (__s32)(packet->seq - last) <= 0 && !((end ^ last) >> PACKET_COUNT_STRETCH);
    if (unlikely(!is_next) && !packet_may_be_sent(route, end)) return;
    for (int tries = 0; tries < 4; ++tries) {
        const __u32 found = __sync_val_compare_and_swap(&route->seq_next, last, end);
        if (likely(found == last) || (__s32)(end - found) <= 0) return;
        last = found;
    }
}

/* One aligned store: two CPUs leave one of two right values. */
static __always_inline void packet_count_acked(const struct packet* packet, struct packet_route* route) {
    const __u64 last = route->ack;
    const __u64 ack = last + (__s64)(__s32)(packet->ack - (__u32)last);
    if (unlikely((route->flags & PACKET_ROUTE_FIN_ACKED) && packet->ack != route->fin_ack)) return;
    if (unlikely((ack ^ last) >> PACKET_COUNT_STRETCH) && last != 0 &&
        !packet_may_be_acked(route, packet->ack))
        return;
    route->ack = ack;
}

static __always_inline void packet_count(const struct packet* packet, struct packet_route* route) {
    __sync_fetch_and_add(&route->packets, 1);
    route->active_ns = bpf_ktime_get_coarse_ns();
    /* An RST need not carry an acknowledgement that means anything. */
    if (likely((packet->flags & (PACKET_ACK | PACKET_RST)) == PACKET_ACK)) packet_count_acked(packet, route);
    if (packet->payload) packet_count_sent(packet, route);
}

#endif
