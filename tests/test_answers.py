"""Final answers: found in a text, compared, and nothing that a model writes is run or runs on."""

import pytest
from answer_pairs import EXACT, NUMERIC, SYMBOLIC

from inner_agent.tasks.verifiable import ANSWER_CHARS
from inner_agent.tasks.verifiable.answers import agreements, final_answer
from inner_agent.tasks.verifiable.answers.expressions import same_expression
from inner_agent.tasks.verifiable.answers.numbers import same_number
from inner_agent.tasks.verifiable.answers.words import same_text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It follows.\nAnswer: 42", "42"),
        ("Answer: 7\nNo, wait.\n**Answer:** $x^2$.", "x^2"),
        ("### Final answer: `O(n)`", "O(n)"),
        ("The final answer is\n12 ms", "12 ms"),
        (r"So \boxed{3} or rather \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"Answer: \boxed{12}", "12"),
        ("42", "42"),
        ("Two lines\nof prose", ""),
        (r"\boxed{never closed" + "\n.", ""),
        ("Answer: .5", ".5"),
        ("Answer: **n!**", "n!"),
        ("Answer: 5!", "5!"),
        ("Answer: Yes!", "Yes"),
        ("", ""),
    ],
)
def test_where_the_final_answer_stands(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(("given", "wanted", "same"), EXACT)
def test_text(given: str, wanted: str, same: bool) -> None:
    assert same_text(given, wanted) is same
    assert same_text(wanted, given) is same


@pytest.mark.parametrize(("given", "wanted", "same"), NUMERIC)
def test_numbers(given: str, wanted: str, same: bool) -> None:
    """Within a thousandth."""
    assert same_number(given, wanted, 0.001) is same


@pytest.mark.parametrize(("given", "wanted", "same"), SYMBOLIC)
def test_expressions(given: str, wanted: str, same: bool) -> None:
    assert same_expression(given, wanted) is same
    assert same_expression(wanted, given) is same


@pytest.mark.parametrize("kind", ["exact", "numeric", "symbolic"])
def test_an_answer_agrees_with_itself(kind: str) -> None:
    agree = agreements(0.001)[kind]
    for given, wanted, _ in (*EXACT, *NUMERIC, *SYMBOLIC):
        assert agree(given, given) is (given != ""), given
        assert agree(wanted, wanted) is (wanted != ""), wanted


@pytest.mark.parametrize(
    "endless",
    [
        "9**9**9**9", "2**(x*10**14)", "exp(exp(exp(9)))", "(((10**15)**32)**32)**32", "2**2**x**x",
        "9^{9^{9^{9}}}", "(" * 150 + "1" + ")" * 150, "1" * 199, "sqrt(" * 30 + "x" + ")" * 30,
        "x" + "*x" * 99, "10**32*" * 25 + "x", "-" * 190 + "1", "exp(10**15)*exp(-10**15)",
        "sin(10**32)",
        "sin((9e307**32)**32)", "*".join(["((9e307**32)**32)"] * 11), "exp((9e307**32)**9)",
        "exp(log(7)*10**9)", "exp(10**8*log(3)/2)", "exp(log(2)*9e307)", "sin(exp(9e307))",
        "sin(exp(x*9e307))", "exp(9e307*9e307)", "cos(exp(10**6))",
        "tan(log(abs((sqrt(1e-308))**(1e-308))))", "tan(log((10**-15)**(10**-32)))",
        "log(" * 11 + "x" + ")" * 11, "0.123^(1/999983)/sin(1e-99)", "1e99^x^x^x^x",
        "9e999^9e999", "sin(e^(9e6))", "3 " + "a" * 250 + "{", "|" * 199, "{1," * 60,
        "log" * 60 + "x", "(x**32)**32 * (x+1)**32", "tan(oo)", "log(0)", "0**0",
        "(0/0)**x", "x**(oo)",
    ],
)  # fmt: skip
def test_no_expression_runs_on(endless: str) -> None:
    """Each comes back: as no expression, or compared."""
    for agree in agreements(0.001).values():
        assert agree(endless, "x + 1") is False
        assert agree("x + 1", endless) is False


@pytest.mark.parametrize("piece", ["\n", " \n", "**\n", "> ", "answer ", "Answer:\n", "\\boxed{"])
def test_no_text_is_read_over_and_over(piece: str) -> None:
    """As long as an item's field may be: it comes back at once, and not after minutes."""
    said = final_answer((piece * 40_000)[:40_000])
    assert said in ("", "Answer:") or len(said) > ANSWER_CHARS


@pytest.mark.parametrize(
    "flood",
    ["\n" * 500_000, "*\n" * 500_000, "* " * 500_000, "answer\n" * 150_000, "answer" + " " * 10**6,
     "\\boxed{" * 150_000, "\\boxed" + " " * 10**6, "> the final " * 80_000],
)  # fmt: skip
def test_a_model_may_say_as_much_as_it_likes(flood: str) -> None:
    """Each comes back at once; what is no answer doesn't become one by being long."""
    assert final_answer(f"x\n{flood}y\nz") == ""
    assert final_answer(f"x\n{flood}\nAnswer: 1") == "1"
