"""Reading Python that need not be whole: the statements that can be read, the names they bind, and what a function needs of them."""

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

FUTURE_IMPORT = re.compile(r"^from __future__ import [\w, ]+$", re.MULTILINE)
CONTINUES = re.compile(r"(?:else|elif|except|finally)\b|[)\]}]")
"""How a line without indentation begins that goes on with the statement before it."""
MAX_JOINED = 40
"""Lines without indentation that one statement may have: a table written to the left margin, say. Bounds the work on prose."""
MAX_LINES = 5_000
"""Of a source that does not parse: longer ones are taken as they are."""

Statements = list[ast.stmt]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The statements at the top level of a source, those that cannot be read left out."""

    text: str
    statements: tuple[tuple[ast.stmt, str], ...]
    """Each with its own text."""
    is_whole: bool
    """Nothing was left out."""

    def binders(self, name: str) -> list[ast.stmt]:
        """The statements that bind a name."""
        return [statement for statement, _ in self.statements if name in bound_names(statement)]


def parse(source: str) -> ast.Module | None:
    """The syntax tree, None where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's docstring
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def readable_lines(source: str) -> int:
    """How many lines from the start, at most, are Python: all, or those before the first error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        return max(0, min((error.lineno or 1) - 1, source.count("\n")))
    except (ValueError, RecursionError, MemoryError):
        return 0
    return source.count("\n") + 1


def read_source(text: str) -> Source:
    """All statements of a source, or what can be read of one that is no Python as a whole."""
    tree = parse(text)
    if tree is not None:
        return Source(text=text, statements=tuple(with_texts(tree.body, text)), is_whole=True)
    statements: list[tuple[ast.stmt, str]] = []
    chunks = top_level_chunks(text) if text.count("\n") < MAX_LINES else []
    place = 0
    while place < len(chunks):
        for end in range(place + 1, min(place + MAX_JOINED, len(chunks)) + 1):
            joined = "\n".join(chunks[place:end])
            tree = parse(joined)
            if tree is not None:
                statements += with_texts(tree.body, joined)
                place = end
                break
            if not may_go_on(joined):
                place += 1
                break
        else:
            place += 1
    return Source(text=text, statements=tuple(statements), is_whole=False)


def with_texts(statements: Statements, source: str) -> list[tuple[ast.stmt, str]]:
    """Each statement with its lines, decorators and the comments above it included; rewritten where two share a line."""
    lines, found, taken = source.split("\n"), [], 0
    starts = [min([node.lineno, *(item.lineno for item in decorators(node))]) - 1 for node in statements]
    for number, (statement, start) in enumerate(zip(statements, starts, strict=True)):
        end = statement.end_lineno or start + 1
        shares = start < taken or (number + 1 < len(starts) and starts[number + 1] < end)
        found.append((statement, ast.unparse(statement) if shares else "\n".join(lines[taken:end])))
        taken = end
    return found


def decorators(statement: ast.stmt) -> list[ast.expr]:
    """Of a function or class."""
    match statement:
        case (
            ast.FunctionDef(decorator_list=found)
            | ast.AsyncFunctionDef(decorator_list=found)
            | ast.ClassDef(decorator_list=found)
        ):
            return found
    return []


def top_level_chunks(text: str) -> list[str]:
    """The text cut before each line without indentation that may begin a statement."""
    chunks: list[list[str]] = [[]]
    quotes = ""
    for line in text.split("\n"):
        if not quotes and line[:1].strip() and not CONTINUES.match(line):
            chunks.append([])
        chunks[-1].append(line)
        for mark in re.findall(r"'''|\"\"\"", line):
            quotes = mark if not quotes else "" if mark == quotes else quotes
    return ["\n".join(chunk) for chunk in chunks if any(map(str.strip, chunk))]


def may_go_on(chunk: str) -> bool:
    """Whether more lines could make it a statement: a decorator, or a bracket that is open."""
    first = chunk.lstrip()
    return first.startswith("@") or sum(map(chunk.count, "([{")) > sum(map(chunk.count, ")]}"))


def longest_prefix(text: str, *, name: str) -> str | None:
    """The most lines from the start that are Python and bind the name; None where none do. For what was cut off in mid-function."""
    lines = text.split("\n")
    while lines:
        count = readable_lines("\n".join(lines))
        if count == len(lines):
            break
        lines = lines[:count]
    tree = parse("\n".join(lines))
    is_bound = tree is not None and any(name in bound_names(statement) for statement in tree.body)
    return "\n".join(lines) if is_bound else None


def bound_names(statement: ast.stmt) -> set[str]:
    """What a statement binds or changes at the top level: not what its functions have for themselves."""
    names: set[str] = set()
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
                continue
            case ast.Lambda():
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.alias():
                names.add((node.asname or node.name).partition(".")[0])
            case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()) | ast.Call(func=ast.Attribute()):
                names |= {root_name(node)} - {""}  # table[0] = 1 and table.append(1) change the table
        todo += ast.iter_child_nodes(node)
    return names


def root_name(node: ast.AST) -> str:
    """The name whose attribute or item is changed, "" if that is none's: of a.b[0] it is a."""
    if isinstance(node, ast.Call):
        node = node.func
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def global_names(statement: ast.stmt) -> set[str]:
    """What a statement reads at the top level of its module, by Python's own rules of scope."""
    try:
        tables = [symtable.symtable(ast.unparse(statement), "<statement>", "exec")]
    except (SyntaxError, RecursionError):  # "return" outside a function, say
        return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    names: set[str] = set()
    while tables:
        table = tables.pop()
        is_top = table.get_type() == "module"
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if (symbol.is_referenced() if is_top else symbol.is_global())
        }
        tables += table.get_children()
    return names


