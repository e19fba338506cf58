"""The command line: python -m pipelines run house_prices."""

from pipelines.cli import main

if __name__ == "__main__":
    main(prog_name="python -m pipelines")
