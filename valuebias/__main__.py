"""Run the command line as ``python -m valuebias``."""

from valuebias.cli import main

if __name__ == "__main__":
    main()
