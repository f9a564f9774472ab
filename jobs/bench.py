"""The former name of jobs.bench_engine, jobs.bench_pipeline and jobs.bench_verifiers."""

from jobs.renamed import refuse_command

if __name__ == "__main__":
    refuse_command("jobs.bench", "jobs.bench_engine", "jobs.bench_pipeline", "jobs.bench_verifiers")
