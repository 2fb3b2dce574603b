#pragma once
// libnftables with its errors as exceptions and its output as a string: nothing reaches stdout or stderr.
#include <string>

namespace sluice::datapath {

enum class NftRun : bool {
    commit,
    check,  // the kernel validates the whole transaction and then drops it (`nft -c`)
};

// Runs an nft script as one transaction in the calling thread's network namespace; what it lists is returned.
// Throws CaptureError with the first error, in one line, that starts with `object`.
std::string run_nft(const std::string& object, const std::string& script, NftRun run = NftRun::commit);

}  // namespace sluice::datapath
