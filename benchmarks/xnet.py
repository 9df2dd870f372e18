"""X-Net on Nguyen, its fixed tree against an MLP, and Iris: the paper's Tables 2 and 3 with our figures, and what else a user would choose.

    python benchmarks/xnet.py nguyen      # 12 problems, 5 seeds; runs that are in the results already are left out
    python benchmarks/xnet.py others      # gplearn, MLP, kernel ridge on the same data
    python benchmarks/xnet.py fixed
    python benchmarks/xnet.py iris        # and: logistic
    python benchmarks/xnet.py page        # the tables in docs/xnet.md from the results

One line of JSON for each run in benchmarks/results/xnet.jsonl. Needs the extra `symbolic`; `others` needs gplearn as well.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import sympy
from sklearn.metrics import r2_score

from taafs_plugins.symbolic import Structure, Tree, XNetClassifier, XNetRegressor
from taafs_plugins.symbolic.descent import quasi_newton
from taafs_plugins.symbolic.nguyen import NGUYEN, sample, truth
from taafs_plugins.symbolic.propagation import predict

RESULTS = Path(__file__).parent / "results" / "xnet.jsonl"
# every neuron another function, as the paper's text says; which ones it does not say
FIXED = ("+ * sin x0 cos x0 - square x0 exp x0", "+ * sin x0 cos x1 - square x0 exp x1")


def data(problem: int, seed: int) -> tuple[np.ndarray, ...]:
    """Training points of the standard number and 1000 fresh ones of the same domain."""
    rng = np.random.default_rng([seed, problem])
    return (*sample(problem, rng), *sample(problem, rng, 1000))


def exact(model: XNetRegressor, problem: int) -> bool:
    """Whether simplify(found - truth) is 0 to 1e-6 on 1000 points of the domain."""
    _, variables, _, (low, high) = NGUYEN[problem]
    symbols = sympy.symbols("x y", real=True)[:variables]
    found = model.expressions([s.name for s in symbols])[0]
    difference = sympy.simplify(found - truth(problem).xreplace({sympy.Symbol(s.name): s for s in symbols}))
    points = np.random.default_rng(1).uniform(low, high, (1000, variables)).T
    with np.errstate(all="ignore"):
        values = np.broadcast_to(sympy.lambdify(symbols, difference, "numpy")(*points), 1000)
    return bool(np.abs(np.nan_to_num(values.astype(complex), nan=np.inf)).max() < 1e-6)


def run_nguyen(problem: int, seed: int) -> dict:
    """One run of X-Net with its defaults."""
    x, y, fresh_x, fresh_y = data(problem, seed)
    start = time.perf_counter()
    model = XNetRegressor(random_state=seed).fit(x, y)
    seconds = time.perf_counter() - start
    return {"r2": r2_score(fresh_y, model.predict(fresh_x)), "r2_fitted": r2_score(y, model.predict(x)), "nodes": model.n_nodes_,
            "parameters": model.n_parameters_, "seconds": round(seconds, 2), "exact": exact(model, problem),
            "formula": str(model.expressions("xy"[: x.shape[1]], 6)[0])}  # fmt: skip


def run_others(problem: int, seed: int) -> dict:
    """gplearn, scikit-learn's MLP and kernel ridge, each with a sensible setting, on the same data."""
    from gplearn.genetic import SymbolicRegressor
    from sklearn.gaussian_process.kernels import RBF
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.neural_network import MLPRegressor

    functions = ("add", "sub", "mul", "div", "sin", "cos", "log", "sqrt")
    genetic = SymbolicRegressor(population_size=500, generations=10, function_set=functions, parsimony_coefficient=1e-4, random_state=seed)
    models = {"gplearn": genetic,
              "mlp": MLPRegressor(hidden_layer_sizes=(16, 16), activation="tanh", solver="lbfgs", max_iter=5000, random_state=seed),
              "kernel ridge": KernelRidge(alpha=1e-8, kernel=RBF(1.0))}  # fmt: skip
    sizes: dict[str, Callable] = {"gplearn": lambda m: len(m._program.program),
             "mlp": lambda m: sum(w.size for w in m.coefs_ + m.intercepts_), "kernel ridge": lambda m: m.dual_coef_.size}  # fmt: skip
    x, y, fresh_x, fresh_y = data(problem, seed)
    result = {}
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(x, y)
        seconds = round(time.perf_counter() - start, 2)
        result[name] = {"r2": r2_score(fresh_y, model.predict(fresh_x)), "seconds": seconds, "size": sizes[name](model)}
    return result


