r"""Write a certificate of ML-3 for every independent structure as a file that Coq's kernel checks.

The theorem in it is that of the normal form: if ``E_t - X`` is a product of factors with k columns for t = 0, 1, 2, in
the first 3k rows and columns, then X is 0 there. Determinants, the relabelling of blocks and the identities are proved
from Coq's axioms of the real numbers alone; docs/certificates.md says what is left to people.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from loraml_theory.certified.check_theorem import BLOCKS, entries

NAMES = ("off_blocks", "in_block", "on_diagonal")

PREAMBLE = """\
(* ML-3 at k = {k}, {adapters} adapters, for every independent structure in normal form. Check: coqc THIS_FILE. *)
From Coq Require Import Reals Arith List Bool Lia Lra.
Import ListNotations.
Local Open Scope R_scope.

Definition one (t i j : nat) : bool := Nat.eqb i j && Nat.eqb (Nat.div i {k}) t.
Definition E (t i j : nat) : R := if one t i j then 1 else 0.
Definition M (X : nat -> nat -> R) (t i j : nat) : R := E t i j - X i j.

(* Three tasks have zero loss: each E_t - X is a product of factors with {k} columns. *)
Definition low (X : nat -> nat -> R) : Prop := forall t, (t < {blocks})%nat ->
  exists {factors} : nat -> nat -> R, forall i j, (i < {n})%nat -> (j < {n})%nat -> M X t i j = {sum}.

(* The determinant of some rows and columns, expanded along the first row. *)
Fixpoint along (f : nat -> list nat -> R) (before after : list nat) : R :=
  match after with
  | [] => 0
  | j :: later => f j (before ++ later) - along f (before ++ [j]) later
  end.
Fixpoint det (A : nat -> nat -> R) (rows columns : list nat) : R :=
  match rows with
  | [] => 1
  | i :: rest => along (fun j others => A i j * det A rest others) [] columns
  end.

Lemma vanishing : forall X, low X -> forall t {names},
  (Nat.ltb t {blocks} && forallb (fun i => Nat.ltb i {n}) [{listed}] = true)%bool ->
  det (M X t) [{rows}] [{columns}] = 0.
Proof.
  intros X H t {names} inside. apply andb_prop in inside as [Ht inside]. apply Nat.ltb_lt in Ht.
  destruct (H t Ht) as ({destructed} & product). cbn [forallb] in inside.
  repeat (apply andb_prop in inside; destruct inside as [?bound inside]).
  repeat match goal with bound : Nat.ltb _ _ = true |- _ => apply Nat.ltb_lt in bound end.
  cbv [det along app]. rewrite !product by assumption. ring.
Qed.

(* A permutation p of the indices that takes the blocks to one another by s. *)
Definition fits (p s : list nat) : bool :=
  forallb (fun t => Nat.ltb (nth t s 0%nat) {blocks} &&
    forallb (fun i => Nat.ltb (nth i p 0%nat) {n} &&
      forallb (fun j => Bool.eqb (one t i j) (one (nth t s 0%nat) (nth i p 0%nat) (nth j p 0%nat)))
        (seq 0 {n})) (seq 0 {n})) (seq 0 {blocks}).

Lemma every : forall f n, forallb f (seq 0 n) = true -> forall i, (i < n)%nat -> f i = true.
Proof. intros f n H i Hi. apply (proj1 (forallb_forall f _) H). apply in_seq. lia. Qed.

Lemma relabelled : forall X p s, low X -> fits p s = true ->
  low (fun i j => X (nth i p 0%nat) (nth j p 0%nat)).
Proof.
  intros X p s H F t Ht. pose proof (every _ _ F t Ht) as Ft. apply andb_prop in Ft as [Hs Fi].
  apply Nat.ltb_lt in Hs. destruct (H _ Hs) as ({destructed} & product).
  exists {moved}. intros i j Hi Hj.
  pose proof (every _ _ Fi i Hi) as G. apply andb_prop in G as [Gi Gij]. apply Nat.ltb_lt in Gi.
  pose proof (every _ _ Fi j Hj) as G. apply andb_prop in G as [Gj _]. apply Nat.ltb_lt in Gj.
  pose proof (every _ _ Gij j Hj) as same. apply Bool.eqb_prop in same.
  rewrite <- product by assumption. unfold M, E. rewrite same. reflexivity.
Qed.
"""

SWAP = """
Lemma swap : forall X, low X -> forall i j, (Nat.ltb i {n} && Nat.ltb j {n} = true)%bool -> X i j = X j i.
Proof.
  intros X H i j inside. apply andb_prop in inside as [Hi Hj]. apply Nat.ltb_lt in Hi, Hj.
  assert (first : (0 < {blocks})%nat) by lia. destruct (H 0%nat first) as (U & product).
  pose proof (product i j Hi Hj) as one_way. pose proof (product j i Hj Hi) as other_way.
  unfold M, E, one in *. rewrite (Nat.eqb_sym j i) in other_way.
  destruct (Nat.eqb_spec i j) as [same | _]; [subst; reflexivity | cbn [andb] in *; lra].
