#include "tests/support/packet_counter.h"

#include <atomic>
#include <stdexcept>

#include "tests/support/process.h"

namespace sluice::test {

namespace {

std::string nft(const Netns& netns, const std::vector<std::string>& arguments,
                const std::string& input = {}) {
    std::vector<std::string> argv{"nft"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const Finished finished = run_process(argv, {.netns = &netns, .input = input});
    if (finished.exit_code != 0) throw std::runtime_error("nft: " + finished.err);
    return finished.out;
}

}  // namespace

PacketCounter::PacketCounter(const Netns& netns, const std::string& match, const std::string& hook)
    : netns_(netns) {
    static std::atomic<int> count = 0;
    table_ = "probe_" + std::to_string(count++);
    // After everybody else's chains: what they dropped did not arrive.
    nft(netns, {"-f", "-"},
        "table inet " + table_ + " {\n  counter seen { }\n  chain seen {\n    type filter hook " + hook +
            " priority 300;\n    " + match + " counter name seen\n  }\n}\n");
}

PacketCounter::~PacketCounter() {
    run_process({"nft", "delete", "table", "inet", table_}, {.netns = &netns_});
}

std::uint64_t PacketCounter::packets() const {
    const std::string text = nft(netns_, {"list", "counter", "inet", table_, "seen"});
    const std::string key = "packets ";
    const std::size_t found = text.find(key);
    if (found == std::string::npos) throw std::runtime_error("no packets in: " + text);
    return std::stoull(text.substr(found + key.size()));
}

}  // namespace sluice::test
