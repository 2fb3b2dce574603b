/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef SLUICE_PACKET_BYTES_H
#define SLUICE_PACKET_BYTES_H
/*
 * How much payload has arrived, by a flow's two routes. Pure, and used by both sides.
 */
#include "packet_abi.h"

/* The payload of `other`'s sender that `route`'s has acknowledged: no more than was sent, whatever it says.
 */
static inline __attribute__((always_inline)) __u64 packet_bytes_arrived(const struct packet_route* route,
                                                                        const struct packet_route* other) {
    const __u64 ack = route->ack;
    __u64 arrived = ack - route->ack_start;
    if (arrived >> 63) return 0; /* ... nor less than nothing */
    if (arrived && (route->flags & PACKET_ROUTE_FIN_ACKED)) --arrived;
    if (other->seq_next == 0) return arrived; /* a table that was filled before the handshake */
    const __u32 sent = other->seq_next + other->seq_delta - route->ack_start; /* cut */
    const __u32 unsent = (arrived & 0xffffffff) - sent;
    if (unsent == 0 || unsent >> 31) return arrived;
    return arrived > unsent ? arrived - unsent : 0;
}

#endif
