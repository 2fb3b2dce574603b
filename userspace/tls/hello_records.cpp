#include "userspace/tls/hello_records.h"

#include <algorithm>
#include <array>

namespace sluice::tls {
namespace {

constexpr std::size_t record_header_size = 5;     // type, legacy_record_version, length (RFC 8446 5.1)
constexpr std::size_t handshake_header_size = 4;  // msg_type, length (RFC 8446 4)
constexpr std::uint8_t change_cipher_spec_type = 20;
constexpr std::uint8_t handshake_type = 22;
constexpr std::uint8_t application_data_type = 23;
constexpr std::uint8_t client_hello_message = 1;

std::size_t record_length(Bytes record) {
    return static_cast<std::size_t>(record[3]) << 8 | record[4];
}

bool may_precede_second_hello(std::uint8_t type) {
    return type == change_cipher_spec_type || type == application_data_type;
}

// Walks the records from the front. Every answer is either certain, whatever follows, or `incomplete`.
class Walk {
  public:
    Walk(Bytes stream, Turn turn) : stream_(stream), turn_(turn) {}

    HelloRecords run() {
        if (turn_ == Turn::second_hello) skip_before_second_hello();
        first_ = position_;
        while (!done_)
            step();
        return out_;
    }

    std::size_t first_record() const { return first_; }
    std::size_t message_size() const { return wanted_; }

  private:
    void skip_before_second_hello() {
        for (std::size_t skipped = 0; skipped < hello_records_max; ++skipped) {
            Bytes rest = stream_.subspan(position_);
            if (rest.empty() || !may_precede_second_hello(rest[0])) return;
            if (rest.size() < record_header_size) return incomplete(position_ + record_header_size);
            if (rest[1] != 3) return not_tls();
            std::size_t length = record_length(rest);
            if (length > encrypted_record_bytes_max) return malformed("record too long");
            if (rest.size() - record_header_size < length) {
                return incomplete(position_ + record_header_size + length);
            }
            position_ += record_header_size + length;
        }
        malformed("too many records before the second hello");
    }

    // One record: its header, then as much of its fragment as there is.
    void step() {
        Bytes rest = stream_.subspan(position_);
        if (!header_fits(rest)) return;
        std::size_t length = record_length(rest);
        if (length > record_bytes_max) return malformed("record too long");
        if (out_.records == hello_records_max) return malformed("too many records");
        Bytes fragment = rest.subspan(record_header_size);
        fragment = fragment.first(std::min(fragment.size(), length));
        if (!handshake_header_fits(fragment)) return;
        // A hello is the last thing its sender may say before the server answers, so nothing can follow it in
        // its record; a TLS 1.3 server must refuse that too (RFC 8446 5.1).
        if (wanted_known() && wanted_ - seen_ < length) return malformed("record goes on after the hello");
        if (fragment.size() < length) {
            return incomplete(position_ + record_header_size + std::min(length, wanted_ - seen_));
        }
        seen_ += length;
        position_ += record_header_size + length;
        ++out_.records;
        if (wanted_known() && seen_ == wanted_) found();
    }

    // True when a whole handshake record header is there; otherwise the walk is over.
    bool header_fits(Bytes rest) {
        bool opening = position_ == first_;
        if (!rest.empty() && rest[0] != handshake_type) {
            opening ? not_tls() : malformed("another record type inside the hello");
        } else if (rest.size() >= 2 && rest[1] != 3) {
            opening ? not_tls() : malformed("record version is not TLS");
        } else if (rest.size() < record_header_size) {
            // Other protocols show themselves in the first byte, so that much is worth asking for.
            bool first_bytes = opening && rest.size() < 2;
            incomplete(position_ + (first_bytes ? rest.size() + 1 : record_header_size));
        }
        return !done_;
    }

    // Gathers the four bytes that may lie in four records. False when they contradict a ClientHello.
    bool handshake_header_fits(Bytes fragment) {
        for (std::size_t i = 0; i < fragment.size() && seen_ + i < handshake_header_size; ++i) {
            header_[seen_ + i] = fragment[i];
            ++header_seen_;
        }
        if (header_seen_ > 0 && header_[0] != client_hello_message) {
            malformed("handshake message is not a ClientHello");
            return false;
        }
        if (wanted_known()) {
            wanted_ = handshake_header_size + (static_cast<std::size_t>(header_[1]) << 16 |
                                               std::size_t{header_[2]} << 8 | header_[3]);
        }
        return true;
    }

    bool wanted_known() const { return header_seen_ == handshake_header_size; }

    void incomplete(std::size_t bytes_needed) {
        out_.status = HelloStatus::incomplete;
        out_.bytes_needed = bytes_needed;
        done_ = true;
    }
    void malformed(std::string_view why) {
        out_.status = HelloStatus::malformed;
        out_.why = why;
        done_ = true;
    }
    void not_tls() {
        out_.status = HelloStatus::not_tls;
        done_ = true;
    }
    void found() {
        out_.status = HelloStatus::found;
        out_.bytes = position_;
        done_ = true;
    }

    Bytes stream_;
    Turn turn_;
    HelloRecords out_;
    bool done_ = false;
    std::size_t position_ = 0;  // start of the record at hand
    std::size_t first_ = 0;     // start of the first handshake record
    std::size_t seen_ = 0;      // handshake bytes in the records before the one at hand
    std::size_t wanted_ =
        handshake_header_size;  // length of the message, header included, once that is known
    std::array<std::uint8_t, handshake_header_size> header_{};
    std::size_t header_seen_ = 0;
};

}  // namespace

HelloRecords read_hello_records(Bytes stream, Turn turn, std::vector<std::uint8_t>& joined) {
    Walk walk(stream, turn);
    HelloRecords out = walk.run();
    if (out.status != HelloStatus::found) return out;
    Bytes message = stream.subspan(walk.first_record() + record_header_size);
    if (out.records > 1) {
        joined.reserve(walk.message_size());
        for (std::size_t at = walk.first_record(); at < out.bytes;) {
            std::size_t length = record_length(stream.subspan(at));
            Bytes fragment = stream.subspan(at + record_header_size, length);
            joined.insert(joined.end(), fragment.begin(), fragment.end());
            at += record_header_size + length;
        }
        message = joined;
    }
    out.body = message.first(walk.message_size()).subspan(handshake_header_size);
    return out;
}

}  // namespace sluice::tls
