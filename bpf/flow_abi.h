/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef SLUICE_FLOW_ABI_H
#define SLUICE_FLOW_ABI_H
/*
 * The one header that the kernel programs and user space share: the layout of the pinned maps, and the lists
 * whose words appear in maps, counters, log lines and columns alike.
 *
 * The maps outlive the agent. An agent or CLI that finds another FLOW_ABI_VERSION in the pinned `agent`
 * record refuses to touch them. Any change below that alters a size, an offset or a meaning raises the
 * version; new list entries go to the end.
 */
#include <linux/types.h>

#define FLOW_ABI_VERSION 4

/* Why a flow ended. `live`: it has not. */
#define FLOW_END_LIST(X)                                                                                   \
    X(live)                                                                                                \
    X(closed)                /* both sides finished */                                                     \
    X(client_reset)          /* the client sent RST, or vanished after the splice began */                 \
    X(server_reset)          /* the server did */                                                          \
    X(client_gone)           /* the client left before a verdict was carried out */                        \
    X(denied)                /* by a rule or the default */                                                \
    X(hello_malformed)       /* denied: a ClientHello that contradicts itself */                           \
    X(hello_incomplete)      /* denied: half a ClientHello, then silence or FIN */                         \
    X(hello_too_long)        /* denied: a ClientHello longer than hello_bytes_max */                       \
    X(upstream_refused)      /* the server answered the SYN with RST */                                    \
    X(upstream_unreachable)  /* no route, or ICMP unreachable */                                           \
    X(upstream_timeout)      /* no answer within connect_ms */                                             \
    X(upstream_failed)       /* any other error of the upstream socket before the splice */                \
    X(idle_timeout)          /* no byte either way for idle_s */                                           \
    X(half_close_timeout)    /* one side finished, the other silent for half_close_s */                    \
    X(killed)                /* `sluice flows kill` */                                                     \
    X(flow_limit)            /* refused: limits.flows reached */                                           \
    X(descriptor_limit)      /* refused: no file descriptors left for it */                                \
    X(not_redirected)        /* somebody connected to the agent's own port */                              \
    X(stopped)               /* the agent stopped */                                                       \
    X(splice_failed)         /* the kernel's account of the bytes does not add up: reset, not corrupted */ \
    X(policy_changed)        /* a reload ended it: `on_reload` */                                          \
    X(name_mismatch)         /* denied: `verify`: the destination is no address of the server name */      \
    X(name_unresolved)       /* denied: no address of the server name, or the one asked for, was found */  \
    X(proxy_source_refused)  /* refused: a client of the proxy from outside `proxy.from` */                \
    X(proxy_request_refused) /* refused: no CONNECT or SOCKS5 request that the proxy understands */        \
    X(proxy_destination_refused) /* refused: an address that no host but this one, or this link, has */

/* Who carries a flow's bytes. `none`: nobody yet. */
#define SPLICE_MODE_LIST(X) X(none) X(relay) X(sockmap) X(packet)

/* Why a flow is in its mode. */
#define SPLICE_REASON_LIST(X)                                                              \
    X(undecided)                                                                           \
    X(configured) /* the operator forced the mode */                                       \
    X(automatic)  /* `splice: auto`: the best mode that takes this flow */                 \
    /* Why not `sockmap`, for now or for good: */                                          \
    X(backlog)         /* the receiver is slower than the sender */                        \
    X(sockmap_refused) /* the kernel did not take the sockets */                           \
    X(no_dialogue)     /* so far: splice(2) carries long one-way transfers faster */       \
    /* Why not `packet`: */                                                                \
    X(leg_unknown)  /* a handshake was not seen: SYN cookies, IP options, too many SYNs */ \
    X(leg_reset)    /* one side has sent RST already */                                    \
    X(acknowledged) /* payload had been acknowledged already */                            \
    X(urgent_data)                                                                         \
    X(timestamps_differ) /* one leg has TCP timestamps, the other has not */               \
    X(sack_differs)                                                                        \
    X(window_scaling_differs)                                                              \
    X(ecn_differs)                                                                         \
    X(mss_differs) /* one end accepts smaller segments than the other may send */          \
    X(table_full)                                                                          \
    X(tuple_in_use)    /* another spliced flow has these addresses and ports */            \
    X(unavailable)     /* the kernel has refused */                                        \
    X(undelivered)     /* the server did not acknowledge in time what was judged */        \
    X(local_client)    /* of a program on the gateway itself: relay */                     \
    X(families_differ) /* one leg is IPv4, the other IPv6 */                               \
    X(starttls)        /* its beginning went through the agent: relay or sockmap */

