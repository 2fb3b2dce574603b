/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SLUICE_PACKET_LIFE_H
#define SLUICE_PACKET_LIFE_H
/*
 * The life of a spliced flow: which of its packets say that it ends, and who takes its entries away.
 *
 *   live -> closing (both FINs acknowledged, or an RST that its receiver believes, or killed) -> gone
 *
 * "Closing" is written nowhere: it follows from the two routes' flags. An entry goes when no packet has
 * passed for the time that its state allows, so a flag set by a damaged packet does a flow no harm while it
 * is alive. A timer of the kernel's walks over the slots, whether an agent runs or not.
 */
#include "packet_bytes.h"
#include "packet_checksum.h"
#include "packet_guard.h"
#include "packet_maps.h"
#include "packet_parse.h"
#include "packet_watch.h"

#define PACKET_SECOND_NS 1000000000ULL
/* The whole table of a million in ten seconds, in steps that hold up a CPU for about a millisecond; a table
 * that one step sees through, four times a second. */
#define PACKET_COLLECT_SLOTS 4096
/* By so much active_ns may be behind: the kernel's tick, at 100 Hz. */
#define PACKET_COARSE_NS (10 * 1000 * 1000LL)
#define PACKET_COLLECT_NS (40 * 1000 * 1000ULL)
#define PACKET_COLLECT_ALL_NS (250 * 1000 * 1000ULL)

enum packet_life {
    PACKET_LIFE_passes,
    PACKET_LIFE_closes, /* and with it the flow ends; its entries stay for what is still under way */
    PACKET_LIFE_dropped,
    PACKET_LIFE_killed, /* dropped, and its sender told */
    PACKET_LIFE_over,   /* the flow's entries are gone: the packet has no route */
};

