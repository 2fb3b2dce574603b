/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef SLUICE_SOCKMAP_ABI_H
#define SLUICE_SOCKMAP_ABI_H
/*
 * What sockmap.bpf.c and the agent that loaded it share. Not pinned: both come from one binary.
 */
#include <linux/types.h>

/*
 * A leg's backlog: what was redirected and its receiver's socket has not taken yet. Counted as the kernel's
 * memory (truesize), since a segment of one byte holds a page's worth of it. Past the limit nothing is
 * redirected (SK_PASS): the sender's window closes, and the agent carries what was passed.
 */
#define SOCKMAP_BACKLOG_BYTES_MAX (1 << 20)

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
    __u8 started;     /* next_seq is valid */
    __u8 based;       /* base is valid */
    __u8 passing;     /* nothing is redirected: what was passed must not be overtaken */
    __u8 state;       /* enum sockmap_leg_state */
    __u8 told;        /* the slot is in `events` */
    __u8 unused[11];
};

#endif
