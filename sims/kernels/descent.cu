// Gradient descents of the linear model: one block runs one trial from start to end with its state in shared memory.
//
// Compile-time constants, so that loops unroll and indices divide by constants:
//   REAL     float or double
//   DIM      d, the ambient dimension
//   RANK     k, columns of each adapter
//   TASKS    T, retraining tasks
//   THREADS  threads of a block
//
// Every phase is a strided loop over independent items, and phases are separated by barriers; a phase never writes what
// another item of the same phase reads. The same source is therefore plain C++ with the words of host_shim.h.
// All arrays are dense in C order with the trial as leading axis, records first: (records, trials, ...).

typedef REAL Real;

constexpr int d = DIM, k = RANK, T = TASKS;
constexpr int dd = d * d, dk = d * k, kk = k * k;
constexpr int odd = d | 1;  // leading dimension of a matrix read by rows and by columns: no bank conflicts either way

#define FOR_EACH(item, count) for (int item = threadIdx.x; item < (count); item += THREADS)

// Where iterate `step` is recorded: every `every` steps (0: never) and at the end; -1: nowhere.
__device__ inline int record_slot(int step, int steps, int every, int records) {
    if (step == steps) return records - 1;
    return every > 0 && step % every == 0 ? step / every : -1;
}

// Copy `count` numbers of this block's trial to their place in a record.
__device__ inline void record(Real* out, const Real* from, int slot, int count) {
    Real* to = out + ((long long)slot * gridDim.x + blockIdx.x) * count;
    FOR_EACH(item, count) to[item] = from[item];
}

__device__ inline void load(Real* to, const Real* in, int count) {
    const Real* from = in + (long long)blockIdx.x * count;
    FOR_EACH(item, count) to[item] = from[item];
}

// sum_l X[i, l] Y[l, j] of d x d matrices.
__device__ inline Real product(const Real* X, const Real* Y, int i, int j) {
    Real sum = 0;
    for (int l = 0; l < d; ++l) sum += X[i * d + l] * Y[l * d + j];
    return sum;
}

// sum_l M[l, i] X[l, c] with M of leading dimension `stride` and X (d, k): (M^T X)[i, c], M X where M is symmetric.
// Neighbouring items read neighbouring columns of M, so symmetric matrices are read without bank conflicts.
__device__ inline Real column_product(const Real* M, const Real* X, int i, int c, int stride) {
    Real sum = 0;
    for (int l = 0; l < d; ++l) sum += M[l * stride + i] * X[l * k + c];
    return sum;
}

// (X^T Y)[a, b] of (d, k) matrices.
__device__ inline Real inner_product(const Real* X, const Real* Y, int a, int b) {
    Real sum = 0;
    for (int l = 0; l < d; ++l) sum += X[l * k + a] * Y[l * k + b];
    return sum;
}

// (X M)[i, c] of X (d, k) and M (k, k).
__device__ inline Real combination(const Real* X, const Real* M, int i, int c) {
    Real sum = 0;
    for (int a = 0; a < k; ++a) sum += X[i * k + a] * M[a * k + c];
    return sum;
}

__device__ inline void swap(Real*& x, Real*& y) {
    Real* held = x;
    x = y;
    y = held;
}

// P_t = S_t U_t for all tasks.
__device__ inline void weigh_adapters(Real* P, const Real* S, const Real* U) {
    FOR_EACH(item, T * dk) {
        const int t = item / dk, i = item / k % d, c = item % k;
        P[item] = column_product(S + t * dd, U + t * dk, i, c, d);
    }
}

