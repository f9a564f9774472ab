"""For processes that a test sends Ctrl-C: a suite that runs in the background has SIGINT ignored, and its children would inherit that."""

import signal


def hear_ctrl_c() -> None:
    """A `preexec_fn` of subprocess.Popen."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
