#pragma once
// Many short flows from few source ports, each used again as soon as its flow is over: a question, its
// answer, and the end, which the server begins, so that TIME_WAIT is on its side.
#include <cstdint>
#include <string>

#include "tests/support/lab.h"

namespace sluice::test {

// From the lab's client to its server, on this port. How many got the answer to their own question.
unsigned run_short_flows(const Lab& lab, std::uint16_t port, unsigned flows);

// What the stacks of both ends have dropped or answered because it did not fit its connection, by nstat's
// names. Empty: nothing, as with plain forwarding.
std::string misfits(const Lab& lab);

}  // namespace sluice::test