Qed.
"""

COMPUTE = "cbv [det along app M E one andb Nat.eqb Nat.div Nat.divmod Nat.sub fst snd]"


def exported(document: dict[str, Any]) -> str:
    """Return the text of a Coq file from the document of a valid certificate."""
    k, symmetric = document["k"], document["adapters"] == "symmetric"
    kinds = list(zip((name for name in NAMES if k > 1 or name != "in_block"), document["identities"], strict=True))
    parts = [_preamble(k, symmetric)]
    parts += [_identity(name, identity, BLOCKS * k, symmetric) for name, identity in kinds]
    parts += [_entry(i, j, k) for i, j in product(range(BLOCKS * k), repeat=2)]
    return "\n".join([*parts, _theorem(BLOCKS * k)])


def _preamble(k: int, symmetric: bool) -> str:
    rows, columns = ([f"{letter}{a}" for a in range(k + 1)] for letter in "rc")
    right = "U" if symmetric else "V"
    moved = [f"(fun i a => {factor} (nth i p 0%nat) a)" for factor in dict.fromkeys(("U", right))]
    text = PREAMBLE + (SWAP if symmetric else "")
    return text.format(
        k=k,
        n=BLOCKS * k,
        blocks=BLOCKS,
        adapters="symmetric" if symmetric else "asymmetric",
        factors="U" if symmetric else "U V",
        destructed="U" if symmetric else "U & V",
        moved=", ".join(moved),
        sum=" + ".join(f"U i {a}%nat * {right} j {a}%nat" for a in range(k)),
        names=" ".join(rows + columns),
        listed="; ".join(rows + columns),
        rows="; ".join(rows),
        columns="; ".join(columns),
    )


def _identity(name: str, identity: dict[str, Any], n: int, symmetric: bool) -> str:
    """Write the lemma that an identity proves: its entry of X is 0."""
    i, j = identity["entry"]
    terms = "\n      + ".join(_term(term) for term in identity["terms"])
    swaps = "".join(f" rewrite ?(swap X H {i} {j} eq_refl)." for i in range(n) for j in range(i)) if symmetric else ""
    return f"""
Lemma {name} : forall X, low X -> {_unknown(i, j)} = 0.
Proof.
  intros X H.
  assert (identity : {identity["multiple"]} * {_unknown(i, j)} =
      {terms}).
  {{ {COMPUTE}.{swaps} ring. }}
  rewrite !(vanishing X H) in identity by reflexivity. lra.
Qed.
"""


def _term(term: dict[str, Any]) -> str:
    powers = [f"{_unknown(i, j)}" for i, j, exponent in term["monomial"] for _ in range(exponent)]
    determinant = f"det (M X {term['task']}) {_list(term['rows'])} {_list(term['columns'])}"
    return " * ".join([f"({term['coefficient']})", *powers, determinant])


def _unknown(i: int, j: int) -> str:
    return f"X {i}%nat {j}%nat"


def _list(numbers: list[int]) -> str:
    return f"[{'; '.join(map(str, numbers))}]%nat"


def _entry(i: int, j: int, k: int) -> str:
    """Write the lemma for any entry, by the relabelling that takes the entry of its kind to it."""
    kinds = dict(zip(entries(k), (name for name in NAMES if k > 1 or name != "in_block"), strict=True))
    kind = (0, 0) if i == j else (0, 1) if i // k == j // k else (0, k)
    indices, blocks = relabelling(kind, (i, j), k)
    return (
        f"Lemma X_{i}_{j} : forall X, low X -> {_unknown(i, j)} = 0.\n"
        f"Proof. intros X H. exact ({kinds[kind]} _ (relabelled X {_list(indices)} {_list(blocks)} H eq_refl)). Qed."
    )


def relabelling(source: tuple[int, int], to: tuple[int, int], k: int) -> tuple[list[int], list[int]]:
    """Return a permutation of the indices, and the blocks' own, that takes one entry to another of its kind.

    Examples
    --------
    >>> relabelling((0, 2), (5, 1), 2)
    ([5, 4, 1, 0, 2, 3], [2, 0, 1])
    """
    wanted = dict(zip((i // k for i in source), (i // k for i in to), strict=True))
    spare = [block for block in range(BLOCKS) if block not in wanted.values()]
    blocks = [wanted[block] if block in wanted else spare.pop(0) for block in range(BLOCKS)]
    exact = dict(zip(source, to, strict=True))
    indices = []
    for block, image in enumerate(blocks):
        inside = range(block * k, (block + 1) * k)
        rest = [i for i in range(image * k, (image + 1) * k) if i not in exact.values()]
        indices += [exact[i] if i in exact else rest.pop(0) for i in inside]
    return indices, blocks


def _theorem(n: int) -> str:
    lemmas = " ".join(f"X_{i}_{j}" for i, j in product(range(n), repeat=2))
    return f"""
#[local] Hint Resolve {lemmas} : entries.

Theorem exact_recovery : forall X, low X -> forall i j, (i < {n})%nat -> (j < {n})%nat -> X i j = 0.
Proof.
  intros X H i j Hi Hj.
  do {n} (destruct i as [|i]; [do {n} (destruct j as [|j]; [solve [auto with entries] |]); exfalso; lia |]).
  exfalso; lia.
Qed.

Print Assumptions exact_recovery.
"""
