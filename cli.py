"""The command line, from a checkout: python cli.py run house_prices."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
