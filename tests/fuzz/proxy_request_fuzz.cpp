// Whatever a client of the proxy sends: what is understood is understood for every longer input too, what is
// incomplete asks for more than there is, and nothing beyond the message is taken.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "userspace/agent/connect_request.h"
#include "userspace/agent/socks_request.h"

namespace {

using namespace sluice::agent;

void require(bool holds) {
    if (!holds) std::abort();
}

void check_target(const ProxyTarget& target) {
    require(target.port != 0 && target.name.empty() == target.address.has_value());
}

void connect(std::span<const std::uint8_t> bytes) {
    using Status = ConnectRequest::Status;
    const ConnectRequest request = parse_connect_request(bytes);
    require((request.status == Status::refused) == (request.http_status >= 400));
    if (request.status != Status::complete) return;
    check_target(request.target);
    require(request.bytes <= bytes.size() && request.bytes <= connect_head_bytes_max);
    require(parse_connect_request(bytes.first(request.bytes)).status == Status::complete);
    require(parse_connect_request(bytes.first(request.bytes - 1)).status == Status::incomplete);
}

void socks(std::span<const std::uint8_t> bytes) {
    const SocksGreeting greeting = parse_socks_greeting(bytes);
    if (greeting.status == SocksStatus::incomplete) require(greeting.bytes > bytes.size());
    if (greeting.status == SocksStatus::complete) require(greeting.bytes <= bytes.size());
    const SocksRequest request = parse_socks_request(bytes);
    if (request.status == SocksStatus::incomplete) require(request.bytes > bytes.size());
    if (request.status == SocksStatus::refused) require(request.reply != SocksReply::succeeded);
    if (request.status != SocksStatus::complete) return;
    check_target(request.target);
    require(request.bytes <= bytes.size());
    for (std::size_t length = 0; length < request.bytes; ++length)
        require(parse_socks_request(bytes.first(length)).status == SocksStatus::incomplete);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    connect({data, size});
    socks({data, size});
    return 0;
}