/* Tells the agent, if it reads. */
static __always_inline void packet_report_end(const struct packet_flow* flow, __u32 slot, enum flow_end end,
                                              const struct packet_route* up,
                                              const struct packet_route* down) {
    struct packet_flow_end* event = bpf_ringbuf_reserve(&packet_events, sizeof(*event), 0);
    if (!event) return;
    event->slot = slot;
    event->end = end;
    event->up_ack = (__u32)up->ack;
    event->down_ack = (__u32)down->ack;
    event->down = packet_tuple_reverse(&up->leaves);
    event->flow = *flow;
    event->bytes_up = packet_bytes_arrived(down, up);
    event->bytes_down = packet_bytes_arrived(up, down);
    event->packets_up = up->packets;
    event->packets_down = down->packets;
    event->active_ns = up->active_ns > down->active_ns ? up->active_ns : down->active_ns;
    /* The agent looks now and then: waking it for each of many short flows would cost more than they do. */
    const int wakes = end != FLOW_END_closed ||
                      bpf_ringbuf_query(&packet_events, BPF_RB_AVAIL_DATA) > PACKET_EVENTS_BYTES / 4;
    bpf_ringbuf_submit(event, wakes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline void packet_count_closed(void) {
    __u32 zero = 0;
    struct packet_control* const control = bpf_map_lookup_elem(&packet_control, &zero);
    if (control) __sync_fetch_and_add(&control->flows_closed, 1);
}

/* Removes a flow's entries and frees its slot; once, whoever else tries. */
static __noinline int packet_end_flow(__u32 slot, enum flow_end end) {
    struct packet_flow* const flow = packet_flow_at(slot);
    if (!flow) return 0;
    const int was_live =
        __sync_val_compare_and_swap(&flow->state, PACKET_SLOT_live, PACKET_SLOT_ending) == PACKET_SLOT_live;
    if (!was_live && __sync_val_compare_and_swap(&flow->state, PACKET_SLOT_closing, PACKET_SLOT_ending) !=
                         PACKET_SLOT_closing)
        return 0;
    if (was_live) packet_count_closed();
    struct packet_tuple up_key = flow->up;
    const struct packet_route* const up = bpf_map_lookup_elem(&packet_routes, &up_key);
    if (up) {
        struct packet_tuple down_key = packet_tuple_reverse(&up->leaves);
        const struct packet_route* const down = bpf_map_lookup_elem(&packet_routes, &down_key);
        if (down && was_live) packet_report_end(flow, slot, end, up, down);
        bpf_map_delete_elem(&packet_routes, &down_key);
        bpf_map_delete_elem(&packet_routes, &up_key);
    }
    __u32 zero = 0;
    struct packet_control* const control = bpf_map_lookup_elem(&packet_control, &zero);
    if (control) __sync_fetch_and_add(&control->flows_ended, 1);
    __sync_val_compare_and_swap(&flow->state, PACKET_SLOT_ending, PACKET_SLOT_free);
    return 1;
}

static __always_inline int packet_is_reset(const struct packet_route* up, const struct packet_route* down) {
    return (up->flags | down->flags) & (PACKET_ROUTE_RESET | PACKET_ROUTE_KILLED);
}

static __always_inline int packet_is_finished(const struct packet_route* up,
                                              const struct packet_route* down) {
    return up->flags & down->flags & PACKET_ROUTE_FIN_ACKED;
}

static __always_inline enum flow_end packet_end_word(const struct packet_route* up,
                                                     const struct packet_route* down) {
    if ((up->flags | down->flags) & PACKET_ROUTE_KILLED) return FLOW_END_killed;
    if (up->flags & PACKET_ROUTE_RESET) return FLOW_END_client_reset;
    if (down->flags & PACKET_ROUTE_RESET) return FLOW_END_server_reset;
    if (packet_is_finished(up, down)) return FLOW_END_closed;
    if ((up->flags | down->flags) & PACKET_ROUTE_FIN_ACKED) return FLOW_END_half_close_timeout;
    return FLOW_END_idle_timeout;
}

/* A flow that is not over at `now_ns` is looked at when it may be: its two routes are two cold lines of
 * memory each, and most flows of a busy table are closing. One that is alive may get an RST at any moment. */
static __always_inline void packet_look_later(struct packet_flow* flow, __u64 now_ns, __u64 silence_ns) {
    const __u64 alive_ns = PACKET_RESET_S * PACKET_SECOND_NS;
    if (flow->state == PACKET_SLOT_live && silence_ns > alive_ns) silence_ns = alive_ns;
    if (silence_ns > PACKET_TIME_WAIT_S * PACKET_SECOND_NS)
        silence_ns = PACKET_TIME_WAIT_S * PACKET_SECOND_NS;
    flow->look_at = (now_ns + silence_ns) >> PACKET_TICK_SHIFT;
}

/* Says how a flow has ended, when the packet that says so has been counted; once. */
static __noinline int packet_close_flow(const struct packet_route* route) {
    struct packet_flow* const flow = packet_flow_at(route->slot);
    const struct packet_route* const other = packet_other_route(route);
    if (!flow || !other) return 0;
    if (__sync_val_compare_and_swap(&flow->state, PACKET_SLOT_live, PACKET_SLOT_closing) != PACKET_SLOT_live)
        return 0;
    packet_count_closed();
    const struct packet_route* const up = route->is_down ? other : route;
    const struct packet_route* const down = route->is_down ? route : other;
    const __u32 silence_s = packet_is_reset(up, down) ? PACKET_RESET_S : PACKET_TIME_WAIT_S;
    packet_look_later(flow, bpf_ktime_get_ns(), silence_s * PACKET_SECOND_NS);
    packet_report_end(flow, route->slot, packet_end_word(up, down), up, down);
    return 1;
}

static __always_inline void packet_kill_flow(struct packet_route* route) {
    struct packet_route* const other = packet_other_route(route);
    __sync_fetch_and_or(&route->flags, PACKET_ROUTE_KILLED);
    if (other) __sync_fetch_and_or(&other->flags, PACKET_ROUTE_KILLED);
}

/* A SYN: on a closing tuple it starts anew, and the flow that was here is over. On a live one it goes no
 * further: a server that has forgotten the connection would begin another, which nobody has judged. (No
 * acknowledgement yet: a table that was filled before the handshake.) */
static __always_inline enum packet_life packet_life_syn(const struct packet_route* route,
                                                        const struct packet_route* other) {
    if (!packet_is_reset(route, other) && !packet_is_finished(route, other))
        return route->is_down || route->ack == 0 ? PACKET_LIFE_passes : PACKET_LIFE_dropped;
    const struct packet_route* const up = route->is_down ? other : route;
    const struct packet_route* const down = route->is_down ? route : other;
    const enum flow_end end = packet_end_word(up, down);
    packet_end_flow(route->slot, end);
    return PACKET_LIFE_over;
}

/* Whether the receiver of this RST believes it: its sequence number is what it expects next, or comes behind
 * data that is still under way to it (RFC 5961 3). A forged one does not shorten our entry's life. */
static __always_inline int packet_rst_counts(const struct packet* packet, const struct packet_route* route,
                                             const struct packet_route* other) {
    const __u32 expected = (__u32)other->ack - route->seq_delta; /* as the sender of the RST counts */
    const int late_enough = (__s32)(packet->seq - expected) >= 0;
    const int early_enough = (__s32)(packet->seq - route->seq_next) <= 0;
    return packet->seq == expected || (late_enough && early_enough);
}

/* Not a forged one whose sender knows the tuple and no more: within what may be under way. */
#define PACKET_FIN_GAP_MAX (1 << 20) /* bytes before it that are late, or lost */
static __always_inline int packet_fin_counts(const struct packet* packet, const struct packet_route* route,
                                             const struct packet_route* other) {
    const __u32 expected = (__u32)other->ack - route->seq_delta; /* as the sender of the FIN counts */
    const __u32 end = packet->seq + packet->payload;
    const int near = route->seq_next == 0 /* no payload yet */ ||
                     (__s32)(packet->seq - route->seq_next) <= PACKET_FIN_GAP_MAX;
    return (__s32)(end - expected) >= 0 && near;
}

static __always_inline void packet_life_fin(const struct packet* packet, struct packet_route* route,
                                            struct packet_route* other) {
    const __u32 end = packet->seq + packet->payload;
    if (packet->flags & PACKET_FIN) {
        if (!packet_fin_counts(packet, route, other)) return;
        other->fin_ack = end + 1 + route->seq_delta;
        __sync_fetch_and_or(&other->flags, PACKET_ROUTE_FIN_HEARD);
        __sync_fetch_and_or(&route->flags, PACKET_ROUTE_FIN);
    } else if (packet->payload && (route->flags & PACKET_ROUTE_FIN) &&
               (__s32)(end + route->seq_delta - other->fin_ack) >= 0) {
        /* Payload behind its own FIN: that was a damaged packet. */
        __sync_fetch_and_and(&route->flags, ~PACKET_ROUTE_FIN);
        __sync_fetch_and_and(&other->flags, ~(PACKET_ROUTE_FIN_HEARD | PACKET_ROUTE_FIN_ACKED));
    }
}

/* All that is out of the ordinary: SYN, FIN or RST on the packet, or any flag on its route. */
static __noinline enum packet_life packet_live(struct __sk_buff* skb, const struct packet* packet,
                                               struct packet_route* route) {
    const __u8 flags = packet->flags;
    struct packet_route* other = NULL;
    if ((flags & (PACKET_SYN | PACKET_FIN | PACKET_RST)) || (route->flags & PACKET_ROUTE_FIN)) {
        other = packet_other_route(route);
        if (!other) return PACKET_LIFE_over; /* being removed this moment */
    }
    if ((flags & PACKET_SYN) && other) {
        /* A SYN/ACK that comes again: what the client sends again answers it. */
        if (flags & (PACKET_ACK | PACKET_RST))
            return route->flags & PACKET_ROUTE_GUARDED ? PACKET_LIFE_dropped : PACKET_LIFE_passes;
        return packet_life_syn(route, other);
    }
    if (route->flags & PACKET_ROUTE_KILLED) return PACKET_LIFE_killed;
    if (flags & PACKET_RST) {
        if (!other || !packet_rst_counts(packet, route, other)) return PACKET_LIFE_passes;
        if (!packet_is_intact(skb, packet)) return PACKET_LIFE_passes;
        __sync_fetch_and_or(&route->flags, PACKET_ROUTE_RESET);
        /* Other RSTs may not be believed after all: whether they are, silence tells. */
        return packet->seq == (__u32)other->ack - route->seq_delta ? PACKET_LIFE_closes : PACKET_LIFE_passes;
    }
    if ((route->flags & PACKET_ROUTE_GUARDED) && !packet_guard(skb, packet, route))
        return PACKET_LIFE_dropped;
    if (packet->payload && (route->flags & (PACKET_ROUTE_WATCHED | PACKET_ROUTE_JUDGED)) &&
        !packet_watch(skb, packet, route))
        return PACKET_LIFE_dropped;
    /* Who still talks has not been reset. */
    if (route->flags & PACKET_ROUTE_RESET) __sync_fetch_and_and(&route->flags, ~PACKET_ROUTE_RESET);
    if (other) packet_life_fin(packet, route, other);
    const __u32 heard = route->flags & (PACKET_ROUTE_FIN_HEARD | PACKET_ROUTE_FIN_ACKED);
    /* Exactly: nothing comes behind a FIN, and who forges one cannot know what number it has on the other
     * leg. Also of one that a damaged packet has taken back since (packet_life_fin()). */
    const int waits = heard == PACKET_ROUTE_FIN_HEARD || (!heard && route->fin_ack && other);
    if (waits && (flags & PACKET_ACK) && packet->ack == route->fin_ack) {
        __sync_fetch_and_or(&route->flags, PACKET_ROUTE_FIN_HEARD | PACKET_ROUTE_FIN_ACKED);
        if (other) __sync_fetch_and_or(&other->flags, PACKET_ROUTE_FIN);
    }
    return other && packet_is_finished(route, other) ? PACKET_LIFE_closes : PACKET_LIFE_passes;
}

/* How long this flow may stay silent, in seconds; 0: for ever. */
static __always_inline __u32 packet_silence_max_s(const struct packet_control* control,
                                                  const struct packet_route* up,
                                                  const struct packet_route* down) {
    if (packet_is_reset(up, down)) return PACKET_RESET_S;
    if (packet_is_finished(up, down)) return PACKET_TIME_WAIT_S;
    if (((up->flags | down->flags) & PACKET_ROUTE_FIN_ACKED) && control->half_close_s)
        return control->half_close_s;
    return control->idle_s;
}

static __noinline int packet_collect_slot(__u32 slot, const struct packet_control* control, __u64 now_ns) {
    struct packet_flow* const flow = packet_flow_at(slot);
    if (!flow || (flow->state != PACKET_SLOT_live && flow->state != PACKET_SLOT_closing)) return 0;
    if ((__s8)((__u8)(now_ns >> PACKET_TICK_SHIFT) - flow->look_at) < 0) return 0;
    struct packet_tuple up_key = flow->up;
    struct packet_route* const up = bpf_map_lookup_elem(&packet_routes, &up_key);
    struct packet_route* const down = up ? packet_other_route(up) : NULL;
    if (!up || !down) return packet_end_flow(slot, FLOW_END_killed);
    if (!(up->flags & PACKET_ROUTE_SETTLED) && (__u8)((now_ns >> 36) - flow->entered) >= 2) {
        __sync_fetch_and_or(&up->flags, PACKET_ROUTE_SETTLED);
        __sync_fetch_and_or(&down->flags, PACKET_ROUTE_SETTLED);
    }
    const __u32 silence_max_s = packet_silence_max_s(control, up, down);
    const __u64 active_ns = up->active_ns > down->active_ns ? up->active_ns : down->active_ns;
    const __s64 silence_ns = (__s64)(now_ns - active_ns); /* another CPU may be ahead of us */
    const __s64 silence_max_ns = (__s64)(silence_max_s * PACKET_SECOND_NS) + PACKET_COARSE_NS;
    if (silence_max_s == 0 || silence_ns < silence_max_ns) {
        packet_look_later(flow, now_ns, silence_max_s == 0 ? ~0ULL : (__u64)(silence_max_ns - silence_ns));
        return 0;
    }
    const enum flow_end end = packet_end_word(up, down);
    return packet_end_flow(slot, end);
}

struct packet_collection {
    __u64 now_ns;
    __u32 slot;
    __u32 slots;
};

static long packet_collect_next(__u32 index, struct packet_collection* collection) {
    __u32 zero = 0;
    const struct packet_control* const control = bpf_map_lookup_elem(&packet_control, &zero);
    if (!control) return 1;
    if (collection->slot >= collection->slots) {
        collection->slot = 0;
        return 1;
    }
    packet_collect_slot(collection->slot, control, collection->now_ns);
    ++collection->slot;
    return 0;
}

static int packet_collect(void* map, __u32* key, struct packet_clock* clock) {
    __u32 zero = 0;
    __u64 pause_ns = PACKET_COLLECT_ALL_NS;
    const struct packet_control* const control = bpf_map_lookup_elem(&packet_control, &zero);
    if (control) {
        if (control->slots_used > PACKET_COLLECT_SLOTS) pause_ns = PACKET_COLLECT_NS;
        struct packet_collection collection = {
            .now_ns = bpf_ktime_get_ns(), .slot = clock->cursor, .slots = control->slots_used};
        bpf_loop(PACKET_COLLECT_SLOTS, packet_collect_next, &collection, 0);
        clock->cursor = collection.slot;
    }
    bpf_timer_start(&clock->timer, pause_ns, 0);
    return 0;
}

#endif
