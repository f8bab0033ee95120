"""Study files made wrong in every way that people, editors and attackers come up with; a function of a seed alone."""

import random
import re
from collections.abc import Callable

CANARY = "code-was-run"
HOSTILE_VALUES = [
    ".inf", "-.inf", ".nan", "1e999", "-1e308", "9" * 5000, "0x" + "f" * 40, "-1", "0", "1.5", "true", "null", "~",
    "''",
    "[]", "{}", "[[[]]]", "{a: {b: [c]}}", "[1, 1.0, true]", "*nope", "&a [*a]", "!!binary aGVsbG8=", "!x y",
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/new:subprocess.Popen [['touch', '{CANARY}']]",
    '"\\0"', '"\\ud800"', '"\\UFFFFFFFF"', '"\\q"', "'" + "x" * 20_000 + "'", "'\u202e\u2028'", "'../../../etc/passwd'",
    "os:system", "subprocess:getoutput", "builtins:exec", "'a b:c'", "':'", "'::'", "'.x:y'", "antigravity",
    f"{{method: 'os:system', command: 'touch {CANARY}'}}",
    f"{{use: 'subprocess:getoutput', cmd: 'touch {CANARY}'}}",
    "{use: /dev/zero}", "{use: .}", "{use: a.yaml}", "{use: [x]}", "{type: [float]}",
    "{type: float, low: {}, high: []}",
    "{type: int, low: -.inf, high: 9999999999999999999999}", "{type: categorical, choices: []}",
    "{type: categorical, choices: [[1], {a: 1}, null, 1, true]}", "{expr: x}", "{expr: 3}", "{expr: [x]}",
    "{value: {}}",
    "{prior: 3, type: float, low: 0, high: 1}", "{type: float, low: 0, high: 1, prior: {center: [1]}}",
]  # fmt: skip
HOSTILE_EXPRESSIONS = [
    f"__import__('os').system('touch {CANARY}')", "().__class__.__bases__[0].__subclasses__()", "9**9**9**9",
    "10**400",
    "2**63 * 2**63", "'a' * 10**9", "(" * 300 + "1" + ")" * 300, "not " * 500 + "x", "-" * 900 + "1",
    "1 if x else 2",
    "lambda: 0", "[x for x in y]", "x[0]", "x.y.z", "f'{x}'", "x := 3", "`", "``", "`a`b`", "x in y", "x == ", "\\",
    "a b",
    "x < y < z", "1 / 0 <= 1", "0x", "1_000 <= 2", "\u00b2", "x <= 1 # c", "x;y", "await x", "*x",
    "x\n<= 1", "'" * 3, "=",
]  # fmt: skip

Mutator = Callable[[str, random.Random], str]


def mutate(text: str, seed: int) -> bytes:
    """A study file with one to three things wrong."""
    rng = random.Random(seed)
    for _ in range(rng.choice([1, 1, 2, 3])):
        text = rng.choice(MUTATORS)(text, rng)
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        content = rng.choice(BYTE_MUTATORS)(content, rng)
    return content


def _lines(change: Callable[[list[str], int, random.Random], None]) -> Mutator:
    def mutator(text: str, rng: random.Random) -> str:
        lines = text.split("\n")
        change(lines, rng.randrange(len(lines)), rng)
        return "\n".join(lines)

    return mutator


def _drop(lines: list[str], i: int, rng: random.Random) -> None:
    del lines[i]


def _double(lines: list[str], i: int, rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines) + 1), lines[i])


def _indent(lines: list[str], i: int, rng: random.Random) -> None:
    lines[i] = rng.choice([" ", "  ", "\t", "   ", "- ", "? ", ": "]) + lines[i]


def _insert(lines: list[str], i: int, rng: random.Random) -> None:
    lines.insert(
        i,
        rng.choice(
            [
                "---",
                "...",
                "%YAML 1.1",
                "%TAG ! x",
                "<<: *a",
                "? [a]\n: b",
                "1: 2",
                "x: y",
                "\t",
                "- a",
                "null: 1",
                "a",
            ]
        ),
    )


