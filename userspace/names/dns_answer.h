#pragma once
// A name server's answer to a question for addresses, read by c-ares.
#include <chrono>
#include <optional>
#include <vector>

#include "userspace/names/name_evidence.h"

namespace sluice::names {

struct DnsAnswer {
    std::vector<policy::IpAddress> addresses;  // none: the name has none of the family
    std::chrono::seconds ttl{0};               // the smallest
};

// The answer to a question of this family, as it came. Addresses at the end of a chain of aliases are the
// asked name's. Nothing: it cannot be understood.
std::optional<DnsAnswer> read_answer(Family family, const unsigned char* message, int bytes);

// What is asked in an answer: nothing when it is no answer to one question for addresses, or says that
// something went wrong.
std::optional<Question> question_of_answer(const unsigned char* message, int bytes);

}  // namespace sluice::names
