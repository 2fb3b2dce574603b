#include "policy/name_key.h"

#include <bit>

namespace sluice::policy {
namespace {

// Newton's iteration: each step doubles the number of right bits, of which the first guess has 5.
std::uint64_t inverse_of(std::uint64_t odd) {
    std::uint64_t inverse = odd * 3 ^ 2;
    for (int i = 0; i < 4; ++i)
        inverse *= 2 - odd * inverse;
    return inverse;
}

}  // namespace

NameKeys::NameKeys(std::uint64_t seed, unsigned key_bits)
    : seed_(mix(seed ^ mix_3, mix_1)), key_bits_(key_bits), mask_((std::uint64_t{1} << key_bits) - 1) {
    for (std::size_t i = 0; i < factors_.size(); ++i) {
        factors_[i] = mix(seed ^ mix_1, mix_2 + i) | 1;
        inverses_[i] = inverse_of(factors_[i]);
    }
}

std::uint64_t NameKeys::hash_of_rest(const NameKey& key) const {
    std::uint64_t hash = seed_;
    for (std::uint32_t i = 0; i * 8 < key.rest_bytes; ++i)
        hash = mix(hash ^ key.rest[i], mix_1);
    return mix(hash, mix_2);
}

void NameKeys::find(const CodedName& coded, std::uint32_t bits, NameKey& key) const {
    key.rest = {};
    const std::uint32_t rest_bits = bits + 1 > key_bits_ ? bits + 1 - key_bits_ : 0;
    key.rest_bytes = (rest_bits + 7) / 8;
    key.key = 0;
    if (key.rest_bytes > NameKey::rest_bytes_max) return;
    std::uint64_t word = ended(coded, bits, 0);
    std::uint64_t mixed = word & mask_;
    for (std::uint32_t i = 0; i * 8 < key.rest_bytes; ++i) {
        const std::uint64_t next = ended(coded, bits, i + 1);
        key.rest[i] = word >> key_bits_ | next << (64 - key_bits_);
        word = next;
    }
    mixed = (mixed ^ hash_of_rest(key)) & mask_;
    for (std::uint64_t factor : factors_) {
        mixed = mixed * factor & mask_;
        mixed ^= mixed >> ((key_bits_ + 1) / 2);
    }
    key.key = mixed;
}

std::uint64_t NameKeys::long_hash(const CodedName& coded, std::uint32_t bits) const {
    std::uint64_t hash = seed_;
    for (std::uint32_t i = 0; i <= bits / 64; ++i)
        hash = mix(hash ^ ended(coded, bits, i), mix_1);
    return mix(hash, mix_2);
}

std::uint32_t NameKeys::code_of(const NameKey& key, std::array<std::uint64_t, 6>& words) const {
    std::uint64_t mixed = key.key;
    for (std::size_t i = factors_.size(); i-- > 0;) {
        mixed ^= mixed >> ((key_bits_ + 1) / 2);  // at least half the bits: once undoes it
        mixed = mixed * inverses_[i] & mask_;
    }
    words = {(mixed ^ hash_of_rest(key)) & mask_};
    for (std::uint32_t i = 0; i * 8 < key.rest_bytes; ++i) {
        words[i] |= key.rest[i] << key_bits_;
        words[i + 1] |= key.rest[i] >> (64 - key_bits_);
    }
    for (std::uint32_t i = static_cast<std::uint32_t>(words.size()); i-- > 0;) {
        if (words[i] != 0) return i * 64 + static_cast<std::uint32_t>(std::bit_width(words[i])) - 1;
    }
    return 0;
}

}  // namespace sluice::policy
