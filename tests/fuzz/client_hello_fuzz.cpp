// The parser of clients' first bytes, fed with anything, held to what its header promises.
#include <algorithm>
#include <cstdlib>

#include "userspace/tls/client_hello.h"

namespace {

using sluice::tls::ClientHello;
using sluice::tls::HelloStatus;
using Stream = std::span<const std::uint8_t>;
using Parse = ClientHello (*)(Stream);

void require(bool promise) {
    if (!promise) std::abort();
}

bool whole(const ClientHello& hello) {
    return hello.status == HelloStatus::found || hello.status == HelloStatus::no_server_name;
}

bool is_name(std::string_view name) {
    return !name.empty() && name.size() <= 253 && !name.ends_with('.') &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
           });
}

void require_consistent(const ClientHello& hello, std::size_t size) {
    require((hello.status == HelloStatus::malformed) == !hello.why.empty());
    require((hello.status == HelloStatus::incomplete) == (hello.bytes_needed > size));
    require(hello.bytes <= size);
    require(hello.records <= hello.bytes || !whole(hello));
    if (hello.status == HelloStatus::found) require(is_name(hello.server_name));
    if (hello.status == HelloStatus::no_server_name) {
        require(hello.server_name_is_address != hello.server_name.empty());
    }
    if (!whole(hello)) require(hello.server_name.empty() && hello.alpn.empty() && hello.extensions.empty());
    require(hello.alpn.size() <= 64 && hello.extensions.size() <= size / 4 &&
            hello.cipher_suites.size() <= size / 2);
    require(sluice::tls::ja4(hello).size() == (whole(hello) ? 36 : 0));
}

// What is certain with all bytes is the same with the hello's bytes alone, and unknown with fewer.
void require_prefixes_agree(Parse parse, Stream stream, const ClientHello& hello) {
    if (hello.status == HelloStatus::incomplete) {
        require(parse(stream.first(stream.size() / 2)).status == HelloStatus::incomplete);
    }
    if (!whole(hello)) return;
    require(parse(stream.first(hello.bytes)).server_name == hello.server_name);
    // All prefixes would take too long; these are the ends of the hello, and a walk by what the parser asks
    // for.
    for (std::size_t size : {hello.bytes - 1, hello.bytes / 2, hello.bytes / 3}) {
        require(parse(stream.first(size)).status == HelloStatus::incomplete);
    }
    for (std::size_t size = 0; size < hello.bytes;) {
        ClientHello prefix = parse(stream.first(size));
        require(prefix.status == HelloStatus::incomplete);
        require(prefix.bytes_needed > size && prefix.bytes_needed <= hello.bytes);
        size = prefix.bytes_needed;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Stream stream(data, size);
    for (Parse parse : {sluice::tls::parse_client_hello, sluice::tls::parse_second_client_hello}) {
        ClientHello hello = parse(stream);
        require_consistent(hello, size);
        require_prefixes_agree(parse, stream, hello);
    }
    return 0;
}
