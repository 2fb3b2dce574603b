#pragma once
// What a flow was judged by, as the pinned tables keep it, so that another policy can be asked about a flow
// that lives already: also one that no agent carries, and one that an earlier agent has let in.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/flow_abi.h"
#include "policy/facts.h"

namespace sluice::agent {

// What flow_record has no field for: "ech=grease alpn=h2,http/1.1 ja4=t13d..." Keys of facts that a flow does
// not have are left out; "-": it has none of them. Of a proxied flow "to=ENDPOINT" comes first, its
// destination, since its client's packets carry another; "asked=-": it asked for its server name. Other bytes
// than letters, digits and some marks are written as %XX. Empty when it would not fit: then the facts are not
// known.
std::string facts_text(const policy::Facts& facts);

// How a flow came, and the name that it asked the proxy for, if any. Also of one that has not been judged.
struct Arrival {
    policy::Via via = policy::Via::captured;
    std::string asked_name;
};
Arrival arrival_of(const flow_record& record);

class RecordedFacts {
  public:
    // Nothing when not all is known that the flow was judged by, or it has not been judged yet.
    static std::optional<RecordedFacts> read(const flow_record& record);

    policy::Facts facts() const;  // points into this; `time` is to be filled in

  private:
    bool read_text(std::string_view text);
    bool read_field(std::string_view key, std::string_view value);

    policy::Facts plain_;  // what is no text
    std::string server_name_;
    std::vector<std::string> alpn_;
    std::string ja4_;
    std::string ssh_version_;
    std::string ssh_server_version_;
    std::string asked_name_;  // when it is not the server's
};

}  // namespace sluice::agent
