#pragma once
// The socket that captured connections arrive at, and how to tell where they were going.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "policy/address.h"
#include "userspace/datapath/capture.h"
#include "userspace/datapath/fd.h"

namespace sluice::agent {

enum class Family : std::uint8_t { v4, v6 };

// A listening, non-blocking, transparent socket; several may share the port (SO_REUSEPORT), one per worker.
// With our own TPROXY rules it is bound to the loopback address, where nobody can connect to it from outside;
// with the operator's
// (`install: false`) to the unspecified one, since REDIRECT sends packets to an address of the receiving
// interface. Nothing: the host has no such family. Throws std::runtime_error that names the address and the
// cause.
std::optional<datapath::Fd> open_listener(const datapath::CaptureConfig& capture, Family family);

// The same for the proxy's clients, who dial this address: neither transparent nor shared with anybody but
// the other workers. Throws what open_listener() throws.
datapath::Fd open_proxy_listener(const policy::Endpoint& where);

// Held for the agent's life: two agents must not share a port, and with it the capture rules, in one network
// namespace. Throws std::runtime_error when another one has it.
datapath::Fd claim_port(std::uint16_t port);

struct Accepted {
    datapath::Fd socket;  // non-blocking
    policy::Endpoint source;
};
// Nothing more to accept: error 0; else why (EMFILE, ...).
std::expected<Accepted, int> accept_one(int listener);

// Whether it is one of this host's addresses.
bool is_own_address(const policy::IpAddress& address);

// The gateway's end of an accepted connection.
policy::Endpoint local_endpoint(int socket);

// Where the client wanted to go. Nothing: to the agent's own port, or to an
// address that can only be this host's (loopback, unspecified, multicast).
std::optional<policy::Endpoint> original_destination(int socket, const datapath::CaptureConfig& capture);

}  // namespace sluice::agent