def run_fixed(problem: int, seed: int) -> dict:
    """The fixed 4-2-1 tree and a fully connected 4-2-1 ReLU network, both by L-BFGS from ten starts, R2 on the points fitted."""
    from sklearn.neural_network import MLPRegressor

    x, y, _, _ = data(problem, seed)
    structure, rng = Structure.parse(FIXED[x.shape[1] - 1]), np.random.default_rng(seed)
    size = len(structure)
    fits = [quasi_newton(structure, x.T.copy(), y, rng.normal(0.0, 1.0, 2 * size), 1000)[0] for _ in range(10)]
    trees = [r2_score(y, predict(Tree(structure, theta[:size], theta[size:]), x)) for theta in fits]
    networks = []
    for k in range(10):
        network = MLPRegressor(hidden_layer_sizes=(4, 2), solver="lbfgs", max_iter=1000, random_state=10 * seed + k)
        networks.append(network.fit(x, y).score(x, y))
    return {"tree_mean": float(np.mean(trees)), "tree_best": max(trees), "mlp_mean": float(np.mean(networks)), "mlp_best": max(networks)}


def run_iris(seed: int) -> dict:
    """Ten-fold cross-validation on Iris, and the fit to all of it."""
    from sklearn.datasets import load_iris
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    x, y = load_iris(return_X_y=True)
    model = XNetClassifier(rounds=0, listed=20, starts=3, size_penalty=2.0, random_state=seed)
    start = time.perf_counter()
    scores = cross_val_score(model, x, y, cv=StratifiedKFold(10, shuffle=True, random_state=seed))
    seconds = time.perf_counter() - start
    model.fit(x, y)
    return {"accuracy": float(scores.mean()), "accuracy_fitted": model.score(x, y), "nodes": model.n_nodes_,
            "parameters": model.n_parameters_, "seconds": round(seconds, 1)}  # fmt: skip


def run_logistic(seed: int) -> dict:
    """Logistic regression on Iris, in the folds of :func:`run_iris`."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(10, shuffle=True, random_state=seed)
    return {"accuracy": float(cross_val_score(LogisticRegression(max_iter=1000), *load_iris(return_X_y=True), cv=folds).mean())}


RUNS: dict[str, Callable[..., dict]] = {"nguyen": run_nguyen, "others": run_others, "fixed": run_fixed, "iris": run_iris,
                                   "logistic": run_logistic}  # fmt: skip


def load() -> list[dict]:
    """All results so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run_one(task: tuple) -> dict:
    """One run, with what identifies it."""
    kind, *arguments = task
    return {"kind": kind, "arguments": arguments, **RUNS[kind](*arguments)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*RUNS, "page"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.what == "page":
        from xnet_page import write_page

        return write_page(load())
    done = [(line["kind"], *line["arguments"]) for line in load()]
    seeds = range(options.seeds)
    alone = options.what in ("iris", "logistic")
    tasks = [(options.what, seed) for seed in seeds] if alone else [(options.what, n, seed) for seed in seeds for n in NGUYEN]
    with ProcessPoolExecutor(options.jobs) as pool, RESULTS.open("a") as file:
        for line in pool.map(run_one, [task for task in tasks if task not in done]):
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