SETTINGS = frozenset(("setrecursionlimit", "seed", "set_int_max_str_digits", "stack_size", "setcontext"))
READS_ANY_NAME = frozenset(("eval", "exec", "globals", "vars"))


def is_setting(statement: ast.stmt) -> bool:
    """Whether a statement sets up a module, as sys.setrecursionlimit(10**6) does."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name))):
            return name in SETTINGS
    return False


def is_star_import(statement: ast.stmt) -> bool:
    """Whether a statement may bind any name, or changes how the rest is read."""
    return isinstance(statement, ast.ImportFrom) and (
        statement.module == "__future__" or statement.names[0].name == "*"
    )


def is_use(statement: ast.stmt) -> bool:
    """Whether a statement only uses what is there: an assertion, a main block, unittest.main(), print(f(1))."""
    match statement:
        case ast.Assert() | ast.Raise():
            return True
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="main" | "exit" | "testmod" | "_exit"))):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name())):
            return True
    return False


def needed(source: Source, names: Iterable[str]) -> list[tuple[ast.stmt, str]]:
    """The statements that define these names, with what those need in turn, in the order of the source.

    Left out is what only uses them: examples, tests of the program's own, a `main` that reads standard input, imports for those. Settings
    of modules (sys.setrecursionlimit, random.seed) are kept.
    """
    statements = [statement for statement, _ in source.statements]
    kept = {place for place, statement in enumerate(statements) if is_setting(statement) or is_star_import(statement)}
    wanted = set(names).union(*(global_names(statements[place]) for place in kept))
    has_grown = True
    while has_grown:
        has_grown = False
        for place, statement in enumerate(statements):
            if place in kept or is_use(statement):
                continue
            if bound_names(statement) & wanted or wanted & READS_ANY_NAME:
                kept.add(place)
                wanted |= global_names(statement)
                has_grown = True
    return [pair for place, pair in enumerate(source.statements) if place in kept]


def is_stub(statement: ast.stmt) -> bool:
    """Whether a function has no body beyond its docstring: the prompt said again."""
    match statement:
        case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
            return all(
                isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
                for line in body
            )
    return False


def missing_names(statements: Iterable[ast.stmt]) -> set[str]:
    """Names that statements read and neither they nor Python bind at the top level."""
    chosen = list(statements)
    bound, read = set[str](), set[str]()
    for statement in chosen:
        bound |= bound_names(statement)
        read |= global_names(statement)
    return read - bound - set(vars(builtins))


def defines(code: str, name: str) -> bool:
    """Whether code binds the name at its top level, by the look of it: it need not compile."""
    pattern = rf"^(?:(?:async\s+)?def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*[:=]"
    return re.search(pattern, code, re.MULTILINE) is not None


def with_future_imports_first(source: str) -> str:
    """The source with `from __future__` at its top, where Python wants it: models that write whole files put it behind the prompt."""
    imports = FUTURE_IMPORT.findall(source)
    return "".join(f"{line}\n" for line in imports) + FUTURE_IMPORT.sub("", source)
