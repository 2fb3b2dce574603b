// The log on a pipe: nothing is lost while somebody reads, and nobody waits for one who does not.
#include "userspace/agent/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "userspace/datapath/fd.h"

namespace sluice::agent {
namespace {

using datapath::Fd;

struct Pipe {
    Pipe() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
        read_end = Fd(ends[0]);
        write_end = Fd(ends[1]);
    }

    Fd read_end;
    Fd write_end;
};

// All that comes until the last writer is gone.
std::string read_all(int fd) {
    std::string all;
    std::array<char, 65536> buffer;
    for (ssize_t n = 0; (n = ::read(fd, buffer.data(), buffer.size())) > 0;)
        all.append(buffer.data(), static_cast<std::size_t>(n));
    return all;
}

TEST(Log, EveryLineArrivesWholeAndInOrder) {
    Pipe pipe;
    std::string expected;
    std::string got;
    std::thread reader([&] { got = read_all(pipe.read_end.get()); });
    {
        Log log(pipe.write_end.get());
        for (int i = 0; i < 10'000; ++i) {
            const std::string line = "line " + std::to_string(i);
            log.write(line);
            expected += line + "\n";
        }
        EXPECT_EQ(log.lines_lost(), 0);
    }
    pipe.write_end.reset();
    reader.join();
    EXPECT_EQ(got, expected);
}

TEST(Log, StuckReaderCostsBoundedMemoryAndHoldsUpNeitherWriterNorStop) {
    Pipe pipe;
    const std::string line(1023, 'x');
    constexpr int lines = 10'000;  // 10 MB, more than the log keeps
    std::uint64_t lost = 0;
    {
        Log log(pipe.write_end.get());
        for (int i = 0; i < lines; ++i)
            log.write(line);
        lost = log.lines_lost();
        EXPECT_GT(lost, 0);
        // The destructor is reached, and returns: the test would hang here.
    }
    pipe.write_end.reset();
    const std::string got = read_all(pipe.read_end.get());
    EXPECT_LE(got.size(), 5 << 20);
    EXPECT_GT(got.size(), 0);
}

}  // namespace
}  // namespace sluice::agent
