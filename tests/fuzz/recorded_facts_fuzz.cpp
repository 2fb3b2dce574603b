// Whatever a pinned table says of a flow: it is refused, or understood, and then written as it would be read.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "policy/protocol.h"
#include "userspace/agent/recorded_facts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice;
    flow_record record{};
    if (size == 0) return 0;
    record.protocol = static_cast<__u8>(data[0] % policy::protocol_words.size());
    std::memcpy(record.facts, data + 1, std::min(size - 1, sizeof record.facts - 1));
    const auto known = agent::RecordedFacts::read(record);
    if (!known) return 0;
    const std::string text = agent::facts_text(known->facts());
    if (text.empty()) return 0;  // it does not fit
    flow_record again = record;
    std::memset(again.facts, 0, sizeof again.facts);
    text.copy(again.facts, sizeof again.facts - 1);
    const auto read_again = agent::RecordedFacts::read(again);
    if (!read_again || agent::facts_text(read_again->facts()) != text) std::abort();
    return 0;
}
