#include "userspace/tls/encrypted_hello.h"

#include <algorithm>
#include <array>

namespace sluice::tls {
namespace {

constexpr std::uint8_t outer_form = 0;
constexpr std::uint8_t inner_form = 1;

constexpr std::array<std::string_view, 3> public_names = {
    "cloudflare-ech.com",  // every zone that Cloudflare serves
    "public.tls-ech.dev",  // the BoringSSL team's test site
    "cover.defo.ie",       // the DEfO project's, OpenSSL's ECH
};

}  // namespace

bool is_ech_public_name(std::string_view server_name) {
    return std::ranges::find(public_names, server_name) != public_names.end();
}

// outer: type 0, kdf_id, aead_id, config_id, enc<0..2^16-1> (empty in a second hello), payload<1..2^16-1>
// inner: type 1, nothing else. A client-facing server sends it to its backend, with the real name beside it.
std::string_view read_encrypted_hello(Bytes data, Ech& ech) {
    ByteReader reader(data);
    std::uint8_t form = 0;
    if (!reader.u8(form)) return "empty encrypted_client_hello";
    if (form == inner_form) {
        ech = Ech::none;
        return reader.empty() ? std::string_view{} : "encrypted_client_hello lengths";
    }
    if (form != outer_form) return "encrypted_client_hello of an unknown form";
    std::uint16_t kdf = 0;
    std::uint16_t aead = 0;
    std::uint8_t config = 0;
    Bytes enc;
    Bytes payload;
    bool fits = reader.u16(kdf) && reader.u16(aead) && reader.u8(config) && reader.vector16(enc) &&
                reader.vector16(payload) && reader.empty();
    if (!fits || payload.empty()) return "encrypted_client_hello lengths";
    ech = Ech::grease;
    return {};
}

}  // namespace sluice::tls
