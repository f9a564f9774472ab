"""The former name of jobs.devtools.bench_engine, jobs.devtools.bench_pipeline and jobs.devtools.bench_verifiers."""

from jobs.command.renamed import refuse_command

if __name__ == "__main__":
    refuse_command(
        "jobs.bench", "jobs.devtools.bench_engine", "jobs.devtools.bench_pipeline", "jobs.devtools.bench_verifiers"
    )
