"""Run the command line with `python -m pipelines`."""

from pipelines.cli import main

if __name__ == "__main__":
    main(prog_name="python -m pipelines")
