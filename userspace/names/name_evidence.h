#pragma once
// Which addresses names are known to have: the evidence for a server name, which is only what a client says.
// Filled with answers of name servers, in whatever way they came here.
//
// An address stays evidence for a grace time after it was last seen, longer than its TTL as a rule: a service
// with many addresses gives out a few at a time, and a client may have heard others than the gateway did
// last. What is known of a name is the union of what was seen. Addresses that no server on the internet can
// have are never evidence (may_be_a_server).
//
// Bounded, whatever clients ask for: names that nobody asked about for the longest time go first. Not
// thread-safe.
#include <chrono>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/address.h"

namespace sluice::names {

using Clock = std::chrono::steady_clock;

enum class Family : std::uint8_t { v4, v6 };
constexpr Family family_of(const policy::IpAddress& address) {
    return address.is_v4() ? Family::v4 : Family::v6;
}

// A name and one of its two families: what can be asked.
struct Question {
    std::string name;  // canonical (policy/server_name.h)
    Family family = Family::v4;
    friend bool operator==(const Question&, const Question&) = default;
};
struct QuestionHash {
    std::size_t operator()(const Question& question) const {
        return std::hash<std::string>{}(question.name) * 2 + static_cast<std::size_t>(question.family);
    }
};

// How long addresses are evidence at least, after they were seen, and at most, whatever their TTL.
inline constexpr std::chrono::hours grace{1};
inline constexpr std::chrono::hours ttl_max{24};
// An answer is good for its TTL, but for so long at least: a TTL of 0 must not cost a question for each flow.
inline constexpr std::chrono::seconds ttl_min{5};
// "There is no such name", and "the name has no address of this family".
inline constexpr std::chrono::seconds negative_ttl{5};
// No answer at all.
inline constexpr std::chrono::seconds failure_ttl{2};
// How often a name may be asked for again because a client dials an address that is not known ...
inline constexpr std::chrono::seconds ask_again_interval{1};
// ... but at once when the last answer brought an address that had not been known, as of a service that gives
// out another one each time; so often in a row.
inline constexpr unsigned questions_in_a_row_max = 16;

// A name costs some 150 bytes, and an address 32: 12 MB in all.
struct EvidenceLimits {
    std::size_t names = 16'384;
    std::size_t addresses_of_name = 1024;
    std::size_t addresses = 262'144;
};

// False for what is unspecified, loopback, link-local, multicast, reserved or broadcast: whoever owns a name
// may let it have any address, and a flow must not be led to the gateway itself by that.
bool may_be_a_server(const policy::IpAddress& address);

class NameEvidence {
  public:
    using Limits = EvidenceLimits;
    explicit NameEvidence(const Limits& limits = {}) : limits_(limits) {}

    // What is known of a name, in view of a flow to `address`.
    struct View {
        bool is_address = false;                   // `address` is one of the name's
        bool is_current = false;                   // an answer's TTL is not over
        bool is_answered = false;                  // the last question was, be it by "there are none"
        bool may_ask = true;                       // it is worth while to ask a name server, and not too soon
        std::vector<policy::IpAddress> addresses;  // the last seen first
    };
    View look(const Question& question, const policy::IpAddress& address, Clock::time_point now);

    // Somebody's answer: none is "there are none" when it came to a question of our own, and says nothing
    // when it was `overheard`.
    enum class Source : std::uint8_t { asked, overheard };
    void answer(const Question& question, const std::vector<policy::IpAddress>& addresses,
                std::chrono::seconds ttl, Source source, Clock::time_point now);
    // No name server has answered.
    void fail(const Question& question, Clock::time_point now);

    void clear();
    std::size_t names() const { return entries_.size(); }
    std::size_t addresses() const { return addresses_; }

  private:
    struct Seen {
        policy::IpAddress address;
        Clock::time_point until;
    };
    struct Entry {
        Question question;
        std::vector<Seen> seen;  // the last seen first
        Clock::time_point current_until{};
        Clock::time_point may_ask_from{};
        unsigned questions_in_a_row = 0;
        bool is_answered = false;
    };
    using Entries = std::list<Entry>;

    Entry* find(const Question& question, Clock::time_point now);  // which then is the last to go
    Entry& entry(const Question& question, Clock::time_point now);
    bool see(Entry& entry, const policy::IpAddress& address, Clock::time_point until);
    void forget_oldest();

    const Limits limits_;
    Entries entries_;  // the last used first
    std::unordered_map<Question, Entries::iterator, QuestionHash> by_question_;
    std::size_t addresses_ = 0;
};

}  // namespace sluice::names
