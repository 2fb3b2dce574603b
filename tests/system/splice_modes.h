#pragma once
// For tests that every splice mode passes.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

#include "tests/support/gateway.h"
#include "tests/support/lab.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {

// The parameter is the mode that the operator forces: all keep the same promises.
class SpliceModes : public testing::TestWithParam<const char*> {
  protected:
    static std::string allow_all(std::string_view more = {}) {
        return "splice: " + std::string(GetParam()) + "\n" + std::string(more) +
               "peek: {silence_ms: 100}\npolicy: {default: allow}\n";
    }
    static bool is(std::string_view mode) { return GetParam() == mode; }

    // The sockmap is lent a flow that has turned out to be a dialogue: so each begins with one, of single
    // bytes.
    static std::uint64_t talk_bytes() { return is("sockmap") ? 8 : 0; }
    struct Server : TcpServer {
        Server(const Lab& lab, std::uint16_t port, Conversation conversation, int receive_buffer_bytes = 0)
            : TcpServer(
                  lab.server(), port,
                  [bytes = talk_bytes(), conversation = std::move(conversation)](TcpSocket& socket) {
                      for (std::uint64_t i = 0; i < bytes; ++i)
                          socket.send(socket.receive_exactly(1));
                      conversation(socket);
                  },
                  receive_buffer_bytes) {}
    };
    static TcpSocket dial(const Lab& lab, const policy::Endpoint& to, const ConnectOptions& options = {}) {
        TcpSocket client = TcpSocket::connect(lab.client(), to, options);
        for (std::uint64_t i = 0; i < talk_bytes(); ++i) {
            client.send("x");
            EXPECT_EQ(client.receive_exactly(1), "x");
        }
        return client;
    }
};

}  // namespace sluice::test
