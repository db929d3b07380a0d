"""What the symbols and the kinds of structures mean: one text for report, documentation and command line."""

from __future__ import annotations

SYMBOLS = {
    "d": "dimension: all parameters are $d \times d$ matrices",
    "k": "rank of every task's shift, and of the adapters unless said otherwise",
    "T": "number of retraining tasks; the test task is number $T + 1$",
    r"A^\star": "the base that the tasks share",
    r"U_t^\star": r"factor of task $t$, $d \times k$; independent tasks: all their columns are linearly independent",
    r"R_t^\star": r"shift of task $t$, $U_t^\star (U_t^\star)^\top$",
    "W_t": r"parameter of task $t$, $A^\star + R_t^\star$; its data are $y = W_t x + \varepsilon$",
    r"A_{\mathrm{SR}}": "base of standard retraining, one parameter for all tasks",
    "A, U_t": "base and adapters of LoRA-ML, which minimises $f$; a base alone stands for what fine-tuning starts from",
    "f": r"LoRA-ML's population objective, $\frac12 \sum_t \|A + U_t U_t^\top - W_t\|_F^2$",
    r"\Delta": r"error of the fine-tuned parameter, $\hat W - W_{T+1}$",
    "S, C": r"second moments of inputs, $\frac1n \sum x x^\top$, and of outputs with inputs, $\frac1n \sum y x^\top$",
    r"\sigma, \sigma_x": "standard deviations of the noise and of the inputs",
    r"\sigma_i(\cdot)": "singular value number $i$, the largest first",
    "r, P": r"rank of adapters that have not rank $k$; a matrix $d \times (r - k)$ that base and adapters share (ML-8)",
    r"\Delta_t, \Sigma_t": r"CL: shift after task $t$ of a chain, and the covariance of its inputs",
    "F_j": r"forgetting of task $j$, its loss at $\Delta_T$ less that at $\Delta_j$",
    r"Q_t, E_t": r"projection on the span of $U_1^\star, \ldots, U_t^\star$; on what task $t$ adds, $Q_t - Q_{t-1}$",
    r"\rho": r"what $m$ steps of gradient descent of size $\eta$ keep of the past, $(1 - \eta)^m$ (CL-2)",
    r"\theta": "factors of the low-low band in the Haar filter (CL-12)",
    "n, N": "samples of the test task, and of each retraining task; the population is the limit of infinitely many",
    r"P_t^\perp": r"projection off the tangent space, the matrices $E (U_t^\star)^\top + U_t^\star E^\top$",
}
"""A line for every symbol, in LaTeX."""

GROUPS = {"paper": "The paper and what builds on it", "continual": "One task after another"}
"""A title for every group of claims."""

KINDS = {
    "generic": r"the paper's own: $A^\star$ the symmetric part of a normal matrix, $U_t^\star$ normal, variance 1",
    "asymmetric": r"the same with an $A^\star$ that is not symmetric",
    "orthogonal": "the columns of all factors are orthonormal, the best conditioned case",
    "scaled": "the retraining tasks' factors differ in size, evenly on a log axis from 1 to $10^5$",
    "integer": "all entries are small whole numbers, so that ranks can be decided over the rational numbers",
    "spurious": r"the integer instance at $k = 1$, $T = 3$ that has a strict spurious minimum (ML-5)",
    "repeated-task": "the retraining tasks are two in turn: no three are independent",
    "dependent": "the retraining factors share a space of dimension $2k$, and a second minimiser exists",
}
"""A line for every kind of `loraml_theory.zoo.KINDS`."""
