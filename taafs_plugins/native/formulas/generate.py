"""C++ from formulas: SymPy differentiates them in z and in their numbers, common subexpressions are computed once.

A formula is a :class:`Formula` of SymPy expressions. The functions below are those that the kernels have, with stable derivatives:
``1 - tanh^2`` is a function of its own and not a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sympy
from sympy import Expr, Function, Symbol, cse


def _function(name: str, derivative: Callable[[Expr], Expr]) -> type[Function]:
    return type(name, (Function,), {"fdiff": lambda self, argindex=1: derivative(self.args[0]), "nargs": 1})


exp = _function("exp_", lambda u: exp(u))
expm1 = _function("expm1_", lambda u: exp(u))
sigmoid = _function("sigmoid_", lambda u: sigmoid(u) * cosigmoid(u))
cosigmoid = _function("cosigmoid_", lambda u: -sigmoid(u) * cosigmoid(u))  # sigmoid(-u)
tanh = _function("tanh_", lambda u: sech2(u))
sech2 = _function("sech2_", lambda u: -2 * tanh(u) * sech2(u))
mish = _function("mish_", lambda u: comish(u) * sigmoid(u))  # tanh(ln(1 + e^u))
sign = _function("sign_", lambda u: sympy.Integer(0))
comish = _function("comish_", lambda u: -2 * mish(u) * comish(u) * sigmoid(u))  # 1 - mish^2


@dataclass(frozen=True)
class Formula:
    """``left`` where guard < low, ``right`` where guard >= high, else ``near``.

    So that no derivative meets infinity times 0: where ``near`` does not hold it is computed at z = 0 and not used.

    Attributes
    ----------
    guard, left, near, right : of z and the numbers
    low, high : bounds of the guard
    """

    guard: Expr
    left: Expr
    near: Expr
    right: Expr
    low: float = -80.0
    high: float = 80.0


# What a family writes: (z, numbers) -> Formula.
Expression = Callable[[Symbol, Sequence[Symbol]], Formula]


def _product(factors: Sequence[Expr], number: str) -> str:
    return " * ".join(f"({text})" if arg.is_Add else text for arg, text in ((arg, printed(arg, number)) for arg in factors))


def printed(e: Expr, number: str) -> str:
    """An expression in C++ operators; ``number`` wraps each number."""
    if e.is_Number or e.is_NumberSymbol:
        return f"{number}({float(e)!r})"
    if e.is_Symbol:
        return e.name
    if e.is_Add:
        return " + ".join(printed(arg, number) for arg in e.args)
    if e.is_Mul:
        return _product(e.args, number)
    if e.is_Pow and e.exp.is_Integer and int(e.exp) > 0:
        return _product([e.base] * int(e.exp), number)
    if isinstance(e, Function):
        return f"{e.func.__name__}{'<T>' if number == 'T' else ''}({printed(e.args[0], number)})"
    raise ValueError(f"{e} is not made of what the kernels know: +, *, whole powers, and the functions of this module.")


def _block(outputs: Sequence[Expr], prefix: str, number: str, kind: str) -> tuple[list[str], list[str]]:
    """Lines that compute the common subexpressions, and one expression for each output."""
    shared, rest = cse(list(outputs), symbols=(Symbol(f"{prefix}{i}") for i in range(10_000)), order="none")
    lines = [f"const {kind} {name} = {printed(value, number)};" for name, value in shared]
    return lines, [printed(value, number) for value in rest]


def _body(f: Formula, z: Symbol, of: Callable[[Expr], list[Expr]]) -> list[str]:
    """Hardly any vector holds an element outside of the guard: what such elements need is behind a branch, the rest is one code for all."""
    near = Symbol("n")
    lines = [f"const V u = {printed(f.guard, 'T')};", f"const auto right = u >= T({f.high!r});", f"const auto left = u < T({f.low!r});",
             "const bool far = any(right | left);", "V n = z;", "if (far) n = right ? V{} : left ? V{} : z;"]  # fmt: skip
    more, inside = _block([o.subs(z, near) for o in of(f.near.subs(near, z))], "a", "T", "V")
    lines += more + [f"f[{i}] = V{{}} + ({text});" for i, text in enumerate(inside)] + ["if (!far) return;"]
    for prefix, side, e in (("b", "right", f.right), ("c", "left", f.left)):
        more, found = _block(of(e), prefix, "T", "V")
        lines += more + [f"f[{i}] = {side} ? V{{}} + ({text}) : f[{i}];" for i, text in enumerate(found)]
    return lines


def _numbers(count: int) -> tuple[Symbol, list[Symbol]]:
    return Symbol("z"), [Symbol(f"q{k}") for k in range(count)]


def kernel(name: str, count: int, expression: Expression) -> str:
    """The struct that ``kernels.h`` loops over: value, slope, first and second derivatives of one formula."""
    z, q = _numbers(count)
    f = expression(z, q)
    modes = {
        "value": lambda e: [e],
        "slope": lambda e: [sympy.diff(e, z)],
        "first": lambda e: [sympy.diff(e, z), *(sympy.diff(e, p) for p in q)],
        # one by one: a double diff rewrites the functions' arguments, which are then computed twice
        "second": lambda e: [sympy.diff(e, z), sympy.diff(sympy.diff(e, z), z), *(sympy.diff(sympy.diff(e, z), p) for p in q)],
    }
    text = [f"struct {name} {{", f"    static constexpr int K = {count};"]
    for mode, of in modes.items():
        text += ["    template <class T, class V>", f"    static inline void {mode}(V z, const V* p, V* f) {{"]
        body = [*(f"const V {p} = p[{k}];" for k, p in enumerate(q)), *_body(f, z, of)]
        text += [f"        {line}" for line in body] + ["    }"]
    return "\n".join([*text, "};", ""])


def plain(name: str, count: int, expression: Expression) -> str:
    """The same value in torch operators, which autograd differentiates."""
    z, q = _numbers(count)
    f = expression(z, q)
    lines = [f"const Tensor& {p} = p[{k}];" for k, p in enumerate(q)]
    lines += [f"const Tensor u = {printed(f.guard, 'double')};", f"const Tensor right = u >= {f.high!r}, left = u < {f.low!r};",
              "const Tensor nothing = at::zeros_like(z), n = at::where(at::logical_or(right, left), nothing, z);"]  # fmt: skip
    near, high, low = (printed(e, "double") for e in (f.near.subs(z, Symbol("n")), f.right, f.left))
    lines.append(f"return at::where(right, nothing + ({high}), at::where(left, nothing + ({low}), {near}));")
    head = f"inline Tensor plain_{name}(const Tensor& z, const std::vector<Tensor>& p) {{"
    return "\n".join([head, *(f"    {line}" for line in lines), "}", ""])


def sources(formulas: Sequence[tuple[str, int, Expression]]) -> dict[str, str]:
    """File name -> text of the generated part of the library; a formula is called by its place in the list.

    Parameters
    ----------
    formulas : name, how many numbers, expression
    """
    cases = [f"        case {i}: return run<{name}, T>(mode, d, first, last, sums);" for i, (name, _, _) in enumerate(formulas)]
    text = ['#include "kernels.h"', "", "namespace taafs_formulas {", "", *(kernel(*formula) for formula in formulas)]
    text += ["template <class T>", "void by_number(int index, Mode mode, const Data<T>& d, int64_t first, int64_t last, double* sums) {",
             "    switch (index) {", *cases, "    }", "}"]  # fmt: skip
    for kind in ("double", "float"):
        text.append(f"void run_formula(int index, Mode mode, const Data<{kind}>& d, int64_t first, int64_t last, double* sums) {{ "
                    "by_number(index, mode, d, first, last, sums); }")  # fmt: skip
    plains = [plain(*formula) for formula in formulas]
    cases = [f"        case {i}: return plain_{name}(z, p);" for i, (name, _, _) in enumerate(formulas)]
    plains += ["inline Tensor plain(int64_t index, const Tensor& z, const std::vector<Tensor>& p) {", "    switch (index) {", *cases,
               "    }", '    TORCH_CHECK(false, "taafs_formulas: unknown formula");', "}", ""]  # fmt: skip
    return {"kernels.cpp": "\n".join([*text, "", "}  // namespace taafs_formulas", ""]), "plain.inc": "\n".join(plains)}
