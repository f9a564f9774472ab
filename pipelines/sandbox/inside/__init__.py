"""What runs inside the sandbox, on the standard library alone: a grader, and the program it forks off and questions.

    supervisor (sandbox.py) --stdin--> grader --pipe--> program
                           <--stdout--        <--pipe--

or, for a program that reads standard input, with a runner in between that has a process for each case.

The program is told what to run and which of its functions to call, and answers with plain data. It never sees the tests, the values
they expect, or the way to the supervisor. Modules here are imported once per sample, so they keep to what starts in milliseconds:
no dataclasses, no enum.
"""
