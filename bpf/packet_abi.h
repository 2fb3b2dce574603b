/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef SLUICE_PACKET_ABI_H
#define SLUICE_PACKET_ABI_H
/*
 * What the packet splice's kernel programs and user space share: the pinned maps `packet_*`. They outlive the
 * agent, and the flows in them are served while there is none.
 *
 * A spliced flow is two routes, one per direction, and a slot. A packet needs its route and nothing else: one
 * look-up by the tuple that it arrives with. Everything that both directions share, and what an operator
 * wants to read, is in the slot. Kernel memory of a flow: two elements of a preallocated hash table (48 bytes
 * of the kernel's, 40 of key, the route), two buckets of 16, and the slot: 512 bytes.
 *
 * Whoever finds another PACKET_ABI_VERSION in `packet_control` touches nothing. Any change of a size, an
 * offset or a meaning below raises it.
 */
#include <linux/types.h>

#define PACKET_ABI_VERSION 5

/* A TCP four-tuple as a packet carries it. IPv4 addresses are written as IPv6 does (::ffff:a.b.c.d), so a
 * tuple tells its family. All in network order. Also the key of `packet_routes`: as the packet arrives at
 * ingress. */
struct packet_tuple {
    __u32 source[4];
    __u32 destination[4];
    __u16 source_port;
    __u16 destination_port;
};

/* What is known about one direction beyond its numbers: bits of packet_route.flags, changed atomically. */
#define PACKET_ROUTE_FIN 0x01       /* the sender of this direction has sent FIN */
#define PACKET_ROUTE_FIN_HEARD 0x02 /* `fin_ack` is valid: the other direction has seen a FIN */
#define PACKET_ROUTE_FIN_ACKED 0x04 /* ... and the sender of this direction has acknowledged it */
#define PACKET_ROUTE_RESET 0x08     /* the sender of this direction has sent an RST that its peer believes */
#define PACKET_ROUTE_KILLED 0x10    /* nothing passes any more */
#define PACKET_ROUTE_WATCHED 0x20   /* down: the server's first record has not been seen yet */
#define PACKET_ROUTE_JUDGED \
    0x40 /* up: no payload behind the first hello passes before the agent says so (packet_watch.h) */
#define PACKET_ROUTE_READDRESSED \
    0x80 /* `leaves` differs from the tuple on arrival; set by PacketSplice::insert */
#define PACKET_ROUTE_SETTLED 0x100 /* the handover is minutes ago: its floors no longer apply */
#define PACKET_ROUTE_GUARDED \
    0x200 /* both: the server has not acknowledged yet what was judged (struct packet_guard) */

/* A second or so of CLOCK_MONOTONIC, in nanoseconds; a shift where a division would cost. */
#define PACKET_TICK_SHIFT 30

/* One direction: map `packet_routes`, found by the tuple of its packets at ingress. All numbers are in host
 * order; those without "delta" are as the packets carry them on arrival. `other direction`: of the same flow;
 * its key is `leaves` with source and destination exchanged. */
struct packet_route {
    __u32 seq_delta;   /* added to seq */
    __u32 ack_delta;   /* added to ack and to SACK edges */
    __u32 tsval_delta; /* added to TSval, in the sender's ticks */
    __u32 tsecr_delta; /* added to TSecr, unless that is 0 */
    __u32 tsval_floor; /* what the leg has sent already, until SETTLED: no translated TSval is before it */
    __u32 ifindex;     /* of the interface to leave by */
    __u8 scale_from;   /* window scale that the sender of this direction announced on its leg */
    __u8 scale_to;     /* ... and what we announced on the leg that its packets leave on */
    __u8 is_down : 1;  /* 1: server to client */
    __u8 skipped : 7;  /* WATCHED: bytes of records that say nothing, before the server's first that does */
    __u8 watched;      /* WATCHED: what is known of that one (packet_watch.h) */
    __u32 flags;       /* PACKET_ROUTE_... */
    __u32 slot;        /* of the flow, in `packet_flows` */
    __u32 fin_ack;     /* with FIN_HEARD: the acknowledgement that covers the other side's FIN */
    __u64 packets;     /* as they arrived, retransmissions and empty ones too */
    /* The last acknowledgement, carried to 64 bits: what the sender of this direction expects next. Less
     * ack_start, it is the payload of the *other* direction that has arrived (packet_bytes.h). So each byte
     * is counted once, and a damaged packet or one out of order is put right by the next. */
    __u64 ack;
    __u64 active_ns; /* CLOCK_MONOTONIC of the last packet, to the kernel's tick */
    __u32 ack_start; /* the acknowledgement of no payload: the other side's initial sequence number + 1 */
    __u32 seq_next;  /* end of all payload that the sender has sent; ack never is far from it */
    struct packet_tuple leaves; /* the tuple to carry from here on */
    __u32 tsecr_floor; /* what the receiver had sent at the handover: no translated TSecr is before it */
    /* IPv4: the neighbour to leave by (upper half, in network order) as the routing table had it in this
     * PACKET_TICK of CLOCK_MONOTONIC (lower half, cut). One store, so that the two belong together. */
    __u64 next_hop;
};

/* Where in its life a slot is. The agent fills a free slot, inserts the routes and then says `live`; whoever
 * ends the flow exchanges that for `ending`, in one atomic step, and says `free` when the routes are gone. */
enum packet_slot_state {
    PACKET_SLOT_free,
    PACKET_SLOT_filling,
    PACKET_SLOT_live,
    PACKET_SLOT_closing, /* over, and its end reported; the entries serve what is still under way */
    PACKET_SLOT_ending,
};

