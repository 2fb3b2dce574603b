#pragma once

namespace sluice::datapath {

// Whether the calling thread has this capability in effect: a CAP_... of <linux/capability.h>, below 64.
bool has_capability(unsigned capability);

}  // namespace sluice::datapath
