#pragma once
// The two lines of a flow: at the verdict, and at the end.
#include "userspace/agent/flow.h"
#include "userspace/agent/log.h"

namespace sluice::agent {

// `end`: name_mismatch or name_unresolved, if that is why it is denied.
void log_verdict(Log& log, const Flow& flow, flow_end end);
void log_end(Log& log, const Flow& flow, flow_end end);
// Of a flow that no agent carried, perhaps an earlier agent's.
void log_packet_end(Log& log, const flow_record& flow, flow_end end);

}  // namespace sluice::agent