/* One flow: map `packet_flows`, an array that user space maps into its memory. Source and original
 * destination are those of `up`. */
struct packet_flow {
    __u64 id; /* of the flow, as in flow_record */
    __u64 accepted_ns;
    struct packet_tuple up; /* key of the route from client to server */
    __u32 state;            /* enum packet_slot_state */
    __u16 server_name;      /* key in `packet_names`; 0: none */
    __u16 rule;             /* key in `packet_names`; 0: none */
    __u8 protocol : 7;      /* enum flow_protocol */
    __u8 is_logged : 1;     /* its end is to be */
    __u8 reason;            /* enum splice_reason */
    __u8 entered;           /* when the entries were made: CLOCK_MONOTONIC in units of 2^36 ns (69 s), cut */
    __u8 look_at;           /* it cannot be over before this PACKET_TICK, cut */
};

/* What a client said first and the policy judged, kept until the server has acknowledged it: map
 * `packet_guards`, an array that user space maps. A client's bytes are not acknowledged before the server
 * does that, so it may send others in their place; these are forwarded then. A flow's guard is the one at its
 * slot, modulo PACKET_GUARDS_MAX. */
#define PACKET_GUARDS_MAX 2048
#define PACKET_GUARD_BYTES_MAX 2048
#define PACKET_GUARD_STEP 32 /* bytes that are overwritten at once */

enum packet_guard_state {
    PACKET_GUARD_free,
    PACKET_GUARD_asked, /* a dial (packet_dial.h), by the agent */
    PACKET_GUARD_sent,
    PACKET_GUARD_answered, /* for a moment */
    PACKET_GUARD_failed,
    PACKET_GUARD_on,   /* the flow is spliced */
    PACKET_GUARD_over, /* ... and the server has these bytes */
};

struct packet_guard {
    __u64 flow;  /* its id */
    __u64 on_ns; /* CLOCK_MONOTONIC, when a guard or a dial was begun */
    __u32 state; /* enum packet_guard_state; changed atomically */
    __u32 slot;
    __u32 client_seq; /* of the first byte, as the client counts */
    __u32 server_ack; /* what acknowledges the last, as the server counts */
    __u32 server_seq; /* of the server's own first byte */
    __u16 bytes;      /* of `data`; what follows is 0 */
    __u16 sum;        /* of `data` in one's complement, as words in memory */
    /* Of a dial only. */
    struct packet_tuple client; /* of the client's packets */
    __u32 isn;                  /* of the leg to the server */
    __u32 clock;                /* its TSval when CLOCK_MONOTONIC was 0, in milliseconds */
    __u16 mss;                  /* to announce at most */
    __u16 is_watched;           /* the flow is TLS: a second hello is the agent's to judge */
    __u8 data[PACKET_GUARD_BYTES_MAX + PACKET_GUARD_STEP];
};

#define PACKET_NAMES_MAX 65535
#define PACKET_NAME_BYTES 256 /* a name; or a rule, NUL, and flow_record.facts; then NULs */

/* One text that flows share, a server name or a rule's: map `packet_names`, key is its number, from 1. */
struct packet_name {
    char text[PACKET_NAME_BYTES];
};

/* How long an entry lives without a packet. */
#define PACKET_TIME_WAIT_S 60 /* both FINs acknowledged: 2 x MSL, as Linux has it */
#define PACKET_RESET_S 5      /* after RST or a kill: stragglers */

/* Map `packet_control`, one entry, also mapped by user space. */
struct packet_control {
    __u32 abi_version;
    __u32 slots;        /* capacity: flows that fit */
    __u32 slots_used;   /* no slot at or above it was ever used */
    __u32 half_close_s; /* one FIN acknowledged, no packet for so long; 0: for ever */
    __u32 idle_s;       /* no packet for so long; 0: for ever */
    __u32 unused;
    __u64 flows_inserted; /* by agents, ever */
    __u64 flows_closed;   /* whose end has been reported, ever */
    __u64 flows_ended;    /* by these programs, ever */
};

/* How a flow ended, in the ring buffer `packet_events`. Lost when no agent reads: such flows are just
 * collected. */
struct packet_flow_end {
    __u32 slot;
    __u32 end;                /* enum flow_end */
    __u32 up_ack;             /* what the client expects next ... */
    __u32 down_ack;           /* ... and the server, as each counts */
    struct packet_tuple down; /* key of the route from server to client */
    struct packet_flow flow;
    __u64 bytes_up;
    __u64 bytes_down;
    __u64 packets_up;
    __u64 packets_down;
    __u64 active_ns; /* of the last packet */
};

#define PACKET_HELLO_PIECE_BYTES 2048

/* What a client said after what may be a HelloRetryRequest, in the ring buffer `packet_hellos`; it was not
 * forwarded, nor acknowledged. One packet may be several of these. Retransmissions come again, and lost
 * pieces are retransmitted. Host order; as the client's packet had it. */
struct packet_hello_head {
    __u64 flow; /* its id */
    __u32 slot;
    __u32 seq; /* of the first byte */
    __u32 ack;
    __u32 tsval;
    __u32 tsecr;
    __u16 window;
    __u8 has_timestamps;
    __u8 unused;
    __u32 bytes; /* of the piece's data */
    __u32 unused_too;
};

struct packet_hello_piece {
    struct packet_hello_head head;
    __u8 data[PACKET_HELLO_PIECE_BYTES];
};

#endif
