#include "tests/support/exchange.h"

#include <atomic>
#include <thread>

#include "tests/support/tcp_server.h"

namespace sluice::test {

Exchange exchange_streams(const Lab& lab, Gateway& gateway, std::uint64_t bytes) {
    Exchange out;
    std::atomic<bool> server_done = false;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        std::jthread sender([&] { errno_of([&] { out.server_sent = send_stream(socket, 2, bytes); }); });
        out.server_received = receive_stream(socket);
        sender.join();
        server_done = true;
    });
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    std::jthread sender([&] { errno_of([&] { out.client_sent = send_stream(client, 1, bytes); }); });
    out.client_received = receive_stream(client);
    sender.join();
    out.end = gateway.wait_for("end", client.local());
    // The gateway is done when its kernel has the last bytes; they may still be on their way.
    wait_until([&] { return server_done.load(); });
    return out;
}

}  // namespace sluice::test
