"""A small arithmetic and comparison language: read with `ast`, turned into closures, never executed as Python."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from autosearch.space.errors import ExpressionError, InactiveError, Where
from autosearch.space.nearest import did_you_mean
from autosearch.space.operators import ARITHMETIC, COMPARE, Value, check_number, order, show, truth
from autosearch.space.scanning import Scan, odd_names, quote_name, scan

_MAX_CHARACTERS = 1_000
_MAX_NODES = 200
_MAX_DEPTH = 40
_INEQUALITIES = (ast.LtE, ast.Lt, ast.GtE, ast.Gt)

_Values = Mapping[str, Value]
_Step = Callable[[_Values], Value]
_Link = tuple[_Step, _Step, bool]  # of an inequality: the smaller side, the larger one, whether it is strict
_BareSpan = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: immutable, equal and hashed by its text, picklable.

    Attributes:
        text: the expression as written, without surrounding blanks.
        names: every parameter or metric used; dotted names joined, backticks taken off.
        is_inequality: whether it is one chain of `<=`, `<`, `>=`, `>`, so that `margins` is defined.
    """

    text: str
    names: frozenset[str] = field(compare=False, repr=False)
    is_inequality: bool = field(compare=False, repr=False)
    _root: _Step = field(compare=False, repr=False)
    _margins: tuple[_Link, ...] = field(compare=False, repr=False)
    _scan: Scan = field(compare=False, repr=False)
    _spans: tuple[_BareSpan, ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str, where: Where = ()) -> Expression:
        """Read an expression.

        Raises:
            ExpressionError: it is not in the language, or too long (1,000 characters), too large
                (200 nodes) or too deep (40 levels).
        """
        if not isinstance(text, str):
            raise ExpressionError(f"an expression is text, not {show(text)}", where)
        text = text.strip()
        if not text:
            raise ExpressionError("an expression must not be empty", where)
        if len(text) > _MAX_CHARACTERS:
            raise ExpressionError(f"has {len(text)} characters; at most {_MAX_CHARACTERS} are allowed", where)
        try:
            scanned = scan(text)
            body = _syntax_tree(scanned.source)
            _check_size(body)
            builder = _Builder(scanned)
            root = builder.build(body)
            margins = _margin_steps(builder, body)
        except ExpressionError as error:
            raise ExpressionError(f"{error.message} in: {_shorten(text)}", where) from None
        spans = tuple(sorted(set(builder.spans)))
        names = frozenset(name for _, _, name in spans)
        return cls(text, names, bool(margins), root, margins, scanned, spans)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        return (Expression.parse, (self.text,))

    def __str__(self) -> str:
        return self.text

    def evaluate(self, values: _Values) -> Value:
        """The value of the expression; `and`, `or` and chained comparisons stop early and give True or False.

        Raises:
            InactiveError: a name without a value was touched.
            ExpressionError: a wrong type, a division by zero, or a number out of range.
        """
        return self._root(values)

    def margins(self, values: _Values) -> list[float]:
        """Smaller minus larger side for each link of an inequality chain; `<= 0` means satisfied.

        Of `<` and `>` equal sides are a violation, the smallest there is.

        Raises:
            InactiveError: a name without a value was touched.
            ExpressionError: this is no inequality, or it cannot be evaluated.
        """
        if not self._margins:
            raise ExpressionError(f"margins need a chain of <=, <, >= or >, not: {self.text}")
        differences = [ARITHMETIC[ast.Sub](small(values), large(values)) for small, large, _ in self._margins]
        return [
            sys.float_info.min if strict and difference == 0 else float(difference)
            for difference, (_, _, strict) in zip(differences, self._margins, strict=True)
        ]

    def check_names(self, known: Collection[str], where: Where = ()) -> list[ExpressionError]:
        """One error for every unknown name, and for every known name such as `a/b` written without backticks."""
        return self.name_problems(frozenset(known), odd_names(known), known, where)

    def name_problems(
        self, known: frozenset[str], odd: Iterable[str], hints: Iterable[str], where: Where
    ) -> list[ExpressionError]:
        """As `check_names`, for many expressions: `odd` are the names that need backticks, `hints` are suggested."""
        problems: list[ExpressionError] = []
        covered: set[str] = set()
        for name in odd:
            if self._scan.has_bare(name):
                covered.update(part for part in self.names if part in name)
                problems.append(
                    ExpressionError(f"'{name}' is a name: write `{name}` in backticks in: {self.text}", where)
                )
        problems.extend(
            ExpressionError(f"unknown name '{name}' in: {self.text}.{did_you_mean(name, hints)}", where)
            for name in sorted(self.names - known - covered)
        )
        return problems

    def renamed(self, mapping: Mapping[str, str]) -> Expression:
        """The same expression with some names replaced.

        Raises:
            ExpressionError: the longer names make it longer than an expression may be.
        """
        source = self._scan.source.encode()
        for start, end, name in reversed(self._spans):
            source = source[:start] + quote_name(mapping.get(name, name)).encode() + source[end:]
        return Expression.parse(source.decode())


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def _syntax_tree(source: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd literals; they are judged below
            return ast.parse(source, mode="eval").body
    except (RecursionError, MemoryError):
        raise ExpressionError(f"nested too deeply; at most {_MAX_DEPTH} levels are allowed") from None
    except (SyntaxError, ValueError, OverflowError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ExpressionError(
            f"cannot be read ({reason.splitlines()[0] if reason else 'invalid syntax'}); "
            "names that are not identifiers stand in `backticks`"
        ) from None


def _check_size(body: ast.expr) -> None:
    count, level = 0, [body]  # breadth first, so that depth needs no recursion
    for _ in range(_MAX_DEPTH):
        count += len(level)
        if count > _MAX_NODES:
            raise ExpressionError(f"more than {_MAX_NODES} parts are not allowed")
        level = [
            child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)
        ]
        if not level:
            return
    raise ExpressionError(f"nested too deeply; at most {_MAX_DEPTH} levels are allowed")


def _margin_steps(builder: _Builder, body: ast.expr) -> tuple[_Link, ...]:
    if not isinstance(body, ast.Compare) or not all(isinstance(op, _INEQUALITIES) for op in body.ops):
        return ()
    sides = [builder.build(node) for node in (body.left, *body.comparators)]
    links = zip(body.ops, sides, sides[1:], strict=False)
    return tuple(
        (*((a, b) if isinstance(op, ast.Lt | ast.LtE) else (b, a)), isinstance(op, ast.Lt | ast.Gt))
        for op, a, b in links
    )


class _Builder:
    """Turns syntax nodes into closures and notes where names stand."""

    def __init__(self, scanned: Scan) -> None:
        self.scanned = scanned
        self.bytes = scanned.source.encode()
        self.spans: list[_BareSpan] = []

    def build(self, node: ast.expr) -> _Step:
        """The closure of a node; parts without names are computed now, so that `9**9**9` is refused at once."""
        before = len(self.spans)
        step = self._build(node)
        if len(self.spans) == before and not isinstance(node, ast.Constant):
            return self._constant(step({}))
        return step

    def _build(self, node: ast.expr) -> _Step:
        match node:
            case ast.Constant():
                return self._constant(_constant(node))
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.UnaryOp(op=ast.Not()):
                inner = self.build(node.operand)
                return lambda values: not truth(inner(values))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                return self._signed(node)
            case ast.BinOp() if type(node.op) in ARITHMETIC:
                return self._arithmetic(node)
            case ast.BoolOp():
                return self._logic(node)
            case ast.Compare():
                return self._comparison(node)
        raise ExpressionError(_refusal(node))

    @staticmethod
    def _constant(value: Value) -> _Step:
        return lambda _values: value

    def _name(self, node: ast.Name | ast.Attribute) -> _Step:
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise ExpressionError("only names may be dotted")
        start, end = node.col_offset, node.end_col_offset or node.col_offset
        # The source, not node.id: Python normalises Unicode identifiers, parameter names stay as written.
        name = "".join(self.bytes[start:end].decode().split())
        name = self.scanned.quoted.get(name, name)
        if isinstance(node, ast.Attribute) and any(mark in name for mark in self.scanned.quoted):
            raise ExpressionError("put the whole dotted name in backticks")
        self.spans.append((start, end, name))

        def lookup(values: _Values) -> Value:
            try:
                return values[name]
            except KeyError:
                raise InactiveError(name) from None

        return lookup

    def _signed(self, node: ast.UnaryOp) -> _Step:
        inner, negative = self.build(node.operand), isinstance(node.op, ast.USub)

        def signed(values: _Values) -> Value:
            number = check_number(inner(values))
            return -number if negative else number

        return signed

    def _arithmetic(self, node: ast.BinOp) -> _Step:
        left, right, operation = self.build(node.left), self.build(node.right), ARITHMETIC[type(node.op)]
        return lambda values: operation(left(values), right(values))

    def _logic(self, node: ast.BoolOp) -> _Step:
        parts, stop = [self.build(part) for part in node.values], isinstance(node.op, ast.Or)

        def logic(values: _Values) -> Value:
            for part in parts:
                if truth(part(values)) is stop:
                    return stop
            return not stop

        return logic

    def _comparison(self, node: ast.Compare) -> _Step:
        if len(node.ops) > 1 and any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
            raise ExpressionError("'in' cannot be part of a chain of comparisons; use and")
        first = self.build(node.left)
        links = [self._link(op, side) for op, side in zip(node.ops, node.comparators, strict=True)]

        def comparison(values: _Values) -> Value:
            left = first(values)
            for link in links:
                met, left = link(left, values)
                if not met:
                    return False
            return True

        return comparison

    def _link(self, op: ast.cmpop, side: ast.expr) -> Callable[[Value, _Values], tuple[bool, Value]]:
        if isinstance(op, ast.In | ast.NotIn):
            members, wanted = _members(side), isinstance(op, ast.In)
            return lambda left, _values: ((left in members) is wanted, None)
        right = self.build(side)
        if isinstance(op, ast.Eq | ast.NotEq):
            same = isinstance(op, ast.Eq)

            def equality(left: Value, values: _Values) -> tuple[bool, Value]:
                other = right(values)
                return bool(left == other) is same, other

            return equality
        if type(op) not in COMPARE:
            raise ExpressionError("'is' is not in the language; write ==")
        compare = COMPARE[type(op)]

        def inequality(left: Value, values: _Values) -> tuple[bool, Value]:
            other = right(values)
            return order(compare, left, other), other

        return inequality


def _constant(node: ast.Constant) -> Value:
    value = node.value
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return check_number(value)
    raise ExpressionError(f"{show(value)} is not a number, a string, True, False or None")


def _members(node: ast.expr) -> tuple[Value, ...]:
    """The constants on the right of `in`."""
    if not isinstance(node, ast.Tuple | ast.List):
        raise ExpressionError("the right side of 'in' must be a list of constants such as ('sgd', 'adam')")
    members = []
    for item in node.elts:
        match item:
            case ast.Constant():
                members.append(_constant(item))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as inner):
                members.append(-check_number(_constant(inner)))
            case _:
                raise ExpressionError("the list on the right of 'in' may hold constants only")
    return tuple(members)


_REFUSED = {
    ast.Call: "calls are not allowed",
    ast.Subscript: "subscripts are not allowed",
    ast.Lambda: "lambda is not allowed; a parameter called lambda stands in `backticks`",
    ast.JoinedStr: "f-strings are not allowed",
    ast.NamedExpr: "':=' is not allowed",
    ast.IfExp: "'if ... else' is not allowed",
    ast.Tuple: "a list of constants may stand only on the right of 'in'",
    ast.List: "a list of constants may stand only on the right of 'in'",
    ast.ListComp: "comprehensions are not allowed",
    ast.SetComp: "comprehensions are not allowed",
    ast.DictComp: "comprehensions are not allowed",
    ast.GeneratorExp: "comprehensions are not allowed",
    ast.BinOp: "only + - * / // % ** are allowed between numbers",
    ast.UnaryOp: "'~' is not allowed; write not",
}


def _refusal(node: ast.expr) -> str:
    return _REFUSED.get(type(node), f"{type(node).__name__} is not in the language")
