/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef SLUICE_HOLD_ABI_H
#define SLUICE_HOLD_ABI_H
/*
 * Held legs: what the kernel programs learn, on the wire, of the TCP connections that end at the gateway, so
 * that a pair of them can be handed over to the packet splice. A leg is held while none of its peer's payload
 * has been acknowledged: the gateway's kernel has received it, but its peer still keeps it.
 *
 * "Peer" is the host at the other end of a leg, "local" the gateway's own socket.
 */
#include <linux/types.h>

#include "flow_abi.h"
#include "packet_abi.h"

/* Legs that are known at once, two a flow, and only while it is set up: the oldest make room. A flood of SYNs
 * costs no more than this, and pushes others out of it, who then are relayed. */
#define HELD_LEGS_MAX (1 << 16)

/* A hold ends by itself before the peer's retransmission timer would fire a second time: what is
 * retransmitted then is acknowledged. Linux's timer is at least 200 ms. */
#define HOLD_MS_MAX 150

/* On a segment that completes a handshake by SYN cookie, from the packet splice's ingress program to
 * nftables' rule for it, which takes it off. */
#define HOLD_COOKIE_MARK 0x51ce0ac1

/* What the two ends of a leg agreed upon in its handshake. */
#define LEG_TIMESTAMPS 1
#define LEG_SACK 2
#define LEG_SCALING 4
#define LEG_ECN 8

enum leg_state {
    LEG_learning, /* SYN seen, SYN/ACK not yet */
    LEG_open,     /* both seen, and ACKs pass */
    LEG_held,     /* ACKs of payload are dropped */
    LEG_taken,    /* handed over: nothing that its socket sends passes any more */
};

/* What has happened on a leg. */
#define LEG_PAYLOAD 1       /* the peer has sent payload */
#define LEG_FIN 2           /* the peer has sent FIN */
#define LEG_RST 4           /* one of the two has sent RST */
#define LEG_URGENT 8        /* the peer has sent urgent data */
#define LEG_ACKNOWLEDGED 16 /* an acknowledgement of payload has passed */
#define LEG_SPOKE 32        /* the local socket has sent payload, or FIN */
#define LEG_FINISHED 64     /* the local socket has sent FIN */

/* One leg: map `held_legs`, key is the tuple of the packets that its peer sends. Host order. */
struct held_leg {
    __u64 peer_tsval_ns; /* when the last TSval of each was seen */
    __u64 local_tsval_ns;
    __u64 payload_ns; /* when the peer's first payload was seen */
    __u32 peer_isn;
    __u32 local_isn;
    __u32 peer_tsval;
    __u32 local_tsval;
    __u32 peer_next; /* end of what the peer has sent */
    __u32 peer_ack;  /* its last acknowledgement */
    __u32 local_ack; /* ours, the last that passed */
    __u32 ifindex;   /* where the local socket's packets leave */
    __u16 peer_mss;  /* 0: none announced */
    __u16 local_mss;
    __u16 peer_window; /* as on the wire, of its last packet */
    __u8 peer_scale;
    __u8 local_scale;
    __u8 options; /* LEG_TIMESTAMPS ... */
    __u8 events;  /* LEG_PAYLOAD ... */
    __u8 state;   /* enum leg_state */
    __u8 is_upstream;
    __u32 acks_dropped;
    __u32 dial;     /* 0, or 1 + the slot of the flow that is dialled: there is no socket (packet_dial.h) */
    __u32 deferred; /* enum deferred_state */
};

enum legs_request {
    LEGS_take,
    LEGS_release, /* only end their hold */
    LEGS_deliver, /* of the client's leg: from now on its packets reach the kernel's TCP again */
    LEGS_silence, /* the client hears nothing any more, not even an RST of the kernel's */
};

/* Two hosts of which the packet splice has taken a flow lately, and what that has shown of the server's leg,
 * for dials (packet_dial.h): map `near_servers`. */
#define NEAR_SERVERS_MAX 8192

struct near_pair {
    __u32 client[4]; /* as in struct packet_tuple */
    __u32 server[4];
    __u16 port; /* the server's, in network order */
    __u16 unused;
};

struct near_server {
    __u64 until_ns;      /* CLOCK_MONOTONIC; no longer believed then */
    __u32 clock;         /* as in struct packet_guard */
    __u16 mss;           /* 0: it speaks first at times, and its clients are to have sockets */
    __u16 segment_bytes; /* what fits into one of the client's segments */
};

/* How far a client's leg has come whose first bytes are read without a socket (packet_deferred.h). */
enum deferred_state {
    DEFERRED_none,     /* its packets are the kernel's TCP's */
    DEFERRED_expected, /* the SYN has been answered */
    DEFERRED_awaited,  /* the client has acknowledged that, and said nothing yet */
    DEFERRED_taken,    /* the agent has its first bytes, and the kernel's TCP knows nothing of it any more */
};

#define DEFERRED_BYTES_MAX 2048
#define DEFERRED_RINGS_MAX 256 /* one a worker of the agent's: map `deferred_rings` */
#define DEFERRED_RING_BYTES (1 << 20)

/* The first bytes of a client: in a worker's ring buffer. */
struct deferred_client {
    struct packet_tuple tuple; /* of its packets */
    __u32 peer_isn;            /* tells one connection with this tuple from the next */
    __u32 bytes;
    __u16 sum;       /* of the pseudo header and the TCP header, in one's complement, as words in memory */
    __u8 is_partial; /* its checksum had still to be computed, as between two namespaces */
    __u8 unused[5];
    struct near_server server;
    __u8 data[DEFERRED_BYTES_MAX];
};

/* What `take_legs` is run with (BPF_PROG_RUN). */
struct take_legs {
    __u32 request; /* enum legs_request */
    /* Bytes that the gateway's own sockets have carried from client to server already: it may have
     * acknowledged so many to the client, and the server must have acknowledged all of them. */
    __u32 sent;
    /* A client of the proxy: what it has said to the gateway, and been answered, before its flow began. Both
     * have been acknowledged, or the flow does not qualify. */
    __u32 asked;
    __u32 answered;
    struct packet_tuple downstream; /* of the client's packets */
    struct packet_tuple
        upstream; /* of the server's, as the gateway's own socket sees them; then as the wire does */
    __u32 reason; /* out: why not (enum splice_reason); SPLICE_REASON_automatic: taken */
    __u32 unused;
    struct held_leg client; /* out; all zero: unknown */
    struct held_leg server;
};

/* Set by the agent when it starts: map `hold_control`. */
struct hold_control {
    __u32 listener_port;   /* whose connections are held; 0: none */
    __u16 proxy_ports[2];  /* of listeners whose connections are followed, but not held; 0: none */
    __u64 dial_sockets[2]; /* cookies of the raw sockets that send the SYNs of dials; 0: none */
    __u32 deferred_rings;  /* of the agent's; 0: every client gets a socket */
    __u32 unused;
};

/* The TCP header of such a SYN, with these options: MSS, SACK permitted, timestamps, NOP, window scale. Its
 * TSval is the slot of the flow; its sequence number is the leg's already, so that connection tracking, which
 * sees it before the egress program, takes the RST after it for the end of that. */
#define PACKET_DIAL_SYN_BYTES 40
/* Its checksum counts this too, in memory's byte order, and so is wrong until the egress program has seen to
 * it: a copy that comes past that (nftables' dup, an interface that appeared just now) reaches no server. */
#define PACKET_DIAL_MARK 0x5a5a

#endif
