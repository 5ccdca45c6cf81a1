# A calculator for sums, products and unary minus
"""A tokenizer and a stack machine: infix to postfix, postfix to a value (whole division)."""

RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3}


def tokens(text):
    k, before = 0, None
    while k < len(text):
        char = text[k]
        if char.isdigit():
            end = k
            while end < len(text) and text[end].isdigit():
                end += 1
            before = int(text[k:end])
            yield before
            k = end
            continue
        k += 1
        if char == " ":
            continue
        if char == "-" and (before is None or before == "(" or before in RANK):
            char = "neg"
        before = char
        yield char


def postfix(text):
    out, stack = [], []
    for token in tokens(text):
        if isinstance(token, int):
            out.append(token)
        elif token == "(":
            stack.append(token)
        elif token == ")":
            while stack[-1] != "(":
                out.append(stack.pop())
            stack.pop()
        else:
            while stack and stack[-1] != "(" and RANK[stack[-1]] >= RANK[token] != 3:
                out.append(stack.pop())
            stack.append(token)
    return out + stack[::-1]


def value(text):
    stack = []
    for token in postfix(text):
        if isinstance(token, int):
            stack.append(token)
        elif token == "neg":
            stack.append(-stack.pop())
        else:
            b, a = stack.pop(), stack.pop()
            stack.append({"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[token])
    return stack[0]
