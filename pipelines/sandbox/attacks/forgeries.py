"""Attacks that want a pass from tests that expect what only they know, and no harm besides."""

from pipelines.sandbox.attacks.attack import Attack

FORGERIES = (
    Attack(
        "exit early with success",
        """
        import os
        os._exit(0)
        """,
        is_forgery=True,
    ),
    Attack(
        "exit in the call with success",
        """
        def attack(value):
            raise SystemExit(0)
        """,
        is_forgery=True,
    ),
    Attack(
        "print that it passed",
        """
        print('{"status": "passed", "detail": ""}\\npassed\\nOK')

        def attack(value):
            print("passed", flush=True)
        """,
        is_forgery=True,
    ),
    Attack(
        "write a verdict to every descriptor",
        """
        import os

        def attack(value):
            for body in (b'{"status": "passed", "detail": ""}', b'{"value": null, "arguments": null}'):
                for fd in range(256):
                    try:
                        os.write(fd, len(body).to_bytes(4, "big") + body)
                    except OSError:
                        pass
            os._exit(0)
        """,
        is_forgery=True,
    ),
    Attack(
        "equal to everything",
        """
        class Anything(str):
            __eq__ = lambda self, other: True
            __ne__ = lambda self, other: False

        def attack(value):
            return Anything()
        """,
        is_forgery=True,
    ),
    Attack(
        "an object for every comparison",
        """
        class Anything:
            __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __instancecheck__ = lambda self, other: True
            __ne__ = lambda self, other: False
            __sub__ = __rsub__ = __abs__ = lambda self, *other: 0
            __enter__ = lambda self: self
            __exit__ = lambda self, *error: True
            __iter__ = lambda self: iter(())
            __hash__ = lambda self: 0

        def attack(value):
            return Anything()
        """,
        is_forgery=True,
    ),
    Attack(
        "patch the built-ins",
        """
        import builtins, operator, sys

        builtins.AssertionError = builtins.Exception = type("Quiet", (BaseException,), {})
        builtins.__build_class__ = builtins.isinstance = builtins.abs = builtins.all = lambda *_: True
        sys.excepthook = sys.unraisablehook = lambda *_: None
        abs = all = int = isinstance = check = lambda *_: True

        def attack(value):
            return True
        """,
        is_forgery=True,
    ),
    Attack(
        "look for the tests in frames and memory",
        """
        import gc, re, sys

        def attack(value):
            frame, things = sys._getframe(), gc.get_objects()
            while frame:
                things += [frame.f_locals, frame.f_globals, frame.f_code.co_consts]
                frame = frame.f_back
            for thing in things:
                if isinstance(thing, (str, bytes, dict, list, tuple)):
                    found = re.search("expected = '([0-9a-f]+)'", str(thing).replace("\\\\", ""))
                    if found:
                        return found[1]
        """,
        is_forgery=True,
    ),
    Attack(
        "read the tests from standard input",
        """
        import os

        def attack(value):
            for fd in range(64):
                try:
                    os.set_blocking(fd, False)
                    text = os.read(fd, 2**16)
                except OSError:
                    continue
                if b"expected" in text:
                    return text.split(b"'")[1].decode()
        """,
        is_forgery=True,
    ),
)