// One step on all adapters; the new U is left in `next`. With A fixed, G_t + G_t^T = K_t + U_t P_t^T + P_t U_t^T:
//   U_t - eta [ K_t U_t + U_t (U_t^T P_t) + P_t (U_t^T U_t) ],   P_t = S_t U_t.
__device__ inline void step_adapters(
    Real* next, Real* P, Real* products, const Real* U, const Real* S, const Real* K, Real step_size
) {
    FOR_EACH(item, T * dk) {
        const int t = item / dk, i = item / k % d, c = item % k;
        P[item] = column_product(S + t * dd, U + t * dk, i, c, d);
        next[item] = column_product(K + t * dd, U + t * dk, i, c, d);
    }
    __syncthreads();
    FOR_EACH(item, 2 * T * kk) {
        const int t = item / kk % T, a = item / k % k, b = item % k;
        products[item] = inner_product(U + t * dk, (item < T * kk ? P : U) + t * dk, a, b);
    }
    __syncthreads();
    FOR_EACH(item, T * dk) {
        const int t = item / dk, i = item / k % d, c = item % k;
        const Real* UP = products + t * kk;
        const Real gradient = next[item] + combination(U + t * dk, UP, i, c) + combination(P + t * dk, UP + T * kk, i, c);
        next[item] = U[item] - step_size * gradient;
    }
    __syncthreads();
}

// K_t = (A - W_t) S_t + its transpose, and D = sum_t (A - W_t) S_t, the part of A's gradient that is free of U.
__device__ inline void fix_base(Real* K, Real* D, const Real* A, const Real* S, const Real* C) {
    FOR_EACH(item, T * dd) {
        const int t = item / dd, i = item / d % d, j = item % d;
        K[item] = product(A, S + t * dd, i, j) - C[item];
    }
    __syncthreads();
    FOR_EACH(item, dd) {
        const int i = item / d, j = item % d;
        if (i > j) continue;  // the item of (j, i) does both
        Real upper = 0, lower = 0;
        for (int t = 0; t < T; ++t) {
            Real &at = K[t * dd + i * d + j], &mirrored = K[t * dd + j * d + i];
            upper += at;
            lower += mirrored;
            at = mirrored = at + mirrored;
        }
        D[i * d + j] = upper;
        D[j * d + i] = lower;
    }
    __syncthreads();
}

// The paper's retraining: `inner_steps` steps on every U_t, each on its own task's loss, then one step on A, on the mean
// over tasks; `outer_steps` times. S, W (trials, T, d, d), A (trials, d, d), U (trials, T, d, k).
extern "C" __global__ void __launch_bounds__(THREADS) lora_ml(
    const Real* S_in, const Real* W_in, const Real* A_in, const Real* U_in, Real* A_out, Real* U_out,
    int outer_steps, Real outer_step_size, int inner_steps, Real inner_step_size, int every, int records
) {
    extern __shared__ Real shared[];
    Real *S = shared, *C = S + T * dd, *K = C + T * dd, *A = K + T * dd, *D = A + dd;
    Real *U = D + dd, *next = U + T * dk, *P = next + T * dk, *products = P + T * dk;

    load(S, S_in, T * dd);
    load(A, A_in, dd);
    load(U, U_in, T * dk);
    __syncthreads();
    FOR_EACH(item, T * dd) {
        const int t = item / dd, i = item / d % d, j = item % d;
        C[item] = product(W_in + ((long long)blockIdx.x * T + t) * dd, S + t * dd, i, j);
    }
    const Real mean_step_size = outer_step_size / T;
    for (int step = 0;; ++step) {
        const int slot = record_slot(step, outer_steps, every, records);
        if (slot >= 0) {
            record(A_out, A, slot, dd);
            record(U_out, U, slot, T * dk);
        }
        if (step == outer_steps) return;
        fix_base(K, D, A, S, C);
        for (int inner = 0; inner < inner_steps; ++inner) {
            step_adapters(next, P, products, U, S, K, inner_step_size);
            swap(U, next);
        }
        weigh_adapters(P, S, U);
        __syncthreads();
        FOR_EACH(item, dd) {
            const int i = item / d, j = item % d;
            Real gradient = D[item];
            for (int t = 0; t < T; ++t)
                for (int c = 0; c < k; ++c) gradient += U[t * dk + i * k + c] * P[t * dk + j * k + c];
            A[item] -= mean_step_size * gradient;
        }
        __syncthreads();
    }
}

