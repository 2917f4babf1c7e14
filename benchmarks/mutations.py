"""The small changes that `mutants.py` makes to a module, in the order of its text."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Mutation", "mutated", "mutations"]

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt,), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip

# Calls whose arguments can change places, or of which no test could see it; arguments that guard against bugs alone.
_SYMMETRIC = ("cast", "getattr", "isclose", "isinstance", "logaddexp", "max", "maximum", "min", "minimum", "setattr")
_CAREFUL = ("copy", "repr", "stacklevel", "strict")


@dataclass
class Mutation:
    """lines  that run it: those of its statement, or where a constant or a function that it makes is used.

    before, after  its text, cut.
    """

    lines: list[int]
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before}  ->  {self.after}"


def mutations(source: str) -> list[tuple[ast.stmt, Callable[[], None]]]:
    """All changes of a module: the statement that each is in, and a function that makes it in the tree."""
    return _of_tree(ast.parse(source))


def mutated(source: str, number: int) -> tuple[Mutation, str]:
    """The change with this number, and the source with it."""
    tree = ast.parse(source)
    statement, change = _of_tree(tree)[number]
    lines = _lines(tree, statement)
    before = ast.unparse(tree)
    change()
    after = ast.unparse(ast.fix_missing_locations(tree))
    return Mutation(lines, *_cut(before, after)), after


def _lines(tree: ast.Module, statement: ast.stmt) -> list[int]:
    """No line where any test may run it: a constant that other modules can import."""
    if isinstance(statement, ast.FunctionDef):  # a default, or what a decorator takes
        return [line for each in statement.body for line in _span(each)]
    if statement in tree.body and isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        if not all(name.startswith("_") for name in names):
            return []
        users = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names]
        return [node.lineno for node in users if not isinstance(node.ctx, ast.Store)]
    return _span(statement)


def _span(statement: ast.stmt) -> list[int]:
    end = statement.end_lineno or statement.lineno
    if isinstance(getattr(statement, "body", None), list):  # its head alone
        end = max(statement.lineno, statement.body[0].lineno - 1)  # type: ignore[attr-defined]
    return list(range(statement.lineno, end + 1))


def _cut(before: str, after: str) -> tuple[str, str]:
    """The line in which two texts differ first, around the place."""
    rows = zip(before.splitlines(), after.splitlines(), strict=False)
    one, other = next((one.strip(), other.strip()) for one, other in rows if one != other)
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(same - 60, 0)
    return one[start : start + 120], other[start : start + 120]


def _of_tree(tree: ast.Module) -> list[tuple[ast.stmt, Callable[[], None]]]:
    return [change for statement in tree.body for change in _of_statement(statement, tree.body)]


def _of_statement(node: ast.stmt, body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, Callable[[], None]]]:
    if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node):
        return
    place = body.index(node)
    deletable = isinstance(node, ast.AugAssign | ast.Raise | ast.Expr | ast.Continue | ast.Break)
    if deletable and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield | ast.Constant)):
        yield node, lambda: body.__setitem__(place, ast.copy_location(ast.Pass(), node))
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield node, lambda: setattr(node, "value", ast.Constant(None))
    if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Constant):
        yield node, lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Raise):
        return  # messages are the tests' own affair
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and not _is_annotation(node, child):
            yield from ((node, change) for change in _of_expression(child))
        elif isinstance(child, ast.arguments):
            for default in [*child.defaults, *(each for each in child.kw_defaults if each is not None)]:
                yield from ((node, change) for change in _of_expression(default))
        elif isinstance(child, ast.withitem):
            yield from ((node, change) for change in _of_expression(child.context_expr))
    for name in ("body", "orelse", "finalbody"):
        inner = getattr(node, name, [])
        for each in list(inner) if isinstance(inner, list) else []:
            yield from _of_statement(each, inner)
    for handler in getattr(node, "handlers", []):
        for each in list(handler.body):
            yield from _of_statement(each, handler.body)


def _is_text(node: ast.stmt) -> bool:
    """A docstring, or the list of public names."""
    named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    return named or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_annotation(node: ast.stmt, child: ast.expr) -> bool:
    """What is no code to run, or is not worth a change: annotations, decorators, bases of classes."""
    names = ("annotation", "returns", "decorator_list", "bases")
    parts = [getattr(node, name, None) for name in names]
    return any(child is part or (isinstance(part, list) and child in part) for part in parts)


def _of_expression(node: ast.expr) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.JoinedStr):  # a message
        return
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in _COMPARED[type(operator)]:
                yield lambda i=i, other=other: node.ops.__setitem__(i, other())  # type: ignore[misc]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _is_types(node):
        yield lambda: setattr(node, "op", _OPERATORS[type(node.op)]())
    if isinstance(node, ast.BoolOp):
        yield lambda: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".reshape"):
        return  # another shape fails at once, and any negative number is -1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield lambda: setattr(node, "op", ast.UAdd() if isinstance(node.op, ast.USub) else _identity(node))
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = node.value
        for constant in (not value,) if isinstance(value, bool) else (value + 1, value - 1):
            if constant != value:  # a large float may swallow the 1
                yield lambda constant=constant: setattr(node, "value", constant)  # type: ignore[misc]
    if isinstance(node, ast.IfExp):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Call) and _can_swap(node):
        yield lambda: node.args.__setitem__(slice(0, 2), node.args[1::-1])
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _of_expression(child)
        elif isinstance(child, ast.keyword) and child.arg not in _CAREFUL:
            yield from _of_expression(child.value)
        elif isinstance(child, ast.comprehension):
            for part in (child.iter, *child.ifs):
                yield from _of_expression(part)


def _can_swap(node: ast.Call) -> bool:
    name = ast.unparse(node.func).split(".")[-1]
    return len(node.args) > 1 and name not in _SYMMETRIC and ast.dump(node.args[0]) != ast.dump(node.args[1])


def _is_types(node: ast.BinOp) -> bool:
    """A union of types, as isinstance takes it."""
    return isinstance(node.op, ast.BitOr) and all(
        (isinstance(side, ast.Name | ast.Attribute) and ast.unparse(side).split(".")[-1][:1].islower() is False)
        or (isinstance(side, ast.Name) and side.id in ("int", "float", "str", "bytes", "list", "tuple", "dict"))
        or (isinstance(side, ast.BinOp) and _is_types(side))
        for side in (node.left, node.right)
    )  # fmt: skip


def _identity(node: ast.UnaryOp) -> ast.unaryop:
    """Two times `not`, or two times `~`, is nothing."""
    node.operand = ast.UnaryOp(type(node.op)(), node.operand)
    return type(node.op)()