/* Where in its life a flow is. */
#define FLOW_STATE_LIST(X)                                             \
    X(peeking)    /* waiting for the client's first bytes */           \
    X(connecting) /* allowed, the upstream connection is being made */ \
    X(waiting)    /* connected; the server has not spoken yet */       \
    X(spliced)                                                         \
    X(resolving) /* allowed, the server name's addresses are being asked for */

#define SLUICE_ENUMERATOR(prefix, word) prefix##_##word,
#define X(word) SLUICE_ENUMERATOR(FLOW_END, word)
enum flow_end { FLOW_END_LIST(X) FLOW_END_COUNT };
#undef X
#define X(word) SLUICE_ENUMERATOR(SPLICE_MODE, word)
enum splice_mode { SPLICE_MODE_LIST(X) SPLICE_MODE_COUNT };
#undef X
#define X(word) SLUICE_ENUMERATOR(SPLICE_REASON, word)
enum splice_reason { SPLICE_REASON_LIST(X) SPLICE_REASON_COUNT };
#undef X
#define X(word) SLUICE_ENUMERATOR(FLOW_STATE, word)
enum flow_state { FLOW_STATE_LIST(X) FLOW_STATE_COUNT };
#undef X

struct flow_endpoint {
    __u8 address[16]; /* network order; an IPv4 address in the first four bytes */
    __u8 is_v4;
    __u8 unused;
    __u16 port; /* host order */
};

struct flow_direction {
    __u64 bytes;   /* payload carried to the other side */
    __u64 packets; /* segments received from this side, retransmissions included */
};

#define FLOW_SERVER_NAME_BYTES 256
#define FLOW_RULE_BYTES 64
#define FLOW_FACTS_BYTES 192

/* One live flow: map `flows`, key is `id`. All times are CLOCK_MONOTONIC nanoseconds, 0 = not yet. */
struct flow_record {
    __u64 id;
    __u64 accepted_ns;
    __u64 active_ns; /* last byte either way */
    struct flow_endpoint source;
    struct flow_endpoint destination; /* the original one */
    struct flow_endpoint dialled;     /* by the gateway: the same, unless the flow is pinned or translated */
    __u8 state;                       /* enum flow_state */
    __u8 protocol;                    /* policy/protocol.h */
    __u8 mode;                        /* enum splice_mode */
    __u8 reason;                      /* enum splice_reason */
    struct flow_direction up;         /* client to server */
    struct flow_direction down;       /* server to client */
    char rule[FLOW_RULE_BYTES];       /* NUL-terminated, cut if longer */
    char server_name[FLOW_SERVER_NAME_BYTES]; /* NUL-terminated; empty: none */
    /* What else it was judged by, as userspace/agent/recorded_facts.h writes it; NUL-terminated. Empty: not
     * known. */
    char facts[FLOW_FACTS_BYTES];
};

#define AGENT_VERSION_BYTES 32
#define SELF_TEST_BYTES 96

/* The agent: map `agent`, one entry, written once a second. Totals are of the agent's life. */
struct agent_record {
    __u32 abi_version;
    __u32 pid;
    __u64 started_ns;
    __u64 flow_id_next; /* the next agent's first flow id */
    __u64 flows_accepted;
    __u64 flows_live;
    __u64 flows_live_max; /* the limit in force */
    __u64 sockets_open;   /* of flows */
    __u64 sockets_max;    /* what the descriptor limit leaves for them */
    __u64 bytes_up;       /* of flows that have ended */
    __u64 bytes_down;
    __u64 log_lines_lost;            /* the log's reader was too slow */
    __u64 names_known;               /* names of which addresses are known, or known to be none */
    __u64 names_addresses;           /* of all these */
    __u64 names_asked;               /* questions to name servers */
    __u64 names_failed;              /* ... that were not answered */
    __u64 names_overheard;           /* answers to others that were believed */
    __u64 flow_ends[FLOW_END_COUNT]; /* flows ended, by reason; [live] is unused */
    __u32 policy_rules;
    __u32 policy_reloads;
    __u8 splice_configured; /* enum splice_mode; none = auto */
    __u8 reload_refused;    /* what was read last was not taken: the policy in force is an older one */
    __u8 unused[6];
    char version[AGENT_VERSION_BYTES];
    char sockmap_test[SELF_TEST_BYTES]; /* "passed"; why this kernel cannot be used; empty: not asked for */
};

/* What `kill_flow` is run with, and what the agent then reads from the ring buffer `events`. */
struct kill_event {
    __u64 flow_id;
};

#endif
