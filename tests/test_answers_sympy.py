"""Formulas as a computer algebra system writes and judges them: an oracle that we didn't write."""

from random import Random
from typing import Any

import pytest

from inner_agent.tasks.verifiable.answers.expressions import same_expression
from inner_agent.tasks.verifiable.answers.reading import MAX_CHARS

sympy = pytest.importorskip("sympy")
NAMES = ("x", "y", "n", "k", "a", "alpha", "lambda", "x_1", "rho")
SYMBOLS = [sympy.Symbol(name, positive=True) for name in NAMES]
FORMULAS = 150


def formula(rng: Random, depth: int) -> Any:
    if not depth or rng.random() < 0.15:
        number = sympy.Rational(rng.randint(1, 9), rng.randint(1, 9))
        return rng.choice([*SYMBOLS, number, sympy.Integer(rng.randint(1, 12)), sympy.pi])
    one, other = formula(rng, depth - 1), formula(rng, depth - 1)
    powers = (2, 3, -1, -2, sympy.Rational(1, 2), sympy.Rational(1, 3), SYMBOLS[0])
    function = rng.choice([sympy.log, sympy.exp, sympy.sin, sympy.cos, sympy.tanh])
    return rng.choice(
        [one + other, one - other, one * other, one / other, one ** rng.choice(powers), 2**one,
         function(one)]
    )  # fmt: skip


def formulas() -> list[tuple[Any, Any]]:
    """Formulas short enough to be answers, and of each another one."""
    rng, found = Random(7), list[tuple[Any, Any]]()
    while len(found) < FORMULAS:
        one = formula(rng, rng.randint(1, 4))
        symbol = rng.choice(SYMBOLS)
        other = rng.choice([one + 1, one + symbol, one * 2, one.subs(symbol, symbol + 1)])
        written = (sympy.latex(one), str(one), str(other))
        if one.is_finite is not False and other != one and max(map(len, written)) <= MAX_CHARS:
            found.append((one, other))
    return found


def test_a_formula_is_the_same_in_latex_and_in_a_program_and_another_one_is_not() -> None:
    """Some are beyond what is read or held, such as 2^(2^(pi^3)); they agree with nothing."""
    refused = []
    for one, other in formulas():
        latex, program = sympy.latex(one), str(one)
        for wrong in (str(other), sympy.latex(other)):
            assert not same_expression(wrong, program), (wrong, program)
            assert not same_expression(latex, wrong), (latex, wrong)
        same = same_expression(latex, program)
        assert same_expression(program, latex) is same, (latex, program)
        refused += [] if same else [(latex, program)]
    assert len(refused) <= FORMULAS // 100, refused
