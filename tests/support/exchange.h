#pragma once
// A stream each way at once through the gateway, from a client to a server on port 7000, and what became of
// it.
#include <cstdint>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"

namespace sluice::test {

struct Exchange {
    StreamSum server_sent;
    StreamSum server_received;
    StreamSum client_sent;
    StreamSum client_received;
    JsonRecord end;  // the log's line

    bool is_faithful(std::uint64_t bytes) const {
        return client_received.bytes == bytes && server_received.bytes == bytes &&
               server_received == client_sent && client_received == server_sent;
    }
};

Exchange exchange_streams(const Lab& lab, Gateway& gateway, std::uint64_t bytes);

}  // namespace sluice::test