def _value(text: str, rng: random.Random) -> str:
    """Another value behind one of the keys."""
    places = [match.end() for match in re.finditer(r"[\w.]+: *", text)]
    if not places:
        return rng.choice(HOSTILE_VALUES)
    start = rng.choice(places)
    end = start + len(re.match(r"[^,}\]\n]*", text[start:]).group())  # type: ignore[union-attr]
    return text[:start] + rng.choice(HOSTILE_VALUES) + text[end:]


def _expression(text: str, rng: random.Random) -> str:
    """A hostile expression where expressions stand."""
    quoted = "'" + rng.choice(HOSTILE_EXPRESSIONS).replace("'", "''") + "'"
    key = rng.choice(["constraints", "require", "space"])
    if key != "space":
        return re.sub(rf"(?m)^{key}:(.*\n)((  .*\n)*)", "", text) + f"\n{key}: [{quoted}]\n"
    field = rng.choice([f"{{type: float, low: 0, high: 1, when: {quoted}}}", f"{{expr: {quoted}}}"])
    return re.sub(r"(?m)^space:\n", lambda _: f"space:\n  hostile: {field}\n", text)


def _typo(text: str, rng: random.Random) -> str:
    keys = list(re.finditer(r"\w+(?=:)", text))
    if not keys:
        return text + ":"
    match = rng.choice(keys)
    return text[: match.start()] + typo(match.group(), rng) + text[match.end() :]


def typo(word: str, rng: random.Random) -> str:
    """The word with one letter lost, added, replaced or swapped with the next, as fingers do it."""
    i = rng.randrange(len(word))
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz_")
    swapped = word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :]
    return rng.choice(
        [word[:i] + word[i + 1 :], word[:i] + letter + word[i:], word[:i] + letter + word[i + 1 :], swapped]
    )


def _character(text: str, rng: random.Random) -> str:
    i = rng.randrange(len(text) + 1)
    letter = rng.choice("\t\0\x07\x1b\x85\ufeff\u2028\ud800\U0001f600\"'{}[],:&*!|>%@`#?- \r")
    return text[:i] + letter + text[i + rng.randrange(2) :]


def _cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _nest(text: str, rng: random.Random) -> str:
    depth = rng.choice([5, 40, 1000, 50_000])
    opening = rng.choice(["[", "{a: ", "- ", "? "])
    return text + "\ndeep: " + ("\n" if opening in "- ? " else "") + opening * depth


def _bomb(text: str, rng: random.Random) -> str:
    width = rng.choice([2, 10, 100])
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, 12)]
    return text + "\n" + "\n".join(lines)


def _flood(text: str, rng: random.Random) -> str:
    line = rng.choice(
        ["k{}: 1\n", "  p{}: {{type: float, low: 1, hgih: 0}}\n", "# {}\n", "- {}\n", "  q{}: [1, 1]\n"]
    )
    flood = "".join(line.format(i) for i in range(rng.choice([200, 2000, 10_000])))
    return text.replace("space:\n", "space:\n" + flood) if line.startswith(" ") else text + "\n" + flood


def _large(text: str, rng: random.Random) -> str:
    return text + rng.choice(
        ["\n# " + "x" * 10_000_000, "\na: 1" * 2_000_000, "\nx: '" + "y" * 10_000_000 + "'"]
    )


def _endings(text: str, rng: random.Random) -> str:
    return text.replace("\n", rng.choice(["\r\n", "\r", "\n\n", "\u2028"]))


def _garbage(content: bytes, rng: random.Random) -> bytes:
    i = rng.randrange(len(content) + 1)
    return content[:i] + rng.randbytes(rng.choice([1, 4, 100])) + content[i:]


def _encode(content: bytes, rng: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"]))


MUTATORS: list[Mutator] = [
    _lines(_drop), _lines(_drop), _lines(_double), _lines(_double), _lines(_indent), _lines(_insert),
    _value, _value, _value, _value, _expression, _expression, _typo, _typo, _character, _character,
    _cut, _nest, _bomb, _flood, _endings,
]  # fmt: skip
BYTE_MUTATORS = [_garbage, _encode]
EXTREMES: list[Mutator] = [_large, _nest, _bomb, _flood]
