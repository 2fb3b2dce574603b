#include "userspace/datapath/nft.h"

#include <linux/capability.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "userspace/datapath/capability.h"
#include "userspace/datapath/capture.h"
#include "userspace/datapath/fd.h"

namespace sluice::datapath {

namespace {

// The first line of libnftables' error text, without the place in a script that the reader has not written.
std::string first_cause(std::string_view text) {
    text = text.substr(0, text.find('\n'));
    constexpr std::string_view marker = "Error: ";
    if (const auto at = text.find(marker); at != text.npos) text.remove_prefix(at + marker.size());
    return std::string(text.empty() ? "unknown error" : text);
}

// Two things libnftables tells stderr rather than its caller, or even ends the process for: see them first.
void require_nftables(const std::string& object) {
    if (!has_capability(CAP_NET_ADMIN)) throw CaptureError(object + ": " + std::strerror(EPERM));
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket) throw CaptureError(object + ": no nftables in this kernel: " + std::strerror(errno));
}

}  // namespace

std::string run_nft(const std::string& object, const std::string& script, NftRun run) {
    require_nftables(object);
    const std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> context(nft_ctx_new(NFT_CTX_DEFAULT),
                                                                    nft_ctx_free);
    if (!context || nft_ctx_buffer_output(context.get()) != 0 || nft_ctx_buffer_error(context.get()) != 0) {
        throw CaptureError(object + ": out of memory");
    }
    nft_ctx_set_dry_run(context.get(), run == NftRun::check);
    if (nft_run_cmd_from_buffer(context.get(), script.c_str()) != 0) {
        throw CaptureError(object + ": " + first_cause(nft_ctx_get_error_buffer(context.get())));
    }
    return nft_ctx_get_output_buffer(context.get());
}

}  // namespace sluice::datapath
