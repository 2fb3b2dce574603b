#include "policy/name_code.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <queue>

namespace sluice::policy {
namespace {

constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
constexpr std::size_t symbols = NameCode::symbols;
constexpr std::uint8_t none = symbols;  // stands for the end of the name in a context; no name has it
constexpr std::uint8_t dot = symbols - 1;
static_assert(alphabet.size() == symbols && alphabet[dot] == '.');

constexpr std::array<std::uint8_t, 256> symbol_of = [] {
    std::array<std::uint8_t, 256> table{};
    table.fill(none);
    for (std::size_t i = 0; i < symbols; ++i)
        table[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
    return table;
}();

// The two characters to the right, and whether there was a dot.
class Context {
  public:
    std::size_t row() const {
        return ((below_top_ * (symbols + 1) + far_) * (symbols + 1) + near_) * symbols;
    }
    void push(std::uint8_t symbol) {
        far_ = near_;
        near_ = symbol;
        below_top_ |= symbol == dot ? 1 : 0;
    }

  private:
    std::size_t below_top_ = 0;
    std::size_t far_ = none;
    std::size_t near_ = none;
};

// The same, and a symbol that follows, as an index of the codes: padded, so that a step is a shift.
class CodeIndex {
  public:
    static constexpr unsigned symbol_bits = 6;
    static constexpr std::size_t size = std::size_t{2} << 3 * symbol_bits;
    static_assert(symbols < 1u << symbol_bits);

    static constexpr std::size_t of(std::size_t below_top, std::size_t far, std::size_t near,
                                    std::size_t next) {
        return ((below_top << symbol_bits | far) << symbol_bits | near) << symbol_bits | next;
    }
    // Of `next` after those that were pushed before.
    std::size_t push(std::uint8_t next, bool is_dot) {
        const std::size_t index = below_top_ | context_ << symbol_bits | next;
        context_ = index % (std::size_t{1} << 2 * symbol_bits);
        below_top_ |= std::size_t{is_dot} << 3 * symbol_bits;
        return index;
    }

  private:
    std::size_t context_ = of(0, 0, none, none);
    std::size_t below_top_ = 0;
};

std::uint8_t symbol(char c) {
    return symbol_of[static_cast<unsigned char>(c)];
}

// Depths of Huffman's tree (1952) over `weights`, none of them zero.
unsigned huffman_lengths(std::span<const std::uint32_t> weights, std::span<std::uint8_t> lengths) {
    struct Node {
        std::uint64_t weight;
        std::size_t number;
        bool operator>(const Node& other) const {
            return std::pair(weight, number) > std::pair(other.weight, other.number);
        }
    };
    std::priority_queue<Node, std::vector<Node>, std::greater<>> heap;
    std::array<std::size_t, 2 * symbols> parent{};
    for (std::size_t i = 0; i < symbols; ++i)
        heap.push({weights[i], i});
    std::size_t next = symbols;
    for (; heap.size() > 1; ++next) {
        const Node left = heap.top();
        heap.pop();
        const Node right = heap.top();
        heap.pop();
        parent[left.number] = parent[right.number] = next;
        heap.push({left.weight + right.weight, next});
    }
    const std::size_t root = next - 1;
    std::array<unsigned, 2 * symbols> depth{};
    unsigned deepest = 0;
    for (std::size_t node = root; node-- > 0;) {
        depth[node] = depth[parent[node]] + 1;
        deepest = std::max(deepest, depth[node]);
        if (node < symbols) lengths[node] = static_cast<std::uint8_t>(std::min(depth[node], 255u));
    }
    return deepest;
}

std::uint32_t reversed(std::uint32_t code, unsigned bits) {
    std::uint32_t result = 0;
    for (unsigned i = 0; i < bits; ++i)
        result |= (code >> i & 1) << (bits - 1 - i);
    return result;
}

}  // namespace

void NameCode::Statistics::add(std::string_view name) {
    Context context;
    for (std::size_t i = name.size(); i-- > 0;) {
        ++counts_[context.row() + symbol(name[i])];
        context.push(symbol(name[i]));
    }
}

NameCode::NameCode(const Statistics& statistics) : lengths_(lengths_bytes) {
    for (std::size_t row = 0; row < lengths_bytes; row += symbols) {
        std::array<std::uint32_t, symbols> weights{};
        std::copy_n(statistics.counts_.begin() + static_cast<std::ptrdiff_t>(row), symbols, weights.begin());
        // Flatter weights until the rarest character's code is short enough.
        while (huffman_lengths(weights, std::span(lengths_).subspan(row, symbols)) > code_bits_max) {
            for (std::uint32_t& weight : weights)
                weight = weight / 2 + 1;
        }
    }
    assign_codes();
}

bool NameCode::is_complete(std::span<const std::uint8_t, lengths_bytes> lengths) {
    for (std::size_t row = 0; row < lengths_bytes; row += symbols) {
        std::uint32_t used = 0;  // Kraft's sum, in units of the longest code
        for (std::uint8_t length : lengths.subspan(row, symbols)) {
            if (length == 0 || length > code_bits_max) return false;
            used += 1u << (code_bits_max - length);
        }
        if (used != 1u << code_bits_max) return false;
    }
    return true;
}

NameCode::NameCode(std::span<const std::uint8_t, lengths_bytes> lengths)
    : lengths_(lengths.begin(), lengths.end()) {
    assign_codes();
}

// Canonical codes: shorter ones first, those of one length in the order of the alphabet.
void NameCode::assign_codes() {
    codes_.resize(CodeIndex::size);
    by_code_.resize(lengths_bytes);
    for (std::size_t row = 0; row < lengths_bytes; row += symbols) {
        const auto order = std::span(by_code_).subspan(row, symbols);
        std::iota(order.begin(), order.end(), std::uint8_t{0});
        std::ranges::sort(order, {},
                          [&](std::uint8_t next) { return std::pair(lengths_[row + next], next); });
        std::uint32_t code = 0;
        unsigned length = lengths_[row + order[0]];
        for (std::uint8_t next : order) {
            code <<= lengths_[row + next] - length;
            length = lengths_[row + next];
            const std::size_t context = row / symbols;
            codes_[CodeIndex::of(context / ((symbols + 1) * (symbols + 1)),
                                 context / (symbols + 1) % (symbols + 1), context % (symbols + 1), next)] =
                static_cast<std::uint16_t>(reversed(code++, length) << code_length_bits | length);
        }
    }
}

void NameCode::encode(std::string_view name, CodedName& coded) const {
    static_assert(sizeof coded.words >=
                  server_name_bytes_max * code_bits_max / 8 + 2 * sizeof(std::uint64_t));
    auto* const bytes = reinterpret_cast<unsigned char*>(coded.words.data());
    // Kept out of memory that `bytes` might point to, for all that the compiler knows.
    const std::uint16_t* const codes = codes_.data();
    const std::size_t stop = name.size() > server_name_bytes_max ? name.size() - server_name_bytes_max : 0;
    constexpr unsigned steps_max = 4;  // whose codes fit into a word, beside what is left of a byte
    static_assert(steps_max * code_bits_max + 7 <= 64);
    std::size_t borders = 0;
    std::size_t at = name.size();
    CodeIndex index;
    std::uint64_t pending = 0;  // bits that are not written yet
    unsigned pending_bits = 0;
    std::size_t whole_bytes = 0;
    bool goes_on = true;
    while (goes_on && at > stop) {
        for (unsigned step = 0; step < steps_max && at > stop; ++step) {
            const std::uint8_t next = symbol(name[at - 1]);
            if (next == none) {
                goes_on = false;
                break;
            }
            // Written at each step, wanted or not: cheaper than a branch that nobody can foresee.
            coded.borders[borders] = {static_cast<std::uint32_t>(whole_bytes * 8 + pending_bits),
                                      static_cast<std::uint32_t>(at)};
            borders += next == dot;
            const unsigned entry = codes[index.push(next, next == dot)];
            pending |= static_cast<std::uint64_t>(entry >> code_length_bits) << pending_bits;
            pending_bits += entry % (1u << code_length_bits);
            --at;
        }
        std::memcpy(bytes + whole_bytes, &pending, sizeof pending);
        whole_bytes += pending_bits / 8;
        pending >>= pending_bits & ~7u;
        pending_bits %= 8;
    }
    if (at == 0) coded.borders[borders++] = {static_cast<std::uint32_t>(whole_bytes * 8 + pending_bits), 0};
    coded.borders_count = borders;
}

void NameCode::decode(const std::uint8_t* code, std::size_t bits, std::string& name) const {
    name.clear();
    Context context;
    for (std::size_t at = 0; at < bits && name.size() < server_name_bytes_max;) {
        // Walks the codes in their order: `first` is the code of order[rank], were it `length` bits long.
        const std::size_t row = context.row();
        std::uint32_t value = 0;
        std::uint32_t first = 0;
        std::size_t rank = 0;
        for (unsigned length = 1; at < bits && length <= code_bits_max; ++length) {
            value = value << 1 | (code[at / 8] >> (at % 8) & 1u);
            ++at;
            first <<= 1;
            std::uint32_t count = 0;
            while (rank + count < symbols && lengths_[row + by_code_[row + rank + count]] == length)
                ++count;
            if (value - first < count) {
                const std::uint8_t found = by_code_[row + rank + (value - first)];
                name += alphabet[found];
                context.push(found);
                break;
            }
            first += count;
            rank += count;
        }
    }
    std::ranges::reverse(name);
}

std::size_t NameCode::bytes() const {
    return lengths_.size() + codes_.size() * sizeof(codes_[0]) + by_code_.size();
}

}  // namespace sluice::policy