// Fine-tuning U V^T to the residual R = W - base: with C = R S and P = S V the gradients at one point are
//   dU = U (V^T P) - C V,   dV = P (U^T U) - C^T U.
// S, R (trials, d, d), U, V (trials, d, k).
extern "C" __global__ void __launch_bounds__(THREADS) fine_tuning(
    const Real* S_in, const Real* R_in, const Real* U_in, const Real* V_in, Real* U_out, Real* V_out,
    int steps, Real step_size, int every, int records
) {
    extern __shared__ Real shared[];
    Real *S = shared, *C = S + dd, *U = C + d * odd, *V = U + dk;
    Real *next_U = V + dk, *next_V = next_U + dk, *P = next_V + dk, *products = P + dk;

    load(S, S_in, dd);
    load(U, U_in, dk);
    load(V, V_in, dk);
    __syncthreads();
    FOR_EACH(item, dd) {
        const int i = item / d, j = item % d;
        C[i * odd + j] = product(R_in + (long long)blockIdx.x * dd, S, i, j);
    }
    __syncthreads();
    for (int step = 0;; ++step) {
        const int slot = record_slot(step, steps, every, records);
        if (slot >= 0) {
            record(U_out, U, slot, dk);
            record(V_out, V, slot, dk);
        }
        if (step == steps) return;
        FOR_EACH(item, dk) {
            const int i = item / k, c = item % k;
            Real CV = 0;
            for (int l = 0; l < d; ++l) CV += C[i * odd + l] * V[l * k + c];
            next_U[item] = CV;
            next_V[item] = column_product(C, U, i, c, odd);
            P[item] = column_product(S, V, i, c, d);
        }
        __syncthreads();
        FOR_EACH(item, 2 * kk) {
            const int a = item / k % k, b = item % k;
            products[item] = item < kk ? inner_product(V, P, a, b) : inner_product(U, U, a, b);
        }
        __syncthreads();
        FOR_EACH(item, dk) {
            const int i = item / k, c = item % k;
            next_U[item] = U[item] - step_size * (combination(U, products, i, c) - next_U[item]);
            next_V[item] = V[item] - step_size * (combination(P, products + kk, i, c) - next_V[item]);
        }
        __syncthreads();
        swap(U, next_U);
        swap(V, next_V);
    }
}

// Standard retraining on the mean over tasks, dA = A mean_t S_t - mean_t W_t S_t.
// S, W (trials, T, d, d), A (trials, d, d).
extern "C" __global__ void __launch_bounds__(THREADS) standard_retraining(
    const Real* S_in, const Real* W_in, const Real* A_in, Real* A_out, int steps, Real step_size, int every, int records
) {
    extern __shared__ Real shared[];
    Real *S = shared, *C = S + dd, *A = C + dd, *next = A + dd;

    load(A, A_in, dd);
    FOR_EACH(item, dd) {
        const int i = item / d, j = item % d;
        Real S_sum = 0, C_sum = 0;
        for (int t = 0; t < T; ++t) {
            const long long task = ((long long)blockIdx.x * T + t) * dd;
            S_sum += S_in[task + item];
            C_sum += product(W_in + task, S_in + task, i, j);
        }
        S[item] = S_sum / T;
        C[item] = C_sum / T;
    }
    __syncthreads();
    for (int step = 0;; ++step) {
        const int slot = record_slot(step, steps, every, records);
        if (slot >= 0) record(A_out, A, slot, dd);
        if (step == steps) return;
        FOR_EACH(item, dd) next[item] = A[item] - step_size * (product(A, S, item / d, item % d) - C[item]);
        __syncthreads();
        swap(A, next);
    }
}
