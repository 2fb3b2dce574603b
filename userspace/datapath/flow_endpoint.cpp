#include "userspace/datapath/flow_endpoint.h"

#include <algorithm>
#include <cstdint>
#include <span>

namespace sluice::datapath {

policy::Endpoint endpoint(const flow_endpoint& endpoint) {
    const std::span<const std::uint8_t, 16> bytes(endpoint.address);
    return {endpoint.is_v4 != 0 ? policy::IpAddress::v4(bytes.first<4>()) : policy::IpAddress::v6(bytes),
            endpoint.port};
}

flow_endpoint abi_endpoint(const policy::Endpoint& endpoint) {
    flow_endpoint out{};
    std::ranges::copy(endpoint.address.bytes(), out.address);
    out.is_v4 = endpoint.address.is_v4();
    out.port = endpoint.port;
    return out;
}

bool is_dialled_elsewhere(const flow_record& flow) {
    return flow.dialled.port != 0 && endpoint(flow.dialled) != endpoint(flow.destination);
}

}  // namespace sluice::datapath
