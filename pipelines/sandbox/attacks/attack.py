"""One attack, and what it aims at."""

import secrets
import textwrap
from dataclasses import dataclass

from pipelines.sandbox.job import ScriptJob


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Things outside the sandbox that attacks aim at."""

    port: int
    """Somebody listens there, on 127.0.0.1."""
    secret_file: str
    """A file that only this user may read."""
    folder: str
    """A folder that everybody may write to."""
    process_id: int
    """The supervisor."""

    def constants(self) -> str:
        """As source."""
        return f"PORT, SECRET_FILE, FOLDER, PROCESS_ID = {self.port}, {self.secret_file!r}, {self.folder!r}, {self.process_id}\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack."""

    name: str
    source: str
    is_forgery: bool = False
    """It wants a pass from tests that expect what only they know, and no harm besides."""

    def job(self, target: Target) -> ScriptJob:
        """Passed only if the attack got through."""
        program = target.constants() + textwrap.dedent(self.source)
        if self.is_forgery:
            token = secrets.token_hex()
            return ScriptJob(
                program=program, test=f"expected = '{token}'\nassert attack(21) == expected", names=("attack",)
            )
        return ScriptJob(program=program, test="assert attack() is True", names=("attack",))
