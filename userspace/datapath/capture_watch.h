#pragma once
// Notices when somebody else changes nftables: `nft flush ruleset` takes the capture's rules with it, and
// traffic then passes unfiltered.
#include "userspace/datapath/capture.h"
#include "userspace/datapath/fd.h"

namespace sluice::datapath {

class CaptureWatch {
  public:
    CaptureWatch();  // of the calling thread's network namespace; throws CaptureError

    int fd() const { return socket_.get(); }  // readable: something changed
    void drain();

  private:
    Fd socket_;
};

// Whether the table is there, with the chain that does the work. Throws CaptureError without the privilege to
// ask.
bool capture_is_installed();

}  // namespace sluice::datapath
