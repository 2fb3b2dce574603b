/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef SLUICE_SOCKMAP_ABI_H
#define SLUICE_SOCKMAP_ABI_H
/*
 * What sockmap.bpf.c and the agent that loaded it share. Not pinned: both come from one binary.
 */
#include <linux/types.h>

/*
 * A leg's backlog: what was redirected and its receiver's socket has not taken yet. It is kept to what that
 * socket's send buffer has room for, so that it is gone in a moment however slow the receiver is. That bounds
 * the kernel's memory, which accounts for send buffers and for nothing else on this path; and only then may
 * the same socket pass what it receives: that waits, charged to nobody, behind what the socket has yet to
 * send (sk_psock_verdict_apply, net/core/skmsg.c). Counted as memory (truesize), since a segment of one byte
 * holds hundreds. Past the limit nothing is redirected (SK_PASS): the sender's window closes, and the agent
 * carries what was passed.
 */
#define SOCKMAP_BACKLOG_BYTES_MAX (1 << 20)

/*
 * A segment that a socket passes while something waits in its own queue (psock->ingress_skb) waits there too,
 * charged to nobody, and the window stays open: a stray. Beyond so much memory of them segments with payload
 * are dropped before TCP sees them, as if the link had lost them, until the queue is shorter: the worker that
 * empties it may itself be kept busy by what arrives.
 */
#define SOCKMAP_STRAY_BYTES_MAX (1 << 19)

/* What a segment costs in the send buffer beyond its bytes: more than tcp_stream_alloc_skb() takes. */
#define SOCKMAP_SEGMENT_OVERHEAD_BYTES 2048

/* A lent socket's send buffer is at least this: a message that fits is carried without the agent. */
#define SOCKMAP_SEND_BUFFER_BYTES (1 << 19)

/* Why the agent is told. */
enum sockmap_leg_state {
    SOCKMAP_LEG_carried, /* all is well */
    SOCKMAP_LEG_broken,  /* bytes are doubled or missing, and it cannot be helped: reset the flow */
};

/*
 * One socket as a sender. The program writes under that socket's lock; `peer`, `consumed` and the reset of
 * `told` are the agent's. One cache line each: the legs of two flows are written by two cores.
 */
struct sockmap_leg {
    __u64 redirected; /* bytes given to the other socket */
    __u64 passed;     /* bytes left for the agent to recv() */
    __u64 consumed;   /* of these: those that the agent has read, and written to the other socket */
    __u32 peer;       /* the other leg's slot */
    __u32 base;       /* the receiver's write_seq before the first byte carried */
    __u32 next_seq;   /* of the sender */
    __u32 mark;       /* low half of the bytes carried when the younger generation began */
    __u32 held_old;   /* truesize redirected before the mark, if any of it may still be queued */
    __u32 held_young; /* and since */
    __u32 stray;      /* memory of segments passed since the queue was last seen empty */
    __u32 strays;     /* how many they are: as many of them as the queue is long still wait, at most */
    __u8 started;     /* next_seq is valid */
    __u8 based;       /* base is valid */
    __u8 passing;     /* nothing is redirected: what was passed must not be overtaken */
    __u8 state;       /* enum sockmap_leg_state */
    __u8 told;        /* the slot is in `events` */
    __u8 unused[3];
};

#endif
