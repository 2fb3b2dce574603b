#pragma once
// Whether a server name goes with the address that its client dialled, where the policy asks (`verify`): one
// step in the life of a flow, between its verdict and the dial.
//
// A deny needs no evidence, and a flow without a name has none to ask for. Evidence is what the gateway's own
// questions, or answers that it saw pass, say of the name (names/name_evidence.h). Without any, `pin` and
// `enforce` refuse.
#include <boost/asio/awaitable.hpp>

#include "userspace/agent/flow.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"
#include "userspace/names/resolver.h"

namespace sluice::agent {

// Of a flow that needs evidence. Writes what came of it into the flow, and the verdict into the log. `live`:
// go on, to flow.dialled, which another address may have taken the place of; else how it ends.
//
// What is connected already (a client that let its server speak first, a second hello) cannot be led
// elsewhere: `pin` is then as `enforce`.
asio::awaitable<flow_end> check_name(Worker& worker, Flow& flow, Socket& downstream, Patience& patience);

// The same for a flow that no coroutine waits for: nobody is asked, and nothing is written into the log.
flow_end check_name_by_what_is_known(names::Resolver& resolver, Flow& flow);

}  // namespace sluice::agent
