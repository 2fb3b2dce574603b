// What name servers say, to us or to others: a packet from its IP header on, and the message in it.
#include <cstddef>
#include <cstdint>

#include "userspace/datapath/dns_watch.h"
#include "userspace/names/dns_answer.h"

using namespace sluice;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    datapath::udp_payload(data, size);
    const int bytes = static_cast<int>(size);
    const auto question = names::question_of_answer(data, bytes);
    for (const names::Family family : {names::Family::v4, names::Family::v6}) {
        const auto answer = names::read_answer(family, data, bytes);
        if (!answer || !question) continue;
        names::NameEvidence evidence;
        evidence.answer(*question, answer->addresses, answer->ttl, names::NameEvidence::Source::overheard,
                        names::Clock::now());
        if (evidence.addresses() > answer->addresses.size()) __builtin_trap();
    }
    return 0;
}
