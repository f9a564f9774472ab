"""The former name of jobs.capacity and jobs.devtools.simulate_exchange."""

from jobs.command.renamed import refuse_command

if __name__ == "__main__":
    refuse_command("jobs.plan", "jobs.capacity", "jobs.devtools.simulate_exchange")
