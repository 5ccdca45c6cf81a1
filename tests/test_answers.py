"""Final answers: found in a text, compared, and nothing that a model writes is run or runs on."""

import pytest

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
        ("Answer: Yes!", "Yes"),
        ("", ""),
    ],
)
def test_where_the_final_answer_stands(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("given", "wanted", "same"),
    [
        ("The Gradient, clipped", "gradient clipped", True),
        ("gradient clipping", "gradient clipped", False),
        ("A.", "A", True),
        ("B", "A", False),
        ("-3", "3", False),
        (".5", "5", False),
        ("A, B", "B", False),
        ("a + b", "+ b", False),
        ("A stack", "the stack", True),
        ("n!", "n", False),
        ("x²", "x2", False),
        ("x²", "x^2", True),
        ("O(n)", "O(n^2)", False),
        ("", "", False),
    ],
)
def test_text(given: str, wanted: str, same: bool) -> None:
    assert same_text(given, wanted) is same


@pytest.mark.parametrize(
    ("given", "wanted", "same"),
    [
        ("1,200", "1200", True),
        ("1200.5", "1200", True),  # within a thousandth
        ("1202", "1200", False),
        ("3/4", "0.75", True),
        ("75%", "0.75", False),  # one of them has a unit: nobody knows what was meant
        ("75 percent", "75%", True),
        ("2.5e-3", "0.0025", True),
        (r"2.5 \times 10^{-3}", "0.0025", True),
        ("12 ms", "12 s", False),
        ("12", "12 ms", True),
        ("about twelve", "12", False),
        ("12 or 13", "12", False),  # whoever names two has said neither
        ("12, 13", "12", False),
        ("12-15", "12", False),
        ("5 (or 6)", "5", False),
        ("5 + 3", "5", False),
        ("1 1/2", "1", False),
        ("1234,567", "1234", False),
        ("12:30", "12", False),
        ("10^6", "10", False),
        ("10^6", "1,000,000", True),
        ("2^{10}", "1024", True),
        ("10⁻³", "0.001", True),
        ("0^-1", "0", False),
        (r"\frac{3}{4}", "0.75", True),
        (r"3\frac{1}{2}", "3", False),
        ("9.8 m/s^2", "9.8", True),
        ("12.3 ± 0.4 ms", "12.3", True),
        (".5", "0.5", True),
        ("seven", "Seven", True),
        ("1/0", "1", False),
        ("9" * 5_000, "1", False),
    ],
)
def test_numbers(given: str, wanted: str, same: bool) -> None:
    assert same_number(given, wanted, 0.001) is same


@pytest.mark.parametrize(
    ("given", "wanted", "same"),
    [
        ("2x + 2", "2*(x+1)", True),
        ("y = (a+b)^2", "a^2 + 2ab + b^2", False),  # ab is one symbol, as in a program
        ("y = (a+b)^2", "a^2 + 2a*b + b^2", True),
        (r"\frac{1}{\sqrt{2}}", r"\sqrt{2}/2", True),
        (r"\frac{n \log n}{2}", "0.5 n*log(n)", True),
        ("n*log(n)", "n*log(n+1)", False),
        ("n(n+1)/2", "(n^2 + n)/2", True),
        ("f(x)", "f*x", False),
        ("exp(x)*exp(y)", "exp(x+y)", True),
        ("2**0.5", "sqrt(2)", True),
        ("1/3", "0.3333", False),
        ("(1, 2)", "[1, 4/2]", True),
        ("(1, 2)", "(2, 1)", False),
        ("oo", r"\infty", True),
        ("1/0", "2/0", False),
        ("5 # or 6", "5", False),
        ("n!", "n", False),
        ("x²", "x*x", True),
        ("not an expression at all", "Not an expression at all.", True),
        ("__import__('os').system('true')", "0", False),
        ("().__class__", "0", False),
        ("[x for x in 'ab']", "0", False),
        ("lambda: 0", "0", False),
    ],
)
def test_expressions(given: str, wanted: str, same: bool) -> None:
    assert same_expression(given, wanted) is same


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
        "(x**32)**32 * (x+1)**32", "tan(oo)", "log(0)", "0**0", "(0/0)**x", "x**(oo)",
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
