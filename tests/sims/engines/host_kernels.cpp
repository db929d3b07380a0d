// The kernels on the CPU: a library that launches them by name, and a program around it for the thread sanitizer.

#include "host_shim.h"

#include "descent.cu"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int launch(const char* name, unsigned blocks, unsigned threads, std::size_t bytes, void** arguments) {
    const std::string kernel = name;
    if (kernel == "lora_ml") return host::launch(lora_ml, blocks, threads, bytes, arguments) ? 0 : 1;
    if (kernel == "fine_tuning") return host::launch(fine_tuning, blocks, threads, bytes, arguments) ? 0 : 1;
    if (kernel == "standard_retraining")
        return host::launch(standard_retraining, blocks, threads, bytes, arguments) ? 0 : 1;
    return 2;
}

static void require(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "%s\n", what);
    std::exit(3);
}

// program KERNEL BLOCKS SHARED_BYTES SKIPPED_LINE FILE: FILE holds for every argument whether it is an array, its bytes
// (two int64) and its content; it is overwritten with the arrays' contents after the launch.
int main(int count, char** words) {
    require(count == 6, "five words expected");
    host::skipped_line = std::atoi(words[4]);
    std::FILE* file = std::fopen(words[5], "r+b");
    require(file != nullptr, "cannot open the file of arguments");
    std::vector<std::vector<char>> contents;
    std::vector<bool> is_array;
    std::int64_t header[2];
    while (std::fread(header, sizeof header, 1, file) == 1) {
        is_array.push_back(header[0] != 0);
        contents.emplace_back(header[1]);
        require(std::fread(contents.back().data(), 1, header[1], file) == std::size_t(header[1]), "short file");
    }
    std::vector<void*> pointers(contents.size()), arguments(contents.size());
    for (std::size_t i = 0; i < contents.size(); ++i) {
        pointers[i] = contents[i].data();
        arguments[i] = is_array[i] ? static_cast<void*>(&pointers[i]) : pointers[i];
    }
    const int status = launch(words[1], std::atoi(words[2]), THREADS, std::atoll(words[3]), arguments.data());
    std::rewind(file);
    for (std::size_t i = 0; i < contents.size(); ++i)
        if (is_array[i]) std::fwrite(contents[i].data(), 1, contents[i].size(), file);
    return std::fclose(file) == 0 ? status : 4;
}
