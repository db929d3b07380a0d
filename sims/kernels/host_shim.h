// The words of CUDA that descent.cu uses, for a C++20 compiler, so that the kernels run on the CPU.
//
// Include this before descent.cu. Blocks run one after another. A block of one thread has serial semantics; in a block of
// several threads __syncthreads() is a std::barrier, and the thread sanitizer reports every barrier that is missing.
#pragma once

#include <algorithm>
#include <barrier>
#include <cmath>
#include <limits>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(threads)
#define __syncthreads() host::synchronise(__LINE__)

namespace host {
struct Index {
    unsigned x;
};
inline std::unique_ptr<std::barrier<>> barrier;
inline int skipped_line = 0;  // the barrier on this line of the kernels is left out: a defect that tests must notice

inline void synchronise(int line) {
    if (line != skipped_line) barrier->arrive_and_wait();
}
}  // namespace host

inline thread_local host::Index threadIdx;
inline host::Index blockIdx, gridDim;

#ifndef SHARED_BYTES
#define SHARED_BYTES 232448  // what a block may have on compute capability 9.0
#endif
alignas(16) REAL shared[SHARED_BYTES / sizeof(REAL)];  // what `extern __shared__ Real shared[]` names

namespace host {
template <class... P, std::size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(arguments[I])...);
}

// Run a kernel as cuLaunchKernel does: arguments[i] points to the i-th argument. Shared memory starts as NaN in every
// block, so that reading before writing shows; returns false if memory beyond `shared_bytes` was written.
template <class... P>
bool launch(void (*kernel)(P...), unsigned blocks, unsigned threads, std::size_t shared_bytes, void** arguments) {
    const REAL nan = std::numeric_limits<REAL>::quiet_NaN();
    gridDim.x = blocks;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        std::fill(std::begin(shared), std::end(shared), nan);
        barrier = std::make_unique<std::barrier<>>(threads);
        const auto body = [&](unsigned thread) {
            threadIdx.x = thread;
            call(kernel, arguments, std::index_sequence_for<P...>{});
        };
        std::vector<std::thread> others;
        for (unsigned thread = 1; thread < threads; ++thread) others.emplace_back(body, thread);
        body(0);
        for (auto& other : others) other.join();
        const auto untouched = [](REAL value) { return std::isnan(value); };
        if (!std::all_of(shared + shared_bytes / sizeof(REAL), std::end(shared), untouched)) return false;
    }
    return true;
}
}  // namespace host
