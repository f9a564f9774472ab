"""The former name of jobs.capacity and jobs.simulate_exchange."""

from jobs.renamed import refuse_command

if __name__ == "__main__":
    refuse_command("jobs.plan", "jobs.capacity", "jobs.simulate_exchange")
