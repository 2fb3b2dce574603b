/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef SLUICE_PACKET_HANDOVER_H
#define SLUICE_PACKET_HANDOVER_H
/*
 * What two legs become when they are made one flow. Pure, and used by both sides: by user space for two
 * sockets, by the kernel programs for a dial.
 */
#include "hold_abi.h"

/* What to add to a timestamp of clock `from` to get one of clock `to`. Each clock is known by one reading and
 * when it was taken, in nanoseconds; both tick once a millisecond. */
static inline __attribute__((always_inline)) __u32 handover_clock_delta(__u32 from, __u64 from_ns, __u32 to,
                                                                        __u64 to_ns) {
    const __u64 ns_per_ms = 1000000;
    /* Not a signed division, which kernel programs lack; no cast, which the two languages write differently.
     */
    const __u64 apart_ns = to_ns >= from_ns ? to_ns - from_ns : from_ns - to_ns;
    const __u32 apart = apart_ns / ns_per_ms & 0xffffffff;
    const __u32 between = to_ns >= from_ns ? apart : -apart;
    return to - from - between;
}

/* Bytes of a leg's, each way, that can have passed before the handover: what is looked at, and a window. */
#define PACKET_BEGUN_MAX (1 << 28)

/* What translates the packets of `from`'s peer into those for `to`'s, and where the counting starts. */
static inline __attribute__((always_inline)) void handover_route(struct packet_route* route,
                                                                 const struct held_leg* from,
                                                                 const struct held_leg* to) {
    route->seq_delta = to->local_isn - from->peer_isn;
    route->ack_delta = to->peer_isn - from->local_isn;
    route->tsval_delta =
        handover_clock_delta(from->peer_tsval, from->peer_tsval_ns, to->local_tsval, to->local_tsval_ns);
    route->tsecr_delta =
        handover_clock_delta(from->local_tsval, from->local_tsval_ns, to->peer_tsval, to->peer_tsval_ns);
    route->tsval_floor = to->local_tsval;
    route->tsecr_floor = to->peer_tsval;
    route->ifindex = to->ifindex;
    route->scale_from = from->peer_scale;
    route->scale_to = to->local_scale;
    /* Neither is more than a peer has said: nothing has been counted yet that could tell. */
    const __u32 acked = from->peer_ack - from->local_isn - 1;
    const __u32 sent = from->peer_next - from->peer_isn - 1;
    route->ack_start = from->local_isn + 1;
    route->ack = route->ack_start;
    if (acked <= PACKET_BEGUN_MAX) route->ack += acked;
    route->seq_next = from->peer_isn + 1;
    if (sent <= PACKET_BEGUN_MAX) route->seq_next += sent;
}

#endif
